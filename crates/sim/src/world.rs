//! A world: Controller, Agents, Subagents, clients, and everything around them, from a seed.
//!
//! Always: single-threaded and without real time; the same seed and setting give the same trace. Never here: what a node decides.

use crate::agent::AgentHost;
use crate::client::Clients;
use crate::controller::ControllerHost;
use crate::fault::{Counts, Fault};
use crate::faults::FaultStep;
use crate::history::History;
use crate::invariants::{self, Violation};
use crate::kept::Kept;
use crate::kernel::{Happening, Kernel, NodeStep, Weather};
use crate::ledger::Ledger;
use crate::moment::{LocalClock, Moment};
use crate::net::{Ask, ConnId, Packet, Toward};
use crate::node::Node;
use crate::pair::{self, Members, Number, Rules, Seat};
use crate::place::Place;
use crate::process::{Manners, Processes};
use crate::seat::{Cluster, SeatHost, SeatStep};
use crate::subagent::{SubagentHost, Surrounding};
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
    /// The third votes.
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
        std::collections::BTreeMap::new(),
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
const WATCH: Number = 9;

/// Who takes part in a log with so many data members at its beginning.
fn members(data: usize) -> Members {
    let seat = |part| Seat { part, votes: true };
    let numbers = (0..data).map(|member| (member as Number + 1, seat(Part::Data)));
    let watch = (data > 1).then_some((WATCH, seat(Part::Watch)));
    numbers.chain(watch).collect()
}

fn kept(member: usize, data: usize) -> Kept {
    Kept::new(member as Number + 1, Part::Data, members(data))
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
            ControllerHost::new(Node::new(
                0,
                place,
                kept(member, layout.controllers),
                rules,
                timing,
                controller_machine(),
            ))
        });
        let agents = (0..layout.agents * layout.directors).map(|index| {
            let (agent, member) = (index % layout.agents, index / layout.agents);
            let (place, machine) = (Place::Agent(index), agent_machine(agent, 0).at(member));
            let node = Node::new(
                agent + 1,
                place,
                kept(member, layout.directors),
                rules,
                timing,
                machine,
            );
            AgentHost::new(index, agent, node, setting.lease, layout.directors > 1)
        });
        let votes = layout.votes().into_iter().map(|(cluster, place, data)| {
            SeatHost::new(
                cluster,
                place,
                Kept::new(WATCH, Part::Watch, members(data)),
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

    /// The member of the Controller that is active; of two that lead, the later one.
    pub fn controller(&self) -> Option<&Node<ControllerMachine>> {
        let active = self.controllers.iter().map(|controller| &controller.node);
        active
            .filter(|node| node.running.is_some())
            .max_by_key(|node| node.running.as_ref().map(|running| running.term))
    }

    /// The Director of an Agent that is active; of two that lead, the later one.
    pub fn agent(&self, agent: usize) -> Option<&Node<AgentMachine>> {
        let active = self
            .agents
            .iter()
            .filter(|host| host.agent == agent)
            .map(|host| &host.node);
        active
            .filter(|node| node.running.is_some())
            .max_by_key(|node| node.running.as_ref().map(|running| running.term))
    }

    /// All members of all logs.
    pub fn seats(&self) -> impl Iterator<Item = &SeatHost> {
        let controllers = self.controllers.iter().map(|host| &host.node.seat);
        controllers
            .chain(self.agents.iter().map(|host| &host.node.seat))
            .chain(&self.votes)
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
        let watches = self
            .votes
            .iter()
            .map(|vote| vote.place)
            .filter(|place| matches!(place, Place::Watch(_)));
        let watches: BTreeSet<Place> = watches.collect();
        (0..self.controllers.len())
            .map(Place::Controller)
            .chain(watches)
            .chain(agents)
            .chain(remote)
            .collect()
    }

    /// Whether nothing has hindered a node for so long.
    pub fn is_well(&self, place: Place, span: Duration) -> bool {
        let standing = self.k.standing(place);
        let (clock, acting_since) = match place {
            Place::Controller(index) => {
                let node = &self.controllers[index].node;
                (node.well_since, node.seat.acting_since)
            }
            Place::Agent(index) => {
                let node = &self.agents[index].node;
                (node.well_since, node.seat.acting_since)
            }
            Place::Watch(_) | Place::Subagent(_) | Place::Client => return standing.is_up,
        };
        let Some(acting_since) = acting_since else {
            return false;
        };
        let last_pause = standing
            .paused
            .map_or(Moment::default(), |(_, until)| until);
        let disk = self.k.disk(place);
        let begin = [
            standing.since,
            last_pause,
            disk.slow_until,
            disk.full_until,
            clock,
            acting_since,
        ]
        .into_iter()
        .max();
        standing.is_up
            && begin.is_some_and(|begin| self.k.now.since(begin) > span && begin < self.k.now)
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
                Place::Controller(index) => {
                    self.controllers[index].driver_message(&mut self.k, id, packet);
                }
                Place::Agent(index) => {
                    if let Place::Subagent(driver) = conn.server {
                        self.agents[index].driver_message(&mut self.k, driver, id, packet);
                    }
                }
                Place::Subagent(_) | Place::Watch(_) => {}
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
            Place::Controller(index) => {
                self.controllers[index].request(&mut self.k, id, number, &ask);
            }
            Place::Agent(index) => self.agents[index].request(&mut self.k, id, number, &ask),
            Place::Subagent(index) => self.subagent_request(index, id, number, &ask),
            Place::Client | Place::Watch(_) => {}
        }
    }

    fn word(
        &mut self,
        cluster: Cluster,
        to: Place,
        to_number: Number,
        from_number: Number,
        message: crate::pair::Message,
    ) {
        let World {
            k,
            controllers,
            agents,
            votes,
            ..
        } = self;
        let seat = match to {
            Place::Controller(index) if cluster == 0 => Some(&mut controllers[index].node.seat),
            Place::Agent(index) => Some(&mut agents[index].node.seat),
            Place::Client | Place::Controller(_) | Place::Watch(_) | Place::Subagent(_) => votes
                .iter_mut()
                .find(|seat| seat.cluster == cluster && seat.place == to),
        };
        // One that has an empty disk now is another member.
        let Some(seat) = seat.filter(|seat| seat.disk.kept.number == to_number) else {
            return;
        };
        seat.hear(k, from_number, message);
        self.moved(cluster, to);
    }

    fn seat_step(&mut self, cluster: Cluster, place: Place, what: SeatStep) {
        if matches!(what, SeatStep::Synced(_)) && self.failing.remove(&place) {
            self.k.counts.count(Fault::FailedSync);
            self.k.note(format_args!("a sync of {place} fails"));
            return self.stop_and_restart(place);
        }
        let World {
            k,
            controllers,
            agents,
            votes,
            ..
        } = self;
        let seat = match place {
            Place::Controller(index) if cluster == 0 => Some(&mut controllers[index].node.seat),
            Place::Agent(index) => Some(&mut agents[index].node.seat),
            Place::Client | Place::Controller(_) | Place::Watch(_) | Place::Subagent(_) => votes
                .iter_mut()
                .find(|seat| seat.cluster == cluster && seat.place == place),
        };
        if seat.is_some_and(|seat| seat.step(k, what)) {
            self.k.note(format_args!("{place} cannot write"));
            return self.stop_and_restart(place);
        }
        self.moved(cluster, place);
    }

    /// Something has happened to a member of a log.
    fn moved(&mut self, cluster: Cluster, place: Place) {
        match place {
            Place::Controller(index) if cluster == 0 => {
                self.controllers[index].moved(
                    &mut self.k,
                    &mut self.history,
                    &mut self.controller_ledger,
                );
            }
            Place::Agent(index) => {
                let host = &mut self.agents[index];
                host.moved(
                    &mut self.k,
                    &mut self.history,
                    &mut self.agent_ledgers[host.agent],
                );
            }
            // A watch keeps few entries.
            Place::Client | Place::Controller(_) | Place::Watch(_) | Place::Subagent(_) => {
                let World { k, votes, .. } = self;
                let seat = votes
                    .iter_mut()
                    .find(|seat| seat.cluster == cluster && seat.place == place);
                if let Some(seat) = seat
                    && let Some(member) = &mut seat.member
                    && member.commit() > member.kept.base.index + 2 * WATCH_ENTRIES_KEPT
                {
                    let until = member.commit() - WATCH_ENTRIES_KEPT;
                    member.forget(until);
                    seat.settle(k);
                }
            }
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
            NodeStep::Wake(number) => match place {
                Place::Controller(index) if self.controllers[index].node.is_alarm(number) => {
                    self.controllers[index].pump(&mut self.k);
                }
                Place::Agent(index) if self.agents[index].node.is_alarm(number) => {
                    self.agents[index].pump(&mut self.k);
                }
                Place::Controller(_)
                | Place::Agent(_)
                | Place::Watch(_)
                | Place::Client
                | Place::Subagent(_) => {}
            },
            NodeStep::SnapshotWritten(number) => match place {
                Place::Controller(index) => {
                    self.controllers[index]
                        .node
                        .snapshot_written(&mut self.k, number);
                    self.controllers[index].pump(&mut self.k);
                }
                Place::Agent(index) => {
                    self.agents[index]
                        .node
                        .snapshot_written(&mut self.k, number);
                    self.agents[index].pump(&mut self.k);
                }
                Place::Client | Place::Watch(_) | Place::Subagent(_) => {}
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
            Place::Controller(_) => self.k.counts.count(Fault::ControllerCrash),
            Place::Agent(_) => self.k.counts.count(Fault::AgentCrash),
            Place::Watch(_) => self.k.counts.count(Fault::WatchCrash),
            Place::Subagent(_) | Place::Client => {}
        }
        if let Some(stand) = self.stand_of(place) {
            self.k.counts.count(if stand {
                Fault::ActiveCrash
            } else {
                Fault::StandbyCrash
            });
        }
        self.crash_uncounted(place, is_silent);
        self.k
            .after(back_after, Happening::Fault(FaultStep::Restart(place)));
    }

    /// Whether the place is the active member of a pair, or a standby; nothing of others.
    pub fn stand_of(&self, place: Place) -> Option<bool> {
        match place {
            Place::Controller(index) if self.controllers.len() > 1 => {
                Some(self.controllers[index].node.running.is_some())
            }
            Place::Agent(index) if self.setting.layout.directors > 1 => {
                Some(self.agents[index].node.running.is_some())
            }
            Place::Client
            | Place::Controller(_)
            | Place::Watch(_)
            | Place::Agent(_)
            | Place::Subagent(_) => None,
        }
    }

    /// A process is gone and stays away.
    pub fn crash_uncounted(&mut self, place: Place, is_silent: bool) {
        if !self.k.standing(place).is_up {
            return;
        }
        for vote in self.votes.iter_mut().filter(|vote| vote.place == place) {
            vote.crash(&mut self.k);
        }
        match place {
            Place::Controller(index) => self.controllers[index].crash(&mut self.k),
            Place::Agent(index) => {
                self.agents[index].crash(&mut self.k);
                let own = self.own_subagent(index);
                self.subagents[own].crash(&mut self.k, is_silent);
            }
            Place::Subagent(index) => return self.subagents[index].crash(&mut self.k, is_silent),
            Place::Client | Place::Watch(_) => {}
        }
        self.k.note(format_args!("{place} crashes"));
        self.k.end_life(place, is_silent);
        if !is_silent {
            self.tell_others(place);
        }
    }

    /// The connections of a process that is gone break: the other members notice.
    fn tell_others(&mut self, place: Place) {
        let gone: Vec<(Cluster, Number)> = self
            .seats()
            .filter(|seat| seat.place == place)
            .map(|seat| (seat.cluster, seat.disk.kept.number))
            .collect();
        for (cluster, number) in gone {
            let others = self
                .seats()
                .filter(|seat| seat.cluster == cluster && seat.place != place);
            let others: Vec<Place> = others.map(|seat| seat.place).collect();
            for other in others {
                if self.k.net.blocked_since(place, other).is_some() {
                    continue;
                }
                let (life, delay) = (self.k.life(other), self.k.rng.span(100, 50_000));
                let what = SeatStep::Broken(number);
                self.k.after(
                    delay,
                    Happening::Seat {
                        cluster,
                        place: other,
                        life,
                        what,
                    },
                );
            }
        }
    }

    fn own_subagent(&self, director: usize) -> usize {
        let is_own = |subagent: &SubagentHost| subagent.is_local && subagent.director == director;
        self.subagents.iter().position(is_own).unwrap_or(director)
    }

    /// A process that is down starts.
    pub fn restart(&mut self, place: Place) {
        if self.k.standing(place).is_up || self.k.broken.is_some() {
            return;
        }
        match place {
            Place::Controller(index) => {
                self.k.begin_life(place);
                self.controllers[index].node.start(&mut self.k);
            }
            Place::Agent(index) => {
                let own = self.own_subagent(index);
                let (subagent, mut around) = self.subagent(own);
                subagent.start(&mut around);
                self.k.begin_life(place);
                self.agents[index].node.start(&mut self.k);
            }
            Place::Subagent(index) => {
                let (subagent, mut around) = self.subagent(index);
                subagent.start(&mut around);
            }
            Place::Watch(_) => {
                self.k.begin_life(place);
                self.k.note(format_args!("{place} starts"));
            }
            Place::Client => {}
        }
        for vote in self.votes.iter_mut().filter(|vote| vote.place == place) {
            vote.start(&mut self.k);
        }
    }

    /// An Agent comes back with an empty disk: one without a second Director.
    pub fn wipe_agent(&mut self, index: usize) {
        self.crash_uncounted(Place::Agent(index), false);
        let disk = self.k.standing(Place::Agent(index)).life;
        let machine = agent_machine(index, disk);
        self.agents[index].node.wipe(kept(0, 1), machine.clone());
        self.agent_ledgers[index] = Ledger::new(index + 1, machine);
        self.history.agents[index].was_wiped = true;
        self.restart(Place::Agent(index));
    }

    /// A standby or watch loses its disk and comes back as another member, if all others have theirs. Answers whether it does.
    pub fn replace(&mut self, cluster: Cluster, place: Place) -> bool {
        let is_whole = |seat: &SeatHost| {
            let others = self.seats().filter(|other| other.cluster == cluster);
            let mut numbers = others.map(|other| other.disk.kept.number);
            let members = seat
                .member
                .as_ref()
                .map(|member| member.kept.members().clone());
            members.is_some_and(|members| {
                numbers.all(|number| members.get(&number).is_some_and(|seat| seat.votes))
            })
        };
        let is_led = self.seats().any(|seat| {
            let member = seat
                .member
                .as_ref()
                .filter(|_| seat.cluster == cluster && seat.place != place);
            let is_able = member.is_some_and(|member| {
                member.may_act(self.k.steady(seat.place))
                    && member.kept.changed_at() <= member.commit()
                    && member.commit() >= member.kept.newest().1
            });
            is_able && is_whole(seat)
        });
        // A commit that only the two of them have would be lost with the disk.
        let is_settled = |seat: &SeatHost| seat.disk.kept.newest().1 >= self.ledger_index(cluster);
        let others_have_it = self
            .seats()
            .filter(|seat| seat.cluster == cluster && seat.place != place)
            .all(is_settled);
        if !is_led || !others_have_it {
            return false;
        }
        self.crash_uncounted(place, false);
        self.replaced += 1;
        let number = self.replaced * 10 + WATCH + 1;
        if let Some(seat) = self.seat_mut(cluster, place) {
            let part = seat.disk.kept.part;
            let former = seat.disk.kept.number;
            seat.replace(Kept::new(number, part, Members::new()));
            self.k.numbers.remove(&(cluster, former));
            self.k
                .note(format_args!("{place} has lost its disk of log {cluster}"));
        }
        true
    }

    /// How far a log is.
    pub fn ledger_index(&self, cluster: Cluster) -> u64 {
        match cluster.checked_sub(1) {
            None => self.controller_ledger.index,
            Some(agent) => self.agent_ledgers[agent].index,
        }
    }

    /// Members that have come with an empty disk are taken in by the active one.
    fn take_in(&mut self) {
        if self.replaced == 0 {
            return;
        }
        let numbers = |world: &World, cluster| -> Vec<(Place, Number, Part)> {
            let seats = world.seats().filter(|seat| seat.cluster == cluster);
            seats
                .map(|seat| (seat.place, seat.disk.kept.number, seat.disk.kept.part))
                .collect()
        };
        for cluster in 0..=self.agent_ledgers.len() {
            let now = numbers(self, cluster);
            if now.len() < 2 {
                continue;
            }
            for (place, number, _) in &now {
                let steady = self.k.steady(*place);
                let up = self.k.standing(*place).is_up && self.k.paused_until(*place).is_none();
                let reachable: Vec<_> = now
                    .iter()
                    .filter(|(other, _, _)| {
                        self.k.standing(*other).is_up
                            && self.k.net.blocked_since(*place, *other).is_none()
                    })
                    .copied()
                    .collect();
                let World {
                    k,
                    controllers,
                    agents,
                    ..
                } = self;
                let seat = match place {
                    Place::Controller(index) if cluster == 0 => &mut controllers[*index].node.seat,
                    Place::Agent(index) => &mut agents[*index].node.seat,
                    Place::Client | Place::Controller(_) | Place::Watch(_) | Place::Subagent(_) => {
                        continue;
                    }
                };
                let Some(member) = seat
                    .member
                    .as_mut()
                    .filter(|member| up && member.may_act(steady))
                else {
                    continue;
                };
                let present: BTreeSet<Number> = now.iter().map(|(_, number, _)| *number).collect();
                for (_, other, part) in reachable.iter().filter(|(_, other, _)| other != number) {
                    let members = member.kept.members();
                    if members.get(other).is_some_and(|seat| seat.votes) {
                        continue;
                    }
                    let former = members
                        .iter()
                        .filter(|(number, seat)| !present.contains(number) && seat.part == *part);
                    let former: Vec<Number> = former.map(|(number, _)| *number).collect();
                    member.take_in(*other, *part, &former, steady);
                }
                seat.settle(k);
            }
        }
    }

    /// A process stands still until then.
    pub fn pause(&mut self, place: Place, until: Moment) {
        self.k.pause(place, until);
        if let Place::Agent(director) = place {
            let own = self.own_subagent(director);
            self.k.pause(Place::Subagent(own), until);
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
            Place::Controller(index) => self.controllers[index].node.well_since = now,
            Place::Agent(index) => self.agents[index].node.well_since = now,
            Place::Client | Place::Watch(_) | Place::Subagent(_) => {}
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
            Place::Controller(index) => Some(self.controllers[index].node.clock),
            Place::Agent(index) => Some(self.agents[index].node.clock),
            Place::Client | Place::Watch(_) | Place::Subagent(_) => None,
        }
    }

    fn clock_mut(&mut self, place: Place) -> Option<&mut LocalClock> {
        match place {
            Place::Controller(index) => Some(&mut self.controllers[index].node.clock),
            Place::Agent(index) => Some(&mut self.agents[index].node.clock),
            Place::Client | Place::Watch(_) | Place::Subagent(_) => None,
        }
    }

    /// The logs of pairs.
    pub fn pairs(&self) -> Vec<Cluster> {
        let mut pairs: Vec<Cluster> = self.votes.iter().map(|vote| vote.cluster).collect();
        pairs.sort_unstable();
        pairs
    }

    /// For how long nobody has been active in a log.
    pub fn idle_for(&self, cluster: Cluster) -> Duration {
        let acted = self.k.acted.get(&cluster).copied().unwrap_or_default();
        self.k.now.since(acted)
    }

    /// Whether nothing has hindered a member of a log for so long.
    pub fn has_been_well(&self, seat: &SeatHost, span: Duration) -> bool {
        let standing = self.k.standing(seat.place);
        let last_pause = standing
            .paused
            .map_or(Moment::default(), |(_, until)| until);
        let disk = self.k.disk(seat.place);
        let begin = [standing.since, last_pause, disk.slow_until, disk.full_until]
            .into_iter()
            .max();
        standing.is_up
            && begin.is_some_and(|begin| begin < self.k.now && self.k.now.since(begin) > span)
    }

    /// Whether two places have reached each other for so long.
    pub fn has_been_joined(&self, a: Place, b: Place, span: Duration) -> bool {
        [(a, b), (b, a)].into_iter().all(|(from, to)| {
            self.k.net.blocked_since(from, to).is_none()
                && self
                    .cuts
                    .get(&(from, to))
                    .is_none_or(|healed| self.k.now.since(*healed) > span)
        })
    }

    /// Whether a data member was left behind when the watch was told.
    pub fn is_behind(&self, cluster: Cluster, number: Number) -> bool {
        match cluster.checked_sub(1) {
            None => self.controller_ledger.behind.contains(&number),
            Some(agent) => self.agent_ledgers[agent].behind.contains(&number),
        }
    }

    /// The places of one host.
    fn host_of(&self, place: Place) -> Vec<Place> {
        match place {
            Place::Agent(index) => vec![place, Place::Subagent(self.own_subagent(index))],
            Place::Client | Place::Controller(_) | Place::Watch(_) | Place::Subagent(_) => {
                vec![place]
            }
        }
    }

    /// No message gets through from one host to another for so long.
    pub fn cut(&mut self, from: Place, to: Place, span: Duration) {
        let now = self.k.now;
        for a in self.host_of(from) {
            for b in self.host_of(to) {
                self.k.net.block(a, b, now);
                self.k.after(span, Happening::Fault(FaultStep::Heal(a, b)));
            }
        }
    }

    /// Messages get through again.
    pub fn heal(&mut self, from: Place, to: Place) {
        if self.k.net.blocked_since(from, to).is_some() {
            self.cuts.insert((from, to), self.k.now);
        }
        self.k.heal(from, to);
    }

    /// The active member hands over by command. Answers whether it does.
    pub fn switch_over(&mut self, cluster: Cluster) -> bool {
        let places: Vec<Place> = self
            .seats()
            .filter(|seat| seat.cluster == cluster)
            .map(|seat| seat.place)
            .collect();
        for place in places {
            if self.k.paused_until(place).is_some() {
                continue;
            }
            let World {
                k,
                controllers,
                agents,
                ..
            } = self;
            let seat = match place {
                Place::Controller(index) if cluster == 0 => &mut controllers[index].node.seat,
                Place::Agent(index) => &mut agents[index].node.seat,
                Place::Client | Place::Controller(_) | Place::Watch(_) | Place::Subagent(_) => {
                    continue;
                }
            };
            let now = k.steady(place);
            if seat
                .member
                .as_mut()
                .is_some_and(|member| member.hand_over(now))
            {
                k.counts.count(Fault::SwitchOver);
                k.note(format_args!("{place} hands over log {cluster}"));
                seat.settle(k);
                return true;
            }
        }
        false
    }

    /// The invariants that need a look at the whole.
    fn look(&mut self) {
        let checks = [
            invariants::one_is_enough::check(self),
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
        for agent in &self.agents {
            if agent.node.is_settled()
                && let Some(machine) = agent.node.machine()
                && !self.history.agents[agent.agent].was_wiped
            {
                self.history
                    .check_released(&mut self.k, agent.agent, machine, agent.node.torn());
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
