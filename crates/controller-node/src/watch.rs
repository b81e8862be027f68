//! `mainspring watch`: the third vote of a pair. It dials the members, keeps which events there are, and none of them.
//!
//! Always: what it has voted for is on its disk before anybody hears of it, so that it may fall at any time, together with all others,
//! too. Never here: the decision; consensus makes it.

use crate::pair::dial;
use crate::private_file::token_in;
use crate::run::RunError;
use cluster::{Log, Options, Part};
use model::ControllerId;
use net::{Client, ClientSettings, Credentials, TlsClient};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// It keeps no events: small files are enough.
const SEGMENT_BYTES: u64 = 1 << 20;
/// How often the beginning of its log is let go.
const TIDY: Duration = Duration::from_secs(30);

/// A watch.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct WatchSettings {
    /// The name of this watch. Since 0.1.
    pub id: String,
    /// The Controller whose members are watched. Since 0.1.
    pub controller_id: String,
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
            data: PathBuf::from("data/watch"),
            members: BTreeMap::new(),
            token_file: None,
            tls: None,
        }
    }
}

/// Runs until `stop` is cancelled.
pub async fn watch(
    settings: WatchSettings,
    stop: CancellationToken,
    ready: impl FnOnce(&str),
) -> Result<(), RunError> {
    let id = ControllerId::checked(&settings.controller_id)?;
    if settings.members.is_empty() {
        return Err(RunError::NoMembers);
    }
    let tls = settings.tls.as_ref().map(TlsClient::load).transpose()?;
    let token = settings.token_file.as_deref().map(token_in).transpose()?;
    let mut options = Options::new(settings.data.join("state"), format!("controller:{id}"));
    options.segment_bytes = SEGMENT_BYTES;
    options.name.clone_from(&settings.id);
    options.part = Part::Watch;
    options.joins = true;
    let log = Log::open(options).await?.log;
    let mut dialled = JoinSet::new();
    for url in settings.members.values() {
        let mut client = ClientSettings::new(url);
        client.tls.clone_from(&tls);
        if let Some(token) = &token {
            client.credentials = Credentials::Bearer(token.clone());
        }
        dialled.spawn(dial(log.clone(), Client::new(client)?));
    }
    let members: Vec<&str> = settings.members.keys().map(String::as_str).collect();
    let members = members.join(", ");
    tracing::info!(id = settings.id, members, "the watch is ready");
    ready(&members);
    let fault = log.fault();
    let tidying = async {
        loop {
            tokio::time::sleep(TIDY).await;
            log.tidy_watch().await;
        }
    };
    let ended = tokio::select! {
        () = stop.cancelled() => Ok(()),
        () = tidying => Ok(()),
        reason = fault => Err(node::Fault::Log(cluster::AppendError::Stopped { reason }).into()),
    };
    dialled.abort_all();
    log.shutdown().await;
    ended
}
