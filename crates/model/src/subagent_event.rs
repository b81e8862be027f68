//! What a Subagent reports to its Director. Kept in its memory until the Director has confirmed it.

use crate::{EventId, JobHold, OrderId, Outcome};
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
        /// The job is held up. Without `hold`, the job is no longer held up. Only sent to a Director that has requested
        /// this event.
        OrderProcessingHeld {
            attempt: Attempt,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            hold: Option<Box<JobHold>>,
        },
        /// The job has ended.
        OrderProcessed { attempt: Attempt, outcome: Outcome },
        /// The Subagent ends in order and takes no more jobs.
        SubagentShutdownStarted,
        /// The Subagent has ended its jobs.
        SubagentShutdown,
    }
}

/// How busy the machine of a Subagent is: told with its signs of life, and never written down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metering {
    /// The part of all processors' time that was used since the last sign of life, from 0 to 1; nothing with the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_load: Option<f64>,
    /// The address space of the Subagent's process, in bytes.
    pub committed_virtual_memory_size: u64,
    /// The memory that new processes could have, in bytes.
    pub free_memory_size: u64,
    /// The memory of the machine, in bytes.
    pub total_memory_size: u64,
}

impl Metering {
    /// What its line begins with, which tells it from an event.
    pub const HEAD: &str = r#"{"TYPE":"ServerMeteringEvent","#;

    /// As a line of the Subagent's stream, with its end.
    pub fn to_line(&self) -> String {
        let json = serde_json::to_string(self).expect("numbers have a JSON form");
        format!("{}{}\n", Metering::HEAD, &json[1..])
    }

    /// Reads a line that begins with [`Metering::HEAD`].
    pub fn from_line(line: &[u8]) -> Result<Metering, serde_json::Error> {
        serde_json::from_slice(line)
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
