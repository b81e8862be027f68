//! What an operator can set for an Agent.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;
use subagent_node::JobSettings;

/// An Agent (Director with its own Subagent).
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct AgentSettings {
    /// The Agent's name. Its data directory belongs to it. Since 0.1.
    pub name: String,
    /// Where it waits for its Controller. Since 0.1.
    pub listen: std::net::SocketAddr,
    /// Its directory: log, temporary files, tokens. Since 0.1.
    pub data: PathBuf,
    /// Certificates; without them it listens on loopback only. Since 0.1.
    pub tls: Option<net::TlsFiles>,
    /// A file with the token that the Controller must show. Default: `private/token` in the data directory, written at
    /// the first start. Since 0.1.
    pub token_file: Option<PathBuf>,
    /// A file with the token that the Agent shows to its other Subagents, if they do not know it by its certificate.
    /// Since 0.1.
    pub subagent_token_file: Option<PathBuf>,
    /// A Subagent ends its jobs when it has heard nothing of this Agent for so long, and this Agent repeats them elsewhere only
    /// after that. Since 0.1.
    pub subagent_lease: settings::Duration,
    /// The other Director that keeps this Agent's log, if there is one. Since 0.1.
    pub cluster: node::ClusterSettings,
    /// Maximum number of connections. Unauthenticated clients get a quarter of them. Connections of the Controller and of the other
    /// Directors do not count. Since 0.1.
    pub connections_max: usize,
    /// How jobs are run in the Agent's own Subagent.
    pub jobs: JobSettings,
    /// Size of a segment of the log. Since 0.1.
    pub segment: settings::ByteSize,
}

impl Default for AgentSettings {
    fn default() -> Self {
        AgentSettings {
            name: "Agent".to_owned(),
            listen: std::net::SocketAddr::from(([127, 0, 0, 1], 4445)),
            data: PathBuf::from("data/agent"),
            tls: None,
            token_file: None,
            subagent_token_file: None,
            subagent_lease: Duration::from_mins(1).into(),
            cluster: node::ClusterSettings::default(),
            connections_max: 2000,
            jobs: JobSettings::default(),
            segment: settings::ByteSize(64 * 1024 * 1024),
        }
    }
}
