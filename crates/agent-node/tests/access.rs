//! Access to an Agent and to its own Subagent: each route without credentials, with wrong ones and with the right ones. A route that is
//! added without an entry here fails the test.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot set up its world fails at that line"
)]

use agent_node::AgentSettings;
use net::{
    Client, ClientError, ClientSettings, Credentials, Role, Secret, TlsClient, TlsFiles, create_ca,
    issue,
};
use serde_json::{Value, json};
use std::path::Path;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

const SOURCES: [&str; 5] = [
    include_str!("../src/api.rs"),
    include_str!("../../subagent-node/src/api.rs"),
    include_str!("../../subagent-node/src/metrics.rs"),
    include_str!("../../subagent-node/src/run.rs"),
    include_str!("../../node/src/front.rs"),
];

/// The path as the source names it, the path that is requested, and whether it is public.
const ROUTES: [(&str, &str, bool); 14] = [
    ("/agent/api", "/agent/api", false),
    ("/agent/api/command", "/agent/api/command", false),
    (
        "/agent/api/event",
        "/agent/api/event?after=0&timeout=0",
        false,
    ),
    (
        "/agent/api/event/{coupling}",
        "/agent/api/event/1?after=0&timeout=0",
        false,
    ),
    ("/agent/api/metrics", "/agent/api/metrics", false),
    ("/agent/api/cluster", "/agent/api/cluster", false),
    ("/metrics", "/metrics", false),
    ("/subagent/api", "/subagent/api", false),
    ("/subagent/api/command", "/subagent/api/command", false),
    (
        "/subagent/api/event",
        "/subagent/api/event?subagentRunId=X&after=0",
        false,
    ),
    ("path", "/agent/api/cluster/member", false),
    ("path", "/agent/api/cluster/witness", false),
    ("/health", "/health", true),
    ("/health/active", "/health/active", true),
];

#[test]
fn every_route_of_the_source_is_in_the_table() {
    let routes = SOURCES
        .iter()
        .flat_map(|source| source.split(".route(").skip(1));
    for route in routes {
        let path = route.split(',').next().unwrap().trim().trim_matches('"');
        assert!(
            ROUTES.iter().any(|(listed, ..)| *listed == path),
            "say here who may use {path}"
        );
    }
}

struct Agent {
    url: String,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<Result<agent_node::Exit, agent_node::RunError>>,
}

impl Agent {
    async fn start(data: &Path, tls: Option<TlsFiles>) -> Agent {
        let settings = AgentSettings {
            name: "ALFA".to_owned(),
            listen: "127.0.0.1:0".parse().unwrap(),
            data: data.to_owned(),
            tls,
            ..AgentSettings::default()
        };
        let (stop, (ready, is_ready)) = (CancellationToken::new(), oneshot::channel());
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            agent_node::run(settings, stopped, |url| {
                ready.send(url.to_owned()).unwrap();
            })
            .await
        });
        Agent {
            url: is_ready.await.unwrap(),
            stop,
            task,
        }
    }

    fn client(&self, credentials: Credentials, tls: Option<TlsClient>) -> Client {
        Client::new(ClientSettings {
            credentials,
            tls,
            ..ClientSettings::new(&self.url)
        })
        .unwrap()
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }
}

/// Returns the status of an answer. Every answer that is not a refusal counts as 200.
async fn status(client: &Client, path: &str) -> u16 {
    let answer = if path.ends_with("/command") {
        client
            .post_json::<_, Value>(path, &json!({ "TYPE": "NoOperation" }))
            .await
    } else {
        client.get_json::<Value>(path).await
    };
    match answer {
        Err(ClientError::Refused { status, .. }) => status.as_u16(),
        Ok(_) | Err(ClientError::Broken { .. }) => 200,
        Err(error) => panic!("{path}: {error}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_health_is_public() {
    let data = tempfile::tempdir().unwrap();
    let agent = Agent::start(data.path(), None).await;
    let token = std::fs::read_to_string(data.path().join("private/token")).unwrap();
    let bearer = |token: &str| Credentials::Bearer(Secret::new(token));
    let strangers = [
        Credentials::None,
        bearer("wrong"),
        Credentials::Basic {
            user: "admin".to_owned(),
            password: Secret::new(token.trim()),
        },
        Credentials::Session(Secret::new(token.trim())),
    ];
    let right = agent.client(bearer(token.trim()), None);
    for (path, asked, is_public) in ROUTES {
        for stranger in &strangers {
            let status = status(&agent.client(stranger.clone(), None), asked).await;
            assert_eq!(status != 401, is_public, "{asked} {stranger:?}: {status}");
        }
        // The routes of members and Subagents require other tokens.
        if path != "path" && !path.starts_with("/subagent") {
            let status = status(&right, asked).await;
            assert_ne!(status, 401, "{asked}");
        }
    }
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_of_a_certificate_opens_only_its_routes() {
    let (data, ca) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    create_ca(ca.path(), "Test CA").unwrap();
    let certificate = |name: &str, role: Role| {
        let dir = ca.path().join(format!("{name}-{role}"));
        let address = ["127.0.0.1".to_owned()];
        let issued = issue(ca.path(), name, role, &address, &dir).unwrap();
        TlsFiles {
            ca: issued.ca,
            certificate: issued.certificate,
            key: issued.key,
        }
    };
    let agent = Agent::start(data.path(), Some(certificate("ALFA", Role::Agent))).await;
    for role in Role::ALL {
        let tls = TlsClient::load(&certificate("peer", role)).unwrap();
        let client = agent.client(Credentials::None, Some(tls));
        for (path, asked, is_public) in ROUTES {
            let status = status(&client, asked).await;
            let may = is_public
                || match path {
                    // A Controller is the witness of a pair of Directors.
                    "path" => matches!(role, Role::Agent | Role::Controller),
                    path if path.starts_with("/subagent") => role == Role::Agent,
                    _ => role == Role::Controller,
                };
            assert_eq!(status != 401, may, "{asked} {role}: {status}");
        }
    }
    agent.stop().await;
}
