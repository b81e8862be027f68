//! A node with a log: the commit loop of `node` in the simulated world, and the standby of `node::follow`.
//!
//! Always: one batch is in flight while inputs gather; replies and effects come after the commit; a failed write ends the process. A
//! start reads snapshot and log, and who is not active follows. Never here: what an input means, and who becomes active.

use crate::fault::Fault;
use crate::invariants::{Violation, reads_are_fresh};
use crate::kept::{Kept, Snapshot, What};
use crate::kernel::{Happening, Kernel, NodeStep};
use crate::ledger::Ledger;
use crate::moment::{LocalClock, Moment};
use crate::net::ConnId;
use crate::pair::Rules;
use crate::place::Place;
use crate::seat::{Cluster, SeatHost};
use ::node::{Facts, Machine};
use cluster::Timing;
use model::{Event, EventId, JournalEvent, Stamped, Timestamp};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// As in the real loop: the clock may be set while it sleeps.
const SLEEP_MAX: Duration = Duration::from_mins(1);
const IDLE_TIMER_PAUSE: Duration = Duration::from_millis(20);
const BATCH_INPUTS: usize = 1000;

/// Who waits for a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asker {
    /// Nobody.
    Nobody,
    /// A request over the network.
    Request {
        /// On which connection.
        conn: ConnId,
        /// Which.
        number: u64,
    },
    /// A driver of this node.
    Driver {
        /// Which.
        driver: usize,
        /// In which of its connections.
        generation: u64,
    },
    /// The witness of a pair of Directors, at this node.
    Witness {
        /// The log of the pair.
        cluster: Cluster,
        /// The activation of this node to which the witness belongs.
        generation: u64,
    },
}

/// Inputs that are taken together, and who asked.
struct Entry<M: Machine> {
    inputs: Vec<M::Input>,
    asker: Asker,
}

/// A batch that is being committed.
struct Flight<M: Machine> {
    index: u64,
    last: EventId,
    replies: Vec<(Asker, Vec<M::Reply>)>,
}

/// An active member.
pub struct Running<M: Machine> {
    /// The machine.
    pub machine: M,
    /// The term in which it is active.
    pub term: u64,
    /// The newest event, committed or in flight.
    last: EventId,
    inbox: VecDeque<Entry<M>>,
    flight: Option<Flight<M>>,
    nudged: bool,
    snapshot_done: bool,
    not_before: Moment,
    alarm: u64,
    grown: usize,
}

/// A member that follows.
struct Standby<M> {
    machine: M,
    index: u64,
    last: EventId,
}

/// What a commit brings.
pub struct Committed<M: Machine> {
    /// The replies.
    pub replies: Vec<(Asker, Vec<M::Reply>)>,
}

/// What has become of a member.
pub enum Moved<M: Machine> {
    /// Nothing that matters outside.
    Nothing,
    /// It is active now.
    Activated,
    /// It has been active and is no more.
    Deposed,
    /// Its batch is committed.
    Committed(Committed<M>),
}

/// A durable event, as an observer outside sees it.
pub struct Observed {
    /// The event.
    pub stamped: Stamped,
    /// What the node's clock showed when it was judged; nothing if nobody knows, after a crash.
    pub judged_at: Option<Timestamp>,
}

/// A node.
pub struct Node<M: Machine> {
    /// Which one.
    pub place: Place,
    /// Its part in its log.
    pub seat: SeatHost,
    /// Its clock.
    pub clock: LocalClock,
    /// While it is active.
    pub running: Option<Running<M>>,
    /// Nothing has shaken its clock since then.
    pub well_since: Moment,
    standby: Option<Standby<M>>,
    writing: Option<(u64, Snapshot)>,
    snapshot_after: usize,
    snapshots: u64,
    fresh: M,
}

impl<M: Machine> Node<M> {
    /// A node that has never been started; its machine begins as `fresh`.
    pub fn new(
        cluster: Cluster,
        place: Place,
        kept: Kept,
        rules: Rules,
        timing: Timing,
        fresh: M,
    ) -> Node<M> {
        Node {
            place,
            seat: SeatHost::new(cluster, place, kept, rules, timing),
            clock: LocalClock::default(),
            running: None,
            well_since: Moment::default(),
            standby: None,
            writing: None,
            snapshot_after: 100,
            snapshots: 0,
            fresh,
        }
    }

    /// Loses the disk: a node with the same name and nothing else.
    pub fn wipe(&mut self, kept: Kept, fresh: M) {
        self.seat.replace(kept);
        self.fresh = fresh;
    }

    /// The machine of the active member.
    pub fn machine(&self) -> Option<&M> {
        self.running.as_ref().map(|running| &running.machine)
    }

    /// Whether it is active and nothing is in flight: its state is the committed one.
    pub fn is_settled(&self) -> bool {
        self.running
            .as_ref()
            .is_some_and(|running| running.flight.is_none())
    }

    /// Whether it may answer, and act outside.
    pub fn may_act(&self, k: &Kernel) -> bool {
        let member = self.seat.member.as_ref();
        self.running.is_some() && member.is_some_and(|member| member.may_act(k.steady(self.place)))
    }

    /// Whether it may send something to where it has effect. Who may has to know everything that was ever committed.
    pub fn may_send(&self, k: &mut Kernel) -> bool {
        let may_act = self.may_act(k);
        if may_act {
            k.check(reads_are_fresh::check(k, self.seat.cluster, self));
        } else {
            k.counts.count(Fault::Inactive);
        }
        may_act
    }

    /// The term in which it is active; the number by which Agents and Subagents tell a later member from an earlier one.
    pub fn epoch(&self) -> u64 {
        self.running.as_ref().map_or(0, |running| running.term)
    }

    /// The event until which everything is gone.
    pub fn torn(&self) -> u64 {
        let by_member = self
            .seat
            .member
            .as_ref()
            .map(|member| member.kept.base.event);
        by_member.unwrap_or(self.seat.disk.kept.base.event)
    }

    /// About so many committed lines behind an event.
    pub fn lines_after(&self, after: u64, limit: usize) -> Vec<String> {
        let member = self.seat.member.as_ref();
        member.map_or_else(Vec::new, |member| {
            member.kept.lines_after(after, member.commit(), limit)
        })
    }

    /// Starts the process: reads the disk, and follows.
    pub fn start(&mut self, k: &mut Kernel) {
        k.note(format_args!(
            "{} starts, life {}",
            self.place,
            k.standing(self.place).life
        ));
        self.snapshot_after = usize::try_from(k.rng.between(10, 300)).unwrap_or(100);
        self.seat.start(k);
    }

    /// The process is gone. What was being written is lost, torn or whole.
    pub fn crash(&mut self, k: &mut Kernel) {
        if self.writing.take().is_some() {
            k.counts.count(Fault::CutSnapshot);
        }
        self.running = None;
        self.standby = None;
        self.seat.crash(k);
    }

    fn begin_again(&self, kept: &Kept) -> Result<Standby<M>, Violation> {
        let mut standby = Standby {
            machine: self.fresh.clone(),
            index: kept.base.index,
            last: EventId(kept.base.event),
        };
        if let Some(snapshot) = &kept.snapshot {
            for line in snapshot.lines.iter() {
                standby.machine.restore(line).map_err(|why| {
                    Violation::new(
                        "replay_equals_live",
                        format!("{} cannot recover: {why} in {line}", self.place),
                    )
                })?;
            }
            standby.index = snapshot.index;
            standby.last = EventId(snapshot.at);
        }
        Ok(standby)
    }

    /// Follows what is committed. Answers how many events that were.
    fn follow(&mut self) -> Result<usize, Violation> {
        let Some(member) = &self.seat.member else {
            return Ok(0);
        };
        let kept = &member.kept;
        let mut standby = match self.standby.take() {
            Some(standby) if standby.index >= kept.base.index => standby,
            _ => self.begin_again(kept)?,
        };
        let mut grown = 0;
        while standby.index < member.commit() {
            let index = standby.index + 1;
            let wrong = |why: String| {
                Violation::new(
                    "replay_equals_live",
                    format!("{} at entry {index}: {why}", self.place),
                )
            };
            let entry = kept
                .entry(index)
                .ok_or_else(|| wrong("the entry is not there".to_owned()))?;
            if let What::Lines(lines) = &entry.what {
                for line in lines.lines() {
                    let stamped = Stamped::from_json(line)
                        .map_err(|error| wrong(format!("{error} in {line}")))?;
                    standby
                        .machine
                        .evolve(&stamped)
                        .map_err(|why| wrong(format!("{why} at {line}")))?;
                    standby.last = stamped.event_id;
                    grown += 1;
                }
            }
            standby.index = index;
        }
        self.standby = Some(standby);
        Ok(grown)
    }

    /// Looks what has become of the member, after anything that concerned it. The ledger has seen what is committed.
    pub fn moved(&mut self, k: &mut Kernel, ledger: &Ledger<M>) -> Moved<M> {
        let Some(member) = &self.seat.member else {
            return Moved::Nothing;
        };
        let (term, commit, is_active) = (member.term(), member.commit(), member.is_active());
        if let Some(running) = &mut self.running {
            if !is_active || running.term != term {
                k.counts.count(Fault::Deposed);
                k.note(format_args!("{} is not active any more", self.place));
                self.running = None;
                self.writing = None;
                return Moved::Deposed;
            }
            let Some(flight) = running.flight.take_if(|flight| flight.index <= commit) else {
                return Moved::Nothing;
            };
            let is_due = self.snapshot_after == 0 && self.writing.is_none();
            if let Some(machine) = is_due.then(|| running.machine.clone()) {
                self.snapshot_if_due(k, &machine, flight.index, flight.last);
            }
            let replies = flight.replies;
            return Moved::Committed(Committed { replies });
        }
        match self.follow() {
            Ok(grown) => self.has_followed(k, grown),
            Err(violation) => {
                k.violate(violation);
                return Moved::Nothing;
            }
        }
        if is_active
            && self
                .standby
                .as_ref()
                .is_some_and(|standby| standby.index >= commit)
        {
            self.lead(k, term, ledger);
            return Moved::Activated;
        }
        Moved::Nothing
    }

    fn has_followed(&mut self, k: &mut Kernel, grown: usize) {
        let Some(standby) = &self.standby else { return };
        self.snapshot_after = self.snapshot_after.saturating_sub(grown);
        if grown == 0 || self.snapshot_after > 0 {
            return;
        }
        let (machine, index, last) = (standby.machine.clone(), standby.index, standby.last);
        self.snapshot_if_due(k, &machine, index, last);
    }

    /// From now on this member decides.
    fn lead(&mut self, k: &mut Kernel, term: u64, ledger: &Ledger<M>) {
        let Some(standby) = self.standby.take() else {
            return;
        };
        let Standby {
            mut machine,
            index,
            last,
        } = standby;
        // One that stood still may learn late that it was elected; then the log has gone on without it.
        if index == ledger.index {
            k.check(ledger.check_equals(self.place, &machine));
        }
        let mut facts = Facts::new(self.clock.at(k.now), last);
        let begun = facts
            .record(&mut machine, Event::Journal(JournalEvent::SnapshotTaken))
            .and_then(|()| machine.started(&mut facts))
            .and_then(|()| machine.advance(&mut facts));
        if let Err(why) = begun {
            return k.violate(Violation::new(
                "legal_transitions",
                format!("{}: {why}", self.place),
            ));
        }
        self.running = Some(Running {
            machine,
            term,
            last,
            inbox: VecDeque::new(),
            flight: None,
            nudged: false,
            snapshot_done: false,
            not_before: Moment::default(),
            alarm: 0,
            grown: 0,
        });
        k.note(format_args!(
            "{} is active in term {term}, at event {last}",
            self.place
        ));
        let judged_at = facts.now();
        self.write(k, facts, Vec::new(), judged_at);
    }

    /// Puts inputs into the inbox. The caller pumps.
    pub fn ask(&mut self, asker: Asker, inputs: Vec<M::Input>) {
        if let Some(running) = &mut self.running {
            running.inbox.push_back(Entry { inputs, asker });
        }
    }

    /// Has the loop go round.
    pub fn nudge(&mut self) {
        if let Some(running) = &mut self.running {
            running.nudged = true;
        }
    }

    /// Goes round once if there is something to do. A commit without events is done at once; else it comes with the sync.
    pub fn pump(&mut self, k: &mut Kernel) -> Option<Committed<M>> {
        let now = self.clock.at(k.now);
        let running = self.running.as_mut()?;
        if running.flight.is_some() {
            return None;
        }
        let is_due = running.machine.next_wakeup().is_some_and(|at| at <= now)
            && k.now >= running.not_before;
        let is_timer = running.inbox.is_empty() && !running.nudged && !running.snapshot_done;
        if is_timer && !is_due {
            self.arm(k);
            return None;
        }
        let mut facts = Facts::new(now, running.last);
        let mut replies = Vec::new();
        let round = Self::round(running, &mut facts, &mut replies);
        if let Err(why) = round {
            k.violate(Violation::new(
                "legal_transitions",
                format!("{}: {why}", self.place),
            ));
            return None;
        }
        if facts.is_empty() {
            if is_timer {
                running.not_before = k.now.plus(IDLE_TIMER_PAUSE);
            }
            return Some(Committed { replies });
        }
        self.write(k, facts, replies, now);
        None
    }

    fn round(
        running: &mut Running<M>,
        facts: &mut Facts,
        replies: &mut Vec<(Asker, Vec<M::Reply>)>,
    ) -> Result<(), ::node::NotApplicable> {
        running.nudged = false;
        if std::mem::take(&mut running.snapshot_done) {
            facts.record(
                &mut running.machine,
                Event::Journal(JournalEvent::SnapshotTaken),
            )?;
        }
        let mut count = 0;
        while count < BATCH_INPUTS
            && let Some(entry) = running.inbox.pop_front()
        {
            let mut answers = Vec::with_capacity(entry.inputs.len());
            for input in entry.inputs {
                answers.push(running.machine.take(input, facts)?);
                running.machine.advance(facts)?;
                count += 1;
            }
            replies.push((entry.asker, answers));
        }
        running.machine.advance(facts)
    }

    fn write(
        &mut self,
        k: &mut Kernel,
        facts: Facts,
        replies: Vec<(Asker, Vec<M::Reply>)>,
        judged_at: Timestamp,
    ) {
        let (Some(running), Some(member)) = (&mut self.running, &mut self.seat.member) else {
            return;
        };
        running.grown += facts.len();
        self.snapshot_after = self.snapshot_after.saturating_sub(facts.len());
        running.last = facts.last_event_id();
        let last = running.last;
        let index = member.propose(last.0, facts.into_lines().into(), k.steady(self.place));
        k.judged
            .insert((self.seat.cluster, running.term, index), judged_at);
        running.flight = Some(Flight {
            index,
            last,
            replies,
        });
        self.seat.settle(k);
    }

    fn snapshot_if_due(&mut self, k: &mut Kernel, machine: &M, index: u64, last: EventId) {
        let Some(member) = &self.seat.member else {
            return;
        };
        if self.writing.is_some() || self.snapshot_after > 0 {
            return;
        }
        self.snapshot_after = usize::try_from(k.rng.between(10, 300)).unwrap_or(100);
        let lines = Arc::new(machine.snapshot().collect());
        self.snapshots += 1;
        let number = self.snapshots;
        self.writing = Some((number, member.kept.snapshot_at(index, last.0, lines)));
        let (place, life) = (self.place, k.life(self.place));
        let delay = k.rng.span(5_000, 60_000_000);
        k.after(
            delay,
            Happening::Node {
                place,
                life,
                what: NodeStep::SnapshotWritten(number),
            },
        );
    }

    /// The snapshot is whole. The caller pumps.
    pub fn snapshot_written(&mut self, k: &mut Kernel, number: u64) {
        let Some(member) = &mut self.seat.member else {
            return;
        };
        let Some((_, snapshot)) = self.writing.take_if(|(begun, _)| *begun == number) else {
            return;
        };
        k.note(format_args!(
            "{} has a snapshot at {}",
            self.place, snapshot.at
        ));
        member.keep_snapshot(Arc::new(snapshot));
        if let Some(running) = &mut self.running {
            running.snapshot_done = true;
        } else if let Some(standby) = &self.standby {
            let until = member.kept.releasable(standby.machine.released().0);
            member.forget(until);
        }
        self.seat.settle(k);
    }

    /// Removes what is covered and confirmed.
    pub fn release_log(&mut self, k: &mut Kernel) {
        if let (Some(running), Some(member)) = (&self.running, &mut self.seat.member) {
            let until = member.kept.releasable(running.machine.released().0);
            member.forget(until);
            self.seat.settle(k);
        }
    }

    fn arm(&mut self, k: &mut Kernel) {
        let now = self.clock.at(k.now);
        let Some(running) = &mut self.running else {
            return;
        };
        let by_machine = running
            .machine
            .next_wakeup()
            .map_or(SLEEP_MAX, |at| at.since(now))
            .min(SLEEP_MAX);
        let pause = by_machine.max(running.not_before.since(k.now));
        running.alarm = k.unique();
        let (place, life) = (self.place, k.standing(self.place).life);
        k.after(
            pause,
            Happening::Node {
                place,
                life,
                what: NodeStep::Wake(running.alarm),
            },
        );
    }

    /// Whether this is the newest alarm.
    pub fn is_alarm(&self, number: u64) -> bool {
        self.running
            .as_ref()
            .is_some_and(|running| running.alarm == number && running.flight.is_none())
    }
}
