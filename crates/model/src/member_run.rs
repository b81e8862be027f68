//! The identity of a process that couples with another one: a Controller with an Agent, or a Director with a Subagent.
//!
//! Always: two processes never have the same run id, so the run id shows that a data directory is a copy.

use crate::RunId;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// One run of a process that is a member of a cluster, or that alone keeps its log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberRun {
    /// The number of the member. A copied directory has the number of the original.
    pub member: u64,
    /// Drawn when the process starts.
    pub run_id: RunId,
    /// The address of the process, for people: its URL and, if the URL does not show it, the address from which the
    /// process connects.
    pub address: Arc<str>,
}

impl MemberRun {
    /// Returns whether `self` is another process with the identity of `other`: one of the two directories is a copy, or
    /// `other` is the predecessor of `self`.
    pub fn is_double_of(&self, other: &MemberRun) -> bool {
        self.member == other.member && self.run_id != other.run_id
    }
}

impl fmt::Display for MemberRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}
