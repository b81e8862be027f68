//! An exhaustive search of the delivery from a Controller to its Agent: one order, up to three commands, and every interleaving of the
//! messages between the real state machines, with lost connections, restarts and refusals.
//!
//! Always: messages in flight arrive in the order of their channel, or are lost with their connection. When nothing more can happen, each
//! accepted command has taken effect, has reached the Agent, or is void.
#![expect(
    clippy::unwrap_used,
    reason = "a world that cannot be set up fails at that line"
)]

use agent_node::AgentMachine;
use controller::{AgentDelivery, DeliveryInput, DeliveryOutput};
use controller_node::ControllerMachine;
use model::{
    AgentAnswer, AgentCommand, AgentPath, ControllerAnswer, ControllerCommand, ControllerId,
    EventId, Order, OrderId, OrderState, Outcome, PlatformInfo, Problem, RunId, Stamped,
    SubagentId, Timestamp, UserId,
};
use node::{Facts, Machine};
use std::collections::BTreeSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
/// The first value of the monotonic clock, and its step, which is longer than any pause.
const TICK: Duration = Duration::from_secs(15);
/// The maximum number of states of a search, more than any of these searches visits.
const STATES_MAX: usize = 400_000;

/// What may happen besides the messages.
#[derive(Clone, Copy)]
struct Case {
    /// The commands, given one after another, each at any moment after the order was added.
    commands: &'static [&'static str],
    /// How often the connection may be lost.
    losses: u32,
    /// How often the Controller may be restarted from its snapshot.
    restarts: u32,
    /// Whether the job may end by itself at any moment; else only when nothing else can happen.
    job_ends: bool,
    /// How often the Agent refuses to take the order.
    refusals: u32,
    /// Whether a command given while the order is on its way to the Agent is never sent: the bug that this search was made for.
    is_planted: bool,
}

const PLAIN: Case = Case {
    commands: &[],
    losses: 0,
    restarts: 0,
    job_ends: false,
    refusals: 0,
    is_planted: false,
};

const CANCEL: &str = r#"{"TYPE":"CancelOrders","orderIds":["O"]}"#;
const CANCEL_FRESH: &str =
    r#"{"TYPE":"CancelOrders","orderIds":["O"],"mode":{"TYPE":"FreshOnly"}}"#;
const CANCEL_KILL: &str =
    r#"{"TYPE":"CancelOrders","orderIds":["O"],"mode":{"TYPE":"FreshOrStarted","kill":{}}}"#;
const SUSPEND: &str = r#"{"TYPE":"SuspendOrders","orderIds":["O"]}"#;
const SUSPEND_KILL: &str = r#"{"TYPE":"SuspendOrders","orderIds":["O"],"mode":{"kill":{}}}"#;
const SUSPEND_RESET: &str =
    r#"{"TYPE":"SuspendOrders","orderIds":["O"],"mode":{"resetState":true}}"#;
const RESUME: &str = r#"{"TYPE":"ResumeOrder","orderId":"O"}"#;
const DELETE: &str = r#"{"TYPE":"DeleteOrdersWhenTerminated","orderIds":["O"]}"#;
const ONE: [&[&str]; 8] = [
    &[CANCEL],
    &[CANCEL_FRESH],
    &[CANCEL_KILL],
    &[SUSPEND],
    &[SUSPEND_KILL],
    &[SUSPEND_RESET],
    &[RESUME],
    &[DELETE],
];
/// Several commands that an operator gives for the same order, one after another.
const SEVERAL: [&[&str]; 10] = [
    &[SUSPEND, CANCEL],
    &[SUSPEND, SUSPEND_KILL],
    &[SUSPEND_KILL, SUSPEND],
    &[SUSPEND, RESUME],
    &[SUSPEND, RESUME, SUSPEND],
    &[SUSPEND, SUSPEND_RESET, CANCEL_KILL],
    &[CANCEL, CANCEL_KILL],
    &[CANCEL_KILL, CANCEL],
    &[CANCEL_FRESH, CANCEL],
    &[CANCEL, CANCEL_FRESH],
];

/// What can happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The next command is given.
    Command,
    /// The Agent gets the request in flight.
    Request,
    /// The Controller gets the answer in flight.
    Answer,
    /// The Controller takes over the Agent's next event.
    AgentEvent,
    /// The connection is lost with all that is in flight.
    Loss,
    /// The Controller is restarted.
    Restart,
    /// The Controller begins to couple and records its newest event.
    Couple,
    /// The Agent gets the request to couple.
    CoupleRequest,
    /// The Controller gets the answer to the request to couple.
    CoupleAnswer,
    /// The job ends, killed or by itself.
    JobEnds,
    /// Time passes.
    Time,
}

/// The state of the connection.
#[derive(Clone, Debug)]
enum Link {
    Down,
    /// The newest event of the Controller, and the newest event of the Agent that the Controller has.
    Asking(EventId, EventId),
    Answering(EventId, u64, Vec<OrderId>),
    /// The number of the Agent's events that have been read.
    Up(usize),
}

#[derive(Clone)]
struct World {
    case: Case,
    controller: ControllerMachine,
    agent: AgentMachine,
    agent_log: Vec<Stamped>,
    delivery: AgentDelivery,
    link: Link,
    request: Option<(u64, Vec<AgentCommand>)>,
    answer: Option<(u64, AgentAnswer)>,
    steady: Duration,
    given: usize,
    losses: u32,
    restarts: u32,
    refusals: u32,
    /// The commands that were accepted.
    accepted: Vec<&'static str>,
    hidden: BTreeSet<OrderId>,
    path: Vec<Step>,
}

fn order_id() -> OrderId {
    OrderId::from("O")
}

fn agent_path() -> AgentPath {
    AgentPath::from("A")
}

fn platform() -> PlatformInfo {
    PlatformInfo {
        version: "1".into(),
        hostname: "host".into(),
        system: "linux".into(),
    }
}

fn empty_controller() -> ControllerMachine {
    ControllerMachine::new(controller::State::new(
        ControllerId::from("C"),
        BTreeSet::new(),
    ))
}

impl World {
    /// Creates a world in which everything is deployed and coupled, and the order has just been added.
    fn new(case: Case) -> World {
        let agent = AgentMachine::in_surroundings(
            RunId::from("agent-log"),
            Arc::default(),
            "UTC".into(),
            platform(),
        );
        let mut world = World {
            case,
            controller: empty_controller(),
            agent,
            agent_log: Vec::new(),
            delivery: AgentDelivery::new(agent_path()),
            link: Link::Down,
            request: None,
            answer: None,
            steady: TICK,
            given: 0,
            losses: case.losses,
            restarts: case.restarts,
            refusals: 0,
            accepted: Vec::new(),
            hidden: BTreeSet::new(),
            path: Vec::new(),
        };
        world.at_controller(|machine, facts| machine.started(facts).unwrap());
        let script = r#"{"TYPE":"ShellScriptExecutable","script":":"}"#;
        let job = format!(
            r#"{{"TYPE":"Execute.Anonymous","job":{{"agentPath":"A","executable":{script}}}}}"#
        );
        let items = [
            r#"{"TYPE":"AgentRef","path":"A","directors":["S"]}"#.to_owned(),
            r#"{"TYPE":"SubagentItem","id":"S","agentPath":"A","uri":"http://s"}"#.to_owned(),
            format!(r#"{{"TYPE":"Workflow","path":"W","instructions":[{job},{job}]}}"#),
        ];
        let operations = items.map(|item| {
            let line = format!(r#"{{"TYPE":"AddOrChangeSimple","item":{item}}}"#);
            model::ItemOperation::from_json(&line).unwrap()
        });
        world.tell(controller_node::Input::Items(Vec::from(operations)));
        world.tell(controller_node::Input::AgentDedicated {
            agent: agent_path(),
            run_id: RunId::from("agent-log"),
            event_id: EventId::BEFORE_FIRST,
        });
        let dedicate = AgentCommand::DedicateAgentDirector {
            agent_path: agent_path(),
            directors: vec!["S".into()],
            controller_id: "C".into(),
            controller_run_id: world.controller.run_id(),
            from: None,
        };
        world.ask_agent(dedicate, None);
        world.quieten();
        let id = SubagentId::from("S");
        world.tell_agent(agent_node::Input::SubagentDedicated {
            id: id.clone(),
            run_id: RunId::from("subagent"),
            platform: None,
            begins_after: EventId::BEFORE_FIRST,
            lease: None,
        });
        world.tell_agent(agent_node::Input::SubagentCoupled { id });
        world.quieten();
        world.refusals = case.refusals;
        world.command(r#"{"TYPE":"AddOrder","order":{"id":"O","workflowPath":"W"}}"#);
        world.path.clear();
        world
    }

    /// Takes steps until nothing but losses and commands can happen.
    fn quieten(&mut self) {
        let (losses, restarts) = (self.losses, self.restarts);
        (self.losses, self.restarts) = (0, 0);
        let given = std::mem::replace(&mut self.given, self.case.commands.len());
        while let Some(step) = self.steps().first().copied() {
            self.take(step);
        }
        (self.losses, self.restarts, self.given) = (losses, restarts, given);
    }

    fn at_controller<R>(&mut self, act: impl FnOnce(&mut ControllerMachine, &mut Facts) -> R) -> R {
        let mut facts = Facts::new(NOW, self.controller.last_event_id);
        let result = act(&mut self.controller, &mut facts);
        self.controller.advance(&mut facts).unwrap();
        self.controller.last_event_id = facts.last_event_id();
        self.controller.state.engine().check().unwrap();
        self.show();
        result
    }

    fn tell(&mut self, input: controller_node::Input) -> controller_node::Reply {
        self.at_controller(|machine, facts| machine.take(input, facts).unwrap())
    }

    /// Passes the committed state to the delivery.
    fn show(&mut self) {
        let mut out = Vec::new();
        let committed = DeliveryInput::Committed(&self.controller.state);
        self.delivery.handle(self.steady, committed, &mut out);
        self.act(out);
    }

    /// Passes any other input to the delivery.
    fn deliver(&mut self, input: DeliveryInput<'_>) {
        let mut out = Vec::new();
        self.delivery.handle(self.steady, input, &mut out);
        self.act(out);
    }

    fn act(&mut self, outputs: Vec<DeliveryOutput>) {
        let mut looks = false;
        for output in outputs {
            match output {
                DeliveryOutput::Send { coupling, commands } => {
                    assert!(self.request.is_none() && self.answer.is_none());
                    self.request = Some((coupling, commands));
                }
                DeliveryOutput::Record { coupling, refusals } => {
                    for (thing, problem) in refusals {
                        let agent = agent_path();
                        self.tell(controller_node::Input::AgentRefused {
                            agent,
                            thing,
                            problem,
                        });
                    }
                    self.deliver(DeliveryInput::Recorded { coupling });
                }
                DeliveryOutput::Look => looks = true,
                DeliveryOutput::Close(_) => self.lose(),
            }
        }
        if looks {
            self.show();
        }
    }

    fn tell_agent(&mut self, input: agent_node::Input) -> agent_node::Reply {
        let last = self
            .agent_log
            .last()
            .map_or(EventId::BEFORE_FIRST, |stamped| stamped.event_id);
        let mut facts = Facts::new(NOW, last);
        let reply = self.agent.take(input, &mut facts).unwrap();
        self.agent.advance(&mut facts).unwrap();
        let lines = facts.into_lines();
        self.agent_log
            .extend(lines.lines().map(|line| Stamped::from_json(line).unwrap()));
        reply
    }

    fn ask_agent(&mut self, command: AgentCommand, coupling: Option<u64>) -> AgentAnswer {
        let input = agent_node::Input::Command {
            user: UserId::from("controller"),
            command,
            torn: EventId::BEFORE_FIRST,
            coupling,
            connected: None,
        };
        match self.tell_agent(input) {
            agent_node::Reply::Answer(answer) => answer,
            agent_node::Reply::Done => AgentAnswer::Accepted,
        }
    }

    fn command(&mut self, json: &str) -> ControllerAnswer {
        let command = Box::new(ControllerCommand::from_json(json).unwrap());
        let user = UserId::from("operator");
        let reply = self.tell(controller_node::Input::Command { user, command });
        let controller_node::Reply::Answer(answer) = reply else {
            panic!("{reply:?}")
        };
        answer
    }

    fn lose(&mut self) {
        self.link = Link::Down;
        (self.request, self.answer) = (None, None);
        self.deliver(DeliveryInput::Uncoupled);
        let problem = Problem::new("Unreachable", "the connection was lost");
        let agent = agent_path();
        self.tell(controller_node::Input::AgentCouplingFailed { agent, problem });
    }

    fn order(&self) -> Option<&Order> {
        self.controller
            .state
            .engine()
            .order(&order_id())
            .map(AsRef::as_ref)
    }

    fn agents_order(&self) -> Option<&Order> {
        self.agent
            .state
            .engine
            .order(&order_id())
            .map(AsRef::as_ref)
    }

    /// Passes the Agent's events to the Controller, up to the next one that changes it.
    fn read(&mut self, mut position: usize) {
        let before = self.controller.last_event_id;
        while self.controller.last_event_id == before
            && let Some(stamped) = self.agent_log.get(position).cloned()
        {
            position += 1;
            let (agent, events) = (agent_path(), vec![Ok(stamped)]);
            self.tell(controller_node::Input::AgentEvents { agent, events });
        }
        self.link = Link::Up(position);
    }

    /// Returns the attempt that runs at the Agent, and whether it is being killed.
    fn job(&self) -> Option<(model::Attempt, bool)> {
        let mut attempt = None;
        let mut is_killed = false;
        for (_, work) in self.agent.state.work_after(&SubagentId::from("S"), 0) {
            match work {
                agent::Work::Start { attempt: at, .. } => attempt = Some(at),
                agent::Work::Kill { attempt: at, .. } => {
                    attempt.get_or_insert(at);
                    is_killed = true;
                }
            }
        }
        attempt.map(|attempt| (attempt, is_killed))
    }

    /// What can happen now. Time passes and an undisturbed job ends only when nothing else can happen.
    fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        match &self.link {
            Link::Down => steps.push(Step::Couple),
            Link::Asking(..) => steps.push(Step::CoupleRequest),
            Link::Answering(..) => steps.push(Step::CoupleAnswer),
            Link::Up(position) => {
                if self.request.is_some() {
                    steps.push(Step::Request);
                }
                if self.answer.is_some() {
                    steps.push(Step::Answer);
                }
                if *position < self.agent_log.len() {
                    steps.push(Step::AgentEvent);
                }
            }
        }
        let job = self.job();
        let is_free = self.case.job_ends || job.as_ref().is_some_and(|(_, is_killed)| *is_killed);
        if job.is_some() && is_free {
            steps.push(Step::JobEnds);
        }
        if self.given < self.case.commands.len() {
            steps.push(Step::Command);
        }
        let is_quiet = steps.is_empty();
        if self.losses > 0 && !matches!(self.link, Link::Down) {
            steps.push(Step::Loss);
        }
        if self.restarts > 0 {
            steps.push(Step::Restart);
        }
        if is_quiet {
            if self.delivery.next_wakeup().is_some() {
                steps.push(Step::Time);
            } else if job.is_some() {
                steps.push(Step::JobEnds);
            }
        }
        steps
    }

    fn take(&mut self, step: Step) {
        self.path.push(step);
        match step {
            Step::Command => {
                let json = self.case.commands[self.given];
                self.given += 1;
                let is_on_its_way = self.order().is_some_and(|order| {
                    matches!(
                        order.attached_state,
                        Some(model::AttachedState::Attaching { .. })
                    )
                });
                if self.command(json) == ControllerAnswer::Accepted {
                    self.accepted.push(json);
                    if self.case.is_planted && is_on_its_way {
                        self.hidden.insert(order_id());
                    }
                }
            }
            Step::Request => {
                let (coupling, commands) = self.request.take().unwrap();
                let answer = self.request_arrives(coupling, commands);
                self.answer = Some((coupling, answer));
            }
            Step::Answer => {
                let (coupling, answer) = self.answer.take().unwrap();
                self.deliver(DeliveryInput::Answered { coupling, answer });
            }
            Step::AgentEvent => {
                if let Link::Up(position) = self.link {
                    self.read(position);
                }
            }
            Step::Loss => {
                self.losses -= 1;
                self.lose();
            }
            Step::Restart => {
                self.restarts -= 1;
                let lines: Vec<String> = self.controller.snapshot().collect();
                let last = self.controller.last_event_id;
                self.controller = empty_controller();
                for line in lines {
                    self.controller.restore(&line).unwrap();
                }
                self.controller.last_event_id = last;
                (self.request, self.answer, self.link) = (None, None, Link::Down);
                self.delivery = AgentDelivery::new(agent_path());
                self.at_controller(|machine, facts| machine.started(facts).unwrap());
            }
            Step::Couple => {
                let observed = self.controller.state.agent(&agent_path()).unwrap().event_id;
                self.link = Link::Asking(self.controller.last_event_id, observed);
            }
            Step::CoupleRequest => {
                let Link::Asking(since, event_id) = self.link.clone() else {
                    return;
                };
                let couple = AgentCommand::CoupleController {
                    agent_path: agent_path(),
                    agent_run_id: RunId::from("agent-log"),
                    event_id,
                    controller_run_id: self.controller.run_id(),
                    epoch: 0,
                    from: None,
                };
                let answer = self.ask_agent(couple, None);
                let AgentAnswer::Coupled {
                    order_ids,
                    coupling,
                    ..
                } = answer
                else {
                    panic!("{answer:?}")
                };
                self.link = Link::Answering(since, coupling, order_ids);
            }
            Step::CoupleAnswer => {
                let Link::Answering(since, coupling, held) = self.link.clone() else {
                    return;
                };
                let agent = agent_path();
                let observed = self.controller.state.agent(&agent).unwrap().event_id;
                let read = self
                    .agent_log
                    .partition_point(|stamped| stamped.event_id <= observed);
                self.link = Link::Up(read);
                self.tell(controller_node::Input::AgentCoupled { agent });
                self.deliver(DeliveryInput::Coupled {
                    coupling,
                    held,
                    since,
                });
            }
            Step::JobEnds => {
                let (attempt, is_killed) = self.job().unwrap();
                let succeeded = Outcome::SUCCEEDED;
                let outcome = if is_killed {
                    Outcome::Killed {
                        outcome: Box::new(Outcome::failed("")),
                    }
                } else {
                    succeeded
                };
                let ended = model::SubagentEvent::OrderProcessed { attempt, outcome };
                self.subagent_reports(ended);
            }
            Step::Time => {
                self.steady += TICK;
                self.deliver(DeliveryInput::Wake);
            }
        }
    }

    fn subagent_reports(&mut self, event: model::SubagentEvent) {
        let observed = self.agent.state.subagents()[&SubagentId::from("S")].observed;
        let stamped = model::SubagentStamped {
            event_id: EventId(observed.0 + 1),
            event,
        };
        self.tell_agent(agent_node::Input::SubagentEvents {
            id: SubagentId::from("S"),
            events: vec![Arc::new(stamped)],
        });
    }

    /// Lets the Agent handle a request, which it may refuse in part.
    fn request_arrives(&mut self, coupling: u64, commands: Vec<AgentCommand>) -> AgentAnswer {
        let mut responses = Vec::new();
        for command in commands {
            let hidden = matches!(&command, AgentCommand::MarkOrder { order_id, .. } if self.hidden.contains(order_id));
            let refused = self.refusals > 0 && matches!(command, AgentCommand::AttachOrder { .. });
            responses.push(if refused {
                self.refusals -= 1;
                AgentAnswer::from(Problem::new("NoRoom", "the Agent has no room"))
            } else if hidden {
                AgentAnswer::Accepted
            } else {
                self.ask_agent(command, Some(coupling))
            });
        }
        AgentAnswer::Batch { responses }
    }

    /// Returns a hash of everything that distinguishes this world from another one. The clocks stand still, so equal numbers of events give
    /// equal event ids. The outbox and the Agent's log represent the items.
    fn hash(&self) -> u64 {
        let agent = agent_path();
        let state = &self.controller.state;
        let nothing_sent = controller::Cursor::default();
        let outbox: Vec<_> = state.outbox(&agent, &nothing_sent).collect();
        let all = (
            (self.order(), self.agents_order(), self.job(), outbox),
            (self.controller.last_event_id, state.agent(&agent)),
            (self.agent_log.len(), self.agent_log.last()),
            (&self.delivery, &self.link, &self.request, &self.answer),
            (self.steady, self.given, &self.accepted, &self.hidden),
            (self.losses, self.restarts, self.refusals),
        );
        let mut hasher = DefaultHasher::new();
        format!("{all:?}").hash(&mut hasher);
        hasher.finish()
    }

    /// Judges a world in which nothing but the end of an undisturbed job can happen any more.
    fn judge(&self) -> Result<(), String> {
        let Some(order) = self.order() else {
            return Ok(());
        };
        if !self.delivery.is_idle() {
            return Err("the delivery waits for nothing".to_owned());
        }
        let agents = self.agents_order();
        if order.attached_to().is_none() && agents.is_some() {
            return Err(format!("both have the order: {order:?} and {agents:?}"));
        }
        let Some(mark) = order.mark.as_deref() else {
            return self.judge_end(order);
        };
        match agents {
            Some(agents) if agents.mark.as_deref() == Some(mark) => Ok(()),
            _ => Err(format!("{mark:?} has no effect: {order:?} and {agents:?}")),
        }
    }

    /// Judges an order without a pending mark: the accepted commands have taken effect, unless they are void.
    fn judge_end(&self, order: &Order) -> Result<(), String> {
        let is_cancelled = order.state == OrderState::Cancelled;
        let has_ended = order.is_terminated();
        let was_cancelled = self
            .accepted
            .iter()
            .any(|json| [CANCEL, CANCEL_KILL].contains(json));
        if was_cancelled && !has_ended && self.job().is_none() {
            return Err(format!("it is neither cancelled nor at its end: {order:?}"));
        }
        if is_cancelled && !self.accepted.iter().any(|json| json.contains("Cancel")) {
            return Err("nobody has cancelled it".to_owned());
        }
        let is_resumed = self.accepted.contains(&RESUME);
        let was_suspended = self.accepted.iter().any(|json| json.contains("Suspend"));
        if was_suspended && !is_resumed && !has_ended && !order.is_suspended {
            return Err(format!("it is not suspended: {order:?}"));
        }
        Ok(())
    }
}

/// Visits all states. Returns their number, or what is wrong with the first bad state.
fn search(case: Case) -> Result<usize, String> {
    let begin = World::new(case);
    let mut seen = BTreeSet::from([begin.hash()]);
    let mut open = vec![begin];
    while let Some(world) = open.pop() {
        let steps = world.steps();
        let is_quiet = steps.iter().all(|step| {
            matches!(step, Step::JobEnds | Step::Loss | Step::Restart)
                && (*step != Step::JobEnds || !case.job_ends)
        });
        let is_killing = world.job().is_some_and(|(_, is_killed)| is_killed);
        if is_quiet && !is_killing && matches!(world.link, Link::Up(_)) {
            world
                .judge()
                .map_err(|why| format!("{:?}: {why}, after {:?}", case.commands, world.path))?;
        }
        for step in steps {
            let mut next = world.clone();
            next.take(step);
            if seen.insert(next.hash()) {
                open.push(next);
            }
        }
        assert!(seen.len() < STATES_MAX, "{:?}", case.commands);
    }
    Ok(seen.len())
}

fn holds(case: Case) -> usize {
    search(case).unwrap_or_else(|why| panic!("{why}"))
}

#[test]
fn every_command_at_every_moment_takes_effect_or_is_refused() {
    let mut states = 0;
    for commands in ONE {
        states += holds(Case { commands, ..PLAIN });
        let job_ends = true;
        states += holds(Case {
            commands,
            job_ends,
            ..PLAIN
        });
    }
    assert!(states > 500, "{states}");
}

#[test]
fn a_lost_connection_and_a_restart_at_every_moment_lose_no_command() {
    for commands in [ONE[0], ONE[1], ONE[4]] {
        let losses = 1;
        holds(Case {
            commands,
            losses,
            ..PLAIN
        });
        let restarts = 1;
        holds(Case {
            commands,
            restarts,
            ..PLAIN
        });
    }
}

#[test]
fn an_agent_that_refuses_the_order_loses_no_command() {
    for commands in ONE {
        let refusals = 2;
        holds(Case {
            commands,
            refusals,
            ..PLAIN
        });
    }
}

#[test]
fn several_commands_one_after_another_leave_what_was_asked_last() {
    for commands in SEVERAL {
        holds(Case { commands, ..PLAIN });
    }
}

#[test]
fn the_search_finds_a_wish_that_is_never_sent() {
    for commands in [ONE[0], ONE[2], ONE[3], ONE[4]] {
        let is_planted = true;
        let found = search(Case {
            commands,
            is_planted,
            ..PLAIN
        });
        let why = found.expect_err("an order that is on its way misses what was asked meanwhile");
        assert!(why.contains("has no effect"), "{why}");
    }
}
