//! The disk of a node: batches that are durable, a snapshot, and what a crash makes of a batch that is being written.
//!
//! Always: what has been acknowledged stays; a batch that was not is there wholly or not at all, since a torn one is dropped on
//! recovery. Never here: what the lines mean.

use crate::moment::Moment;
use std::collections::VecDeque;
use std::sync::Arc;

/// A durable batch of events.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The number of its last event.
    pub last: u64,
    /// Its lines.
    pub lines: Arc<str>,
}

/// A snapshot of the state.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The event it stands at.
    pub at: u64,
    /// Its lines.
    pub lines: Arc<Vec<String>>,
}

/// A disk with a log.
#[derive(Debug, Default)]
pub struct Disk {
    /// The durable batches that have not been removed, oldest first.
    pub batches: VecDeque<Batch>,
    /// The newest whole snapshot.
    pub snapshot: Option<Snapshot>,
    /// Events up to here have been removed.
    pub torn: u64,
    /// Syncs are slow until then.
    pub slow_until: Moment,
    /// Nothing can be written until then.
    pub full_until: Moment,
    /// Durable lines that the observer has not seen.
    pub unobserved: VecDeque<Arc<str>>,
}

impl Disk {
    /// The batch is durable.
    pub fn commit(&mut self, last: u64, lines: Arc<str>) {
        self.unobserved.push_back(lines.clone());
        self.batches.push_back(Batch { last, lines });
    }

    /// The number of the newest durable event.
    pub fn last(&self) -> u64 {
        let by_batch = self.batches.back().map_or(self.torn, |batch| batch.last);
        by_batch.max(self.snapshot.as_ref().map_or(0, |snapshot| snapshot.at))
    }

    /// Removes batches that the snapshot covers and that everybody has confirmed.
    pub fn shrink(&mut self, released: u64) {
        let covered = self.snapshot.as_ref().map_or(0, |snapshot| snapshot.at);
        while self
            .batches
            .front()
            .is_some_and(|batch| batch.last <= covered.min(released))
        {
            if let Some(batch) = self.batches.pop_front() {
                self.torn = batch.last;
            }
        }
    }

    /// About so many lines behind `after`, with the number of the last one.
    pub fn after(&self, after: u64, limit: usize) -> Vec<String> {
        let first = self.batches.partition_point(|batch| batch.last <= after);
        let mut lines = Vec::new();
        for batch in self.batches.range(first..) {
            lines.extend(
                batch
                    .lines
                    .lines()
                    .filter(|line| event_id_of(line) > after)
                    .map(str::to_owned),
            );
            if lines.len() >= limit {
                break;
            }
        }
        lines
    }
}

/// The number of the event in a line.
pub fn event_id_of(line: &str) -> u64 {
    let digits = line.strip_prefix("{\"eventId\":").unwrap_or_default();
    let end = digits
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(digits.len());
    digits[..end].parse().unwrap_or(0)
}
