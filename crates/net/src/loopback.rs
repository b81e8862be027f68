//! Real servers and clients on the loopback: what the two do together when all is well, and what each says when it is not.

mod calls;
mod certificates;
mod limits;
mod streams;
mod upgrades;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Query, Request};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use bytes::Bytes;
use futures::{StreamExt, stream};
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::certs::{Issued, create_ca, issue, issue_for};
use crate::*;

const PATIENCE: Duration = Duration::from_secs(5);
const MS: Duration = Duration::from_millis(1);

#[derive(Serialize, Deserialize)]
struct Sum {
    a: i64,
    b: i64,
}

#[derive(Deserialize)]
struct After {
    after: u64,
}

fn routes() -> Router {
    let router = Router::new()
        .route(
            "/sum",
            post(async |JsonBody(Sum { a, b }): JsonBody<Sum>| Json(a + b)),
        )
        .route(
            "/talk",
            get(async |mut request: Request| {
                upgrade(&mut request, "echo", async |stream| {
                    let (mut reading, mut writing) = tokio::io::split(stream);
                    tokio::io::copy(&mut reading, &mut writing).await.unwrap();
                })
            }),
        )
        .route(
            "/size",
            post(async |RawBody(bytes): RawBody| Json(bytes.len())),
        )
        .route(
            "/who",
            get(async |peer: PeerIdentity| {
                Json(json!({"name": peer.common_name, "role": peer.role}))
            }),
        )
        .route("/from", get(async |peer: PeerIdentity| Json(peer.addr)))
        .route("/token", get(token))
        .route(
            "/busy",
            get(async || Problem::new("ClusterNodeIsNotActive", "this node is passive")),
        )
        .route(
            "/login",
            get(async |mut request: Request| {
                let user = request.headers().get("x-user");
                let user = user.and_then(|user| user.to_str().ok()).unwrap_or("anna");
                let caller = Caller::User(user.into());
                let identified = caller.identify(request.extensions_mut());
                let stays = request.uri().query() == Some("stay");
                identified.map(|()| {
                    if stays {
                        stream_response(stream::pending(), Some(20 * MS), None)
                    } else {
                        Json("welcome").into_response()
                    }
                })
            }),
        )
        .route("/text", get(async || "plain words"))
        .route("/big", get(async || Json("x".repeat(1000))))
        .route(
            "/slow",
            get(async || {
                sleep(200 * MS).await;
                Json("done")
            }),
        )
        .route(
            "/for-ever",
            get(async || std::future::pending::<Json<()>>().await),
        )
        .route("/event", get(events))
        .route(
            "/silence",
            get(async |closing: Closing| {
                stream_response(stream::pending(), Some(20 * MS), Some(&closing))
            }),
        )
        .route(
            "/dead",
            get(async || stream_response(stream::pending(), None, None)),
        )
        .route(
            "/half-line",
            get(async || {
                stream_response(
                    stream::iter([Bytes::from_static(b"{}\n{\"a\"")]),
                    None,
                    None,
                )
            }),
        )
        .route(
            "/large",
            post(async |RawBody(bytes): RawBody| Json(bytes.len()))
                .layer(Extension(BodyLimit(2000))),
        );
    guard(router, BodyLimit(1000))
}

async fn token(request: Request) -> Json<Value> {
    Json(match Presented::from_headers(request.headers()).unwrap() {
        None => json!(null),
        Some(Presented::Bearer(token)) => json!(["bearer", token.reveal()]),
        Some(Presented::Basic { user, password }) => json!(["basic", user, password.reveal()]),
        Some(Presented::Session(token)) => json!(["session", token.reveal()]),
    })
}

/// Three events after the asked one, two of them in one chunk.
async fn events(Query(After { after }): Query<After>) -> Response {
    let line = move |n: u64| format!("{{\"eventId\":{}}}\n", after + n);
    let chunks = [format!("{}{}", line(1), line(2)), line(3)];
    stream_response(
        stream::iter(chunks.map(Bytes::from)),
        Some(Duration::from_secs(1)),
        None,
    )
}

struct Running {
    url: String,
    addr: SocketAddr,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    async fn start(tls: Option<TlsServer>, limits: Limits) -> Running {
        Running::start_at("127.0.0.1:0".parse().unwrap(), tls, limits).await
    }

    async fn start_at(addr: SocketAddr, tls: Option<TlsServer>, limits: Limits) -> Running {
        let server = Server::bind(addr, tls).await.unwrap().with_limits(limits);
        let (url, addr, shutdown) = (server.url(), server.local_addr(), CancellationToken::new());
        let task = tokio::spawn(server.serve(routes(), shutdown.clone()));
        Running {
            url,
            addr,
            shutdown,
            task,
        }
    }

    async fn plain() -> Running {
        Running::start(None, Limits::default()).await
    }

    fn client(&self) -> Client {
        Client::new(ClientSettings::new(&self.url)).unwrap()
    }

    async fn stop(self) {
        self.shutdown.cancel();
        timeout(PATIENCE, self.task)
            .await
            .expect("the server ends in time")
            .unwrap();
    }
}

/// A CA in a folder, and what it issues.
struct Ca(TempDir);

impl Ca {
    fn new() -> Ca {
        Ca::named("Test CA")
    }

    fn named(name: &str) -> Ca {
        let dir = TempDir::new().unwrap();
        create_ca(dir.path(), name).unwrap();
        Ca(dir)
    }

    fn issue(&self, name: &str, role: Role, address: &str) -> TlsFiles {
        files(
            &issue(
                self.0.path(),
                name,
                role,
                &[address.to_owned()],
                &self.0.path().join(name),
            )
            .unwrap(),
        )
    }

    fn server(&self, clients: ClientCertificates) -> TlsServer {
        TlsServer::load(
            &self.issue("controller", Role::Controller, "127.0.0.1"),
            clients,
        )
        .unwrap()
    }

    fn client(&self, name: &str, role: Role) -> TlsClient {
        TlsClient::load(&self.issue(name, role, "127.0.0.1")).unwrap()
    }

    /// Without a certificate.
    fn stranger(&self) -> TlsClient {
        TlsClient::load_ca(&self.0.path().join("ca.pem")).unwrap()
    }
}

fn files(issued: &Issued) -> TlsFiles {
    TlsFiles {
        ca: issued.ca.clone(),
        certificate: issued.certificate.clone(),
        key: issued.key.clone(),
    }
}

fn https(url: &str, tls: TlsClient) -> Client {
    Client::new(ClientSettings {
        tls: Some(tls),
        ..ClientSettings::new(url)
    })
    .unwrap()
}

async fn distrust(client: &Client) -> String {
    let error = client.get_json::<Value>("/who").await.unwrap_err();
    assert!(matches!(error, ClientError::Untrusted { .. }), "{error:?}");
    assert!(!error.is_transient());
    error.to_string()
}

async fn refusal(call: impl Future<Output = Result<Value, ClientError>>) -> (u16, Problem) {
    let error = call.await.unwrap_err();
    let ClientError::Refused {
        status, problem, ..
    } = error
    else {
        panic!("not refused: {error:?}")
    };
    (status.as_u16(), problem)
}
