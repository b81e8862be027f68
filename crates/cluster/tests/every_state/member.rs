//! One member of the small cluster: what it has on disk, what it has in memory, and what travels between members.
//!
//! Always: of a fixed size, so that a state can be copied and hashed as a whole.

use cluster::WitnessState;

/// Who: `A` and `B` keep the events, `C` is the watch or a third one of them, `D` is what `B` comes back as with an empty disk.
pub(crate) const A: usize = 0;
pub(crate) const B: usize = 1;
pub(crate) const C: usize = 2;
pub(crate) const D: usize = 3;
pub(crate) const SLOTS: usize = 4;
/// Room for entries.
pub(crate) const ROOM: usize = 9;
/// Room for messages.
pub(crate) const MAIL: usize = 4;

/// An entry: the term in which it was made, and who votes from it on.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Entry {
    pub(crate) term: u8,
    pub(crate) change: Option<Voters>,
}

/// Who votes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Voters {
    /// The first three.
    #[default]
    Old,
    /// Majorities of both are needed.
    Both,
    /// `D` in the place of `B`.
    New,
}

impl Voters {
    const OLD: u8 = 1 << A | 1 << B | 1 << C;
    const NEW: u8 = 1 << A | 1 << D | 1 << C;

    /// Everybody who has a vote, as a set of bits.
    pub(crate) fn all(self) -> u8 {
        match self {
            Self::Old => Self::OLD,
            Self::Both => Self::OLD | Self::NEW,
            Self::New => Self::NEW,
        }
    }

    pub(crate) fn is_majority(self, set: u8) -> bool {
        let of = |voters: u8| (set & voters).count_ones() >= 2;
        match self {
            Self::Old => of(Self::OLD),
            Self::Both => of(Self::OLD) && of(Self::NEW),
            Self::New => of(Self::NEW),
        }
    }
}

/// A log.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Log {
    entries: [Entry; ROOM],
    count: u8,
}

impl std::hash::Hash for Log {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.entries().hash(state);
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.entries()).finish()
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.change {
            None => write!(f, "{}", self.term),
            Some(voters) => write!(f, "{} {voters:?}", self.term),
        }
    }
}

impl Log {
    pub(crate) fn len(&self) -> u8 {
        self.count
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries[..usize::from(self.count)]
    }

    pub(crate) fn push(&mut self, entry: Entry) {
        self.entries[usize::from(self.count)] = entry;
        self.count += 1;
    }

    pub(crate) fn cut(&mut self, len: u8) {
        if len < self.count {
            self.entries[usize::from(len)..].fill(Entry::default());
            self.count = len;
        }
    }

    /// What decides who is further: the last term, then the length.
    pub(crate) fn end(&self) -> (u8, u8) {
        (
            self.entries().last().map_or(0, |entry| entry.term),
            self.count,
        )
    }

    /// The entries of earlier terms.
    pub(crate) fn before_term(&self, term: u8) -> Log {
        let mut before = *self;
        let count = self
            .entries()
            .iter()
            .filter(|entry| entry.term < term)
            .count();
        before.cut(u8::try_from(count).unwrap_or(u8::MAX));
        before
    }

    pub(crate) fn begins_with(&self, other: &Log) -> bool {
        self.entries().starts_with(other.entries())
    }

    /// Who votes as of its end.
    pub(crate) fn voters(&self) -> Voters {
        let mut changes = self.entries().iter().rev();
        changes.find_map(|entry| entry.change).unwrap_or_default()
    }
}

/// What a member is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Role {
    Gone,
    Down,
    Follows,
    /// With the votes it has.
    Asks(u8),
    Leads(Leading),
}

/// What a leader knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Leading {
    /// How many entries each one has confirmed, if it was heard.
    pub(crate) confirmed: [Option<u8>; SLOTS],
    /// Who is not waited for.
    pub(crate) lost: u8,
    /// Who was heard so lately that it cannot have voted since.
    pub(crate) fresh: u8,
    pub(crate) has_handed_over: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Member {
    pub(crate) role: Role,
    pub(crate) term: u8,
    /// For whom in this term.
    pub(crate) vote: Option<u8>,
    pub(crate) log: Log,
    /// So many entries are on its disk.
    pub(crate) on_disk: u8,
    /// So many it knows to be committed, while it leads.
    pub(crate) committed: u8,
    /// It has heard nobody since it was started.
    pub(crate) was_just_started: bool,
}

impl Member {
    pub(crate) const FRESH: Self = Self {
        role: Role::Follows,
        term: 0,
        vote: None,
        log: Log {
            entries: [Entry {
                term: 0,
                change: None,
            }; ROOM],
            count: 0,
        },
        on_disk: 0,
        committed: 0,
        was_just_started: true,
    };

    /// Returns the recorded state of a witness. It need not record that its candidate was elected: no other one can be elected in that
    /// term.
    pub(crate) fn as_witness(&self) -> WitnessState {
        let newest = self.log.end();
        WitnessState {
            term: self.term.into(),
            voted_for: self.vote.map(u64::from),
            newest: (newest.1 > 0).then(|| (newest.0.into(), u64::from(newest.1) - 1)),
            ..WitnessState::new(C as u64)
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        !matches!(self.role, Role::Gone | Role::Down)
    }

    pub(crate) fn leading(&self) -> Option<&Leading> {
        match &self.role {
            Role::Leads(leading) => Some(leading),
            Role::Gone | Role::Down | Role::Follows | Role::Asks(_) => None,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Message {
    #[default]
    None,
    Vote {
        from: u8,
        to: u8,
        term: u8,
        end: (u8, u8),
        is_handed_over: bool,
    },
    Granted {
        from: u8,
        to: u8,
        term: u8,
    },
    Append {
        from: u8,
        to: u8,
        term: u8,
        /// The sender's log up to the last entry that is meant; what the receiver has confirmed is not sent in truth.
        log: Log,
        is_fresh: bool,
    },
    Appended {
        from: u8,
        to: u8,
        term: u8,
        count: u8,
        is_fresh: bool,
    },
    HandOver {
        from: u8,
        to: u8,
        term: u8,
        end: (u8, u8),
    },
}

impl Message {
    pub(crate) fn to(self) -> usize {
        match self {
            Self::None => A,
            Self::Vote { to, .. }
            | Self::Granted { to, .. }
            | Self::Append { to, .. }
            | Self::Appended { to, .. }
            | Self::HandOver { to, .. } => usize::from(to),
        }
    }
}
