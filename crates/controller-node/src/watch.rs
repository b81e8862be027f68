//! `mainspring watch`: the third vote of a pair, in a process of its own.
//!
//! Always: what it has voted for is on its disk before anybody hears of it. Never here: the decision; consensus makes it.

use crate::run::RunError;
use model::{AgentPath, ControllerId};
use net::{
    BodyLimit, ClientCertificates, Role, Secret, Server, TlsClient, TlsServer, TokenHash,
    check_listen, guard, token_in,
};
use node::members::{AGENT_MEMBERS_PATH, CONTROLLER_MEMBERS_PATH, client};
use node::{Trusted, Vote};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A watch.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct WatchSettings {
    /// The name of this watch. Since 0.1.
    pub id: String,
    /// The Controller whose members are watched. Since 0.1.
    pub controller_id: String,
    /// The Agent whose Directors are watched instead. Since 0.1.
    pub agent: Option<String>,
    /// Its directory. Since 0.1.
    pub data: PathBuf,
    /// The members, by name. Since 0.1.
    pub members: BTreeMap<String, String>,
    /// The file with the members' token, unless it shows a certificate. Since 0.1.
    pub token_file: Option<PathBuf>,
    /// The address that serves `/health` and `/metrics`, if set. Without certificates it must be a loopback address. Since 0.1.
    pub listen: Option<SocketAddr>,
    /// Certificates. Since 0.1.
    pub tls: Option<net::TlsFiles>,
}

impl Default for WatchSettings {
    fn default() -> Self {
        WatchSettings {
            id: "watch".to_owned(),
            controller_id: "Controller".to_owned(),
            agent: None,
            data: PathBuf::from("data/watch"),
            members: BTreeMap::new(),
            token_file: None,
            listen: None,
            tls: None,
        }
    }
}

/// Returns the identity of the log that the watch votes for, and the path at which it dials the members.
fn identity(settings: &WatchSettings) -> Result<(String, &'static str), RunError> {
    Ok(match &settings.agent {
        Some(agent) => (
            format!("agent:{}", AgentPath::checked(agent)?),
            AGENT_MEMBERS_PATH,
        ),
        None => (
            format!(
                "controller:{}",
                ControllerId::checked(&settings.controller_id)?
            ),
            CONTROLLER_MEMBERS_PATH,
        ),
    })
}

/// Checks the settings without starting anything.
pub fn check_watch(settings: &WatchSettings) -> Result<(), RunError> {
    identity(settings)?;
    if settings.members.is_empty() {
        return Err(RunError::NoMembers);
    }
    if let Some(listen) = settings.listen {
        check_listen(listen, settings.tls.is_some())?;
    }
    let tls = settings.tls.as_ref().map(TlsClient::load).transpose()?;
    for url in settings.members.values() {
        client(url, tls.as_ref(), None)?;
    }
    Ok(())
}

/// Runs until `stop` is cancelled.
pub async fn watch(
    settings: WatchSettings,
    stop: CancellationToken,
    ready: impl FnOnce(&str),
) -> Result<(), RunError> {
    check_watch(&settings)?;
    let (identity, path) = identity(&settings)?;
    let tls = settings.tls.as_ref().map(TlsClient::load).transpose()?;
    let token = settings.token_file.as_deref().map(token_in).transpose()?;
    let urls = settings.members.values();
    let members = urls.map(|url| client(url, tls.as_ref(), token.as_ref()));
    let members = members.collect::<Result<Vec<_>, _>>()?;
    let dir = settings.data.join("state");
    let names: Vec<&str> = settings.members.keys().map(String::as_str).collect();
    let names = names.join(", ");
    let mut ready = Some(ready);
    loop {
        let vote = Vote::open(&dir, &identity, &settings.id, members.clone(), path).await?;
        let close = CancellationToken::new();
        let serving = serve(&settings, &vote, token.as_ref(), &close).await?;
        tracing::info!(id = settings.id, members = names, "the watch is ready");
        if let Some(ready) = ready.take() {
            ready(&names);
        }
        let ended = tokio::select! {
            () = stop.cancelled() => Ok(()),
            fault = vote.give() => Err(fault),
        };
        close.cancel();
        if let Some(serving) = serving
            && let Err(error) = serving.await
        {
            tracing::error!(%error, "the web server ended badly");
        }
        vote.shut_down().await;
        match ended {
            Err(fault) if fault.is_damaged() => {
                tracing::error!(
                    "the directory of this watch is damaged: the members take it in again, with an empty directory"
                );
                node::set_aside(&dir);
            }
            ended => return Ok(ended?),
        }
    }
}

/// Serves the health and the metrics of the watch, if an address is set.
async fn serve(
    settings: &WatchSettings,
    vote: &Vote,
    token: Option<&Secret>,
    close: &CancellationToken,
) -> Result<Option<JoinHandle<Option<()>>>, RunError> {
    let Some(listen) = settings.listen else {
        return Ok(None);
    };
    let tls = settings.tls.as_ref();
    let tls = tls.map(|files| TlsServer::load(files, ClientCertificates::Optional));
    let server = Server::bind(listen, tls.transpose()?).await?;
    let trusted = Trusted {
        roles: vec![Role::Controller, Role::Agent],
        tokens: token.map(TokenHash::of).into_iter().collect(),
    };
    tracing::info!(url = server.url(), "the watch answers /health and /metrics");
    let routes = guard(vote.routes(&settings.id, trusted), BodyLimit(0));
    let serving = server.serve(routes, close.clone());
    let serving = tasks::spawn_until("web-server", close.clone(), serving);
    Ok(Some(serving))
}
