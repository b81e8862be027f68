//! A Controller engine and Agent engines, joined by immediate hand-over; jobs end as the test has scripted.
//!
//! Always: after each settling every state keeps its invariants, and replaying a log gives the state that wrote it.

#![expect(
    clippy::wildcard_enum_match_arm,
    clippy::unwrap_in_result,
    reason = "a story names what it shows and leaves the rest as it is"
)]

use engine::{Next, Site, State};
use model::read::{self, Format, Origin};
use model::{
    AgentPath, AttachedState, CancellationMode, FreshOrder, ItemBody, Mark, Order, OrderEvent,
    OrderId, OrderState, Outcome, Problem, Resumption, SubagentId, SuspensionMode, Timestamp,
    VersionId,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Noon of a day, in milliseconds.
pub(crate) const START: i64 = 1_734_523_200_000;

/// More rounds than any story needs.
const ROUNDS_MAX: usize = 10_000;

/// A state with the log that made it.
pub(crate) struct Node {
    pub(crate) state: State,
    log: Vec<(OrderId, OrderEvent, Timestamp)>,
    empty: State,
}

/// The world of a story.
pub(crate) struct World {
    pub(crate) controller: Node,
    pub(crate) agents: BTreeMap<AgentPath, Node>,
    pub(crate) now: Timestamp,
    /// Agents that the Controller does not hear, and what they would have told.
    cut: BTreeMap<AgentPath, VecDeque<(OrderId, OrderEvent)>>,
    /// How the jobs of an order end at a position, one after the other; well if nothing is said.
    script: BTreeMap<(OrderId, String), VecDeque<Outcome>>,
    held: BTreeSet<OrderId>,
    /// Orders whose jobs never get a process.
    waiting: BTreeSet<OrderId>,
    marks_sent: BTreeMap<OrderId, Mark>,
    /// Every start of a job: order, position, Agent.
    pub(crate) starts: Vec<(String, String, String)>,
}

impl Node {
    fn new(site: Site) -> Node {
        let state = State::new(site, "CONTROLLER".into());
        Node {
            empty: state.clone(),
            state,
            log: Vec::new(),
        }
    }

    pub(crate) fn evolve(&mut self, id: &OrderId, event: &OrderEvent, now: Timestamp) {
        if let Err(refused) = self.state.evolve(id, event, now) {
            panic!(
                "{refused}; log: {:#?}",
                self.log
                    .iter()
                    .map(|(id, event, _)| line(id, event))
                    .collect::<Vec<_>>()
            );
        }
        self.log.push((id.clone(), event.clone(), now));
    }

    fn check(&self) {
        if let Err(broken) = self.state.check() {
            panic!("{:?}: {broken}", self.state.site());
        }
        let mut replayed = self.empty.clone();
        for (id, event, at) in &self.log {
            replayed
                .evolve(id, event, *at)
                .expect("a written event is replayed");
        }
        let orders = |state: &State| state.orders().cloned().collect::<Vec<_>>();
        assert_eq!(orders(&replayed), orders(&self.state), "replay equals live");
        replayed.check().expect("the invariants hold after replay");
    }
}

impl World {
    /// A Controller with Agents and items, given as YAML documents.
    pub(crate) fn new(agents: &[&str], items: &[&str]) -> World {
        let mut world = World {
            controller: Node::new(Site::Controller),
            agents: agents
                .iter()
                .map(|path| {
                    (
                        AgentPath::from(*path),
                        Node::new(Site::Agent((*path).into())),
                    )
                })
                .collect(),
            now: Timestamp::from_millis(START),
            cut: BTreeMap::new(),
            script: BTreeMap::new(),
            held: BTreeSet::new(),
            waiting: BTreeSet::new(),
            marks_sent: BTreeMap::new(),
            starts: Vec::new(),
        };
        for item in items {
            world.item(item);
        }
        world
    }

    /// A workflow of these instructions, called `w`.
    pub(crate) fn with(agents: &[&str], instructions: &str) -> World {
        World::new(agents, &[&workflow("w", instructions)])
    }

    pub(crate) fn item(&mut self, text: &str) {
        let version = VersionId::from("1");
        let origin = Origin {
            name: None,
            version: Some(&version),
        };
        let item = read::item(text, Format::Yaml, &origin)
            .unwrap_or_else(|faults| panic!("{faults}\n{text}"));
        for node in self.agents.values_mut().chain([&mut self.controller]) {
            for state in [&mut node.state, &mut node.empty] {
                match &item.body {
                    ItemBody::Workflow(workflow) => state.set_workflow(workflow.clone()),
                    ItemBody::JobResource(resource) => state.set_job_resource(resource.clone()),
                    ItemBody::Agent(_)
                    | ItemBody::Subagent(_)
                    | ItemBody::Bundle(_)
                    | ItemBody::Kept(_) => {
                        panic!("not needed here: {}", item.key)
                    }
                }
            }
        }
    }

    /// Adds an order, given as JSON, and lets everything follow.
    pub(crate) fn add(&mut self, order: &str) {
        self.try_add(order).expect("the order is accepted");
    }

    pub(crate) fn try_add(&mut self, order: &str) -> Result<(), Problem> {
        let fresh: FreshOrder = serde_json::from_str(order).expect("an order in JSON");
        if let Some(event) = self.controller.state.add(&fresh, self.now)? {
            self.controller.evolve(&fresh.id, &event, self.now);
        }
        self.settle();
        Ok(())
    }

    /// Adds an order of the workflow `w` without arguments.
    pub(crate) fn start(&mut self, id: &str) {
        self.add(&format!(r#"{{"id":"{id}","workflowPath":"w"}}"#));
    }

    /// The next jobs of this order at this position end so.
    pub(crate) fn script(
        &mut self,
        id: &str,
        position: &str,
        outcomes: impl IntoIterator<Item = Outcome>,
    ) {
        self.script
            .entry((id.into(), position.to_owned()))
            .or_default()
            .extend(outcomes);
    }

    /// The jobs of this order run until they are released.
    pub(crate) fn hold(&mut self, id: &str) {
        self.held.insert(id.into());
    }

    /// Keeps the jobs of this order from starting, as if no process slot was free.
    pub(crate) fn keep_waiting(&mut self, id: &str) {
        self.waiting.insert(id.into());
    }

    pub(crate) fn release(&mut self, id: &str) {
        self.held.remove(id);
        let id = OrderId::from(id);
        let agent = self
            .agents
            .iter()
            .find(|(_, node)| is_processing(node.state.order(&id)));
        let Some((path, _)) = agent else {
            return self.settle();
        };
        let path = path.clone();
        self.end_job(&path, &id);
        self.settle();
    }

    /// Loses the process of this order's job.
    pub(crate) fn lose(&mut self, id: &str) {
        let id = OrderId::from(id);
        let path = self
            .agents
            .iter()
            .find(|(_, node)| is_processing(node.state.order(&id)))
            .expect("a job runs")
            .0
            .clone();
        let problem = Problem::new(
            "ProcessLostDueToRestart",
            "The process was lost due to restart",
        );
        self.agent_event(
            &path,
            &id,
            &OrderEvent::OrderProcessed {
                outcome: Outcome::process_lost(problem),
            },
        );
        self.settle();
    }

    pub(crate) fn cut(&mut self, agent: &str) {
        self.cut.entry(agent.into()).or_default();
    }

    pub(crate) fn is_cut(&self, agent: &str) -> bool {
        self.cut.contains_key(&AgentPath::from(agent))
    }

    pub(crate) fn reconnect(&mut self, agent: &str) {
        let told = self.cut.remove(agent).expect("the Agent was cut off");
        for (id, event) in told {
            self.mirror(&id, &event);
        }
        self.settle();
    }

    pub(crate) fn sleep(&mut self, millis: u64) {
        self.now = self.now + std::time::Duration::from_millis(millis);
        self.settle();
    }

    pub(crate) fn cancel(&mut self, id: &str, mode: &CancellationMode) -> Result<(), Problem> {
        let decided = self.controller.state.cancel(&id.into(), mode)?;
        self.command(&decided);
        Ok(())
    }

    pub(crate) fn suspend(&mut self, id: &str, mode: &SuspensionMode) -> Result<(), Problem> {
        let decided = self.controller.state.suspend(&id.into(), mode)?;
        self.command(&decided);
        Ok(())
    }

    pub(crate) fn resume(&mut self, id: &str, resumption: &Resumption) -> Result<(), Problem> {
        let decided = self.controller.state.resume(&id.into(), resumption)?;
        self.command(&decided);
        Ok(())
    }

    pub(crate) fn delete(&mut self, id: &str) -> Result<(), Problem> {
        let decided = self.controller.state.delete_when_terminated(&id.into())?;
        self.command(&decided);
        Ok(())
    }

    fn command(&mut self, decided: &[(OrderId, OrderEvent)]) {
        for (id, event) in decided {
            self.controller.evolve(id, event, self.now);
        }
        self.settle();
    }

    /// Lets everything follow until nothing does.
    pub(crate) fn settle(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let went = self.round_of_controller()
                | self
                    .agents
                    .keys()
                    .cloned()
                    .collect::<Vec<_>>()
                    .iter()
                    .fold(false, |went, path| went | self.round_of_agent(path))
                | self.hand_over();
            if !went {
                for node in self.agents.values().chain([&self.controller]) {
                    node.check();
                }
                return;
            }
        }
        panic!("the world does not come to rest");
    }

    fn round_of_controller(&mut self) -> bool {
        self.controller.state.wake(self.now);
        let mut went = false;
        while let Some(id) = self.controller.state.pop_restless() {
            match self.controller.state.next(&id, self.now) {
                Next::Events(events) => {
                    for (id, event) in &events {
                        self.controller.evolve(id, event, self.now);
                    }
                    went = true;
                }
                Next::Job(_) => panic!("the Controller runs no jobs"),
                Next::Rest => {}
            }
        }
        went
    }

    fn round_of_agent(&mut self, path: &AgentPath) -> bool {
        let mut went = false;
        let now = self.now;
        self.node(path).state.wake(now);
        while let Some(id) = self.node(path).state.pop_restless() {
            match self.node(path).state.next(&id, now) {
                Next::Events(events) => {
                    for (id, event) in &events {
                        self.agent_event(path, id, event);
                    }
                    went = true;
                }
                Next::Job(_) if self.waiting.contains(&id) => {}
                Next::Job(call) => {
                    assert_eq!(call.job.agent, *path, "a job runs at its own Agent");
                    let order = self
                        .node(path)
                        .state
                        .order(&id)
                        .expect("it is there")
                        .clone();
                    let position = order.position.to_string();
                    self.starts
                        .push((id.to_string(), position, path.to_string()));
                    let subagent_id = Some(SubagentId::new(format!("{path}-0")));
                    let mut ties = order.sticky_subagents.iter();
                    let stick =
                        ties.any(|tie| tie.agent_path == *path && tie.stuck_subagent_id.is_none());
                    let started = OrderEvent::OrderProcessingStarted {
                        subagent_id,
                        subagent_bundle_id: None,
                        stick,
                    };
                    if order.state == OrderState::Fresh {
                        self.agent_event(path, &id, &OrderEvent::OrderStarted);
                    }
                    self.agent_event(path, &id, &started);
                    if !self.held.contains(&id) {
                        self.end_job(path, &id);
                    }
                    went = true;
                }
                Next::Rest => {}
            }
        }
        went
    }

    fn end_job(&mut self, path: &AgentPath, id: &OrderId) {
        let position = self
            .node(path)
            .state
            .order(id)
            .expect("it is there")
            .position
            .to_string();
        let scripted = self
            .script
            .get_mut(&(id.clone(), position))
            .and_then(VecDeque::pop_front);
        let outcome = scripted.unwrap_or_else(|| returned(0));
        self.agent_event(path, id, &OrderEvent::OrderProcessed { outcome });
    }

    /// Attaches, detaches, marks and kills where the Controller and the Agent hear each other.
    fn hand_over(&mut self) -> bool {
        let orders: Vec<Order> = self
            .controller
            .state
            .orders()
            .map(|order| Order::clone(order))
            .collect();
        let mut went = false;
        for order in orders {
            let id = &order.id;
            if order.mark.is_none() || order.is_detached() {
                self.marks_sent.remove(id);
            }
            let Some(attached) = &order.attached_state else {
                continue;
            };
            let path = attached.agent_path().clone();
            if self.cut.contains_key(&path) {
                continue;
            }
            match attached {
                AttachedState::Attaching { .. } => {
                    self.agent_event(
                        &path,
                        id,
                        &OrderEvent::OrderAttachedToAgent {
                            order: Box::new(order.clone()),
                        },
                    );
                    went = true;
                }
                AttachedState::Detaching { .. } => {
                    self.agent_event(&path, id, &OrderEvent::OrderDetached);
                    went = true;
                }
                AttachedState::Attached { .. } => {
                    if let Some(mark) = order.mark.as_deref()
                        && self.marks_sent.get(id) != Some(mark)
                    {
                        self.marks_sent.insert(id.clone(), mark.clone());
                        let decided = self
                            .node(&path)
                            .state
                            .mark(id, mark)
                            .expect("the Agent has the order");
                        for (id, event) in &decided {
                            self.agent_event(&path, id, event);
                        }
                        self.kill(&path, id);
                        went = true;
                    }
                }
            }
        }
        went
    }

    /// The job of an order that is marked to be killed ends by that.
    fn kill(&mut self, path: &AgentPath, id: &OrderId) {
        let Some(order) = self.node(path).state.order(id).cloned() else {
            return;
        };
        let is_to_be_killed = match order.mark.as_deref() {
            Some(Mark::Cancelling { mode }) => mode.kill().is_some(),
            Some(Mark::Suspending { mode }) => mode.kill.is_some(),
            _ => false,
        };
        if is_to_be_killed && is_processing(Some(&order)) {
            let outcome = Outcome::Killed {
                outcome: Box::new(returned(137)),
            };
            self.agent_event(path, id, &OrderEvent::OrderProcessed { outcome });
        }
    }

    fn agent_event(&mut self, path: &AgentPath, id: &OrderId, event: &OrderEvent) {
        let now = self.now;
        self.node(path).evolve(id, event, now);
        let mirrored = match event {
            OrderEvent::OrderAttachedToAgent { .. } => OrderEvent::OrderAttached {
                agent_path: path.clone(),
            },
            OrderEvent::OrderCancellationMarked { .. } => {
                OrderEvent::OrderCancellationMarkedOnAgent
            }
            OrderEvent::OrderSuspensionMarked { .. } => OrderEvent::OrderSuspensionMarkedOnAgent,
            same => same.clone(),
        };
        match self.cut.get_mut(path) {
            Some(untold) => untold.push_back((id.clone(), mirrored)),
            None => self.mirror(id, &mirrored),
        }
    }

    fn mirror(&mut self, id: &OrderId, event: &OrderEvent) {
        self.controller.evolve(id, event, self.now);
    }

    pub(crate) fn node(&mut self, path: &AgentPath) -> &mut Node {
        self.agents.get_mut(path).expect("a known Agent")
    }

    // ---- Asking

    /// What happened to an order, one event per line.
    pub(crate) fn story(&self, id: &str) -> String {
        let lines = self
            .controller
            .log
            .iter()
            .filter(|(of, _, _)| of.as_str() == id);
        lines
            .map(|(id, event, _)| line(id, event))
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// Asserts what happened to an order. `ATTACH A`, `DETACH` and `JOB A` stand for the pairs of events they mean.
    #[track_caller]
    pub(crate) fn told(&self, id: &str, expected: &str) {
        let mut lines = Vec::new();
        for line in expected
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
        {
            match line.split_once(' ').unwrap_or((line, "")) {
                ("ATTACH", agent) => {
                    lines.push(format!("OrderAttachable {agent}"));
                    lines.push(format!("OrderAttached {agent}"));
                }
                ("DETACH", _) => {
                    lines.extend(["OrderDetachable".to_owned(), "OrderDetached".to_owned()]);
                }
                ("JOB", agent) => {
                    lines.push(format!("OrderProcessingStarted {agent}-0"));
                    lines.push("OrderProcessed Succeeded(returnCode=0)".to_owned());
                }
                _ => lines.push(line.to_owned()),
            }
        }
        let (expected, story) = (lines.join("\n"), self.story(id));
        assert_eq!(
            story, expected,
            "\n--- {id} ---\n{story}\n--- expected ---\n{expected}\n"
        );
    }

    pub(crate) fn order(&self, id: &str) -> &Order {
        self.controller
            .state
            .order(&id.into())
            .expect("the order exists")
    }

    pub(crate) fn state(&self, id: &str) -> &'static str {
        self.order(id).state.type_name()
    }

    /// What happened at an Agent only, which its Controller may not know yet.
    pub(crate) fn agent_story(&self, agent: &str, id: &str) -> String {
        let node = &self.agents[&AgentPath::from(agent)];
        let lines = node.log.iter().filter(|(of, _, _)| of.as_str() == id);
        lines
            .map(|(id, event, _)| line(id, event))
            .collect::<Vec<_>>()
            .join("\n")
    }
}

fn is_processing(order: Option<&std::sync::Arc<Order>>) -> bool {
    order.is_some_and(|order| matches!(order.state, OrderState::Processing { .. }))
}

/// How a process ended that returned this code.
pub(crate) fn returned(code: i64) -> Outcome {
    let named_values = [("returnCode".into(), code.into())].into();
    if code == 0 {
        Outcome::Succeeded { named_values }
    } else {
        Outcome::Failed {
            message: None,
            named_values,
            uncatchable: false,
        }
    }
}

/// A success with these values.
pub(crate) fn with_values(values: &[(&str, &str)]) -> Outcome {
    let named_values = values
        .iter()
        .map(|(name, value)| ((*name).into(), (*value).into()))
        .collect();
    Outcome::Succeeded { named_values }
}

/// The text of a workflow of these instructions (YAML in flow style, one per line, or a block).
pub(crate) fn workflow(path: &str, instructions: &str) -> String {
    let none = if instructions.is_empty() { " []" } else { "" };
    format!("TYPE: Workflow\npath: {path}\ninstructions:{none}\n{instructions}")
}

/// An instruction that runs a job at this Agent, in YAML's flow style.
pub(crate) fn job(agent: &str) -> String {
    format!(
        "{{TYPE: Execute.Anonymous, job: {{agentPath: {agent}, executable: {{TYPE: ShellScriptExecutable, script: ':'}}}}}}"
    )
}

fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Succeeded { named_values } if !named_values.is_empty() => {
            let values: Vec<_> = named_values
                .iter()
                .map(|(name, value)| format!("{name}={}", shown(value)))
                .collect();
            format!("Succeeded({})", values.join(", "))
        }
        other => other.to_string().replace('\n', "\\n"),
    }
}

/// A value with texts in double quotes.
pub(crate) fn shown(value: &expr::Value) -> String {
    value.to_string().replace('\'', "\"")
}

/// An event in one line, as stories tell it.
fn line(id: &OrderId, event: &OrderEvent) -> String {
    let name = event.type_name();
    let seconds = |until: &Timestamp| (until.millis() - START).to_string();
    let detail = match event {
        OrderEvent::OrderMoved { to, .. } => to.to_string(),
        OrderEvent::OrderProcessed { outcome: ended }
        | OrderEvent::OrderOutcomeAdded { outcome: ended }
        | OrderEvent::OrderJoined { outcome: ended }
        | OrderEvent::OrderFinished {
            outcome: Some(ended),
        } => outcome(ended),
        OrderEvent::OrderFailed { moved_to }
        | OrderEvent::OrderFailedInFork { moved_to }
        | OrderEvent::OrderCaught { moved_to } => moved_to.to_string(),
        OrderEvent::OrderAttachable { agent_path } | OrderEvent::OrderAttached { agent_path } => {
            agent_path.to_string()
        }
        OrderEvent::OrderProcessingStarted {
            subagent_id: Some(subagent),
            ..
        } => subagent.to_string(),
        OrderEvent::OrderForked { children } => {
            let names = children.iter().map(|child| {
                child
                    .order_id
                    .as_str()
                    .trim_start_matches(&format!("{id}|"))
                    .to_owned()
            });
            names.collect::<Vec<_>>().join(" ")
        }
        OrderEvent::OrderRetrying {
            delayed_until: Some(until),
        }
        | OrderEvent::OrderSleeping { until, .. } => seconds(until),
        OrderEvent::OrderResumed {
            position: Some(position),
            ..
        } => position.to_string(),
        OrderEvent::OrderSaid { value } => shown(value),
        _ => String::new(),
    };
    if detail.is_empty() {
        name.to_owned()
    } else {
        format!("{name} {detail}")
    }
}
