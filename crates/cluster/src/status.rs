//! What an operator asks about a log.

use journal::Counts;
use serde::Serialize;

/// What this member is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// It leads: the active one.
    Active,
    /// It follows.
    Standby,
    /// Nobody is known to lead.
    Electing,
    /// It has stopped.
    Stopped,
}

/// Where the log stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// What this member is.
    pub role: Role,
    /// Term of leadership: the epoch.
    pub term: u64,
    /// Segment files.
    pub segments: usize,
    /// Bytes of records in them.
    pub bytes: u64,
    /// Events up to this one are gone; the oldest kept is the next one.
    pub torn_event_id: u64,
    /// Last event written.
    pub last_event_id: u64,
    /// Last event committed.
    pub committed_event_id: u64,
    /// Highest event the node has released, whether or not its segment could go already.
    pub released_event_id: u64,
    /// Event of the newest snapshot, 0 when there is none.
    pub snapshot_event_id: u64,
    /// Counts since the start.
    pub counts: Counts,
    /// The damaged files of the journal, each with its first damaged place.
    pub damages: Vec<String>,
    /// Why the journal is poisoned, when it is.
    pub fault: Option<String>,
}
