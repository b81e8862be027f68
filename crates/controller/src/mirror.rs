//! Agents: what they report becomes events here, and how the connection to them stands.
//!
//! Always: an Agent's event is taken over once, in order, with the time at which it happened there; one that does not fit is put
//! down as rejected and never blocks the others. Never here: the connection.

use crate::{Attachment, Coupling, NotApplicable, Recorder, State, Thing};
use model::{
    AgentEvent, AgentOwnEvent, AgentPath, AgentWitness, AttachedState, CancellationMode, Event,
    EventId, ItemEvent, Mark, OrderEvent, OrderId, Problem, RunId, Stamped, SubagentStateEvent,
};

/// The codes of problems that only mean that the Agent does not answer.
const NOBODY_ANSWERS: [&str; 4] = [
    "Unreachable",
    "AgentConnectionLost",
    "AgentHasNoActiveDirector",
    "AgentIsShuttingDown",
];

impl State {
    /// Takes over events of an Agent; those that were taken over before are skipped.
    pub fn agent_events(
        &mut self,
        path: &AgentPath,
        events: Vec<Stamped>,
        out: &mut dyn Recorder,
    ) -> Result<(), NotApplicable> {
        let Some(observed) = self.observed(path) else {
            // Deleted or given up meanwhile.
            return Ok(());
        };
        let mut last = None;
        for stamped in events
            .into_iter()
            .filter(|stamped| stamped.event_id > observed)
        {
            let (event_id, at, tag) = (stamped.event_id, stamped.at(), stamped.event.type_name());
            let Some(event) = self.mirrored(path, stamped.event) else {
                continue;
            };
            last = Some(event_id);
            self.observer
                .begins(|| format!("AgentEvent:{path}/{event_id}"));
            self.importing = Some((path.clone(), event_id));
            let too_late = self.cancelled_too_late(&event);
            let recorded = out.record(self, Some(at), event);
            if let (Some(id), Ok(())) = (too_late, &recorded) {
                let problem = Problem::new(
                    "CancelStartedOrder",
                    format!("Order:{id} was started before the cancellation reached its Agent"),
                )
                .with("orderId", &id);
                let refused = OrderEvent::OrderAgentProblem { problem };
                out.record(self, None, Event::Order(id, refused))?;
            }
            if let Err(error) = recorded {
                let problem = Problem::new("AgentEventDoesNotFit", error.to_string()).bounded();
                let event = AgentEvent::AgentEventRejected {
                    event_id,
                    event: tag.into(),
                    problem,
                };
                out.record(self, None, Event::Agent(path.clone(), event))?;
            }
        }
        self.importing = None;
        // An Agent's events that mean nothing here are not confirmed on their own: confirming makes an event there.
        if let Some(until_event_id) = last
            && self.agents.contains_key(path)
        {
            out.record(
                self,
                None,
                Event::Agent(
                    path.clone(),
                    AgentEvent::AgentEventsObserved { until_event_id },
                ),
            )?;
        }
        Ok(())
    }

    /// An Agent's line cannot be read as an event: it is put down and passed over.
    pub fn agent_event_unreadable(
        &mut self,
        path: &AgentPath,
        event_id: EventId,
        problem: Problem,
        out: &mut dyn Recorder,
    ) -> Result<(), NotApplicable> {
        match self.observed(path) {
            Some(observed) if observed < event_id => {
                let event = AgentEvent::AgentEventRejected {
                    event_id,
                    event: "?".into(),
                    problem: problem.bounded(),
                };
                out.record(self, None, Event::Agent(path.clone(), event))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The Agent's newest event that we have, if it is ours.
    fn observed(&self, path: &AgentPath) -> Option<EventId> {
        let agent = self.agents.get(path)?;
        let is_ours = agent.agent_run_id.is_some() && !agent.is_reset_by_force;
        is_ours.then_some(agent.event_id)
    }

    /// Returns the order that this event starts, although the order was to be cancelled only if it was fresh.
    fn cancelled_too_late(&self, event: &Event) -> Option<OrderId> {
        let Event::Order(id, OrderEvent::OrderStarted) = event else {
            return None;
        };
        let only_fresh = Mark::Cancelling {
            mode: CancellationMode::FreshOnly,
        };
        let order = self.engine.order(id)?;
        (order.mark.as_deref() == Some(&only_fresh)).then(|| id.clone())
    }

    /// Returns the Controller's event for a mark that the Agent has confirmed; nothing if the mark has no meaning here.
    /// The event confirms only an equal mark. A newer mark that counts as sent is recorded again, since it may have
    /// reached the Agent before the confirmed mark.
    fn mirrored_mark(
        &self,
        path: &AgentPath,
        id: &OrderId,
        event: OrderEvent,
    ) -> Option<OrderEvent> {
        let noted = wish_of(&event);
        let wanted = self
            .engine
            .order(id)
            .and_then(|order| order.mark.as_deref())
            .filter(|wanted| noted.as_ref() != Some(wanted));
        let Some(wanted) = wanted else {
            return mirrored_order_event(path, event);
        };
        if self
            .outbox_since(path, &Thing::MarkOrder(id.clone()))
            .is_some()
        {
            return None;
        }
        match wanted {
            Mark::Cancelling { mode } => {
                Some(OrderEvent::OrderCancellationMarked { mode: mode.clone() })
            }
            Mark::Suspending { mode } => {
                Some(OrderEvent::OrderSuspensionMarked { mode: mode.clone() })
            }
            Mark::Resuming { .. } | Mark::Go { .. } => None,
        }
    }

    /// What an Agent's event means here; nothing if it is the Agent's own affair.
    fn mirrored(&self, path: &AgentPath, event: Event) -> Option<Event> {
        let delegate_id = path.clone();
        match event {
            Event::Order(
                id,
                event @ (OrderEvent::OrderCancellationMarked { .. }
                | OrderEvent::OrderSuspensionMarked { .. }),
            ) => {
                let event = self.mirrored_mark(path, &id, event)?;
                Some(Event::Order(id, event))
            }
            Event::Order(id, event) => Some(Event::Order(id, mirrored_order_event(path, event)?)),
            Event::Item(ItemEvent::ItemAttachedToMe {
                key, item_revision, ..
            }) => {
                // The answer to an offer that has been taken back or renewed meanwhile says nothing.
                let is_wanted = matches!(
                    self.attachments.get(&key, path),
                    Some(Attachment::Attachable)
                );
                let is_current = self
                    .items
                    .get(&key)
                    .is_some_and(|record| record.item.revision == item_revision);
                let attached = ItemEvent::ItemAttached {
                    key,
                    item_revision,
                    delegate_id,
                };
                (is_wanted && is_current).then_some(Event::Item(attached))
            }
            Event::Item(ItemEvent::ItemDetached { key, .. }) => {
                let is_wanted = matches!(
                    self.attachments.get(&key, path),
                    Some(Attachment::Detachable)
                );
                is_wanted.then_some(Event::Item(ItemEvent::ItemDetached { key, delegate_id }))
            }
            Event::AgentOwn(AgentOwnEvent::Ready {
                timezone,
                platform_info,
            }) => Some(Event::Agent(
                delegate_id,
                AgentEvent::AgentReady {
                    timezone,
                    platform_info,
                },
            )),
            Event::AgentOwn(AgentOwnEvent::ShutDown) => {
                Some(Event::Agent(delegate_id, AgentEvent::AgentShutDown))
            }
            Event::AgentOwn(AgentOwnEvent::OtherControllerRefused { other, coupled }) => {
                let refused = AgentEvent::AgentOtherControllerRefused { other, coupled };
                Some(Event::Agent(delegate_id, refused))
            }
            Event::AgentOwn(AgentOwnEvent::OtherControllerGone) => Some(Event::Agent(
                delegate_id,
                AgentEvent::AgentOtherControllerGone,
            )),
            Event::Subagent(
                _,
                SubagentStateEvent::SubagentEventsObserved { .. }
                | SubagentStateEvent::SubagentLeaseOffered { .. },
            ) => None,
            Event::Subagent(..) => Some(event),
            Event::Cluster(keyed_event) => Some(Event::Agent(
                delegate_id,
                AgentEvent::AgentMirroredEvent { keyed_event },
            )),
            Event::Item(_)
            | Event::Agent(..)
            | Event::AgentOwn(
                AgentOwnEvent::Dedicated { .. } | AgentOwnEvent::ControllerEpochRaised { .. },
            )
            | Event::Controller(_)
            | Event::Journal(_) => None,
        }
    }

    /// The Agent belongs to us.
    pub fn agent_dedicated(
        &mut self,
        path: &AgentPath,
        agent_run_id: RunId,
        agent_event_id: EventId,
        out: &mut dyn Recorder,
    ) -> Result<(), NotApplicable> {
        let Some(agent) = self.agents.get(path) else {
            return Ok(());
        };
        // What is to be reset has been dedicated for nothing.
        if agent.agent_run_id.as_ref() == Some(&agent_run_id)
            || agent.coupling_state == Coupling::Resetting
        {
            return Ok(());
        }
        let event = AgentEvent::AgentDedicated {
            agent_run_id,
            agent_event_id,
        };
        out.record(self, None, Event::Agent(path.clone(), event))
    }

    /// Records the witness of the Agent's Directors for this run of their log. Returns whether the state now has this
    /// `witness`. Returns `false` if the run is over or if the witness would take back a promise.
    pub fn agent_witness(
        &mut self,
        path: &AgentPath,
        agent_run_id: &RunId,
        witness: AgentWitness,
        out: &mut dyn Recorder,
    ) -> Result<bool, NotApplicable> {
        let Some(agent) = self.agents.get(path) else {
            return Ok(false);
        };
        if agent.agent_run_id.as_ref() != Some(agent_run_id) {
            return Ok(false);
        }
        match &agent.witness {
            Some(before) if *before == witness => return Ok(true),
            Some(before) if !before.may_become(&witness) => return Ok(false),
            Some(_) | None => {}
        }
        let event = AgentEvent::AgentWitnessUpdated { witness };
        out.record(self, None, Event::Agent(path.clone(), event))?;
        Ok(true)
    }

    /// The Agent is connected, and both sides know where they stand.
    pub fn agent_coupled(
        &mut self,
        path: &AgentPath,
        out: &mut dyn Recorder,
    ) -> Result<(), NotApplicable> {
        match self.agents.get(path) {
            None => Ok(()),
            Some(agent) if agent.coupling_state == Coupling::Coupled && agent.problem.is_none() => {
                Ok(())
            }
            Some(agent) if agent.coupling_state == Coupling::Resetting => Ok(()),
            Some(_) => out.record(
                self,
                None,
                Event::Agent(path.clone(), AgentEvent::AgentCoupled),
            ),
        }
    }

    /// No connection, or the Agent refuses. Recorded once per distinct problem.
    pub fn agent_coupling_failed(
        &mut self,
        path: &AgentPath,
        problem: Problem,
        out: &mut dyn Recorder,
    ) -> Result<(), NotApplicable> {
        let problem = problem.bounded();
        match self.agents.get(path) {
            None => Ok(()),
            Some(agent) if agent.problem.as_ref() == Some(&problem) => Ok(()),
            // An Agent that said good-bye is not there; that is no problem.
            Some(agent)
                if agent.coupling_state == Coupling::ShutDown
                    && NOBODY_ANSWERS.iter().any(|code| problem.is(code)) =>
            {
                Ok(())
            }
            Some(_) => out.record(
                self,
                None,
                Event::Agent(path.clone(), AgentEvent::AgentCouplingFailed { problem }),
            ),
        }
    }

    /// Records that the Agent refuses what was sent, once per distinct problem. The thing stays in the outbox. If the
    /// Agent refuses an order that is to be cancelled or suspended, the order is detached, so that the Controller can
    /// cancel or suspend it.
    pub fn agent_refused(
        &mut self,
        path: &AgentPath,
        thing: &Thing,
        problem: Problem,
        out: &mut dyn Recorder,
    ) -> Result<(), NotApplicable> {
        let problem = problem.bounded();
        if self.outbox_since(path, thing).is_none() {
            return Ok(());
        }
        let is_known = self.refusals.get(&(path.clone(), thing.clone())) == Some(&problem);
        if !is_known {
            self.note_refusal(path, thing, problem, out)?;
        }
        match thing {
            Thing::AttachOrder(id) if self.engine.would_follow_mark(id) => {
                let event = Event::Order(id.clone(), OrderEvent::OrderDetached);
                out.record(self, None, event)
            }
            Thing::AttachOrder(_)
            | Thing::DetachOrder(_)
            | Thing::MarkOrder(_)
            | Thing::AttachItem(_)
            | Thing::DetachItem(_)
            | Thing::ResetSubagent(_)
            | Thing::ConfirmSubagentLoss(_) => Ok(()),
        }
    }

    /// Detaches an order that is to be cancelled or suspended and that has certainly not been sent to its Agent.
    pub(crate) fn take_back_unsent(
        &mut self,
        id: &OrderId,
        out: &mut dyn Recorder,
    ) -> Result<(), NotApplicable> {
        let order = self.engine.order(id);
        let attached = order.and_then(|order| order.attached_state.as_ref());
        let Some(AttachedState::Attaching { agent_path: agent }) = attached else {
            return Ok(());
        };
        if self.may_have_come(agent, id) || !self.engine.would_follow_mark(id) {
            return Ok(());
        }
        let event = Event::Order(id.clone(), OrderEvent::OrderDetached);
        out.record(self, None, event)
    }

    fn note_refusal(
        &mut self,
        path: &AgentPath,
        thing: &Thing,
        problem: Problem,
        out: &mut dyn Recorder,
    ) -> Result<(), NotApplicable> {
        let event = match thing {
            // What the Agent tells of the Subagent says more.
            Thing::ResetSubagent(_) => return Ok(()),
            // It is there again: that it is coupled follows, and ends the wish.
            Thing::ConfirmSubagentLoss(_) => return Ok(()),
            Thing::AttachOrder(id) | Thing::DetachOrder(id) | Thing::MarkOrder(id) => {
                Event::Order(id.clone(), OrderEvent::OrderAgentProblem { problem })
            }
            Thing::AttachItem(key) | Thing::DetachItem(key) => {
                Event::Item(ItemEvent::ItemAgentProblem {
                    key: key.clone(),
                    delegate_id: path.clone(),
                    problem,
                })
            }
        };
        out.record(self, None, event)
    }
}

/// The mark that the event makes.
fn wish_of(event: &OrderEvent) -> Option<Mark> {
    if let OrderEvent::OrderCancellationMarked { mode } = event {
        return Some(Mark::Cancelling { mode: mode.clone() });
    }
    if let OrderEvent::OrderSuspensionMarked { mode } = event {
        return Some(Mark::Suspending { mode: mode.clone() });
    }
    None
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "only what means something else here is named"
)]
fn mirrored_order_event(path: &AgentPath, event: OrderEvent) -> Option<OrderEvent> {
    Some(match event {
        OrderEvent::OrderAttachedToAgent { .. } => OrderEvent::OrderAttached {
            agent_path: path.clone(),
        },
        OrderEvent::OrderCancellationMarked { .. } => OrderEvent::OrderCancellationMarkedOnAgent,
        OrderEvent::OrderSuspensionMarked { .. } => OrderEvent::OrderSuspensionMarkedOnAgent,
        // The Controller has put it down before it sent it.
        OrderEvent::OrderResumptionMarked { .. } => return None,
        other => other,
    })
}
