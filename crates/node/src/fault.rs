//! How a node ends when it does not end in order.

use crate::{End, Kept, NotApplicable};
use axum::http::StatusCode;
use model::{EventId, Problem};
use net::Refusal;
use tokio::task::JoinError;

/// A request was under way when another member became the active one. Unlike `ClusterNodeIsNotActive` it may have been carried out.
const NO_LONGER_ACTIVE: &str = "ClusterNodeIsNoLongerActive";

/// The node cannot go on. The process exits with 98 and is started again; the log says where it stood.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The log refused or failed. Nothing of the batch has been answered.
    #[error("the log failed, so the node stops; it is to be started again: {0}")]
    Log(#[from] cluster::AppendError),
    /// An input led to an event that does not fit. It was not written: after a restart the input is gone.
    #[error("an event does not fit the state, nothing of it was written: {0}")]
    Misfit(NotApplicable),
    /// A decision has panicked.
    #[error("a decision has panicked, nothing of it was written: {0}")]
    Decision(String),
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
    /// Part of the log is damaged, and another member has the whole log.
    #[error(
        "part of the log of this member is damaged: it is set aside, and the log is learnt anew from another member"
    )]
    Damaged,
    /// The commit loop has panicked.
    #[error("the commit loop has ended badly: {0}")]
    Panicked(#[from] JoinError),
}

impl Fault {
    /// What has become of a commit loop.
    pub(crate) fn of_loop(ended: Result<Result<End, Fault>, JoinError>) -> Result<End, Fault> {
        ended?
    }

    /// Returns whether a decision was the cause. The next start would then make the same decision again.
    pub(crate) fn is_of_decision(&self) -> bool {
        matches!(
            self,
            Fault::Misfit(_)
                | Fault::Decision(_)
                | Fault::Log(cluster::AppendError::TooLarge { .. })
        )
    }

    /// Returns whether this member must set its log aside and learn it again.
    pub fn is_damaged(&self) -> bool {
        matches!(self, Fault::Damaged)
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

/// Why a node takes nothing any more. Whether what was asked last has been committed is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stopped {
    /// It has ended or is ending.
    #[error("the node is shutting down")]
    ShutDown,
    /// Another member is active now. What was under way may be in its log.
    #[error(
        "this member is no longer the active one, and whether this was carried out the active one knows"
    )]
    Deposed,
}

impl Stopped {
    /// What those are told who have asked over HTTP. They may ask again: elsewhere, or when it is back.
    pub fn refusal(self, what: Kept) -> Refusal {
        let problem = match self {
            Stopped::ShutDown => net::Problem::new(
                format!("{what}IsShuttingDown"),
                format!("the {what} is shutting down; try again when it is back"),
            ),
            Stopped::Deposed => net::Problem::new(
                NO_LONGER_ACTIVE,
                format!(
                    "this member of the {what}'s cluster is no longer the active one, and whether this was carried out the active one knows; ask that"
                ),
            ),
        };
        problem.status(StatusCode::SERVICE_UNAVAILABLE)
    }
}

impl From<Stopped> for Problem {
    fn from(stopped: Stopped) -> Problem {
        let code = match stopped {
            Stopped::ShutDown => "ClusterNodeIsShuttingDown",
            Stopped::Deposed => NO_LONGER_ACTIVE,
        };
        Problem::new(code, stopped.to_string())
    }
}
