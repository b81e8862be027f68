//! What a closed segment holds, written beside it, so that a start need not read what a snapshot covers.
//!
//! Always: only a help. A seal that is missing, damaged or does not fit its file is passed over and the segment read.
//! It is never flushed: after a power cut it may be missing. What it lets a start skip is checked whenever it is read.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::hard_state::Position;
use crate::segment::{Mark, Segment};
use crate::storage::{Disk, write_all_at};

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Seal {
    pub(crate) first_index: u64,
    pub(crate) next_index: u64,
    pub(crate) bytes: u64,
    pub(crate) key_before: u64,
    pub(crate) key_upto: u64,
    pub(crate) terms: Vec<(u64, u64)>,
    pub(crate) memberships: Vec<(Position, String)>,
    pub(crate) marks: Vec<Mark>,
}

/// The seal's place beside its segment.
pub(crate) fn path_of(segment: &Path) -> PathBuf {
    segment.with_extension("seal")
}

/// Writes the seal of a closed segment. A failure costs time at the next start, nothing else.
pub(crate) fn write(disk: &dyn Disk, segment: &Segment) {
    let path = path_of(&segment.path);
    let text = text_of(&segment.to_seal());
    let written = disk
        .create(&path)
        .and_then(|file| write_all_at(disk, &file, text.as_bytes(), 0));
    if let Err(error) = written {
        tracing::warn!(file = %path.display(), %error, "a segment stays unsealed; the next start reads all of it");
    }
}

fn text_of(seal: &Seal) -> String {
    let line = serde_json::to_string(seal).expect("numbers and strings always serialise");
    format!("{line}\n{:08x}\n", crc32fast::hash(line.as_bytes()))
}

/// The seal of a segment, when there is a whole one.
pub(crate) fn read(segment: &Path) -> Option<Seal> {
    let text = std::fs::read_to_string(path_of(segment)).ok()?;
    let (line, crc) = text.split_once('\n')?;
    if crc != format!("{:08x}\n", crc32fast::hash(line.as_bytes())) {
        return None;
    }
    serde_json::from_str(line).ok()
}

/// Removes a seal, if there is one.
pub(crate) fn remove(disk: &dyn Disk, segment: &Path) {
    let path = path_of(segment);
    match disk.remove(&path) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => {
            tracing::warn!(file = %path.display(), %error, "cannot remove a seal; it does no harm");
        }
    }
}
