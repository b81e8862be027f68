//! What a Subagent reports to its Director. Kept in its memory until the Director has confirmed it.

use crate::{EventId, OrderId, Outcome};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// The identity of one start of a process: at most one process is ever started under it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// The order.
    pub order_id: OrderId,
    /// The order's count of starts, this one included.
    pub number: u32,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.order_id, self.number)
    }
}

tagged! {
    /// What happened at a Subagent.
    pub enum SubagentEvent {
        /// The job wrote to its standard output.
        OrderStdoutWritten { attempt: Attempt, chunk: Arc<str> },
        /// The job wrote to its error output.
        OrderStderrWritten { attempt: Attempt, chunk: Arc<str> },
        /// The job has ended.
        OrderProcessed { attempt: Attempt, outcome: Outcome },
        /// The Subagent ends in order and takes no more jobs.
        SubagentShutdownStarted,
        /// The Subagent has ended its jobs.
        SubagentShutdown,
    }
}

/// A Subagent's event with its number, counted from 1 in each life of the Subagent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SubagentStamped {
    /// Its number.
    pub event_id: EventId,
    /// What happened.
    pub event: SubagentEvent,
}
