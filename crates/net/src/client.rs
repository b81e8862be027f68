//! Calls to one peer over kept connections.
//!
//! Always: each call has a time limit, an answer has a greatest size, and a connection that was not used for a while is not trusted
//! with a request. Calls are repeated by the caller, who knows how to make them idempotent; only a request that never left is sent again.
//! Never here: back-off. See `backoff`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::ndjson::{LineDecoder, NdjsonStream};
use crate::problem::Problem;
use crate::secret::Secret;
use crate::tls::TlsClient;
use crate::trouble::{ClientError, Outage};

/// Shorter than a server waits for the next request, so that no request meets a connection that is just being closed.
const TRUST_IDLE: Duration = Duration::from_secs(20);
const KEPT_CONNECTIONS: usize = 16;
/// Maximum length of a path with its query, in bytes. A `Uri` accepts at most 65,534.
const PATH_MAX: usize = 65_000;
/// How long to wait for a broken connection to report its reason.
const POST_MORTEM: Duration = Duration::from_millis(200);
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// How a client proves who it is, beside its certificate.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// Not at all, or by certificate only.
    None,
    /// `Authorization: Bearer`.
    Bearer(Secret),
    /// `Authorization: Basic`.
    Basic {
        /// User id.
        user: String,
        /// Password.
        password: Secret,
    },
    /// `x-js7-session`, a token from a login.
    Session(Secret),
}

/// How a peer is called.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// `https://host:port`, or `http://…` on the loopback; a path is put before every path.
    pub url: String,
    /// Needed for `https`.
    pub tls: Option<TlsClient>,
    /// Beside the certificate.
    pub credentials: Credentials,
    /// For TCP and TLS together.
    pub connect_timeout: Duration,
    /// For a whole call, or the header of a stream.
    pub request_timeout: Duration,
    /// The greatest answer and the longest line in bytes.
    pub answer_limit: usize,
}

impl ClientSettings {
    /// The usual bounds, no certificate and no credentials.
    pub fn new(url: impl Into<String>) -> ClientSettings {
        ClientSettings {
            url: url.into(),
            tls: None,
            credentials: Credentials::None,
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            answer_limit: 64 << 20,
        }
    }
}

/// Calls one peer. Clones share the connections.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

pub(crate) struct Inner {
    peer: Arc<str>,
    host: String,
    port: u16,
    host_header: HeaderValue,
    prefix: String,
    tls: Option<(TlsClient, ServerName<'static>)>,
    credentials: Option<(HeaderName, HeaderValue)>,
    connect_timeout: Duration,
    request_timeout: Duration,
    answer_limit: usize,
    kept: Mutex<Vec<Kept>>,
}

#[derive(Debug)]
struct Kept {
    line: Line,
    since: Instant,
}

/// One connection, and the task that drives it, which ends with the reason when it breaks.
#[derive(Debug)]
pub(crate) struct Line {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<Result<hyper::Result<()>, tasks::Panicked>>,
}

impl Line {
    pub(crate) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> hyper::Result<Response<Incoming>> {
        self.sender.send_request(request).await
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Client").field(&self.0.peer).finish()
    }
}

impl Client {
    /// Checks the settings; connects only with the first call.
    pub fn new(settings: ClientSettings) -> Result<Client, ClientError> {
        let peer: Arc<str> = settings.url.trim_end_matches('/').into();
        let misused = |what: &str| ClientError::Misused {
            peer: peer.clone(),
            what: what.to_owned(),
        };
        let uri: Uri = peer
            .parse()
            .map_err(|error| misused(&format!("this is not a URL: {error}")))?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(misused("this is not a URL; expected https://host:port"));
        };
        if authority.as_str().contains('@') {
            return Err(misused("a URL carries no password; use the credentials"));
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let (tls, default_port) = match (scheme, settings.tls) {
            ("https", Some(tls)) => {
                let name = ServerName::try_from(host.clone())
                    .map_err(|error| misused(&format!("bad host name: {error}")))?;
                (Some((tls, name)), 443)
            }
            ("https", None) => return Err(misused("https needs the CA's certificate")),
            ("http", _) if is_loopback(&host) => (None, 80),
            ("http", _) => {
                return Err(misused(
                    "plain HTTP is for loopback addresses only; use https",
                ));
            }
            _ => return Err(misused("the scheme must be https or http")),
        };
        let host_header = HeaderValue::from_str(authority.as_str())
            .map_err(|error| misused(&error.to_string()))?;
        let credentials = settings
            .credentials
            .header()
            .map_err(|error| misused(&error))?;
        let prefix = uri.path().trim_end_matches('/').to_owned();
        Ok(Client(Arc::new(Inner {
            peer,
            port: authority.port_u16().unwrap_or(default_port),
            host,
            host_header,
            prefix,
            tls,
            credentials,
            connect_timeout: settings.connect_timeout,
            request_timeout: settings.request_timeout,
            answer_limit: settings.answer_limit,
            kept: Mutex::default(),
        })))
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.0
    }

    pub(crate) fn peer_name(&self) -> &Arc<str> {
        &self.0.peer
    }

    /// The peer's base URL.
    pub fn peer(&self) -> &str {
        &self.0.peer
    }

    /// Posts JSON, reads JSON.
    pub async fn post_json<Req: Serialize + ?Sized, Res: DeserializeOwned>(
        &self,
        path: &str,
        request: &Req,
    ) -> Result<Res, ClientError> {
        let body = serde_json::to_vec(request)
            .map_err(|error| self.0.misused(format!("cannot write the request: {error}")))?;
        let answer = self
            .0
            .call(Method::POST, path, Some((JSON, body.into())))
            .await?;
        self.0.read_json(path, &answer)
    }

    /// Posts bytes that are already written, reads JSON.
    pub async fn post_bytes<Res: DeserializeOwned>(
        &self,
        path: &str,
        content_type: &'static str,
        body: Bytes,
    ) -> Result<Res, ClientError> {
        let content_type = HeaderValue::from_static(content_type);
        let answer = self
            .0
            .call(Method::POST, path, Some((content_type, body)))
            .await?;
        self.0.read_json(path, &answer)
    }

    /// Gets JSON.
    pub async fn get_json<Res: DeserializeOwned>(&self, path: &str) -> Result<Res, ClientError> {
        let answer = self.0.call(Method::GET, path, None).await?;
        self.0.read_json(path, &answer)
    }

    /// Gets the bytes of an answer, whatever they are.
    pub async fn get_bytes(&self, path: &str) -> Result<Bytes, ClientError> {
        self.0.call(Method::GET, path, None).await
    }

    /// Opens a stream of lines; it counts as lost after `patience` without line or heartbeat.
    pub async fn get_stream(
        &self,
        path_and_query: &str,
        patience: Duration,
    ) -> Result<NdjsonStream, ClientError> {
        let inner = &self.0;
        let open = async {
            let (response, _line) = inner.send(&Method::GET, path_and_query, None).await?;
            if response.status().is_success() {
                return Ok(response.into_body());
            }
            let status = response.status();
            let answer = inner.collect(path_and_query, response.into_body()).await?;
            Err(inner.refused(path_and_query, status, &answer))
        };
        Ok(NdjsonStream {
            body: inner.in_time(open).await?,
            decoder: LineDecoder::new(inner.answer_limit),
            patience,
            waited: Duration::ZERO,
            peer: inner.peer.clone(),
            path: path_and_query.to_owned(),
        })
    }
}

impl Inner {
    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<(HeaderValue, Bytes)>,
    ) -> Result<Bytes, ClientError> {
        self.in_time(async {
            let (response, line) = self.send(&method, path, body).await?;
            let status = response.status();
            let answer = self.collect(path, response.into_body()).await?;
            self.keep(line);
            if !status.is_success() {
                return Err(self.refused(path, status, &answer));
            }
            Ok(answer)
        })
        .await
    }

    pub(crate) async fn in_time<T>(
        &self,
        call: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        match timeout(self.request_timeout, call).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => Err(ClientError::unreachable(
                &self.peer,
                Outage::RequestTimeout(self.request_timeout),
            )),
        }
    }

    async fn send(
        &self,
        method: &Method,
        path: &str,
        body: Option<(HeaderValue, Bytes)>,
    ) -> Result<(Response<Incoming>, Line), ClientError> {
        let mut request = self.request(method, path, body)?;
        loop {
            let (mut line, is_fresh) = match self.take_kept().await {
                Some(line) => (line, false),
                // A TLS handshake is a large future and a rare one: boxed, it does not burden every call.
                None => (Box::pin(self.connect()).await?, true),
            };
            match line.sender.try_send_request(request).await {
                Ok(response) => return Ok((response, line)),
                Err(mut failure) => match failure.take_message() {
                    // The kept connection had ended without our notice, and nothing of the request has left.
                    Some(unsent) if !is_fresh => request = unsent,
                    _ => return Err(self.lost(failure.error(), line).await),
                },
            }
        }
    }

    pub(crate) fn request(
        &self,
        method: &Method,
        path: &str,
        body: Option<(HeaderValue, Bytes)>,
    ) -> Result<Request<Full<Bytes>>, ClientError> {
        let target = if self.prefix.is_empty() {
            path.to_owned()
        } else {
            format!("{}{path}", self.prefix)
        };
        if target.len() > PATH_MAX {
            let begin: String = path.chars().take(60).collect();
            return Err(self.misused(format!(
                "the path {begin}… has {} bytes, which is more than any has: an id or a name in it is too long",
                path.len()
            )));
        }
        let uri = Uri::try_from(target)
            .map_err(|error| self.misused(format!("{path} is no path: {error}")))?;
        let (content_type, body) = body.map_or((None, Bytes::new()), |(content_type, body)| {
            (Some(content_type), body)
        });
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method.clone();
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.insert(HOST, self.host_header.clone());
        if let Some(content_type) = content_type {
            headers.insert(CONTENT_TYPE, content_type);
        }
        if let Some((name, value)) = &self.credentials {
            headers.insert(name, value.clone());
        }
        headers.insert(
            ACCEPT,
            HeaderValue::from_static("application/json, application/x-ndjson"),
        );
        Ok(request)
    }

    pub(crate) async fn connect(&self) -> Result<Line, ClientError> {
        let connecting = async {
            let stream = TcpStream::connect((self.host.as_str(), self.port)).await;
            let stream = stream.and_then(|stream| stream.set_nodelay(true).map(|()| stream));
            let stream = stream
                .map_err(|error| ClientError::unreachable(&self.peer, Outage::Connect(error)))?;
            let Some((tls, name)) = &self.tls else {
                return self.open(stream).await;
            };
            let connector = TlsConnector::from(tls.0.current());
            let stream = connector.connect(name.clone(), stream).await;
            self.open(stream.map_err(|error| ClientError::handshake(&self.peer, error))?)
                .await
        };
        match timeout(self.connect_timeout, connecting).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => Err(ClientError::unreachable(
                &self.peer,
                Outage::ConnectTimeout(self.connect_timeout),
            )),
        }
    }

    async fn open(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) -> Result<Line, ClientError> {
        let (sender, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(|error| ClientError::lost(&self.peer, &error))?;
        Ok(Line {
            sender,
            driver: tasks::spawn_contained("client-connection", connection.with_upgrades()),
        })
    }

    async fn take_kept(&self) -> Option<Line> {
        loop {
            let mut kept = self
                .kept
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop()?;
            if kept.since.elapsed() < TRUST_IDLE && kept.line.sender.ready().await.is_ok() {
                return Some(kept.line);
            }
        }
    }

    fn keep(&self, line: Line) {
        if line.sender.is_closed() {
            return;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT_CONNECTIONS {
            // The oldest has waited longest for a use and is the least likely to see one.
            kept.remove(0);
        }
        kept.push(Kept {
            line,
            since: Instant::now(),
        });
    }

    /// The sender may only know that the connection is closed; its driver knows why.
    pub(crate) async fn lost(&self, error: &hyper::Error, line: Line) -> ClientError {
        let Line { sender, driver } = line;
        drop(sender);
        let told = ClientError::lost(&self.peer, error);
        if matches!(told, ClientError::Untrusted { .. }) {
            return told;
        }
        match timeout(POST_MORTEM, driver).await {
            Ok(Ok(Ok(Err(cause)))) => ClientError::lost(&self.peer, &cause),
            Ok(Ok(Ok(Ok(())) | Err(_)) | Err(_)) | Err(_) => told,
        }
    }

    pub(crate) async fn collect(&self, path: &str, body: Incoming) -> Result<Bytes, ClientError> {
        match Limited::new(body, self.answer_limit).collect().await {
            Ok(collected) => Ok(collected.to_bytes()),
            Err(error) => match error.downcast::<hyper::Error>() {
                Ok(error) => Err(ClientError::lost(&self.peer, &error)),
                Err(_too_large) => Err(self.broken(
                    path,
                    format!("it is larger than {} bytes", self.answer_limit),
                )),
            },
        }
    }

    fn read_json<Res: DeserializeOwned>(
        &self,
        path: &str,
        answer: &[u8],
    ) -> Result<Res, ClientError> {
        serde_json::from_slice(answer).map_err(|error| self.broken(path, error.to_string()))
    }

    pub(crate) fn refused(&self, path: &str, status: StatusCode, answer: &[u8]) -> ClientError {
        let problem = serde_json::from_slice(answer).unwrap_or_else(|_no_problem| {
            // Something between us and the peer has answered, such as a proxy with a page of its own.
            let text = String::from_utf8_lossy(answer);
            Problem::uncoded(text.chars().take(200).collect::<String>())
        });
        ClientError::Refused {
            peer: self.peer.clone(),
            path: path.to_owned(),
            status,
            problem,
        }
    }

    fn broken(&self, path: &str, what: String) -> ClientError {
        ClientError::Broken {
            peer: self.peer.clone(),
            path: path.to_owned(),
            what,
        }
    }

    fn misused(&self, what: String) -> ClientError {
        ClientError::Misused {
            peer: self.peer.clone(),
            what,
        }
    }
}

impl Credentials {
    fn header(&self) -> Result<Option<(HeaderName, HeaderValue)>, String> {
        let (name, text) = match self {
            Credentials::None => return Ok(None),
            Credentials::Bearer(token) => (AUTHORIZATION, format!("Bearer {}", token.reveal())),
            Credentials::Basic { user, password } => (
                AUTHORIZATION,
                format!(
                    "Basic {}",
                    BASE64_STANDARD.encode(format!("{user}:{}", password.reveal()))
                ),
            ),
            Credentials::Session(token) => (crate::auth::SESSION, token.reveal().to_owned()),
        };
        let Ok(mut value) = HeaderValue::from_str(&text) else {
            return Err("the token or password has characters that no header can carry".to_owned());
        };
        value.set_sensitive(true);
        Ok(Some((name, value)))
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|addr| addr.is_loopback())
}
