//! Snapshots: the whole state at an `EventId` as JSON lines, between a header line and a closing line.
//!
//! Always: visible only when complete (temporary file, sync, rename, sync of the directory); the closing line has
//! the number of lines and the checksum of everything before it. Never here: what the lines mean.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::directory::temporary_of;
use crate::fault::{Damage, Fault};
use crate::storage::{Disk, write_all_at};

const PREFIX: &str = "snapshot-";
const SUFFIX: &str = ".jsonl";
const HEADER_TYPE: &str = "Mainspring.Snapshot";
const END_TYPE: &str = "Mainspring.SnapshotEnd";
const VERSION: u32 = 1;

/// First line of a snapshot file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SnapshotMeta {
    #[serde(rename = "TYPE")]
    type_name: String,
    version: u32,
    /// Last event the state contains.
    pub event_id: u64,
    /// Last record the state contains.
    pub index: u64,
    /// That record's term.
    pub term: u64,
    /// The cluster's membership then, in the words of the layer above.
    pub membership: Option<String>,
}

impl SnapshotMeta {
    pub(crate) fn new(event_id: u64, index: u64, term: u64, membership: Option<String>) -> Self {
        Self {
            type_name: HEADER_TYPE.to_owned(),
            version: VERSION,
            event_id,
            index,
            term,
            membership,
        }
    }
}

impl SnapshotMeta {
    /// Reads the header line of a file, and no more of it.
    pub(crate) fn read(path: &Path) -> io::Result<Self> {
        let mut line = Vec::new();
        BufReader::new(File::open(path)?).read_until(b'\n', &mut line)?;
        Self::of_line(&line).map_err(io::Error::other)
    }

    fn of_line(line: &[u8]) -> Result<Self, &'static str> {
        match serde_json::from_slice::<Self>(line) {
            Ok(meta) if meta.type_name == HEADER_TYPE && meta.version == VERSION => Ok(meta),
            Ok(_) => Err("not a snapshot of a version known here"),
            Err(_) => Err("the header line is not readable"),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct End {
    #[serde(rename = "TYPE")]
    type_name: String,
    lines: u64,
    crc32: String,
}

/// Why a snapshot was not written.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// It would contain events that are not committed.
    #[error(
        "a snapshot at event {event_id} is asked for, but only events up to {committed} are committed"
    )]
    NotCommitted {
        /// What was asked for.
        event_id: u64,
        /// What is there.
        committed: u64,
    },
    /// The newest snapshot is newer.
    #[error(
        "a snapshot at event {event_id} is asked for, but there is one at event {newest} already"
    )]
    Older {
        /// What was asked for.
        event_id: u64,
        /// What is there.
        newest: u64,
    },
    /// The writer of the body gave up.
    #[error("the state could not be written out: {0}")]
    Body(io::Error),
    /// The journal could not be read to find the place.
    #[error(transparent)]
    Read(#[from] crate::fault::ReadError),
    /// The disk refused; the temporary file is gone and the journal goes on.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// A complete snapshot on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its header.
    pub meta: SnapshotMeta,
    /// Lines of the body.
    pub line_count: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

impl SnapshotFile {
    /// Last event the state contains.
    pub fn event_id(&self) -> u64 {
        self.meta.event_id
    }

    /// The lines of the body, without their line ends.
    pub fn lines(&self) -> Result<SnapshotLines, Fault> {
        let file = File::open(&self.path).map_err(|e| Fault::new("open", &self.path, e))?;
        let mut reader = BufReader::with_capacity(256 << 10, file);
        let mut header = Vec::new();
        reader
            .read_until(b'\n', &mut header)
            .map_err(|e| Fault::new("read", &self.path, e))?;
        Ok(SnapshotLines {
            path: self.path.clone(),
            reader,
            left: self.line_count,
        })
    }

    /// Reads and checks all of a snapshot file.
    pub(crate) fn check(path: &Path) -> Result<Result<Self, Damage>, Fault> {
        let fault = |e| Fault::new("read", path, e);
        let file = File::open(path).map_err(|e| Fault::new("open", path, e))?;
        let bytes = file.metadata().map_err(fault)?.len();
        let mut reader = BufReader::with_capacity(256 << 10, file);
        let mut line = Vec::new();
        let mut previous: Vec<u8> = Vec::new();
        let mut crc = crc32fast::Hasher::new();
        let mut meta: Option<SnapshotMeta> = None;
        let mut lines = 0u64;
        let mut offset = 0u64;
        let damaged = |offset: u64, what: &str| Ok(Err(Damage::new(path, offset, what)));
        // The closing line is known only when nothing follows, so each line is counted one line late.
        while reader.read_until(b'\n', &mut line).map_err(fault)? > 0 {
            if meta.is_none() {
                match SnapshotMeta::of_line(&line) {
                    Ok(found) => meta = Some(found),
                    Err(what) => return damaged(0, what),
                }
                crc.update(&line);
            } else {
                if !previous.is_empty() {
                    crc.update(&previous);
                    lines += 1;
                    offset += previous.len() as u64;
                }
                std::mem::swap(&mut previous, &mut line);
            }
            if previous.is_empty() {
                offset = line.len() as u64;
            }
            line.clear();
        }
        let Some(meta) = meta else {
            return damaged(0, "the file is empty");
        };
        if previous.last() != Some(&b'\n') {
            return damaged(offset, "the closing line is missing or cut off");
        }
        let end = match serde_json::from_slice::<End>(&previous) {
            Ok(end) if end.type_name == END_TYPE => end,
            _ => return damaged(offset, "the closing line is missing or not readable"),
        };
        if end.lines != lines {
            return damaged(offset, &format!("{lines} lines instead of {}", end.lines));
        }
        if end.crc32 != format!("{:08x}", crc.finalize()) || previous != line_of(&end) {
            return damaged(offset, "the checksum does not fit");
        }
        Ok(Ok(Self {
            path: path.to_owned(),
            meta,
            line_count: lines,
            bytes,
        }))
    }
}

fn line_of(value: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).expect("strings and numbers always serialise");
    line.push(b'\n');
    line
}

/// Goes through the lines of a snapshot's body.
#[derive(Debug)]
pub struct SnapshotLines {
    path: PathBuf,
    reader: BufReader<File>,
    left: u64,
}

impl Iterator for SnapshotLines {
    type Item = Result<String, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let mut line = String::new();
        match self.reader.read_line(&mut line) {
            Ok(_) => {
                if line.ends_with('\n') {
                    line.pop();
                }
                Some(Ok(line))
            }
            Err(error) => {
                self.left = 0;
                Some(Err(Fault::new("read", &self.path, error)))
            }
        }
    }
}

/// All complete snapshot files of a directory, oldest first (by name; not checked).
pub(crate) fn list(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let event_id = name
            .to_str()
            .and_then(|n| n.strip_prefix(PREFIX)?.strip_suffix(SUFFIX))
            .and_then(|digits| digits.parse().ok());
        if let Some(event_id) = event_id {
            found.push((event_id, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// Writes a snapshot; `body` writes JSON lines, each ending in a line end.
pub(crate) fn write(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    meta: SnapshotMeta,
    body: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<SnapshotFile, SnapshotError> {
    let path = dir.join(format!("{PREFIX}{:020}{SUFFIX}", meta.event_id));
    let temporary = temporary_of(&path);
    let written = write_temporary(disk, &temporary, &meta, body);
    let written = written.and_then(|counted| {
        disk.rename(&temporary, &path)
            .map_err(|e| Fault::new("rename", &temporary, e))?;
        disk.sync_directory(dir)
            .map_err(|e| Fault::new("sync the directory", dir, e))?;
        Ok(counted)
    });
    match written {
        Ok((line_count, bytes)) => Ok(SnapshotFile {
            path,
            meta,
            line_count,
            bytes,
        }),
        Err(error) => {
            // Left-over temporary files are removed at the next start anyway.
            drop(disk.remove(&temporary));
            Err(error)
        }
    }
}

/// Makes a file that was received from elsewhere one of the journal's snapshots, after reading and checking all of it.
pub(crate) fn adopt(
    disk: &dyn Disk,
    dir: &Path,
    received: &Path,
) -> Result<SnapshotFile, SnapshotError> {
    let checked = SnapshotFile::check(received)?;
    let mut file = checked.map_err(|damage| SnapshotError::Body(io::Error::other(damage)))?;
    let path = dir.join(format!("{PREFIX}{:020}{SUFFIX}", file.meta.event_id));
    let opened = File::open(received).map_err(|e| Fault::new("open", received, e))?;
    disk.sync(&opened)
        .map_err(|e| Fault::new("sync", received, e))?;
    disk.rename(received, &path)
        .map_err(|e| Fault::new("rename", received, e))?;
    disk.sync_directory(dir)
        .map_err(|e| Fault::new("sync the directory", dir, e))?;
    file.path = path;
    Ok(file)
}

fn write_temporary(
    disk: &Arc<dyn Disk>,
    temporary: &Path,
    meta: &SnapshotMeta,
    body: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(u64, u64), SnapshotError> {
    let fault = |e| Fault::new("write", temporary, e);
    let file = disk
        .create(temporary)
        .map_err(|e| Fault::new("create", temporary, e))?;
    let sink = Sink {
        disk: Arc::clone(disk),
        file: &file,
        offset: 0,
        crc: crc32fast::Hasher::new(),
        lines: 0,
        last: b'\n',
        failed: None,
    };
    let mut writer = BufWriter::with_capacity(256 << 10, sink);
    writer.write_all(&line_of(meta)).map_err(fault)?;
    let told = body(&mut writer).and_then(|()| writer.flush());
    if let Err(error) = told {
        return Err(match writer.get_mut().failed.take() {
            Some(cause) => fault(cause).into(),
            None => SnapshotError::Body(error),
        });
    }
    if writer.get_ref().last != b'\n' {
        writer
            .write_all(b"\n")
            .and_then(|()| writer.flush())
            .map_err(fault)?;
    }
    let sink = writer.get_ref();
    // The header line is counted by the sink like any other.
    let lines = sink.lines - 1;
    let crc32 = format!("{:08x}", sink.crc.clone().finalize());
    let line = line_of(&End {
        type_name: END_TYPE.to_owned(),
        lines,
        crc32,
    });
    writer
        .write_all(&line)
        .and_then(|()| writer.flush())
        .map_err(fault)?;
    let bytes = writer.get_ref().offset;
    disk.sync(&file)
        .map_err(|e| Fault::new("sync", temporary, e))?;
    Ok((lines, bytes))
}

/// Counts and sums what passes through it.
struct Sink<'a> {
    disk: Arc<dyn Disk>,
    file: &'a File,
    offset: u64,
    crc: crc32fast::Hasher,
    lines: u64,
    last: u8,
    failed: Option<io::Error>,
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Err(error) = write_all_at(&*self.disk, self.file, bytes, self.offset) {
            let told = io::Error::from(error.kind());
            self.failed = Some(error);
            return Err(told);
        }
        self.offset += bytes.len() as u64;
        self.crc.update(bytes);
        self.last = bytes.last().copied().unwrap_or(self.last);
        self.lines += bytes.split(|b| *b == b'\n').count() as u64 - 1;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
