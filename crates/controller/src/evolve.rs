//! What is true after each event: the only writer of the state, on recovery too.
//!
//! Always: an event that is refused changes nothing. Never here: what follows; see `advance`.

use crate::outbox::thing_of;
use crate::state::Unsettled;
use crate::{Attachment, Coupling, ItemRecord, NotApplicable, OtherController, State, Thing};
use model::read::{Format, Origin, references};
use model::{
    AgentEvent, AgentPath, ClusterState, ControllerEvent, Event, EventId, Item, ItemBody,
    ItemEvent, ItemKey, JournalEvent, Order, OrderEvent, OrderId, OrderState, SignedText, Stamped,
    SubagentId, SubagentStateEvent, Timestamp, WorkflowId,
};
use std::sync::Arc;

impl State {
    /// Makes an event true.
    pub fn evolve(&mut self, stamped: &Stamped) -> Result<(), NotApplicable> {
        let id = stamped.event_id;
        match &stamped.event {
            Event::Order(order_id, event) => self.evolve_order(order_id, event, stamped.at(), id),
            Event::Item(event) => self.evolve_item(event, id),
            Event::Agent(path, event) => self.evolve_agent(path, event, id),
            Event::Subagent(subagent_id, event) => {
                self.evolve_subagent(subagent_id, event, id);
                Ok(())
            }
            Event::Controller(ControllerEvent::ControllerInitialized {
                controller_id,
                initially_started_at,
            }) => {
                if *controller_id != self.controller_id {
                    return Err(NotApplicable::new(
                        "ControllerInitialized",
                        format!(
                            "the log belongs to {controller_id}, but this is {}",
                            self.controller_id
                        ),
                    ));
                }
                self.initially_started_at = Some(*initially_started_at);
                Ok(())
            }
            Event::Controller(ControllerEvent::ControllerReady { .. }) => {
                self.begin_connecting(id);
                Ok(())
            }
            Event::Controller(ControllerEvent::ControllerShutDown)
            | Event::Journal(JournalEvent::SnapshotTaken) => Ok(()),
            Event::Journal(JournalEvent::JournalEventsReleased {
                user_id,
                until_event_id,
            }) => {
                self.released.insert(user_id.clone(), *until_event_id);
                Ok(())
            }
            Event::Cluster(event) => {
                self.cluster = self
                    .cluster
                    .after(event)
                    .map_err(|misfit| NotApplicable::new(event.type_name(), misfit.to_string()))?;
                Ok(())
            }
            Event::AgentOwn(event) => Err(NotApplicable::new(
                event.type_name(),
                "it belongs into an Agent's log",
            )),
        }
    }

    /// Forgets the connections of an earlier run or of another member: this run has not connected yet.
    fn begin_connecting(&mut self, at: EventId) {
        let coupled = self
            .agents
            .iter()
            .filter(|(_, agent)| agent.coupling_state == Coupling::Coupled);
        let coupled: Vec<AgentPath> = coupled.map(|(path, _)| path.clone()).collect();
        for path in coupled {
            if let Some(agent) = self.agents.get_mut(&path) {
                agent.coupling_state = Coupling::Reset;
                agent.connection_since = Some(at.timestamp());
            }
        }
    }

    fn evolve_order(
        &mut self,
        id: &OrderId,
        event: &OrderEvent,
        at: Timestamp,
        event_id: EventId,
    ) -> Result<(), NotApplicable> {
        if let OrderEvent::OrderStdoutWritten { .. } | OrderEvent::OrderStderrWritten { .. } = event
        {
            self.engine
                .evolve(id, event, at)
                .map_err(|error| not_applicable(event, &error))?;
            self.note_output(id, event_id);
            return Ok(());
        }
        let before = Before::of(self.engine.order(id).map(AsRef::as_ref));
        let after = self
            .engine
            .evolve(id, event, at)
            .map_err(|error| not_applicable(event, &error))?;
        if after.is_none()
            && let Some(since) = before.output_since
        {
            self.outputs.remove(&since);
        }
        self.count_uses(event, &before, after.as_deref());
        self.index_order(id, event, before, after.as_deref(), event_id);
        Ok(())
    }

    /// Records where the output of an order begins. The output of a child counts for the outermost parent.
    fn note_output(&mut self, id: &OrderId, since: EventId) {
        let root = OrderId::from(id.root());
        if self
            .engine
            .order(&root)
            .is_some_and(|order| order.output_since.is_none())
        {
            self.engine.note_output(&root, since);
            self.outputs.insert(since, root);
        }
    }

    /// Keeps the number of orders of each workflow version.
    fn count_uses(&mut self, event: &OrderEvent, before: &Before, after: Option<&Order>) {
        match (&before.workflow_id, after) {
            (None, Some(order)) => self.use_workflow(&order.workflow_id, 1),
            (Some(workflow_id), None) => self.unuse_workflow(workflow_id, 1),
            (Some(_), Some(after)) => {
                if let OrderEvent::OrderForked { children } = event {
                    self.use_workflow(&after.workflow_id, children.len());
                } else if let OrderEvent::OrderJoined { .. } = event {
                    self.unuse_workflow(&after.workflow_id, before.children);
                }
            }
            (None, None) => {}
        }
    }

    pub(crate) fn use_workflow(&mut self, id: &Arc<WorkflowId>, count: usize) {
        *self.uses.entry(Arc::clone(id)).or_insert(0) += count;
    }

    fn unuse_workflow(&mut self, id: &Arc<WorkflowId>, count: usize) {
        let Some(left) = self.uses.get_mut(id) else {
            return;
        };
        *left = left.saturating_sub(count);
        if *left == 0 {
            self.uses.remove(id);
            self.unsettled
                .insert(Unsettled::Item(ItemKey::workflow(id)));
        }
    }

    /// Keeps what is to be sent to the Agents about an order.
    fn index_order(
        &mut self,
        id: &OrderId,
        event: &OrderEvent,
        before: Before,
        after: Option<&Order>,
        at: EventId,
    ) {
        let thing = after
            .and_then(thing_of)
            .map(|(agent, thing)| (agent.clone(), thing));
        if before.thing != thing {
            if let Some((agent, thing)) = before.thing {
                self.done(&agent, thing);
            }
            if let Some((agent, thing)) = thing {
                if let (Thing::AttachOrder(_), Some(order)) = (&thing, after) {
                    let workflow = ItemKey::workflow(&order.workflow_id);
                    self.unsettled
                        .insert(Unsettled::Needed(agent.clone(), workflow));
                }
                self.outbox.insert(&agent, thing, at);
            }
        }
        self.index_mark(
            id,
            event,
            before.attached.as_ref(),
            before.is_marked,
            after,
            at,
        );
        if let (OrderEvent::OrderAgentProblem { problem }, Some(order)) = (event, after)
            && let Some(state) = &order.attached_state
        {
            let agent = state.agent_path().clone();
            let thing =
                thing_of(order).map_or_else(|| Thing::MarkOrder(id.clone()), |(_, thing)| thing);
            // A refusal is kept only for a thing that is still to be sent.
            if self.outbox_since(&agent, &thing).is_some() {
                self.refusals.insert((agent, thing), problem.clone());
            }
        }
    }

    /// A mark is to be sent from the event that makes it until the Agent has noted it, or the order has left the Agent.
    /// If an operator marked the order while it was being attached, the mark is sent after the order is attached: it is
    /// unknown whether the order was sent with the mark. If it was, the Agent gets the mark twice, and the second one changes nothing.
    fn index_mark(
        &mut self,
        id: &OrderId,
        event: &OrderEvent,
        was_attached: Option<&AgentPath>,
        was_marked: bool,
        after: Option<&Order>,
        at: EventId,
    ) {
        let mark = Thing::MarkOrder(id.clone());
        let is_marked = after.is_some_and(|order| order.mark.is_some());
        match (event, after.and_then(Order::attached_to)) {
            (
                OrderEvent::OrderCancellationMarked { .. }
                | OrderEvent::OrderSuspensionMarked { .. }
                | OrderEvent::OrderResumptionMarked { .. }
                | OrderEvent::OrderAttached { .. },
                Some(agent),
            ) if is_marked => self.outbox.insert(&agent.clone(), mark, at),
            (
                OrderEvent::OrderCancellationMarkedOnAgent
                | OrderEvent::OrderSuspensionMarkedOnAgent,
                Some(agent),
            ) => self.done(&agent.clone(), mark),
            (_, Some(agent)) if was_marked && !is_marked => self.done(&agent.clone(), mark),
            (_, None) => {
                if let Some(agent) = was_attached {
                    self.done(agent, mark);
                }
            }
            (_, Some(_)) => {}
        }
    }

    fn done(&mut self, agent: &AgentPath, thing: Thing) {
        self.outbox.remove(agent, &thing);
        self.refusals.remove(&(agent.clone(), thing));
    }

    fn evolve_item(&mut self, event: &ItemEvent, at: EventId) -> Result<(), NotApplicable> {
        match event {
            ItemEvent::VersionAdded { version_id } => {
                self.adding_version = Some(version_id.clone());
            }
            ItemEvent::VersionedItemAdded { signed }
            | ItemEvent::VersionedItemChanged { signed } => {
                let item = self.read(event, signed, None)?;
                let ItemBody::Workflow(workflow) = &item.body else {
                    return Err(NotApplicable::new(
                        event.type_name(),
                        format!("{} is no workflow", item.key),
                    ));
                };
                let workflow = Arc::clone(workflow);
                let path = workflow.id.path.clone();
                self.removed.remove(&path);
                self.engine.set_workflow(Arc::clone(&workflow));
                let previous = self.current.insert(path, Arc::clone(&workflow.id));
                if let Some(previous) = previous.filter(|previous| *previous != workflow.id) {
                    self.unsettled
                        .insert(Unsettled::Item(ItemKey::workflow(&previous)));
                }
                self.put_item(item, signed, at);
            }
            ItemEvent::VersionedItemRemoved { path } => {
                let Some(id) = self.current.remove(path) else {
                    return Err(NotApplicable::new(
                        event.type_name(),
                        format!("there is no Workflow:{path}"),
                    ));
                };
                self.engine.retire_workflow(path);
                self.removed.insert(path.clone());
                self.unsettled
                    .insert(Unsettled::Item(ItemKey::workflow(&id)));
            }
            ItemEvent::UnsignedSimpleItemAdded {
                item: text,
                item_revision,
            }
            | ItemEvent::UnsignedSimpleItemChanged {
                item: text,
                item_revision,
            }
            | ItemEvent::SignedItemAdded {
                signed: text,
                item_revision,
            }
            | ItemEvent::SignedItemChanged {
                signed: text,
                item_revision,
            } => {
                let item = self.read(event, text, Some(*item_revision))?;
                self.put_simple(item, text, at);
            }
            ItemEvent::ItemDeletionMarked { key } => {
                self.known(event, key)?;
                self.deletion_marked.insert(key.clone());
                self.unsettled.insert(Unsettled::Item(key.clone()));
            }
            ItemEvent::ItemDeleted { key } => {
                self.known(event, key)?;
                self.drop_item(key);
            }
            ItemEvent::ItemAttachable { key, delegate_id } => {
                self.known(event, key)?;
                self.attach(key, delegate_id, Attachment::Attachable, at);
            }
            ItemEvent::ItemAttached {
                key,
                item_revision,
                delegate_id,
            } => {
                self.known(event, key)?;
                self.attach(key, delegate_id, Attachment::Attached(*item_revision), at);
                self.refusals
                    .remove(&(delegate_id.clone(), Thing::AttachItem(key.clone())));
                self.unsettled.insert(Unsettled::Item(key.clone()));
            }
            ItemEvent::ItemDetachable { key, delegate_id } => {
                self.known(event, key)?;
                self.attach(key, delegate_id, Attachment::Detachable, at);
            }
            ItemEvent::ItemDetached { key, delegate_id } => {
                self.attachments.remove(key, delegate_id);
                self.index_attachment(key, delegate_id, at);
                for thing in [
                    Thing::AttachItem(key.clone()),
                    Thing::DetachItem(key.clone()),
                ] {
                    self.refusals.remove(&(delegate_id.clone(), thing));
                }
                self.unsettled.insert(Unsettled::Item(key.clone()));
                // The Agent's own item goes when it is the last one.
                self.unsettled.insert(Unsettled::Item(ItemKey::simple(
                    model::ItemType::AgentRef,
                    delegate_id.as_str(),
                )));
            }
            ItemEvent::ItemAgentProblem {
                key,
                delegate_id,
                problem,
            } => {
                self.known(event, key)?;
                let thing = match self.attachments.get(key, delegate_id) {
                    Some(Attachment::Detachable) => Thing::DetachItem(key.clone()),
                    Some(Attachment::Attachable | Attachment::Attached(_)) | None => {
                        Thing::AttachItem(key.clone())
                    }
                };
                self.refusals
                    .insert((delegate_id.clone(), thing), problem.clone());
            }
            ItemEvent::ItemAttachedToMe { .. } | ItemEvent::ItemDetachingFromMe { .. } => {
                return Err(NotApplicable::new(
                    event.type_name(),
                    "it belongs into an Agent's log",
                ));
            }
        }
        Ok(())
    }

    fn attach(&mut self, key: &ItemKey, agent: &AgentPath, attachment: Attachment, at: EventId) {
        self.attachments.set(key, agent, attachment);
        self.index_attachment(key, agent, at);
    }

    fn known(&self, event: &ItemEvent, key: &ItemKey) -> Result<(), NotApplicable> {
        if self.items.contains_key(key) {
            return Ok(());
        }
        Err(NotApplicable::new(
            event.type_name(),
            format!("there is no {key}"),
        ))
    }

    fn read(
        &self,
        event: &ItemEvent,
        text: &SignedText,
        revision: Option<u64>,
    ) -> Result<Item, NotApplicable> {
        let origin = Origin {
            version: self.adding_version.as_ref(),
            ..Origin::default()
        };
        match model::read::item(&text.string, Format::Json, &origin) {
            Ok(item) => Ok(Item { revision, ..item }),
            Err(faults) => Err(NotApplicable::new(event.type_name(), faults.to_string())),
        }
    }

    fn put_simple(&mut self, item: Item, text: &SignedText, at: EventId) {
        match &item.body {
            ItemBody::Agent(agent) => {
                self.agents.entry(agent.path.clone()).or_default();
            }
            ItemBody::Subagent(subagent) => {
                let state = self.subagents.entry(subagent.id.clone()).or_default();
                state.agent_path = Some(subagent.agent_path.clone());
            }
            ItemBody::JobResource(resource) => self.engine.set_job_resource(Arc::clone(resource)),
            ItemBody::Bundle(_) | ItemBody::Kept(_) | ItemBody::Workflow(_) => {}
        }
        self.put_item(item, text, at);
    }

    fn put_item(&mut self, item: Item, text: &SignedText, at: EventId) {
        let key = item.key.clone();
        self.drop_references(&key);
        let references = Arc::new(references(&item));
        for referred in references.iter().flat_map(model::read::Reference::keys) {
            self.referrers
                .entry(referred)
                .or_default()
                .insert(key.clone());
        }
        let record = ItemRecord {
            item,
            signature: text.signature.clone(),
            references,
            since: at,
        };
        self.items.insert(key.clone(), Arc::new(record));
        // An Agent that may have received the former content must still receive the new content.
        for (agent, attachment) in self.attachments.of_item(&key) {
            if attachment == Attachment::Attachable {
                self.index_attachment(&key, &agent, at);
            }
        }
        self.unsettled.insert(Unsettled::Item(key));
    }

    fn drop_references(&mut self, key: &ItemKey) {
        let Some(record) = self.items.get(key) else {
            return;
        };
        let references = Arc::clone(&record.references);
        for referred in references.iter().flat_map(model::read::Reference::keys) {
            if let Some(referrers) = self.referrers.get_mut(&referred) {
                referrers.remove(key);
                if referrers.is_empty() {
                    self.referrers.remove(&referred);
                }
            }
        }
    }

    fn drop_item(&mut self, key: &ItemKey) {
        self.drop_references(key);
        self.deletion_marked.remove(key);
        let Some(record) = self.items.remove(key) else {
            return;
        };
        match &record.item.body {
            ItemBody::Workflow(workflow) => self.engine.remove_workflow(&workflow.id),
            ItemBody::JobResource(resource) => self.engine.remove_job_resource(&resource.path),
            ItemBody::Agent(agent) => {
                self.agents.remove(&agent.path);
                self.outbox.forget(&agent.path);
                // Its Directors' Subagents have waited for it.
                for director in &agent.directors {
                    let key = ItemKey::simple(model::ItemType::SubagentItem, director.as_str());
                    self.unsettled.insert(Unsettled::Item(key));
                }
            }
            ItemBody::Subagent(subagent) => {
                self.subagents.remove(&subagent.id);
            }
            ItemBody::Bundle(_) | ItemBody::Kept(_) => {}
        }
    }

    fn evolve_agent(
        &mut self,
        path: &AgentPath,
        event: &AgentEvent,
        at: EventId,
    ) -> Result<(), NotApplicable> {
        let Some(agent) = self.agents.get_mut(path) else {
            return Err(NotApplicable::new(
                event.type_name(),
                format!("there is no Agent:{path}"),
            ));
        };
        let before = agent.connection();
        match event {
            AgentEvent::AgentDedicated {
                agent_run_id,
                agent_event_id,
            } => {
                if agent
                    .agent_run_id
                    .as_ref()
                    .is_some_and(|known| known != agent_run_id)
                {
                    return Err(NotApplicable::new(
                        "AgentDedicated",
                        "the Agent is dedicated with another run id",
                    ));
                }
                agent.agent_run_id = Some(agent_run_id.clone());
                agent.event_id = agent.event_id.max(*agent_event_id);
            }
            AgentEvent::AgentCoupled => {
                agent.coupling_state = Coupling::Coupled;
                agent.problem = None;
                agent.lost_since = None;
            }
            AgentEvent::AgentCouplingFailed { problem } => {
                agent.lost_since.get_or_insert(at);
                let is_resetting = agent.coupling_state == Coupling::Resetting;
                if problem.is("AgentIsShuttingDown") && !is_resetting {
                    // This answer often arrives although the Agent's last event, its shutdown, did not arrive.
                    agent.coupling_state = Coupling::ShutDown;
                    agent.problem = None;
                } else {
                    if agent.coupling_state == Coupling::Coupled {
                        agent.coupling_state = Coupling::Reset;
                    }
                    agent.problem = Some(problem.clone());
                }
            }
            AgentEvent::AgentReady {
                timezone,
                platform_info,
            } => {
                agent.timezone.clone_from(timezone);
                agent.platform_info.clone_from(platform_info);
                // The Agent is running again. Its earlier shutdown may have been recorded only after the Agent was
                // coupled again.
                if agent.coupling_state == Coupling::ShutDown {
                    agent.coupling_state = Coupling::Coupled;
                }
            }
            AgentEvent::AgentEventsObserved { until_event_id } => agent.event_id = *until_event_id,
            AgentEvent::AgentMirroredEvent { keyed_event } => {
                // The Agent has judged it; what had been forgotten here by a reset does not matter.
                if let Ok(cluster) = agent.cluster.after(keyed_event) {
                    agent.cluster = cluster;
                }
            }
            AgentEvent::AgentWitnessUpdated { witness } => {
                if let Some(before) = &agent.witness
                    && !before.may_become(witness)
                {
                    return Err(NotApplicable::new(
                        event.type_name(),
                        "the third vote would take back what it has promised",
                    ));
                }
                agent.witness = Some(witness.clone());
            }
            AgentEvent::AgentShutDown => {
                // That it is to be reset counts for more.
                if agent.coupling_state != Coupling::Resetting {
                    agent.coupling_state = Coupling::ShutDown;
                }
            }
            AgentEvent::AgentResetStarted { force } => {
                agent.coupling_state = Coupling::Resetting;
                agent.is_reset_by_force = *force;
                agent.problem = None;
                agent.lost_since.get_or_insert(at);
                if *force {
                    self.unsettled.insert(Unsettled::GiveUp(path.clone()));
                }
            }
            AgentEvent::AgentReset => {
                agent.coupling_state = Coupling::Reset;
                agent.is_reset_by_force = false;
                agent.problem = None;
                agent.lost_since = None;
                agent.agent_run_id = None;
                agent.other_controller = None;
                agent.cluster = ClusterState::Empty;
                agent.witness = None;
                agent.event_id = EventId::BEFORE_FIRST;
            }
            AgentEvent::AgentOtherControllerRefused { other, coupled } => {
                agent.other_controller = Some(Box::new(OtherController {
                    other: other.clone(),
                    coupled: coupled.clone(),
                    since: at.timestamp(),
                }));
            }
            AgentEvent::AgentOtherControllerGone => agent.other_controller = None,
            AgentEvent::AgentEventRejected { event_id, .. } => {
                agent.event_id = agent.event_id.max(*event_id);
            }
        }
        if agent.connection() != before {
            agent.connection_since = Some(at.timestamp());
        }
        Ok(())
    }

    fn evolve_subagent(&mut self, id: &SubagentId, event: &SubagentStateEvent, at: EventId) {
        // An Agent may still tell of a Subagent that has been deleted here.
        let Some(subagent) = self.subagents.get_mut(id) else {
            return;
        };
        let before = subagent.told_connection();
        let was_resetting = subagent.coupling_state == Coupling::Resetting;
        match event {
            SubagentStateEvent::SubagentDedicated {
                subagent_run_id,
                platform_info,
            } => {
                subagent.subagent_run_id = Some(subagent_run_id.clone());
                subagent.platform_info.clone_from(platform_info);
            }
            SubagentStateEvent::SubagentCoupled => {
                subagent.coupling_state = Coupling::Coupled;
                subagent.problem = None;
            }
            SubagentStateEvent::SubagentCouplingFailed { problem } => {
                subagent.coupling_state = Coupling::Reset;
                subagent.problem = Some(problem.clone());
            }
            SubagentStateEvent::SubagentEventsObserved { .. }
            | SubagentStateEvent::SubagentLeaseOffered { .. } => {}
            SubagentStateEvent::SubagentLossConfirmed { user_id } => {
                subagent.loss_confirmed_by = Some(user_id.clone());
                if let Some(agent) = &subagent.agent_path {
                    self.outbox
                        .insert(agent, Thing::ConfirmSubagentLoss(id.clone()), at);
                }
                return;
            }
            SubagentStateEvent::SubagentLost { .. } => {}
            SubagentStateEvent::SubagentRestarted => {
                subagent.coupling_state = Coupling::Reset;
                subagent.subagent_run_id = None;
            }
            SubagentStateEvent::SubagentResetStartedByController { force } => {
                subagent.reset_asked = Some(*force);
                if let Some(agent) = &subagent.agent_path {
                    let thing = Thing::ResetSubagent(id.clone());
                    self.outbox.insert(agent, thing, at);
                }
                return;
            }
            SubagentStateEvent::SubagentResetStarted { .. } => {
                subagent.coupling_state = Coupling::Resetting;
            }
            SubagentStateEvent::SubagentReset => {
                subagent.coupling_state = Coupling::Reset;
                subagent.subagent_run_id = None;
                subagent.problem = None;
            }
            SubagentStateEvent::SubagentShutdownStarted | SubagentStateEvent::SubagentShutdown => {
                subagent.coupling_state = Coupling::ShutDown;
            }
        }
        let is_reset = *event == SubagentStateEvent::SubagentReset;
        if was_resetting && !is_reset {
            subagent.coupling_state = Coupling::Resetting;
        }
        if subagent.told_connection() != before {
            subagent.connection_since = Some(at.timestamp());
        }
        // Its Agent has heard of the wish, or has fulfilled it without.
        let is_heard = matches!(event, SubagentStateEvent::SubagentResetStarted { .. });
        if (is_heard || is_reset)
            && subagent.reset_asked.take().is_some()
            && let Some(agent) = &subagent.agent_path
        {
            let thing = Thing::ResetSubagent(id.clone());
            self.outbox.remove(agent, &thing);
        }
        // Whatever its Agent knows of it now, but for one more failed attempt, outdates what a user has said.
        let is_told = !matches!(
            event,
            SubagentStateEvent::SubagentCouplingFailed { .. }
                | SubagentStateEvent::SubagentEventsObserved { .. }
                | SubagentStateEvent::SubagentLeaseOffered { .. }
        );
        if is_told
            && subagent.loss_confirmed_by.take().is_some()
            && let Some(agent) = &subagent.agent_path
        {
            self.outbox
                .remove(agent, &Thing::ConfirmSubagentLoss(id.clone()));
        }
    }
}

/// What is to be known of an order as it was. Not the order itself: holding it would make its change a copy.
struct Before {
    workflow_id: Option<Arc<WorkflowId>>,
    children: usize,
    thing: Option<(AgentPath, Thing)>,
    attached: Option<AgentPath>,
    is_marked: bool,
    output_since: Option<EventId>,
}

impl Before {
    fn of(order: Option<&Order>) -> Before {
        Before {
            workflow_id: order.map(|order| Arc::clone(&order.workflow_id)),
            children: order.map_or(0, |order| {
                if let OrderState::Forked { children } = &order.state {
                    children.len()
                } else {
                    0
                }
            }),
            thing: order
                .and_then(thing_of)
                .map(|(agent, thing)| (agent.clone(), thing)),
            attached: order.and_then(Order::attached_to).cloned(),
            is_marked: order.is_some_and(|order| order.mark.is_some()),
            output_since: order.and_then(|order| order.output_since),
        }
    }
}

fn not_applicable(event: &OrderEvent, error: &engine::NotApplicable) -> NotApplicable {
    NotApplicable::new(event.type_name(), error.to_string())
}
