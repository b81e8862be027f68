//! A node with a log: the commit loop of `node` in the simulated world.
//!
//! Always: one batch is in flight while inputs gather; replies and effects come after the sync; a failed write ends the process. A
//! start reads snapshot and log. Never here: what an input means.

use crate::disk::{Disk, Snapshot};
use crate::fault::Fault;
use crate::invariants::{self, Violation};
use crate::kernel::{Happening, Kernel, NodeStep};
use crate::moment::{LocalClock, Moment};
use crate::net::ConnId;
use crate::place::Place;
use ::node::{Facts, Machine};
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
}

/// Inputs that are taken together, and who asked.
struct Entry<M: Machine> {
    inputs: Vec<M::Input>,
    asker: Asker,
}

/// A batch that is being written.
struct Flight<M: Machine> {
    number: u64,
    last: EventId,
    lines: String,
    replies: Vec<(Asker, Vec<M::Reply>)>,
    /// What the clock showed when it was judged.
    judged_at: Timestamp,
}

/// A running process.
pub struct Running<M: Machine> {
    /// The machine.
    pub machine: M,
    /// The newest event, durable or in flight.
    last: EventId,
    inbox: VecDeque<Entry<M>>,
    flight: Option<Flight<M>>,
    flights: u64,
    nudged: bool,
    snapshot_done: bool,
    not_before: Moment,
    alarm: u64,
    writing: Option<(u64, Snapshot)>,
    grown: usize,
    snapshot_after: usize,
}

/// What a commit brings.
pub struct Committed<M: Machine> {
    /// The replies.
    pub replies: Vec<(Asker, Vec<M::Reply>)>,
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
    /// Its disk.
    pub disk: Disk,
    /// Its clock.
    pub clock: LocalClock,
    /// Its process.
    pub running: Option<Running<M>>,
    /// The fold of everything durable, made outside of the node from the text of the log.
    pub shadow: M,
    /// Nothing has shaken its clock since then.
    pub well_since: Moment,
    fresh: M,
    judged_at: VecDeque<Option<Timestamp>>,
}

impl<M: Machine> Node<M> {
    /// A node that has never been started; its machine begins as `fresh`.
    pub fn new(place: Place, fresh: M) -> Node<M> {
        Node {
            place,
            disk: Disk::default(),
            clock: LocalClock::default(),
            running: None,
            shadow: fresh.clone(),
            well_since: Moment::default(),
            fresh,
            judged_at: VecDeque::new(),
        }
    }

    /// Loses the disk: a node with the same name and nothing else.
    pub fn wipe(&mut self, fresh: M) {
        self.disk = Disk::default();
        self.judged_at.clear();
        self.shadow = fresh.clone();
        self.fresh = fresh;
    }

    /// The machine of the running process.
    pub fn machine(&self) -> Option<&M> {
        self.running.as_ref().map(|running| &running.machine)
    }

    /// Whether the process runs and nothing of it is in flight: its state is the committed one.
    pub fn is_settled(&self) -> bool {
        self.running
            .as_ref()
            .is_some_and(|running| running.flight.is_none())
    }

    /// Starts the process: reads the disk, then records the start. The durable events must have been observed.
    pub fn start(&mut self, k: &mut Kernel) {
        k.begin_life(self.place);
        let recovered = self.recover();
        let (mut machine, last) = match recovered {
            Ok(recovered) => recovered,
            Err(violation) => return k.violate(violation),
        };
        k.check(invariants::replay_equals_live::check(
            self.place,
            &machine,
            &self.shadow,
        ));
        let snapshot_after = usize::try_from(k.rng.between(10, 300)).unwrap_or(100);
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
            last,
            inbox: VecDeque::new(),
            flight: None,
            flights: 0,
            nudged: false,
            snapshot_done: false,
            not_before: Moment::default(),
            alarm: 0,
            writing: None,
            grown: 0,
            snapshot_after,
        });
        k.note(format_args!(
            "{} starts, life {}, at event {last}",
            self.place,
            k.standing(self.place).life
        ));
        let judged_at = facts.now();
        self.write(k, facts, Vec::new(), judged_at);
    }

    fn recover(&self) -> Result<(M, EventId), Violation> {
        let wrong = |why: String| {
            Violation::new(
                "replay_equals_live",
                format!("{} cannot recover: {why}", self.place),
            )
        };
        let mut machine = self.fresh.clone();
        let mut last = EventId(self.disk.torn);
        if let Some(snapshot) = &self.disk.snapshot {
            for line in snapshot.lines.iter() {
                machine
                    .restore(line)
                    .map_err(|why| wrong(format!("{why} in {line}")))?;
            }
            last = EventId(snapshot.at);
        }
        for batch in &self.disk.batches {
            for line in batch.lines.lines() {
                let stamped = Stamped::from_json(line)
                    .map_err(|error| wrong(format!("{error} in {line}")))?;
                if stamped.event_id <= last {
                    continue;
                }
                machine
                    .evolve(&stamped)
                    .map_err(|why| wrong(format!("{why} at {line}")))?;
                last = stamped.event_id;
            }
        }
        Ok((machine, last))
    }

    /// The process is gone. What was being written is lost, torn or whole.
    pub fn crash(&mut self, k: &mut Kernel) {
        let Some(running) = self.running.take() else {
            return;
        };
        if running.writing.is_some() {
            k.counts.count(Fault::CutSnapshot);
        }
        let Some(flight) = running.flight else { return };
        match k.rng.below(3) {
            0 => k.counts.count(Fault::LostWrite),
            1 => k.counts.count(Fault::TornWrite),
            _ => {
                k.counts.count(Fault::KeptWrite);
                self.keep(flight);
            }
        }
    }

    fn keep(&mut self, flight: Flight<M>) {
        self.judged_at.push_back(Some(flight.judged_at));
        self.disk.commit(flight.last.0, flight.lines.into());
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
        let Some(running) = &mut self.running else {
            return;
        };
        running.flights += 1;
        running.grown += facts.len();
        running.last = facts.last_event_id();
        let number = running.flights;
        let last = running.last;
        running.flight = Some(Flight {
            number,
            last,
            lines: facts.into_lines(),
            replies,
            judged_at,
        });
        let (place, life) = (self.place, k.standing(self.place).life);
        let is_slow = self.disk.slow_until > k.now;
        let latency = k.rng.span(50, 5_000) * if is_slow { 100 } else { 1 };
        let is_full = self.disk.full_until > k.now;
        let what = if is_full {
            NodeStep::SyncFailed(number)
        } else {
            NodeStep::Synced(number)
        };
        k.after(latency, Happening::Node { place, life, what });
    }

    /// The batch is durable.
    pub fn synced(&mut self, k: &mut Kernel, number: u64) -> Option<Committed<M>> {
        let running = self.running.as_mut()?;
        let mut flight = running.flight.take_if(|flight| flight.number == number)?;
        let replies = std::mem::take(&mut flight.replies);
        self.keep(flight);
        self.snapshot_if_due(k);
        Some(Committed { replies })
    }

    fn snapshot_if_due(&mut self, k: &mut Kernel) {
        let Some(running) = &mut self.running else {
            return;
        };
        if running.writing.is_some() || running.grown < running.snapshot_after {
            return;
        }
        running.grown = 0;
        running.snapshot_after = usize::try_from(k.rng.between(10, 300)).unwrap_or(100);
        let lines = Arc::new(running.machine.snapshot().collect());
        let number = running.flights;
        running.writing = Some((
            number,
            Snapshot {
                at: running.last.0,
                lines,
            },
        ));
        let (place, life) = (self.place, k.standing(self.place).life);
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
        let Some(running) = &mut self.running else {
            return;
        };
        let Some((_, snapshot)) = running.writing.take_if(|(begun, _)| *begun == number) else {
            return;
        };
        k.note(format_args!(
            "{} has a snapshot at {}",
            self.place, snapshot.at
        ));
        self.disk.snapshot = Some(snapshot);
        running.snapshot_done = true;
    }

    /// Removes what is covered and confirmed.
    pub fn release_log(&mut self) {
        if let Some(running) = &self.running {
            self.disk.shrink(running.machine.released().0);
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
        running.alarm += 1;
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

    /// The durable events that have not been observed, folded into the shadow one by one: `see` gets each with the state after it.
    pub fn observe(&mut self, k: &mut Kernel, mut see: impl FnMut(&mut Kernel, &M, &Observed)) {
        while let Some(lines) = self.disk.unobserved.pop_front() {
            let judged_at = self.judged_at.pop_front().flatten();
            for line in lines.lines() {
                let stamped = match Stamped::from_json(line) {
                    Ok(stamped) => stamped,
                    Err(error) => {
                        let text =
                            format!("{} wrote what it cannot read: {error}: {line}", self.place);
                        return k.violate(Violation::new("replay_equals_live", text));
                    }
                };
                if let Err(why) = self.shadow.evolve(&stamped) {
                    let text = format!("{} wrote what does not fit: {why}: {line}", self.place);
                    return k.violate(Violation::new("legal_transitions", text));
                }
                see(k, &self.shadow, &Observed { stamped, judged_at });
            }
        }
    }
}
