//! The Controller in the simulated world: the real machine in the simulated commit loop, with the drivers of its Agents.
//!
//! Always: the drivers take the same steps as those of `controller-node`: dedicate, couple, then three things at once, each on
//! requests of its own: follow the events, confirm them, send what is to be sent.

use crate::fault::Fault;
use crate::history::History;
use crate::invariants::reads_are_fresh;
use crate::kernel::{DriverStep, Kernel};
use crate::ledger::Ledger;
use crate::line::Line;
use crate::net::{Ask, ClientCall, ConnId, Packet, Toward};
use crate::node::{Asker, Committed, Moved, Node};
use crate::pair::{Message, Number};
use crate::place::Place;
use crate::seat::Cluster;
use crate::subagent::json;
use crate::witness::{Known, Witnesses};
use controller::{AgentDelivery, DeliveryInput, DeliveryOutput};
use controller_node::{ControllerMachine, Input, Reply};
use model::{
    AgentAnswer, AgentCommand, AgentPath, ControllerCommand, EventId, ItemBody, ItemKey,
    ItemOperation, ItemType, OrderId, Problem, RunId, Stamped, SubagentId, UserId,
};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// As in the real driver.
const LINES_MAX: usize = 1000;
const RELEASE_PERIOD: Duration = Duration::from_secs(1);

/// Each driver has three lines: for commands, for the stream and for confirmations.
const LINES: usize = 3;
const COMMANDS: usize = 0;
const STREAM: usize = 1;
const RELEASES: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Resting,
    Dedicating,
    TellingDedicated,
    Coupling,
    TellingCoupled,
    Coupled,
    TellingFailure,
}

/// What the follower does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Following {
    Opening,
    Idle,
    Taking,
}

/// What confirms does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Releasing {
    Idle,
    Pausing,
    Posting,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    directors: Vec<SubagentId>,
    uris: Vec<Arc<str>>,
}

/// The connection to one Agent.
struct AgentDriver {
    path: AgentPath,
    target: Target,
    /// Which of its Directors is dialled.
    director: usize,
    lines: [Line; LINES],
    stage: Stage,
    following: Following,
    releasing: Releasing,
    run_id: Option<RunId>,
    coupling: Option<u64>,
    observed: EventId,
    confirmed: EventId,
    delivery: AgentDelivery,
    /// The orders that the Agent had when it was coupled.
    held: Vec<OrderId>,
    since: EventId,
    chunks: VecDeque<Vec<String>>,
}

/// The Controller.
pub struct ControllerHost {
    /// Its node.
    pub node: Node<ControllerMachine>,
    drivers: BTreeMap<usize, AgentDriver>,
    witnesses: Witnesses,
}

impl ControllerHost {
    /// One that has not been started.
    pub fn new(node: Node<ControllerMachine>, witnesses: Witnesses) -> ControllerHost {
        ControllerHost {
            node,
            drivers: BTreeMap::new(),
            witnesses,
        }
    }

    /// The process is gone.
    pub fn crash(&mut self, k: &mut Kernel) {
        self.node.crash(k);
        self.drivers.clear();
        self.witnesses.clear();
    }

    /// Something has happened to the member of the log.
    pub fn moved(
        &mut self,
        k: &mut Kernel,
        history: &mut History,
        ledger: &mut Ledger<ControllerMachine>,
    ) {
        let place = self.node.place;
        if let Some(member) = &self.node.seat.member {
            ledger.observe(k, place, member, |k, shadow, observed| {
                history.controller_event(k, shadow, observed);
            });
        }
        match self.node.moved(k, ledger) {
            Moved::Nothing | Moved::Activated => {}
            Moved::Deposed => {
                self.drivers.clear();
                self.witnesses.clear();
                k.hang_up_all(place);
            }
            Moved::Committed(committed) => {
                self.committed(k, committed);
                self.pump(k);
            }
        }
    }

    /// Goes round as often as there is something to do.
    pub fn pump(&mut self, k: &mut Kernel) {
        while k.broken.is_none()
            && let Some(committed) = self.node.pump(k)
        {
            k.step();
            self.committed(k, committed);
        }
    }

    fn committed(&mut self, k: &mut Kernel, committed: Committed<ControllerMachine>) {
        for (asker, replies) in committed.replies {
            match asker {
                Asker::Nobody => {}
                Asker::Request { conn, number } => {
                    let body = match replies.into_iter().next() {
                        Some(Reply::Answer(answer)) => Ok(json(&answer)),
                        Some(Reply::Items(Ok(()))) => Ok(String::new()),
                        Some(Reply::Items(Err(problem))) => Err(json(&problem)),
                        _ => continue,
                    };
                    k.send(conn, Toward::Client, Packet::Response { number, body });
                }
                Asker::Driver { driver, generation } => self.told(k, driver, generation, replies),
                Asker::Witness {
                    cluster,
                    generation,
                } => self.witnesses.told(k, cluster, generation, &replies),
            }
        }
        self.keep_in_step(k);
        self.keep_witnesses(k);
        self.node.release_log(k);
        let drivers: Vec<usize> = self.drivers.keys().copied().collect();
        for index in drivers {
            self.show(k, index);
        }
    }

    /// A client's request has arrived.
    pub fn request(&mut self, k: &mut Kernel, conn: ConnId, number: u64, ask: &Ask) {
        let Ask::Controller(call) = ask else { return };
        if !self.node.may_act(k) {
            k.counts.count(Fault::Inactive);
            let body = Err(json(&inactive()));
            return k.send(conn, Toward::Client, Packet::Response { number, body });
        }
        let input = match call {
            ClientCall::Command(text) => {
                serde_json::from_str::<ControllerCommand>(text).map(|command| Input::Command {
                    user: UserId::from("operator"),
                    command: Box::new(command),
                })
            }
            ClientCall::Read => {
                k.check(reads_are_fresh::check(k, 0, &self.node));
                let body = Ok(String::new());
                return k.send(conn, Toward::Client, Packet::Response { number, body });
            }
            ClientCall::Items(lines) => {
                let operations: Result<Vec<_>, _> = lines
                    .iter()
                    .map(|line| ItemOperation::from_json(line))
                    .collect();
                operations.map(Input::Items)
            }
        };
        match input {
            Ok(input) => {
                self.node.ask(Asker::Request { conn, number }, vec![input]);
                self.pump(k);
            }
            Err(error) => {
                let body = Err(json(&Problem::plain(error.to_string())));
                k.send(conn, Toward::Client, Packet::Response { number, body });
            }
        }
    }

    fn keep_witnesses(&mut self, k: &mut Kernel) {
        let Some(machine) = self.node.machine() else {
            return;
        };
        let known = machine.state.agents().filter_map(|(path, agent)| {
            Some(Known {
                cluster: crate::history::index_of(path)? + 1,
                agent: path.clone(),
                run_id: agent.agent_run_id.clone()?,
                witness: agent.witness.clone(),
            })
        });
        let known = known.collect();
        for (asker, input) in self.witnesses.keep(k, known) {
            self.node.ask(asker, vec![input]);
        }
    }

    /// Passes a message of a Director to the witness of its pair.
    pub fn witness_hears(
        &mut self,
        k: &mut Kernel,
        cluster: Cluster,
        from: Number,
        message: Message,
    ) {
        if !self.node.may_act(k) {
            return;
        }
        if let Some((asker, input)) = self.witnesses.hear(k, cluster, from, message) {
            self.node.ask(asker, vec![input]);
            self.pump(k);
        }
    }

    fn keep_in_step(&mut self, k: &mut Kernel) {
        let Some(machine) = self.node.machine() else {
            return;
        };
        let state = &machine.state;
        let targets: Vec<(AgentPath, Target)> = state
            .agents()
            .filter_map(|(path, _)| Some((path.clone(), target_of(state, path)?)))
            .collect();
        self.drivers.retain(|_, driver| {
            let stays = targets
                .iter()
                .any(|(path, target)| *path == driver.path && *target == driver.target);
            if !stays {
                driver.lines.iter_mut().for_each(|line| line.hang_up(k));
            }
            stays
        });
        for (path, target) in targets {
            let Some(index) = crate::history::index_of(&path) else {
                continue;
            };
            let Some(first) = target
                .uris
                .first()
                .and_then(|uri| crate::workload::agent_of(uri))
            else {
                continue;
            };
            if self.drivers.contains_key(&index) {
                continue;
            }
            let place = self.node.place;
            let line = |role| Line::new(place, index * LINES + role, Place::Agent(first), false);
            let delivery = AgentDelivery::new(path.clone());
            let driver = AgentDriver {
                path,
                target,
                director: 0,
                lines: [line(COMMANDS), line(STREAM), line(RELEASES)],
                stage: Stage::Resting,
                following: Following::Opening,
                releasing: Releasing::Idle,
                run_id: None,
                coupling: None,
                observed: EventId::BEFORE_FIRST,
                confirmed: EventId::BEFORE_FIRST,
                delivery,
                held: Vec::new(),
                since: EventId::BEFORE_FIRST,
                chunks: VecDeque::new(),
            };
            self.drivers.insert(index, driver);
            self.dial(k, index);
        }
    }

    /// A member that was stopped may wake up here while another one is active: it must not take the Agent back.
    fn is_still_active(&mut self, k: &mut Kernel, index: usize) -> bool {
        let may_act = self.node.may_send(k);
        if !may_act {
            self.fail(k, index, inactive());
        }
        may_act
    }

    fn dial(&mut self, k: &mut Kernel, index: usize) {
        if let Some(driver) = self.drivers.get_mut(&index) {
            driver.stage = Stage::Dedicating;
        }
        if !self.is_still_active(k, index) {
            return;
        }
        let Some(machine) = self.node.machine() else {
            return;
        };
        let Some(driver) = self.drivers.get_mut(&index) else {
            return;
        };
        let uri = &driver.target.uris[driver.director % driver.target.uris.len()];
        if let Some(director) = crate::workload::agent_of(uri) {
            driver
                .lines
                .iter_mut()
                .for_each(|line| line.server = Place::Agent(director));
        }
        let agent = machine
            .state
            .agent(&driver.path)
            .cloned()
            .unwrap_or_default();
        driver.lines.iter_mut().for_each(|line| line.dial(k));
        driver.observed = agent.event_id;
        driver.since = machine.last_event_id;
        driver.run_id.clone_from(&agent.agent_run_id);
        if driver.run_id.is_some() {
            return self.couple(k, index);
        }
        driver.stage = Stage::Dedicating;
        let command = AgentCommand::DedicateAgentDirector {
            agent_path: driver.path.clone(),
            directors: driver.target.directors.clone(),
            controller_id: machine.state.controller_id().clone(),
            controller_run_id: machine.run_id(),
            from: None,
        };
        driver.lines[COMMANDS].request(k, Ask::Agent(None, json(&command)));
    }

    fn couple(&mut self, k: &mut Kernel, index: usize) {
        // As in the real driver: it may have been deposed while the dedication was under way.
        if !self.is_still_active(k, index) {
            return;
        }
        let Some(machine) = self.node.machine() else {
            return;
        };
        let Some(driver) = self.drivers.get_mut(&index) else {
            return;
        };
        let Some(agent_run_id) = driver.run_id.clone() else {
            return;
        };
        driver.stage = Stage::Coupling;
        let command = AgentCommand::CoupleController {
            agent_path: driver.path.clone(),
            agent_run_id,
            event_id: driver.observed,
            controller_run_id: machine.run_id(),
            epoch: self.node.epoch(),
            from: None,
        };
        driver.lines[COMMANDS].request(k, Ask::Agent(None, json(&command)));
    }

    /// Something for a driver's line.
    pub fn driver_step(&mut self, k: &mut Kernel, number: usize, step: DriverStep) {
        let (index, role) = (number / LINES, number % LINES);
        let Some(driver) = self.drivers.get_mut(&index) else {
            return;
        };
        match step {
            DriverStep::Dial(generation) => {
                if driver.lines[role].generation == generation && driver.stage == Stage::Resting {
                    self.dial(k, index);
                }
            }
            DriverStep::TimedOut(request) => {
                if driver.lines[role].awaits(request) {
                    self.fail(
                        k,
                        index,
                        Problem::new("Unreachable", "the request took too long"),
                    );
                }
            }
            DriverStep::Listen(generation) => {
                if driver.lines[role].generation != generation {
                } else if driver.lines[role].is_silent(k) {
                    self.fail(
                        k,
                        index,
                        Problem::new("AgentConnectionLost", "the Agent's event stream broke"),
                    );
                } else {
                    driver.lines[role].listen(k);
                }
            }
            DriverStep::Confirm(generation) => {
                if driver.lines[role].generation != generation {
                } else if role == RELEASES {
                    driver.releasing = Releasing::Posting;
                    driver.confirmed = driver.observed;
                    let command = AgentCommand::ReleaseEvents {
                        until_event_id: driver.confirmed,
                    };
                    driver.lines[RELEASES].request(k, Ask::Agent(driver.coupling, json(&command)));
                } else {
                    self.deliver(k, index, DeliveryInput::Wake);
                    self.pump(k);
                }
            }
            // An Agent needs no lease.
            DriverStep::KeepAlive(_) | DriverStep::LeaseOver => {}
        }
    }

    /// A message for a driver.
    pub fn driver_message(&mut self, k: &mut Kernel, conn: ConnId, packet: Packet) {
        let found = self.drivers.iter().find_map(|(index, driver)| {
            let role = driver.lines.iter().position(|line| line.is(conn))?;
            Some((*index, role))
        });
        let Some((index, role)) = found else { return };
        let Some(driver) = self.drivers.get_mut(&index) else {
            return;
        };
        match packet {
            Packet::Reset => self.fail(
                k,
                index,
                Problem::new("Unreachable", "the connection was reset"),
            ),
            Packet::Chunk(lines) => {
                driver.chunks.push_back(lines);
                self.follow(k, index);
            }
            Packet::Response { number, body } => {
                if driver.lines[role].answers(number) {
                    self.answered(k, index, role, body);
                }
            }
            Packet::Request { .. } => {}
        }
    }

    fn answered(
        &mut self,
        k: &mut Kernel,
        index: usize,
        role: usize,
        body: Result<String, String>,
    ) {
        let text = match body {
            Ok(text) => text,
            Err(problem) => {
                let problem =
                    serde_json::from_str(&problem).unwrap_or_else(|_| Problem::plain(problem));
                return self.fail(k, index, problem);
            }
        };
        let Some(driver) = self.drivers.get_mut(&index) else {
            return;
        };
        if role == STREAM {
            driver.following = Following::Idle;
            driver.lines[STREAM].listen(k);
            return self.follow(k, index);
        }
        let answer = serde_json::from_str::<AgentAnswer>(&text)
            .map_err(|error| Problem::plain(error.to_string()))
            .and_then(AgentAnswer::into_result);
        let answer = match answer {
            Ok(answer) => answer,
            Err(problem) => return self.fail(k, index, problem),
        };
        if role == RELEASES {
            driver.releasing = Releasing::Idle;
            return self.release(k, index);
        }
        match (driver.stage, answer) {
            (
                Stage::Dedicating,
                AgentAnswer::Dedicated {
                    agent_run_id,
                    agent_event_id,
                },
            ) => {
                driver.stage = Stage::TellingDedicated;
                driver.run_id = Some(agent_run_id.clone());
                driver.observed = agent_event_id;
                let agent = driver.path.clone();
                self.tell(
                    k,
                    index,
                    COMMANDS,
                    vec![Input::AgentDedicated {
                        agent,
                        run_id: agent_run_id,
                        event_id: agent_event_id,
                    }],
                );
            }
            (
                Stage::Coupling,
                AgentAnswer::Coupled {
                    order_ids,
                    coupling,
                    ..
                },
            ) => {
                driver.stage = Stage::TellingCoupled;
                driver.coupling = Some(coupling);
                driver.held = order_ids;
                let agent = driver.path.clone();
                self.tell(k, index, COMMANDS, vec![Input::AgentCoupled { agent }]);
            }
            (Stage::Coupled, answer @ AgentAnswer::Batch { .. }) => {
                let coupling = driver.coupling.unwrap_or_default();
                self.deliver(k, index, DeliveryInput::Answered { coupling, answer });
                self.pump(k);
            }
            (stage, answer) => self.fail(
                k,
                index,
                Problem::plain(format!("{stage:?}: unexpected {answer:?}")),
            ),
        }
    }

    fn tell(&mut self, k: &mut Kernel, index: usize, role: usize, inputs: Vec<Input>) {
        let Some(driver) = self.drivers.get(&index) else {
            return;
        };
        let asker = Asker::Driver {
            driver: index * LINES + role,
            generation: driver.lines[role].generation,
        };
        self.node.ask(asker, inputs);
        self.pump(k);
    }

    /// The machine has been told something, durably.
    fn told(&mut self, k: &mut Kernel, number: usize, generation: u64, replies: Vec<Reply>) {
        let (index, role) = (number / LINES, number % LINES);
        let Some(driver) = self
            .drivers
            .get_mut(&index)
            .filter(|driver| driver.lines[role].generation == generation)
        else {
            return;
        };
        if role == STREAM {
            driver.following = Following::Idle;
            for reply in replies {
                if let Reply::Observed(observed) = reply {
                    driver.observed = observed;
                }
            }
            self.release(k, index);
            return self.follow(k, index);
        }
        match driver.stage {
            Stage::TellingDedicated => self.couple(k, index),
            Stage::TellingCoupled => {
                driver.stage = Stage::Coupled;
                driver.following = Following::Opening;
                driver.releasing = Releasing::Idle;
                driver.confirmed = driver.observed;
                driver.chunks.clear();
                driver.lines.iter_mut().for_each(|line| line.connected(k));
                k.note(format_args!(
                    "{} has coupled {} at {}",
                    self.node.place, driver.path, driver.observed
                ));
                let after = driver.observed.0;
                driver.lines[STREAM].request(k, Ask::AgentEvents(after));
                let coupled = DeliveryInput::Coupled {
                    coupling: driver.coupling.unwrap_or_default(),
                    held: std::mem::take(&mut driver.held),
                    since: driver.since,
                };
                self.deliver(k, index, coupled);
            }
            // The refusals are recorded.
            Stage::Coupled => {
                let coupling = driver.coupling.unwrap_or_default();
                self.deliver(k, index, DeliveryInput::Recorded { coupling });
            }
            Stage::TellingFailure => {
                driver.stage = Stage::Resting;
                driver.lines[COMMANDS].redial_later(k);
            }
            Stage::Resting | Stage::Dedicating | Stage::Coupling => {}
        }
    }

    /// The connection is given up.
    fn fail(&mut self, k: &mut Kernel, index: usize, problem: Problem) {
        let Some(driver) = self.drivers.get_mut(&index) else {
            return;
        };
        if driver.stage == Stage::TellingFailure || driver.stage == Stage::Resting {
            return;
        }
        k.note(format_args!(
            "{} loses {}: {problem}",
            self.node.place, driver.path
        ));
        // Another Director may be the active one.
        driver.director += 1;
        driver.lines.iter_mut().for_each(|line| line.hang_up(k));
        driver.stage = Stage::TellingFailure;
        self.deliver(k, index, DeliveryInput::Uncoupled);
        let Some(driver) = self.drivers.get(&index) else {
            return;
        };
        let input = Input::AgentCouplingFailed {
            agent: driver.path.clone(),
            problem,
        };
        self.tell(k, index, COMMANDS, vec![input]);
    }

    /// Takes over what has come, one piece after another.
    fn follow(&mut self, k: &mut Kernel, index: usize) {
        let Some(driver) = self.drivers.get_mut(&index) else {
            return;
        };
        if driver.stage != Stage::Coupled || driver.following != Following::Idle {
            return;
        }
        let Some(mut lines) = driver.chunks.pop_front() else {
            return;
        };
        if lines.len() > LINES_MAX {
            driver.chunks.push_front(lines.split_off(LINES_MAX));
        }
        let read = |line: &String| {
            Stamped::from_json(line).map_err(|error| {
                let id = EventId(crate::disk::event_id_of(line));
                (
                    id,
                    Problem::new("AgentEventIsUnreadable", error.to_string()),
                )
            })
        };
        let events = lines.iter().map(read).collect();
        driver.following = Following::Taking;
        let agent = driver.path.clone();
        self.tell(k, index, STREAM, vec![Input::AgentEvents { agent, events }]);
    }

    /// Confirms what was taken over, after a pause.
    fn release(&mut self, k: &mut Kernel, index: usize) {
        let Some(driver) = self.drivers.get_mut(&index) else {
            return;
        };
        if driver.stage == Stage::Coupled
            && driver.releasing == Releasing::Idle
            && driver.observed > driver.confirmed
        {
            driver.releasing = Releasing::Pausing;
            let generation = driver.lines[RELEASES].generation;
            driver.lines[RELEASES].plan(k, RELEASE_PERIOD, DriverStep::Confirm(generation));
        }
    }

    /// Passes the committed state to the delivery.
    fn show(&mut self, k: &mut Kernel, index: usize) {
        // A batch in flight is not committed yet. Its commit calls this function again.
        if !self.node.is_settled() {
            return;
        }
        let (Some(running), Some(driver)) = (&self.node.running, self.drivers.get_mut(&index))
        else {
            return;
        };
        let committed = DeliveryInput::Committed(&running.machine.state);
        let (now, mut out) = (k.steady(self.node.place), Vec::new());
        driver.delivery.handle(now, committed, &mut out);
        self.act(k, index, out);
    }

    /// Passes any other input to the delivery.
    fn deliver(&mut self, k: &mut Kernel, index: usize, input: DeliveryInput<'_>) {
        let Some(driver) = self.drivers.get_mut(&index) else {
            return;
        };
        let place = self.node.place;
        let mut out = Vec::new();
        driver.delivery.handle(k.steady(place), input, &mut out);
        if let Some(due) = driver.delivery.next_wakeup() {
            let line = &driver.lines[COMMANDS];
            let pause = k.when(place, due).since(k.now);
            line.plan(k, pause, DriverStep::Confirm(line.generation));
        }
        self.act(k, index, out);
    }

    /// Executes the outputs of the delivery.
    fn act(&mut self, k: &mut Kernel, index: usize, outputs: Vec<DeliveryOutput>) {
        for output in outputs {
            match output {
                DeliveryOutput::Send { coupling, commands } => {
                    if !self.node.may_send(k) {
                        return self.fail(k, index, inactive());
                    }
                    let Some(driver) = self.drivers.get_mut(&index) else {
                        return;
                    };
                    let batch = json(&AgentCommand::Batch { commands });
                    driver.lines[COMMANDS].request(k, Ask::Agent(Some(coupling), batch));
                }
                DeliveryOutput::Record { refusals, .. } => {
                    let Some(driver) = self.drivers.get(&index) else {
                        return;
                    };
                    let agent = driver.path.clone();
                    let inputs = refusals.into_iter().map(|(thing, problem)| {
                        k.note(format_args!("{agent} refuses {thing:?}: {problem}"));
                        Input::AgentRefused {
                            agent: agent.clone(),
                            thing,
                            problem,
                        }
                    });
                    let inputs = inputs.collect();
                    self.tell(k, index, COMMANDS, inputs);
                }
                DeliveryOutput::Look => self.node.nudge(),
                DeliveryOutput::Close(problem) => return self.fail(k, index, problem),
            }
        }
    }
}

fn inactive() -> Problem {
    Problem::new(
        "ClusterNodeIsNotActive",
        "no majority of the cluster has confirmed lately that this member is the active one",
    )
}

fn target_of(state: &controller::State, path: &AgentPath) -> Option<Target> {
    let record = state.item(&ItemKey::simple(ItemType::AgentRef, path.as_str()))?;
    let ItemBody::Agent(agent) = &record.item.body else {
        return None;
    };
    let uri_of = |director: &SubagentId| {
        let record = state.item(&ItemKey::simple(ItemType::SubagentItem, director.as_str()))?;
        let ItemBody::Subagent(subagent) = &record.item.body else {
            return None;
        };
        Some(Arc::clone(&subagent.uri))
    };
    let uris: Option<Vec<Arc<str>>> = agent.directors.iter().map(uri_of).collect();
    Some(Target {
        directors: agent.directors.clone(),
        uris: uris.filter(|uris| !uris.is_empty())?,
    })
}
