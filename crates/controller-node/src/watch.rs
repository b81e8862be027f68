//! `mainspring watch`: the third vote of a pair, in a process of its own.
//!
//! Always: what it has voted for is on its disk before anybody hears of it. Never here: the decision; consensus makes it.

use crate::run::RunError;
use model::{AgentPath, ControllerId};
use net::{TlsClient, token_in};
use node::Vote;
use node::members::{AGENT_MEMBERS_PATH, CONTROLLER_MEMBERS_PATH, client};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
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
            tls: None,
        }
    }
}

/// Whose votes these are, and where the members are dialled.
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

/// Checks what can be checked of the settings without starting anything.
pub fn check_watch(settings: &WatchSettings) -> Result<(), RunError> {
    identity(settings)?;
    if settings.members.is_empty() {
        return Err(RunError::NoMembers);
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
    let vote = Vote::open(&dir, &identity, &settings.id, members, path).await?;
    let names: Vec<&str> = settings.members.keys().map(String::as_str).collect();
    let names = names.join(", ");
    tracing::info!(id = settings.id, members = names, "the watch is ready");
    ready(&names);
    let ended = tokio::select! {
        () = stop.cancelled() => Ok(()),
        fault = vote.give() => Err(fault.into()),
    };
    vote.shut_down().await;
    ended
}
