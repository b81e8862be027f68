//! The batch of events that is being made.
//!
//! Always: an event is numbered, made true and written down in one step; one that does not fit leaves no trace. Each is encoded
//! once, here. Never here: when the batch is committed.

use crate::progress::{Noted, noted};
use crate::{Machine, NotApplicable};
use model::{Cause, Event, EventId, Stamped, Timestamp};
use std::sync::Arc;

/// Size of a batch in bytes from which everything that can wait is left to the next batch.
pub(crate) const FULL_BYTES: usize = 4 << 20;

/// Collects the events of a batch, numbers them and keeps the time at which it is judged.
#[derive(Debug)]
pub struct Facts {
    now: Timestamp,
    last: EventId,
    lines: String,
    count: usize,
    by: Option<Arc<Cause>>,
    noted: Vec<(Timestamp, Noted)>,
}

impl Facts {
    /// An empty batch after the event `last`.
    pub fn new(now: Timestamp, last: EventId) -> Facts {
        Facts {
            now,
            last,
            lines: String::new(),
            count: 0,
            by: None,
            noted: Vec::new(),
        }
    }

    /// Sets the cause of the events that are recorded after this call.
    pub fn caused_by(&mut self, by: Option<Arc<Cause>>) {
        self.by = by;
    }

    /// The time at which the batch is judged.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The newest event, of this batch or before it.
    pub fn last_event_id(&self) -> EventId {
        self.last
    }

    /// How many events there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether nothing has happened.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Makes `event` true and writes it down.
    pub fn record<M: Machine>(
        &mut self,
        machine: &mut M,
        event: Event,
    ) -> Result<(), NotApplicable> {
        self.stamp(machine, None, event)
    }

    /// The same for an event that was taken over from elsewhere, where it happened at `at`.
    pub fn record_at<M: Machine>(
        &mut self,
        machine: &mut M,
        at: Timestamp,
        event: Event,
    ) -> Result<(), NotApplicable> {
        self.stamp(machine, Some(at), event)
    }

    fn stamp<M: Machine>(
        &mut self,
        machine: &mut M,
        at: Option<Timestamp>,
        event: Event,
    ) -> Result<(), NotApplicable> {
        self.record_with(at, event, |stamped| machine.evolve(stamped))
    }

    /// The same for a machine inside of the node's own: `evolve` makes the event true. Generic over its error.
    pub fn record_with<E>(
        &mut self,
        at: Option<Timestamp>,
        event: Event,
        evolve: impl FnOnce(&Stamped) -> Result<(), E>,
    ) -> Result<(), E> {
        let event_id = self.last.next(self.now);
        let timestamp = at.filter(|at| *at != event_id.timestamp());
        let stamped = Stamped {
            event_id,
            timestamp,
            by: self.by.clone(),
            event,
        };
        evolve(&stamped)?;
        stamped.write_line(&mut self.lines);
        if let Some(noted) = noted(&stamped.event) {
            let at = stamped.timestamp.unwrap_or_else(|| event_id.timestamp());
            self.noted.push((at, noted));
        }
        self.last = event_id;
        self.count += 1;
        Ok(())
    }

    /// Time goes on within a long batch; it never goes back.
    pub fn set_now(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
    }

    /// The size of the lines.
    pub fn bytes(&self) -> usize {
        self.lines.len()
    }

    /// Returns whether everything that can wait must go into the next batch, so that this one fits into the log.
    pub fn is_full(&self) -> bool {
        self.lines.len() >= FULL_BYTES
    }

    /// Takes what must be counted when these events have been committed.
    pub(crate) fn take_noted(&mut self) -> Vec<(Timestamp, Noted)> {
        std::mem::take(&mut self.noted)
    }

    /// The events as lines.
    pub fn into_lines(self) -> String {
        self.lines
    }
}
