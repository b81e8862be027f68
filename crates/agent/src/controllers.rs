//! Decides which Controller the Agent obeys when two processes claim to be the same Controller: a copied or restored data directory beside
//! the original, or two Controllers with the same id.
//!
//! Always: the Agent keeps to the Controller that is connected and confirms events. Another member of the same Controller takes over with a
//! later epoch. The successor of a process that has ended is coupled at once. Never here: how an open connection is recognised; the caller
//! passes this in.

use crate::command::{Decision, Standing};
use crate::state::State;
use model::{AgentAnswer, AgentOwnEvent, Event, EventId, MemberRun, Problem, Timestamp};
use std::time::Duration;

/// The other Controller counts as gone when it has not tried to couple for this long. A Controller tries at least every ten seconds.
const GONE_AFTER: Duration = Duration::from_mins(1);
/// How long the coupled Controller has to confirm the event about the other one. A Controller normally confirms events after a second. One
/// that does not confirm is not alive, though its connection seems to be open: a host or a device on the way has vanished.
const CONFIRMS_WITHIN: Duration = Duration::from_secs(10);
/// While the other Controller keeps trying, the coupled one must prove again after this time that it is alive.
const ASKED_AGAIN_AFTER: Duration = Duration::from_mins(5);

/// The Controller that was coupled last. It is not kept across a restart, because no connection survives a restart.
#[derive(Clone, Debug)]
pub(crate) struct CoupledController {
    run: MemberRun,
    epoch: u64,
    /// The first coupling of this run.
    since: u64,
}

/// A process that claims to be the coupled Controller, and was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherController {
    /// The process that was refused.
    pub other: MemberRun,
    /// The process that was coupled at that time.
    pub coupled: MemberRun,
    /// When the refused process last tried to couple.
    pub(crate) tried_at: Timestamp,
    /// The event that informs the coupled Controller.
    pub(crate) reported_by: EventId,
}

impl State {
    /// Returns the other process that claims to be this Agent's Controller, for as long as it tries to couple.
    pub fn other_controller(&self) -> Option<&OtherController> {
        self.other_controller.as_ref()
    }

    /// Returns the Controller whose event stream is open, if it has identified itself.
    fn connected_controller(&self, standing: &Standing) -> Option<&CoupledController> {
        let coupled = self.controller.as_ref()?;
        let connected = standing.connected?;
        (connected >= coupled.since).then_some(coupled)
    }

    /// Returns the other connected Controller, if `from` must not be coupled beside it.
    pub(crate) fn living_double(
        &self,
        from: Option<&MemberRun>,
        epoch: u64,
        standing: &Standing,
    ) -> Option<&MemberRun> {
        let (from, coupled) = (from?, self.connected_controller(standing)?);
        if !self.is_alive(coupled, standing.now) {
            return None;
        }
        // Two members of one cluster are never active in the same epoch.
        let is_double = from.is_double_of(&coupled.run)
            || (from.member != coupled.run.member && epoch == coupled.epoch);
        is_double.then_some(&coupled.run)
    }

    /// Returns whether the Controller with the open stream has confirmed the event about the other one, or still has time to.
    fn is_alive(&self, coupled: &CoupledController, now: Timestamp) -> bool {
        self.other_controller.as_ref().is_none_or(|known| {
            known.coupled != coupled.run
                || self.confirmed() >= known.reported_by
                || now.since(known.reported_by.timestamp()) < CONFIRMS_WITHIN
        })
    }

    /// Refuses `from`. If another process is connected as the Controller, an event informs it, once for each address.
    pub(crate) fn refuse_controller(
        &self,
        problem: Problem,
        from: Option<&MemberRun>,
        standing: &Standing,
    ) -> Decision {
        let (Some(other), Some(coupled)) = (from, self.connected_controller(standing)) else {
            return Err(problem);
        };
        if other.run_id == coupled.run.run_id {
            return Err(problem);
        }
        let problem = problem
            .with("refusedAddress", other)
            .with("coupledAddress", &coupled.run);
        let is_known = self.other_controller.as_ref().is_some_and(|known| {
            known.other.address == other.address
                && known.coupled == coupled.run
                && standing.now.since(known.reported_by.timestamp()) < ASKED_AGAIN_AFTER
        });
        let refused = AgentOwnEvent::OtherControllerRefused {
            other: other.clone(),
            coupled: coupled.run.clone(),
        };
        let events = (!is_known).then_some(Event::AgentOwn(refused));
        Ok((events.into_iter().collect(), AgentAnswer::from(problem)))
    }

    /// Returns the event to record when `from` is coupled and therefore no longer the refused one.
    pub(crate) fn other_is_coupled(&self, from: Option<&MemberRun>) -> Option<Event> {
        let other = &self.other_controller.as_ref()?.other;
        let is_it =
            from.is_some_and(|from| from.run_id == other.run_id || from.address == other.address);
        is_it.then_some(Event::AgentOwn(AgentOwnEvent::OtherControllerGone))
    }

    /// Records which Controller was coupled under this number. This is an input and not an event.
    pub fn on_coupled(&mut self, from: Option<&MemberRun>, epoch: u64, coupling: u64) {
        let since = self
            .controller
            .as_ref()
            .filter(|known| from.is_some_and(|from| from.run_id == known.run.run_id))
            .map_or(coupling, |known| known.since);
        self.controller = from.map(|run| CoupledController {
            run: run.clone(),
            epoch,
            since,
        });
    }

    /// Records that this process was refused now. This is an input and not an event.
    pub fn on_controller_refused(&mut self, from: &MemberRun, now: Timestamp) {
        if let Some(known) = &mut self.other_controller
            && known.other.address == from.address
        {
            known.tried_at = now;
        }
    }

    /// Returns when the other Controller counts as gone.
    pub(crate) fn other_gone_at(&self) -> Option<Timestamp> {
        let other = self.other_controller.as_ref()?;
        Some(other.tried_at + GONE_AFTER)
    }

    /// Forgets the other Controller when it has not tried to couple for a while.
    pub(crate) fn forget_other_controller(&self, now: Timestamp) -> Option<Vec<Event>> {
        (self.other_gone_at()? <= now)
            .then(|| vec![Event::AgentOwn(AgentOwnEvent::OtherControllerGone)])
    }

    /// Describes for messages where the refused Controller is, and which one is coupled or was coupled last, as far as that is known.
    pub(crate) fn both_addresses(&self, from: Option<&MemberRun>) -> String {
        let asks = from.map(|from| format!("refused is the Controller at {from}"));
        let coupled = self
            .controller
            .as_ref()
            .filter(|known| from.is_none_or(|from| from.run_id != known.run.run_id))
            .map(|known| format!("coupled is, or was last, the one at {}", known.run));
        let known: Vec<String> = asks.into_iter().chain(coupled).collect();
        if known.is_empty() {
            String::new()
        } else {
            format!(" ({})", known.join("; "))
        }
    }
}

/// Returns the refusal of `from` while `coupled` is connected.
pub(crate) fn is_double(from: &MemberRun, coupled: &MemberRun) -> Problem {
    Problem::new(
        "ControllerIsDouble",
        format!(
            "two Controllers of the same identity are running: this Agent is coupled with the one at {coupled} and refuses the one at {from}. One data directory is a copy of the other, or was restored beside it: stop the Controller that is not wanted, and remove its directory"
        ),
    )
}
