//! Everything the Controller knows.
//!
//! Always: a clone shares everything, so that a snapshot can be written while the original goes on; every index follows from the
//! rest.

use crate::agent::{AgentState, SubagentState};
use crate::attachment::Attachments;
use crate::outbox::Outbox;
use crate::{Attachment, Thing};
use imbl::{OrdMap, OrdSet};
use model::read::Reference;
use model::{
    AgentPath, ClusterState, Connection, ControllerId, Event, EventId, Item, ItemKey, OrderId,
    Problem, SubagentId, Timestamp, UserId, VersionId, WorkflowId, WorkflowPath,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// An item with what belongs to it.
#[derive(Clone, Debug, PartialEq)]
pub struct ItemRecord {
    /// The item.
    pub item: Item,
    /// The signature, as it came.
    pub signature: Option<serde_json::Value>,
    /// What it refers to.
    pub references: Arc<BTreeSet<Reference>>,
    /// The event that brought it in this form.
    pub since: EventId,
}

/// The state of a Controller.
#[derive(Clone)]
pub struct State {
    pub(crate) controller_id: ControllerId,
    pub(crate) initially_started_at: Option<Timestamp>,
    /// Who may release events: nothing goes before all of them have released it. A setting, not part of the log.
    pub(crate) release_users: Arc<BTreeSet<UserId>>,
    pub(crate) engine: engine::State,
    /// Simple items and workflow versions.
    pub(crate) items: OrdMap<ItemKey, Arc<ItemRecord>>,
    /// Who refers to a key, for a workflow to its path.
    pub(crate) referrers: OrdMap<ItemKey, OrdSet<ItemKey>>,
    pub(crate) deletion_marked: OrdSet<ItemKey>,
    /// The versions that new orders get.
    pub(crate) current: OrdMap<WorkflowPath, Arc<WorkflowId>>,
    /// Workflows that were removed, so that an order for them is told why it is refused.
    pub(crate) removed: OrdSet<WorkflowPath>,
    /// The version that the following workflows get if their texts have none.
    pub(crate) adding_version: Option<VersionId>,
    /// How many orders a workflow version has.
    pub(crate) uses: OrdMap<Arc<WorkflowId>, usize>,
    pub(crate) attachments: Attachments,
    pub(crate) agents: OrdMap<AgentPath, AgentState>,
    pub(crate) subagents: OrdMap<SubagentId, SubagentState>,
    /// What an Agent has refused.
    pub(crate) refusals: OrdMap<(AgentPath, Thing), Problem>,
    pub(crate) released: OrdMap<UserId, EventId>,
    /// The cluster that keeps this state.
    pub(crate) cluster: ClusterState,
    pub(crate) outbox: Outbox,
    /// What `advance` has to look at.
    pub(crate) unsettled: OrdSet<Unsettled>,
    /// The orders that have output, by the first event that has it.
    pub(crate) outputs: OrdMap<EventId, OrderId>,
    /// The Agent's event that is being imported.
    pub(crate) importing: Option<(AgentPath, EventId)>,
    pub(crate) observer: engine::Observer,
}

/// A reason to look whether something follows for items.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Unsettled {
    /// An order goes to the Agent and needs the workflow version and what it refers to.
    Needed(AgentPath, ItemKey),
    /// The item has come, changed, is to go, or has come back from an Agent.
    Item(ItemKey),
    /// The Agent is reset by force, and what it had is given up.
    GiveUp(AgentPath),
}

impl State {
    /// An empty state. Events wait for all of `release_users` before they may go.
    pub fn new(controller_id: ControllerId, release_users: BTreeSet<UserId>) -> State {
        State {
            engine: engine::State::new(engine::Site::Controller, controller_id.clone()),
            controller_id,
            initially_started_at: None,
            release_users: Arc::new(release_users),
            items: OrdMap::new(),
            referrers: OrdMap::new(),
            deletion_marked: OrdSet::new(),
            current: OrdMap::new(),
            removed: OrdSet::new(),
            adding_version: None,
            uses: OrdMap::new(),
            attachments: Attachments::default(),
            agents: OrdMap::new(),
            subagents: OrdMap::new(),
            refusals: OrdMap::new(),
            released: OrdMap::new(),
            cluster: ClusterState::Empty,
            outbox: Outbox::default(),
            unsettled: OrdSet::new(),
            outputs: OrdMap::new(),
            importing: None,
            observer: engine::Observer::default(),
        }
    }

    /// The same in a process with this environment, which expressions may ask for.
    #[must_use]
    pub fn in_environment(mut self, environment: Arc<BTreeMap<Arc<str>, Arc<str>>>) -> State {
        self.engine.set_environment(environment);
        self
    }

    /// Whose state it is.
    pub fn controller_id(&self) -> &ControllerId {
        &self.controller_id
    }

    /// When the Controller was started for the first time.
    pub fn initially_started_at(&self) -> Option<Timestamp> {
        self.initially_started_at
    }

    /// The orders and what follows for them.
    pub fn engine(&self) -> &engine::State {
        &self.engine
    }

    /// All items by key.
    pub fn items(&self) -> impl Iterator<Item = &Arc<ItemRecord>> {
        self.items.values()
    }

    /// An item.
    pub fn item(&self, key: &ItemKey) -> Option<&Arc<ItemRecord>> {
        self.items.get(key)
    }

    /// Whether the item goes as soon as nothing holds it.
    pub fn is_deletion_marked(&self, key: &ItemKey) -> bool {
        self.deletion_marked.contains(key)
    }

    /// The version that new orders of a workflow get.
    pub fn current_version(&self, path: &WorkflowPath) -> Option<&Arc<WorkflowId>> {
        self.current.get(path)
    }

    /// How an item stands to the Agents.
    pub fn attachments(&self, key: &ItemKey) -> Vec<(AgentPath, Attachment)> {
        self.attachments.of_item(key)
    }

    /// All Agents.
    pub fn agents(&self) -> impl Iterator<Item = (&AgentPath, &AgentState)> {
        self.agents.iter()
    }

    /// An Agent.
    pub fn agent(&self, path: &AgentPath) -> Option<&AgentState> {
        self.agents.get(path)
    }

    /// All Subagents that an Agent has told of.
    pub fn subagents(&self) -> impl Iterator<Item = (&SubagentId, &SubagentState)> {
        self.subagents.iter()
    }

    /// Returns how a Subagent is connected now, and since when. What its Agent has reported counts only while the Agent
    /// is connected.
    pub fn subagent_connection(&self, id: &SubagentId) -> (Connection, Option<Timestamp>) {
        let Some(subagent) = self.subagents.get(id) else {
            return (Connection::Connecting, None);
        };
        let agent = subagent
            .agent_path
            .as_ref()
            .and_then(|path| self.agents.get(path));
        match agent {
            Some(agent) if agent.connection() != Connection::Connected => {
                (Connection::Unknown, agent.connection_since)
            }
            Some(_) | None => (subagent.told_connection(), subagent.connection_since),
        }
    }

    /// Why the Agent has refused what was sent for this order.
    pub fn order_refusal(&self, id: &OrderId) -> Option<&Problem> {
        let agent = self.engine.order(id)?.attached_state.as_ref()?.agent_path();
        let things = [
            Thing::AttachOrder(id.clone()),
            Thing::DetachOrder(id.clone()),
            Thing::MarkOrder(id.clone()),
        ];
        things
            .into_iter()
            .find_map(|thing| self.refusals.get(&(agent.clone(), thing)))
    }

    /// When [`State::advance`] is due. The past if something waits already.
    pub fn next_wakeup(&self) -> Option<Timestamp> {
        if self.engine.has_restless() || !self.unsettled.is_empty() {
            return Some(Timestamp::default());
        }
        self.engine.next_wakeup()
    }

    /// Events until here may go: what everybody who may release has released; all of them if nobody is named.
    pub fn released(&self) -> EventId {
        let by_user = |user| self.released.get(user).copied().unwrap_or_default();
        self.release_users
            .iter()
            .map(by_user)
            .min()
            .unwrap_or(EventId(u64::MAX))
    }

    /// Returns what was processed last: the step of an order, or an event of an Agent.
    pub fn working_on(&self) -> Option<String> {
        if let Some((agent, event_id)) = &self.importing {
            return Some(format!("AgentEvent:{agent}/{event_id}"));
        }
        self.engine.stepping().map(|id| format!("Order:{id}"))
    }

    /// Sets who is told of each piece of work before it begins.
    pub fn set_observer(&mut self, observer: engine::Observer) {
        self.engine.set_observer(observer.clone());
        self.observer = observer;
    }

    /// Returns the version of the workflow of this order.
    pub fn workflow_of(&self, id: &OrderId) -> Option<&WorkflowId> {
        self.engine.order(id).map(|order| &*order.workflow_id)
    }

    /// Sets aside a workflow whose orders have ended the node several times; see [`engine::State::set_workflow_aside`].
    pub fn set_workflow_aside(&mut self, workflow: &WorkflowId, problem: &Problem) -> bool {
        self.engine.set_workflow_aside(workflow, problem)
    }

    /// Returns whether the workflow is set aside.
    pub fn is_workflow_set_aside(&self, workflow: &WorkflowId) -> bool {
        self.engine.is_workflow_set_aside(workflow)
    }

    /// Clears the record of what was processed last.
    pub fn set_idle(&mut self) {
        self.importing = None;
        self.engine.set_stepping(None);
    }

    /// Returns the events that set aside an order whose step has ended the node several times; see
    /// [`engine::State::set_aside`].
    pub fn set_aside(&mut self, id: &OrderId, problem: &Problem) -> Option<Vec<Event>> {
        self.engine.set_aside(id, problem)
    }

    /// Returns whether the order is set aside.
    pub fn is_set_aside(&self, id: &OrderId) -> bool {
        self.engine.is_set_aside(id)
    }

    /// Returns the oldest event with output of an order that still exists. The log keeps it even if all receivers have
    /// confirmed it.
    pub fn output_since(&self) -> Option<EventId> {
        self.outputs.get_min().map(|(since, _)| *since)
    }

    /// What each user has released.
    pub fn released_by_user(&self) -> impl Iterator<Item = (&UserId, EventId)> {
        self.release_users
            .iter()
            .map(|user| (user, self.released.get(user).copied().unwrap_or_default()))
    }
}
