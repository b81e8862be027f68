//! The number of an event.

use crate::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Microseconds since the epoch, strictly increasing within a log, across restarts too. `0` is before the first event.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct EventId(pub u64);

impl EventId {
    /// Before the first event.
    pub const BEFORE_FIRST: EventId = EventId(0);

    /// The id of the event after `self` that happens at `now`.
    #[must_use]
    pub fn next(self, now: Timestamp) -> EventId {
        let by_clock = u64::try_from(now.millis())
            .unwrap_or(0)
            .saturating_mul(1000);
        EventId(by_clock.max(self.0 + 1))
    }

    /// When the event happened, to the millisecond.
    pub fn timestamp(self) -> Timestamp {
        Timestamp::from_millis(i64::try_from(self.0 / 1000).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
