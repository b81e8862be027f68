//! Resetting a Subagent: its jobs are killed and its process ends, so that it can begin anew, here or at another address.
//!
//! Always: without force the jobs count as lost when the Subagent has said that they have ended, has been replaced, or is given up for
//! another reason; so nothing is repeated while it may still run. By force they count as lost when the Subagent has been told, or could
//! not be. Never here: telling it; see the driver.

use crate::state::{Coupling, State};
use crate::subagents::Loss;
use model::{Event, Problem, SubagentId, SubagentStateEvent};
use std::sync::Arc;

/// A reset under way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reset {
    /// Whoever has the Subagent, it is told to end, and what it had counts as lost then.
    pub force: bool,
    /// The address that is left for another one.
    pub left: Option<Arc<str>>,
}

impl Reset {
    pub(crate) fn loss(&self) -> Loss {
        if self.left.is_some() {
            Loss::Move
        } else {
            Loss::Reset
        }
    }
}

impl State {
    pub(crate) fn reset_subagent(
        &self,
        id: &SubagentId,
        force: bool,
    ) -> Result<Vec<Event>, Problem> {
        let Some(subagent) = self.subagents.get(id) else {
            let message = format!("there is no Subagent {id}");
            return Err(Problem::new("UnknownKey", message));
        };
        if self.is_director(id) {
            let message =
                format!("Subagent {id} is that of a Director: restart it, or reset its Agent");
            return Err(Problem::new("SubagentIsDirector", message));
        }
        if subagent
            .reset
            .as_ref()
            .is_some_and(|reset| reset.force || !force)
        {
            return Ok(Vec::new()); // already so
        }
        Ok(vec![reset_started(id, force)])
    }

    /// Whether it is the Subagent in the process of a Director.
    pub(crate) fn is_director(&self, id: &SubagentId) -> bool {
        self.directors().contains(id)
    }

    /// The Subagent that is to be reset by force has been told, or could not be.
    pub fn on_reset_enforced(&self, id: &SubagentId) -> Vec<Event> {
        match self.subagents.get(id).map(|subagent| &subagent.reset) {
            Some(Some(reset)) if reset.force => self.reset_done(id),
            Some(_) | None => Vec::new(),
        }
    }

    /// Nothing of it runs any more.
    pub(crate) fn reset_done(&self, id: &SubagentId) -> Vec<Event> {
        let Some(reset) = self.subagents.get(id).and_then(|it| it.reset.as_ref()) else {
            return Vec::new();
        };
        let mut events = self.lose_processes(id, reset.loss());
        events.push(Event::Subagent(
            id.clone(),
            SubagentStateEvent::SubagentReset,
        ));
        events
    }

    /// A reset that has nothing to wait for: no job is there, and nobody to be told, or only the address changes.
    pub(crate) fn finish_reset(&self) -> Option<Vec<Event>> {
        let is_done = |id: &&SubagentId| {
            let subagent = &self.subagents[*id];
            let Some(reset) = &subagent.reset else {
                return false;
            };
            let is_away = matches!(subagent.coupling, Coupling::Uncoupled | Coupling::Failed(_));
            subagent.orders.is_empty() && !reset.force && (reset.left.is_some() || is_away)
        };
        let id = self.subagents.keys().find(is_done)?;
        Some(self.reset_done(id))
    }
}

pub(crate) fn reset_started(id: &SubagentId, force: bool) -> Event {
    let started = SubagentStateEvent::SubagentResetStarted { force };
    Event::Subagent(id.clone(), started)
}
