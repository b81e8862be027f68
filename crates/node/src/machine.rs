//! What the commit loop asks of a machine, and of the outside world that follows it.
//!
//! Always: synchronous, without clock, chance or I/O; the same inputs at the same times give the same events.
//! Never here: when something is asked. See `commit`.

use crate::{Facts, Work};
use model::{Event, EventId, Problem, Stamped, Timestamp};
use std::fmt;

/// An event that does not fit the state: a bug, or a log of something else.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotApplicable(pub String);

impl NotApplicable {
    /// With the reason in words.
    pub fn new(why: impl fmt::Display) -> NotApplicable {
        NotApplicable(why.to_string())
    }
}

/// How something that has ended the node several times was set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aside {
    /// Not at all: the subject no longer exists, or this kind of work cannot be left out.
    Impossible,
    /// By an event, so that all members know it.
    Recorded,
    /// In this run only, because no event fits.
    Held,
}

impl Aside {
    /// Records the events that set something aside. `None` means that it cannot be set aside. An empty list means that no event fits.
    pub fn by_events<M: Machine>(
        machine: &mut M,
        events: Option<Vec<Event>>,
        facts: &mut Facts,
    ) -> Result<Aside, NotApplicable> {
        let Some(events) = events else {
            return Ok(Aside::Impossible);
        };
        let aside = if events.is_empty() {
            Aside::Held
        } else {
            Aside::Recorded
        };
        for event in events {
            facts.record(machine, event)?;
        }
        Ok(aside)
    }
}

/// A machine with its state, owned by the commit loop. A clone is cheap: snapshots are written from one.
///
/// Implement it in the node crate for a thin wrapper around the pure state (`struct ControllerMachine(controller::State)`).
pub trait Machine: Clone + Send + Sync + 'static {
    /// What comes from outside: a command, a peer's message, the end of something.
    type Input: Send + 'static;
    /// What the sender gets, after the commit and not before.
    type Reply: Send + 'static;

    /// Judges an input against the settled state and records what follows through [`Facts::record`]. A refusal is a reply. An
    /// error is a bug and ends the node before anything of the batch is written.
    fn take(&mut self, input: Self::Input, facts: &mut Facts)
    -> Result<Self::Reply, NotApplicable>;

    /// Records what follows from the present, until nothing does (due timers, orders that can go on). Called after every input
    /// and when [`Machine::next_wakeup`] has come.
    fn advance(&mut self, facts: &mut Facts) -> Result<(), NotApplicable>;

    /// Makes one event true. The only writer of the state, also on recovery. An error leaves the state as it was.
    fn evolve(&mut self, stamped: &Stamped) -> Result<(), NotApplicable>;

    /// When [`Machine::advance`] is due by the clock.
    fn next_wakeup(&self) -> Option<Timestamp>;

    /// Records that the node has started (the loop has recorded `SnapshotTaken`): `ControllerReady`, `AgentReady`.
    fn started(&mut self, facts: &mut Facts) -> Result<(), NotApplicable>;

    /// Records that the node is shutting down in order: `ControllerShutDown`, `AgentShutDown`. Called once, last of all.
    fn closing(&mut self, facts: &mut Facts) -> Result<(), NotApplicable>;

    /// The state as JSON lines, without line ends.
    fn snapshot(&self) -> Box<dyn Iterator<Item = String> + '_>;

    /// Takes a line of a snapshot into an empty state.
    fn restore(&mut self, line: &str) -> Result<(), NotApplicable>;

    /// Events until here (inclusive) may go as soon as a snapshot covers them. Everything if nobody has to confirm.
    fn released(&self) -> EventId;

    /// Forgets the subject of the earlier work, because a new batch begins.
    fn set_idle(&mut self) {}

    /// Returns the subject of the work in progress, or of the last work, as a type and a name: `Order:ID`. Called when a decision has ended
    /// the node, even by a panic.
    fn working_on(&self) -> Option<String> {
        None
    }

    /// Hands over where the machine must name each piece of work before it begins, as [`Machine::working_on`] does. Called only if an earlier
    /// run has ended without a record of its work.
    fn name_work(&mut self, _work: &Work) {}

    /// Returns what this subject is an instance of, as a type and a name: the workflow of an order. When two instances are set aside, the
    /// origin is set aside, too.
    fn origin_of(&self, _subject: &str) -> Option<String> {
        None
    }

    /// Sets aside the `subject` that [`Machine::working_on`] has named, because it has ended the node several times. From then on nothing
    /// is decided for it.
    fn set_aside(
        &mut self,
        _subject: &str,
        _why: &Problem,
        _facts: &mut Facts,
    ) -> Result<Aside, NotApplicable> {
        Ok(Aside::Impossible)
    }

    /// Returns whether `subject` is still set aside.
    fn is_set_aside(&self, _subject: &str) -> bool {
        false
    }

    /// Returns the oldest event that should be kept although it is released. It is kept only as long as the log is not larger than
    /// [`crate::Limits::kept_bytes`].
    fn kept_from(&self) -> Option<EventId> {
        None
    }
}

/// Returns the last event up to which this log may be released.
pub(crate) fn may_go<M: Machine>(
    machine: &M,
    log: &cluster::Log,
    last: EventId,
    kept_bytes: u64,
) -> EventId {
    let released = machine.released().min(last);
    match machine.kept_from() {
        Some(kept) => {
            let beyond_bound = EventId(log.last_event_id_beyond(kept_bytes));
            let before_kept = EventId(kept.0.saturating_sub(1));
            released.min(before_kept.max(beyond_bound))
        }
        None => released,
    }
}

/// What follows the machine outside: the drivers of peers.
pub trait Outside<M: Machine>: Send + 'static {
    /// Sees the committed state: after recovery, after each commit, and after each [`crate::Handle::nudge`]. Pushes new work into the
    /// drivers' bounded slots or wakes them; must not wait. What does not fit now is found again in the state later: a
    /// driver that has room again calls `nudge`.
    fn release(&mut self, machine: &M, committed: EventId);
}

/// Nobody follows.
impl<M: Machine> Outside<M> for () {
    fn release(&mut self, _machine: &M, _committed: EventId) {}
}
