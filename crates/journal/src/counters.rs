//! What the writer has done since the start, for status pages and tests.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use serde::Serialize;

#[derive(Debug, Default)]
pub(crate) struct Counters {
    appends: AtomicU64,
    bytes: AtomicU64,
    syncs: AtomicU64,
    sync_micros: AtomicU64,
    sync_micros_max: AtomicU64,
    sync_micros_last: AtomicU64,
}

impl Counters {
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
        Counts {
            appends: self.appends.load(Relaxed),
            appended_bytes: self.bytes.load(Relaxed),
            syncs: self.syncs.load(Relaxed),
            sync_micros: self.sync_micros.load(Relaxed),
            sync_micros_max: self.sync_micros_max.load(Relaxed),
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
}
