//! Serving HTTP/1.1, plain on the loopback or over TLS, and saying who is at the other end.
//!
//! Always: the number of connections, the time of a handshake and the time between requests are bounded. A connection without an
//! authenticated request is closed soon. A shutdown ends connections after their running request, or after the time limit. A handler that
//! panics answers 500 and affects no other request. Every request carries `PeerIdentity` and `Closing` in its extensions. No error of
//! `accept` ends the server.
//! Never here: routes.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::FromRequestParts;
use axum::response::{IntoResponse as _, Response};
use hyper::StatusCode;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::connections::{ActiveRequest, Caller, Connection, ConnectionLimits, Connections};
use crate::peer::{PeerIdentity, Role};
use crate::problem::{Problem, Refusal};
use crate::stall::Impatient;
use crate::tls::TlsServer;

/// How long the client of a failed handshake is listened to, so that it reads our reason before the connection is reset.
const FAREWELL: Duration = Duration::from_secs(1);
/// A pause when the system has no descriptor left, since trying again at once would only burn the processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// At most once in this time, the number of connections that were closed or could not be accepted is logged.
const REPORT_PERIOD: Duration = Duration::from_mins(1);
/// The connections of a server may use one in this many descriptors of the process. The other descriptors are for the log, for jobs and for
/// a second server in the same process.
const DESCRIPTOR_SHARE: usize = 2;
/// The first byte of a TLS connection.
const TLS_HANDSHAKE: u8 = 0x16;
/// Maximum size of the read buffer of a connection, in bytes.
const READ_AHEAD: usize = 128 << 10;

/// Why a port cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process, or another node of this one, listens there.
    #[error(
        "cannot listen on {addr}: the port is in use; stop the process that uses it (ss -ltnp) or set another port"
    )]
    PortInUse {
        /// The wanted address.
        addr: SocketAddr,
    },
    /// Ports below 1024 require a privilege.
    #[error(
        "cannot listen on {addr}: ports below 1024 need a right of their own; set another port, or give the program CAP_NET_BIND_SERVICE (AmbientCapabilities= in its systemd unit, or setcap)"
    )]
    PortIsPrivileged {
        /// The wanted address.
        addr: SocketAddr,
    },
    /// Without TLS everybody on the way could read the tokens.
    #[error(
        "cannot listen on {addr} with plain HTTP: that is for loopback addresses only; set certificates (mainspring certs) or listen on 127.0.0.1"
    )]
    PlainHttpBeyondLoopback {
        /// The wanted address.
        addr: SocketAddr,
    },
    /// Anything else.
    #[error("cannot listen on {addr}")]
    Fault {
        /// The wanted address.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// The bounds of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections of users and strangers. Those of other components are not counted. Never more than half of the descriptors that the
    /// process may have.
    pub connections: usize,
    /// For TLS to come about.
    pub handshake: Duration,
    /// From the start of a connection to its first authenticated request.
    pub stranger: Duration,
    /// From the end of one request to the end of the next one's header.
    pub header: Duration,
    /// For a client that takes nothing of its answer; an event stream can be resumed later.
    pub stall: Duration,
    /// For running requests at shutdown.
    pub drain: Duration,
    /// A connection is closed when the other side has acknowledged nothing for this long. `None` leaves it to the system, which takes
    /// minutes.
    pub unacknowledged: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 2000,
            handshake: Duration::from_secs(10),
            stranger: Duration::from_secs(15),
            header: Duration::from_secs(30),
            stall: Duration::from_mins(1),
            drain: Duration::from_secs(5),
            unacknowledged: None,
        }
    }
}

/// Tells a handler that the server is about to close: endless answers shall end.
#[derive(Clone, Debug)]
pub struct Closing(pub CancellationToken);

impl<S: Sync> FromRequestParts<S> for Closing {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Closing, Refusal> {
        // A router that is called without a server, as in a test, never closes.
        Ok(parts
            .extensions
            .get::<Closing>()
            .cloned()
            .unwrap_or_else(|| Closing(CancellationToken::new())))
    }
}

impl<S: Sync> FromRequestParts<S> for PeerIdentity {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<PeerIdentity, Refusal> {
        let Some(peer) = parts.extensions.get::<PeerIdentity>() else {
            return Err(Problem::uncoded("the request came without a connection").into());
        };
        Ok(peer.clone())
    }
}

/// A port that is ready to be served.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    addr: SocketAddr,
    tls: Option<TlsServer>,
    limits: Limits,
}

/// Refuses an address beyond the loopback without TLS.
pub fn check_listen(addr: SocketAddr, has_tls: bool) -> Result<(), BindError> {
    if has_tls || addr.ip().is_loopback() {
        return Ok(());
    }
    Err(BindError::PlainHttpBeyondLoopback { addr })
}

impl BindError {
    /// Returns whether the settings are wrong. In this case a restart does not help.
    pub fn is_misuse(&self) -> bool {
        matches!(self, BindError::PlainHttpBeyondLoopback { .. })
    }
}

impl Server {
    /// Takes the port.
    pub async fn bind(addr: SocketAddr, tls: Option<TlsServer>) -> Result<Server, BindError> {
        check_listen(addr, tls.is_some())?;
        let listener = TcpListener::bind(addr).await.map_err(|source| {
            if source.kind() == io::ErrorKind::AddrInUse {
                BindError::PortInUse { addr }
            } else if source.kind() == io::ErrorKind::PermissionDenied && addr.port() < 1024 {
                BindError::PortIsPrivileged { addr }
            } else {
                BindError::Fault { addr, source }
            }
        })?;
        let addr = listener
            .local_addr()
            .map_err(|source| BindError::Fault { addr, source })?;
        Ok(Server {
            listener,
            addr,
            tls,
            limits: Limits::default(),
        })
    }

    /// The same port with other bounds.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Server {
        self.limits = limits;
        self
    }

    /// Sets the maximum number of connections.
    #[must_use]
    pub fn with_connections(mut self, connections: usize) -> Server {
        self.limits.connections = connections;
        self
    }

    /// Sets after how long a connection is closed if the other side acknowledges nothing, because its host has vanished.
    #[must_use]
    pub fn with_unacknowledged(mut self, unacknowledged: Duration) -> Server {
        self.limits.unacknowledged = Some(unacknowledged);
        self
    }

    /// The address, with the port the system has chosen if it was 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// The URL of this port.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.addr)
    }

    /// Serves until the shutdown is asked for, then lets running requests end. Not to be dropped: cancel the token instead.
    pub async fn serve(self, router: Router, shutdown: CancellationToken) {
        let Server {
            listener,
            tls,
            limits,
            ..
        } = self;
        let connected = TaskTracker::new();
        let connections = Connections::new(ConnectionLimits::of(affordable(limits.connections)));
        let host = Host {
            service: TowerToHyperService::new(router.with_state(())),
            tls,
            limits,
            closing: Closing(shutdown.clone()),
        };
        let accept = async {
            let mut troubles = Troubles::default();
            loop {
                match listener.accept().await {
                    Ok((stream, addr)) => {
                        let connection = connections.admit(addr.ip());
                        let served = host.clone().receive(stream, addr, connection);
                        tasks::spawn_contained("connection", connected.track_future(served));
                    }
                    Err(error) if is_about_one_connection(&error) => {
                        debug!(%error, "connection was gone before it was accepted");
                    }
                    Err(error) => {
                        // Most likely no descriptor is left.
                        connections.close_oldest();
                        troubles.failed(error);
                        sleep(ACCEPT_PAUSE).await;
                    }
                }
                troubles.report(&connections);
            }
        };
        // Nothing is lost when accepting is dropped: a connection is either in the system's queue or in its task.
        tokio::select! {
            () = accept => {}
            () = shutdown.cancelled() => {}
        }
        drop(listener);
        connected.close();
        connected.wait().await;
    }
}

/// Limits the requested number of connections to what the descriptors of the process allow.
fn affordable(wanted: usize) -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let Some(limit) = limit.and_then(|limit| usize::try_from(limit).ok()) else {
        return wanted;
    };
    wanted.min((limit / DESCRIPTOR_SHARE).max(1))
}

/// The problems with connections since they were last logged.
#[derive(Default)]
struct Troubles {
    reported: Option<Instant>,
    closed: u64,
    failed: u64,
    last_error: Option<io::Error>,
}

impl Troubles {
    fn failed(&mut self, error: io::Error) {
        self.failed += 1;
        self.last_error = Some(error);
    }

    /// Logs the problems. The rate is limited, so that a client that floods the port does not flood the log.
    fn report(&mut self, connections: &Connections) {
        self.closed += connections.take_closed();
        let is_due = self
            .reported
            .is_none_or(|reported| reported.elapsed() >= REPORT_PERIOD);
        if !is_due || self.closed + self.failed == 0 {
            return;
        }
        if let Some(error) = self.last_error.take() {
            warn!(%error, count = self.failed, "cannot accept connections");
        }
        if self.closed > 0 {
            warn!(
                count = self.closed,
                "closed connections that had not logged in, to make room for new ones"
            );
        }
        *self = Troubles {
            reported: Some(Instant::now()),
            ..Troubles::default()
        };
    }
}

fn is_about_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}

/// What each connection needs.
#[derive(Clone)]
struct Host {
    service: TowerToHyperService<Router>,
    tls: Option<TlsServer>,
    limits: Limits,
    closing: Closing,
}

impl Host {
    async fn receive(self, stream: TcpStream, addr: SocketAddr, connection: Connection) {
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%addr, %error, "connection was gone before it was served");
            return;
        }
        if let Some(within) = self.limits.unacknowledged {
            let socket = socket2::SockRef::from(&stream);
            if let Err(error) = socket.set_tcp_user_timeout(Some(within)) {
                debug!(%addr, %error, "a vanished peer of this connection is noticed late");
            }
        }
        let Some(tls) = &self.tls else {
            let peer = PeerIdentity::unnamed(addr);
            return self.converse(stream, peer, connection).await;
        };
        let acceptor = TlsAcceptor::from(tls.0.current());
        let handshake = async {
            let mut first = [0];
            if matches!(stream.peek(&mut first).await, Ok(1)) && first[0] != TLS_HANDSHAKE {
                return Ok(Err(stream));
            }
            let accepted = acceptor.accept(stream).into_fallible().await;
            accepted.map(Ok)
        };
        let handshake = timeout(self.limits.handshake, handshake);
        let outcome = tokio::select! {
            outcome = handshake => outcome,
            () = connection.closed() => return,
            () = self.closing.0.cancelled() => return,
        };
        match outcome {
            Ok(Ok(Err(plain))) => {
                debug!(%addr, "plain text on a port that speaks TLS");
                refuse_plain_text(plain).await;
            }
            Ok(Ok(Ok(stream))) => {
                let certificate = stream
                    .get_ref()
                    .1
                    .peer_certificates()
                    .and_then(|chain| chain.first());
                let peer = match certificate {
                    Some(certificate) => PeerIdentity::named(addr, certificate),
                    None => PeerIdentity::unnamed(addr),
                };
                if peer.role.is_some_and(|role| role != Role::User)
                    && connection.identify(&Caller::Part).is_err()
                {
                    return;
                }
                self.converse(stream, peer, connection).await;
            }
            Ok(Err((error, stream))) => {
                debug!(%addr, %error, "TLS handshake failed");
                say_farewell(stream).await;
            }
            Err(_elapsed) => debug!(%addr, "TLS handshake took too long"),
        }
    }

    async fn converse(
        self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        peer: PeerIdentity,
        connection: Connection,
    ) {
        let Host {
            service,
            limits,
            closing,
            ..
        } = self;
        let addr = peer.addr;
        let shutdown = closing.0.clone();
        let identity = connection.clone();
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(peer.clone());
            request.extensions_mut().insert(closing.clone());
            request.extensions_mut().insert(identity.clone());
            let active = identity.busy();
            let answer = tasks::contain("request", service.call(request));
            async move {
                let answer: Result<Response, Infallible> = answer
                    .await
                    .unwrap_or_else(|tasks::Panicked| Ok(panicked()));
                answer.map(|response| {
                    response.map(|body| Answer {
                        body,
                        _request: active,
                    })
                })
            }
        });
        let stream = Impatient::new(stream, limits.stall, connection.clone());
        let conversation = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header)
            .max_buf_size(READ_AHEAD)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut conversation = std::pin::pin!(conversation);
        let overdue = async {
            sleep(limits.stranger).await;
            if connection.is_identified() {
                std::future::pending::<()>().await;
            }
        };
        let outcome = tokio::select! {
            outcome = conversation.as_mut() => outcome,
            () = connection.closed() => return debug!(%addr, "connection made room for another one"),
            () = overdue => {
                conversation.as_mut().graceful_shutdown();
                match timeout(limits.drain, conversation).await {
                    Ok(outcome) => outcome,
                    Err(_elapsed) => return debug!(%addr, "connection did not show who sends its requests"),
                }
            }
            () = shutdown.cancelled() => {
                conversation.as_mut().graceful_shutdown();
                match timeout(limits.drain, conversation).await {
                    Ok(outcome) => outcome,
                    Err(_elapsed) => return warn!(%addr, "request was cut off by the shutdown"),
                }
            }
        };
        if let Err(error) = outcome {
            debug!(%addr, %error, "connection broke");
        }
    }
}

/// The body of an answer. Its connection counts as busy until the body has been written or dropped.
struct Answer {
    body: axum::body::Body,
    _request: ActiveRequest,
}

impl hyper::body::Body for Answer {
    type Data = bytes::Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<bytes::Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Returns the answer to a request whose handler has panicked.
fn panicked() -> Response {
    let message = "a fault of the program: this request has failed, and whether it was carried out is unknown; the log of this part tells more";
    let problem = Problem::new("InternalError", message);
    problem
        .status(StatusCode::INTERNAL_SERVER_ERROR)
        .into_response()
}

/// Answers a client that speaks HTTP without TLS.
async fn refuse_plain_text(mut stream: TcpStream) {
    let problem = Problem::new("TlsIsRequired", "this port speaks TLS; use https");
    let body = serde_json::to_string(&problem).expect("a problem consists of strings");
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    if let Ok(Ok(())) = timeout(FAREWELL, stream.write_all(answer.as_bytes())).await {
        say_farewell(stream).await;
    }
}

/// Closing a socket with unread bytes resets it, and the client would never read our alert.
async fn say_farewell(mut stream: TcpStream) {
    let farewell = async {
        stream.shutdown().await?;
        let mut rest = [0; 1024];
        while stream.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    };
    if let Ok(Err(error)) = timeout(FAREWELL, farewell).await {
        debug!(%error, "client of a failed handshake went away");
    }
}
