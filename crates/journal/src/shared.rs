//! What the journal's users and its writer thread both know: segments, ring, places.
//!
//! Always: the lock is held for moments, never while the disk works.

use std::collections::VecDeque;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::counters::Counters;
use crate::damaged::Damaged;
use crate::fault::{Damage, Fault, ReadError};
use crate::hard_state::{HardState, Position};
use crate::kept::Kept;
use crate::open::Options;
use crate::record::Record;
use crate::ring::Ring;
use crate::segment::Segment;
use crate::storage::Disk;
use crate::walk;

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) segments: VecDeque<Segment>,
    pub(crate) ring: Ring,
    pub(crate) next_index: u64,
    pub(crate) synced_next: u64,
    pub(crate) committed_next: u64,
    pub(crate) committed_key: u64,
    pub(crate) terms: Vec<(u64, u64)>,
    pub(crate) hard_state: HardState,
    pub(crate) snapshots: Kept,
    /// The place up to which consensus treats the log as purged, because of damage that a snapshot covers. The files may still exist.
    pub(crate) superseded: Option<Position>,
}

/// What the journal and its writer thread have in common.
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) counters: Counters,
    pub(crate) damaged: Damaged,
    pub(crate) inner: Mutex<Inner>,
    /// Tasks that the writer's thread was given and has not finished.
    pub(crate) queued: AtomicUsize,
    pub(crate) fault: OnceLock<Fault>,
    pub(crate) on_fault: Box<dyn Fn(&Fault) + Send + Sync>,
}

impl Shared {
    pub(crate) fn inner(&self) -> MutexGuard<'_, Inner> {
        // Nothing inside panics halfway; should it, the numbers are still the best there are.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.options.dir
    }

    pub(crate) fn fault(&self) -> Option<Fault> {
        self.fault.get().cloned()
    }

    pub(crate) fn poison(&self, fault: &Fault) {
        if self.fault.set(fault.clone()).is_ok() {
            (self.on_fault)(fault);
        }
    }

    /// Records the damage that a reader has found. Other errors are ignored.
    pub(crate) fn take_note(&self, error: &ReadError) {
        if let ReadError::Damaged(damage) = error {
            // Records that are not committed may be taken back while they are read. This is no damage.
            let committed_next = self.inner().committed_next;
            if damage.record.is_none_or(|record| record < committed_next) {
                self.note_damage(damage);
            }
        }
    }

    /// Records damage, whether the record is committed or not. Readers that need nothing before the damaged place can continue after it.
    pub(crate) fn note_damage(&self, damage: &Damage) {
        let record = damage.record.unwrap_or_default();
        let segment = {
            let inner = self.inner();
            let is_kept = inner.snapshots.paths().any(|path| *path == damage.path);
            let segment = inner
                .segments
                .iter()
                .find(|segment| segment.path == damage.path)
                .cloned();
            if segment.is_none() && !is_kept {
                return;
            }
            segment
        };
        if !self.damaged.add(damage) {
            return;
        }
        let Some(segment) = segment else {
            return;
        };
        let indices = record + 1..segment.next_index;
        match walk::next_intact(&segment.file, damage.offset, segment.bytes, &indices) {
            Ok(Some((header, offset))) => {
                let mut inner = self.inner();
                let mut segments = inner.segments.iter_mut();
                if let Some(segment) = segments.find(|known| known.path == segment.path) {
                    segment.begin_also_at(header.index, offset, header.key - 1);
                }
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(file = %segment.path.display(), %error, "the records after a damaged place cannot be read");
            }
        }
    }

    pub(crate) fn damages(&self) -> Vec<Damage> {
        self.damaged.all(|path| {
            let inner = self.inner();
            let is_segment = inner.segments.iter().any(|segment| segment.path == path);
            is_segment || inner.snapshots.paths().any(|kept| kept == path)
        })
    }

    pub(crate) fn finished(&self, tasks: usize) {
        self.queued.fetch_sub(tasks, Ordering::Release);
    }

    pub(crate) fn active(&self) -> (PathBuf, Arc<File>, u64) {
        let inner = self.inner();
        let segment = inner
            .segments
            .back()
            .expect("an open journal has a segment");
        (
            segment.path.clone(),
            Arc::clone(&segment.file),
            segment.bytes,
        )
    }

    pub(crate) fn active_bytes(&self) -> u64 {
        self.inner().segments.back().map_or(0, |s| s.bytes)
    }

    pub(crate) fn last_segment(&self) -> Option<Segment> {
        self.inner().segments.back().cloned()
    }

    pub(crate) fn on_synced(&self, records: &[Record]) {
        let mut inner = self.inner();
        let segment = inner
            .segments
            .back_mut()
            .expect("an open journal has a segment");
        for record in records {
            segment.note(record);
        }
        inner.synced_next = segment.next_index;
        inner.evict(self.options.ring_bytes);
    }

    pub(crate) fn push_segment(&self, segment: Segment) {
        self.inner().segments.push_back(segment);
    }

    /// Last `EventId` before the end of the segments: where a new segment at `first_index` begins.
    pub(crate) fn key_before(&self, index: u64) -> u64 {
        let inner = self.inner();
        let before = inner.segments.iter().rev().find(|s| s.next_index <= index);
        before.map_or_else(
            || inner.hard_state.purged.map_or(0, |p| p.key),
            |s| s.key_upto,
        )
    }

    /// Takes the last segment out when it begins at or after `index` and another one stands before it.
    pub(crate) fn pop_segment_from(&self, index: u64) -> Option<PathBuf> {
        let mut inner = self.inner();
        if inner.segments.len() < 2 || inner.segments.back()?.first_index < index {
            return None;
        }
        inner.segments.pop_back().map(|s| s.path)
    }

    pub(crate) fn truncated(&self, index: u64, offset: u64, key_upto: u64) {
        let mut inner = self.inner();
        if let Some(segment) = inner.segments.back_mut() {
            segment.cut(index, offset, key_upto);
        }
        inner.synced_next = inner.synced_next.min(index);
        inner.ring.lower(key_upto);
    }

    pub(crate) fn take_segments(&self) -> Vec<PathBuf> {
        let mut inner = self.inner();
        inner.synced_next = inner.next_index;
        inner.segments.drain(..).map(|s| s.path).collect()
    }

    pub(crate) fn purge_segments(&self, upto_index: u64) -> Vec<PathBuf> {
        let mut inner = self.inner();
        let mut paths = Vec::new();
        while inner.segments.len() > 1
            && let Some(front) = inner.segments.front()
            && front.next_index <= upto_index + 1
        {
            paths.extend(inner.segments.pop_front().map(|s| s.path));
        }
        paths
    }

    pub(crate) fn hard_state(&self) -> HardState {
        self.inner().hard_state.clone()
    }

    pub(crate) fn set_hard_state(&self, state: HardState) {
        self.inner().hard_state = state;
    }
}

impl Inner {
    pub(crate) fn evict(&mut self, ring_bytes: u64) {
        let pinned = self.synced_next.min(self.committed_next);
        self.ring.evict(ring_bytes, pinned);
    }

    /// Returns the last record up to which whole segments may be removed: a snapshot covers them, and all their events were released in
    /// this run.
    pub(crate) fn may_go(&self) -> Option<u64> {
        let (covered, until_key) = (self.snapshots.base()?.index, self.snapshots.released());
        let closed = self.segments.len().saturating_sub(1);
        let gone = self.segments.iter().take(closed);
        let last = gone
            .take_while(|s| s.key_upto <= until_key && s.next_index <= covered + 1)
            .last()?;
        last.next_index.checked_sub(1)
    }

    /// Returns the term of a record. If it is not known, returns the term of the purged records, or 0.
    pub(crate) fn term_of(&self, index: u64) -> u64 {
        let mut terms = self.terms.iter().rev();
        let term = terms
            .find(|(_, first)| *first <= index)
            .map(|(term, _)| *term);
        term.or(self.hard_state.purged.map(|p| p.term)).unwrap_or(0)
    }

    pub(crate) fn torn_event_id(&self) -> u64 {
        self.segments.front().map_or(0, |s| s.key_before)
    }
}
