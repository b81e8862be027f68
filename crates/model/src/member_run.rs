//! Who speaks when a Controller couples with an Agent, or a Director with a Subagent.
//!
//! Always: two processes never have the same run id, so a copy of a data directory is recognised by it.

use crate::RunId;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// One run of a process that is a member of a cluster, or the only one that keeps its log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberRun {
    /// The number of the member. A copied directory has the number of the original.
    pub member: u64,
    /// Drawn when the process starts.
    pub run_id: RunId,
    /// Where the process is reached, for people: its URL and, if that does not tell it, the address it connects from.
    pub address: Arc<str>,
}

impl MemberRun {
    /// Whether `self` is another process with the identity of `other`: one of the two directories is a copy, or `other` is the
    /// predecessor of `self`.
    pub fn is_double_of(&self, other: &MemberRun) -> bool {
        self.member == other.member && self.run_id != other.run_id
    }
}

impl fmt::Display for MemberRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}
