//! Reading an open journal: by index for consensus, by `EventId` for everybody else.
//!
//! Always: what is read by `EventId` is committed. Newest records come from memory, older ones from disk, where each
//! checksum is looked at again.

use crate::fault::ReadError;
use crate::journal::Journal;
use crate::record::{Kind, Record};
use crate::replay::Replay;
use crate::segment::Segment;

impl Journal {
    /// The records from `start` to before `end`, as far as they are in the log. May read from disk.
    pub fn read(&self, start: u64, end: u64) -> Result<Vec<Record>, ReadError> {
        self.read_some(start, end, usize::MAX)
    }

    /// The first of these records, until they have `bytes_max` bytes or more.
    pub fn read_some(
        &self,
        start: u64,
        end: u64,
        bytes_max: usize,
    ) -> Result<Vec<Record>, ReadError> {
        let (records, error) = self.read_whole(start, end, bytes_max);
        match error {
            Some(error) => Err(error),
            None => Ok(records),
        }
    }

    /// Like [`read_some`](Self::read_some), but stops before damage. Returns the error only if no record can be read before the damage.
    pub fn read_before_damage(
        &self,
        start: u64,
        end: u64,
        bytes_max: usize,
    ) -> Result<Vec<Record>, ReadError> {
        match self.read_whole(start, end, bytes_max) {
            (records, Some(error)) if records.is_empty() => Err(error),
            (records, _) => Ok(records),
        }
    }

    fn read_whole(
        &self,
        start: u64,
        end: u64,
        bytes_max: usize,
    ) -> (Vec<Record>, Option<ReadError>) {
        let mut bytes = 0;
        let mut is_wanted = |record: &Record| {
            let is_wanted = bytes < bytes_max;
            bytes += record.body.len();
            is_wanted
        };
        let (segments, in_memory, disk_end) = {
            let inner = self.shared.inner();
            let ring_first = inner.ring.first_index().unwrap_or(inner.next_index);
            let in_memory: Vec<Record> = inner
                .ring
                .range(start.max(ring_first), end)
                .cloned()
                .collect();
            let disk_end = end.min(ring_first);
            let segments: Vec<Segment> = inner
                .segments
                .iter()
                .filter(|s| s.next_index > start && s.first_index < disk_end)
                .cloned()
                .collect();
            (segments, in_memory, disk_end)
        };
        let mut records = Vec::new();
        for segment in segments {
            let mut walk = segment.walk_from_index(start);
            while walk.next_index < disk_end {
                let record = match walk.record() {
                    Ok(Some(record)) => record,
                    Ok(None) => break,
                    Err(error) => {
                        self.shared.take_note(&error);
                        return (records, Some(error));
                    }
                };
                if record.index < start {
                    continue;
                }
                if !is_wanted(&record) {
                    return (records, None);
                }
                records.push(record);
            }
        }
        records.extend(in_memory.into_iter().take_while(is_wanted));
        (records, None)
    }

    /// Committed records with events after `key`, oldest first, until they have `bytes_max` bytes or more.
    /// Empty when there are none yet. Reads from disk unless [`Self::is_in_memory`].
    pub fn read_after(&self, key: u64, bytes_max: usize) -> Result<Vec<Record>, ReadError> {
        let (segments, committed_next) = {
            let inner = self.shared.inner();
            let torn_event_id = inner.torn_event_id();
            if key < torn_event_id {
                return Err(ReadError::Torn { torn_event_id });
            }
            if key >= inner.ring.floor_key() {
                let held = inner
                    .ring
                    .after_key(key)
                    .take_while(|r| r.index < inner.committed_next);
                return bounded(held.cloned().map(Ok), bytes_max);
            }
            let segments: Vec<Segment> = inner
                .segments
                .iter()
                .filter(|s| s.key_upto > key)
                .take(2)
                .cloned()
                .collect();
            (segments, inner.committed_next)
        };
        let read = bounded(
            Replay::new(segments.into_iter(), key, committed_next),
            bytes_max,
        );
        read.inspect_err(|error| self.shared.take_note(error))
    }

    /// Whether everything after `key` is in memory.
    pub fn is_in_memory(&self, key: u64) -> bool {
        key >= self.shared.inner().ring.floor_key()
    }

    /// Whether the records from `index` on are in memory.
    pub fn holds_in_memory(&self, index: u64) -> bool {
        let inner = self.shared.inner();
        inner.ring.first_index().unwrap_or(inner.next_index) <= index
    }

    /// All committed batches after `key`, streamed from disk; meant for the start of a node.
    pub fn replay(&self, key: u64) -> Replay {
        let inner = self.shared.inner();
        Replay::new(
            inner.segments.iter().cloned(),
            key,
            inner.committed_next.min(inner.synced_next),
        )
    }
}

fn bounded(
    records: impl Iterator<Item = Result<Record, ReadError>>,
    bytes_max: usize,
) -> Result<Vec<Record>, ReadError> {
    let mut taken = Vec::new();
    let mut bytes = 0;
    for record in records {
        let record = match record {
            Ok(record) => record,
            // The intact records are returned first. The next call returns the error.
            Err(ReadError::Damaged(_)) if !taken.is_empty() => break,
            Err(error) => return Err(error),
        };
        if record.kind != Kind::Events {
            continue;
        }
        bytes += record.body.len();
        taken.push(record);
        if bytes >= bytes_max {
            break;
        }
    }
    Ok(taken)
}
