//! A batch on its way into the log, and why it may not get there.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Events made durable together: JSON lines, each ending in a line end.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// `EventId` of the last event.
    pub last_event_id: u64,
    /// The lines.
    pub body: Bytes,
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "batch up to event {}, {} bytes",
            self.last_event_id,
            self.body.len()
        )
    }
}

/// Why a batch is not in the log, or why that cannot be known.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AppendError {
    /// Event ids must rise. Nothing was written.
    #[error("a batch ends with event {last_event_id}, but event {newest} was appended before")]
    NotRising {
        /// The batch's.
        last_event_id: u64,
        /// The newest of the log.
        newest: u64,
    },
    /// Nothing was written.
    #[error("a batch of {bytes} bytes is larger than the {bytes_max} allowed")]
    TooLarge {
        /// The batch's.
        bytes: usize,
        /// The bound.
        bytes_max: usize,
    },
    /// Another member leads. Nothing was written.
    #[error("this member is not the active one{}", leader.map_or_else(String::new, |l| format!(", member {l} is")))]
    NotActive {
        /// Who leads, when that is known.
        leader: Option<u64>,
    },
    /// Another member took over meanwhile. Whether the batch is in the log is not known.
    #[error("another member took over{}; whether the batch is in the log is not known", leader.map_or_else(String::new, |l| format!(" (member {l})")))]
    Overtaken {
        /// Who leads, when that is known.
        leader: Option<u64>,
    },
    /// The journal is poisoned. Whether the batch survives is known after a restart only.
    #[error("the journal has stopped: {reason}")]
    Stopped {
        /// Why.
        reason: String,
    },
}
