//! What the writer has done since the start, for status pages and tests.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde::Serialize;

#[derive(Debug)]
pub(crate) struct Counters {
    begun: Instant,
    /// When the change under way began, microseconds after `begun`; 0: there is none.
    writing_since: AtomicU64,
    appends: AtomicU64,
    bytes: AtomicU64,
    syncs: AtomicU64,
    sync_micros: AtomicU64,
    sync_micros_max: AtomicU64,
    sync_micros_last: AtomicU64,
}

/// The files are being changed as long as this is kept.
pub(crate) struct Writing<'a>(&'a Counters);

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.0.writing_since.store(0, Relaxed);
    }
}

impl Counters {
    pub(crate) fn new() -> Self {
        Self {
            begun: Instant::now(),
            writing_since: AtomicU64::new(0),
            appends: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
            sync_micros: AtomicU64::new(0),
            sync_micros_max: AtomicU64::new(0),
            sync_micros_last: AtomicU64::new(0),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    pub(crate) fn writing(&self) -> Writing<'_> {
        self.writing_since.store(self.now().max(1), Relaxed);
        Writing(self)
    }

    pub(crate) fn on_appended(&self, records: u64, bytes: u64) {
        self.appends.fetch_add(records, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
    }

    pub(crate) fn on_synced(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.syncs.fetch_add(1, Relaxed);
        self.sync_micros.fetch_add(micros, Relaxed);
        self.sync_micros_max.fetch_max(micros, Relaxed);
        self.sync_micros_last.store(micros, Relaxed);
    }

    /// How long the newest flush took, when there was one.
    pub(crate) fn last_sync(&self) -> Option<Duration> {
        let is_known = self.syncs.load(Relaxed) > 0;
        is_known.then(|| Duration::from_micros(self.sync_micros_last.load(Relaxed)))
    }

    pub(crate) fn counts(&self) -> Counts {
        let since = self.writing_since.load(Relaxed);
        Counts {
            appends: self.appends.load(Relaxed),
            appended_bytes: self.bytes.load(Relaxed),
            syncs: self.syncs.load(Relaxed),
            sync_micros: self.sync_micros.load(Relaxed),
            sync_micros_max: self.sync_micros_max.load(Relaxed),
            writing_micros: match since {
                0 => 0,
                since => self.now().saturating_sub(since),
            },
        }
    }
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Records appended.
    pub appends: u64,
    /// Bytes appended, headers included.
    pub appended_bytes: u64,
    /// Flushes of the log.
    pub syncs: u64,
    /// Time spent in flushes, microseconds.
    pub sync_micros: u64,
    /// The longest flush, microseconds.
    pub sync_micros_max: u64,
    /// For how long the disk has been at the change under way, microseconds; 0 when nothing is written.
    pub writing_micros: u64,
}
