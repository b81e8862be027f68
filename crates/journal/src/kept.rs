//! Which snapshots are kept, and which of them another member begins with.
//!
//! Always: the newest is what this member would start from; the base is the newest of which every event is confirmed by all readers.
//! The log goes on from the base without a gap, so that whoever begins with the base has all events that a reader may still ask for.
//! Never here: reading what is in a snapshot.

use std::io;
use std::path::{Path, PathBuf};

use crate::snapshot::{self, SnapshotFile, SnapshotMeta};

/// So many wait beside the newest for readers to confirm their events. More would free the log a little sooner and take more room.
const OLDER_MAX: usize = 8;

/// A snapshot beside the newest; its body was not read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OlderSnapshot {
    /// Where it is.
    pub path: PathBuf,
    /// Its header.
    pub meta: SnapshotMeta,
}

/// The snapshots of a journal.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    newest: Option<SnapshotFile>,
    /// Oldest first, all older than the newest.
    older: Vec<OlderSnapshot>,
    /// Events up to here are confirmed by all readers, as far as this run was told.
    released: u64,
}

impl Kept {
    /// Those of a directory; the newest was checked already. A header that is not readable belongs to none that helps.
    pub(crate) fn found(dir: &Path, newest: Option<SnapshotFile>) -> io::Result<Self> {
        let upto = newest.as_ref().map_or(0, SnapshotFile::event_id);
        let mut older = Vec::new();
        for (event_id, path) in snapshot::list(dir)? {
            if event_id >= upto {
                continue;
            }
            match SnapshotMeta::read(&path) {
                Ok(meta) => older.push(OlderSnapshot { path, meta }),
                Err(error) => {
                    tracing::warn!(file = %path.display(), %error, "an older snapshot is not readable; it is not needed as long as the newest is");
                }
            }
        }
        Ok(Self {
            newest,
            older,
            released: 0,
        })
    }

    pub(crate) fn newest(&self) -> Option<&SnapshotFile> {
        self.newest.as_ref()
    }

    /// A newer one was written.
    pub(crate) fn push(&mut self, file: SnapshotFile) {
        if let Some(before) = self.newest.replace(file)
            && self.newest.as_ref().map(SnapshotFile::event_id) > Some(before.event_id())
        {
            self.older.push(OlderSnapshot {
                path: before.path,
                meta: before.meta,
            });
        }
    }

    /// Readers have confirmed the events up to this one.
    pub(crate) fn release(&mut self, until: u64) {
        self.released = self.released.max(until);
    }

    pub(crate) fn released(&self) -> u64 {
        self.released
    }

    fn metas(&self) -> impl DoubleEndedIterator<Item = &SnapshotMeta> {
        let newest = self.newest.iter().map(|file| &file.meta);
        self.older.iter().map(|file| &file.meta).chain(newest)
    }

    /// Returns the paths of all snapshots, oldest first.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        let newest = self.newest.iter().map(|file| &file.path);
        self.older.iter().map(|file| &file.path).chain(newest)
    }

    /// The newest of which all events are confirmed: up to here the log may go.
    pub(crate) fn base(&self) -> Option<&SnapshotMeta> {
        let released = self.released;
        self.metas().rev().find(|meta| meta.event_id <= released)
    }

    /// What another member begins with: the oldest from which the log, of which the records up to `purged` are gone, goes on. None
    /// before it is needed: then the whole log is there.
    pub(crate) fn to_begin_with(&self, purged: u64) -> Option<OlderSnapshot> {
        let older = self.older.iter().find(|file| file.meta.index >= purged);
        older.cloned().or_else(|| {
            self.newest.as_ref().map(|file| OlderSnapshot {
                path: file.path.clone(),
                meta: file.meta.clone(),
            })
        })
    }

    /// Takes out those that help nobody any more; the caller removes their files. There stay the newest and the one before it, and those
    /// from the base on, since each of them may become the base: of many, some that are far from each other.
    pub(crate) fn take_useless(&mut self, purged: u64) -> Vec<PathBuf> {
        let base = self.base().map_or(0, |meta| meta.event_id);
        let last = self.older.last().map_or(0, |file| file.meta.event_id);
        let is_useful = |file: &OlderSnapshot| {
            let id = file.meta.event_id;
            file.meta.index >= purged && (id >= base || id == last)
        };
        let (useful, useless): (Vec<_>, Vec<_>) = self.older.drain(..).partition(is_useful);
        self.older = useful;
        let mut useless: Vec<_> = useless.into_iter().map(|file| file.path).collect();
        while self.older.len() > OLDER_MAX
            && let Some(least) = self.least_missed()
        {
            useless.push(self.older.remove(least).path);
        }
        useless
    }

    /// The one whose neighbours are closest to each other.
    fn least_missed(&self) -> Option<usize> {
        let gap = |three: &[OlderSnapshot]| match three {
            [before, _, after] => after.meta.event_id - before.meta.event_id,
            _ => u64::MAX,
        };
        let gaps = self.older.windows(3).map(gap).enumerate();
        gaps.min_by_key(|(_, gap)| *gap).map(|(at, _)| at + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(event_id: u64) -> SnapshotFile {
        SnapshotFile {
            path: PathBuf::from(format!("snapshot-{event_id}")),
            meta: SnapshotMeta::new(event_id, event_id / 10, 1, None),
            line_count: 0,
            bytes: 0,
        }
    }

    fn kept(ids: &[u64]) -> Kept {
        let mut kept = Kept::default();
        for id in ids {
            kept.push(snapshot(*id));
        }
        kept
    }

    fn ids(kept: &Kept) -> Vec<u64> {
        kept.metas().map(|meta| meta.event_id).collect()
    }

    fn begin(kept: &Kept, purged: u64) -> Option<u64> {
        kept.to_begin_with(purged).map(|file| file.meta.event_id)
    }

    #[test]
    fn another_member_begins_where_no_reader_misses_anything() {
        let mut kept = kept(&[100, 200]);
        kept.release(150);
        assert_eq!(kept.base().map(|meta| meta.event_id), Some(100));
        assert!(kept.take_useless(10).is_empty());
        assert_eq!(begin(&kept, 10), Some(100));
        kept.release(200);
        assert_eq!(kept.base().map(|meta| meta.event_id), Some(200));
        kept.take_useless(20);
        assert_eq!(
            ids(&kept),
            [200],
            "the log no longer goes on from the first"
        );
        assert_eq!(begin(&kept, 20), Some(200));
    }

    #[test]
    fn a_reader_that_always_lags_lets_the_base_move_all_the_same() {
        let mut kept = kept(&[100]);
        kept.release(100);
        for newest in 2..50 {
            kept.push(snapshot(newest * 100));
            // Seven snapshots behind: each becomes the base in its turn.
            kept.release((newest * 100).saturating_sub(700).max(100));
            let base = kept.base().map_or(0, |meta| meta.event_id);
            kept.take_useless(base / 10);
            assert!(ids(&kept).len() <= OLDER_MAX + 1, "{:?}", ids(&kept));
            assert_eq!(begin(&kept, base / 10), Some(base));
        }
        assert_eq!(kept.base().map(|meta| meta.event_id), Some(4200));
    }

    #[test]
    fn of_many_snapshots_those_stay_that_are_far_from_each_other() {
        let mut kept = kept(&[100]);
        kept.release(100);
        for newest in 2..1000 {
            kept.push(snapshot(newest * 100));
            kept.take_useless(10);
        }
        let ids = ids(&kept);
        assert_eq!((ids.len(), ids.first()), (OLDER_MAX + 1, Some(&100)));
        let widest = ids.windows(2).map(|two| two[1] - two[0]).max();
        assert!(widest < Some(50_000), "{ids:?}");
        kept.release(60_000);
        assert!(kept.base().is_some_and(|meta| meta.event_id > 10_000));
    }

    #[test]
    fn as_long_as_nobody_has_told_what_is_confirmed_the_oldest_that_fits_stays() {
        let mut kept = kept(&[100, 200, 300]);
        kept.push(snapshot(400));
        kept.push(snapshot(500));
        assert!(kept.base().is_none());
        kept.take_useless(10);
        assert_eq!(begin(&kept, 10), Some(100));
        assert_eq!(ids(&kept).last(), Some(&500));
    }

    #[test]
    fn one_that_is_written_again_at_the_same_event_is_one() {
        let kept = kept(&[100, 100]);
        assert_eq!(ids(&kept), [100]);
    }
}
