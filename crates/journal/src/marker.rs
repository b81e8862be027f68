//! How far the log is known to be on disk: a line of text, overwritten after each sync and never synced itself.
//!
//! Always: the marker follows the log's sync, so it never promises too much. After a killed process it is exact;
//! after a power cut it may be older, and then promises less. With it, a damaged *last* record is told from a torn
//! write: what the marker promises must be there.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::storage::{Disk, write_all_at};

pub(crate) const MARKER_FILE: &str = "synced";

#[derive(Debug)]
pub(crate) struct Marker {
    file: File,
}

impl Marker {
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        let path = dir.join(MARKER_FILE);
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        Ok(Self { file })
    }

    /// Says that all records below `next_index` are on disk.
    pub(crate) fn set(&self, disk: &dyn Disk, next_index: u64) -> io::Result<()> {
        write_all_at(disk, &self.file, line_of(next_index).as_bytes(), 0)
    }

    /// Lowers the promise before records are taken back: this time durably.
    pub(crate) fn lower(&self, disk: &dyn Disk, next_index: u64) -> io::Result<()> {
        self.set(disk, next_index)?;
        disk.sync(&self.file)
    }
}

fn line_of(next_index: u64) -> String {
    let number = format!("{next_index:020}");
    let crc = crc32fast::hash(number.as_bytes());
    format!("{number} {crc:08x}\n")
}

/// The promise; 0 when there is none or it is not readable (it is a help, not the truth).
pub(crate) fn read(dir: &Path) -> u64 {
    let Ok(text) = std::fs::read_to_string(dir.join(MARKER_FILE)) else {
        return 0;
    };
    let Some(next_index) = text.get(..20).and_then(|digits| digits.parse().ok()) else {
        return 0;
    };
    if text == line_of(next_index) {
        next_index
    } else {
        0
    }
}
