//! What is true after an event.
//!
//! Always: the only writer of an Agent's state; an event that does not fit changes nothing.

use crate::attached::{Attached, job_resources_of, parse};
use crate::controllers::OtherController;
use crate::state::{Coupling, Meta, State};
use crate::subagents::kill_of;
use engine::JobKey;
use model::{
    AgentOwnEvent, Event, EventId, ItemBody, ItemEvent, ItemKey, ItemType, JournalEvent, Order,
    OrderEvent, OrderId, OrderState, Stamped, SubagentId, SubagentStateEvent,
};
use std::fmt;

/// An event that does not fit the state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotApplicable(pub String);

impl NotApplicable {
    fn new(what: impl fmt::Display) -> NotApplicable {
        NotApplicable(what.to_string())
    }
}

impl State {
    /// Makes the event true.
    pub fn evolve(&mut self, stamped: &Stamped) -> Result<(), NotApplicable> {
        match &stamped.event {
            Event::Order(order_id, event) => self.evolve_order(order_id, event, stamped),
            Event::Item(event) => self.evolve_item(event),
            Event::AgentOwn(event) => {
                self.evolve_self(event, stamped.event_id);
                Ok(())
            }
            Event::Subagent(subagent_id, event) => self.evolve_subagent(subagent_id, event),
            Event::Journal(JournalEvent::JournalEventsReleased {
                user_id,
                until_event_id,
            }) => {
                self.released.insert(user_id.clone(), *until_event_id);
                Ok(())
            }
            Event::Journal(JournalEvent::SnapshotTaken) => Ok(()),
            Event::Cluster(event) => {
                self.cluster = self.cluster.after(event).map_err(NotApplicable::new)?;
                Ok(())
            }
            Event::Agent(..) | Event::Controller(_) => Err(NotApplicable::new(format_args!(
                "{} does not belong into an Agent's log",
                stamped.event.type_name()
            ))),
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "whatever else happens takes the order out of its line"
    )]
    fn evolve_order(
        &mut self,
        order_id: &OrderId,
        event: &OrderEvent,
        stamped: &Stamped,
    ) -> Result<(), NotApplicable> {
        self.engine
            .evolve(order_id, event, stamped.at())
            .map_err(NotApplicable::new)?;
        match event {
            OrderEvent::OrderProcessingStarted { .. } => self.note_started(order_id),
            OrderEvent::OrderProcessed { .. } => self.note_ended(order_id),
            OrderEvent::OrderCancellationMarked { .. }
            | OrderEvent::OrderSuspensionMarked { .. } => {
                if self
                    .engine
                    .order(order_id)
                    .is_some_and(|order| kill_of(order).is_some())
                {
                    self.work.kill(order_id);
                }
            }
            OrderEvent::OrderDetachable => {
                self.detachable.insert(order_id.clone(), stamped.event_id);
                self.queues.leave(order_id);
            }
            OrderEvent::OrderDetached => {
                // The Controller requests this only when its log has the event that the request answers.
                let answered = self.detachable.remove(order_id).unwrap_or_default();
                self.shown = self.shown.max(answered);
                self.queues.leave(order_id);
            }
            // Whatever else happens to an order takes it out of the line it may stand in.
            _ => self.queues.leave(order_id),
        }
        Ok(())
    }

    pub(crate) fn note_started(&mut self, order_id: &OrderId) {
        let Some(order) = self.engine.order(order_id).cloned() else {
            return;
        };
        if let Some((key, limit)) = self.job_key(&order) {
            self.queues.started(order_id, &key, limit);
        }
        if let OrderState::Processing {
            subagent_id: Some(subagent_id),
            subagent_bundle_id,
            ..
        } = &order.state
        {
            // A process that is there because of a tie is there by the cluster that the tie was made with.
            let tie = self
                .tie_of(&order)
                .filter(|tie| tie.stuck_subagent_id.as_ref() == Some(subagent_id));
            let bundle_id = subagent_bundle_id
                .as_ref()
                .or_else(|| tie?.subagent_bundle_id.as_ref());
            self.processes.started(order_id, subagent_id, bundle_id);
            self.work.started(order_id, subagent_id);
            if kill_of(&order).is_some() {
                self.work.kill(order_id);
            }
            self.subagents
                .entry(subagent_id.clone())
                .or_default()
                .orders
                .insert(order_id.clone());
        }
    }

    fn job_key(&self, order: &Order) -> Option<(JobKey, u32)> {
        let workflow = self.engine.workflow(&order.workflow_id)?;
        JobKey::at(workflow, &order.position).map(|(key, job)| (key, job.parallelism))
    }

    fn note_ended(&mut self, order_id: &OrderId) {
        self.queues.ended(order_id);
        self.work.ended(order_id);
        if let Some(subagent_id) = self.processes.ended(order_id)
            && let Some(subagent) = self.subagents.get_mut(&subagent_id)
        {
            subagent.orders.remove(order_id);
        }
        // A process of the Agent's limit is free again, or a Subagent that is to go has become idle.
        self.queues.unstick();
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "all other events are the Controller's"
    )]
    fn evolve_item(&mut self, event: &ItemEvent) -> Result<(), NotApplicable> {
        match event {
            ItemEvent::ItemAttachedToMe {
                item,
                key,
                item_revision,
            } => {
                let parsed = parse(key, item).map_err(NotApplicable::new)?;
                let job_resources = job_resources_of(&parsed);
                match parsed.body {
                    ItemBody::Workflow(workflow) => self.engine.set_workflow(workflow),
                    ItemBody::JobResource(resource) => self.engine.set_job_resource(resource),
                    ItemBody::Agent(agent) => self.agent_ref = Some(agent),
                    ItemBody::Subagent(subagent) => {
                        let is_director = self.is_director(&subagent.id);
                        let state = self.subagents.entry(subagent.id.clone()).or_default();
                        let old = state.item.as_ref().map(|item| item.uri.clone());
                        if let Some(old) = old
                            && old != subagent.uri
                            && state.run_id.is_some()
                            && !is_director
                        {
                            let reset = state.reset.get_or_insert_default();
                            reset.left.get_or_insert(old);
                        }
                        state.item = Some(subagent);
                        state.detaching = false;
                    }
                    ItemBody::Bundle(bundle) => {
                        self.bundles.insert(bundle.id.clone(), bundle);
                    }
                    ItemBody::Kept(_) => {}
                }
                let attached = Attached {
                    text: item.clone(),
                    revision: *item_revision,
                    job_resources,
                };
                self.items.insert(key.clone(), attached);
                self.queues.unstick();
                Ok(())
            }
            ItemEvent::ItemDetachingFromMe { key } => {
                if let Some(subagent) = self.subagent_of(key) {
                    subagent.detaching = true;
                }
                Ok(())
            }
            ItemEvent::ItemDetached { key, .. } => {
                self.forget_item(key);
                Ok(())
            }
            _ => Err(NotApplicable::new(format_args!(
                "{} does not belong into an Agent's log",
                event.type_name()
            ))),
        }
    }

    fn subagent_of(&mut self, key: &ItemKey) -> Option<&mut crate::SubagentState> {
        let (kind, name) = key.split();
        (kind == ItemType::SubagentItem.key_name())
            .then(|| self.subagents.get_mut(name))
            .flatten()
    }

    fn forget_item(&mut self, key: &ItemKey) {
        self.items.remove(key);
        if let Some(id) = key.as_workflow() {
            self.engine.remove_workflow(&id);
            return;
        }
        let (kind, name) = key.split();
        match kind {
            "JobResource" => self.engine.remove_job_resource(&name.into()),
            "Subagent" => {
                self.subagents.remove(name);
            }
            "SubagentBundle" => {
                self.bundles.remove(name);
            }
            "Agent" => self.agent_ref = None,
            _ => {}
        }
        // Who waited for it waits in vain now, and is to say so.
        self.queues.unstick();
    }

    fn evolve_self(&mut self, event: &AgentOwnEvent, at: EventId) {
        match event {
            AgentOwnEvent::Dedicated {
                agent_path,
                directors,
                agent_run_id,
                controller_id,
                controller_run_id,
            } => {
                self.set_meta(Meta {
                    agent_path: agent_path.clone(),
                    directors: directors.clone(),
                    agent_run_id: agent_run_id.clone(),
                    controller_id: controller_id.clone(),
                    controller_run_id: controller_run_id.clone(),
                });
            }
            AgentOwnEvent::ControllerEpochRaised { epoch } => self.controller_epoch = *epoch,
            AgentOwnEvent::OtherControllerRefused { other, coupled } => {
                self.other_controller = Some(OtherController {
                    other: other.clone(),
                    coupled: coupled.clone(),
                    tried_at: at.timestamp(),
                    reported_by: at,
                });
            }
            AgentOwnEvent::OtherControllerGone => self.other_controller = None,
            AgentOwnEvent::Ready { .. } | AgentOwnEvent::ShutDown => {
                // Connections do not outlive the process.
                for subagent in self.subagents.values_mut() {
                    subagent.coupling = Coupling::Uncoupled;
                    subagent.metering = None;
                }
            }
        }
    }

    pub(crate) fn set_meta(&mut self, meta: Meta) {
        // Nothing can have been attached before.
        if self.meta.is_none() {
            let site = engine::Site::Agent(meta.agent_path.clone());
            self.engine = engine::State::new(site, meta.controller_id.clone());
            self.engine.set_environment(self.environment.clone());
        }
        self.meta = Some(meta);
    }

    fn evolve_subagent(
        &mut self,
        subagent_id: &SubagentId,
        event: &SubagentStateEvent,
    ) -> Result<(), NotApplicable> {
        let subagent = self
            .subagents
            .get_mut(subagent_id)
            .ok_or_else(|| NotApplicable::new(format_args!("unknown Subagent {subagent_id}")))?;
        match event {
            SubagentStateEvent::SubagentDedicated {
                subagent_run_id,
                platform_info,
            } => {
                subagent.run_id = Some(subagent_run_id.clone());
                subagent.platform.clone_from(platform_info);
                subagent.observed = model::EventId::BEFORE_FIRST;
                subagent.coupling = Coupling::Uncoupled;
                // A process that has just begun holds nothing.
                subagent.lease = None;
                subagent.offered = None;
            }
            SubagentStateEvent::SubagentLeaseOffered { lease } => {
                // What was offered before may have been taken.
                subagent.lease = subagent.longest_lease();
                subagent.offered = Some(lease.0);
            }
            SubagentStateEvent::SubagentLost { .. }
            | SubagentStateEvent::SubagentLossConfirmed { .. } => {}
            SubagentStateEvent::SubagentCoupled => {
                subagent.lease = subagent.offered.or(subagent.lease);
                subagent.coupling = Coupling::Coupled;
                self.queues.unstick();
                return Ok(());
            }
            SubagentStateEvent::SubagentCouplingFailed { problem } => {
                subagent.coupling = Coupling::Failed(problem.clone());
            }
            SubagentStateEvent::SubagentEventsObserved { until_event_id } => {
                subagent.observed = *until_event_id;
                return Ok(());
            }
            SubagentStateEvent::SubagentRestarted => subagent.coupling = Coupling::Uncoupled,
            SubagentStateEvent::SubagentResetStartedByController { .. } => {}
            SubagentStateEvent::SubagentResetStarted { force } => {
                subagent.reset.get_or_insert_default().force |= force;
            }
            SubagentStateEvent::SubagentReset => {
                subagent.reset = None;
                subagent.run_id = None;
                subagent.platform = None;
                subagent.observed = model::EventId::BEFORE_FIRST;
                subagent.coupling = Coupling::Uncoupled;
            }
            SubagentStateEvent::SubagentShutdownStarted | SubagentStateEvent::SubagentShutdown => {
                subagent.coupling = Coupling::ShuttingDown;
            }
        }
        // Whatever else happens to it, what was measured is not of now any more.
        subagent.metering = None;
        Ok(())
    }
}
