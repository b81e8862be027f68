//! What an operator can set for a Controller.

use crate::Permission;
use node::ClusterSettings;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr as _;

/// The user that has all permissions.
pub(crate) const ADMIN: &str = "admin";

/// A Controller.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ControllerSettings {
    /// The Controller's id. Its data directory belongs to it, and its Agents are dedicated to it. Since 0.1.
    #[serde(deserialize_with = "controller_id")]
    pub id: String,
    /// Where it is reached. Without certificates only on the loopback. Since 0.1.
    pub listen: SocketAddr,
    /// Its directory: log, temporary files, tokens. Since 0.1.
    pub data: PathBuf,
    /// Certificates, for its own port and towards Agents. Since 0.1.
    pub tls: Option<net::TlsFiles>,
    /// Who may do what, besides `admin`, whose token is in `private/admin-token` of the data directory. Since 0.1.
    #[serde(deserialize_with = "users")]
    pub users: BTreeMap<String, UserSettings>,
    /// Users whose `ReleaseEvents` is waited for before events may go. With none, events go when a snapshot covers them.
    /// Since 0.1.
    pub release_events_users: Vec<String>,
    /// The file with the token that Agents demand, if they do not know the Controller by its certificate. Since 0.1.
    pub agent_token_file: Option<PathBuf>,
    /// The same for single Agents: path of the Agent to file. Since 0.1.
    pub agent_token_files: BTreeMap<String, PathBuf>,
    /// The greatest command. Since 0.1.
    pub command_size_max: settings::ByteSize,
    /// The greatest body with items or orders. Since 0.1.
    pub stream_size_max: settings::ByteSize,
    /// Connections of users and of unauthenticated clients. Since 0.1.
    pub connections_max: usize,
    /// Event streams that users read at the same time. One user gets a quarter of them. Since 0.1.
    pub event_streams_max: usize,
    /// Snapshot streams that users read at the same time. One user gets a quarter of them. Since 0.1.
    pub snapshots_max: usize,
    /// How long a login is good for. Since 0.1.
    pub session_lifetime: settings::Duration,
    /// The other members that keep this Controller's log, if there are any. Since 0.1.
    pub cluster: ClusterSettings,
    /// Size of a segment of the log. Since 0.1.
    pub segment: settings::ByteSize,
    /// Bytes of log after which a snapshot is written. Since 0.1.
    pub snapshot_size: settings::ByteSize,
    /// Time after which a snapshot is written if anything has happened. Since 0.1.
    pub snapshot_period: settings::Duration,
    /// Bytes of the log that are kept for the output of orders that still exist. Since 0.1.
    pub output_kept: settings::ByteSize,
}

impl Default for ControllerSettings {
    fn default() -> Self {
        ControllerSettings {
            id: "Controller".to_owned(),
            listen: SocketAddr::from(([127, 0, 0, 1], 4444)),
            data: PathBuf::from("data/controller"),
            tls: None,
            users: BTreeMap::new(),
            release_events_users: Vec::new(),
            agent_token_file: None,
            agent_token_files: BTreeMap::new(),
            command_size_max: settings::ByteSize::mebibytes(8),
            stream_size_max: settings::ByteSize::mebibytes(128),
            connections_max: 2000,
            event_streams_max: 256,
            snapshots_max: 8,
            session_lifetime: settings::Duration::from_secs(3600),
            cluster: ClusterSettings::default(),
            segment: settings::ByteSize::mebibytes(64),
            snapshot_size: settings::ByteSize::mebibytes(64),
            snapshot_period: settings::Duration::from_secs(3600),
            output_kept: settings::ByteSize::mebibytes(1024),
        }
    }
}

/// Checked while parsing, so that the error contains the place in the file.
fn password_hash<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let hash = Option::<String>::deserialize(from)?;
    if hash
        .as_deref()
        .is_some_and(|hash| !net::is_password_hash(hash))
    {
        return Err(D::Error::custom(
            "this is no hash of a password; make one with: mainspring user hash-password",
        ));
    }
    Ok(hash)
}

fn token_hashes<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let hashes = Vec::<String>::deserialize(from)?;
    for hash in &hashes {
        net::TokenHash::from_str(hash).map_err(D::Error::custom)?;
    }
    Ok(hashes)
}

fn controller_id<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let id = String::deserialize(from)?;
    model::ControllerId::checked(&id).map_err(D::Error::custom)?;
    Ok(id)
}

fn users<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, UserSettings>, D::Error> {
    let users = BTreeMap::<String, UserSettings>::deserialize(from)?;
    for (name, user) in &users {
        model::UserId::checked(name)
            .map_err(|error| D::Error::custom(format!("{name}: {error}")))?;
        if name == ADMIN && !user.permissions.is_empty() {
            return Err(D::Error::custom(format!(
                "{ADMIN}.permissions: {ADMIN} may do everything, which cannot be limited; leave it out, or define a user of another name"
            )));
        }
    }
    Ok(users)
}

/// A user. Without password and token he can come with a certificate only, whose common name is his id.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct UserSettings {
    /// The hash of his password: `mainspring user hash-password`. Since 0.1.
    #[serde(deserialize_with = "password_hash")]
    pub password_hash: Option<String>,
    /// The SHA-256 hashes of his tokens, in hexadecimal. Since 0.1.
    #[serde(deserialize_with = "token_hashes")]
    pub token_hashes: Vec<String>,
    /// What he may do. Since 0.1.
    pub permissions: Vec<Permission>,
}
