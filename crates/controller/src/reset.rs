//! Resetting an Agent: it ends its jobs, forgets everything, is dedicated anew and gets its items and orders again.
//!
//! Always: an order that may have gone on at the Agent unseen fails, so that nothing runs twice unasked; one that surely has not
//! begun there is handed over again. Without force the Agent is asked first, and its orders are touched only when it has nothing any
//! more; by force they are touched at once. A mass of orders is given up piece by piece, each in a batch of its own. Never here: the
//! connection.

use crate::outbox::Thing;
use crate::state::Unsettled;
use crate::{Attachment, Coupling, NotApplicable, Recorder, State};
use model::{
    AgentEvent, AgentPath, AgentRef, AttachedState, CancellationMode, DisruptedReason, Event,
    ItemBody, ItemEvent, ItemKey, ItemType, Mark, Order, OrderEvent, OrderId, OrderState, Outcome,
    Problem, SubagentId, SubagentStateEvent, Timestamp,
};
use std::collections::BTreeSet;
use std::time::Duration;

/// So much the clocks of two machines may differ: an order that is to start later than that has not been started by an Agent.
const CLOCK_DOUBT: Duration = Duration::from_mins(1);
/// Orders that are given up in one batch.
const PIECE: usize = 2000;

impl State {
    /// Begins to reset an Agent. A repetition does nothing; force may follow when the Agent does not answer.
    pub(crate) fn reset_agent(
        &mut self,
        path: &AgentPath,
        force: bool,
        out: &mut dyn Recorder,
    ) -> Result<Result<(), Problem>, NotApplicable> {
        let Some(agent) = self.agents.get(path) else {
            return Ok(Err(Problem::unknown_item(format!("Agent:{path}"))));
        };
        if agent.coupling_state == Coupling::Resetting {
            if agent.is_reset_by_force || !force {
                return Ok(Ok(())); // already so
            }
        } else if agent.agent_run_id.is_none() && !force {
            if agent.problem.is_none() {
                return Ok(Ok(())); // there is nothing to forget
            }
            let message = format!(
                "Agent:{path} has not been dedicated to this Controller, so it is not ours to reset; by force it is taken from whoever has it"
            );
            return Ok(Err(
                Problem::new("AgentNotDedicated", message).with("agentPath", path)
            ));
        }
        let started = AgentEvent::AgentResetStarted { force };
        out.record(self, None, Event::Agent(path.clone(), started))?;
        Ok(Ok(()))
    }

    /// Has the Agent of a Subagent reset it. A repetition does nothing; force may follow.
    pub(crate) fn reset_subagent(
        &mut self,
        id: &SubagentId,
        force: bool,
        out: &mut dyn Recorder,
    ) -> Result<Result<(), Problem>, NotApplicable> {
        let state = self.subagents.get(id);
        let Some((state, path)) = state.and_then(|state| Some((state, state.agent_path.as_ref()?)))
        else {
            return Ok(Err(Problem::unknown_item(format!("Subagent:{id}"))));
        };
        let is_director = self
            .agent_item(path)
            .is_some_and(|agent| agent.directors.contains(id));
        if is_director {
            let message =
                format!("Subagent:{id} is that of a Director: restart it, or reset Agent:{path}");
            return Ok(Err(
                Problem::new("SubagentIsDirector", message).with("subagentId", id)
            ));
        }
        if state.reset_asked.is_some_and(|by_force| by_force || !force) {
            return Ok(Ok(())); // already so
        }
        let started = SubagentStateEvent::SubagentResetStartedByController { force };
        out.record(self, None, Event::Subagent(id.clone(), started))?;
        Ok(Ok(()))
    }

    pub(crate) fn agent_item(&self, path: &AgentPath) -> Option<&AgentRef> {
        let key = ItemKey::simple(ItemType::AgentRef, path.as_str());
        if let ItemBody::Agent(agent) = &self.items.get(&key)?.item.body {
            Some(agent)
        } else {
            None
        }
    }

    /// The Agent has nothing any more. Answers whether all of it has been written down; else it is to be told again.
    pub fn agent_reset(
        &mut self,
        path: &AgentPath,
        out: &mut dyn Recorder,
    ) -> Result<bool, NotApplicable> {
        if !self.is_resetting(path) {
            return Ok(true);
        }
        if !self.give_up(path, out)? {
            return Ok(false);
        }
        let reset = Event::Agent(path.clone(), AgentEvent::AgentReset);
        out.record(self, None, reset)?;
        Ok(true)
    }

    /// Whether nothing is to be sent to the Agent until it has been reset.
    pub(crate) fn is_resetting(&self, path: &AgentPath) -> bool {
        self.agents
            .get(path)
            .is_some_and(|agent| agent.coupling_state == Coupling::Resetting)
    }

    /// What becomes of the next orders that the Agent has or may have.
    fn losses(&self, path: &AgentPath, now: Timestamp) -> Vec<(OrderId, Loss)> {
        let orders = self.engine.orders();
        let losses = orders.filter_map(|order| {
            let attached = order.attached_state.as_ref()?;
            if attached.agent_path() != path {
                return None;
            }
            Some((order.id.clone(), self.loss(path, attached, order, now)?))
        });
        losses.take(PIECE).collect()
    }

    /// Nothing for an order that is still to be sent.
    fn loss(
        &self,
        path: &AgentPath,
        attached: &AttachedState,
        order: &Order,
        now: Timestamp,
    ) -> Option<Loss> {
        match attached {
            // It has done there what it could; only the confirmation is missing.
            AttachedState::Detaching { .. } => return Some(Loss::Comes),
            AttachedState::Attaching { .. } if !self.may_have_come(path, &order.id) => return None,
            AttachedState::Attaching { .. } | AttachedState::Attached { .. } => {}
        }
        Some(match order.state {
            OrderState::Fresh if order.scheduled_for.is_some_and(|at| at > now + CLOCK_DOUBT) => {
                Loss::Comes
            }
            // Of a forked order only the children can be lost. A broken one stands still until somebody decides.
            OrderState::Forked { .. } | OrderState::Broken { .. } => Loss::Comes,
            OrderState::Processing { .. } => Loss::Job,
            OrderState::Sleeping { .. } | OrderState::DelayingRetry { .. }
                if !is_cancelled(order) =>
            {
                Loss::Wait
            }
            OrderState::Fresh
            | OrderState::Ready
            | OrderState::Processed
            | OrderState::ProcessingKilled
            | OrderState::Sleeping { .. }
            | OrderState::DelayingRetry { .. }
            | OrderState::Failed
            | OrderState::FailedWhileFresh
            | OrderState::FailedInFork
            | OrderState::Stopped
            | OrderState::StoppedWhileFresh
            | OrderState::Finished
            | OrderState::Cancelled
            | OrderState::Deleted => Loss::Step,
        })
    }

    /// Whether an order that is on its way may have come to the Agent. It cannot if the connection was lost before and has not come
    /// back since.
    pub(crate) fn may_have_come(&self, path: &AgentPath, id: &OrderId) -> bool {
        let Some(agent) = self.agents.get(path) else {
            return false;
        };
        let since = self.outbox_since(path, &Thing::AttachOrder(id.clone()));
        let was_lost_before = match (agent.lost_since, since) {
            (Some(lost), Some(since)) => since > lost,
            (_, _) => false,
        };
        agent.agent_run_id.is_some() && !was_lost_before
    }

    /// The same for an Agent that is not asked. Answers whether nothing is left.
    pub(crate) fn give_up_by_force(
        &mut self,
        path: &AgentPath,
        out: &mut dyn Recorder,
    ) -> Result<bool, NotApplicable> {
        let is_meant = self
            .agents
            .get(path)
            .is_some_and(|agent| agent.is_reset_by_force);
        if is_meant {
            self.give_up(path, out)
        } else {
            Ok(true)
        }
    }

    /// Gives up a piece of what a resetting Agent had; answers whether it was the last one.
    pub(crate) fn give_up(
        &mut self,
        path: &AgentPath,
        out: &mut dyn Recorder,
    ) -> Result<bool, NotApplicable> {
        let losses = self.losses(path, out.now());
        let is_last = losses.len() < PIECE;
        for (id, loss) in losses {
            for event in loss.events(path) {
                out.record(self, None, Event::Order(id.clone(), event))?;
            }
        }
        if is_last {
            self.give_up_items(path, out)?;
        }
        Ok(is_last)
    }

    fn give_up_items(
        &mut self,
        path: &AgentPath,
        out: &mut dyn Recorder,
    ) -> Result<(), NotApplicable> {
        let told = self.subagents.iter().filter(|(_, subagent)| {
            subagent.agent_path.as_ref() == Some(path) && subagent.subagent_run_id.is_some()
        });
        let told: Vec<SubagentId> = told.map(|(id, _)| id.clone()).collect();
        for id in told {
            let event = Event::Subagent(id, SubagentStateEvent::SubagentReset);
            out.record(self, None, event)?;
        }
        for (key, attachment) in self.attachments.of_agent(path) {
            // What is still to be sent stays to be sent.
            if attachment != Attachment::Attachable {
                let delegate_id = path.clone();
                let detached = ItemEvent::ItemDetached { key, delegate_id };
                out.record(self, None, Event::Item(detached))?;
            }
        }
        // The orders that are still to be sent need again what went before them.
        let waiting = self.engine.orders().filter(|order| {
            matches!(&order.attached_state, Some(AttachedState::Attaching { agent_path }) if agent_path == path)
        });
        let workflows: BTreeSet<ItemKey> = waiting
            .map(|order| ItemKey::workflow(&order.workflow_id))
            .collect();
        for workflow in workflows {
            self.unsettled
                .insert(Unsettled::Needed(path.clone(), workflow));
        }
        Ok(())
    }
}

/// Whether an operator has cancelled it: then that is what becomes of it.
fn is_cancelled(order: &Order) -> bool {
    matches!(
        order.mark.as_deref(),
        Some(Mark::Cancelling {
            mode: CancellationMode::FreshOrStarted { .. }
        })
    )
}

/// What an order loses with its Agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    /// Nothing: it comes back and goes on from here.
    Comes,
    /// Its job: nobody will see its end.
    Job,
    /// What it waited for.
    Wait,
    /// Its next step: nobody knows how far it has gone.
    Step,
}

impl Loss {
    fn events(self, path: &AgentPath) -> Vec<OrderEvent> {
        let disrupted = |uncatchable| Outcome::Disrupted {
            reason: DisruptedReason::Other {
                problem: Problem::new("AgentReset", format!("Agent:{path} has been reset")),
            },
            uncatchable,
        };
        let mut events = Vec::new();
        if self == Loss::Job {
            let outcome = disrupted(false);
            events.push(OrderEvent::OrderProcessed { outcome });
        }
        events.push(OrderEvent::OrderDetached);
        if self == Loss::Wait {
            events.push(OrderEvent::OrderStateReset);
        }
        if self != Loss::Comes {
            let outcome = disrupted(true);
            events.push(OrderEvent::OrderOutcomeAdded { outcome });
        }
        events
    }
}
