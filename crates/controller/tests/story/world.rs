//! A Controller's machine with Agents that are played by an engine of their own: no clock, no disk, no network.

use controller::{Batch, Cursor, Fresh, NotApplicable, Recorder, State, Thing};
use engine::{Next, Site};
use expr::NamedValues;
use model::{
    AgentCommand, AgentOwnEvent, AgentPath, ControllerAnswer, ControllerCommand, ControllerId,
    Event, EventId, FreshOrder, ItemBody, ItemEvent, ItemOperation, OrderEvent, OrderId,
    OrderState, Outcome, Problem, RunId, Stamped, SubagentStateEvent, Timestamp, UserId, VersionId,
    WorkflowPath,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

pub(crate) struct World {
    pub(crate) state: State,
    pub(crate) now: Timestamp,
    pub(crate) last: EventId,
    pub(crate) events: Vec<Stamped>,
    pub(crate) agents: BTreeMap<AgentPath, Agent>,
    releasers: BTreeSet<UserId>,
}

/// What an Agent does in these stories.
pub(crate) struct Agent {
    engine: engine::State,
    pub(crate) log: Vec<Stamped>,
    cursor: Cursor,
    /// The Agent's newest event that has been delivered over this connection.
    heard: EventId,
    pub(crate) sent: Vec<Thing>,
    pub(crate) is_reachable: bool,
    /// Refuses to take orders.
    pub(crate) refuses: bool,
    /// No Subagent takes a job.
    pub(crate) has_no_subagent: bool,
}

/// A Controller without anything, in a process whose environment has `ZONE`.
fn empty(releasers: &BTreeSet<UserId>) -> State {
    let environment = BTreeMap::from([("ZONE".into(), "north".into())]);
    State::new(ControllerId::from("C"), releasers.clone()).in_environment(Arc::new(environment))
}

impl World {
    pub(crate) fn new() -> World {
        World::with_releasers(&[])
    }

    pub(crate) fn with_releasers(users: &[&str]) -> World {
        let releasers: BTreeSet<UserId> = users.iter().map(|user| UserId::from(*user)).collect();
        World {
            state: empty(&releasers),
            now: Timestamp::from_millis(1_800_000_000_000),
            last: EventId::BEFORE_FIRST,
            events: Vec::new(),
            agents: BTreeMap::new(),
            releasers,
        }
    }

    fn record<R>(
        &mut self,
        act: impl FnOnce(&mut State, &mut dyn Recorder) -> Result<R, NotApplicable>,
    ) -> R {
        let mut batch = Batch::new(self.now, self.last);
        let result = act(&mut self.state, &mut batch).unwrap();
        self.state.advance(&mut batch).unwrap();
        self.last = batch.last;
        self.events.extend(batch.events);
        self.state.engine().check().unwrap();
        result
    }

    /// Something else comes to the Controller.
    pub(crate) fn act<R>(
        &mut self,
        act: impl FnOnce(&mut State, &mut dyn Recorder) -> Result<R, NotApplicable>,
    ) -> R {
        self.record(act)
    }

    pub(crate) fn tell(&mut self, command: ControllerCommand) -> ControllerAnswer {
        self.tell_as("operator", command)
    }

    pub(crate) fn tell_as(&mut self, user: &str, command: ControllerCommand) -> ControllerAnswer {
        let user = UserId::from(user);
        self.record(|state, out| state.execute(&command, &user, out))
    }

    pub(crate) fn refused(&mut self, command: ControllerCommand) -> Problem {
        let (events, answer) = (self.events.len(), self.tell(command));
        assert_eq!(self.events.len(), events, "a refusal makes no event");
        answer.into_result().expect_err("it is to be refused")
    }

    pub(crate) fn add(&mut self, id: &str, workflow: &str) -> ControllerAnswer {
        self.tell(ControllerCommand::AddOrder {
            order: order(id, workflow),
        })
    }

    pub(crate) fn change(&mut self, operations: &[ItemOperation]) -> Result<(), Problem> {
        let fresh = Fresh::at(self.now);
        let before = self.events.len();
        let changed = self.record(|state, out| state.change_items(operations, &fresh, out));
        assert!(
            changed.is_ok() || self.events.len() == before,
            "a refused change makes no event"
        );
        changed
    }

    pub(crate) fn deploy(&mut self, items: &[&str]) {
        self.change(&items.iter().map(|item| add(item)).collect::<Vec<_>>())
            .unwrap();
    }

    pub(crate) fn agent(&mut self, path: &str) {
        let agent = format!(r#"{{"TYPE":"AgentRef","path":"{path}","directors":["{path}-0"]}}"#);
        let subagent = format!(
            r#"{{"TYPE":"SubagentItem","id":"{path}-0","agentPath":"{path}","uri":"http://{path}"}}"#
        );
        self.deploy(&[&agent, &subagent]);
        self.start_agent(path);
    }

    pub(crate) fn start_agent(&mut self, path: &str) {
        let agent_path = AgentPath::from(path);
        let agent = Agent {
            engine: engine::State::new(Site::Agent(agent_path.clone()), ControllerId::from("C")),
            log: Vec::new(),
            cursor: Cursor::default(),
            heard: EventId::BEFORE_FIRST,
            sent: Vec::new(),
            is_reachable: true,
            refuses: false,
            has_no_subagent: false,
        };
        self.agents.insert(agent_path.clone(), agent);
        self.record(|state, out| {
            state.agent_dedicated(&agent_path, RunId::from("RUN"), EventId(1), out)?;
            state.agent_coupled(&agent_path, out)
        });
        let ready = AgentOwnEvent::Ready {
            timezone: Some("Europe/Berlin".into()),
            platform_info: None,
        };
        self.at_agent(path, vec![Event::AgentOwn(ready)]);
    }

    pub(crate) fn at(&mut self, path: &str) -> &mut Agent {
        self.agents.get_mut(path).unwrap()
    }

    /// Something happens at the Agent.
    pub(crate) fn at_agent(&mut self, path: &str, events: Vec<Event>) {
        let now = self.now;
        self.at(path).record(now, events);
    }

    /// The Controller comes back from its snapshot, the Agents connect again.
    pub(crate) fn restart(&mut self) {
        let before = self.events.len();
        self.restart_in_the_middle();
        assert_eq!(
            self.events.len(),
            before,
            "a restart alone makes nothing happen"
        );
    }

    /// The same while something was not finished: it goes on.
    pub(crate) fn restart_in_the_middle(&mut self) {
        let lines: Vec<String> = self.state.snapshot().collect();
        let mut restored = empty(&self.releasers);
        for line in &lines {
            restored.restore(line).unwrap();
        }
        assert_eq!(
            restored.snapshot().collect::<Vec<_>>(),
            lines,
            "JN-05: a snapshot restores what it was taken from"
        );
        self.state = restored;
        for agent in self.agents.values_mut() {
            agent.cursor = Cursor::default();
            agent.heard = EventId::BEFORE_FIRST;
        }
        self.record(|_, _| Ok(()));
    }

    /// As if the log had been replayed from its beginning.
    pub(crate) fn replay(&mut self) {
        let mut replayed = empty(&self.releasers);
        for stamped in &self.events {
            let line = stamped.to_json();
            replayed
                .evolve(&Stamped::from_json(&line).unwrap())
                .unwrap();
        }
        let state: Vec<String> = self.state.snapshot().collect();
        assert_eq!(
            replayed.snapshot().collect::<Vec<_>>(),
            state,
            "JN-05: all events give the same state"
        );
    }

    pub(crate) fn pass(&mut self, seconds: u64) {
        self.now = self.now + Duration::from_secs(seconds);
        self.run();
    }

    /// Messages go back and forth until nothing happens any more. Jobs that stand ready are started, not ended.
    pub(crate) fn run(&mut self) {
        for _ in 0..200 {
            let mut is_quiet = true;
            self.record(|_, _| Ok(()));
            for path in self.agents.keys().cloned().collect::<Vec<_>>() {
                is_quiet &= !self.exchange(&path);
            }
            if is_quiet {
                return;
            }
        }
        panic!("it never comes to rest");
    }

    fn exchange(&mut self, path: &AgentPath) -> bool {
        let now = self.now;
        let agent = self.agents.get_mut(path).unwrap();
        agent.advance(now);
        if !agent.is_reachable {
            return false;
        }
        let has_sent = self.send(path);
        let has_news = self.hear(path);
        has_sent || has_news
    }

    /// Delivers what is in the outbox to the Agent. The Agent's new events are not delivered back.
    pub(crate) fn send(&mut self, path: &AgentPath) -> bool {
        let now = self.now;
        let mut has_sent = false;
        let things: Vec<_> = self
            .state
            .outbox(path, &self.agents[path].cursor)
            .map(|(thing, since)| (thing.clone(), since))
            .collect();
        for (thing, since) in things {
            has_sent = true;
            let agent = self.agents.get_mut(path).unwrap();
            agent.cursor.pass(&thing, since);
            agent.sent.push(thing.clone());
            let Some(command) = self.state.agent_command(&thing) else {
                continue;
            };
            let answer = agent.obey(now, path, command);
            if let Err(problem) = answer {
                self.record(|state, out| state.agent_refused(path, &thing, problem, out));
            }
        }
        self.at(path.as_str()).advance(now);
        has_sent
    }

    /// Delivers the Agent's new events to the Controller.
    pub(crate) fn hear(&mut self, path: &AgentPath) -> bool {
        let agent = &self.agents[path];
        let observed = self
            .state
            .agent(path)
            .map(|agent| agent.event_id)
            .unwrap_or_default();
        let news: Vec<Stamped> = agent
            .log
            .iter()
            .filter(|stamped| stamped.event_id > observed.max(agent.heard))
            .cloned()
            .collect();
        let has_news = !news.is_empty() && self.state.agent(path).is_some();
        if has_news {
            self.deliver(path, &news);
            self.at(path.as_str()).heard = news[news.len() - 1].event_id;
        }
        has_news
    }

    /// The Agent tells what it has done; what follows for it does not reach it any more.
    pub(crate) fn give_back(&mut self, path: &str) {
        let now = self.now;
        let agent = self.at(path);
        agent.advance(now);
        agent.is_reachable = false;
        let log = agent.log.clone();
        self.deliver(&AgentPath::from(path), &log);
    }

    /// The Agent's events arrive; maybe not for the first time.
    pub(crate) fn deliver(&mut self, path: &AgentPath, events: &[Stamped]) {
        let path = path.clone();
        self.record(|state, out| state.agent_events(&path, events.to_vec(), out));
    }

    /// The job that runs for the order ends.
    pub(crate) fn end_job(&mut self, agent: &str, id: &str, outcome: Outcome) {
        self.at_agent(
            agent,
            vec![Event::Order(
                OrderId::from(id),
                OrderEvent::OrderProcessed { outcome },
            )],
        );
        self.run();
    }

    /// What happened to an order, by name.
    pub(crate) fn story(&self, id: &str) -> Vec<&'static str> {
        let own = self
            .events
            .iter()
            .filter_map(|stamped| match &stamped.event {
                Event::Order(order, event) if order.as_str() == id => Some(event.type_name()),
                _ => None,
            });
        own.collect()
    }

    /// What happened to items whose key or text contains `part`.
    pub(crate) fn item_story(&self, part: &str) -> Vec<&'static str> {
        let items = self
            .events
            .iter()
            .filter_map(|stamped| match &stamped.event {
                Event::Item(event) if stamped.to_json().contains(part) => Some(event.type_name()),
                _ => None,
            });
        items.collect()
    }
}

impl Agent {
    /// Returns whether the order's job runs at the Agent.
    pub(crate) fn has_job(&self, id: &str) -> bool {
        let order = self.engine.order(&OrderId::from(id));
        order.is_some_and(|order| matches!(order.state, model::OrderState::Processing { .. }))
    }

    /// Returns the order's mark, as the Agent knows it.
    pub(crate) fn mark_of(&self, id: &str) -> Option<model::Mark> {
        let order = self.engine.order(&OrderId::from(id))?;
        order.mark.as_deref().cloned()
    }

    fn record(&mut self, now: Timestamp, events: Vec<Event>) {
        for event in events {
            let last = self
                .log
                .last()
                .map_or(EventId(1), |stamped| stamped.event_id);
            if let Event::Order(id, event) = &event {
                self.engine.evolve(id, event, now).unwrap();
            }
            self.log.push(Stamped {
                event_id: last.next(now),
                timestamp: None,
                by: None,
                event,
            });
        }
    }

    fn obey(
        &mut self,
        now: Timestamp,
        path: &AgentPath,
        command: AgentCommand,
    ) -> Result<(), Problem> {
        let events = match command {
            AgentCommand::AttachItem {
                item,
                key,
                item_revision,
            } => {
                let workflow_id = key.as_workflow();
                let origin = model::read::Origin {
                    version: workflow_id.as_ref().map(|id| &id.version_id),
                    ..model::read::Origin::default()
                };
                let read =
                    model::read::item(&item.string, model::read::Format::Json, &origin).unwrap();
                if let ItemBody::Workflow(workflow) = read.body {
                    self.engine.set_workflow(workflow);
                }
                vec![Event::Item(ItemEvent::ItemAttachedToMe {
                    item,
                    key,
                    item_revision,
                })]
            }
            AgentCommand::DetachItem { key } => {
                vec![Event::Item(ItemEvent::ItemDetached {
                    key,
                    delegate_id: path.clone(),
                })]
            }
            AgentCommand::AttachOrder { .. } if self.refuses => {
                return Err(Problem::new("NoRoom", "the Agent has no room"));
            }
            AgentCommand::AttachOrder { order } => {
                if self.engine.order(&order.id).is_some() {
                    return Ok(());
                }
                vec![Event::Order(
                    order.id.clone(),
                    OrderEvent::OrderAttachedToAgent { order },
                )]
            }
            AgentCommand::ResetSubagent { subagent_id, force } => {
                let started = SubagentStateEvent::SubagentResetStarted { force };
                vec![Event::Subagent(subagent_id, started)]
            }
            AgentCommand::DetachOrder { order_id } => {
                if self.engine.order(&order_id).is_none() {
                    return Ok(());
                }
                vec![Event::Order(order_id, OrderEvent::OrderDetached)]
            }
            AgentCommand::MarkOrder { order_id, mark } => {
                let events = self.engine.mark(&order_id, &mark)?;
                events
                    .into_iter()
                    .map(|(id, event)| Event::Order(id, event))
                    .collect()
            }
            other => panic!("not played here: {other:?}"),
        };
        self.record(now, events);
        Ok(())
    }

    fn advance(&mut self, now: Timestamp) {
        self.engine.wake(now);
        while let Some(id) = self.engine.pop_restless() {
            let events = match self.engine.next(&id, now) {
                Next::Events(events) => events,
                Next::Job(_) if self.has_no_subagent => Vec::new(),
                Next::Job(_) => {
                    let started = OrderEvent::OrderProcessingStarted {
                        subagent_id: None,
                        subagent_bundle_id: None,
                        stick: false,
                    };
                    let is_fresh = self
                        .engine
                        .order(&id)
                        .is_some_and(|order| order.state == OrderState::Fresh);
                    let begins = is_fresh.then(|| (id.clone(), OrderEvent::OrderStarted));
                    begins.into_iter().chain([(id, started)]).collect()
                }
                Next::Rest => Vec::new(),
            };
            self.record(
                now,
                events
                    .into_iter()
                    .map(|(id, event)| Event::Order(id, event))
                    .collect(),
            );
        }
    }
}

pub(crate) fn order(id: &str, workflow: &str) -> FreshOrder {
    FreshOrder::new(OrderId::from(id), WorkflowPath::from(workflow))
}

pub(crate) fn add(item: &str) -> ItemOperation {
    let signed = model::SignedText {
        string: item.into(),
        signature: None,
    };
    ItemOperation::AddOrChangeSigned { signed }
}

pub(crate) fn version(id: &str) -> ItemOperation {
    ItemOperation::AddVersion {
        version_id: VersionId::from(id),
    }
}

pub(crate) fn delete(key: &str) -> ItemOperation {
    ItemOperation::from_json(&format!(r#"{{"TYPE":"DeleteSimple","path":"{key}"}}"#)).unwrap()
}

pub(crate) fn remove(path: &str) -> ItemOperation {
    ItemOperation::RemoveVersioned {
        path: WorkflowPath::from(path),
    }
}

/// A workflow of jobs at these Agents, one after another.
pub(crate) fn jobs(path: &str, agents: &[&str]) -> String {
    let jobs: Vec<String> = agents
        .iter()
        .map(|agent| {
            format!(
                r#"{{"TYPE":"Execute.Anonymous","job":{{"agentPath":"{agent}","executable":{{"TYPE":"ShellScriptExecutable","script":":"}}}}}}"#
            )
        })
        .collect();
    format!(
        r#"{{"TYPE":"Workflow","path":"{path}","instructions":[{}]}}"#,
        jobs.join(",")
    )
}

pub(crate) fn succeeded() -> Outcome {
    Outcome::Succeeded {
        named_values: NamedValues::new(),
    }
}

pub(crate) fn cancel(ids: &[&str]) -> ControllerCommand {
    ControllerCommand::CancelOrders {
        order_ids: model::OrderSelection::Ids(order_ids(ids)),
        mode: Default::default(),
    }
}

pub(crate) fn order_ids(ids: &[&str]) -> Vec<OrderId> {
    ids.iter().map(|id| OrderId::from(*id)).collect()
}
