//! How the machine writes down what happens.
//!
//! Always: an event is numbered, evolved and kept in one step; one that does not fit leaves no trace.

use crate::State;
use model::{Event, EventId, Stamped, Timestamp};

/// An event that does not fit the state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{event} does not fit: {why}")]
pub struct NotApplicable {
    /// The event's name.
    pub event: &'static str,
    /// Which rule is broken.
    pub why: String,
}

impl NotApplicable {
    pub(crate) fn new(event: &'static str, why: impl Into<String>) -> NotApplicable {
        NotApplicable {
            event,
            why: why.into(),
        }
    }
}

/// Numbers events, has them evolved and keeps them.
pub trait Recorder {
    /// The time of the batch.
    fn now(&self) -> Timestamp;
    /// The newest event.
    fn last_event_id(&self) -> EventId;
    /// Returns whether the batch is so large that everything that can wait goes into the next one.
    fn is_full(&self) -> bool;
    /// Takes `event`; `at` is when it happened if that was elsewhere.
    fn record(
        &mut self,
        state: &mut State,
        at: Option<Timestamp>,
        event: Event,
    ) -> Result<(), NotApplicable>;
}

/// A batch in memory: for simulation and tests.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The time of the batch.
    pub now: Timestamp,
    /// The newest event.
    pub last: EventId,
    /// The events of the batch.
    pub events: Vec<Stamped>,
}

impl Batch {
    /// An empty batch after the event `last`.
    pub fn new(now: Timestamp, last: EventId) -> Batch {
        Batch {
            now,
            last,
            events: Vec::new(),
        }
    }
}

impl Recorder for Batch {
    fn now(&self) -> Timestamp {
        self.now
    }

    fn last_event_id(&self) -> EventId {
        self.last
    }

    fn is_full(&self) -> bool {
        false
    }

    fn record(
        &mut self,
        state: &mut State,
        at: Option<Timestamp>,
        event: Event,
    ) -> Result<(), NotApplicable> {
        let event_id = self.last.next(self.now);
        let timestamp = at.filter(|at| *at != event_id.timestamp());
        let stamped = Stamped {
            event_id,
            timestamp,
            by: None,
            event,
        };
        state.evolve(&stamped)?;
        self.last = event_id;
        self.events.push(stamped);
        Ok(())
    }
}
