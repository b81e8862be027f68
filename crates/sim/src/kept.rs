//! What a member of a log has on its disk: term and vote, a snapshot, and the entries behind it.
//!
//! Always: changed only by writes that are kept in order, so that a crash leaves a beginning of them. Never here: when something is
//! written.

use crate::disk::event_id_of;
use crate::pair::{Members, Number};
use cluster::Part;
use std::collections::VecDeque;
use std::sync::Arc;

/// What stands in an entry.
#[derive(Clone, Debug)]
pub enum What {
    /// Nothing: a term begins.
    Blank,
    /// Events.
    Lines(Arc<str>),
    /// That there are events; a watch has no more.
    NoLines,
    /// Who takes part from now on.
    Members(Arc<Members>),
}

/// An entry of the log.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The term of the active member that wrote it.
    pub term: u64,
    /// Its place.
    pub index: u64,
    /// The number of the newest event until here.
    pub last_event: u64,
    /// What stands in it.
    pub what: What,
}

impl Entry {
    /// For a watch.
    pub fn without_lines(&mut self) {
        if matches!(self.what, What::Lines(_)) {
            self.what = What::NoLines;
        }
    }
}

/// A snapshot of the state.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The entry it stands at.
    pub index: u64,
    /// Of which term.
    pub term: u64,
    /// The event it stands at.
    pub at: u64,
    /// Who takes part.
    pub members: Arc<Members>,
    /// Its lines; none for a watch.
    pub lines: Arc<Vec<String>>,
}

/// What is before the first entry.
#[derive(Clone, Debug)]
pub struct Base {
    /// The last entry that is gone.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// The event until which all is gone.
    pub event: u64,
    /// Who took part.
    pub members: Arc<Members>,
}

/// Entries until a snapshot, and what is before them.
#[derive(Clone, Debug)]
pub struct Tail {
    /// What is before.
    pub base: Base,
    /// The entries.
    pub entries: Vec<Entry>,
}

/// A write.
#[derive(Clone, Debug)]
pub enum Op {
    /// The term, and who has got the vote.
    Vote(u64, Option<Number>),
    /// One more entry.
    Append(Entry),
    /// Entries from here on are replaced.
    Cut(u64),
    /// Entries until here go.
    Forget(u64),
    /// A snapshot of the own state.
    Keep(Arc<Snapshot>),
    /// Another member's snapshot replaces everything, with the entries before it that somebody may still read.
    Install(Arc<Snapshot>, Arc<Tail>),
}

/// A member's disk.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The number that was drawn with the disk.
    pub number: Number,
    /// What it keeps.
    pub part: Part,
    /// The newest term it knows.
    pub term: u64,
    /// Who has got its vote in that term.
    pub voted_for: Option<Number>,
    /// What is before the first entry.
    pub base: Base,
    /// The newest snapshot.
    pub snapshot: Option<Arc<Snapshot>>,
    entries: VecDeque<Entry>,
    /// Where the members were changed, and to what.
    changes: VecDeque<(u64, Arc<Members>)>,
}

impl Kept {
    /// An empty disk of a log that begins with these members.
    pub fn new(number: Number, part: Part, members: Members) -> Kept {
        Kept {
            number,
            part,
            term: 0,
            voted_for: None,
            base: Base {
                index: 0,
                term: 0,
                event: 0,
                members: Arc::new(members),
            },
            snapshot: None,
            entries: VecDeque::new(),
            changes: VecDeque::new(),
        }
    }

    /// Who takes part.
    pub fn members(&self) -> &Members {
        self.changes
            .back()
            .map_or(&self.base.members, |(_, members)| members)
    }

    fn members_at(&self, index: u64) -> Arc<Members> {
        let before = self.changes.iter().rev().find(|(at, _)| *at <= index);
        Arc::clone(before.map_or(&self.base.members, |(_, members)| members))
    }

    /// Where the members were changed last.
    pub fn changed_at(&self) -> u64 {
        self.changes
            .back()
            .map_or(self.base.index, |(index, _)| *index)
    }

    /// Term and index of the newest entry.
    pub fn newest(&self) -> (u64, u64) {
        self.entries
            .back()
            .map_or((self.base.term, self.base.index), |entry| {
                (entry.term, entry.index)
            })
    }

    /// The newest event.
    pub fn last_event(&self) -> u64 {
        self.entries
            .back()
            .map_or(self.base.event, |entry| entry.last_event)
    }

    /// An entry.
    pub fn entry(&self, index: u64) -> Option<&Entry> {
        let place = index.checked_sub(self.base.index + 1)?;
        self.entries.get(usize::try_from(place).ok()?)
    }

    /// The term of an entry; 0 of one that is not there.
    pub fn term_at(&self, index: u64) -> u64 {
        if index == self.base.index {
            self.base.term
        } else {
            self.entry(index).map_or(0, |entry| entry.term)
        }
    }

    /// Entries from here on until there, so many at most.
    pub fn from(&self, first: u64, until: u64, most: usize) -> Vec<Entry> {
        let skip = usize::try_from(first.saturating_sub(self.base.index + 1)).unwrap_or(usize::MAX);
        let entries = self.entries.iter().skip(skip).take(most);
        entries
            .take_while(|entry| entry.index <= until)
            .cloned()
            .collect()
    }

    /// About so many committed lines behind an event.
    pub fn lines_after(&self, after: u64, commit: u64, limit: usize) -> Vec<String> {
        let first = self
            .entries
            .partition_point(|entry| entry.last_event <= after);
        let mut lines = Vec::new();
        for entry in self
            .entries
            .range(first..)
            .take_while(|entry| entry.index <= commit)
        {
            let What::Lines(text) = &entry.what else {
                continue;
            };
            let new = text.lines().filter(|line| event_id_of(line) > after);
            lines.extend(new.map(str::to_owned));
            if lines.len() >= limit {
                break;
            }
        }
        lines
    }

    /// The last entry that a snapshot covers and everybody has confirmed.
    pub fn releasable(&self, released: u64) -> u64 {
        let Some(snapshot) = &self.snapshot else {
            return self.base.index;
        };
        let is_covered =
            |entry: &&Entry| entry.index <= snapshot.index && entry.last_event <= released;
        self.entries
            .iter()
            .take_while(is_covered)
            .last()
            .map_or(self.base.index, |entry| entry.index)
    }

    /// Where the snapshot stands.
    pub fn snapshot_index(&self) -> u64 {
        self.snapshot.as_ref().map_or(0, |snapshot| snapshot.index)
    }

    /// What a member gets that is too far behind.
    pub fn snapshot_for(&self, part: Part) -> Option<Arc<Snapshot>> {
        let snapshot = self.snapshot.as_ref()?;
        if part == Part::Data {
            return Some(Arc::clone(snapshot));
        }
        Some(Arc::new(Snapshot {
            lines: Arc::default(),
            ..(**snapshot).clone()
        }))
    }

    /// What goes with a snapshot: for a data member the entries before it that somebody may still read, unless that is left out.
    pub fn tail_of(&self, snapshot: &Snapshot, is_whole: bool) -> Tail {
        if is_whole {
            return Tail {
                base: self.base.clone(),
                entries: self.from(self.base.index + 1, snapshot.index, usize::MAX),
            };
        }
        Tail {
            base: Base {
                index: snapshot.index,
                term: snapshot.term,
                event: snapshot.at,
                members: Arc::clone(&snapshot.members),
            },
            entries: Vec::new(),
        }
    }

    /// The snapshot of this state at an entry.
    pub fn snapshot_at(&self, index: u64, at: u64, lines: Arc<Vec<String>>) -> Snapshot {
        Snapshot {
            index,
            term: self.term_at(index),
            at,
            members: self.members_at(index),
            lines,
        }
    }

    /// Follows a write.
    pub fn apply(&mut self, op: &Op) {
        match op {
            Op::Vote(term, voted_for) => {
                self.term = *term;
                self.voted_for = *voted_for;
            }
            Op::Append(entry) => {
                if let What::Members(members) = &entry.what {
                    self.changes.push_back((entry.index, Arc::clone(members)));
                }
                self.entries.push_back(entry.clone());
            }
            Op::Cut(from) => {
                while self
                    .entries
                    .back()
                    .is_some_and(|entry| entry.index >= *from)
                {
                    self.entries.pop_back();
                }
                while self.changes.back().is_some_and(|(index, _)| index >= from) {
                    self.changes.pop_back();
                }
            }
            Op::Forget(until) => {
                let members = self.members_at(*until);
                while self
                    .entries
                    .front()
                    .is_some_and(|entry| entry.index <= *until)
                {
                    let Some(entry) = self.entries.pop_front() else {
                        break;
                    };
                    self.base.index = entry.index;
                    self.base.term = entry.term;
                    self.base.event = entry.last_event;
                }
                self.base.members = members;
                while self
                    .changes
                    .front()
                    .is_some_and(|(index, _)| *index <= self.base.index)
                {
                    self.changes.pop_front();
                }
            }
            Op::Keep(snapshot) => self.snapshot = Some(Arc::clone(snapshot)),
            Op::Install(snapshot, tail) => {
                if self.term_at(snapshot.index) == snapshot.term
                    && self.entry(snapshot.index).is_some()
                {
                    // What is behind it stays.
                    self.snapshot = Some(Arc::clone(snapshot));
                    return;
                }
                self.entries = tail.entries.iter().cloned().collect();
                self.base = tail.base.clone();
                self.changes = VecDeque::new();
                for entry in &tail.entries {
                    if let What::Members(members) = &entry.what {
                        self.changes.push_back((entry.index, Arc::clone(members)));
                    }
                }
                self.snapshot = Some(Arc::clone(snapshot));
            }
        }
    }
}
