//! Reads a log from the disk and determines which parts are intact. Reads only: `journal` repairs, `inspect` reports.
//!
//! Always: a torn tail exists only at the end of the last segment, where no later group and no promise of the marker
//! shows that the bytes had been whole. Everything else that does not fit is damage and is named. Damage is an error, unless a snapshot
//! covers all of it. In that case the log continues after it, and a reader of the damaged records gets the damage as an error.

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
    /// The damaged places that a snapshot covers.
    pub(crate) damages: Vec<Damage>,
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
/// without events after `covered`, the place of a snapshot, are not read if their seal fits: a start needs nothing that a snapshot covers.
/// For the same reason damage before that place is passed over.
pub(crate) fn scan(
    dir: &Path,
    purged: Option<Position>,
    promised: u64,
    covered: Option<Position>,
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
        damages: Vec::new(),
    };
    let mut last_term = 0;
    let mut files = files.into_iter().peekable();
    while let Some((first_index, path)) = files.next() {
        let next = files.peek();
        let next_first = next.map(|(first, _)| *first);
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
            let damage = Damage::new(&path, 0, what).of_record(scan.next_index);
            let is_covered = covered
                .is_some_and(|place| (scan.next_index..=place.index + 1).contains(&first_index));
            if is_first || !is_covered {
                return Err(damage.into());
            }
            scan.damages.push(damage);
            let key = key_behind(&path, first_index, open)?;
            scan.last_key = scan.last_key.max(key);
            if let Some(before) = scan.segments.back_mut() {
                before.misses_up_to(first_index, scan.last_key);
            }
        }
        if let (Some(covered), Some(next_first)) = (covered, next_first)
            && let Some(segment) = sealed(&scan, first_index, &path, covered.key, next_first, open)?
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
            &Surroundings {
                next,
                covered,
                promised,
                start,
                open,
            },
            &mut last_term,
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
        return Err(Damage::new(&path, offset, what)
            .of_record(scan.next_index)
            .into());
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

/// The context in which a segment file is scanned.
struct Surroundings<'a> {
    /// The next file, if there is one, with the index of its first record.
    next: Option<&'a (u64, PathBuf)>,
    /// The place of the newest snapshot.
    covered: Option<Position>,
    /// The marker guarantees that all records before this index were on the disk.
    promised: u64,
    /// The log begins with this record. Those before it may be older than the place after which it begins.
    start: u64,
    open: Opener,
}

fn scan_segment(
    scan: &mut Scan,
    first_index: u64,
    path: &Path,
    surroundings: &Surroundings<'_>,
    last_term: &mut u64,
) -> Result<(), OpenError> {
    let Surroundings {
        next,
        covered,
        promised,
        start,
        open,
    } = *surroundings;
    let is_last = next.is_none();
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
                let is_older_event =
                    record.key != 0 && record.key <= scan.last_key && record.index >= start;
                if record.term < *last_term || is_older_event {
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
            Step::Zeros | Step::Bad(_)
                if is_passed_over(scan, &mut segment, &mut walk, covered)? => {}
            Step::Zeros => break Some("zeros instead of a record"),
            Step::Bad(what) => break Some(what),
        }
    };
    scan.next_index = walk.next_index;
    let end = covered
        .filter(|place| is_last && walk.next_index < promised && walk.next_index <= place.index);
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
                return Err(Damage::new(path, walk.offset, what)
                    .of_record(walk.next_index)
                    .into());
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
                let damage = Damage::new(path, walk.offset, what).of_record(walk.next_index);
                let covered_next = covered.map_or(0, |place| place.index + 1);
                let Some((next_first, next_path)) = next.filter(|next| next.0 <= covered_next)
                else {
                    return Err(damage.into());
                };
                scan.damages.push(damage);
                let key = key_behind(next_path, *next_first, open)?;
                scan.last_key = scan.last_key.max(key);
                segment.misses_up_to(*next_first, scan.last_key);
            }
            // Reserved space; a segment that lost its end shows as a gap before the next one.
            (None, None) => {}
        }
    }
    if let Some(place) = end
        && stopped.is_some()
    {
        // The end of the log is damaged, and the newest snapshot covers all of it. The log continues after the snapshot.
        let what = "the last records are damaged or missing; the newest snapshot covers them";
        let damage = Damage::new(path, walk.offset, what).of_record(walk.next_index);
        scan.damages.push(damage);
        scan.last_key = scan.last_key.max(place.key);
        segment.skip(place.index + 1, walk.offset, place.key);
    }
    scan.take(segment);
    Ok(())
}

/// Returns an `EventId` that is not before any event of earlier segments, and before the last event of this segment's first batch. Returns
/// 0 if the file has no intact batch.
fn key_behind(path: &Path, first_index: u64, open: Opener) -> Result<u64, Fault> {
    let fault = |e| Fault::new("read", path, e);
    let file = open(path).map_err(fault)?;
    let length = file.metadata().map_err(fault)?.len();
    let found = walk::next_intact(&file, 0, length, &(first_index..u64::MAX)).map_err(fault)?;
    Ok(found.map_or(0, |(header, _)| header.key - 1))
}

/// Returns whether a snapshot covers the damage at the position of a walk, up to the next intact record. If so, the walk continues at that
/// record.
fn is_passed_over(
    scan: &mut Scan,
    segment: &mut Segment,
    walk: &mut Walk,
    covered: Option<Position>,
) -> Result<bool, Fault> {
    let Some(place) = covered.filter(|place| place.index >= walk.next_index) else {
        return Ok(false);
    };
    let fault = |e| Fault::new("read", &segment.path, e);
    let length = segment.file.metadata().map_err(fault)?.len();
    let indices = walk.next_index + 1..place.index + 2;
    let found = walk::next_intact(&segment.file, walk.offset, length, &indices).map_err(fault)?;
    let Some((header, offset)) = found else {
        return Ok(false);
    };
    let what = format!(
        "the records {} to {} are damaged; the newest snapshot covers them",
        walk.next_index,
        header.index - 1
    );
    let damage = Damage::new(&segment.path, walk.offset, what).of_record(walk.next_index);
    scan.damages.push(damage);
    segment.skip(header.index, offset, header.key - 1);
    let (path, file) = (segment.path.clone(), Arc::clone(&segment.file));
    *walk = Walk::new(path, file, offset, length, header.index);
    Ok(true)
}

#[cfg(test)]
mod tests;
