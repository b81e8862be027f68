//! Serving HTTP/1.1, plain on the loopback or over TLS, and saying who is at the other end.
//!
//! Always: connections are bounded in number, in the time of their handshake and in the time between requests; a shutdown ends them
//! after their running request, or after the time limit. A handler that panics answers 500, and no other request notices. Every request carries `PeerIdentity` and `Closing` in its extensions.
//! Never here: routes.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::FromRequestParts;
use axum::response::{IntoResponse as _, Response};
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::peer::PeerIdentity;
use crate::problem::{Problem, Refusal};
use crate::stall::Impatient;
use crate::tls::TlsServer;

/// How long the client of a failed handshake is listened to, so that it reads our reason before the connection is reset.
const FAREWELL: Duration = Duration::from_secs(1);
/// A pause when the system has no descriptor left, since trying again at once would only burn the processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

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
    /// More connections wait in the system's queue.
    pub connections: usize,
    /// For TLS to come about.
    pub handshake: Duration,
    /// From the end of one request to the end of the next one's header.
    pub header: Duration,
    /// For a client that takes nothing of its answer; an event stream can be resumed later.
    pub stall: Duration,
    /// For running requests at shutdown.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 2000,
            handshake: Duration::from_secs(10),
            header: Duration::from_secs(30),
            stall: Duration::from_mins(1),
            drain: Duration::from_secs(5),
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

impl Server {
    /// Takes the port.
    pub async fn bind(addr: SocketAddr, tls: Option<TlsServer>) -> Result<Server, BindError> {
        if tls.is_none() && !addr.ip().is_loopback() {
            return Err(BindError::PlainHttpBeyondLoopback { addr });
        }
        let listener = TcpListener::bind(addr).await.map_err(|source| {
            if source.kind() == io::ErrorKind::AddrInUse {
                BindError::PortInUse { addr }
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
        let connections = TaskTracker::new();
        let seats = Arc::new(Semaphore::new(limits.connections));
        let host = Host {
            service: TowerToHyperService::new(router.with_state(())),
            tls,
            limits,
            closing: Closing(shutdown.clone()),
        };
        let accept = async {
            loop {
                let seat = seats
                    .clone()
                    .acquire_owned()
                    .await
                    .expect("the semaphore is never closed");
                match listener.accept().await {
                    Ok((stream, addr)) => {
                        let host = host.clone();
                        let served = connections.track_future(async move {
                            host.receive(stream, addr).await;
                            drop(seat);
                        });
                        tasks::spawn_contained("connection", served);
                    }
                    Err(error) if is_about_one_connection(&error) => {
                        debug!(%error, "connection was gone before it was accepted");
                    }
                    Err(error) => {
                        warn!(%error, "cannot accept a connection");
                        sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        };
        // Nothing is lost when accepting is dropped: a connection is either in the system's queue or in its task.
        tokio::select! {
            () = accept => {}
            () = shutdown.cancelled() => {}
        }
        drop(listener);
        connections.close();
        connections.wait().await;
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
    async fn receive(self, stream: TcpStream, addr: SocketAddr) {
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%addr, %error, "connection was gone before it was served");
            return;
        }
        let Some(tls) = &self.tls else {
            return self.converse(stream, PeerIdentity::unnamed(addr)).await;
        };
        let acceptor = TlsAcceptor::from(tls.0.current());
        let handshake = timeout(
            self.limits.handshake,
            acceptor.accept(stream).into_fallible(),
        );
        let outcome = tokio::select! {
            outcome = handshake => outcome,
            () = self.closing.0.cancelled() => return,
        };
        match outcome {
            Ok(Ok(stream)) => {
                let certificate = stream
                    .get_ref()
                    .1
                    .peer_certificates()
                    .and_then(|chain| chain.first());
                let peer = match certificate {
                    Some(certificate) => PeerIdentity::named(addr, certificate),
                    None => PeerIdentity::unnamed(addr),
                };
                self.converse(stream, peer).await;
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
    ) {
        let Host {
            service,
            limits,
            closing,
            ..
        } = self;
        let addr = peer.addr;
        let shutdown = closing.0.clone();
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(peer.clone());
            request.extensions_mut().insert(closing.clone());
            let answer = tasks::contain("request", service.call(request));
            async move {
                answer
                    .await
                    .unwrap_or_else(|tasks::Panicked| Ok(panicked()))
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header)
            .serve_connection(TokioIo::new(Impatient::new(stream, limits.stall)), service)
            .with_upgrades();
        let mut connection = std::pin::pin!(connection);
        let outcome = tokio::select! {
            outcome = connection.as_mut() => outcome,
            () = shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                match timeout(limits.drain, connection).await {
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

/// What a request is answered whose handler has panicked. The others go on.
fn panicked() -> Response {
    let message = "a fault of the program: this request has failed, and whether it was carried out is unknown; the log of this part tells more";
    let problem = Problem::new("InternalError", message);
    problem
        .status(StatusCode::INTERNAL_SERVER_ERROR)
        .into_response()
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
