//! How a node ends when it does not end in order.

use crate::{End, NotApplicable};
use model::EventId;
use tokio::task::JoinError;

/// The node cannot go on. The process exits with 98 and is started again; the log says where it stood.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The log refused or failed. Nothing of the batch has been answered.
    #[error("the log failed, so the node stops; it is to be started again: {0}")]
    Log(#[from] cluster::AppendError),
    /// An input led to an event that does not fit. It was not written: after a restart the input is gone.
    #[error("an event does not fit the state, nothing of it was written: {0}")]
    Misfit(NotApplicable),
    /// The disk does not give back what was written.
    #[error("the log cannot be read: {0}")]
    Read(#[from] cluster::ReadError),
    /// The newest snapshot cannot be read.
    #[error("the snapshot cannot be read: {0}")]
    Snapshot(#[from] cluster::Fault),
    /// The log does not fit this version of the program.
    #[error("the log cannot be replayed at event {event_id}: {why}")]
    Replay {
        /// Where.
        event_id: EventId,
        /// What is wrong.
        why: String,
    },
    /// A line of the snapshot cannot be read.
    #[error("line {line} of the snapshot cannot be read: {why}")]
    Restore {
        /// Which, counted from 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
    /// The commit loop has panicked.
    #[error("the commit loop has ended badly: {0}")]
    Panicked(#[from] JoinError),
}

impl Fault {
    /// What has become of a commit loop.
    pub(crate) fn of_loop(ended: Result<Result<End, Fault>, JoinError>) -> Result<End, Fault> {
        ended?
    }

    /// Whether another member is active now: this one is to follow it.
    pub fn is_deposed(&self) -> bool {
        matches!(
            self,
            Fault::Log(
                cluster::AppendError::NotActive { .. } | cluster::AppendError::Overtaken { .. }
            )
        )
    }
}

/// The node has ended or is ending: nothing is taken any more, and whether what was asked last has been committed is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node is shutting down")]
pub struct Stopped;
