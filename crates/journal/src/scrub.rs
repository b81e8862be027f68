//! Reads all files of the journal again, a little at a time, so that damage is found before a reader needs the data.
//!
//! Always: only reads, and only records that were committed and on this disk when the pass began. So a pass ends even on a busy node, and
//! records that are taken back in the meantime are not mistaken for damage. Damage is reported as if a reader had found it.

use std::path::PathBuf;

use crate::fault::Fault;
use crate::journal::Journal;
use crate::segment::Segment;
use crate::snapshot::SnapshotFile;
use crate::walk::Walk;

/// The progress of a pass over the files.
#[derive(Debug, Default)]
pub struct Scrub {
    /// Index before which the log is read. Set when the pass begins.
    end_index: Option<u64>,
    /// Index after the last segment that was read or is being read.
    next_index: u64,
    walk: Option<Walk>,
    /// The snapshots that have not been read. Set after the log was read.
    snapshots: Option<Vec<PathBuf>>,
}

impl Journal {
    /// Continues a pass for about `bytes_max` bytes. Returns whether the pass is complete. Blocks on disk reads.
    pub fn scrub(&self, pass: &mut Scrub, bytes_max: u64) -> Result<bool, Fault> {
        let mut left = bytes_max;
        if pass.snapshots.is_none() {
            let end_index = *pass.end_index.get_or_insert_with(|| {
                let inner = self.shared.inner();
                inner.committed_next.min(inner.synced_next)
            });
            while left > 0 {
                let Some(walk) = &mut pass.walk else {
                    let Some(segment) = self.segment_from(pass.next_index, end_index) else {
                        let inner = self.shared.inner();
                        pass.snapshots = Some(inner.snapshots.paths().cloned().collect());
                        break;
                    };
                    pass.next_index = segment.next_index.max(segment.first_index + 1);
                    pass.walk = Some(segment.walk());
                    continue;
                };
                if walk.next_index >= end_index {
                    pass.walk = None;
                    continue;
                }
                match walk.record() {
                    Ok(Some(record)) => left = left.saturating_sub(record.disk_bytes()),
                    Ok(None) => pass.walk = None,
                    Err(error) => {
                        self.shared.take_note(&error);
                        // One damaged place of a file is enough. The rest of the file is not read.
                        pass.walk = None;
                    }
                }
            }
        }
        while left > 0
            && let Some(files) = &mut pass.snapshots
        {
            let Some(path) = files.pop() else {
                *pass = Scrub::default();
                return Ok(true);
            };
            match SnapshotFile::check(&path) {
                Ok(Ok(file)) => left = left.saturating_sub(file.bytes),
                Ok(Err(damage)) => self.shared.note_damage(&damage),
                // The snapshot was removed in the meantime.
                Err(fault) if fault.is_not_found() => {}
                Err(fault) => return Err(fault),
            }
        }
        Ok(false)
    }

    /// Returns the first segment with records from `index` to before `end_index`.
    fn segment_from(&self, index: u64, end_index: u64) -> Option<Segment> {
        if index >= end_index {
            return None;
        }
        let inner = self.shared.inner();
        let mut segments = inner.segments.iter();
        let segment = segments.find(|s| s.next_index > index)?;
        (segment.first_index < end_index).then(|| segment.clone())
    }
}
