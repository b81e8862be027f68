//! A world: Controller, Agents, Subagents, clients, and everything around them, from a seed.
//!
//! Always: single-threaded and without real time; the same seed and setting give the same trace. Never here: what a node decides.

use crate::agent::AgentHost;
use crate::client::Clients;
use crate::controller::ControllerHost;
use crate::disk::Disk;
use crate::fault::{Counts, Fault};
use crate::faults::FaultStep;
use crate::history::History;
use crate::invariants::{self, Violation};
use crate::kernel::{Happening, Kernel, NodeStep, Weather};
use crate::moment::{LocalClock, Moment};
use crate::net::{Ask, ConnId, Packet, Toward};
use crate::place::Place;
use crate::process::{Manners, Processes};
use crate::subagent::{SubagentHost, Surrounding};
use crate::workload::Layout;
use agent_node::AgentMachine;
use controller_node::ControllerMachine;
use model::{ControllerId, PlatformInfo, RunId};
use std::collections::BTreeSet;
use std::time::Duration;

/// How often the whole is looked at.
const LOOK_PERIOD: Duration = Duration::from_secs(30);

/// What kind of world.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Agents and Subagents.
    pub layout: Layout,
    /// The mean time between two faults; none without.
    pub fault_every: Option<Duration>,
    /// The network's faults.
    pub weather: Weather,
    /// How jobs behave.
    pub manners: Manners,
    /// The lease that Subagents are given.
    pub lease: Duration,
    /// By so many millionths the steady clocks are wrong at most.
    pub drift: u64,
    /// Whether the trace is printed.
    pub print: bool,
}

impl Setting {
    /// Two Agents with one more Subagent each, and nothing goes wrong.
    pub const CALM: Setting = Setting {
        layout: Layout {
            agents: 2,
            remote: 1,
        },
        fault_every: None,
        weather: Weather::FINE,
        manners: Manners {
            duration: (5_000, 20_000_000),
            ignoring: 0,
            writes: 2,
        },
        lease: Duration::from_mins(1),
        drift: 0,
        print: false,
    };
}

/// A broken invariant, with what is needed to see it again.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Of which seed.
    pub seed: u64,
    /// When.
    pub at: Moment,
    /// What is wrong.
    pub violation: Violation,
    /// What happened last.
    pub tail: Vec<String>,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for line in &self.tail {
            writeln!(f, "  {line}")?;
        }
        writeln!(
            f,
            "seed {} fails at {}: {}",
            self.seed, self.at, self.violation
        )?;
        write!(f, "to see it again: cargo xtask sim --seed {}", self.seed)
    }
}

/// A world.
pub struct World {
    /// What all parts share.
    pub k: Kernel,
    /// Where it comes from.
    pub seed: u64,
    /// What kind of world.
    pub setting: Setting,
    /// The Controller.
    pub controller: ControllerHost,
    /// The Agents.
    pub agents: Vec<AgentHost>,
    /// The Subagents.
    pub subagents: Vec<SubagentHost>,
    /// The processes.
    pub processes: Processes,
    /// What observers know.
    pub history: History,
    /// The clients.
    pub client: Clients,
    /// Whether all faults are over.
    pub is_calm: bool,
    failing: BTreeSet<Place>,
}

/// The machine everything runs on.
pub fn platform() -> PlatformInfo {
    PlatformInfo {
        version: "sim".into(),
        hostname: "sim".into(),
        system: "sim".into(),
    }
}

fn agent_machine(index: usize, disk: u32) -> AgentMachine {
    AgentMachine::in_surroundings(
        RunId::from(format!("agent-{index}-log-{disk}")),
        std::collections::BTreeMap::new(),
        "UTC".into(),
        platform(),
    )
}

impl World {
    /// A world in which everything has just been started.
    pub fn new(seed: u64, setting: Setting) -> World {
        let k = Kernel::new(seed, setting.print);
        let state = controller::State::new(ControllerId::new("Controller"), BTreeSet::new());
        let agents = (0..setting.layout.agents)
            .map(|index| AgentHost::new(index, agent_machine(index, 0), setting.lease))
            .collect();
        let subagents = setting.layout.subagents().into_iter().enumerate();
        let subagents = subagents
            .map(|(index, (agent, is_own))| SubagentHost::new(index, agent, is_own))
            .collect();
        let mut world = World {
            k,
            seed,
            setting,
            controller: ControllerHost::new(ControllerMachine::new(state)),
            agents,
            subagents,
            processes: Processes::default(),
            history: History::new(setting.layout.agents),
            client: Clients::default(),
            is_calm: setting.fault_every.is_none(),
            failing: BTreeSet::new(),
        };
        world.k.begin_life(Place::Client);
        world.k.weather = setting.weather;
        for place in world.places() {
            let drift = world.k.rng.between(0, 2 * setting.drift);
            let drift =
                i64::try_from(drift).unwrap_or(0) - i64::try_from(setting.drift).unwrap_or(0);
            world.k.drifts.insert(place, drift);
        }
        for place in world.places() {
            world.restart(place);
        }
        world.k.after(LOOK_PERIOD, Happening::Look);
        if setting.fault_every.is_some() {
            world
                .k
                .after(Duration::from_secs(20), Happening::Fault(FaultStep::Next));
        }
        world
    }

    /// Lets time go on until then, or until an invariant is broken.
    pub fn run_until(&mut self, end: Moment) {
        while self.k.broken.is_none()
            && let Some(happening) = self.k.next(end)
        {
            self.happen(happening);
        }
    }

    /// Lets time go on for so long.
    pub fn run_for(&mut self, span: Duration) {
        self.run_until(self.k.now.plus(span));
    }

    /// Lets time go on until something holds, no longer than `most`. Answers whether it does.
    pub fn run_while(&mut self, most: Duration, mut goes_on: impl FnMut(&World) -> bool) -> bool {
        let end = self.k.now.plus(most);
        while self.k.now < end && self.k.broken.is_none() {
            if !goes_on(self) {
                return true;
            }
            self.run_for(LOOK_PERIOD.min(end.since(self.k.now)));
        }
        !goes_on(self)
    }

    /// What went wrong, if anything did.
    pub fn failure(&self) -> Option<Failure> {
        let violation = self.k.broken.clone()?;
        Some(Failure {
            seed: self.seed,
            at: self.k.now,
            violation,
            tail: self.k.trace.tail(),
        })
    }

    /// The faults that have happened.
    pub fn counts(&self) -> &Counts {
        &self.k.counts
    }

    /// All processes of Mainspring. An Agent's own Subagent is part of its Agent.
    pub fn places(&self) -> Vec<Place> {
        let remote = self
            .subagents
            .iter()
            .filter(|subagent| !subagent.is_local)
            .map(|subagent| subagent.place);
        let agents = (0..self.agents.len()).map(Place::Agent);
        std::iter::once(Place::Controller)
            .chain(agents)
            .chain(remote)
            .collect()
    }

    /// Whether nothing has hindered a node for so long.
    pub fn is_well(&self, place: Place, span: Duration) -> bool {
        let standing = self.k.standing(place);
        let node = match place {
            Place::Controller => (&self.controller.node.disk, self.controller.node.well_since),
            Place::Agent(index) => (
                &self.agents[index].node.disk,
                self.agents[index].node.well_since,
            ),
            Place::Subagent(_) | Place::Client => return standing.is_up,
        };
        let last_pause = standing
            .paused
            .map_or(Moment::default(), |(_, until)| until);
        let begin = [
            standing.since,
            last_pause,
            node.0.slow_until,
            node.0.full_until,
            node.1,
        ]
        .into_iter()
        .max();
        standing.is_up
            && begin.is_some_and(|begin| self.k.now.since(begin) > span && begin < self.k.now)
    }

    fn happen(&mut self, happening: Happening) {
        let place = match &happening {
            Happening::Arrive { to, .. } => Some(*to),
            Happening::Node {
                place,
                what: NodeStep::Start,
                ..
            } => return self.restart(*place),
            Happening::Node { place, life, .. }
            | Happening::Driver { place, life, .. }
            | Happening::Lease { place, life }
            | Happening::Noticed { place, life, .. } => {
                let standing = self.k.standing(*place);
                if !standing.is_up || standing.life != *life {
                    return;
                }
                Some(*place)
            }
            Happening::Process { .. }
            | Happening::Guard { .. }
            | Happening::Fault(_)
            | Happening::Client(_)
            | Happening::Look => None,
        };
        // Who stands still notices later.
        if let Some(until) = place.and_then(|place| self.k.paused_until(place)) {
            return self.k.at(until, happening);
        }
        match happening {
            Happening::Arrive { to, conn, packet } => self.arrive(to, conn, packet),
            Happening::Node { place, what, .. } => self.node_step(place, what),
            Happening::Driver {
                place,
                driver,
                what,
                ..
            } => match place {
                Place::Controller => self.controller.driver_step(&mut self.k, driver, what),
                Place::Agent(index) => self.agents[index].driver_step(&mut self.k, driver, what),
                Place::Client | Place::Subagent(_) => {}
            },
            Happening::Process { number, what } => self.processes.step(&mut self.k, number, what),
            Happening::Lease { place, .. } => {
                if let Place::Subagent(index) = place {
                    let (subagent, mut around) = self.subagent(index);
                    subagent.look_at_lease(&mut around);
                }
            }
            Happening::Guard { place, life } => {
                if let Place::Subagent(index) = place {
                    let (subagent, mut around) = self.subagent(index);
                    subagent.guard(&mut around, life);
                }
            }
            Happening::Noticed { place, what, .. } => {
                if let Place::Subagent(index) = place {
                    let (subagent, mut around) = self.subagent(index);
                    subagent.notice(&mut around, what);
                }
            }
            Happening::Fault(step) => self.fault_step(step),
            Happening::Client(step) => self.client.step(&mut self.k, step),
            Happening::Look => {
                self.look();
                self.k.after(LOOK_PERIOD, Happening::Look);
            }
        }
    }

    fn subagent(&mut self, index: usize) -> (&mut SubagentHost, Surrounding<'_>) {
        let around = Surrounding {
            k: &mut self.k,
            processes: &mut self.processes,
            history: &mut self.history,
            manners: self.setting.manners,
        };
        (&mut self.subagents[index], around)
    }

    fn arrive(&mut self, to: Place, id: ConnId, packet: Packet) {
        let Some(conn) = self.k.net.conn(id).cloned() else {
            return;
        };
        let Packet::Request { number, ask } = packet else {
            if conn.client != to
                || self.k.standing(to).life != conn.client_life
                || !self.k.standing(to).is_up
            {
                return;
            }
            return match to {
                Place::Client => self
                    .client
                    .message(&mut self.k, &mut self.history, id, packet),
                Place::Controller => self.controller.driver_message(&mut self.k, id, packet),
                Place::Agent(index) => {
                    if let Place::Subagent(driver) = conn.server {
                        self.agents[index].driver_message(&mut self.k, driver, id, packet);
                    }
                }
                Place::Subagent(_) => {}
            };
        };
        let standing = self.k.standing(to);
        let is_other_life = conn.server_life.is_some_and(|life| life != standing.life);
        if !standing.is_up || is_other_life {
            if !standing.is_silent || is_other_life {
                self.k.send(id, Toward::Client, Packet::Reset);
            }
            return;
        }
        if let Some(conn) = self.k.net.conn_mut(id) {
            conn.server_life = Some(standing.life);
        }
        match to {
            Place::Controller => self.controller.request(&mut self.k, id, number, &ask),
            Place::Agent(index) => self.agents[index].request(&mut self.k, id, number, &ask),
            Place::Subagent(index) => self.subagent_request(index, id, number, &ask),
            Place::Client => {}
        }
    }

    fn subagent_request(&mut self, index: usize, id: ConnId, number: u64, ask: &Ask) {
        let is_open = self.k.net.conn(id).is_some_and(|conn| conn.is_open);
        let (subagent, mut around) = self.subagent(index);
        let body = match ask {
            Ask::Subagent(coupling, text) => subagent.command(&mut around, *coupling, text),
            Ask::SubagentEvents(run_id, after) if is_open => {
                let opened = subagent.open_stream(around.k, id, run_id, *after);
                opened.map(|()| String::new())
            }
            Ask::SubagentEvents(..) | Ask::Controller(_) | Ask::Agent(..) | Ask::AgentEvents(_) => {
                return;
            }
        };
        self.k
            .send(id, Toward::Client, Packet::Response { number, body });
    }

    fn node_step(&mut self, place: Place, what: NodeStep) {
        match what {
            NodeStep::Synced(number) => {
                if self.failing.remove(&place) {
                    self.k.counts.count(Fault::FailedSync);
                    self.k.note(format_args!("a sync of {place} fails"));
                    return self.stop_and_restart(place);
                }
                match place {
                    Place::Controller => {
                        self.controller
                            .synced(&mut self.k, &mut self.history, number);
                    }
                    Place::Agent(index) => {
                        self.agents[index].synced(&mut self.k, &mut self.history, number);
                    }
                    Place::Client | Place::Subagent(_) => {}
                }
            }
            NodeStep::SyncFailed(_) => {
                self.k.note(format_args!("{place} cannot write"));
                self.stop_and_restart(place);
            }
            NodeStep::Wake(number) => match place {
                Place::Controller if self.controller.node.is_alarm(number) => {
                    self.controller.pump(&mut self.k);
                }
                Place::Agent(index) if self.agents[index].node.is_alarm(number) => {
                    self.agents[index].pump(&mut self.k);
                }
                Place::Controller | Place::Agent(_) | Place::Client | Place::Subagent(_) => {}
            },
            NodeStep::SnapshotWritten(number) => match place {
                Place::Controller => {
                    self.controller.node.snapshot_written(&mut self.k, number);
                    self.controller.pump(&mut self.k);
                }
                Place::Agent(index) => {
                    self.agents[index]
                        .node
                        .snapshot_written(&mut self.k, number);
                    self.agents[index].pump(&mut self.k);
                }
                Place::Client | Place::Subagent(_) => {}
            },
            NodeStep::Start => {}
        }
    }

    /// A node that cannot write ends with exit code 98 and is started again.
    fn stop_and_restart(&mut self, place: Place) {
        let pause = self.k.rng.span(1_000_000, 60_000_000);
        self.crash_uncounted(place, false);
        self.k
            .after(pause, Happening::Fault(FaultStep::Restart(place)));
    }

    /// A process is killed and comes back after a while.
    pub fn crash(&mut self, place: Place, is_silent: bool, back_after: Duration) {
        if !self.k.standing(place).is_up {
            return;
        }
        match place {
            Place::Controller => self.k.counts.count(Fault::ControllerCrash),
            Place::Agent(_) => self.k.counts.count(Fault::AgentCrash),
            Place::Subagent(_) | Place::Client => {}
        }
        self.crash_uncounted(place, is_silent);
        self.k
            .after(back_after, Happening::Fault(FaultStep::Restart(place)));
    }

    /// A process is gone and stays away.
    pub fn crash_uncounted(&mut self, place: Place, is_silent: bool) {
        match place {
            Place::Controller => self.controller.crash(&mut self.k, is_silent),
            Place::Agent(index) => {
                self.agents[index].crash(&mut self.k, is_silent);
                for subagent in self
                    .subagents
                    .iter_mut()
                    .filter(|subagent| subagent.is_local && subagent.agent == index)
                {
                    subagent.crash(&mut self.k, is_silent);
                }
            }
            Place::Subagent(index) => self.subagents[index].crash(&mut self.k, is_silent),
            Place::Client => {}
        }
    }

    /// A process that is down starts.
    pub fn restart(&mut self, place: Place) {
        if self.k.standing(place).is_up || self.k.broken.is_some() {
            return;
        }
        match place {
            Place::Controller => self.controller.start(&mut self.k, &mut self.history),
            Place::Agent(index) => {
                let own = self
                    .subagents
                    .iter()
                    .position(|subagent| subagent.is_local && subagent.agent == index);
                if let Some(own) = own {
                    let (subagent, mut around) = self.subagent(own);
                    subagent.start(&mut around);
                }
                self.agents[index].start(&mut self.k, &mut self.history);
            }
            Place::Subagent(index) => {
                let (subagent, mut around) = self.subagent(index);
                subagent.start(&mut around);
            }
            Place::Client => {}
        }
    }

    /// An Agent comes back with an empty disk.
    pub fn wipe_agent(&mut self, index: usize) {
        self.crash_uncounted(Place::Agent(index), false);
        let disk = self.k.standing(Place::Agent(index)).life;
        self.agents[index].node.wipe(agent_machine(index, disk));
        self.history.agents[index].was_wiped = true;
        self.restart(Place::Agent(index));
    }

    /// A process stands still until then.
    pub fn pause(&mut self, place: Place, until: Moment) {
        self.k.pause(place, until);
        if let Place::Agent(agent) = place {
            for index in 0..self.subagents.len() {
                if self.subagents[index].is_local && self.subagents[index].agent == agent {
                    self.k.pause(Place::Subagent(index), until);
                }
            }
        }
    }

    /// The next sync of a node fails.
    pub(crate) fn fail_next_sync(&mut self, place: Place) {
        self.failing.insert(place);
    }

    /// A clock jumps by so many milliseconds.
    pub fn jump(&mut self, place: Place, by: i64) {
        self.k.counts.count(if by > 0 {
            Fault::ClockForward
        } else {
            Fault::ClockBackward
        });
        self.k
            .note(format_args!("the clock of {place} jumps by {by} ms"));
        let now = self.k.now;
        if let Some(clock) = self.clock_mut(place) {
            clock.ahead += by;
        }
        match place {
            Place::Controller => self.controller.node.well_since = now,
            Place::Agent(index) => self.agents[index].node.well_since = now,
            Place::Client | Place::Subagent(_) => {}
        }
    }

    /// A clock is set right.
    pub(crate) fn set_clock_right(&mut self, place: Place) {
        let ahead = self.clock(place).map_or(0, |clock| clock.ahead);
        if ahead != 0 {
            self.jump(place, -ahead);
        }
    }

    pub(crate) fn clock(&self, place: Place) -> Option<LocalClock> {
        match place {
            Place::Controller => Some(self.controller.node.clock),
            Place::Agent(index) => Some(self.agents[index].node.clock),
            Place::Client | Place::Subagent(_) => None,
        }
    }

    fn clock_mut(&mut self, place: Place) -> Option<&mut LocalClock> {
        match place {
            Place::Controller => Some(&mut self.controller.node.clock),
            Place::Agent(index) => Some(&mut self.agents[index].node.clock),
            Place::Client | Place::Subagent(_) => None,
        }
    }

    pub(crate) fn disk(&mut self, place: Place) -> Option<&mut Disk> {
        match place {
            Place::Controller => Some(&mut self.controller.node.disk),
            Place::Agent(index) => Some(&mut self.agents[index].node.disk),
            Place::Client | Place::Subagent(_) => None,
        }
    }

    pub(crate) fn disks(&mut self) -> impl Iterator<Item = &mut Disk> {
        std::iter::once(&mut self.controller.node.disk)
            .chain(self.agents.iter_mut().map(|agent| &mut agent.node.disk))
    }

    /// The invariants that need a look at the whole.
    fn look(&mut self) {
        let checks = [
            invariants::order_in_one_place::check(self),
            invariants::no_job_on_two_subagents::check(&self.processes),
            invariants::legal_transitions::check(self),
            invariants::due_orders_start::check(self),
            invariants::progress::check(self),
            invariants::acknowledged_is_durable::check(self),
        ];
        for checked in checks {
            self.k.check(checked);
        }
        for (index, agent) in self.agents.iter().enumerate() {
            if agent.node.is_settled()
                && let Some(machine) = agent.node.machine()
                && !self.history.agents[index].was_wiped
            {
                self.history
                    .check_released(&mut self.k, index, machine, agent.node.disk.torn);
            }
        }
        let long_ago = Moment(self.k.now.0.saturating_sub(600_000_000));
        self.k.net.forget_closed(long_ago);
    }

    /// Whether every order has come to its end and everything has arrived.
    pub fn is_settled(&self) -> bool {
        self.client.is_done()
            && invariants::no_order_lost::check(self).is_ok()
            && invariants::agent_events_arrive_once_in_order::check_complete(self).is_ok()
    }

    /// All faults end now; everything must come to its end within `most`.
    pub fn settle(&mut self, most: Duration) {
        self.fault_step(FaultStep::Calm);
        self.run_while(most, |world| !world.is_settled());
        if self.k.broken.is_some() {
            return;
        }
        if !self.client.is_done() {
            self.k
                .violate(Violation::new("progress", "a client gets no answer"));
        }
        let checks = [
            invariants::no_order_lost::check(self),
            invariants::agent_events_arrive_once_in_order::check_complete(self),
            invariants::no_order_lost::check_ends(self),
        ];
        for checked in checks {
            self.k.check(checked);
        }
        self.look();
    }
}
