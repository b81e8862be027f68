//! The Agent's machine as the commit loop sees it.

use agent::{Standing, State};
use engine::Observer;
use model::{
    AgentAnswer, AgentCommand, AgentOwnEvent, ClusterEvent, ClusterState, Event, EventId, Metering,
    OrderId, PlatformInfo, Problem, RunId, Stamped, SubagentId, SubagentStamped, Timestamp, UserId,
    WorkflowId,
};
use node::{Aside, Facts, Machine, NotApplicable, Work};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A workflow that retries without delay and without end never comes to rest: after so many events others get their turn.
const EVENTS_PER_ROUND: usize = 1000;

/// The Agent's state in the commit loop.
#[derive(Clone, Debug)]
pub struct AgentMachine {
    /// The state.
    pub state: State,
    run_id: RunId,
    platform: PlatformInfo,
    timezone: Arc<str>,
    /// The number of the Controller's newest coupling: only its commands are followed.
    coupling: u64,
    /// The request that is being executed, or was executed last.
    request: Option<String>,
    /// Names the work in progress, if it must be named.
    work: Work,
    /// Requests that have ended the node several times: they are refused.
    refused: BTreeMap<String, Problem>,
}

/// What comes to an Agent.
#[derive(Debug)]
pub enum Input {
    /// The Controller asks. `torn`: events up to there are gone from the log.
    Command {
        /// Who.
        user: UserId,
        /// What.
        command: AgentCommand,
        /// Where the log begins.
        torn: EventId,
        /// Under which coupling, if any.
        coupling: Option<u64>,
        /// The coupling whose event stream is open, if one is.
        connected: Option<u64>,
    },
    /// What was seen of the pair of Directors.
    Cluster(ClusterEvent),
    /// A reset begins: the Directors are a pair no more.
    Parting,
    /// A Subagent answered with this life.
    SubagentDedicated {
        /// Which.
        id: SubagentId,
        /// Its life.
        run_id: RunId,
        /// Its machine.
        platform: Option<PlatformInfo>,
        /// What it has kept begins behind this event.
        begins_after: EventId,
        /// The lease it is going to be given.
        lease: Option<Duration>,
    },
    /// A Subagent is away for so long that nothing can be running there any more.
    SubagentLeaseOver {
        /// Which.
        id: SubagentId,
    },
    /// A Subagent is connected.
    SubagentCoupled {
        /// Which.
        id: SubagentId,
    },
    /// The connection to a Subagent failed.
    SubagentFailed {
        /// Which.
        id: SubagentId,
        /// Why.
        problem: Problem,
    },
    /// A Subagent reports.
    SubagentEvents {
        /// Which.
        id: SubagentId,
        /// What.
        events: Vec<Arc<SubagentStamped>>,
    },
    /// How busy a Subagent is. Asked for by [`State::wants_metering`].
    SubagentMetered {
        /// Which.
        id: SubagentId,
        /// How.
        metering: Metering,
    },
    /// A Subagent that is to be reset by force has been told to end, or could not be told.
    SubagentResetEnforced {
        /// Which.
        id: SubagentId,
    },
    /// A Subagent refused to start a job.
    StartRefused {
        /// Which.
        id: SubagentId,
        /// The attempt.
        attempt: model::Attempt,
        /// Why.
        problem: Problem,
    },
}

/// What an input is answered with.
#[derive(Debug)]
pub enum Reply {
    /// To a command.
    Answer(AgentAnswer),
    /// To everything else.
    Done,
}

impl AgentMachine {
    /// An Agent that belongs to nobody yet. `run_id` becomes the identity of its log when it is dedicated.
    pub fn new(run_id: RunId) -> AgentMachine {
        let timezone = local_zone();
        AgentMachine::in_surroundings(
            run_id,
            node::environment(),
            timezone,
            subagent_node::platform_info(),
        )
    }

    /// The same in a process with this environment, in this zone, on this machine.
    pub fn in_surroundings(
        run_id: RunId,
        environment: Arc<BTreeMap<Arc<str>, Arc<str>>>,
        timezone: Arc<str>,
        platform: PlatformInfo,
    ) -> AgentMachine {
        AgentMachine {
            state: State::new(environment),
            run_id,
            platform,
            timezone,
            coupling: 0,
            request: None,
            work: Work::default(),
            refused: BTreeMap::new(),
        }
    }

    /// The same as the Director at this place of the Agent's directors.
    #[must_use]
    pub fn at(mut self, position: usize) -> AgentMachine {
        self.state = self.state.at(position);
        self
    }

    /// Returns the number of the Controller's newest coupling.
    pub fn coupling(&self) -> u64 {
        self.coupling
    }

    fn record_all(
        &mut self,
        facts: &mut Facts,
        events: impl IntoIterator<Item = Event>,
    ) -> Result<(), NotApplicable> {
        for event in events {
            if let Event::Order(id, _) = &event {
                tasks::fault_at(id.as_str());
            }
            facts.record(self, event)?;
        }
        Ok(())
    }

    fn command(
        &mut self,
        user: &UserId,
        command: AgentCommand,
        (torn, connected): (EventId, Option<u64>),
        facts: &mut Facts,
    ) -> Result<AgentAnswer, NotApplicable> {
        if let AgentCommand::Batch { commands } = command {
            let mut responses = Vec::with_capacity(commands.len());
            for command in commands {
                responses.push(self.command(user, command, (torn, connected), facts)?);
            }
            return Ok(AgentAnswer::Batch { responses });
        }
        let request = name_of(&command);
        let problem = self.refused.get(&request).cloned();
        self.work.on(&request);
        self.request = Some(request);
        if let Some(problem) = problem {
            return Ok(AgentAnswer::from(problem));
        }
        if let AgentCommand::MarkOrder { order_id, .. } = &command {
            self.state.release_order(order_id);
        }
        let run_id = self
            .state
            .meta()
            .map_or(&self.run_id, |meta| &meta.agent_run_id)
            .clone();
        let standing = Standing {
            run_id,
            last: facts.last_event_id(),
            torn,
            // Event ids rise over restarts, so a number of an earlier life is never given again.
            coupling: facts.last_event_id().0.max(self.coupling) + 1,
            connected,
            now: facts.now(),
        };
        match self.state.decide(&command, user, &standing) {
            Ok((events, answer)) => {
                for event in &events {
                    warn_of_other_controller(event);
                }
                self.record_all(facts, events)?;
                if let AgentCommand::CoupleController { from, epoch, .. } = &command {
                    if let AgentAnswer::Coupled { coupling, .. } = &answer {
                        self.coupling = *coupling;
                        self.state.on_coupled(from.as_ref(), *epoch, *coupling);
                    } else if let Some(from) = from {
                        self.state.on_controller_refused(from, facts.now());
                    }
                }
                Ok(answer)
            }
            Err(problem) => Ok(AgentAnswer::from(problem)),
        }
    }
}

/// Returns the name under which a request is recorded when it ends the node. Equal requests have the same name.
fn name_of(command: &AgentCommand) -> String {
    let kind = command.type_name();
    match command {
        AgentCommand::AttachOrder { order } => format!("{kind}:{}", order.id),
        AgentCommand::DetachOrder { order_id } | AgentCommand::MarkOrder { order_id, .. } => {
            format!("{kind}:{order_id}")
        }
        AgentCommand::AttachItem { key, .. } | AgentCommand::DetachItem { key } => {
            format!("{kind}:{key}")
        }
        AgentCommand::ResetSubagent { subagent_id, .. }
        | AgentCommand::ConfirmSubagentLoss { subagent_id, .. } => {
            format!("{kind}:{subagent_id}")
        }
        AgentCommand::Batch { .. }
        | AgentCommand::DedicateAgentDirector { .. }
        | AgentCommand::CoupleController { .. }
        | AgentCommand::ReleaseEvents { .. }
        | AgentCommand::Reset { .. }
        | AgentCommand::TakeSnapshot
        | AgentCommand::ClusterSwitchOver
        | AgentCommand::ShutDown { .. }
        | AgentCommand::NoOperation => kind.to_owned(),
    }
}

fn warn_of_other_controller(event: &Event) {
    if let Event::AgentOwn(AgentOwnEvent::OtherControllerRefused { other, coupled }) = event {
        tracing::error!(refused = %other, %coupled, "two Controllers of the same identity are running: one that is not coupled is refused; stop the one that is not wanted");
    }
}

/// Whether a late repetition of the command could do harm: it could attach an order that has come, run and gone.
fn needs_coupling(command: &AgentCommand) -> bool {
    match command {
        AgentCommand::Batch { commands } => commands.iter().any(needs_coupling),
        AgentCommand::AttachItem { .. }
        | AgentCommand::DetachItem { .. }
        | AgentCommand::AttachOrder { .. }
        | AgentCommand::DetachOrder { .. }
        | AgentCommand::MarkOrder { .. }
        | AgentCommand::ResetSubagent { .. }
        | AgentCommand::ConfirmSubagentLoss { .. }
        | AgentCommand::ReleaseEvents { .. } => true,
        AgentCommand::DedicateAgentDirector { .. }
        | AgentCommand::CoupleController { .. }
        // Names the life it is for.
        | AgentCommand::Reset { .. }
        | AgentCommand::TakeSnapshot
        | AgentCommand::ClusterSwitchOver
        | AgentCommand::ShutDown { .. }
        | AgentCommand::NoOperation => false,
    }
}

/// The name of this machine's time zone, for information.
fn local_zone() -> Arc<str> {
    std::env::var("TZ")
        .ok()
        .filter(|zone| !zone.is_empty())
        .map_or_else(
            || {
                let link = std::fs::read_link("/etc/localtime").unwrap_or_default();
                let text = link.to_string_lossy();
                text.split_once("zoneinfo/")
                    .map_or_else(|| "UTC".into(), |(_, zone)| zone.into())
            },
            Into::into,
        )
}

impl Machine for AgentMachine {
    type Input = Input;
    type Reply = Reply;

    fn take(&mut self, input: Input, facts: &mut Facts) -> Result<Reply, NotApplicable> {
        self.set_idle();
        match input {
            Input::Command {
                user,
                command,
                torn,
                coupling,
                connected,
            } => {
                if needs_coupling(&command) && coupling != Some(self.coupling) {
                    let message = "the Controller has coupled anew, or not at all, since this command was sent";
                    let problem = Problem::new("AgentNotCoupled", message);
                    return Ok(Reply::Answer(AgentAnswer::from(problem)));
                }
                return self
                    .command(&user, command, (torn, connected), facts)
                    .map(Reply::Answer);
            }
            Input::SubagentDedicated {
                id,
                run_id,
                platform,
                begins_after,
                lease,
            } => {
                let events = self.state.on_subagent_dedicated(&id, &run_id, platform);
                self.record_all(facts, events)?;
                // What it has let go, this Agent has confirmed, maybe before the Subagent was removed and added again, or just now
                // by a confirmation that was still under way then.
                let observed = self.state.on_subagent_observed(&id, begins_after);
                self.record_all(facts, observed)?;
                // Before it can have got it: after a restart the Director must know for how long to wait.
                let offered = lease.and_then(|lease| self.state.on_lease_offered(&id, lease));
                self.record_all(facts, offered)?;
            }
            Input::Cluster(event) => {
                let event = self.state.on_cluster(event);
                self.record_all(facts, event)?;
            }
            Input::Parting => {
                let events = self.state.on_parting();
                self.record_all(facts, events)?;
            }
            Input::SubagentLeaseOver { id } => {
                let events = self.state.on_lease_over(&id);
                self.record_all(facts, events)?;
            }
            Input::SubagentCoupled { id } => {
                let event = self.state.on_subagent_coupled(&id);
                self.record_all(facts, event)?;
            }
            Input::SubagentFailed { id, problem } => {
                let event = self.state.on_subagent_failed(&id, problem);
                self.record_all(facts, event)?;
            }
            Input::SubagentEvents { id, events } => {
                for stamped in &events {
                    let events = self.state.on_subagent_event(&id, stamped);
                    self.record_all(facts, events)?;
                }
                if let Some(last) = events.last() {
                    let observed = self.state.on_subagent_observed(&id, last.event_id);
                    self.record_all(facts, observed)?;
                }
            }
            Input::SubagentResetEnforced { id } => {
                let events = self.state.on_reset_enforced(&id);
                self.record_all(facts, events)?;
            }
            Input::SubagentMetered { id, metering } => self.state.on_metering(&id, metering),
            Input::StartRefused {
                id,
                attempt,
                problem,
            } => {
                let event = self.state.on_start_refused(&id, &attempt, problem);
                self.record_all(facts, event)?;
            }
        }
        Ok(Reply::Done)
    }

    fn advance(&mut self, facts: &mut Facts) -> Result<(), NotApplicable> {
        let begin = facts.len();
        while facts.len() - begin < EVENTS_PER_ROUND
            && !facts.is_full()
            && let Some(events) = self.state.step(facts.now())
        {
            self.record_all(facts, events)?;
        }
        Ok(())
    }

    fn evolve(&mut self, stamped: &Stamped) -> Result<(), NotApplicable> {
        self.state.evolve(stamped).map_err(NotApplicable::new)
    }

    fn next_wakeup(&self) -> Option<Timestamp> {
        self.state.next_wakeup()
    }

    fn started(&mut self, facts: &mut Facts) -> Result<(), NotApplicable> {
        let ready = AgentOwnEvent::Ready {
            timezone: Some(self.timezone.clone()),
            platform_info: Some(self.platform.clone()),
        };
        facts.record(self, Event::AgentOwn(ready))
    }

    fn closing(&mut self, facts: &mut Facts) -> Result<(), NotApplicable> {
        facts.record(self, Event::AgentOwn(AgentOwnEvent::ShutDown))
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
        let order = self.state.stepping().map(|id| format!("Order:{id}"));
        order.or_else(|| self.request.clone())
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
}

impl node::Clustered for AgentMachine {
    fn cluster(&self) -> &ClusterState {
        self.state.cluster()
    }

    fn seen(event: ClusterEvent) -> Input {
        Input::Cluster(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{AgentPath, ItemKey, SignedText};

    fn ask(machine: &mut AgentMachine, facts: &mut Facts, input: Input) -> AgentAnswer {
        match machine.take(input, facts).expect("the input fits") {
            Reply::Answer(answer) => answer,
            Reply::Done => AgentAnswer::Accepted,
        }
    }

    fn command(command: AgentCommand, coupling: Option<u64>) -> Input {
        Input::Command {
            user: UserId::new("C"),
            command,
            torn: EventId::BEFORE_FIRST,
            coupling,
            connected: None,
        }
    }

    #[test]
    fn a_subagent_that_let_something_go_meanwhile_is_followed_from_where_it_stands() {
        let platform = PlatformInfo {
            version: "1".into(),
            hostname: "host".into(),
            system: "linux".into(),
        };
        let run_id = RunId::new("agent-life");
        let mut machine =
            AgentMachine::in_surroundings(run_id.clone(), Arc::default(), "UTC".into(), platform);
        let mut facts = Facts::new(Timestamp::from_millis(1_000_000), EventId::BEFORE_FIRST);
        let dedicate = AgentCommand::DedicateAgentDirector {
            agent_path: AgentPath::new("ALFA"),
            directors: vec!["ALFA-0".into()],
            controller_id: "C".into(),
            controller_run_id: RunId::new("c"),
            from: None,
        };
        ask(&mut machine, &mut facts, command(dedicate, None));
        let couple = AgentCommand::CoupleController {
            agent_path: AgentPath::new("ALFA"),
            agent_run_id: run_id,
            event_id: EventId::BEFORE_FIRST,
            controller_run_id: RunId::new("c"),
            epoch: 0,
            from: None,
        };
        let answer = ask(&mut machine, &mut facts, command(couple, None));
        let AgentAnswer::Coupled { coupling, .. } = answer else {
            panic!("{answer:?}")
        };
        let key: ItemKey = serde_json::from_str("\"Subagent:S\"").expect("a key");
        let text =
            r#"{"TYPE":"SubagentItem","id":"S","agentPath":"ALFA","uri":"http://127.0.0.1:1"}"#;
        let item = SignedText {
            string: text.into(),
            signature: None,
        };
        let attach = AgentCommand::AttachItem {
            item,
            key,
            item_revision: None,
        };
        ask(&mut machine, &mut facts, command(attach, Some(coupling)));
        let id = SubagentId::new("S");
        // The second answer comes after a failed coupling: a late confirmation has arrived in between.
        for begins_after in [0, 1] {
            let dedicated = Input::SubagentDedicated {
                id: id.clone(),
                run_id: RunId::new("subagent-life"),
                platform: None,
                begins_after: EventId(begins_after),
                lease: None,
            };
            ask(&mut machine, &mut facts, dedicated);
            assert_eq!(
                machine.state.subagents()[&id].observed,
                EventId(begins_after)
            );
        }
    }
}
