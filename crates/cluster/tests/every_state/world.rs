//! A small cluster and everything that can happen to it next.
//!
//! Always: whoever decides something that is this product's rule asks `cluster::rules`, as the product does. What raft decides
//! (terms, votes by logs, commits) is written down here anew, after openraft. Time passes when a voter needs it to: then whatever it
//! has answered before is longer ago than a leader's lease, which is what the clocks are trusted for. A message that is never
//! delivered is lost; one that nobody can heed any more is forgotten.

use std::time::Duration;

use cluster::Part;
use cluster::rules::{self, Ballot, Claim, Other, Voting};

use crate::member::{A, B, C, D, Entry, Leading, Log, MAIL, Member, Message, ROOM, Role, SLOTS};

/// How large the world may grow, and which rules hold in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    /// `C` is a watch.
    pub(crate) has_watch: bool,
    /// The watch is a witness: it keeps only its newest entry, which another cluster records.
    pub(crate) is_witness: bool,
    pub(crate) terms: u8,
    /// Entries beside those with which a leader begins.
    pub(crate) entries: u8,
    /// Messages on their way at once.
    pub(crate) messages: usize,
    pub(crate) crashes: u8,
    /// `B` may lose its disk.
    pub(crate) wipes: bool,
    pub(crate) hand_overs: bool,
    /// A message may arrive twice.
    pub(crate) doubles: bool,
    pub(crate) broken: Option<Broken>,
}

/// A rule that is left out, to see that it is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The watch is told at once.
    Hold,
    /// The watch is told although only the leader's memory has the entry.
    OwnDisk,
    /// A member that was just started votes at once.
    WaitAfterStart,
    /// Whoever has handed over goes on answering.
    SilenceAfterHandOver,
    /// A leader answers without having been heard.
    Lease,
    /// A member votes although it has just heard the active one.
    Patience,
    /// A vote is not on disk when it is given.
    VoteOnDisk,
    /// A witness answers before its state is recorded.
    RecordFirst,
    /// A witness still answers although another process has continued it.
    InCharge,
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Asks(usize),
    Takes(usize),
    Syncs(usize),
    Sends {
        from: usize,
        to: usize,
        is_heartbeat: bool,
    },
    Loses {
        leader: usize,
        other: usize,
    },
    HandsOver {
        from: usize,
        to: usize,
    },
    Changes(usize),
    Crashes(usize),
    Starts(usize),
    Wipes,
    Arrives(Message),
    ArrivesAndStays(Message),
    IsLost(Message),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) members: [Member; SLOTS],
    mail: [Message; MAIL],
    pub(crate) crashes: u8,
    /// Everything that was ever acknowledged.
    pub(crate) acknowledged: Log,
    /// Who led in which term.
    pub(crate) leaders: [Option<u8>; ROOM + 1],
    /// The data members that the newest leader waits for, itself among them.
    pub(crate) waited_for: u8,
}

const LEASE: Duration = Duration::from_millis(150);
const PATIENCE: Duration = Duration::from_millis(168);

pub(crate) fn id(member: usize) -> u8 {
    u8::try_from(member).unwrap_or(u8::MAX)
}

pub(crate) fn bit(member: usize) -> u8 {
    1 << member
}

impl World {
    pub(crate) fn new(setup: &Setup) -> Self {
        let mut members = [Member::FRESH; SLOTS];
        members[D].role = Role::Gone;
        assert!(setup.messages <= MAIL, "there is room for {MAIL} messages");
        assert!(
            usize::from(setup.terms) + usize::from(setup.entries) + 4 <= ROOM,
            "there is room for {ROOM} entries"
        );
        Self {
            members,
            mail: [Message::None; MAIL],
            crashes: 0,
            acknowledged: Log::default(),
            leaders: [None; ROOM + 1],
            waited_for: 0,
        }
    }

    pub(crate) fn part(setup: &Setup, member: usize) -> Part {
        if setup.has_watch && member == C {
            if setup.is_witness {
                Part::Witness
            } else {
                Part::Watch
            }
        } else {
            Part::Data
        }
    }

    pub(crate) fn mail(&self) -> impl Iterator<Item = Message> + '_ {
        self.mail
            .iter()
            .copied()
            .filter(|message| *message != Message::None)
    }

    pub(crate) fn post(&mut self, setup: &Setup, message: Message) {
        if self.mail.contains(&message) {
            return;
        }
        // Beyond what fits, messages are lost: that is always allowed.
        if let Some(free) = self.mail[..setup.messages]
            .iter_mut()
            .find(|slot| **slot == Message::None)
        {
            *free = message;
            self.mail.sort_unstable_by(|a, b| b.cmp(a));
        }
    }

    pub(crate) fn take(&mut self, message: Message) {
        if let Some(slot) = self.mail.iter_mut().find(|slot| **slot == message) {
            *slot = Message::None;
            self.mail.sort_unstable_by(|a, b| b.cmp(a));
        }
    }

    /// Messages of a term that is over for the one they are for.
    fn forget_the_unheeded(&mut self, setup: &Setup) {
        // The process that has continued a witness has a later term than the one that still answers.
        let is_answered_twice = |member: usize| {
            setup.broken == Some(Broken::InCharge) && Self::part(setup, member) == Part::Witness
        };
        let members = &self.members;
        for message in &mut self.mail {
            let is_heeded = match *message {
                Message::None => true,
                Message::Vote { to, term, .. } => {
                    let it = &members[usize::from(to)];
                    term > it.term || (term == it.term && it.vote.is_none())
                }
                Message::Granted { to, term, .. } => {
                    let it = &members[usize::from(to)];
                    it.term == term && matches!(it.role, Role::Asks(_))
                }
                Message::Append { to, term, .. } => {
                    let it = &members[usize::from(to)];
                    (term >= it.term && it.role != Role::Gone) || is_answered_twice(usize::from(to))
                }
                Message::Appended { to, term, .. } => {
                    let it = &members[usize::from(to)];
                    it.term == term && it.leading().is_some()
                }
                Message::HandOver { to, term, .. } => members[usize::from(to)].term <= term,
            };
            if !is_heeded {
                *message = Message::None;
            }
        }
        self.mail.sort_unstable_by(|a, b| b.cmp(a));
    }

    pub(crate) fn forget_mail(&mut self) {
        self.mail = [Message::None; MAIL];
    }

    /// Lets as much time pass as the product's rule demands before a member votes.
    pub(crate) fn waits_to_vote(&mut self, setup: &Setup, member: usize, is_handed_over: bool) {
        let it = &self.members[member];
        let mut ballot = Ballot {
            is_handed_over,
            opened_for: if it.was_just_started && setup.broken != Some(Broken::WaitAfterStart) {
                Duration::ZERO
            } else {
                PATIENCE
            },
            heard_for: (!it.was_just_started && setup.broken != Some(Broken::Patience))
                .then_some(Duration::ZERO),
            patience: PATIENCE,
        };
        if rules::voting(&ballot) != Voting::Open {
            self.time_passes(member);
            ballot.opened_for = PATIENCE;
            ballot.heard_for = Some(PATIENCE);
            assert_eq!(rules::voting(&ballot), Voting::Open);
        }
    }

    /// Whether the product's rule lets a member answer as the active one.
    pub(crate) fn may_answer(&self, setup: &Setup, member: usize) -> bool {
        let Role::Leads(leading) = &self.members[member].role else {
            return false;
        };
        let it = &self.members[member];
        let newest_committed = it
            .committed
            .checked_sub(1)
            .map_or(0, |at| it.log.entries()[usize::from(at)].term);
        let voters = it.log.voters();
        let is_heard =
            voters.is_majority(leading.fresh | bit(member)) || setup.broken == Some(Broken::Lease);
        rules::may_answer(&Claim {
            is_active: rules::is_active(Some(it.term.into()), newest_committed.into()),
            has_handed_over: leading.has_handed_over
                && setup.broken != Some(Broken::SilenceAfterHandOver),
            voters: voters.all().count_ones() as usize,
            heard_for: is_heard.then_some(Duration::ZERO),
            lease: LEASE,
        })
    }

    /// Whether the product's rule lets the newest entry go to the watch.
    pub(crate) fn may_go_to_watch(&self, setup: &Setup, leader: usize, leading: &Leading) -> bool {
        let it = &self.members[leader];
        let Some(newest) = it.log.len().checked_sub(1) else {
            return true;
        };
        let others = (0..SLOTS)
            .filter(|other| *other != leader && self.members[*other].role != Role::Gone)
            .map(|other| Other {
                part: Self::part(setup, other),
                acknowledged: leading.confirmed[other]
                    .and_then(|count| count.checked_sub(1))
                    .map(u64::from),
                is_lost: leading.lost & bit(other) != 0,
            });
        match setup.broken {
            Some(Broken::Hold) => it.on_disk > newest,
            Some(Broken::OwnDisk) => rules::may_go_to_watch(u64::from(newest), true, others),
            Some(_) | None => {
                rules::may_go_to_watch(u64::from(newest), it.on_disk > newest, others)
            }
        }
    }

    /// The world after it.
    pub(crate) fn after(&self, setup: &Setup, step: Step) -> Result<Self, String> {
        let mut next = *self;
        next.happens(setup, step)?;
        next.forget_the_unheeded(setup);
        Ok(next)
    }

    pub(crate) fn happens(&mut self, setup: &Setup, step: Step) -> Result<(), String> {
        match step {
            Step::Asks(member) => self.asks(setup, member, false),
            Step::Takes(member) => {
                let term = self.members[member].term;
                self.members[member].log.push(Entry { term, change: None });
            }
            Step::Changes(member) => {
                if let Role::Leads(leading) = self.members[member].role {
                    let change = self.change_due(setup, member, &leading);
                    let term = self.members[member].term;
                    self.members[member].log.push(Entry { term, change });
                }
            }
            Step::Syncs(member) => {
                self.members[member].on_disk = self.members[member].log.len();
                self.commits(member)?;
            }
            Step::Sends {
                from,
                to,
                is_heartbeat,
            } => self.sends(setup, from, to, is_heartbeat),
            Step::Loses { leader, other } => self.waits(leader, other, false),
            Step::HandsOver { from, to } => {
                let it = &mut self.members[from];
                let (term, end) = (it.term, it.log.end());
                if let Role::Leads(leading) = &mut it.role {
                    leading.has_handed_over = true;
                }
                let message = Message::HandOver {
                    from: id(from),
                    to: id(to),
                    term,
                    end,
                };
                self.post(setup, message);
            }
            Step::Crashes(member) => {
                self.crashes += 1;
                let it = &mut self.members[member];
                it.role = Role::Down;
                it.log.cut(it.on_disk);
                it.committed = 0;
                if setup.broken == Some(Broken::VoteOnDisk) {
                    it.vote = None;
                }
                if setup.broken == Some(Broken::RecordFirst)
                    && Self::part(setup, member) == Part::Witness
                {
                    it.vote = None;
                    it.log = Log::default();
                    it.on_disk = 0;
                }
            }
            Step::Starts(member) => {
                let it = &mut self.members[member];
                it.role = Role::Follows;
                // What it had promised before, it has forgotten.
                it.was_just_started = true;
            }
            Step::Wipes => {
                self.crashes += 1;
                self.members[B] = Member {
                    role: Role::Gone,
                    ..Member::FRESH
                };
                self.members[D] = Member::FRESH;
                self.waited_for &= !bit(B);
                for member in [A, C] {
                    if let Role::Leads(leading) = &mut self.members[member].role {
                        leading.lost |= bit(B) | bit(D);
                    }
                }
            }
            Step::Arrives(message) => {
                self.take(message);
                self.arrives(setup, message)?;
            }
            Step::ArrivesAndStays(message) => self.arrives(setup, message)?,
            Step::IsLost(message) => self.take(message),
        }
        Ok(())
    }

    /// Whatever this member has answered before is longer ago than a leader's lease.
    pub(crate) fn time_passes(&mut self, member: usize) {
        for other in &mut self.members {
            if let Role::Leads(leading) = &mut other.role {
                leading.fresh &= !bit(member);
            }
        }
        for message in &mut self.mail {
            if let Message::Appended { from, is_fresh, .. } = message
                && usize::from(*from) == member
            {
                *is_fresh = false;
            }
        }
        self.mail.sort_unstable_by(|a, b| b.cmp(a));
    }

    pub(crate) fn asks(&mut self, setup: &Setup, member: usize, is_handed_over: bool) {
        self.waits_to_vote(setup, member, is_handed_over);
        let it = &mut self.members[member];
        it.term += 1;
        it.vote = Some(id(member));
        it.role = Role::Asks(bit(member));
        let (term, end) = (it.term, it.log.end());
        let others = it.log.voters().all() & !bit(member);
        for other in (0..SLOTS).filter(|other| others & bit(*other) != 0) {
            let message = Message::Vote {
                from: id(member),
                to: id(other),
                term,
                end,
                is_handed_over,
            };
            self.post(setup, message);
        }
    }

    fn sends(&mut self, setup: &Setup, from: usize, to: usize, is_heartbeat: bool) {
        let it = &self.members[from];
        let Role::Leads(leading) = &it.role else {
            return;
        };
        let mut log = it.log;
        if is_heartbeat {
            log.cut(leading.confirmed[to].unwrap_or(0));
        }
        let message = Message::Append {
            from: id(from),
            to: id(to),
            term: it.term,
            log,
            is_fresh: true,
        };
        self.post(setup, message);
    }

    /// The newest leader begins or ceases to wait for a member.
    pub(crate) fn waits(&mut self, leader: usize, other: usize, is_waited_for: bool) {
        let Role::Leads(leading) = &mut self.members[leader].role else {
            return;
        };
        if is_waited_for {
            leading.lost &= !bit(other);
        } else {
            leading.lost |= bit(other);
        }
        let term = usize::from(self.members[leader].term);
        let is_newest = self.leaders[term + 1..].iter().all(Option::is_none);
        if !is_newest {
            return;
        }
        if is_waited_for {
            self.waited_for |= bit(other);
        } else {
            self.waited_for &= !bit(other);
        }
    }

    /// What must hold in every state.
    pub(crate) fn check(&self, setup: &Setup) -> Result<(), String> {
        let newest = self.acknowledged.end().0;
        let mut answering = None;
        for member in 0..SLOTS {
            if !self.may_answer(setup, member) {
                continue;
            }
            let term = self.members[member].term;
            if term < newest {
                return Err(format!(
                    "{member} of term {term} may answer though term {newest} has acknowledged something"
                ));
            }
            if let Some(other) = answering.replace(member) {
                return Err(format!("{other} and {member} may answer at once"));
            }
        }
        Ok(())
    }
}
