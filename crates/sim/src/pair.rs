//! A model of the replicated log that `cluster` keeps with consensus: one member of a Controller pair or Director pair, or its watch.
//!
//! Always: pure; time is the member's own steady clock, given as an argument. What another member is told of a vote or an entry is on
//! the disk before; who may be told, vote, lead and answer is asked of `cluster::rules`, the real thing. The order of the log and
//! the counting of votes are a model, since the consensus library runs in real time only. Never here: what an entry means.

use crate::kept::{Entry, Kept, Op, Snapshot, Tail, What};
use cluster::beats::Beats;
use cluster::rules::{self, Ballot, Claim, Other, Voting};
use cluster::{Part, Timing};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// The number of a member: drawn with its disk, so that one with an empty disk is another member.
pub type Number = u64;

/// How a member takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// What it keeps.
    pub part: Part,
    /// Whether it has a vote; else it only learns.
    pub votes: bool,
}

/// Who takes part.
pub type Members = BTreeMap<Number, Seat>;

/// The rules that a world may switch off, to see that it would be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The watch gets an entry only after another data member has it or counts as lost.
    pub holds: bool,
    /// For that only members with a vote count, not one that still learns.
    pub holds_for_votes: bool,
    /// The active member acts only while a majority has heard it lately.
    pub leases: bool,
    /// A vote is on the disk before it is told.
    pub keeps_votes: bool,
    /// Who has just started votes for nobody until a lease from before must be over.
    pub waits_after_start: bool,
    /// Who has handed over acts no more in that term.
    pub rests_after_handover: bool,
    /// An active member that no majority hears any more falls silent, so that others may follow.
    pub yields: bool,
    /// Who gets a snapshot gets the events before it too that nobody has confirmed yet.
    pub sends_unread: bool,
    /// Subagents refuse what belongs to an earlier coupling.
    pub fences: bool,
}

impl Rules {
    /// All of them.
    pub const ALL: Rules = Rules {
        holds: true,
        holds_for_votes: true,
        leases: true,
        keeps_votes: true,
        waits_after_start: true,
        rests_after_handover: true,
        yields: true,
        sends_unread: true,
        fences: true,
    };
}

/// Times with the proportions of the real defaults.
pub const fn timing(heartbeat: Duration) -> Timing {
    Timing {
        heartbeat,
        silence_min: heartbeat.saturating_mul(3),
        silence_max: heartbeat.saturating_mul(6),
        hold: heartbeat.saturating_mul(3),
    }
}

/// What members say to each other.
#[derive(Clone, Debug)]
pub enum Message {
    /// Would you vote for me in this term?
    PreVote {
        /// The term after the asker's.
        term: u64,
        /// Term and index of its newest entry.
        newest: (u64, u64),
    },
    /// Yes.
    PreVoteGiven {
        /// For this term.
        term: u64,
    },
    /// Vote for me.
    Vote {
        /// In this term.
        term: u64,
        /// Term and index of its newest entry.
        newest: (u64, u64),
        /// The active member wants it: no silence is waited for.
        by_handover: bool,
    },
    /// The answer.
    Voted {
        /// The term of who answers.
        term: u64,
        /// Whether it is a yes.
        is_given: bool,
    },
    /// The active member is there, and perhaps has entries.
    Append {
        /// Its term.
        term: u64,
        /// Term and index of the entry before.
        before: (u64, u64),
        /// The entries.
        entries: Vec<Entry>,
        /// Everything until here is committed.
        commit: u64,
        /// When it was sent, by the sender's clock.
        sent: Duration,
    },
    /// The answer.
    Appended {
        /// The term of who answers.
        term: u64,
        /// What it has: until where it agrees, or until where it may.
        has: Result<u64, u64>,
        /// When what is answered was sent.
        sent: Duration,
    },
    /// The state instead of entries that are gone.
    Snapshot {
        /// The term of the active member.
        term: u64,
        /// The state.
        snapshot: Arc<Snapshot>,
        /// The entries before it that somebody may still read.
        tail: Arc<Tail>,
        /// When it was sent.
        sent: Duration,
    },
    /// Follow me now.
    HandOver {
        /// The term that ends.
        term: u64,
    },
}

/// How far another member is, as the active one knows it.
#[derive(Clone, Debug)]
struct Peer {
    part: Part,
    next: u64,
    has: u64,
    /// When the newest message that it has answered was sent.
    heard: Option<Duration>,
    asked: Option<Duration>,
    /// When it was sent a heartbeat last.
    beaten: Option<Duration>,
    /// When it was sent entries last.
    told: Option<Duration>,
    is_lost: bool,
}

/// The first entry that may not go to the watch yet.
#[derive(Clone, Copy, Debug)]
struct Held {
    index: u64,
    /// So long the other data members are waited for; after that it is the own disk alone, for as long as it takes.
    until: Option<Duration>,
}

#[derive(Clone, Debug)]
struct Leading {
    since: Duration,
    peers: BTreeMap<Number, Peer>,
    beats: Beats,
    held: Option<Held>,
    handing_over: Option<Duration>,
}

#[derive(Clone, Debug)]
enum Stand {
    Follows,
    Asks(BTreeSet<Number>),
    Campaigns(BTreeSet<Number>),
    Leads(Leading),
}

/// A member whose process runs.
#[derive(Clone, Debug)]
pub struct Member {
    rules: Rules,
    timing: Timing,
    /// What it knows; the disk follows.
    pub kept: Kept,
    stand: Stand,
    commit: u64,
    /// When its process began.
    opened: Duration,
    /// When an active member was heard last.
    heard: Option<Duration>,
    /// When it looks whether to campaign.
    campaign: Duration,
    /// Writes that are not yet given to the disk.
    ops: Vec<Op>,
    made: u64,
    synced: u64,
    synced_index: u64,
    waiting: Vec<(u64, Number, Message)>,
    /// What is to be sent now.
    pub out: Vec<(Number, Message)>,
    /// The watch was sent an entry that these data members lack: they may not follow without help.
    pub behind: BTreeSet<Number>,
}

const PIECE: usize = 64;

impl Member {
    /// A process that has just read its disk. `chance` spreads the campaigns.
    pub fn start(kept: Kept, rules: Rules, timing: Timing, now: Duration, chance: u64) -> Member {
        let commit = kept.snapshot_index().max(kept.base.index);
        let synced_index = kept.newest().1;
        let mut member = Member {
            rules,
            timing,
            kept,
            stand: Stand::Follows,
            commit,
            opened: now,
            heard: None,
            campaign: now,
            ops: Vec::new(),
            made: 0,
            synced: 0,
            synced_index,
            waiting: Vec::new(),
            out: Vec::new(),
            behind: BTreeSet::new(),
        };
        if member.is_alone() {
            member.campaign(now, chance, false);
        } else {
            member.expect(now, chance);
        }
        member
    }

    /// Everything until here is committed, as far as this member knows.
    pub fn commit(&self) -> u64 {
        self.commit
    }

    /// Its term.
    pub fn term(&self) -> u64 {
        self.kept.term
    }

    /// Whether it leads and an entry of its own term is committed.
    pub fn is_active(&self) -> bool {
        let committed = self.kept.term_at(self.commit);
        rules::is_active(self.leads().then_some(self.kept.term), committed)
    }

    /// Whether it has been elected.
    pub fn leads(&self) -> bool {
        matches!(self.stand, Stand::Leads(_))
    }

    /// When what a majority has answered was sent.
    fn heard_by_majority(&self, leading: &Leading) -> Option<Duration> {
        let others = leading
            .peers
            .iter()
            .filter(|(number, _)| self.has_vote(**number));
        let mut heard: Vec<Option<Duration>> = others.map(|(_, peer)| peer.heard).collect();
        heard.sort_unstable_by(|a, b| b.cmp(a));
        // Itself is one more.
        let needed = heard.len().div_ceil(2).checked_sub(1)?;
        heard.get(needed).copied().flatten()
    }

    /// Whether it may answer and act outside: a majority has heard it within the time in which nobody can have followed it.
    pub fn may_act(&self, now: Duration) -> bool {
        let Stand::Leads(leading) = &self.stand else {
            return false;
        };
        if !self.rules.leases {
            return self.is_active();
        }
        rules::may_answer(&Claim {
            is_active: self.is_active(),
            has_handed_over: leading.handing_over.is_some() && self.rules.rests_after_handover,
            voters: self.voters().len(),
            heard_for: self
                .heard_by_majority(leading)
                .map(|heard| now.saturating_sub(heard)),
            lease: rules::lease(&self.timing),
        })
    }

    /// Data members with a vote that have everything and are waited for.
    pub fn coupled(&self) -> Vec<Number> {
        let Stand::Leads(leading) = &self.stand else {
            return Vec::new();
        };
        let is_coupled = |(number, peer): &(&Number, &Peer)| {
            peer.part == Part::Data && !peer.is_lost && self.has_vote(**number)
        };
        leading
            .peers
            .iter()
            .filter(is_coupled)
            .map(|(number, _)| *number)
            .collect()
    }

    fn has_vote(&self, number: Number) -> bool {
        self.kept
            .members()
            .get(&number)
            .is_some_and(|seat| seat.votes)
    }

    fn voters(&self) -> Vec<Number> {
        let members = self.kept.members();
        members
            .iter()
            .filter(|(_, seat)| seat.votes)
            .map(|(number, _)| *number)
            .collect()
    }

    fn is_alone(&self) -> bool {
        self.voters() == [self.kept.number]
    }

    /// When it wants to be woken.
    pub fn next_tick(&self) -> Option<Duration> {
        match &self.stand {
            Stand::Leads(_) if self.kept.members().len() == 1 => None,
            Stand::Leads(leading) => {
                let held = leading.held.and_then(|held| held.until);
                let due = leading.beats.next(&self.timing);
                Some(held.map_or(due, |held| held.min(due)))
            }
            Stand::Follows | Stand::Asks(_) | Stand::Campaigns(_) => {
                (rules::may_lead(self.kept.part) && self.has_vote(self.kept.number))
                    .then_some(self.campaign)
            }
        }
    }

    /// Writes for the disk, with the number to be told when they are on it.
    pub fn take_ops(&mut self) -> Option<(u64, u64, Vec<Op>)> {
        (!self.ops.is_empty()).then(|| {
            (
                self.made,
                self.kept.newest().1,
                std::mem::take(&mut self.ops),
            )
        })
    }

    fn write(&mut self, op: Op) {
        self.kept.apply(&op);
        self.made += 1;
        self.ops.push(op);
    }

    /// Says it when everything that was written before is on the disk.
    fn say_later(&mut self, to: Number, message: Message) {
        if self.synced >= self.made {
            self.out.push((to, message));
        } else {
            self.waiting.push((self.made, to, message));
        }
    }

    fn expect(&mut self, now: Duration, chance: u64) {
        let spread = self
            .timing
            .silence_max
            .saturating_sub(self.timing.silence_min);
        let part = u32::try_from(chance % 1000).unwrap_or(0);
        self.campaign =
            now + rules::patience(&self.timing) + self.timing.silence_min + spread * part / 1000;
    }

    /// The writes until `made` are on the disk; the log ended at `index` then.
    pub fn synced(&mut self, made: u64, index: u64, now: Duration) {
        self.synced = made;
        self.synced_index = index.min(self.kept.newest().1);
        let waiting = std::mem::take(&mut self.waiting);
        for (needs, to, message) in waiting {
            if needs <= made {
                self.out.push((to, message));
            } else {
                self.waiting.push((needs, to, message));
            }
        }
        if self.is_alone() && matches!(self.stand, Stand::Campaigns(_)) {
            self.lead(now);
        }
        self.advance(now);
    }

    /// Time has gone on.
    pub fn tick(&mut self, now: Duration, chance: u64) {
        match &mut self.stand {
            Stand::Leads(leading) => {
                if leading.handing_over.is_some_and(|until| now >= until) {
                    if self.rules.rests_after_handover {
                        // Nobody has followed. The word to do so may still be under way: only a new term is safe from it.
                        self.stand = Stand::Follows;
                        return self.expect(now, chance);
                    }
                    leading.handing_over = None;
                }
                let is_beat = now >= leading.beats.next(&self.timing);
                if is_beat {
                    leading.beats.sent(&self.timing, now);
                }
                if let Some(held) = &mut leading.held
                    && held.until.take_if(|until| now >= *until).is_some()
                {
                    for peer in leading.peers.values_mut() {
                        if rules::is_waited_for_in_vain(&peer.seen(), held.index) {
                            peer.is_lost = true;
                        }
                    }
                }
                self.spread(now, is_beat);
                self.yield_if_unheard(now, chance);
            }
            Stand::Follows | Stand::Asks(_) | Stand::Campaigns(_) => {
                if now >= self.campaign && self.next_tick().is_some() {
                    self.ask_around(now, chance);
                }
            }
        }
    }

    /// The connection to another member has broken. If that was the active one, it is followed as soon as that is allowed.
    pub fn broken(&mut self, _from: Number) {
        if !self.leads() {
            let heard = self.heard.unwrap_or(self.opened);
            self.campaign = self.campaign.min(heard + rules::patience(&self.timing));
        }
    }

    /// Who hears no majority any more would keep those from following who hear it, and can commit nothing.
    fn yield_if_unheard(&mut self, now: Duration, chance: u64) {
        let Stand::Leads(leading) = &self.stand else {
            return;
        };
        let heard = self
            .heard_by_majority(leading)
            .unwrap_or(leading.since)
            .max(leading.since);
        if self.rules.yields && !self.is_alone() && now > heard + 2 * self.timing.silence_max {
            self.stand = Stand::Follows;
            self.expect(now, chance);
        }
    }

    fn ask_around(&mut self, now: Duration, chance: u64) {
        self.expect(now, chance);
        self.stand = Stand::Asks(BTreeSet::from([self.kept.number]));
        let message = Message::PreVote {
            term: self.kept.term + 1,
            newest: self.kept.newest(),
        };
        for voter in self
            .voters()
            .into_iter()
            .filter(|voter| *voter != self.kept.number)
        {
            self.out.push((voter, message.clone()));
        }
    }

    fn campaign(&mut self, now: Duration, chance: u64, by_handover: bool) {
        self.expect(now, chance);
        let me = self.kept.number;
        self.stand = Stand::Campaigns(BTreeSet::from([me]));
        self.adopt(self.kept.term + 1, Some(me));
        let message = Message::Vote {
            term: self.kept.term,
            newest: self.kept.newest(),
            by_handover,
        };
        for voter in self.voters().into_iter().filter(|voter| *voter != me) {
            self.say_later(voter, message.clone());
        }
    }

    fn adopt(&mut self, term: u64, voted_for: Option<Number>) {
        if self.rules.keeps_votes {
            self.write(Op::Vote(term, voted_for));
        } else {
            self.kept.apply(&Op::Vote(term, voted_for));
        }
    }

    fn lead(&mut self, now: Duration) {
        let (term, begins) = (self.kept.term, self.kept.newest().1 + 1);
        let peers = self
            .kept
            .members()
            .iter()
            .filter(|(number, _)| **number != self.kept.number);
        let peers = peers
            .map(|(number, seat)| (*number, Peer::new(seat.part, begins)))
            .collect();
        self.behind.clear();
        let mut beats = Beats::default();
        beats.sent(&self.timing, now);
        self.stand = Stand::Leads(Leading {
            since: now,
            peers,
            beats,
            held: None,
            handing_over: None,
        });
        let last_event = self.kept.last_event();
        self.write(Op::Append(Entry {
            term,
            index: begins,
            last_event,
            what: What::Blank,
        }));
        self.spread(now, true);
    }

    /// Appends events; answers their index. The active member only.
    pub fn propose(&mut self, last_event: u64, lines: Arc<str>, now: Duration) -> u64 {
        let entry = Entry {
            term: self.kept.term,
            index: self.kept.newest().1 + 1,
            last_event,
            what: What::Lines(lines),
        };
        let index = entry.index;
        self.write(Op::Append(entry));
        self.spread(now, false);
        index
    }

    /// Whether the members may be changed: what was there before is settled.
    fn may_change(&self) -> bool {
        self.is_active() && self.kept.changed_at() <= self.commit
    }

    /// Another member is there, in place of `former` ones that have lost their disk. One step at a time.
    pub fn take_in(&mut self, number: Number, part: Part, former: &[Number], now: Duration) {
        if !self.may_change() {
            return;
        }
        let Stand::Leads(leading) = &self.stand else {
            return;
        };
        let mut members = self.kept.members().clone();
        let gone = former.iter().find(|former| members.contains_key(*former));
        match (members.get(&number), gone) {
            (None, _) => {
                members.insert(number, Seat { part, votes: false });
            }
            // Who has nothing yet must not be needed for a majority.
            (Some(seat), _)
                if !seat.votes
                    && leading
                        .peers
                        .get(&number)
                        .is_none_or(|peer| peer.has < self.commit) =>
            {
                return;
            }
            (Some(_), Some(gone)) => {
                members.remove(gone);
            }
            (Some(seat), None) if !seat.votes => {
                members.insert(number, Seat { part, votes: true });
            }
            (Some(_), None) => return,
        }
        let entry = Entry {
            term: self.kept.term,
            index: self.kept.newest().1 + 1,
            last_event: self.kept.last_event(),
            what: What::Members(Arc::new(members.clone())),
        };
        let next = entry.index;
        self.write(Op::Append(entry));
        let me = self.kept.number;
        if let Stand::Leads(leading) = &mut self.stand {
            leading
                .peers
                .retain(|number, _| members.contains_key(number));
            for (number, seat) in members.iter().filter(|(number, _)| **number != me) {
                leading
                    .peers
                    .entry(*number)
                    .or_insert_with(|| Peer::new(seat.part, next));
            }
        }
        self.behind.retain(|number| members.contains_key(number));
        self.spread(now, false);
    }

    /// Hands over to a coupled member. Answers whether that begins.
    pub fn hand_over(&mut self, now: Duration) -> bool {
        let newest = self.kept.newest().1;
        if !self.may_act(now) || self.commit < newest {
            return false;
        }
        let Some(to) = self.coupled().first().copied() else {
            return false;
        };
        let until = now + rules::hand_over_within(&self.timing);
        let term = self.kept.term;
        let Stand::Leads(leading) = &mut self.stand else {
            return false;
        };
        if leading.peers.get(&to).is_none_or(|peer| peer.has < newest) {
            return false;
        }
        leading.handing_over = Some(until);
        self.out.push((to, Message::HandOver { term }));
        true
    }

    /// Whether it has handed over and takes nothing more.
    pub fn hands_over(&self) -> bool {
        matches!(&self.stand, Stand::Leads(leading) if leading.handing_over.is_some())
    }

    /// Entries until here go to the watch.
    fn allowed(&self, leading: &Leading) -> u64 {
        let newest = self.kept.newest().1;
        // Only who may lead can make up for what the own disk loses: one that still learns cannot.
        let voting = || {
            let peers = leading.peers.iter();
            peers
                .filter(|(number, _)| !self.rules.holds_for_votes || self.has_vote(**number))
                .map(|(_, peer)| peer)
        };
        let others = || voting().map(Peer::seen);
        // One of these it is: what the best data member has, what is on the own disk, or everything.
        let marks = leading
            .peers
            .values()
            .filter(|peer| peer.part == Part::Data)
            .map(|peer| peer.has);
        let marks = marks
            .chain([self.synced_index, newest])
            .filter(|mark| *mark <= newest);
        let is_allowed = |mark: &u64| {
            !self.rules.holds || rules::may_go_to_watch(*mark, *mark <= self.synced_index, others())
        };
        marks.filter(is_allowed).max().unwrap_or(0)
    }

    /// Sends what there is to send.
    fn spread(&mut self, now: Duration, is_beat: bool) {
        let newest = self.kept.newest().1;
        let Stand::Leads(leading) = &self.stand else {
            return;
        };
        let mut leading = leading.clone();
        let allowed = self.allowed(&leading);
        let has_watch = leading.peers.values().any(|peer| peer.part.is_third_vote());
        // As in the product, a witness gets entries only occasionally while every data member keeps up.
        let is_at_rest = rules::may_leave_watch_alone(
            leading
                .peers
                .values()
                .filter(|peer| peer.part == Part::Data)
                .map(Peer::seen),
        );
        // As in the product, the third vote gets a heartbeat only occasionally while every data member answers.
        // As in the product, one that still learns does not stand in for the third vote.
        let with_vote = leading
            .peers
            .iter()
            .filter(|(number, _)| self.has_vote(**number));
        let data = with_vote
            .map(|(_, peer)| peer)
            .filter(|peer| peer.part == Part::Data);
        let beats = leading.beats;
        let is_spared = rules::may_spare_third_vote(
            data.clone().map(Peer::seen),
            data.map(|peer| beats.has_answered_previous(peer.heard)),
        );
        leading.held = match leading.held {
            _ if !has_watch || allowed >= newest => None,
            Some(held) if held.index > allowed => Some(held),
            _ => Some(Held {
                index: allowed + 1,
                until: Some(now + self.timing.hold),
            }),
        };
        let mut to_watch = 0;
        for (number, peer) in &mut leading.peers {
            let is_watch = peer.part.is_third_vote();
            let rests = peer.part == Part::Witness
                && is_at_rest
                && !peer.is_lost
                && peer
                    .told
                    .is_some_and(|told| now < told + rules::witness_rest(&self.timing));
            let until = if rests {
                peer.has
            } else if is_watch {
                allowed.min(newest)
            } else {
                newest
            };
            let is_waiting = peer
                .asked
                .is_some_and(|asked| now < asked + self.timing.heartbeat);
            let gets_no_beat = is_watch
                && is_spared
                && peer
                    .beaten
                    .is_some_and(|beaten| now < beaten + rules::spared_beat(&self.timing));
            if (!is_beat || gets_no_beat) && (is_waiting || peer.next > until) {
                continue;
            }
            peer.asked = Some(now);
            if is_beat && !gets_no_beat {
                peer.beaten = Some(now);
            }
            if peer.next <= self.kept.base.index {
                let Some(snapshot) = self.kept.snapshot_for(peer.part) else {
                    continue;
                };
                if is_watch {
                    to_watch = to_watch.max(snapshot.index);
                }
                let (term, sent) = (self.kept.term, now);
                let is_whole = peer.part == Part::Data && self.rules.sends_unread;
                let tail = Arc::new(self.kept.tail_of(&snapshot, is_whole));
                self.out.push((
                    *number,
                    Message::Snapshot {
                        term,
                        snapshot,
                        tail,
                        sent,
                    },
                ));
                continue;
            }
            let mut entries = self.kept.from(peer.next, until, PIECE);
            if !entries.is_empty() {
                peer.told = Some(now);
            }
            if is_watch {
                for entry in &mut entries {
                    entry.without_lines();
                }
                to_watch = entries
                    .last()
                    .map_or(to_watch, |entry| to_watch.max(entry.index));
            }
            let message = Message::Append {
                term: self.kept.term,
                before: (self.kept.term_at(peer.next - 1), peer.next - 1),
                entries,
                commit: self.commit,
                sent: now,
            };
            self.out.push((*number, message));
        }
        let lacking = leading
            .peers
            .iter()
            .filter(|(_, peer)| peer.part == Part::Data && peer.has < to_watch && peer.is_lost);
        self.behind.extend(lacking.map(|(number, _)| *number));
        self.stand = Stand::Leads(leading);
    }

    /// Commits what a majority has.
    fn advance(&mut self, now: Duration) {
        let Stand::Leads(leading) = &self.stand else {
            return;
        };
        let has = |number: &Number| {
            if *number == self.kept.number {
                self.synced_index
            } else {
                leading.peers.get(number).map_or(0, |peer| peer.has)
            }
        };
        let mut has: Vec<u64> = self.voters().iter().map(has).collect();
        has.sort_unstable_by(|a, b| b.cmp(a));
        let Some(by_majority) = has.get(has.len() / 2).copied() else {
            return;
        };
        if by_majority > self.commit && self.kept.term_at(by_majority) == self.kept.term {
            self.commit = by_majority;
        }
        self.spread(now, false);
    }

    /// Another member says something.
    pub fn hear(&mut self, from: Number, message: Message, now: Duration, chance: u64) {
        match message {
            Message::PreVote { term, newest } => {
                if term <= self.kept.term {
                    // Who asks must learn of the later term, or it would ask for ever.
                    let term = self.kept.term;
                    let is_given = false;
                    self.say_later(from, Message::Voted { term, is_given });
                } else if newest >= self.kept.newest() && !self.believes(now) {
                    self.out.push((from, Message::PreVoteGiven { term }));
                }
            }
            Message::PreVoteGiven { term } => {
                let majority = self.voters().len() / 2 + 1;
                if let Stand::Asks(given) = &mut self.stand
                    && term == self.kept.term + 1
                {
                    given.insert(from);
                    if given.len() >= majority {
                        self.campaign(now, chance, false);
                    }
                }
            }
            Message::Vote {
                term,
                newest,
                by_handover,
            } => {
                if by_handover || !self.believes(now) {
                    self.asked_to_vote(from, term, newest, now, chance);
                }
            }
            Message::Voted { term, is_given } => {
                if self.sees(term, now, chance) {
                    return;
                }
                let majority = self.voters().len() / 2 + 1;
                if let Stand::Campaigns(given) = &mut self.stand
                    && term == self.kept.term
                    && is_given
                {
                    given.insert(from);
                    if given.len() >= majority {
                        self.lead(now);
                    }
                }
            }
            Message::Append {
                term,
                before,
                entries,
                commit,
                sent,
            } => {
                if !self.follows(from, term, sent, now, chance) {
                    return;
                }
                let has = self.append(before, entries);
                if let Ok(has) = has {
                    self.commit = self.commit.max(commit.min(has));
                }
                self.say_later(from, Message::Appended { term, has, sent });
            }
            Message::Snapshot {
                term,
                snapshot,
                tail,
                sent,
            } => {
                if !self.follows(from, term, sent, now, chance) {
                    return;
                }
                let index = snapshot.index;
                if index > self.commit {
                    self.write(Op::Install(snapshot, tail));
                    self.commit = index;
                }
                let has = Ok(index);
                self.say_later(from, Message::Appended { term, has, sent });
            }
            Message::Appended { term, has, sent } => {
                self.appended(from, term, has, sent, now, chance);
            }
            Message::HandOver { term } => {
                if term == self.kept.term && rules::may_lead(self.kept.part) && !self.leads() {
                    self.campaign(now, chance, true);
                }
            }
        }
    }

    /// Whether there may be an active member as far as this one knows, so that it votes for nobody else.
    fn believes(&self, now: Duration) -> bool {
        if self.leads() {
            return self.may_act(now);
        }
        let opened_for = if self.rules.waits_after_start {
            now.saturating_sub(self.opened)
        } else {
            Duration::MAX
        };
        let voting = rules::voting(&Ballot {
            is_handed_over: false,
            opened_for,
            heard_for: self.heard.map(|heard| now.saturating_sub(heard)),
            patience: rules::patience(&self.timing),
        });
        voting != Voting::Open
    }

    /// A later term has begun: whatever this member was, it follows. Answers whether it is so.
    fn sees(&mut self, term: u64, now: Duration, chance: u64) -> bool {
        if term <= self.kept.term {
            return false;
        }
        self.adopt(term, None);
        self.stand = Stand::Follows;
        self.expect(now, chance);
        true
    }

    fn asked_to_vote(
        &mut self,
        from: Number,
        term: u64,
        newest: (u64, u64),
        now: Duration,
        chance: u64,
    ) {
        self.sees(term, now, chance);
        let is_free = self.kept.voted_for.is_none_or(|voted| voted == from);
        let is_given =
            term == self.kept.term && is_free && newest >= self.kept.newest() && !self.leads();
        if is_given && self.kept.voted_for.is_none() {
            self.adopt(term, Some(from));
            self.expect(now, chance);
        }
        let term = self.kept.term;
        self.say_later(from, Message::Voted { term, is_given });
    }

    /// A message of an active member; answers whether it is followed. An earlier one is told of the later term.
    fn follows(
        &mut self,
        from: Number,
        term: u64,
        sent: Duration,
        now: Duration,
        chance: u64,
    ) -> bool {
        if term < self.kept.term {
            let term = self.kept.term;
            let has = Err(0);
            self.say_later(from, Message::Appended { term, has, sent });
            return false;
        }
        if !self.sees(term, now, chance) {
            self.stand = Stand::Follows;
        }
        self.heard = Some(now);
        self.expect(now, chance);
        true
    }

    fn append(&mut self, before: (u64, u64), entries: Vec<Entry>) -> Result<u64, u64> {
        let (term, index) = before;
        let newest = self.kept.newest().1;
        if index > newest {
            return Err(newest);
        }
        if index >= self.kept.base.index && self.kept.term_at(index) != term {
            return Err(index.saturating_sub(1).min(self.commit));
        }
        let mut has = index.max(self.kept.base.index);
        for entry in entries {
            if entry.index <= self.kept.base.index {
                continue;
            }
            has = entry.index;
            if entry.index <= self.kept.newest().1 {
                if self.kept.term_at(entry.index) == entry.term {
                    continue;
                }
                self.write(Op::Cut(entry.index));
            }
            self.write(Op::Append(entry));
        }
        Ok(has)
    }

    fn appended(
        &mut self,
        from: Number,
        term: u64,
        has: Result<u64, u64>,
        sent: Duration,
        now: Duration,
        chance: u64,
    ) {
        if self.sees(term, now, chance) || term < self.kept.term {
            return;
        }
        let newest = self.kept.newest().1;
        let Stand::Leads(leading) = &mut self.stand else {
            return;
        };
        let Some(peer) = leading.peers.get_mut(&from) else {
            return;
        };
        peer.heard = peer.heard.max(Some(sent));
        if peer.asked.is_some_and(|asked| asked <= sent) {
            peer.asked = None;
        }
        match has {
            Ok(has) => {
                peer.has = peer.has.max(has);
                peer.next = peer.next.max(peer.has + 1);
                if rules::has_caught_up(Some(peer.has), newest) {
                    peer.is_lost = false;
                    self.behind.remove(&from);
                }
            }
            Err(has) => peer.next = (has + 1).min(peer.next).max(peer.has + 1),
        }
        let members = self.kept.members();
        let has_vote = |number: &Number| members.get(number).is_some_and(|seat| seat.votes);
        let answered = leading
            .peers
            .iter()
            .filter(|(number, _)| has_vote(number))
            .map(|(_, peer)| (peer.seen(), peer.heard));
        // Who asks for the next tick sees the new time.
        let _is_changed = leading.beats.answered(&self.timing, now, answered);
        self.advance(now);
    }

    /// Entries that a snapshot covers and nobody needs may go. A watch keeps few.
    pub fn forget(&mut self, until: u64) {
        if until > self.kept.base.index && until <= self.commit {
            self.write(Op::Forget(until));
        }
    }

    /// A snapshot of its own state.
    pub fn keep_snapshot(&mut self, snapshot: Arc<Snapshot>) {
        if snapshot.index > self.kept.snapshot_index() {
            self.write(Op::Keep(snapshot));
        }
    }
}

impl Peer {
    fn seen(&self) -> Other {
        Other {
            part: self.part,
            acknowledged: (self.has > 0).then_some(self.has),
            is_lost: self.is_lost,
        }
    }

    fn new(part: Part, next: u64) -> Peer {
        Peer {
            part,
            next,
            has: 0,
            heard: None,
            asked: None,
            beaten: None,
            told: None,
            // Until it has caught up it is not waited for.
            is_lost: true,
        }
    }
}
