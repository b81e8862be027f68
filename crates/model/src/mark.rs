//! What an operator has asked of an order and what it has not followed yet (`engine.md` 4.6).

use crate::outcome::is_false;
use crate::{Outcome, Position, WorkflowId};
use serde::{Deserialize, Serialize};

tagged! {
    /// A wish noted on an order until the order can follow it.
    pub enum Mark {
        /// To be cancelled.
        Cancelling {
            mode: CancellationMode,
        },
        /// To be suspended.
        Suspending {
            #[serde(default)]
            mode: SuspensionMode,
        },
        /// To be resumed, once the suspension that is still under way has been withdrawn.
        Resuming {
            #[serde(default, skip_serializing_if = "Option::is_none")]
            position: Option<Position>,
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            history_operations: Vec<HistoryOperation>,
            #[serde(default, skip_serializing_if = "is_false")]
            as_succeeded: bool,
            #[serde(default, skip_serializing_if = "is_false")]
            restart_killed_job: bool,
        },
        /// Not to wait any longer.
        Go {
            position: Position,
        },
    }
}

tagged! {
    /// Which orders a cancellation takes.
    @closed
    pub enum CancellationMode {
        /// Only orders that have not been started.
        FreshOnly,
        /// Started orders too; a running job ends first unless it is killed.
        FreshOrStarted {
            #[serde(default, skip_serializing_if = "Option::is_none")]
            kill: Option<Kill>,
        },
    }
}

impl Default for CancellationMode {
    fn default() -> Self {
        CancellationMode::FreshOrStarted { kill: None }
    }
}

impl CancellationMode {
    /// How the running job is to be killed, if it is.
    pub fn kill(&self) -> Option<&Kill> {
        match self {
            CancellationMode::FreshOnly => None,
            CancellationMode::FreshOrStarted { kill } => kill.as_ref(),
        }
    }
}

/// A place in a version of a workflow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkflowPosition {
    /// Which version of which workflow.
    pub workflow_id: WorkflowId,
    /// Where in it.
    pub position: Position,
}

/// How a running job is killed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Kill {
    /// SIGKILL at once instead of SIGTERM first.
    #[serde(default, skip_serializing_if = "is_false")]
    pub immediately: bool,
    /// Kill only a job that runs here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow_position: Option<WorkflowPosition>,
}

/// How an order is suspended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SuspensionMode {
    /// Give up what the order waits for.
    #[serde(default, skip_serializing_if = "is_false")]
    pub reset_state: bool,
    /// Kill the running job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kill: Option<Kill>,
}

/// How an order goes on. The fields stand flat in the events, marks and commands that carry them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resumption {
    /// From here instead of from where it stands.
    pub position: Option<Position>,
    /// Changes of its history.
    pub history_operations: Vec<HistoryOperation>,
    /// As if the failed instruction had succeeded.
    pub as_succeeded: bool,
    /// Whether the killed job runs again. By default the job runs again, unless it must not be repeated.
    pub restart_killed_job: Option<bool>,
}

impl Resumption {
    /// Whether nothing but going on is asked.
    pub fn is_plain(&self) -> bool {
        self.position.is_none() && self.history_operations.is_empty()
    }
}

tagged! {
    /// A change of an order's history.
    @closed
    pub enum HistoryOperation {
        /// The entry at the position gets another outcome.
        Replace { position: Position, outcome: Outcome },
        /// A new entry in front of the entry at `before`.
        Insert { before: Position, position: Position, outcome: Outcome },
        /// The entry at the position goes.
        Delete { position: Position },
        /// A new last entry.
        Append { position: Position, outcome: Outcome },
    }
}
