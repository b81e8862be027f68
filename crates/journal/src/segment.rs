//! One file of the log: its name and what it holds.
//!
//! Always: the name carries the index of the first record; records follow each other without a gap; after the last
//! one there are zeros (space reserved ahead) or nothing.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::hard_state::Position;
use crate::record::{Kind, Record};
use crate::seal::Seal;
use crate::walk::Walk;

/// A mark in the sparse index stands at least this far behind the one before.
const MARK_DISTANCE: u64 = 64 << 10;
const PREFIX: &str = "log-";
const SUFFIX: &str = ".segment";

pub(crate) fn name_of(first_index: u64) -> String {
    format!("{PREFIX}{first_index:020}{SUFFIX}")
}

/// All segment files of a directory in order.
pub(crate) fn list(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let first_index = name
            .to_str()
            .and_then(|n| n.strip_prefix(PREFIX)?.strip_suffix(SUFFIX))
            .and_then(|digits| digits.parse().ok());
        if let Some(first_index) = first_index {
            found.push((first_index, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// A place in a segment to start walking from.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Mark {
    index: u64,
    key_before: u64,
    offset: u64,
}

/// What is known of one segment file.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<File>,
    pub(crate) first_index: u64,
    /// Index after the last record.
    pub(crate) next_index: u64,
    /// Bytes of whole records.
    pub(crate) bytes: u64,
    /// Last `EventId` before this segment.
    pub(crate) key_before: u64,
    /// Last `EventId` up to the end of this segment.
    pub(crate) key_upto: u64,
    /// Terms that have records here, each with its first index here.
    pub(crate) terms: Vec<(u64, u64)>,
    /// Membership records.
    pub(crate) memberships: Vec<(Position, String)>,
    marks: Vec<Mark>,
}

impl Segment {
    pub(crate) fn new(path: PathBuf, file: File, first_index: u64, key_before: u64) -> Self {
        Self {
            path,
            file: Arc::new(file),
            first_index,
            next_index: first_index,
            bytes: 0,
            key_before,
            key_upto: key_before,
            terms: Vec::new(),
            memberships: Vec::new(),
            marks: Vec::new(),
        }
    }

    /// A closed segment as its seal describes it.
    pub(crate) fn sealed(path: PathBuf, file: File, seal: Seal) -> Self {
        Self {
            path,
            file: Arc::new(file),
            first_index: seal.first_index,
            next_index: seal.next_index,
            bytes: seal.bytes,
            key_before: seal.key_before,
            key_upto: seal.key_upto,
            terms: seal.terms,
            memberships: seal.memberships,
            marks: seal.marks,
        }
    }

    pub(crate) fn to_seal(&self) -> Seal {
        Seal {
            first_index: self.first_index,
            next_index: self.next_index,
            bytes: self.bytes,
            key_before: self.key_before,
            key_upto: self.key_upto,
            terms: self.terms.clone(),
            memberships: self.memberships.clone(),
            marks: self.marks.clone(),
        }
    }

    /// Takes note of a record at the end.
    pub(crate) fn note(&mut self, record: &Record) {
        if self
            .marks
            .last()
            .is_none_or(|m| self.bytes - m.offset >= MARK_DISTANCE)
        {
            self.marks.push(Mark {
                index: self.next_index,
                key_before: self.key_upto,
                offset: self.bytes,
            });
        }
        self.next_index += 1;
        self.bytes += record.disk_bytes();
        self.key_upto = self.key_upto.max(record.key);
        if self
            .terms
            .last()
            .is_none_or(|(term, _)| *term < record.term)
        {
            self.terms.push((record.term, record.index));
        }
        if record.kind == Kind::Membership {
            let position = Position {
                index: record.index,
                term: record.term,
                key: self.key_upto,
            };
            let text = String::from_utf8_lossy(&record.body).into_owned();
            self.memberships.push((position, text));
        }
    }

    /// Records that everything between the last known record and the one with `index` at `offset` is damaged. The last event of that record is
    /// newer than `key`.
    pub(crate) fn skip(&mut self, index: u64, offset: u64, key: u64) {
        self.next_index = index;
        self.bytes = offset;
        self.key_upto = self.key_upto.max(key);
        self.marks.push(Mark {
            index,
            key_before: self.key_upto,
            offset,
        });
    }

    /// Records that all records after the last known one and before `index` are damaged or missing. Their events are not newer than `key`.
    pub(crate) fn misses_up_to(&mut self, index: u64, key: u64) {
        self.next_index = index;
        self.key_upto = self.key_upto.max(key);
    }

    /// Adds the record with `index` at `offset` as a place from which to start walking, so that readers of later events do not meet the
    /// damage before it. The last event of that record is newer than `key_before`.
    pub(crate) fn begin_also_at(&mut self, index: u64, offset: u64, key_before: u64) {
        let at = self.marks.partition_point(|mark| mark.offset < offset);
        let mark = Mark {
            index,
            key_before,
            offset,
        };
        if self.marks.get(at).is_none_or(|mark| mark.offset != offset) {
            self.marks.insert(at, mark);
        }
    }

    /// Forgets everything from the record at `offset` with `index` on.
    pub(crate) fn cut(&mut self, index: u64, offset: u64, key_upto: u64) {
        self.next_index = index;
        self.bytes = offset;
        self.key_upto = key_upto;
        self.marks.retain(|m| m.offset < offset);
        self.terms.retain(|(_, first)| *first < index);
        self.memberships
            .retain(|(position, _)| position.index < index);
    }

    /// A walk that meets the record with `index` soon.
    pub(crate) fn walk_from_index(&self, index: u64) -> Walk {
        self.walk_from(self.last_mark(|mark| mark.index <= index))
    }

    /// The same, with the last `EventId` before the first record that it meets.
    pub(crate) fn walk_with_key(&self, index: u64) -> (Walk, u64) {
        let mark = self.last_mark(|mark| mark.index <= index);
        (self.walk_from(mark), mark.key_before)
    }

    /// A walk that meets the first record with an event after `key` soon.
    pub(crate) fn walk_from_key(&self, key: u64) -> Walk {
        self.walk_from(self.last_mark(|mark| mark.key_before <= key))
    }

    /// A walk over all whole records.
    pub(crate) fn walk(&self) -> Walk {
        self.walk_from(self.beginning())
    }

    /// The last of the marks up to which something holds; the beginning if it holds for none.
    fn last_mark(&self, holds: impl Fn(&Mark) -> bool) -> Mark {
        let marks = self.marks.partition_point(holds);
        let last = marks.checked_sub(1).and_then(|at| self.marks.get(at));
        last.copied().unwrap_or_else(|| self.beginning())
    }

    fn beginning(&self) -> Mark {
        Mark {
            index: self.first_index,
            key_before: self.key_before,
            offset: 0,
        }
    }

    fn walk_from(&self, mark: Mark) -> Walk {
        Walk::new(
            self.path.clone(),
            Arc::clone(&self.file),
            mark.offset,
            self.bytes,
            mark.index,
        )
        .up_to(self.next_index)
    }
}
