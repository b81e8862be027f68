//! Reads a third vote that a process has kept in a directory of its own, so that it can be continued as a witness.
//!
//! Always: only reads. The caller that continues the vote removes the directory, so that the vote is not given twice.

use std::path::Path;

use super::WitnessState;
use crate::member::number_of;
use crate::open::{OpenError, newest_membership};

impl WitnessState {
    /// Returns the state of the watch in this directory: what it has confirmed, and for which member it has voted. Returns `None` if there
    /// is no watch.
    pub fn found_in(dir: &Path, identity: &str) -> Result<Option<Self>, OpenError> {
        let has_begun = journal::inspect::has_begun(dir);
        if !has_begun.map_err(|error| OpenError::Consensus(error.to_string()))? {
            return Ok(None);
        }
        let options = journal::Options {
            dir: dir.to_owned(),
            identity: identity.to_owned(),
            segment_bytes: 1 << 20,
            ring_bytes: 0,
            has_state: false,
        };
        let (journal, recovered) = journal::Journal::open(options, |fault| {
            tracing::error!(%fault, "a former third vote cannot be read");
        })?;
        journal.stop();
        let membership = newest_membership(&recovered)?;
        let number = number_of(dir, true)
            .map_err(|error| OpenError::Consensus(format!("the member's number: {error}")))?;
        let vote = recovered.hard_state.vote;
        let purged = recovered.hard_state.purged;
        let newest = recovered.last.or(purged);
        let members = membership.membership().nodes();
        Ok(Some(Self {
            member: number,
            term: vote.map_or(0, |vote| vote.term),
            voted_for: vote.map(|vote| vote.node),
            is_elected: vote.is_some_and(|vote| vote.committed),
            newest: newest.map(|position| (position.term, position.index)),
            members: members.map(|(id, _)| *id).collect(),
            members_since: membership
                .log_id()
                .as_ref()
                .map(|id| (id.leader_id.term, id.index)),
        }))
    }
}
