//! The other members that keep a node's log: how they are set, dialled and known.
//!
//! Always: members speak over one connection each, which one of two dials; a member is known by a certificate or by the token that
//! all of them share. Never here: what they say; see `cluster`.

use axum::http::{HeaderMap, StatusCode};
use cluster::{LinkEnd, Log, Options, Part, Timing, Witness, WitnessStore};
use net::{
    Backoff, Client, ClientError, ClientSettings, Credentials, PeerIdentity, Presented, Problem,
    Refusal, Role, Secret, TlsClient, TokenHash,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

/// The language of the members among themselves.
pub const MEMBERS: &str = "mainspring-members";
/// Where the members of a Controller speak it.
pub const CONTROLLER_MEMBERS_PATH: &str = "/controller/api/cluster/member";
/// Where the Directors of an Agent do.
pub const AGENT_MEMBERS_PATH: &str = "/agent/api/cluster/member";
/// Where the witness that a Controller keeps connects to the Directors of an Agent.
pub const AGENT_WITNESS_PATH: &str = "/agent/api/cluster/witness";
/// The longest pause between two attempts to dial a member. A member that is back is needed at once.
const PAUSE_MAX: Duration = Duration::from_millis(200);
/// How long a process waits before it retries if it was refused because another one is the same member.
const DOUBLE_PAUSE: Duration = Duration::from_secs(2);
/// So long the attempts may take, in turn. What was lost on its way is sent anew by TCP after a second and later, by a new attempt at
/// once; a member that is far away or busy is reached by the long one.
const PATIENCE: [Duration; 4] = [
    Duration::from_millis(500),
    Duration::from_millis(500),
    Duration::from_millis(500),
    Duration::from_secs(5),
];

/// This node as a member of a cluster.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ClusterSettings {
    /// What this member is called. Since 0.1.
    pub name: String,
    /// An empty directory begins no log of its own but waits to be taken in by the active member. Since 0.1.
    pub join: bool,
    /// Other members that this one dials, by name. One of two dials: the one that joins. Since 0.1.
    pub members: BTreeMap<String, String>,
    /// Where this member of a Controller is reached by whoever looks for the active one: the others learn it. (Directors are reached
    /// where their items say.) Since 0.1.
    pub url: Option<String>,
    /// The file with the token that all members and the watch show to each other, unless they have certificates. Since 0.1.
    pub token_file: Option<PathBuf>,
    /// How often the active member is heard. Since 0.1.
    pub heartbeat: settings::Duration,
    /// After so much silence the other member may follow; it does after twice that at the latest. Since 0.1.
    pub silence: settings::Duration,
}

impl Default for ClusterSettings {
    fn default() -> Self {
        let timing = Timing::default();
        ClusterSettings {
            name: "Primary".to_owned(),
            join: false,
            members: BTreeMap::new(),
            url: None,
            token_file: None,
            heartbeat: settings::Duration(timing.heartbeat),
            silence: settings::Duration(timing.silence_min),
        }
    }
}

impl ClusterSettings {
    /// Puts them where the log looks for them.
    pub fn apply(&self, options: &mut Options) {
        options.name.clone_from(&self.name);
        options.joins = self.join;
        options.timing = Timing {
            heartbeat: self.heartbeat.0,
            silence_min: self.silence.0,
            silence_max: self.silence.0 * 2,
            hold: self.silence.0,
        };
    }

    /// The other members that this one dials.
    pub fn others(
        &self,
        tls: Option<&TlsClient>,
        token: Option<&Secret>,
    ) -> Result<Vec<Client>, ClientError> {
        let others = self.members.iter().filter(|(name, _)| **name != self.name);
        others.map(|(_, url)| client(url, tls, token)).collect()
    }
}

/// A way to the member at this address.
pub fn client(
    url: &str,
    tls: Option<&TlsClient>,
    token: Option<&Secret>,
) -> Result<Client, ClientError> {
    let mut client = ClientSettings::new(url);
    client.tls = tls.cloned();
    if let Some(token) = token {
        client.credentials = Credentials::Bearer(token.clone());
    }
    Client::new(client)
}

/// An empty directory that was told to begin alone joins instead when another member has the log already.
pub async fn join_if_begun(options: &mut Options, others: &[Client], path: &'static str) {
    let dial = |client: &Client| {
        let client = client.clone();
        async move { client.upgrade(path, MEMBERS).await.ok() }
    };
    cluster::join_if_begun(options, others, dial).await;
}

/// Connections to the dialled members. They are kept up until this is dropped.
#[derive(Debug)]
#[must_use = "the connections end when this is dropped"]
pub struct Dialled(
    #[expect(dead_code, reason = "dropped, it ends them")] Vec<AbortOnDropHandle<Infallible>>,
);

impl Dialled {
    /// Dials all members. Must be called within the runtime.
    pub fn begin(log: &Log, members: &[Client], path: &'static str) -> Dialled {
        let begin = |client: &Client| {
            let dialling = dial(log.clone(), client.clone(), path);
            AbortOnDropHandle::new(tasks::spawn_endless("member-dialler", dialling))
        };
        Dialled(members.iter().map(begin).collect())
    }
}

/// Dials another member and speaks with it, for ever.
async fn dial(log: Log, client: Client, path: &'static str) -> Infallible {
    let upgrade = || client.upgrade(path, MEMBERS);
    keep_connected(client.peer(), upgrade, |stream| log.serve(stream)).await
}

/// Dials a Director of the pair that has this witness and serves the connection. Repeats this forever.
pub async fn dial_as_witness<S: WitnessStore>(
    witness: Arc<Witness<S>>,
    client: Client,
) -> Infallible {
    let upgrade = || async {
        match client.upgrade(AGENT_WITNESS_PATH, MEMBERS).await {
            Ok(stream) => Ok((stream, Part::Witness)),
            // A Director of an earlier version knows watches only.
            Err(ClientError::Refused { status, .. })
                if [StatusCode::NOT_FOUND, StatusCode::SERVICE_UNAVAILABLE].contains(&status) =>
            {
                let stream = client.upgrade(AGENT_MEMBERS_PATH, MEMBERS).await?;
                Ok((stream, Part::Watch))
            }
            Err(error) => Err(error),
        }
    };
    let serve = |(stream, part)| witness.serve(stream, part);
    keep_connected(client.peer(), upgrade, serve).await
}

/// Connects and serves the connection until it ends. Repeats this forever.
async fn keep_connected<T, C, E>(
    peer: &str,
    upgrade: impl Fn() -> C + Send,
    serve: impl Fn(T) -> E + Send,
) -> Infallible
where
    C: Future<Output = Result<T, ClientError>> + Send,
    E: Future<Output = LinkEnd> + Send,
{
    let begun = Instant::now();
    let mut backoff = Backoff::new();
    let mut tries = 0;
    loop {
        let within = PATIENCE[tries % PATIENCE.len()];
        tries += 1;
        match timeout(within, upgrade()).await {
            Ok(Ok(stream)) => {
                backoff.connected(begun.elapsed());
                tries = 0;
                let end = serve(stream).await;
                tracing::debug!(peer, %end, "the connection to a member has ended");
                if matches!(end, LinkEnd::Double(_)) {
                    sleep(DOUBLE_PAUSE).await;
                }
            }
            Ok(Err(error)) => {
                tracing::debug!(peer, %error, "a member cannot be reached");
            }
            Err(_elapsed) => {
                tracing::debug!(peer, ?within, "a member does not answer");
            }
        }
        let pause = backoff.failed(begun.elapsed(), rand::random::<f64>());
        sleep(pause.min(PAUSE_MAX)).await;
    }
}

/// Who may speak as a member.
#[derive(Clone, Debug, Default)]
pub struct Trusted {
    /// With a certificate for one of these.
    pub roles: Vec<Role>,
    /// With one of these.
    pub tokens: Vec<TokenHash>,
}

impl Trusted {
    /// Refuses everybody else.
    pub(crate) fn check(
        &self,
        peer: Option<&PeerIdentity>,
        headers: &HeaderMap,
    ) -> Result<(), Refusal> {
        let role = peer.and_then(|peer| peer.role);
        if role.is_some_and(|role| self.roles.contains(&role)) {
            return Ok(());
        }
        let presented = Presented::from_headers(headers)?;
        if let Some(Presented::Bearer(shown)) = presented
            && self.tokens.iter().any(|token| token.matches(&shown))
        {
            return Ok(());
        }
        let message = "only members of this cluster may speak here; show a certificate of one, or the token of cluster.token-file";
        Err(Problem::new("Unauthenticated", message).status(axum::http::StatusCode::UNAUTHORIZED))
    }
}
