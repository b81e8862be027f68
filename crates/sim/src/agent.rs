//! An Agent in the simulated world: the real machine in the simulated commit loop, with the drivers of its Subagents.
//!
//! Always: the drivers take the same steps as those of `agent-node`: dedicate, couple, stream from a position, batches of commands,
//! confirmation after the commit.

use crate::disk::event_id_of;
use crate::fault::Fault;
use crate::history::History;
use crate::kernel::{DriverStep, Kernel};
use crate::ledger::Ledger;
use crate::line::Line;
use crate::moment::Moment;
use crate::net::{Ask, ConnId, Packet, Toward};
use crate::node::{Asker, Committed, Moved, Node};
use crate::place::Place;
use crate::subagent::json;
use agent::{Renewal, Work, distance};
use agent_node::outgoing::{Batch, Job, gather};
use agent_node::{AgentMachine, Input, Reply};
use model::{
    AgentCommand, Attempt, EventId, ItemKey, Problem, RunId, Seconds, SubagentAnswer,
    SubagentCommand, SubagentId, SubagentStamped, UserId,
};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// As in the real driver.
const SLOT: usize = 256;
const RELEASE_DELAY: Duration = Duration::from_millis(500);
const RELEASE_EVENTS: u64 = 1000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Waits to dial.
    Resting,
    Dedicating,
    /// The machine is told of the dedication.
    TellingLife,
    Coupling,
    OpeningStream,
    /// The machine is told of the coupling.
    TellingCoupled,
    Serving,
    /// A batch of commands is under way; then everything until here is confirmed.
    Sending(EventId),
    /// Reports are being taken over.
    Taking(EventId),
    /// The machine is told that a start was refused, then of the failure.
    TellingRefusal,
    /// The machine is told of the failure.
    TellingFailure,
    /// The machine is told that the lease is over.
    TellingLoss,
}

/// The connection to one Subagent.
struct SubagentDriver {
    id: SubagentId,
    uri: Arc<str>,
    line: Line,
    is_leased: bool,
    stage: Stage,
    run_id: Option<RunId>,
    coupling: u64,
    is_open: bool,
    cursor: u64,
    sent: BTreeMap<ItemKey, Option<u64>>,
    slot: VecDeque<Job>,
    chunks: VecDeque<Vec<Arc<SubagentStamped>>>,
    taken_over: EventId,
    confirmed: EventId,
    is_confirming: bool,
    confirm_now: bool,
    attempts: Vec<Option<Attempt>>,
    problem: Option<Problem>,
    /// The number of the coupling's newest request.
    number: u64,
    renewal: Renewal,
    keep_alive_now: bool,
    /// When it is planned to look whether the lease is over.
    over_alarm: Option<Moment>,
    /// What the Subagent knew when it was coupled.
    known: Vec<Attempt>,
}

/// A listener to the Agent's events.
struct Stream {
    conn: ConnId,
    after: u64,
}

/// A Director of an Agent.
pub struct AgentHost {
    /// Its number among all Directors.
    pub index: usize,
    /// Which Agent.
    pub agent: usize,
    /// Its node.
    pub node: Node<AgentMachine>,
    drivers: BTreeMap<usize, SubagentDriver>,
    streams: Vec<Stream>,
    lease: Duration,
    /// Whether there is another Director, so that its own Subagent has a lease too.
    is_pair: bool,
    /// Whether the Agent accepts marks and ignores them: a planted fault.
    pub forgets_marks: bool,
    /// What was committed is being passed on: what is asked meanwhile is judged after that.
    is_releasing: bool,
}

impl AgentHost {
    /// One that has not been started.
    pub fn new(
        index: usize,
        agent: usize,
        node: Node<AgentMachine>,
        lease: Duration,
        is_pair: bool,
    ) -> AgentHost {
        AgentHost {
            index,
            agent,
            node,
            drivers: BTreeMap::new(),
            streams: Vec::new(),
            lease,
            is_pair,
            forgets_marks: false,
            is_releasing: false,
        }
    }

    /// The process is gone.
    pub fn crash(&mut self, k: &mut Kernel) {
        self.node.crash(k);
        self.leave();
    }

    fn leave(&mut self) {
        self.is_releasing = false;
        self.drivers.clear();
        self.streams.clear();
    }

    /// Something has happened to the member of the log.
    pub fn moved(
        &mut self,
        k: &mut Kernel,
        history: &mut History,
        ledger: &mut Ledger<AgentMachine>,
    ) {
        let (place, agent) = (self.node.place, self.agent);
        if let Some(member) = &self.node.seat.member {
            ledger.observe(k, place, member, |k, shadow, observed| {
                history.agent_event(k, agent, shadow, observed);
            });
        }
        match self.node.moved(k, ledger) {
            Moved::Nothing | Moved::Activated => {}
            Moved::Deposed => {
                self.leave();
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
            && !self.is_releasing
            && let Some(committed) = self.node.pump(k)
        {
            k.step();
            self.committed(k, committed);
        }
    }

    fn committed(&mut self, k: &mut Kernel, committed: Committed<AgentMachine>) {
        self.is_releasing = true;
        for (asker, replies) in committed.replies {
            match asker {
                // Only Controllers have witnesses.
                Asker::Nobody | Asker::Witness { .. } => {}
                Asker::Request { conn, number } => {
                    if let Some(Reply::Answer(answer)) = replies.into_iter().next() {
                        k.send(
                            conn,
                            Toward::Client,
                            Packet::Response {
                                number,
                                body: Ok(json(&answer)),
                            },
                        );
                    }
                }
                Asker::Driver { driver, generation } => self.told(k, driver, generation),
            }
        }
        self.keep_in_step(k);
        self.hand_out();
        self.push(k);
        self.node.release_log(k);
        let drivers: Vec<usize> = self.drivers.keys().copied().collect();
        for driver in drivers {
            self.serve(k, driver);
        }
        self.is_releasing = false;
    }

    /// The Controller's request has arrived.
    pub fn request(&mut self, k: &mut Kernel, conn: ConnId, number: u64, ask: &Ask) {
        if !self.node.may_act(k) {
            k.counts.count(Fault::Inactive);
            let body = Err(json(&inactive()));
            return k.send(conn, Toward::Client, Packet::Response { number, body });
        }
        match ask {
            Ask::Agent(coupling, text) => match serde_json::from_str::<AgentCommand>(text) {
                Ok(command) => {
                    let command = if self.forgets_marks {
                        without_marks(command)
                    } else {
                        command
                    };
                    let torn = EventId(self.node.torn());
                    let input = Input::Command {
                        user: UserId::from("controller"),
                        command,
                        torn,
                        coupling: *coupling,
                        connected: None,
                    };
                    self.node.ask(Asker::Request { conn, number }, vec![input]);
                    self.pump(k);
                }
                Err(error) => {
                    let body = Err(json(&Problem::plain(error.to_string())));
                    k.send(conn, Toward::Client, Packet::Response { number, body });
                }
            },
            Ask::AgentEvents(after) => {
                if !k.net.conn(conn).is_some_and(|conn| conn.is_open) {
                    return;
                }
                let body = if *after < self.node.torn() {
                    Err(json(&Problem::new(
                        "EventSeqTorn",
                        format!("the event {after} is gone"),
                    )))
                } else {
                    self.streams.push(Stream {
                        conn,
                        after: *after,
                    });
                    Ok(String::new())
                };
                k.send(conn, Toward::Client, Packet::Response { number, body });
                self.push(k);
            }
            Ask::Controller(_) | Ask::Subagent(..) | Ask::SubagentEvents(..) => {}
        }
    }

    /// Sends what is new to whoever listens.
    fn push(&mut self, k: &mut Kernel) {
        self.streams
            .retain(|stream| k.net.conn(stream.conn).is_some_and(|conn| conn.is_open));
        for stream in &mut self.streams {
            let lines = self.node.lines_after(stream.after, 5000);
            let Some(last) = lines.last() else { continue };
            stream.after = event_id_of(last);
            k.send(stream.conn, Toward::Client, Packet::Chunk(lines));
        }
    }

    fn keep_in_step(&mut self, k: &mut Kernel) {
        let Some(machine) = self.node.machine() else {
            return;
        };
        let state = &machine.state;
        if state.meta().is_none() {
            return;
        }
        self.drivers.retain(|_, driver| {
            let item = state
                .subagents()
                .get(&driver.id)
                .and_then(|subagent| subagent.item.as_ref());
            let stays = item.is_some_and(|item| item.uri == driver.uri);
            if !stays {
                driver.line.hang_up(k);
            }
            stays
        });
        let mut new = Vec::new();
        for (id, subagent) in state.subagents() {
            let Some(item) = &subagent.item else { continue };
            let Some(index) = crate::workload::subagent_of(&item.uri) else {
                continue;
            };
            if !self.drivers.contains_key(&index) {
                new.push((index, id.clone(), item.uri.clone(), index == self.index));
            }
        }
        for (index, id, uri, is_local) in new {
            let line = Line::new(self.node.place, index, Place::Subagent(index), is_local);
            let driver = SubagentDriver {
                id,
                uri,
                is_leased: self.is_pair || !is_local,
                line,
                stage: Stage::Resting,
                run_id: None,
                coupling: 0,
                is_open: false,
                cursor: 0,
                sent: BTreeMap::new(),
                slot: VecDeque::new(),
                chunks: VecDeque::new(),
                taken_over: EventId::BEFORE_FIRST,
                confirmed: EventId::BEFORE_FIRST,
                is_confirming: false,
                confirm_now: false,
                attempts: Vec::new(),
                problem: None,
                number: 0,
                renewal: Renewal::new(k.steady(self.node.place)),
                keep_alive_now: false,
                over_alarm: None,
                known: Vec::new(),
            };
            self.drivers.insert(index, driver);
            self.dial(k, index);
            self.look_at_lease(k, index);
        }
    }

    fn hand_out(&mut self) {
        let Some(running) = &self.node.running else {
            return;
        };
        let state = &running.machine.state;
        for driver in self.drivers.values_mut().filter(|driver| driver.is_open) {
            let observed = state
                .subagents()
                .get(&driver.id)
                .map(|subagent| subagent.observed)
                .unwrap_or_default();
            for (number, work) in state.work_after(&driver.id, driver.cursor) {
                if driver.slot.len() >= SLOT {
                    break;
                }
                let mut items = Vec::new();
                if let Work::Start { order, .. } = &work {
                    let missing = state
                        .items_for_job(order)
                        .filter(|(key, revision, _)| driver.sent.get(*key) != Some(revision));
                    items.extend(
                        missing.map(|(key, revision, text)| (key.clone(), revision, text.clone())),
                    );
                }
                driver.sent.extend(
                    items
                        .iter()
                        .map(|(key, revision, _)| (key.clone(), *revision)),
                );
                driver.slot.push_back(Job {
                    work,
                    items,
                    observed,
                });
                driver.cursor = number;
            }
        }
    }

    /// A Director that was stopped may wake up here while another one is active: it must not take the Subagent back.
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
        let Some(meta) = self
            .node
            .machine()
            .and_then(|machine| machine.state.meta())
            .cloned()
        else {
            return;
        };
        let Some(driver) = self.drivers.get_mut(&index) else {
            return;
        };
        driver.line.dial(k);
        driver.stage = Stage::Dedicating;
        let command = SubagentCommand::DedicateSubagent {
            subagent_id: driver.id.clone(),
            agent_path: meta.agent_path,
            agent_run_id: meta.agent_run_id,
            controller_id: meta.controller_id,
            from: None,
        };
        driver
            .line
            .request(k, Ask::Subagent((0, 0), json(&command)));
    }

    /// Something for a driver.
    pub fn driver_step(&mut self, k: &mut Kernel, index: usize, step: DriverStep) {
        let Some(driver) = self.drivers.get_mut(&index) else {
            return;
        };
        match step {
            DriverStep::Dial(generation)
                if driver.line.generation == generation && driver.stage == Stage::Resting =>
            {
                self.dial(k, index);
            }
            DriverStep::TimedOut(number) if driver.line.awaits(number) => {
                self.fail(
                    k,
                    index,
                    Problem::new("SubagentUnreachable", "the request took too long"),
                );
            }
            DriverStep::Listen(generation) if driver.line.generation == generation => {
                if driver.line.is_silent(k) {
                    self.fail(
                        k,
                        index,
                        Problem::new("SubagentUnreachable", "the stream is silent"),
                    );
                } else {
                    driver.line.listen(k);
                }
            }
            DriverStep::KeepAlive(generation) if driver.line.generation == generation => {
                let due = driver.renewal.due(self.lease);
                if k.steady(self.node.place) >= due {
                    driver.keep_alive_now = true;
                }
                let next = due.max(k.steady(self.node.place) + distance(self.lease) / 2);
                let pause = k.when(self.node.place, next).since(k.now);
                driver
                    .line
                    .plan(k, pause, DriverStep::KeepAlive(generation));
                self.serve(k, index);
            }
            DriverStep::LeaseOver => {
                driver.over_alarm = None;
                self.look_at_lease(k, index);
            }
            DriverStep::Confirm(generation) if driver.line.generation == generation => {
                driver.is_confirming = false;
                driver.confirm_now = true;
                self.serve(k, index);
            }
            // Of an earlier connection or request.
            DriverStep::Dial(_)
            | DriverStep::TimedOut(_)
            | DriverStep::Listen(_)
            | DriverStep::KeepAlive(_)
            | DriverStep::Confirm(_) => {}
        }
    }

    /// A message for a driver.
    pub fn driver_message(&mut self, k: &mut Kernel, index: usize, conn: ConnId, packet: Packet) {
        let Some(driver) = self
            .drivers
            .get_mut(&index)
            .filter(|driver| driver.line.is(conn))
        else {
            return;
        };
        match packet {
            Packet::Reset => self.fail(
                k,
                index,
                Problem::new("SubagentUnreachable", "the connection was reset"),
            ),
            Packet::Chunk(lines) => {
                let events = lines
                    .iter()
                    .map(|line| serde_json::from_str(line).map(Arc::new))
                    .collect();
                match events {
                    Ok(events) => driver.chunks.push_back(events),
                    Err(error) => return self.fail(k, index, Problem::plain(error.to_string())),
                }
                self.serve(k, index);
            }
            Packet::Response { number, body } => {
                if driver.line.answers(number) {
                    self.answered(k, index, body);
                }
            }
            Packet::Request { .. } => {}
        }
    }

    fn answered(&mut self, k: &mut Kernel, index: usize, body: Result<String, String>) {
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
        if driver.stage == Stage::OpeningStream {
            driver.stage = Stage::TellingCoupled;
            driver.is_open = true;
            driver.cursor = 0;
            driver.sent.clear();
            driver.slot.clear();
            let input = Input::SubagentCoupled {
                id: driver.id.clone(),
            };
            return self.tell(k, index, input);
        }
        let answer = match serde_json::from_str::<SubagentAnswer>(&text) {
            Ok(answer) => answer,
            Err(error) => return self.fail(k, index, Problem::plain(error.to_string())),
        };
        match (driver.stage, answer) {
            (
                Stage::Dedicating,
                SubagentAnswer::Dedicated {
                    subagent_run_id,
                    platform_info,
                    subagent_event_id,
                    coupling,
                },
            ) => {
                driver.coupling = coupling;
                let lease = driver.is_leased.then_some(self.lease);
                driver.run_id = Some(subagent_run_id.clone());
                driver.stage = Stage::TellingLife;
                let (id, run_id) = (driver.id.clone(), subagent_run_id);
                self.tell(
                    k,
                    index,
                    Input::SubagentDedicated {
                        id,
                        run_id,
                        platform: platform_info,
                        begins_after: subagent_event_id,
                        lease,
                    },
                );
            }
            (Stage::Coupling, SubagentAnswer::Coupled { attempts, .. }) => {
                driver.known = attempts;
                driver.number = 0;
                driver.stage = Stage::OpeningStream;
                let run_id = driver
                    .run_id
                    .as_ref()
                    .map_or_else(String::new, ToString::to_string);
                driver
                    .line
                    .request(k, Ask::SubagentEvents(run_id, driver.taken_over.0));
            }
            (Stage::Sending(until), SubagentAnswer::Batch { responses }) => {
                self.sent(k, index, until, responses);
            }
            (
                _,
                SubagentAnswer::Problem {
                    code,
                    message,
                    arguments,
                },
            ) => {
                self.fail(
                    k,
                    index,
                    Problem {
                        code,
                        message,
                        arguments,
                    },
                );
            }
            (stage, answer) => self.fail(
                k,
                index,
                Problem::plain(format!("{stage:?}: unexpected {answer:?}")),
            ),
        }
    }

    fn sent(&mut self, k: &mut Kernel, index: usize, until: EventId, answers: Vec<SubagentAnswer>) {
        let Some(driver) = self.drivers.get_mut(&index) else {
            return;
        };
        let attempts = std::mem::take(&mut driver.attempts);
        for (answer, attempt) in answers.into_iter().zip(attempts) {
            let Err(problem) = answer.into_result() else {
                continue;
            };
            if let Some(attempt) = attempt
                && !problem.is("SubagentNotCoupled")
            {
                driver.stage = Stage::TellingRefusal;
                driver.problem = Some(problem.clone());
                let refused = Input::StartRefused {
                    id: driver.id.clone(),
                    attempt,
                    problem,
                };
                return self.tell(k, index, refused);
            }
            return self.fail(k, index, problem);
        }
        driver.confirmed = until;
        driver.stage = Stage::Serving;
        self.node.nudge();
        self.serve(k, index);
        self.pump(k);
    }

    fn tell(&mut self, k: &mut Kernel, index: usize, input: Input) {
        let Some(driver) = self.drivers.get(&index) else {
            return;
        };
        let asker = Asker::Driver {
            driver: index,
            generation: driver.line.generation,
        };
        self.node.ask(asker, vec![input]);
        self.pump(k);
    }

    /// The machine has been told something, durably.
    fn told(&mut self, k: &mut Kernel, index: usize, generation: u64) {
        let Some(machine) = self.node.machine() else {
            return;
        };
        let Some(driver) = self
            .drivers
            .get_mut(&index)
            .filter(|driver| driver.line.generation == generation)
        else {
            return;
        };
        // As in the real driver: it may have been deposed while the dedication was under way.
        if driver.stage == Stage::TellingLife && !self.node.may_send(k) {
            return self.fail(k, index, inactive());
        }
        match driver.stage {
            Stage::TellingLife => {
                let observed = machine
                    .state
                    .subagents()
                    .get(&driver.id)
                    .map(|subagent| subagent.observed);
                let observed = observed.unwrap_or_default();
                driver.taken_over = observed;
                driver.confirmed = observed;
                driver.stage = Stage::Coupling;
                let Some(run_id) = driver.run_id.clone() else {
                    return;
                };
                let command = SubagentCommand::CoupleDirector {
                    subagent_id: driver.id.clone(),
                    subagent_run_id: run_id,
                    event_id: observed,
                    coupling: driver.coupling,
                    lease: driver.is_leased.then_some(Seconds(self.lease)),
                    epoch: self.node.epoch(),
                };
                driver.renewal.sends(k.steady(self.node.place));
                driver
                    .line
                    .request(k, Ask::Subagent((0, 0), json(&command)));
            }
            Stage::TellingCoupled => {
                driver.line.connected(k);
                driver.line.listen(k);
                if driver.is_leased {
                    let pause = distance(self.lease);
                    driver
                        .line
                        .plan(k, pause, DriverStep::KeepAlive(generation));
                }
                let known = std::mem::take(&mut driver.known);
                let given_up = machine.state.given_up(&driver.id, &known);
                driver.stage = Stage::Serving;
                if !given_up.is_empty() && self.node.may_send(k) {
                    let batch = Batch::ends(given_up, driver.confirmed);
                    send(k, self.node.place, driver, batch);
                }
                k.note(format_args!(
                    "{} has coupled {}",
                    self.node.place, driver.id
                ));
                self.node.nudge();
            }
            Stage::Taking(last) => {
                driver.taken_over = last;
                driver.stage = Stage::Serving;
                if last.0 - driver.confirmed.0 >= RELEASE_EVENTS {
                    driver.confirm_now = true;
                } else if !driver.is_confirming {
                    driver.is_confirming = true;
                    driver
                        .line
                        .plan(k, RELEASE_DELAY, DriverStep::Confirm(generation));
                }
            }
            Stage::TellingRefusal => {
                let problem = driver
                    .problem
                    .take()
                    .unwrap_or_else(|| Problem::plain("refused"));
                self.fail(k, index, problem);
            }
            Stage::TellingFailure => {
                driver.stage = Stage::Resting;
                if !self.look_at_lease(k, index)
                    && let Some(driver) = self.drivers.get_mut(&index)
                {
                    driver.line.redial_later(k);
                }
            }
            Stage::TellingLoss => {
                driver.stage = Stage::Resting;
                driver.line.redial_later(k);
            }
            Stage::Resting
            | Stage::Dedicating
            | Stage::Coupling
            | Stage::OpeningStream
            | Stage::Serving
            | Stage::Sending(_) => {}
        }
    }

    /// The connection is given up.
    fn fail(&mut self, k: &mut Kernel, index: usize, problem: Problem) {
        let Some(driver) = self.drivers.get_mut(&index) else {
            return;
        };
        if matches!(
            driver.stage,
            Stage::TellingFailure | Stage::TellingLoss | Stage::Resting
        ) {
            return;
        }
        k.note(format_args!(
            "{} loses {}: {problem}",
            self.node.place, driver.id
        ));
        driver.line.hang_up(k);
        driver.is_open = false;
        driver.slot.clear();
        driver.chunks.clear();
        driver.is_confirming = false;
        driver.confirm_now = false;
        driver.keep_alive_now = false;
        driver.stage = Stage::TellingFailure;
        let input = Input::SubagentFailed {
            id: driver.id.clone(),
            problem,
        };
        self.tell(k, index, input);
    }

    /// Does the next thing on a connection that serves.
    fn serve(&mut self, k: &mut Kernel, index: usize) {
        let Some(driver) = self
            .drivers
            .get_mut(&index)
            .filter(|driver| driver.stage == Stage::Serving)
        else {
            return;
        };
        if let Some(events) = driver.chunks.pop_front() {
            let Some(last) = events.last().map(|stamped| stamped.event_id) else {
                return;
            };
            driver.stage = Stage::Taking(last);
            let input = Input::SubagentEvents {
                id: driver.id.clone(),
                events,
            };
            return self.tell(k, index, input);
        }
        let confirms = driver.taken_over > driver.confirmed;
        if driver.slot.is_empty() && !(driver.confirm_now && confirms) && !driver.keep_alive_now {
            driver.confirm_now = false;
            return;
        }
        if !self.node.may_send(k) {
            return self.fail(k, index, inactive());
        }
        let mut batch = gather(
            &mut || driver.slot.pop_front(),
            driver.confirmed,
            driver.taken_over,
        );
        if std::mem::take(&mut driver.keep_alive_now) {
            batch.keep_alive();
        }
        send(k, self.node.place, driver, batch);
    }

    /// Gives a Subagent up that is away, when its lease is over; else looks again then. Answers whether the machine is told.
    fn look_at_lease(&mut self, k: &mut Kernel, index: usize) -> bool {
        let place = self.node.place;
        let (Some(machine), Some(driver)) = (self.node.machine(), self.drivers.get_mut(&index))
        else {
            return false;
        };
        let state = &machine.state;
        let longest = state
            .subagents()
            .get(&driver.id)
            .and_then(agent::SubagentState::longest_lease);
        let Some(longest) = longest.filter(|_| state.waits_for(&driver.id)) else {
            return false;
        };
        let over = driver.renewal.over(longest);
        if k.steady(place) < over {
            let at = k.when(place, over);
            if driver
                .over_alarm
                .is_none_or(|planned| planned < k.now || planned > at)
            {
                driver.over_alarm = Some(at);
                driver.line.plan(k, at.since(k.now), DriverStep::LeaseOver);
            }
            return false;
        }
        if driver.stage == Stage::Resting {
            driver.stage = Stage::TellingLoss;
            let input = Input::SubagentLeaseOver {
                id: driver.id.clone(),
            };
            self.tell(k, index, input);
            return true;
        }
        if driver.stage == Stage::Dedicating {
            let problem = Problem::new(
                "SubagentUnreachable",
                "the Subagent did not answer before its lease was over",
            );
            self.fail(k, index, problem);
            return true;
        }
        false
    }
}

fn without_marks(command: AgentCommand) -> AgentCommand {
    if let AgentCommand::Batch { commands } = command {
        let commands = commands.into_iter().map(without_marks).collect();
        return AgentCommand::Batch { commands };
    }
    if let AgentCommand::MarkOrder { .. } = command {
        return AgentCommand::NoOperation;
    }
    command
}

fn inactive() -> Problem {
    Problem::new(
        "ClusterNodeIsNotActive",
        "no majority of the cluster has confirmed lately that this Director is the active one",
    )
}

/// Sends a batch on a connection that serves.
fn send(k: &mut Kernel, place: Place, driver: &mut SubagentDriver, batch: Batch) {
    driver.number += 1;
    driver.renewal.sends(k.steady(place));
    let Batch {
        commands,
        attempts,
        confirms: until,
    } = batch;
    driver.attempts = attempts;
    driver.confirm_now = false;
    driver.stage = Stage::Sending(until);
    let numbers = (driver.coupling, driver.number);
    let command = SubagentCommand::Batch { commands };
    driver
        .line
        .request(k, Ask::Subagent(numbers, json(&command)));
}
