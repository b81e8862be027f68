//! Reads a log as it lies on disk and says what it is worth. Reads only: `journal` mends, `inspect` tells.
//!
//! Always: a torn tail exists only at the end of the last segment, where no later group and no promise of the marker
//! says that the bytes had been whole. Everything else that does not fit is damage and is named.

use std::collections::VecDeque;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::fault::{Damage, Fault, OpenError};
use crate::hard_state::Position;
use crate::seal;
use crate::segment::{self, Segment};
use crate::walk::{self, Step, Walk};

/// Bytes behind the last whole record that a crash left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TornTail {
    pub(crate) path: PathBuf,
    pub(crate) offset: u64,
    pub(crate) what: &'static str,
}

/// How files are opened: to work on them, or only to look.
pub(crate) type Opener = fn(&Path) -> std::io::Result<File>;

pub(crate) fn to_work(path: &Path) -> std::io::Result<File> {
    File::options().read(true).write(true).open(path)
}

pub(crate) fn to_look(path: &Path) -> std::io::Result<File> {
    File::open(path)
}

/// A log as found.
#[derive(Debug)]
pub(crate) struct Scan {
    pub(crate) segments: VecDeque<Segment>,
    /// Left over from an interrupted purge.
    pub(crate) obsolete: Vec<PathBuf>,
    pub(crate) torn: Option<TornTail>,
    pub(crate) next_index: u64,
    pub(crate) last_key: u64,
    /// Each term with its first index, in order.
    pub(crate) terms: Vec<(u64, u64)>,
    /// Last membership record.
    pub(crate) membership: Option<(Position, String)>,
    pub(crate) records: u64,
}

impl Scan {
    fn take(&mut self, segment: Segment) {
        self.next_index = segment.next_index;
        self.last_key = segment.key_upto;
        self.records += segment.next_index - segment.first_index;
        for (term, first) in &segment.terms {
            if self.terms.last().is_none_or(|(last, _)| last < term) {
                self.terms.push((*term, *first));
            }
        }
        if let Some(newest) = segment.memberships.last() {
            self.membership = Some(newest.clone());
        }
        self.segments.push_back(segment);
    }
}

/// Walks all segments after `purged`; `promised` is what the marker says must be there. Closed segments
/// without events after `covered` are taken at their seal's word: a start needs nothing of what a snapshot covers.
pub(crate) fn scan(
    dir: &Path,
    purged: Option<Position>,
    promised: u64,
    covered: Option<u64>,
    open: Opener,
) -> Result<Scan, OpenError> {
    let files = segment::list(dir).map_err(|e| Fault::new("list the directory", dir, e))?;
    let start = purged.map_or(0, |p| p.index + 1);
    let mut scan = Scan {
        segments: VecDeque::new(),
        obsolete: Vec::new(),
        torn: None,
        next_index: start,
        last_key: purged.map_or(0, |p| p.key),
        terms: Vec::new(),
        membership: None,
        records: 0,
    };
    let mut last_term = 0;
    let mut files = files.into_iter().peekable();
    while let Some((first_index, path)) = files.next() {
        let next_first = files.peek().map(|(first, _)| *first);
        if next_first.is_some_and(|first| first <= start) {
            scan.obsolete.push(path);
            continue;
        }
        let is_first = scan.segments.is_empty();
        let fits = if is_first {
            first_index <= start
        } else {
            first_index == scan.next_index
        };
        if !fits {
            let what = format!(
                "the log has a gap: this file begins with record {first_index}, expected was {}; a segment file is missing or cut",
                scan.next_index
            );
            return Err(Damage::new(&path, 0, what).into());
        }
        if let (Some(covered), Some(next_first)) = (covered, next_first)
            && let Some(segment) = sealed(&scan, first_index, &path, covered, next_first, open)?
        {
            last_term = segment.terms.last().map_or(last_term, |(term, _)| *term);
            scan.take(segment);
            continue;
        }
        scan.next_index = first_index;
        scan_segment(
            &mut scan,
            first_index,
            &path,
            next_first.is_none(),
            &mut last_term,
            open,
        )?;
    }
    if scan.next_index < start && promised <= start {
        // A log that begins anew behind another member's snapshot: the crash came before the old segments were removed.
        scan.obsolete
            .extend(scan.segments.drain(..).map(|segment| segment.path));
        scan.torn = None;
        scan.terms.clear();
        scan.membership = None;
        scan.next_index = start;
        scan.last_key = purged.map_or(0, |p| p.key);
    }
    if scan.next_index < promised.max(start) {
        let (path, offset) = match (&scan.torn, scan.segments.back()) {
            (Some(torn), _) => (torn.path.clone(), torn.offset),
            (None, Some(segment)) => (segment.path.clone(), segment.bytes),
            (None, None) => (dir.join(segment::name_of(scan.next_index)), 0),
        };
        let what = format!(
            "record {} was confirmed as durable and is missing or damaged (all records before {} were)",
            scan.next_index,
            promised.max(start)
        );
        return Err(Damage { path, offset, what }.into());
    }
    Ok(scan)
}

/// The segment by its seal, when the seal fits the file, its neighbours and what may be skipped.
fn sealed(
    scan: &Scan,
    first_index: u64,
    path: &Path,
    covered: u64,
    next_first: u64,
    open: Opener,
) -> Result<Option<Segment>, OpenError> {
    let Some(seal) = seal::read(path) else {
        return Ok(None);
    };
    let file = open(path).map_err(|e| Fault::new("open", path, e))?;
    let length = file
        .metadata()
        .map_err(|e| Fault::new("read", path, e))?
        .len();
    let fits = (seal.first_index, seal.next_index) == (first_index, next_first)
        && seal.bytes == length
        && seal.key_before == scan.last_key
        && seal.key_upto <= covered;
    Ok(fits.then(|| Segment::sealed(path.to_owned(), file, seal)))
}

fn scan_segment(
    scan: &mut Scan,
    first_index: u64,
    path: &Path,
    is_last: bool,
    last_term: &mut u64,
    open: Opener,
) -> Result<(), OpenError> {
    let fault = |e| Fault::new("read", path, e);
    let file = open(path).map_err(|e| Fault::new("open", path, e))?;
    let length = file.metadata().map_err(fault)?.len();
    let mut segment = Segment::new(path.to_owned(), file, first_index, scan.last_key);
    let mut walk = Walk::new(
        path.to_owned(),
        Arc::clone(&segment.file),
        0,
        length,
        first_index,
    );
    let stopped = loop {
        let offset = walk.offset;
        match walk.step().map_err(fault)? {
            Step::Record { header, record } => {
                if record.term < *last_term || (record.key != 0 && record.key <= scan.last_key) {
                    return Err(Damage::new(
                        path,
                        offset,
                        "the record is older than the one before it",
                    )
                    .into());
                }
                *last_term = record.term;
                scan.last_key = scan.last_key.max(record.key);
                debug_assert_eq!(header.index + 1, walk.next_index);
                segment.note(&record);
            }
            Step::End => break None,
            Step::Zeros => break Some("zeros instead of a record"),
            Step::Bad(what) => break Some(what),
        }
    };
    scan.next_index = walk.next_index;
    if let Some(what) = stopped {
        let data = walk::first_data_after(&segment.file, walk.offset, length).map_err(fault)?;
        let proof = walk::later_group(&segment.file, walk.offset, length, walk.next_index)
            .map_err(fault)?;
        match (data, proof) {
            (_, Some(later)) => {
                let what = format!(
                    "{what}; record {} stood here, since record {later} stands behind it",
                    walk.next_index
                );
                return Err(Damage::new(path, walk.offset, what).into());
            }
            (Some(_), None) if is_last => {
                scan.torn = Some(TornTail {
                    path: path.to_owned(),
                    offset: walk.offset,
                    what,
                });
            }
            (Some(_), None) => {
                let what = format!(
                    "{what}; record {} stood here, since the next segment exists",
                    walk.next_index
                );
                return Err(Damage::new(path, walk.offset, what).into());
            }
            // Reserved space; a segment that lost its end shows as a gap before the next one.
            (None, None) => {}
        }
    }
    scan.take(segment);
    Ok(())
}

#[cfg(test)]
mod tests;
