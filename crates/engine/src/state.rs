//! All orders of a place with their workflows, and what is derived from them: who is restless, which timers run, how many
//! children of a fork have come to its join.
//!
//! Always: [`State::evolve`] is the only writer of orders; every index equals what a scan of all orders gives
//! ([`State::check`]). A clone shares everything, so that a snapshot can be written while the original goes on.

use crate::evolve::{self, NotApplicable};
use crate::restless::Restless;
use crate::scope::Surroundings;
use crate::{JobKey, Site, instructions};
use imbl::{OrdMap, OrdSet};
use model::{
    AgentPath, AttachedState, ControllerId, Event, EventId, ForkChild, JobResource,
    JobResourcePath, NAMED_MAX, Order, OrderEvent, OrderId, OrderState, Problem, SlotHolders,
    ThinList, Timestamp, Workflow, WorkflowId, WorkflowPath,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The orders of a Controller or of an Agent.
#[derive(Clone)]
pub struct State {
    pub(crate) site: Site,
    pub(crate) controller_id: ControllerId,
    pub(crate) workflows: OrdMap<Arc<WorkflowId>, Arc<Workflow>>,
    /// The version that new orders of a path get.
    pub(crate) current: OrdMap<WorkflowPath, Arc<WorkflowId>>,
    pub(crate) job_resources: OrdMap<JobResourcePath, Arc<JobResource>>,
    environment: Arc<BTreeMap<Arc<str>, Arc<str>>>,
    pub(crate) orders: OrdMap<OrderId, Arc<Order>>,
    pub(crate) index: Index,
    restless: Restless,
    pub(crate) woken_at: Timestamp,
    /// The order whose step was decided last.
    stepping: Option<OrderId>,
    /// Orders that make no step. Their step has ended the node several times, and no event can record this.
    held: BTreeSet<OrderId>,
    /// Workflows whose orders have ended the node several times: each further order is set aside before its next step.
    set_aside: BTreeMap<Arc<WorkflowId>, Problem>,
    observer: Observer,
}

/// Is told what is decided next. A clone tells the same one.
#[derive(Clone, Default)]
pub struct Observer(Option<Arc<Observe>>);

type Observe = dyn Fn(&str) + Send + Sync;

impl Observer {
    /// Tells `observe` each subject, as a type and a name: `Order:ID`.
    pub fn new(observe: impl Fn(&str) + Send + Sync + 'static) -> Observer {
        Observer(Some(Arc::new(observe)))
    }

    /// Tells that work on this subject begins.
    pub fn begins(&self, subject: impl FnOnce() -> String) {
        if let Some(observe) = &self.0 {
            observe(&subject());
        }
    }
}

/// Returns the events that break an order in this state, if there are any.
fn broken_by(state: &OrderState, problem: &Problem) -> Option<Vec<OrderEvent>> {
    let broken = OrderEvent::OrderBroken {
        problem: Some(problem.clone()),
    };
    if crate::life::after(state, &broken).is_some() {
        return Some(vec![broken]);
    }
    crate::life::after(state, &OrderEvent::OrderStateReset)
        .is_some()
        .then(|| vec![OrderEvent::OrderStateReset, broken])
}

/// What follows from the orders alone.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Index {
    /// When which order may go on.
    pub(crate) timers: OrdSet<(Timestamp, OrderId)>,
    /// How many children of a fork have come to its join; by parent, none if zero.
    pub(crate) joined: OrdMap<OrderId, usize>,
    /// How many orders are in which state.
    pub(crate) counts: BTreeMap<&'static str, usize>,
    /// Orders whose workflow is not known yet.
    pub(crate) orphans: OrdSet<OrderId>,
    /// At a Controller: the orders whose jobs run, by Agent.
    pub(crate) running_at: OrdMap<AgentPath, OrdSet<OrderId>>,
    /// At a Controller: the orders whose jobs run, by job.
    pub(crate) running_in: OrdMap<JobKey, OrdSet<OrderId>>,
}

/// What an order contributes to the [`Index`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Traits {
    timer: Option<Timestamp>,
    joined: Option<OrderId>,
    state: &'static str,
    orphan: bool,
    running: Option<(AgentPath, JobKey)>,
}

impl State {
    /// No orders yet.
    pub fn new(site: Site, controller_id: ControllerId) -> State {
        State {
            site,
            controller_id,
            workflows: OrdMap::new(),
            current: OrdMap::new(),
            job_resources: OrdMap::new(),
            environment: Arc::default(),
            orders: OrdMap::new(),
            index: Index::default(),
            restless: Restless::default(),
            woken_at: Timestamp::default(),
            stepping: None,
            held: BTreeSet::new(),
            set_aside: BTreeMap::new(),
            observer: Observer::default(),
        }
    }

    /// Where this is.
    pub fn site(&self) -> &Site {
        &self.site
    }

    // ---- Definitions

    /// Makes a workflow version known, and current for new orders of its path.
    pub fn set_workflow(&mut self, workflow: Arc<Workflow>) {
        let id = workflow.id.clone();
        let orphans: Vec<_> = self
            .index
            .orphans
            .iter()
            .filter_map(|order_id| self.orders.get(order_id))
            .filter(|order| *order.workflow_id == *id)
            .cloned()
            .collect();
        // Taken out of the index as orders without a workflow, and indexed again with their place in the workflow.
        for order in &orphans {
            let traits = self.traits_of(order);
            self.index.drop_traits(&order.id, &traits);
        }
        self.current.insert(id.path.clone(), id.clone());
        self.workflows.insert(id, workflow);
        for order in orphans {
            self.index_order(&order);
            self.touch(&order.id);
        }
    }

    /// Says which version new orders of its path get.
    pub fn set_current_workflow(&mut self, id: &WorkflowId) {
        if let Some((id, _)) = self.workflows.get_key_value(id) {
            self.current.insert(id.path.clone(), id.clone());
        }
    }

    /// No new orders for this workflow path; existing ones go on.
    pub fn retire_workflow(&mut self, path: &WorkflowPath) {
        self.current.remove(path);
    }

    /// Forgets a workflow version.
    pub fn remove_workflow(&mut self, id: &WorkflowId) {
        self.workflows.remove(id);
        if self
            .current
            .get(&id.path)
            .is_some_and(|current| **current == *id)
        {
            self.current.remove(&id.path);
        }
    }

    /// A workflow version.
    pub fn workflow(&self, id: &WorkflowId) -> Option<&Arc<Workflow>> {
        self.workflows.get(id)
    }

    /// The version that new orders of this path get.
    pub fn current_workflow(&self, path: &WorkflowPath) -> Option<&Arc<Workflow>> {
        self.current
            .get(path)
            .and_then(|id| self.workflows.get(&**id))
    }

    /// Makes a job resource known, or changes it.
    pub fn set_job_resource(&mut self, resource: Arc<JobResource>) {
        self.job_resources.insert(resource.path.clone(), resource);
    }

    /// Forgets a job resource.
    pub fn remove_job_resource(&mut self, path: &JobResourcePath) {
        self.job_resources.remove(path);
    }

    /// A job resource.
    pub fn job_resource(&self, path: &JobResourcePath) -> Option<&Arc<JobResource>> {
        self.job_resources.get(path)
    }

    /// The environment of this process, for `env('NAME')` outside of jobs.
    pub fn set_environment(&mut self, environment: Arc<BTreeMap<Arc<str>, Arc<str>>>) {
        self.environment = environment;
    }

    // ---- Facts

    /// Takes over what happened to an order. A refused event changes nothing. Returns the order as it is after the event, or `None` if it
    /// no longer exists. The returned value must be dropped before the next event of the order, or else that event copies the order.
    pub fn evolve(
        &mut self,
        id: &OrderId,
        event: &OrderEvent,
        at: Timestamp,
    ) -> Result<Option<Arc<Order>>, NotApplicable> {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "only what concerns more than the one order is named"
        )]
        match event {
            OrderEvent::OrderAdded { .. } => self.add_order(id, event, at).map(Some),
            OrderEvent::OrderAttachedToAgent { order } => {
                self.attach_order(id, event, order).map(Some)
            }
            // The text of a job is no part of its order's state.
            OrderEvent::OrderStdoutWritten { .. } | OrderEvent::OrderStderrWritten { .. } => {
                let Some(order) = self.orders.get(id) else {
                    return Err(unknown(id, event));
                };
                crate::life::place(order, event)
                    .map_err(|rule| NotApplicable::new(id, event, order.state.type_name(), rule))?;
                match crate::life::after(&order.state, event) {
                    Some(_) => Ok(Some(Arc::clone(order))),
                    None => Err(NotApplicable::new(
                        id,
                        event,
                        order.state.type_name(),
                        "only while the job runs",
                    )),
                }
            }
            OrderEvent::OrderForked { children } => {
                if let Some(child) = children
                    .iter()
                    .find(|child| self.orders.contains_key(&child.order_id))
                {
                    return Err(NotApplicable::new(
                        &child.order_id,
                        event,
                        "known",
                        "a child of this name exists",
                    ));
                }
                self.change(id, event, at)?;
                self.add_children(id, children, at);
                Ok(self.orders.get(id).cloned())
            }
            OrderEvent::OrderJoined { .. } => {
                let children = match self.orders.get(id).map(|order| &order.state) {
                    Some(OrderState::Forked { children }) => children.clone(),
                    _ => Vec::new(),
                };
                // A child that is forked anew goes on counting, so that no attempt is ever named twice.
                let attempts = children
                    .iter()
                    .filter_map(|child| self.orders.get(&child.order_id))
                    .map(|child| child.attempts)
                    .max();
                self.change(id, event, at)?;
                if let (Some(attempts), Some(parent)) = (attempts, self.orders.get_mut(id)) {
                    let parent = Arc::make_mut(parent);
                    parent.attempts = parent.attempts.max(attempts);
                }
                for child in children {
                    self.remove(&child.order_id);
                }
                Ok(self.orders.get(id).cloned())
            }
            OrderEvent::OrderDeleted => {
                self.change(id, event, at)?;
                self.remove(id);
                Ok(None)
            }
            OrderEvent::OrderDetached if !self.site.is_controller() => {
                self.change(id, event, at)?;
                self.remove(id);
                Ok(None)
            }
            _ => self.change(id, event, at).map(Some),
        }
    }

    /// Records the event with the first output of an order, in the log of its owner, unless one is recorded.
    pub fn note_output(&mut self, id: &OrderId, since: EventId) {
        if let Some(order) = self.orders.get_mut(id)
            && order.output_since.is_none()
        {
            Arc::make_mut(order).output_since = Some(since);
        }
    }

    /// Takes over an order from a snapshot.
    pub fn insert_order(&mut self, order: Order) {
        self.remove(&order.id);
        self.put(order);
    }

    fn add_order(
        &mut self,
        id: &OrderId,
        event: &OrderEvent,
        at: Timestamp,
    ) -> Result<Arc<Order>, NotApplicable> {
        let OrderEvent::OrderAdded {
            workflow_id,
            arguments,
            plan_id,
            scheduled_for,
            external_order_key,
            priority,
            delete_when_terminated,
            force_admission,
            inner_block,
            start_position,
            stop_positions,
        } = event
        else {
            return Err(unknown(id, event));
        };
        if let Some(order) = self.orders.get(id) {
            return Err(NotApplicable::new(
                id,
                event,
                order.state.type_name(),
                "the order exists already",
            ));
        }
        Ok(self.put(Order {
            id: id.clone(),
            workflow_id: workflow_id.clone(),
            position: start_position.clone().unwrap_or_default(),
            state: OrderState::Fresh,
            arguments: arguments.clone(),
            plan_id: plan_id.clone(),
            scheduled_for: *scheduled_for,
            external_order: external_order_key.clone(),
            attached_state: None,
            parent: None,
            priority: priority.clone(),
            mark: None,
            is_suspended: false,
            delete_when_terminated: *delete_when_terminated,
            force_admission: *force_admission,
            is_resumed: false,
            sticky_subagents: ThinList::new(),
            inner_block: inner_block.clone().into(),
            stop_positions: stop_positions.clone().into(),
            historic_outcomes: Vec::new(),
            omitted_outcomes: ThinList::new(),
            output_since: None,
            attempts: 0,
            added_at: Some(at),
            started_at: None,
            state_since: Some(at),
        }))
    }

    fn attach_order(
        &mut self,
        id: &OrderId,
        event: &OrderEvent,
        order: &Order,
    ) -> Result<Arc<Order>, NotApplicable> {
        let Site::Agent(agent_path) = &self.site else {
            return Err(NotApplicable::new(
                id,
                event,
                order.state.type_name(),
                "only in an Agent's log",
            ));
        };
        if order.id != *id {
            return Err(NotApplicable::new(
                id,
                event,
                order.state.type_name(),
                "the event's key is the order's id",
            ));
        }
        if self.orders.contains_key(id) {
            return Err(NotApplicable::new(
                id,
                event,
                order.state.type_name(),
                "the Agent has the order already",
            ));
        }
        let attached_state = Some(AttachedState::Attached {
            agent_path: agent_path.clone(),
        });
        Ok(self.put(Order {
            attached_state,
            ..order.clone()
        }))
    }

    fn add_children(&mut self, parent_id: &OrderId, children: &[ForkChild], at: Timestamp) {
        let Some(parent) = self.orders.get(parent_id).cloned() else {
            return;
        };
        for child in children {
            self.remove(&child.order_id);
            self.put(instructions::fork::child_of(&parent, child, at));
        }
    }

    fn put(&mut self, mut order: Order) -> Arc<Order> {
        if let Some((id, _)) = self.workflows.get_key_value(&order.workflow_id) {
            order.workflow_id = id.clone();
        }
        let order = Arc::new(order);
        self.index_order(&order);
        self.orders.insert(order.id.clone(), Arc::clone(&order));
        self.push_restless(&order);
        order
    }

    fn remove(&mut self, id: &OrderId) {
        let Some(order) = self.orders.remove(id) else {
            return;
        };
        let traits = self.traits_of(&order);
        self.index.drop_traits(id, &traits);
    }

    fn change(
        &mut self,
        id: &OrderId,
        event: &OrderEvent,
        at: Timestamp,
    ) -> Result<Arc<Order>, NotApplicable> {
        let Some(slot) = self.orders.get_mut(id) else {
            return Err(unknown(id, event));
        };
        let before = Traits::of(slot, &self.site, &self.workflows);
        let order = Arc::make_mut(slot);
        let before_event = (order.state.type_name(), order.is_suspended);
        evolve::evolve(order, event)?;
        if before_event != (order.state.type_name(), order.is_suspended) {
            order.state_since = Some(at);
        }
        if *event == OrderEvent::OrderStarted {
            order.started_at = Some(at);
        }
        let after = Traits::of(slot, &self.site, &self.workflows);
        let changed = Arc::clone(slot);
        let acts_here = acts(&self.site, slot);
        if acts_here && !self.held.contains(id) {
            self.restless.push(id, &slot.priority);
        }
        if before != after {
            self.index.drop_traits(id, &before);
            self.add_traits(id, after);
        }
        Ok(changed)
    }

    fn index_order(&mut self, order: &Order) {
        let traits = self.traits_of(order);
        self.add_traits(&order.id, traits);
    }

    fn add_traits(&mut self, id: &OrderId, traits: Traits) {
        self.index.add_traits(id, &traits);
        if let Some(parent) = traits.joined {
            self.touch(&parent);
        }
    }

    fn touch(&mut self, id: &OrderId) {
        if let Some(order) = self.orders.get(id).cloned() {
            self.push_restless(&order);
        }
    }

    fn push_restless(&mut self, order: &Order) {
        if acts(&self.site, order) && !self.held.contains(&order.id) {
            self.restless.push(&order.id, &order.priority);
        }
    }

    pub(crate) fn traits_of(&self, order: &Order) -> Traits {
        Traits::of(order, &self.site, &self.workflows)
    }

    // ---- Time

    /// The time of the latest [`State::wake`].
    pub fn woken_at(&self) -> Timestamp {
        self.woken_at
    }

    /// Makes the orders restless whose time has come.
    pub fn wake(&mut self, now: Timestamp) {
        if now < self.woken_at {
            // The clock has been set back: what was woken and not looked at must be woken again.
            let waiting: Vec<_> = self
                .restless
                .iter()
                .filter_map(|id| self.orders.get(id))
                .cloned()
                .collect();
            for order in waiting {
                if let Some(timer) = self.traits_of(&order).timer {
                    self.index.timers.insert((timer, order.id.clone()));
                }
            }
        }
        self.woken_at = now;
        while let Some((at, id)) = self.index.timers.get_min().cloned()
            && at <= now
        {
            self.index.timers.remove(&(at, id.clone()));
            self.touch(&id);
        }
    }

    /// When [`State::wake`] has something to do next.
    pub fn next_wakeup(&self) -> Option<Timestamp> {
        self.index.timers.get_min().map(|(at, _)| *at)
    }

    /// The next order for which something may follow: the highest priority first, then first come first served.
    pub fn pop_restless(&mut self) -> Option<OrderId> {
        loop {
            let id = self.restless.pop()?;
            if !self.held.contains(&id) {
                self.set_stepping(Some(&id));
                return Some(id);
            }
        }
    }

    /// Records the order whose step is decided from now on, so that the order is known if the decision ends the node.
    pub fn set_stepping(&mut self, id: Option<&OrderId>) {
        self.stepping = id.cloned();
        if let Some(id) = id {
            self.observer.begins(|| format!("Order:{id}"));
        }
    }

    /// Sets who is told of each order before its step is decided.
    pub fn set_observer(&mut self, observer: Observer) {
        self.observer = observer;
    }

    /// Sets aside a workflow whose orders have ended the node several times. From then on, each order that acts here is broken instead of
    /// its next step. Returns `false` if the workflow is unknown.
    pub fn set_workflow_aside(&mut self, workflow: &WorkflowId, problem: &Problem) -> bool {
        let Some((id, _)) = self.workflows.get_key_value(workflow) else {
            return false;
        };
        self.set_aside.insert(id.clone(), problem.clone());
        true
    }

    /// Returns whether the workflow is set aside and still exists.
    pub fn is_workflow_set_aside(&self, workflow: &WorkflowId) -> bool {
        self.set_aside.contains_key(workflow) && self.workflows.contains_key(workflow)
    }

    /// Returns the events that set the order aside because its workflow is. `None` if the workflow is not set aside, the order waits for a
    /// time, or no event fits.
    pub(crate) fn set_aside_by_workflow(
        &self,
        order: &Order,
        now: Timestamp,
    ) -> Option<Vec<OrderEvent>> {
        let problem = self.set_aside.get(&order.workflow_id)?;
        let waits = self.traits_of(order).timer.is_some_and(|at| at > now);
        if waits || order.is_terminated() || matches!(order.state, OrderState::Broken { .. }) {
            return None;
        }
        broken_by(&order.state, problem)
    }

    /// Returns the order whose step was decided last.
    pub fn stepping(&self) -> Option<&OrderId> {
        self.stepping.as_ref()
    }

    /// Returns the events that set aside an order whose step has ended the node several times. The order is broken
    /// until an operator resumes or cancels it. If no event fits the order's state, the order makes no step in this run
    /// until [`State::release`]. Returns `None` if the order does not belong to this site.
    pub fn set_aside(&mut self, id: &OrderId, problem: &Problem) -> Option<Vec<Event>> {
        let events = self.set_order_aside(id, problem)?.into_iter();
        Some(
            events
                .map(|event| Event::Order(id.clone(), event))
                .collect(),
        )
    }

    fn set_order_aside(&mut self, id: &OrderId, problem: &Problem) -> Option<Vec<OrderEvent>> {
        let order = self.orders.get(id)?;
        if !acts(&self.site, order) {
            return None;
        }
        if matches!(order.state, OrderState::Broken { .. }) {
            return Some(Vec::new());
        }
        if let Some(events) = broken_by(&order.state, problem) {
            return Some(events);
        }
        self.held.insert(id.clone());
        Some(Vec::new())
    }

    /// Returns whether the order is set aside.
    pub fn is_set_aside(&self, id: &OrderId) -> bool {
        let order = self.orders.get(id);
        order.is_some_and(|order| {
            self.held.contains(id) || matches!(order.state, OrderState::Broken { .. })
        })
    }

    /// Allows an order that was set aside without an event to make its step again.
    pub fn release(&mut self, id: &OrderId) {
        if self.held.remove(id) {
            self.touch(id);
        }
    }

    /// Whether there are orders for which something may follow.
    pub fn has_restless(&self) -> bool {
        !self.restless.is_empty()
    }

    /// Allows [`State::next`] to be called again for an order although nothing happened to the order. If the order has
    /// a timer in the future because the clock has been set back, the timer fires again.
    pub fn make_restless(&mut self, id: &OrderId) {
        if let Some(timer) = self
            .orders
            .get(id)
            .and_then(|order| self.traits_of(order).timer)
            && timer > self.woken_at
        {
            self.index.timers.insert((timer, id.clone()));
        }
        self.touch(id);
    }

    // ---- Asking

    /// An order.
    pub fn order(&self, id: &OrderId) -> Option<&Arc<Order>> {
        self.orders.get(id)
    }

    /// All orders by id.
    pub fn orders(&self) -> impl Iterator<Item = &Arc<Order>> {
        self.orders.values()
    }

    /// The orders from `id` on.
    pub fn orders_from(&self, id: &OrderId) -> impl Iterator<Item = &Arc<Order>> {
        self.orders.range(id.clone()..).map(|(_, order)| order)
    }

    /// How many orders there are.
    pub fn order_count(&self) -> usize {
        self.orders.len()
    }

    /// How many orders are in which state; states without orders are left out.
    pub fn counts_by_state(&self) -> &BTreeMap<&'static str, usize> {
        &self.index.counts
    }

    /// Returns the orders whose jobs run at this Agent. Only for a Controller.
    pub fn running_at(&self, agent: &AgentPath) -> SlotHolders {
        holders(self.index.running_at.get(agent))
    }

    /// Returns the orders for which this job runs. Only for a Controller.
    pub fn running_in(&self, job: &JobKey) -> SlotHolders {
        holders(self.index.running_in.get(job))
    }

    /// All workflow versions.
    pub fn workflows(&self) -> impl Iterator<Item = &Arc<Workflow>> {
        self.workflows.values()
    }
}

impl Surroundings for State {
    fn controller_id(&self) -> &ControllerId {
        &self.controller_id
    }
    fn job_resource(&self, path: &str) -> Option<&Arc<JobResource>> {
        self.job_resources.get(path)
    }
    fn environment(&self, name: &str) -> Option<Option<Arc<str>>> {
        Some(self.environment.get(name).cloned())
    }
}

/// Whether this site is the one to act on the order.
pub(crate) fn acts(site: &Site, order: &Order) -> bool {
    match (site, &order.attached_state) {
        (Site::Controller, None) => true,
        (Site::Agent(here), Some(AttachedState::Attached { agent_path })) => here == agent_path,
        _ => false,
    }
}

impl Traits {
    fn of(
        order: &Order,
        site: &Site,
        workflows: &OrdMap<Arc<WorkflowId>, Arc<Workflow>>,
    ) -> Traits {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "the states that wait for a time are named"
        )]
        let timer = match &order.state {
            OrderState::Fresh if !order.is_suspended => order.scheduled_for,
            OrderState::DelayingRetry { until } | OrderState::Sleeping { until, .. } => {
                Some(*until)
            }
            _ => None,
        };
        // Only what may depend on the workflow looks it up.
        let (joined, orphan) = match (&order.parent, &order.state) {
            (
                Some(parent),
                OrderState::Ready | OrderState::FailedInFork | OrderState::Cancelled,
            ) => match workflows.get(&order.workflow_id) {
                Some(workflow) => (
                    instructions::fork::is_joinable(workflow, order).then(|| parent.clone()),
                    false,
                ),
                None => (None, true),
            },
            _ => (None, false),
        };
        let (running, orphan) = match (&order.state, order.attached_to()) {
            (OrderState::Processing { .. }, Some(agent)) if site.is_controller() => {
                match workflows.get(&order.workflow_id) {
                    Some(workflow) => {
                        let key = JobKey::at(workflow, &order.position).map(|(key, _)| key);
                        (key.map(|key| (agent.clone(), key)), orphan)
                    }
                    None => (None, true),
                }
            }
            _ => (None, orphan),
        };
        Traits {
            timer: timer.filter(|_| acts(site, order)),
            joined,
            state: order.state.type_name(),
            orphan,
            running,
        }
    }
}

impl Index {
    pub(crate) fn add_traits(&mut self, id: &OrderId, traits: &Traits) {
        if let Some(at) = traits.timer {
            self.timers.insert((at, id.clone()));
        }
        if let Some(parent) = &traits.joined {
            *self.joined.entry(parent.clone()).or_default() += 1;
        }
        *self.counts.entry(traits.state).or_default() += 1;
        if traits.orphan {
            self.orphans.insert(id.clone());
        }
        if let Some((agent, key)) = &traits.running {
            let at_agent = self.running_at.entry(agent.clone()).or_default();
            at_agent.insert(id.clone());
            let in_job = self.running_in.entry(key.clone()).or_default();
            in_job.insert(id.clone());
        }
    }

    pub(crate) fn drop_traits(&mut self, id: &OrderId, traits: &Traits) {
        if let Some(at) = traits.timer {
            self.timers.remove(&(at, id.clone()));
        }
        if let Some(parent) = &traits.joined {
            match self.joined.get_mut(parent) {
                Some(count) if *count > 1 => *count -= 1,
                _ => drop(self.joined.remove(parent)),
            }
        }
        match self.counts.get_mut(traits.state) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(self.counts.remove(traits.state)),
        }
        if traits.orphan {
            self.orphans.remove(id);
        }
        if let Some((agent, key)) = &traits.running {
            drop_from(&mut self.running_at, agent, id);
            drop_from(&mut self.running_in, key, id);
        }
    }
}

fn holders(orders: Option<&OrdSet<OrderId>>) -> SlotHolders {
    let Some(orders) = orders else {
        return SlotHolders::default();
    };
    SlotHolders {
        process_count: orders.len(),
        orders: orders.iter().take(NAMED_MAX).cloned().collect(),
    }
}

/// Removes the order from its set, and removes an empty set from the map.
fn drop_from<K: Ord + Clone>(map: &mut OrdMap<K, OrdSet<OrderId>>, key: &K, id: &OrderId) {
    if let Some(set) = map.get_mut(key) {
        set.remove(id);
        if set.is_empty() {
            map.remove(key);
        }
    }
}

fn unknown(id: &OrderId, event: &OrderEvent) -> NotApplicable {
    NotApplicable::new(id, event, "unknown", "there is no such order")
}
