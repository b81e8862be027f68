//! A world: Controller, Agents, Subagents, clients, and everything around them, from a seed.
//!
//! Always: single-threaded and without real time; the same seed and setting give the same trace. Never here: what a node decides.

mod lives;
mod looks;
mod words;

use crate::agent::AgentHost;
use crate::client::Clients;
use crate::controller::ControllerHost;
use crate::faults::FaultStep;
use crate::history::History;
use crate::invariants::{self, Violation};
use crate::kept::Kept;
use crate::kernel::{Happening, Kernel, NodeStep, Weather};
use crate::ledger::Ledger;
use crate::moment::Moment;
use crate::node::Node;
use crate::pair::{self, Members, Number, Rules, Seat};
use crate::place::Place;
use crate::process::{Manners, Processes};
use crate::seat::{Cluster, SeatHost};
use crate::subagent::SubagentHost;
use crate::witness::Witnesses;
use crate::workload::Layout;
use agent_node::AgentMachine;
use cluster::{Part, Timing};
use controller_node::ControllerMachine;
use model::{ControllerId, PlatformInfo, RunId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How often the whole is looked at.
const LOOK_PERIOD: Duration = Duration::from_secs(30);
/// How many entries a watch keeps that are committed.
const WATCH_ENTRIES_KEPT: u64 = 50;

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
    /// All faults are of this kind of a pair's, if it is given.
    pub only: Option<u64>,
    /// The rules of pairs; a world may switch one off, to see that it would be found.
    pub rules: Rules,
    /// The times of pairs.
    pub timing: Timing,
    /// Whether the Agents ignore marks, to check that an invariant detects it.
    pub forgets_marks: bool,
    /// Whether the trace is printed.
    pub print: bool,
}

impl Setting {
    /// Two Agents with one more Subagent each, and nothing goes wrong.
    pub const CALM: Setting = Setting {
        layout: Layout {
            agents: 2,
            remote: 1,
            controllers: 1,
            directors: 1,
            is_watch_apart: true,
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
        only: None,
        rules: Rules::ALL,
        timing: pair::timing(Duration::from_millis(500)),
        forgets_marks: false,
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
    /// The Controller's members.
    pub controllers: Vec<ControllerHost>,
    /// The Directors: first the first ones of all Agents.
    pub agents: Vec<AgentHost>,
    /// The watches.
    pub votes: Vec<SeatHost>,
    /// The Controller's log.
    pub controller_ledger: Ledger<ControllerMachine>,
    /// The Agents' logs.
    pub agent_ledgers: Vec<Ledger<AgentMachine>>,
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
    /// How many disks were replaced by empty ones.
    replaced: u64,
    /// When a link was healed last.
    cuts: BTreeMap<(Place, Place), Moment>,
}

/// The machine everything runs on.
pub fn platform() -> PlatformInfo {
    PlatformInfo {
        version: "sim".into(),
        hostname: "sim".into(),
        system: "sim".into(),
    }
}

fn agent_machine(agent: usize, disk: u32) -> AgentMachine {
    AgentMachine::in_surroundings(
        RunId::from(format!("agent-{agent}-log-{disk}")),
        std::sync::Arc::default(),
        "UTC".into(),
        platform(),
    )
}

fn controller_machine() -> ControllerMachine {
    ControllerMachine::new(controller::State::new(
        ControllerId::new("Controller"),
        BTreeSet::new(),
    ))
}

/// The number of a watch's first disk; further disks have greater ones, by tens.
pub(crate) const WATCH: Number = 9;

/// Who takes part in a log with so many data members at its beginning.
fn members(data: usize, third: Part) -> Members {
    let seat = |part| Seat { part, votes: true };
    let numbers = (0..data).map(|member| (member as Number + 1, seat(Part::Data)));
    let watch = (data > 1).then_some((WATCH, seat(third)));
    numbers.chain(watch).collect()
}

fn kept(member: usize, data: usize, third: Part) -> Kept {
    Kept::new(member as Number + 1, Part::Data, members(data, third))
}

impl World {
    /// A world in which everything has just been started.
    pub fn new(seed: u64, setting: Setting) -> World {
        let k = Kernel::new(seed, setting.print);
        let Setting {
            layout,
            rules,
            timing,
            ..
        } = setting;
        let controllers = (0..layout.controllers).map(|member| {
            let place = Place::Controller(member);
            let node = Node::new(
                0,
                place,
                kept(member, layout.controllers, Part::Watch),
                rules,
                timing,
                controller_machine(),
            );
            ControllerHost::new(node, Witnesses::new(place, timing, layout.has_witnesses()))
        });
        let agents = (0..layout.agents * layout.directors).map(|index| {
            let (agent, member) = (index % layout.agents, index / layout.agents);
            let (place, machine) = (Place::Agent(index), agent_machine(agent, 0).at(member));
            let node = Node::new(
                agent + 1,
                place,
                kept(member, layout.directors, layout.third_of_directors()),
                rules,
                timing,
                machine,
            );
            let is_pair = layout.directors > 1;
            let mut host = AgentHost::new(index, agent, node, setting.lease, is_pair);
            host.forgets_marks = setting.forgets_marks;
            host
        });
        let votes = layout.votes().into_iter().map(|(cluster, place, data)| {
            SeatHost::new(
                cluster,
                place,
                Kept::new(WATCH, Part::Watch, members(data, Part::Watch)),
                rules,
                timing,
            )
        });
        let subagents = layout.subagents().into_iter().enumerate();
        let subagents = subagents
            .map(|(index, (agent, is_own))| SubagentHost::new(index, agent, is_own, rules.fences))
            .collect();
        let mut world = World {
            k,
            seed,
            setting,
            controllers: controllers.collect(),
            agents: agents.collect(),
            votes: votes.collect(),
            controller_ledger: Ledger::new(0, controller_machine()),
            agent_ledgers: (0..layout.agents)
                .map(|agent| Ledger::new(agent + 1, agent_machine(agent, 0)))
                .collect(),
            subagents,
            processes: Processes::default(),
            history: History::new(layout.agents),
            client: Clients::default(),
            is_calm: setting.fault_every.is_none(),
            failing: BTreeSet::new(),
            replaced: 0,
            cuts: BTreeMap::new(),
        };
        world.client.controllers = layout.controllers;
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

    fn seat_mut(&mut self, cluster: Cluster, place: Place) -> Option<&mut SeatHost> {
        let is_it = |seat: &&mut SeatHost| seat.cluster == cluster && seat.place == place;
        let controllers = self.controllers.iter_mut().map(|host| &mut host.node.seat);
        controllers
            .chain(self.agents.iter_mut().map(|host| &mut host.node.seat))
            .chain(&mut self.votes)
            .find(is_it)
    }

    /// Lets time go on until then, or until an invariant is broken.
    pub fn run_until(&mut self, end: Moment) {
        while self.k.broken.is_none()
            && let Some(happening) = self.k.next(end)
        {
            self.k.step();
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

    fn happen(&mut self, happening: Happening) {
        let place = match &happening {
            Happening::Arrive { to, .. } => Some(*to),
            Happening::Word { to, .. } => self.k.standing(*to).is_up.then_some(*to),
            Happening::Node {
                place,
                what: NodeStep::Start,
                ..
            } => return self.restart(*place),
            Happening::Node { place, life, .. }
            | Happening::Seat { place, life, .. }
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
                Place::Controller(index) => {
                    self.controllers[index].driver_step(&mut self.k, driver, what);
                }
                Place::Agent(index) => self.agents[index].driver_step(&mut self.k, driver, what),
                Place::Client | Place::Watch(_) | Place::Subagent(_) => {}
            },
            Happening::Seat {
                cluster,
                place,
                what,
                ..
            } => self.seat_step(cluster, place, what),
            Happening::Word {
                cluster,
                to,
                to_number,
                from,
                from_number,
                message,
            } => {
                if self.k.net.blocked_since(from, to).is_some() {
                    return;
                }
                self.word(cluster, to, to_number, from_number, message);
            }
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
                self.k.looks();
                self.take_in();
                self.look();
                self.k.after(LOOK_PERIOD, Happening::Look);
            }
        }
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
