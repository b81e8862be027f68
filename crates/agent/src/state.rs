//! What an Agent knows.
//!
//! Always: a fold of its events; the queues and the work list are derived and are the same after a restart. A clone is
//! cheap enough to write a snapshot from.

use crate::attached::AttachedItems;
use crate::controllers::{CoupledController, OtherController};
use crate::processes::Processes;
use crate::queue::Queues;
use crate::reset::Reset;
use crate::subagents::{Loss, WorkList};
use model::{
    AgentPath, AgentRef, BundleId, ClusterState, ControllerId, Event, EventId, Metering, OrderId,
    PlatformInfo, Problem, RunId, SubagentBundle, SubagentId, SubagentItem, UserId, WorkflowId,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Whose Agent this is.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Meta {
    /// Its name.
    pub agent_path: AgentPath,
    /// Its Directors; the first is this one.
    pub directors: Vec<SubagentId>,
    /// The identity of its log.
    pub agent_run_id: RunId,
    /// Its Controller.
    pub controller_id: ControllerId,
    /// The identity of the Controller's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controller_run_id: Option<RunId>,
}

/// How it stands with a Subagent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Coupling {
    /// Not connected, maybe with the last problem.
    #[default]
    Uncoupled,
    /// The connection failed like this.
    Failed(Problem),
    /// Connected: it takes jobs.
    Coupled,
    /// Is being shut down or has been: it takes no jobs.
    ShuttingDown,
}

/// A Subagent as the Director sees it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SubagentState {
    /// What the Controller says of it; nothing while it has not said anything.
    pub item: Option<Arc<SubagentItem>>,
    /// The life of its process that this Agent knows.
    pub run_id: Option<RunId>,
    /// The machine it is on.
    pub platform: Option<PlatformInfo>,
    /// Whether it takes jobs.
    pub coupling: Coupling,
    /// Its events are taken over until here.
    pub observed: EventId,
    /// The lease it holds, as far as is known.
    pub lease: Option<Duration>,
    /// The lease it may have got since.
    pub offered: Option<Duration>,
    /// To be forgotten when its jobs have ended.
    pub detaching: bool,
    /// Being reset.
    pub reset: Option<Reset>,
    /// The orders whose jobs run there.
    pub orders: BTreeSet<OrderId>,
    /// How busy it is, while it is connected. An input, no event: nothing remembers it over a restart.
    pub metering: Option<Metering>,
}

impl SubagentState {
    /// Returns why the Subagent's processes are lost: the reset or the move that is in progress, else `otherwise`.
    pub(crate) fn loss(&self, otherwise: Loss) -> Loss {
        self.reset.as_ref().map_or(otherwise, Reset::loss)
    }

    /// The longest lease it can hold; nothing if it has never been offered one.
    pub fn longest_lease(&self) -> Option<Duration> {
        self.lease.max(self.offered)
    }

    /// Whether it may be chosen for a job.
    pub fn is_available(&self) -> bool {
        self.takes_jobs() && self.item.as_ref().is_some_and(|item| !item.disabled)
    }

    /// Whether it takes a job that is for it and no other.
    pub(crate) fn takes_jobs(&self) -> bool {
        self.coupling == Coupling::Coupled && !self.detaching && self.reset.is_none()
    }

    /// Where it is reached; while it leaves an address for another one, still there.
    pub fn address(&self) -> Option<&Arc<str>> {
        let left = self.reset.as_ref().and_then(|reset| reset.left.as_ref());
        left.or_else(|| self.item.as_ref().map(|item| &item.uri))
    }
}

/// What an Agent knows.
#[derive(Clone)]
pub struct State {
    /// Orders, workflows and job resources.
    pub engine: engine::State,
    /// The environment of the Agent's process, which expressions may ask for.
    pub(crate) environment: Arc<BTreeMap<Arc<str>, Arc<str>>>,
    pub(crate) meta: Option<Meta>,
    pub(crate) items: AttachedItems,
    pub(crate) agent_ref: Option<Arc<AgentRef>>,
    pub(crate) bundles: BTreeMap<BundleId, Arc<SubagentBundle>>,
    pub(crate) subagents: BTreeMap<SubagentId, SubagentState>,
    pub(crate) released: BTreeMap<UserId, EventId>,
    /// The pair of Directors that keeps this state.
    pub(crate) cluster: ClusterState,
    /// It is being reset: the Directors are no pair any more. Not remembered: whoever resets asks again.
    pub(crate) is_leaving_pair: bool,
    /// Which of the Directors decides by this state. Not remembered: each member is at its own place.
    pub(crate) position: usize,
    /// The newest epoch in which a member of the Controller has coupled.
    pub(crate) controller_epoch: u64,
    /// The Controller that is coupled, or was coupled last.
    pub(crate) controller: Option<CoupledController>,
    /// A process that also claims to be this Controller, and was refused.
    pub(crate) other_controller: Option<OtherController>,
    /// The orders that may leave the Agent, each with the event that informs the Controller of this.
    pub(crate) detachable: BTreeMap<OrderId, EventId>,
    /// The newest event that the Controller's log is known to have, as shown by a `DetachOrder`.
    pub(crate) shown: EventId,
    pub(crate) queues: Queues,
    pub(crate) work: WorkList,
    pub(crate) processes: Processes,
    /// Whose turn it is in each group of Subagents. Not worth remembering over a restart.
    pub(crate) turns: BTreeMap<Arc<str>, SubagentId>,
}

impl State {
    /// An Agent that belongs to nobody yet, in a process with this environment.
    pub fn new(environment: Arc<BTreeMap<Arc<str>, Arc<str>>>) -> State {
        State {
            environment,
            engine: engine::State::new(
                engine::Site::Agent(AgentPath::new("")),
                ControllerId::new(""),
            ),
            meta: None,
            items: AttachedItems::default(),
            agent_ref: None,
            bundles: BTreeMap::new(),
            subagents: BTreeMap::new(),
            released: BTreeMap::new(),
            cluster: ClusterState::Empty,
            is_leaving_pair: false,
            position: 0,
            controller_epoch: 0,
            controller: None,
            other_controller: None,
            detachable: BTreeMap::new(),
            shown: EventId::BEFORE_FIRST,
            queues: Queues::default(),
            work: WorkList::default(),
            processes: Processes::default(),
            turns: BTreeMap::new(),
        }
    }

    /// The same as the Director at this place of the Agent's directors.
    #[must_use]
    pub fn at(mut self, position: usize) -> State {
        self.position = position;
        self
    }

    /// Whose Agent this is, once it is somebody's.
    pub fn meta(&self) -> Option<&Meta> {
        self.meta.as_ref()
    }

    /// The Subagents by name.
    pub fn subagents(&self) -> &BTreeMap<SubagentId, SubagentState> {
        &self.subagents
    }

    /// The name of the Director's own Subagent.
    pub fn local_subagent(&self) -> Option<&SubagentId> {
        self.directors().get(self.position)
    }

    /// The Subagents of the Directors: what the Controller says of them by now, else what it said first.
    pub fn directors(&self) -> &[SubagentId] {
        let told = self.agent_ref.as_ref().map(|agent| &agent.directors);
        let known = told.or_else(|| self.meta.as_ref().map(|meta| &meta.directors));
        known.map_or(&[], |directors| directors.as_slice())
    }

    /// How many jobs run, in all Subagents.
    pub fn running(&self) -> usize {
        self.queues.running()
    }

    /// Whether somebody asks how busy the Subagents are: a priority depends on something.
    pub fn wants_metering(&self) -> bool {
        let mut bundles = self.bundles.values();
        bundles.any(|bundle| {
            let mut priorities = bundle.subagent_to_priority.values();
            priorities.any(|priority| !priority.is_constant())
        })
    }

    /// Takes note of how busy a connected Subagent is. Jobs that nobody could take are looked at again.
    pub fn on_metering(&mut self, subagent_id: &SubagentId, metering: Metering) {
        let Some(subagent) = self.subagents.get_mut(subagent_id) else {
            return;
        };
        if subagent.coupling == Coupling::Coupled {
            subagent.metering = Some(metering);
            self.queues.unstick();
        }
    }

    /// Returns the order whose step was decided last.
    pub fn stepping(&self) -> Option<&OrderId> {
        self.engine.stepping()
    }

    /// Forgets the order whose step was decided last.
    pub fn set_idle(&mut self) {
        self.engine.set_stepping(None);
    }

    /// Sets who is told of each order before its step is decided.
    pub fn set_observer(&mut self, observer: engine::Observer) {
        self.engine.set_observer(observer);
    }

    /// Returns the version of the workflow of this order.
    pub fn workflow_of(&self, id: &OrderId) -> Option<&WorkflowId> {
        self.engine.order(id).map(|order| &*order.workflow_id)
    }

    /// Sets aside a workflow whose orders have ended the node several times. See [`engine::State::set_workflow_aside`].
    pub fn set_workflow_aside(&mut self, workflow: &WorkflowId, problem: &Problem) -> bool {
        self.engine.set_workflow_aside(workflow, problem)
    }

    /// Returns whether the workflow is set aside.
    pub fn is_workflow_set_aside(&self, workflow: &WorkflowId) -> bool {
        self.engine.is_workflow_set_aside(workflow)
    }

    /// Returns the events that set aside an order whose step has ended the node several times. See [`engine::State::set_aside`].
    pub fn set_aside(&mut self, id: &OrderId, problem: &Problem) -> Option<Vec<Event>> {
        self.engine.set_aside(id, problem)
    }

    /// Returns whether the order is set aside.
    pub fn is_set_aside(&self, id: &OrderId) -> bool {
        self.engine.is_set_aside(id)
    }

    /// Lets an order that was set aside without an event execute its step again.
    pub fn release_order(&mut self, id: &OrderId) {
        self.engine.release(id);
    }

    /// How many orders wait for a process.
    pub fn waiting(&self) -> usize {
        self.queues.waiting()
    }

    /// Returns whether the order waits for a process. An order that has not been started starts with its first process.
    pub fn waits_for_process(&self, order_id: &OrderId) -> bool {
        self.queues.contains(order_id)
    }

    /// Returns the newest event that the Controller's log is known to have. A Controller whose log lacks this event is a copy, or was
    /// restored from a backup.
    pub fn confirmed(&self) -> EventId {
        let released = self.released.values().copied().max();
        self.shown.max(released.unwrap_or_default())
    }

    /// Events until here are needed by nobody any more: the Controller has confirmed them.
    pub fn released(&self) -> EventId {
        self.released
            .values()
            .copied()
            .min()
            .unwrap_or(EventId::BEFORE_FIRST)
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("meta", &self.meta)
            .field("orders", &self.engine.order_count())
            .field("subagents", &self.subagents)
            .finish_non_exhaustive()
    }
}
