//! What a Subagent reports, kept until the Director has confirmed it.
//!
//! Always: numbers count up by one from 1 in each life of the Subagent.

use model::{EventId, SubagentEvent, SubagentStamped};
use std::collections::VecDeque;
use std::sync::Arc;

/// Roughly what an event takes besides its text.
const OVERHEAD: usize = 200;

/// The events that the Director has not confirmed.
#[derive(Debug, Default)]
pub struct Report {
    last: EventId,
    events: VecDeque<Arc<SubagentStamped>>,
    bytes: usize,
}

fn size_of(event: &SubagentEvent) -> usize {
    OVERHEAD
        + match event {
            SubagentEvent::OrderStdoutWritten { chunk, .. }
            | SubagentEvent::OrderStderrWritten { chunk, .. } => chunk.len(),
            SubagentEvent::OrderProcessingHeld { .. }
            | SubagentEvent::OrderProcessed { .. }
            | SubagentEvent::SubagentShutdownStarted
            | SubagentEvent::SubagentShutdown => 0,
        }
}

impl Report {
    /// Adds an event; answers its number.
    pub fn push(&mut self, event: SubagentEvent) -> EventId {
        self.last = EventId(self.last.0 + 1);
        self.bytes += size_of(&event);
        self.events.push_back(Arc::new(SubagentStamped {
            event_id: self.last,
            event,
        }));
        self.last
    }

    /// The number of the newest event.
    pub fn last(&self) -> EventId {
        self.last
    }

    /// About how many bytes wait for the Director's confirmation.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether everything has been confirmed.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// The number of the newest event that has been forgotten.
    pub fn torn(&self) -> EventId {
        self.events
            .front()
            .map_or(self.last, |first| EventId(first.event_id.0 - 1))
    }

    /// The events behind `after`, about `limit` bytes of them but at least one.
    pub fn after(&self, after: EventId, limit: usize) -> Vec<Arc<SubagentStamped>> {
        let skip = usize::try_from(after.0.saturating_sub(self.torn().0)).unwrap_or(usize::MAX);
        let mut bytes = 0;
        let fits = |stamped: &&Arc<SubagentStamped>| {
            let is_first = bytes == 0;
            bytes += size_of(&stamped.event);
            is_first || bytes <= limit
        };
        self.events
            .iter()
            .skip(skip)
            .take_while(fits)
            .cloned()
            .collect()
    }

    /// Forgets everything up to `until`.
    pub fn release(&mut self, until: EventId) {
        while self
            .events
            .front()
            .is_some_and(|first| first.event_id <= until)
        {
            if let Some(first) = self.events.pop_front() {
                self.bytes -= size_of(&first.event);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(events: u64) -> Report {
        let mut report = Report::default();
        for _ in 0..events {
            report.push(SubagentEvent::SubagentShutdownStarted);
        }
        report
    }

    #[test]
    fn s43_events_stay_until_they_are_confirmed() {
        let mut report = report(5);
        assert_eq!(report.after(EventId(0), usize::MAX).len(), 5);
        report.release(EventId(2));
        assert_eq!(report.torn(), EventId(2));
        let ids: Vec<u64> = report
            .after(EventId(2), usize::MAX)
            .iter()
            .map(|stamped| stamped.event_id.0)
            .collect();
        assert_eq!(ids, [3, 4, 5]);
        assert_eq!(report.after(EventId(4), usize::MAX).len(), 1);
        report.release(EventId(5));
        assert!(report.is_empty());
        assert_eq!((report.bytes(), report.torn()), (0, EventId(5)));
        assert_eq!(report.push(SubagentEvent::SubagentShutdown), EventId(6));
    }

    #[test]
    fn a_reader_gets_at_least_one_event() {
        assert_eq!(report(5).after(EventId(1), 1).len(), 1);
    }
}
