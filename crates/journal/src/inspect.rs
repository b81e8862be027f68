//! Looks at a journal without touching it: for `mainspring journal cat|verify|info`.
//!
//! Always: reads only, takes no lock, may run beside the node that writes. Beside a writing node the last group may
//! be seen half-written, as a torn tail.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::directory::{self, LOCK_FILE};
use crate::fault::{Damage, Fault, OpenError};
use crate::hard_state::{HardState, Vote};
use crate::marker;
use crate::record::Kind;
use crate::recover::{self, Scan};
use crate::segment::{self, Segment};
use crate::snapshot::{self, SnapshotFile};
use crate::walk::{Step, Walk};

/// One segment file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SegmentInfo {
    /// The file.
    pub file: PathBuf,
    /// Index of its first record.
    pub first_index: u64,
    /// Records in it.
    pub records: u64,
    /// Bytes of records.
    pub bytes: u64,
    /// Bytes of the file, reserved space included.
    pub file_bytes: u64,
    /// Last event before it.
    pub after_event_id: u64,
    /// Last event up to its end.
    pub last_event_id: u64,
}

/// One snapshot file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotInfo {
    /// The file.
    pub file: PathBuf,
    /// Last event of the state.
    pub event_id: u64,
    /// Lines of the state.
    pub lines: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// Bytes behind the last whole record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TornTailInfo {
    /// The file.
    pub file: PathBuf,
    /// Where the last whole record ends.
    pub offset: u64,
    /// What stands there.
    pub what: String,
}

/// What there is in a journal directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Info {
    /// Whose it is.
    pub identity: Option<String>,
    /// Who has it open, or had it open last.
    pub last_opened_by: Option<String>,
    /// Term of the last vote: the epoch.
    pub term: u64,
    /// Events up to this one are gone.
    pub torn_event_id: u64,
    /// First event kept, when there is one.
    pub first_event_id: Option<u64>,
    /// Last event.
    pub last_event_id: u64,
    /// Records in the log.
    pub records: u64,
    /// Bytes of records.
    pub bytes: u64,
    /// The segment files, oldest first.
    pub segments: Vec<SegmentInfo>,
    /// The snapshot files, oldest first.
    pub snapshots: Vec<SnapshotInfo>,
    /// Left by a crash, or being written just now.
    pub torn_tail: Option<TornTailInfo>,
}

/// What a check of everything found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Records whose checksums fit.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Segment files.
    pub segments: usize,
    /// Snapshot files whose checksums fit.
    pub snapshots: usize,
    /// Last event.
    pub last_event_id: u64,
    /// Left by a crash, or being written just now: no damage.
    pub torn_tail: Option<TornTailInfo>,
    /// What is damaged. Of the log, the first place only: what stands behind it cannot be trusted.
    pub damages: Vec<String>,
}

impl Report {
    /// Whether nothing is damaged.
    pub fn is_whole(&self) -> bool {
        self.damages.is_empty()
    }
}

/// Why [`cat`] did not write all events.
#[derive(Debug, thiserror::Error)]
pub enum CatError {
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] OpenError),
    /// The output cannot be written. The journal itself is not the cause.
    #[error("the events cannot be written out: {0}")]
    Output(#[source] std::io::Error),
}

impl From<Fault> for CatError {
    fn from(fault: Fault) -> Self {
        Self::Journal(fault.into())
    }
}

/// Writes the bodies of all batches that contain events after `after`. Returns the last event written, or `after`.
pub fn cat(dir: &Path, after: u64, write: &mut dyn Write) -> Result<u64, CatError> {
    let files = segment::list(dir).map_err(|e| Fault::new("list the directory", dir, e))?;
    let mut last_event_id = after;
    let count = files.len();
    for (at, (first_index, path)) in files.into_iter().enumerate() {
        let file = match recover::to_look(&path) {
            Ok(file) => file,
            // The node may release segments while we look; only the oldest ones can go.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Fault::new("open", &path, error).into()),
        };
        let length = file
            .metadata()
            .map_err(|e| Fault::new("read", &path, e))?
            .len();
        let mut walk = Walk::new(path.clone(), file.into(), 0, length, first_index);
        loop {
            let offset = walk.offset;
            match walk.step().map_err(|e| Fault::new("read", &path, e))? {
                Step::Record { record, .. }
                    if record.kind == Kind::Events && record.key > after =>
                {
                    write.write_all(&record.body).map_err(CatError::Output)?;
                    last_event_id = record.key;
                }
                Step::Record { .. } => {}
                Step::End | Step::Zeros => break,
                // The tail: torn, or being written.
                Step::Bad(_) if at + 1 == count => break,
                Step::Bad(what) => {
                    return Err(OpenError::from(Damage::new(&path, offset, what)).into());
                }
            }
        }
    }
    Ok(last_event_id)
}

/// Checks every byte that has a checksum.
pub fn verify(dir: &Path) -> Result<Report, Fault> {
    let mut damages = Vec::new();
    let mut report = Report {
        records: 0,
        bytes: 0,
        segments: 0,
        snapshots: 0,
        last_event_id: 0,
        torn_tail: None,
        damages: Vec::new(),
    };
    for (_, path) in snapshot::list(dir).map_err(|e| Fault::new("list the directory", dir, e))? {
        match SnapshotFile::check(&path)? {
            Ok(_) => report.snapshots += 1,
            Err(damage) => damages.push(damage.to_string()),
        }
    }
    match look(dir) {
        Ok((_, scan)) => {
            report.records = scan.records;
            report.bytes = scan.segments.iter().map(|s| s.bytes).sum();
            report.segments = scan.segments.len();
            report.last_event_id = scan.last_key;
            report.torn_tail = torn_tail_of(&scan);
        }
        Err(OpenError::Damaged(damage)) => damages.push(damage.to_string()),
        Err(OpenError::Fault(fault)) => return Err(fault),
        Err(other @ (OpenError::InUse { .. } | OpenError::Foreign { .. })) => {
            damages.push(other.to_string());
        }
    }
    report.damages = damages;
    Ok(report)
}

/// Whether a record or a snapshot was ever written whole: whoever opens the directory before begins a log.
pub fn has_begun(dir: &Path) -> std::io::Result<bool> {
    let listed = match segment::list(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        listed => listed?,
    };
    if !snapshot::list(dir)?.is_empty() {
        return Ok(true);
    }
    // Only the first file of all can be without a record.
    let [(first_index, path)] = &listed[..] else {
        return Ok(!listed.is_empty());
    };
    let file = recover::to_look(path)?;
    let length = file.metadata()?.len();
    let mut walk = Walk::new(path.clone(), file.into(), 0, length, *first_index);
    Ok(*first_index > 0 || matches!(walk.step()?, Step::Record { .. }))
}

/// Tells what there is. Needs a log without damage: otherwise the damage is the answer.
pub fn info(dir: &Path) -> Result<Info, OpenError> {
    let (state, scan) = look(dir)?;
    let mut snapshots = Vec::new();
    for (_, path) in snapshot::list(dir).map_err(|e| Fault::new("list the directory", dir, e))? {
        let file = SnapshotFile::check(&path)??;
        snapshots.push(SnapshotInfo {
            event_id: file.event_id(),
            lines: file.line_count,
            bytes: file.bytes,
            file: path,
        });
    }
    let opened_by = std::fs::read_to_string(dir.join(LOCK_FILE)).ok();
    Ok(Info {
        identity: directory::identity_of(dir),
        last_opened_by: opened_by.map(|t| t.trim_end().to_owned()),
        term: state.vote.map_or(0, |v: Vote| v.term),
        torn_event_id: scan.segments.front().map_or(0, |s| s.key_before),
        first_event_id: first_event_of(&scan)?,
        last_event_id: scan.last_key,
        records: scan.records,
        bytes: scan.segments.iter().map(|s| s.bytes).sum(),
        torn_tail: torn_tail_of(&scan),
        segments: scan.segments.iter().map(info_of).collect(),
        snapshots,
    })
}

/// Scans; again when the node released segments meanwhile, or when a damage does not show twice at the same place:
/// the node was writing there.
fn look(dir: &Path) -> Result<(HardState, Scan), OpenError> {
    let mut seen: Option<Damage> = None;
    loop {
        let state = HardState::read(dir)?.unwrap_or_default();
        let scanned = recover::scan(dir, state.purged, marker::read(dir), None, recover::to_look);
        let now = HardState::read(dir)?.unwrap_or_default();
        match scanned {
            _ if now.purged != state.purged => {}
            Err(OpenError::Damaged(damage)) if seen.as_ref() != Some(&damage) => {
                seen = Some(damage);
            }
            other => return other.map(|scan| (state, scan)),
        }
    }
}

/// `EventId` of the first event kept, read from its JSON line.
fn first_event_of(scan: &Scan) -> Result<Option<u64>, OpenError> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Line {
        event_id: u64,
    }
    for segment in &scan.segments {
        let mut walk = segment.walk();
        while let Step::Record { record, .. } = walk
            .step()
            .map_err(|e| Fault::new("read", &segment.path, e))?
        {
            if record.kind != Kind::Events {
                continue;
            }
            let line = record
                .body
                .split(|b| *b == b'\n')
                .next()
                .unwrap_or_default();
            let first = serde_json::from_slice::<Line>(line).map_or(record.key, |l| l.event_id);
            return Ok(Some(first));
        }
    }
    Ok(None)
}

fn torn_tail_of(scan: &Scan) -> Option<TornTailInfo> {
    let torn = scan.torn.as_ref()?;
    Some(TornTailInfo {
        file: torn.path.clone(),
        offset: torn.offset,
        what: torn.what.to_owned(),
    })
}

fn info_of(segment: &Segment) -> SegmentInfo {
    SegmentInfo {
        file: segment.path.clone(),
        first_index: segment.first_index,
        records: segment.next_index - segment.first_index,
        bytes: segment.bytes,
        file_bytes: segment.file.metadata().map_or(segment.bytes, |m| m.len()),
        after_event_id: segment.key_before,
        last_event_id: segment.key_upto,
    }
}
