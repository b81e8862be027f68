//! What follows from the present at an Agent.

use crate::choice::Choice;
use crate::reset::reset_started;
use crate::state::{Coupling, State};
use engine::Next;
use model::{
    Event, ItemEvent, ItemKey, ItemType, OrderEvent, OrderId, OrderState, Outcome, Timestamp,
};

impl State {
    /// The next events that follow, as one unit; nothing when all is quiet. The caller makes them true and asks again.
    pub fn step(&mut self, now: Timestamp) -> Option<Vec<Event>> {
        let is_set_back = now < self.engine.woken_at();
        self.engine.wake(now);
        if is_set_back {
            // An order that waits for a process and has not been started may no longer be due. Then it waits for its time, not for a process.
            let waiting: Vec<OrderId> = self.queues.orders().cloned().collect();
            for order_id in waiting {
                self.engine.make_restless(&order_id);
            }
        }
        loop {
            // Before the next order is looked at: one that never comes to rest must not keep jobs from starting. Orders come in the
            // order of their priority, so nobody is overtaken.
            if let Some(events) = self.start_job(now) {
                return Some(events);
            }
            let Some(order_id) = self.engine.pop_restless() else {
                return self
                    .finish_reset()
                    .or_else(|| self.let_subagent_go())
                    .or_else(|| self.appoint())
                    .or_else(|| self.forget_other_controller(now));
            };
            match self.engine.next(&order_id, now) {
                Next::Rest => {}
                Next::Events(events) => {
                    let events = events.into_iter();
                    return Some(events.map(|(id, event)| Event::Order(id, event)).collect());
                }
                Next::Job(call) => {
                    if let Some(order) = self.engine.order(&order_id) {
                        let priority = order.priority.clone();
                        self.queues
                            .enter(&order_id, &call.key, priority, call.job.parallelism);
                    }
                }
            }
        }
    }

    /// When [`State::step`] is due by the clock.
    pub fn next_wakeup(&self) -> Option<Timestamp> {
        if self.engine.has_restless() {
            return Some(Timestamp::default());
        }
        let other_gone_at = self.other_gone_at();
        self.engine
            .next_wakeup()
            .into_iter()
            .chain(other_gone_at)
            .min()
    }

    /// Starts the first job that may run and has a Subagent to run on.
    fn start_job(&mut self, now: Timestamp) -> Option<Vec<Event>> {
        let limit = self
            .agent_ref
            .as_ref()
            .map_or(0, |agent| agent.process_limit.unwrap_or(u32::MAX));
        while self.queues.running() < limit as usize {
            let order_id = self.queues.next()?;
            self.engine.set_stepping(Some(&order_id));
            // The order may have been changed while it stood in line.
            let Next::Job(call) = self.engine.next(&order_id, now) else {
                self.queues.leave(&order_id);
                self.engine.make_restless(&order_id);
                return Some(Vec::new());
            };
            let (choice, placement) = self.choose_subagent(&order_id, &call.job, now);
            // An order starts together with its first job, so that it stays fresh while it waits for a process.
            let is_fresh = self
                .engine
                .order(&order_id)
                .is_some_and(|order| order.state == OrderState::Fresh);
            let begins = is_fresh.then_some(OrderEvent::OrderStarted);
            let with = |event: OrderEvent| {
                let events = begins.iter().cloned().chain([event]);
                Some(
                    events
                        .map(|event| Event::Order(order_id.clone(), event))
                        .collect(),
                )
            };
            match choice {
                Choice::On {
                    subagent_id,
                    subagent_bundle_id,
                    stick,
                } => {
                    return with(OrderEvent::OrderProcessingStarted {
                        subagent_id: Some(subagent_id),
                        subagent_bundle_id,
                        stick,
                    });
                }
                Choice::None => self.queues.stick(&order_id, placement),
                Choice::Denied(problem) => {
                    let outcome = Outcome::disrupted(problem);
                    return with(OrderEvent::OrderOutcomeAdded { outcome });
                }
            }
        }
        None
    }

    /// Forgets a Subagent that is to go, once its jobs and then its process have ended. One that cannot be reached is forgotten
    /// without its process having been told.
    fn let_subagent_go(&self) -> Option<Vec<Event>> {
        let agent_path = &self.meta.as_ref()?.agent_path;
        let mut going = self
            .subagents
            .iter()
            .filter(|(_, subagent)| subagent.detaching && subagent.orders.is_empty());
        let is_to_be_told =
            |id, coupling: &Coupling| *coupling == Coupling::Coupled && !self.is_director(id);
        let (id, subagent) = going.find(|(id, subagent)| {
            subagent.reset.is_none() || !is_to_be_told(id, &subagent.coupling)
        })?;
        if is_to_be_told(id, &subagent.coupling) {
            return Some(vec![reset_started(id, false)]);
        }
        let key = ItemKey::simple(ItemType::SubagentItem, id.as_str());
        Some(vec![Event::Item(ItemEvent::ItemDetached {
            key,
            delegate_id: agent_path.clone(),
        })])
    }
}
