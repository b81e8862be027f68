//! The Controller's machine as the commit loop sees it.

use controller::{NotApplicable as Misfit, Recorder, State, Thing};
use engine::Observer;
use model::{
    AgentPath, AgentWitness, Cause, ClusterEvent, ClusterState, ControllerAnswer,
    ControllerCommand, ControllerEvent, Event, EventId, ItemOperation, OrderId, OrderSelection,
    Problem, RunId, Stamped, Timestamp, UserId, WorkflowId,
};

use node::{Aside, Facts, Machine, NotApplicable, Work};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

/// The Controller's state in the commit loop.
#[derive(Clone)]
pub struct ControllerMachine {
    /// The state.
    pub state: State,
    /// The newest event in it.
    pub last_event_id: EventId,
    timezone: Arc<str>,
    /// The request that is being executed, or was executed last.
    request: Option<String>,
    /// Names the work in progress, if it must be named.
    work: Work,
    /// Requests and events of Agents that have ended the node several times. They are refused.
    refused: BTreeMap<String, Problem>,
}

/// What comes to a Controller.
pub enum Input {
    /// Somebody asks.
    Command {
        /// Who.
        user: UserId,
        /// What. Neither a batch nor a command to the node itself.
        command: Box<ControllerCommand>,
    },
    /// Somebody changes items.
    Items(Vec<ItemOperation>),
    /// Another input, whose events record the user and the reason.
    By {
        /// The user and the reason.
        by: Arc<Cause>,
        /// The other input.
        input: Box<Input>,
    },
    /// The Agent belongs to us.
    AgentDedicated {
        /// Which.
        agent: AgentPath,
        /// The life of its log.
        run_id: RunId,
        /// Where its events begin.
        event_id: EventId,
    },
    /// A request to record the state of the third vote of the Agent's Directors.
    AgentWitness {
        /// The Agent.
        agent: AgentPath,
        /// The run of the Agent's log.
        run_id: RunId,
        /// What the witness has confirmed and promised.
        witness: AgentWitness,
    },
    /// The Agent is connected.
    AgentCoupled {
        /// Which.
        agent: AgentPath,
    },
    /// The Agent is not connected.
    AgentCouplingFailed {
        /// Which.
        agent: AgentPath,
        /// Why.
        problem: Problem,
    },
    /// The Agent has nothing any more.
    AgentReset {
        /// Which.
        agent: AgentPath,
    },
    /// What was seen of the cluster that keeps this Controller's log.
    Cluster(ClusterEvent),
    /// The Agent reports.
    AgentEvents {
        /// Which.
        agent: AgentPath,
        /// What, in order. A line that is no event stands with its id and what is wrong.
        events: Vec<Result<Stamped, (EventId, Problem)>>,
    },
    /// The Agent refuses what was sent.
    AgentRefused {
        /// Which.
        agent: AgentPath,
        /// What was sent.
        thing: Thing,
        /// Why.
        problem: Problem,
    },
}

/// What an input is answered with.
#[derive(Debug)]
pub enum Reply {
    /// To a command.
    Answer(ControllerAnswer),
    /// To a change of items.
    Items(Result<(), Problem>),
    /// To what an Agent reports: its newest event that is taken over.
    Observed(EventId),
    /// The answer to [`Input::AgentWitness`]: whether the state is recorded.
    Remembered(bool),
    /// To a reset: there is more to give up. Tell it again.
    More,
    /// To everything else.
    Done,
}

impl ControllerMachine {
    /// An empty one.
    pub fn new(state: State) -> ControllerMachine {
        let timezone = std::env::var("TZ")
            .ok()
            .filter(|zone| !zone.is_empty())
            .map_or_else(|| "UTC".into(), Into::into);
        ControllerMachine {
            state,
            last_event_id: EventId::BEFORE_FIRST,
            timezone,
            request: None,
            work: Work::default(),
            refused: BTreeMap::new(),
        }
    }

    /// The identity of this log, by which Agents know their Controller: the same after each restart.
    pub fn run_id(&self) -> RunId {
        let begun = self.state.initially_started_at().unwrap_or_default();
        RunId::from(format!("{}~{}", self.state.controller_id(), begun.millis()))
    }

    fn take_from_agent(&mut self, input: Input, facts: &mut Facts) -> Result<Reply, Misfit> {
        let mut out = Out {
            facts,
            last: &mut self.last_event_id,
        };
        let state = &mut self.state;
        match input {
            Input::AgentDedicated {
                agent,
                run_id,
                event_id,
            } => {
                state.agent_dedicated(&agent, run_id, event_id, &mut out)?;
            }
            Input::AgentWitness {
                agent,
                run_id,
                witness,
            } => {
                let is_remembered = state.agent_witness(&agent, &run_id, witness, &mut out)?;
                return Ok(Reply::Remembered(is_remembered));
            }
            Input::AgentCoupled { agent } => state.agent_coupled(&agent, &mut out)?,
            Input::AgentReset { agent } => {
                if !state.agent_reset(&agent, &mut out)? {
                    return Ok(Reply::More);
                }
            }
            Input::AgentCouplingFailed { agent, problem } => {
                state.agent_coupling_failed(&agent, problem, &mut out)?;
            }
            Input::AgentRefused {
                agent,
                thing,
                problem,
            } => state.agent_refused(&agent, &thing, problem, &mut out)?,
            Input::AgentEvents { agent, events } => {
                let mut readable = Vec::with_capacity(events.len());
                for event in events {
                    match refuse_event(&self.refused, &agent, event) {
                        Ok(stamped) => readable.push(stamped),
                        Err((event_id, problem)) => {
                            let before = std::mem::take(&mut readable);
                            state.agent_events(&agent, before, &mut out)?;
                            state.agent_event_unreadable(&agent, event_id, problem, &mut out)?;
                        }
                    }
                }
                state.agent_events(&agent, readable, &mut out)?;
                return Ok(Reply::Observed(
                    state
                        .agent(&agent)
                        .map(|agent| agent.event_id)
                        .unwrap_or_default(),
                ));
            }
            Input::By { .. } | Input::Command { .. } | Input::Items(_) | Input::Cluster(_) => {}
        }
        Ok(Reply::Done)
    }
}

/// Returns the event. If importing the event has ended the node several times, returns its id and the problem that is recorded in its
/// place.
fn refuse_event(
    refused: &BTreeMap<String, Problem>,
    agent: &AgentPath,
    event: Result<Stamped, (EventId, Problem)>,
) -> Result<Stamped, (EventId, Problem)> {
    let stamped = event?;
    if refused.is_empty() {
        return Ok(stamped);
    }
    match refused.get(&format!("AgentEvent:{agent}/{}", stamped.event_id)) {
        Some(problem) => Err((stamped.event_id, problem.clone())),
        None => Ok(stamped),
    }
}

/// Returns the name under which a request is recorded if it ends the node. Two equal requests have the same name.
fn name_of(input: &Input) -> Option<String> {
    match input {
        Input::Command { command, .. } => {
            let what: Option<&str> = match &**command {
                ControllerCommand::AddOrder { order } => Some(order.id.as_str()),
                ControllerCommand::AddOrders { orders } => {
                    orders.first().map(|order| order.id.as_str())
                }
                ControllerCommand::CancelOrders {
                    order_ids: OrderSelection::Ids(ids),
                    ..
                }
                | ControllerCommand::SuspendOrders { order_ids: ids, .. }
                | ControllerCommand::ResumeOrders { order_ids: ids, .. }
                | ControllerCommand::DeleteOrdersWhenTerminated { order_ids: ids } => {
                    ids.first().map(OrderId::as_str)
                }
                ControllerCommand::ResumeOrder { order_id, .. } => Some(order_id.as_str()),
                ControllerCommand::ResetAgent { agent_path, .. } => Some(agent_path.as_str()),
                ControllerCommand::ResetSubagent { subagent_id, .. }
                | ControllerCommand::ConfirmSubagentLoss { subagent_id } => {
                    Some(subagent_id.as_str())
                }
                ControllerCommand::Batch { .. }
                | ControllerCommand::CancelOrders { .. }
                | ControllerCommand::ClusterAppointNodes { .. }
                | ControllerCommand::ClusterRemoveNode { .. }
                | ControllerCommand::ClusterSwitchOver { .. }
                | ControllerCommand::ReleaseEvents { .. }
                | ControllerCommand::TakeSnapshot
                | ControllerCommand::ShutDown { .. }
                | ControllerCommand::NoOperation { .. } => None,
            };
            let kind = command.type_name();
            Some(what.map_or_else(|| kind.to_owned(), |what| format!("{kind}:{what}")))
        }
        Input::Items(operations) => {
            let mut hasher = DefaultHasher::new();
            for operation in operations {
                match operation {
                    ItemOperation::AddOrChangeSimple { item } => item.get().hash(&mut hasher),
                    ItemOperation::AddOrChangeSigned { signed } => signed.string.hash(&mut hasher),
                    ItemOperation::AddVersion { version_id } => version_id.hash(&mut hasher),
                    ItemOperation::DeleteSimple { key } => key.hash(&mut hasher),
                    ItemOperation::RemoveVersioned { path } => path.hash(&mut hasher),
                }
            }
            Some(format!("UpdateItems:{:016x}", hasher.finish()))
        }
        Input::By { .. }
        | Input::AgentDedicated { .. }
        | Input::AgentWitness { .. }
        | Input::AgentCoupled { .. }
        | Input::AgentReset { .. }
        | Input::AgentCouplingFailed { .. }
        | Input::Cluster(_)
        | Input::AgentEvents { .. }
        | Input::AgentRefused { .. } => None,
    }
}

/// Lets the machine record into the batch of the commit loop.
struct Out<'a> {
    facts: &'a mut Facts,
    last: &'a mut EventId,
}

impl Recorder for Out<'_> {
    fn now(&self) -> Timestamp {
        self.facts.now()
    }

    fn last_event_id(&self) -> EventId {
        self.facts.last_event_id()
    }

    fn is_full(&self) -> bool {
        self.facts.is_full()
    }

    fn record(
        &mut self,
        state: &mut State,
        at: Option<Timestamp>,
        event: Event,
    ) -> Result<(), Misfit> {
        self.facts.record_with(at, event, |stamped| {
            if let Event::Order(id, _) = &stamped.event {
                tasks::fault_at(id.as_str());
            }
            state.evolve(stamped)
        })?;
        *self.last = self.facts.last_event_id();
        Ok(())
    }
}

impl Machine for ControllerMachine {
    type Input = Input;
    type Reply = Reply;

    fn take(&mut self, input: Input, facts: &mut Facts) -> Result<Reply, NotApplicable> {
        if let Input::By { by, input } = input {
            facts.caused_by(Some(by));
            let reply = self.take(*input, facts);
            facts.caused_by(None);
            return reply;
        }
        self.set_idle();
        self.request = name_of(&input);
        if let Some(request) = &self.request {
            self.work.on(request);
        }
        if let Some(problem) = self
            .request
            .as_ref()
            .and_then(|request| self.refused.get(request))
        {
            let problem = problem.clone();
            return Ok(match input {
                Input::Items(_) => Reply::Items(Err(problem)),
                Input::Command { .. }
                | Input::By { .. }
                | Input::Cluster(_)
                | Input::AgentDedicated { .. }
                | Input::AgentWitness { .. }
                | Input::AgentCoupled { .. }
                | Input::AgentReset { .. }
                | Input::AgentCouplingFailed { .. }
                | Input::AgentEvents { .. }
                | Input::AgentRefused { .. } => Reply::Answer(ControllerAnswer::from(problem)),
            });
        }
        let mut out = Out {
            facts,
            last: &mut self.last_event_id,
        };
        match input {
            Input::Command { user, command } => self
                .state
                .execute(&command, &user, &mut out)
                .map(Reply::Answer)
                .map_err(NotApplicable::new),
            Input::Items(operations) => {
                let fresh = self.state.fresh_at(out.now());
                self.state
                    .change_items(&operations, &fresh, &mut out)
                    .map(Reply::Items)
                    .map_err(NotApplicable::new)
            }
            Input::Cluster(event) => self
                .state
                .cluster_changed(event, &mut out)
                .map(|_| Reply::Done)
                .map_err(NotApplicable::new),
            input @ (Input::By { .. }
            | Input::AgentDedicated { .. }
            | Input::AgentWitness { .. }
            | Input::AgentCoupled { .. }
            | Input::AgentReset { .. }
            | Input::AgentCouplingFailed { .. }
            | Input::AgentEvents { .. }
            | Input::AgentRefused { .. }) => self
                .take_from_agent(input, facts)
                .map_err(NotApplicable::new),
        }
    }

    fn advance(&mut self, facts: &mut Facts) -> Result<(), NotApplicable> {
        let mut out = Out {
            facts,
            last: &mut self.last_event_id,
        };
        self.state.advance(&mut out).map_err(NotApplicable::new)
    }

    fn evolve(&mut self, stamped: &Stamped) -> Result<(), NotApplicable> {
        self.state.evolve(stamped).map_err(NotApplicable::new)?;
        self.last_event_id = stamped.event_id;
        Ok(())
    }

    fn next_wakeup(&self) -> Option<Timestamp> {
        self.state.next_wakeup()
    }

    fn started(&mut self, facts: &mut Facts) -> Result<(), NotApplicable> {
        if self.state.initially_started_at().is_none() {
            let controller_id = self.state.controller_id().clone();
            let event = ControllerEvent::ControllerInitialized {
                controller_id,
                initially_started_at: facts.now(),
            };
            facts.record(self, Event::Controller(event))?;
        }
        let timezone = Some(Arc::clone(&self.timezone));
        facts.record(
            self,
            Event::Controller(ControllerEvent::ControllerReady { timezone }),
        )
    }

    fn closing(&mut self, facts: &mut Facts) -> Result<(), NotApplicable> {
        facts.record(self, Event::Controller(ControllerEvent::ControllerShutDown))
    }

    fn snapshot(&self) -> Box<dyn Iterator<Item = String> + '_> {
        Box::new(self.state.snapshot())
    }

    fn restore(&mut self, line: &str) -> Result<(), NotApplicable> {
        self.state.restore(line).map_err(NotApplicable::new)
    }

    fn released(&self) -> EventId {
        self.state.released()
    }

    fn set_idle(&mut self) {
        self.request = None;
        self.state.set_idle();
    }

    fn working_on(&self) -> Option<String> {
        self.state.working_on().or_else(|| self.request.clone())
    }

    fn name_work(&mut self, work: &Work) {
        let named = work.clone();
        let observer = Observer::new(move |subject| named.on(subject));
        self.state.set_observer(observer);
        self.work = work.clone();
    }

    fn origin_of(&self, subject: &str) -> Option<String> {
        let id = OrderId::from(subject.strip_prefix("Order:")?);
        let workflow = self.state.workflow_of(&id)?;
        Some(format!("Workflow:{workflow}"))
    }

    fn set_aside(
        &mut self,
        subject: &str,
        why: &Problem,
        facts: &mut Facts,
    ) -> Result<Aside, NotApplicable> {
        if let Some(workflow) = WorkflowId::of_key(subject) {
            let is_known = self.state.set_workflow_aside(&workflow, why);
            return Ok(if is_known {
                Aside::Held
            } else {
                Aside::Impossible
            });
        }
        if let Some(id) = subject.strip_prefix("Order:") {
            let events = self.state.set_aside(&OrderId::from(id), why);
            return Aside::by_events(self, events, facts);
        }
        self.refused.insert(subject.to_owned(), why.clone());
        Ok(Aside::Held)
    }

    fn is_set_aside(&self, subject: &str) -> bool {
        if let Some(workflow) = WorkflowId::of_key(subject) {
            return self.state.is_workflow_set_aside(&workflow);
        }
        match subject.strip_prefix("Order:") {
            Some(id) => self.state.is_set_aside(&OrderId::from(id)),
            None => self.refused.contains_key(subject),
        }
    }

    fn kept_from(&self) -> Option<EventId> {
        self.state.output_since()
    }
}

impl node::Clustered for ControllerMachine {
    fn cluster(&self) -> &ClusterState {
        self.state.cluster()
    }

    fn seen(event: ClusterEvent) -> Input {
        Input::Cluster(event)
    }
}
