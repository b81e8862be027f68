//! Real servers and clients on the loopback: what the two do together when all is well, and what each says when it is not.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Query, Request};
use axum::response::Response;
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
    match call.await.unwrap_err() {
        ClientError::Refused {
            status, problem, ..
        } => (status.as_u16(), problem),
        error => panic!("not refused: {error:?}"),
    }
}

#[tokio::test]
async fn a_call_is_answered_and_the_next_ones_use_the_same_connection() {
    let server = Running::plain().await;
    let client = server.client();
    assert_eq!(
        client
            .post_json::<_, i64>("/sum", &Sum { a: 40, b: 2 })
            .await
            .unwrap(),
        42
    );
    let first: SocketAddr = client.get_json("/from").await.unwrap();
    for _ in 0..10 {
        assert_eq!(client.get_json::<SocketAddr>("/from").await.unwrap(), first);
    }
    server.stop().await;
}

#[tokio::test]
async fn many_calls_at_once_each_get_their_own_answer() {
    let server = Running::plain().await;
    let client = server.client();
    let calls = (0..200).map(|n| {
        let client = client.clone();
        async move {
            assert_eq!(
                client
                    .post_json::<_, i64>("/sum", &Sum { a: n, b: n })
                    .await
                    .unwrap(),
                2 * n
            )
        }
    });
    futures::future::join_all(calls).await;
    server.stop().await;
}

#[tokio::test]
async fn a_path_in_the_url_is_put_before_every_path() {
    let server = Running::plain().await;
    let client = Client::new(ClientSettings::new(format!("{}/nowhere/", server.url))).unwrap();
    let (status, problem) = refusal(client.get_json("/who")).await;
    assert_eq!(
        (status, problem.arguments["path"].as_str()),
        (404, "/nowhere/who")
    );
    server.stop().await;
}

#[tokio::test]
async fn credentials_arrive_in_their_headers() {
    let server = Running::plain().await;
    let answer = async |credentials| {
        let settings = ClientSettings {
            credentials,
            ..ClientSettings::new(&server.url)
        };
        Client::new(settings)
            .unwrap()
            .get_json::<Value>("/token")
            .await
            .unwrap()
    };
    assert_eq!(answer(Credentials::None).await, json!(null));
    assert_eq!(
        answer(Credentials::Bearer(Secret::new("T"))).await,
        json!(["bearer", "T"])
    );
    let basic = Credentials::Basic {
        user: "ada".to_owned(),
        password: Secret::new("p:w"),
    };
    assert_eq!(answer(basic).await, json!(["basic", "ada", "p:w"]));
    assert_eq!(
        answer(Credentials::Session(Secret::new("S"))).await,
        json!(["session", "S"])
    );
    server.stop().await;
}

#[tokio::test]
async fn what_no_handler_should_see_is_refused_with_a_problem() {
    let server = Running::plain().await;
    let client = server.client();
    let post = async |path: &'static str, kind, body: &'static str| {
        let (status, problem) =
            refusal(client.post_bytes(path, kind, Bytes::from_static(body.as_bytes()))).await;
        (status, problem.code.unwrap().into_owned())
    };
    let (status, problem) = refusal(client.get_json("/nothing-here")).await;
    assert_eq!(
        (status, problem.code.as_deref()),
        (404, Some("UnknownPath"))
    );
    assert_eq!(
        post("/who", "application/json", "{}").await,
        (405, "MethodNotAllowed".to_owned())
    );
    for form in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "Text/Plain; charset=utf-8",
        "",
    ] {
        assert_eq!(
            post("/sum", form, "{}").await,
            (403, "FormIsRefused".to_owned()),
            "{form}"
        );
    }
    assert_eq!(
        post("/sum", "application/json", "{\"a\":1").await,
        (400, "InvalidJson".to_owned())
    );
    assert_eq!(
        post("/sum", "application/json", "{\"a\":1,\"b\":\"x\"}").await,
        (400, "InvalidJson".to_owned())
    );
    server.stop().await;
}

#[tokio::test]
async fn an_oversized_body_is_refused_and_its_sender_reads_why() {
    let server = Running::plain().await;
    let client = server.client();
    let send = async |path, size| {
        client
            .post_bytes::<Value>(path, "application/json", vec![b' '; size].into())
            .await
    };
    assert_eq!(send("/size", 1000).await.unwrap(), json!(1000));
    assert_eq!(
        send("/large", 2000).await.unwrap(),
        json!(2000),
        "a route can have its own limit"
    );
    for size in [1001, 10_000_000] {
        let (status, problem) = refusal(send("/size", size)).await;
        assert_eq!(
            (status, problem.code.as_deref()),
            (413, Some("BodyIsTooLarge")),
            "{size}"
        );
    }
    assert_eq!(refusal(send("/large", 2001)).await.0, 413);
    server.stop().await;
}

#[tokio::test]
async fn a_refusal_that_passes_can_be_told_from_one_that_stays() {
    let server = Running::plain().await;
    let client = server.client();
    let error = client.get_json::<Value>("/busy").await.unwrap_err();
    assert!(error.is_transient(), "S32: a passive node is asked again");
    assert!(error.problem().unwrap().is("ClusterNodeIsNotActive"));
    assert!(
        !client
            .get_json::<Value>("/nowhere")
            .await
            .unwrap_err()
            .is_transient()
    );
    server.stop().await;
}

#[tokio::test]
async fn an_answer_that_makes_no_sense_is_called_broken() {
    let server = Running::plain().await;
    let client = Client::new(ClientSettings {
        answer_limit: 100,
        ..ClientSettings::new(&server.url)
    })
    .unwrap();
    for path in ["/text", "/big"] {
        let error = client.get_json::<Value>(path).await.unwrap_err();
        assert!(matches!(error, ClientError::Broken { .. }), "{error:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let server = Running::plain().await;
    let error = Server::bind(server.addr, None).await.unwrap_err();
    assert!(matches!(error, BindError::PortInUse { .. }));
    assert!(
        error.to_string().contains(&server.addr.to_string()),
        "{error}"
    );
    server.stop().await;
}

#[tokio::test]
async fn plain_http_stays_on_the_loopback() {
    let error = Server::bind("0.0.0.0:0".parse().unwrap(), None)
        .await
        .unwrap_err();
    assert!(matches!(error, BindError::PlainHttpBeyondLoopback { .. }));
    assert!(error.to_string().contains("mainspring certs"), "{error}");
    for (url, wanted) in [
        ("http://example.com:4444", "loopback"),
        ("https://example.com", "CA"),
        ("ftp://localhost", "scheme"),
        ("localhost:4444", "expected https"),
        ("http://me:secret@localhost", "credentials"),
    ] {
        let error = Client::new(ClientSettings::new(url))
            .unwrap_err()
            .to_string();
        assert!(error.contains(wanted), "{error}");
    }
}

#[tokio::test]
async fn with_certificates_on_both_sides_the_server_knows_who_calls() {
    let ca = Ca::new();
    let server = Running::start(
        Some(ca.server(ClientCertificates::Required)),
        Limits::default(),
    )
    .await;
    let client = https(&server.url, ca.client("agent-a", Role::Agent));
    assert_eq!(
        client.get_json::<Value>("/who").await.unwrap(),
        json!({"name": "agent-a", "role": "agent"})
    );
    assert_eq!(
        client
            .post_json::<_, i64>("/sum", &Sum { a: 1, b: 1 })
            .await
            .unwrap(),
        2
    );
    let mut stream = client.get_stream("/event?after=7", PATIENCE).await.unwrap();
    assert_eq!(
        stream.next_line().await.unwrap().unwrap(),
        "{\"eventId\":8}"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_client_without_certificate_is_told_that_it_needs_one_or_let_in_unnamed() {
    let ca = Ca::new();
    let server = Running::start(
        Some(ca.server(ClientCertificates::Required)),
        Limits::default(),
    )
    .await;
    let text = distrust(&https(&server.url, ca.stranger())).await;
    assert!(text.contains("demands a client certificate"), "{text}");
    server.stop().await;

    let ca = Ca::new();
    let server = Running::start(
        Some(ca.server(ClientCertificates::Optional)),
        Limits::default(),
    )
    .await;
    let who = https(&server.url, ca.stranger())
        .get_json::<Value>("/who")
        .await
        .unwrap();
    assert_eq!(who, json!({"name": null, "role": null}));
    server.stop().await;
}

#[tokio::test]
async fn certificates_of_a_foreign_ca_are_refused_by_either_side() {
    foreign_certificates(Ca::named("Ours"), Ca::named("Theirs")).await;
    foreign_certificates(Ca::named("Same name"), Ca::named("Same name")).await;
}

async fn foreign_certificates(ours: Ca, theirs: Ca) {
    let server = Running::start(
        Some(ours.server(ClientCertificates::Optional)),
        Limits::default(),
    )
    .await;
    let text = distrust(&https(&server.url, theirs.client("agent-a", Role::Agent))).await;
    assert!(text.contains("not signed by our CA"), "{text}");

    // A client that trusts us, but comes with a certificate of somebody else.
    let mut mixed = theirs.issue("agent-b", Role::Agent, "127.0.0.1");
    mixed.ca = ours.0.path().join("ca.pem");
    let text = distrust(&https(&server.url, unchecked(&mixed))).await;
    assert!(
        text.contains("it refuses our certificate: not signed by its CA"),
        "{text}"
    );
    server.stop().await;
}

#[tokio::test]
async fn an_expired_certificate_is_refused_at_start_and_by_the_peer() {
    let ca = Ca::new();
    let dir = ca.0.path().join("old");
    let old = files(
        &issue_for(
            ca.0.path(),
            "old",
            Role::Agent,
            &[],
            &dir,
            time::Duration::days(-1),
        )
        .unwrap(),
    );
    let error = TlsClient::load(&old).unwrap_err();
    assert!(matches!(error, TlsError::OutOfDate { .. }));
    assert!(error.to_string().contains("old.pem"), "{error}");

    let server = Running::start(
        Some(ca.server(ClientCertificates::Required)),
        Limits::default(),
    )
    .await;
    let text = distrust(&https(&server.url, unchecked(&old))).await;
    assert!(
        text.contains("it refuses our certificate: expired"),
        "{text}"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_server_under_another_name_is_not_trusted() {
    let ca = Ca::new();
    let elsewhere = TlsServer::load(
        &ca.issue("b", Role::Controller, "other.example"),
        ClientCertificates::Optional,
    )
    .unwrap();
    let server = Running::start(Some(elsewhere), Limits::default()).await;
    let text = distrust(&https(&server.url, ca.stranger())).await;
    assert!(
        text.contains("its certificate is for") && text.contains("other.example"),
        "{text}"
    );
    server.stop().await;
}

#[tokio::test]
async fn tls_and_plain_http_do_not_understand_each_other_and_say_so() {
    let ca = Ca::new();
    let plain = Running::plain().await;
    let text = distrust(&https(&format!("https://{}", plain.addr), ca.stranger())).await;
    assert!(text.contains("does not speak TLS"), "{text}");
    plain.stop().await;

    let tls = Running::start(
        Some(ca.server(ClientCertificates::Optional)),
        Limits::default(),
    )
    .await;
    let client = Client::new(ClientSettings::new(format!("http://{}", tls.addr))).unwrap();
    assert!(client.get_json::<Value>("/who").await.is_err());
    tls.stop().await;
}

/// Loads a pair as a client without the checks at start, as an older or foreign client would.
fn unchecked(files: &TlsFiles) -> TlsClient {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(&files.ca).unwrap())
        .unwrap();
    let chain = vec![CertificateDer::from_pem_file(&files.certificate).unwrap()];
    let key = PrivateKeyDer::from_pem_file(&files.key).unwrap();
    let config = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .unwrap();
    TlsClient(Arc::new(config))
}

#[test]
fn files_that_cannot_work_are_refused_with_their_name() {
    let (ca, foreign) = (Ca::new(), Ca::new());
    let good = ca.issue("a", Role::User, "localhost");
    let other = ca.issue("b", Role::User, "localhost");
    let text = ca.0.path().join("words.txt");
    std::fs::write(&text, "just words").unwrap();
    let cases: [(&str, TlsFiles, &str); 6] = [
        (
            "no such file",
            TlsFiles {
                key: "/nowhere/a.key".into(),
                ..good.clone()
            },
            "cannot read /nowhere/a.key",
        ),
        (
            "no certificate",
            TlsFiles {
                certificate: text.clone(),
                ..good.clone()
            },
            "words.txt: it has no PEM section for a certificate",
        ),
        (
            "no key",
            TlsFiles {
                key: text.clone(),
                ..good.clone()
            },
            "words.txt: it has no PEM section for a private key",
        ),
        (
            "a key as certificate",
            TlsFiles {
                certificate: good.key.clone(),
                ..good.clone()
            },
            "a.key: it has no PEM section for a certificate",
        ),
        (
            "another's key",
            TlsFiles {
                key: other.key.clone(),
                ..good.clone()
            },
            "does not belong to the certificate",
        ),
        (
            "another's CA",
            TlsFiles {
                ca: foreign.0.path().join("ca.pem"),
                ..good.clone()
            },
            "is not signed by the CA in",
        ),
    ];
    for (what, files, wanted) in cases {
        let error = TlsServer::load(&files, ClientCertificates::Required)
            .unwrap_err()
            .to_string();
        assert!(error.contains(wanted), "{what}: {error}");
        assert!(TlsClient::load(&files).is_err(), "{what}");
    }
    TlsServer::load(&good, ClientCertificates::Required).unwrap();
}

#[test]
fn certificates_are_never_overwritten_and_keys_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let ca = Ca::new();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let files = ca.issue("a", Role::User, "localhost");
    assert_eq!(mode(&files.key), 0o600);
    assert_eq!(mode(&ca.0.path().join("ca.key")), 0o600);
    let before = std::fs::read(&files.key).unwrap();
    let again = issue(ca.0.path(), "a", Role::User, &[], &ca.0.path().join("a"));
    assert!(matches!(again, Err(CertsError::Exists { .. })));
    assert!(matches!(
        create_ca(ca.0.path(), "again"),
        Err(CertsError::Exists { .. })
    ));
    assert_eq!(std::fs::read(&files.key).unwrap(), before);
    for name in ["", "ca", "../a", ".hidden", "a b"] {
        assert!(
            matches!(
                issue(ca.0.path(), name, Role::User, &[], ca.0.path()),
                Err(CertsError::BadName { .. })
            ),
            "{name:?}"
        );
    }
}

#[tokio::test]
async fn s57_a_stream_resumes_after_the_last_event_it_has_seen() {
    let server = Running::plain().await;
    let client = server.client();
    let mut seen = vec![];
    let mut after = 0;
    for _ in 0..3 {
        let mut stream = client
            .get_stream(&format!("/event?after={after}"), PATIENCE)
            .await
            .unwrap();
        while let Some(lines) = stream.next_lines().await.unwrap() {
            for line in lines {
                after = serde_json::from_slice::<Value>(&line).unwrap()["eventId"]
                    .as_u64()
                    .unwrap();
                seen.push(after);
            }
        }
    }
    assert_eq!(seen, (1..=9).collect::<Vec<_>>());
    server.stop().await;
}

#[tokio::test]
async fn heartbeats_keep_a_silent_stream_alive_and_are_never_seen_as_lines() {
    let server = Running::plain().await;
    let mut stream = server
        .client()
        .get_stream("/silence", 500 * MS)
        .await
        .unwrap();
    // Three times the patience: without heartbeats the stream would count as lost by then.
    assert!(timeout(1500 * MS, stream.next_line()).await.is_err());
    server.stop().await;
    assert_eq!(
        stream.next_line().await.unwrap(),
        None,
        "the server's shutdown ends the stream"
    );
}

#[tokio::test]
async fn s33_a_stream_without_line_or_heartbeat_counts_as_lost() {
    let server = Running::plain().await;
    let mut stream = server.client().get_stream("/dead", 100 * MS).await.unwrap();
    let error = stream.next_line().await.unwrap_err();
    assert!(
        matches!(
            error,
            ClientError::Unreachable {
                outage: Outage::Silent(_),
                ..
            }
        ),
        "{error:?}"
    );
    assert!(error.is_transient());
    drop(stream);
    server.stop().await;
}

#[tokio::test]
async fn a_stream_that_ends_inside_a_line_is_broken() {
    let server = Running::plain().await;
    let mut stream = server
        .client()
        .get_stream("/half-line", PATIENCE)
        .await
        .unwrap();
    assert_eq!(stream.next_line().await.unwrap().unwrap(), "{}");
    assert!(matches!(
        stream.next_line().await,
        Err(ClientError::Broken { .. })
    ));
    server.stop().await;
}

#[tokio::test]
async fn a_refused_stream_gives_its_problem() {
    let server = Running::plain().await;
    let error = server
        .client()
        .get_stream("/busy", PATIENCE)
        .await
        .unwrap_err();
    assert_eq!(error.problem().unwrap().message, "this node is passive");
    server.stop().await;
}

#[tokio::test]
async fn a_line_that_is_waited_for_in_vain_is_not_lost() {
    let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(10);
    let source = std::sync::Mutex::new(Some(stream::unfold(receiver, async |mut receiver| {
        receiver.recv().await.map(|chunk| (chunk, receiver))
    })));
    let source = Arc::new(source);
    let router = Router::new().route(
        "/",
        get(async move || {
            stream_response(source.lock().unwrap().take().unwrap().boxed(), None, None)
        }),
    );
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), None)
        .await
        .unwrap();
    let client = Client::new(ClientSettings::new(server.url())).unwrap();
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(server.serve(router, shutdown.clone()));
    let mut stream = client.get_stream("/", PATIENCE).await.unwrap();
    sender.send(Bytes::from_static(b"one\ntw")).await.unwrap();
    assert_eq!(stream.next_line().await.unwrap().unwrap(), "one");
    assert!(timeout(50 * MS, stream.next_line()).await.is_err());
    sender.send(Bytes::from_static(b"o\n")).await.unwrap();
    assert_eq!(stream.next_line().await.unwrap().unwrap(), "two");
    drop(sender);
    assert_eq!(stream.next_line().await.unwrap(), None);
    shutdown.cancel();
    task.await.unwrap();
}

#[tokio::test]
async fn s32_a_peer_that_never_answers_is_left_after_the_time_limit() {
    let server = Running::start(
        None,
        Limits {
            drain: 10 * MS,
            ..Limits::default()
        },
    )
    .await;
    let client = Client::new(ClientSettings {
        request_timeout: 100 * MS,
        ..ClientSettings::new(&server.url)
    })
    .unwrap();
    let error = client.get_json::<Value>("/for-ever").await.unwrap_err();
    assert!(
        matches!(
            error,
            ClientError::Unreachable {
                outage: Outage::RequestTimeout(_),
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(
        client
            .post_json::<_, i64>("/sum", &Sum { a: 1, b: 1 })
            .await
            .unwrap(),
        2,
        "the next call is not held up"
    );
    server.stop().await;
}

#[tokio::test]
async fn s33_a_restarted_peer_is_called_again_without_an_error() {
    let server = Running::plain().await;
    let (client, addr) = (server.client(), server.addr);
    assert_eq!(
        client
            .post_json::<_, i64>("/sum", &Sum { a: 1, b: 1 })
            .await
            .unwrap(),
        2
    );
    server.stop().await;
    let error = client
        .post_json::<_, i64>("/sum", &Sum { a: 1, b: 1 })
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            ClientError::Unreachable {
                outage: Outage::Connect(_),
                ..
            }
        ),
        "{error:?}"
    );
    assert!(error.is_transient());
    let server = Running::start_at(addr, None, Limits::default()).await;
    assert_eq!(
        client
            .post_json::<_, i64>("/sum", &Sum { a: 1, b: 2 })
            .await
            .unwrap(),
        3
    );
    server.stop().await;
}

#[tokio::test]
async fn a_shutdown_lets_the_running_request_end() {
    let server = Running::plain().await;
    let client = server.client();
    let call = tokio::spawn(async move { client.get_json::<String>("/slow").await });
    sleep(50 * MS).await;
    server.stop().await;
    assert_eq!(call.await.unwrap().unwrap(), "done");
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_a_request_without_end() {
    let server = Running::start(
        None,
        Limits {
            drain: 100 * MS,
            ..Limits::default()
        },
    )
    .await;
    let client = server.client();
    let call = tokio::spawn(async move { client.get_json::<()>("/for-ever").await });
    sleep(50 * MS).await;
    let asked = Instant::now();
    server.stop().await;
    assert!(asked.elapsed() < 2 * Duration::from_secs(1));
    assert!(matches!(
        call.await.unwrap(),
        Err(ClientError::Unreachable {
            outage: Outage::Lost(_),
            ..
        })
    ));
}

#[tokio::test]
async fn a_client_that_sends_its_header_drop_by_drop_is_hung_up_on() {
    let server = Running::start(
        None,
        Limits {
            header: 100 * MS,
            ..Limits::default()
        },
    )
    .await;
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    stream
        .write_all(b"GET /who HTTP/1.1\r\nhost: x\r\nx-slow: ")
        .await
        .unwrap();
    let mut answer = vec![];
    timeout(PATIENCE, stream.read_to_end(&mut answer))
        .await
        .expect("the server hangs up")
        .unwrap();
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_never_begins_its_handshake_is_hung_up_on() {
    let ca = Ca::new();
    let limits = Limits {
        handshake: 100 * MS,
        ..Limits::default()
    };
    let server = Running::start(Some(ca.server(ClientCertificates::Required)), limits).await;
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    let mut answer = vec![];
    timeout(PATIENCE, stream.read_to_end(&mut answer))
        .await
        .expect("the server hangs up")
        .unwrap();
    server.stop().await;
}

#[tokio::test]
async fn one_connection_too_many_waits_until_another_ends() {
    let server = Running::start(
        None,
        Limits {
            connections: 1,
            ..Limits::default()
        },
    )
    .await;
    let first = server.client();
    assert_eq!(
        first
            .post_json::<_, i64>("/sum", &Sum { a: 1, b: 1 })
            .await
            .unwrap(),
        2
    );
    let second = server.client();
    let waiting = tokio::spawn(async move {
        second
            .post_json::<_, i64>("/sum", &Sum { a: 2, b: 2 })
            .await
            .unwrap()
    });
    sleep(100 * MS).await;
    assert!(!waiting.is_finished());
    drop(first);
    assert_eq!(timeout(PATIENCE, waiting).await.unwrap().unwrap(), 4);
    server.stop().await;
}

#[tokio::test]
async fn a_router_without_server_answers_too() {
    use hyper::service::Service;
    let service = hyper_util::service::TowerToHyperService::new(routes());
    let answer: Result<Response, Infallible> = service
        .call(
            Request::get("/who")
                .body(axum::body::Body::empty())
                .unwrap(),
        )
        .await;
    assert_eq!(
        answer.unwrap().status(),
        StatusCode::BAD_REQUEST,
        "no peer without a connection"
    );
}
