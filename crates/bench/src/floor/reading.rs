//! The floor of a start: read a file, take the checksum of all bytes, parse each line.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use memchr::memchr_iter;
use model::{Order, Stamped};

/// What reading has found and taken.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reading {
    pub(crate) lines: u64,
    pub(crate) elapsed: Duration,
}

/// Reads files of a journal or a snapshot into events and orders that are dropped at once.
pub(crate) fn read_lines(files: &[std::path::PathBuf]) -> Result<Reading> {
    let begin = Instant::now();
    let mut lines = 0;
    for file in files {
        lines += read_file(file)?;
    }
    Ok(Reading {
        lines,
        elapsed: begin.elapsed(),
    })
}

fn read_file(file: &Path) -> Result<u64> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    std::hint::black_box(crc32fast::hash(&bytes));
    let mut lines = 0;
    let mut start = 0;
    for end in memchr_iter(b'\n', &bytes) {
        let line = &bytes[start..end];
        start = end + 1;
        // In a segment, the first line of a batch stands behind the header of its record.
        let Some(open) = memchr::memmem::find(line, b"{\"") else {
            continue;
        };
        let Ok(line) = std::str::from_utf8(&line[open..]) else {
            continue;
        };
        if line.starts_with("{\"eventId\":") {
            std::hint::black_box(Stamped::from_json(line)?);
        } else if line.starts_with("{\"TYPE\":\"Order\"") {
            std::hint::black_box(serde_json::from_str::<Order>(line)?);
        } else {
            continue;
        }
        lines += 1;
    }
    Ok(lines)
}
