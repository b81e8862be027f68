//! The newest records in memory, so that consensus and live readers do not touch the disk.
//!
//! Always: without gaps, up to the log's end; records that are not both synced and committed stay whatever they weigh.
//! `floor_key` is the last `EventId` before the ring: a reader that has it finds everything newer here.

use std::collections::VecDeque;

use crate::record::Record;

#[derive(Debug)]
struct Held {
    record: Record,
    /// Last `EventId` up to and including this record.
    key_upto: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Ring {
    held: VecDeque<Held>,
    bytes: u64,
    floor_key: u64,
}

impl Ring {
    pub(crate) fn new(floor_key: u64) -> Self {
        Self {
            floor_key,
            ..Self::default()
        }
    }

    pub(crate) fn push(&mut self, record: Record) {
        let key_upto = record.key.max(self.last_key());
        self.bytes += record.disk_bytes();
        self.held.push_back(Held { record, key_upto });
    }

    pub(crate) fn last_key(&self) -> u64 {
        self.held.back().map_or(self.floor_key, |h| h.key_upto)
    }

    pub(crate) fn first_index(&self) -> Option<u64> {
        self.held.front().map(|h| h.record.index)
    }

    pub(crate) fn floor_key(&self) -> u64 {
        self.floor_key
    }

    /// Lets the oldest go while the ring is too heavy; never from `pinned_index` on.
    pub(crate) fn evict(&mut self, bytes_max: u64, pinned_index: u64) {
        while self.bytes > bytes_max
            && let Some(front) = self.held.front()
            && front.record.index < pinned_index
        {
            self.bytes -= front.record.disk_bytes();
            self.floor_key = front.key_upto;
            self.held.pop_front();
        }
    }

    /// Drops everything from `index` on.
    pub(crate) fn truncate(&mut self, index: u64) {
        while let Some(back) = self.held.back()
            && back.record.index >= index
        {
            self.bytes -= back.record.disk_bytes();
            self.held.pop_back();
        }
    }

    /// Records before the ring were taken back, too: the log ends with `key`.
    pub(crate) fn lower(&mut self, key: u64) {
        if self.held.is_empty() {
            self.floor_key = self.floor_key.min(key);
        }
    }

    /// Records from `start` (in the ring) to before `end`.
    pub(crate) fn range(&self, start: u64, end: u64) -> impl Iterator<Item = &Record> {
        let first = self.first_index().unwrap_or(start);
        let skip = usize::try_from(start.saturating_sub(first)).unwrap_or(usize::MAX);
        self.held
            .iter()
            .skip(skip)
            .map(|h| &h.record)
            .take_while(move |r| r.index < end)
    }

    /// Records with events after `key`; meaningful when `key >= floor_key`.
    pub(crate) fn after_key(&self, key: u64) -> impl Iterator<Item = &Record> {
        let skip = self.held.partition_point(|h| h.key_upto <= key);
        self.held.iter().skip(skip).map(|h| &h.record)
    }

    /// Last `EventId` up to and including the record at `index`, when it is held.
    pub(crate) fn key_upto(&self, index: u64) -> Option<u64> {
        let first = self.first_index()?;
        let at = usize::try_from(index.checked_sub(first)?).ok()?;
        self.held.get(at).map(|h| h.key_upto)
    }
}
