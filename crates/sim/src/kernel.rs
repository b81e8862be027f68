//! What all parts of a world share: time, chance, the queue of what will happen, the network, the trace.
//!
//! Always: things that happen at the same moment happen in the order in which they were planned.

use crate::fault::{Counts, Fault};
use crate::invariants::{Violation, time_goes_on};
use crate::moment::Moment;
use crate::net::{ConnId, Held, Net, Packet, Toward};
use crate::pair::{Message, Number};
use crate::place::Place;
use crate::rng::Rng;
use crate::seat::{Cluster, SeatStep};
use crate::trace::Trace;
use model::Timestamp;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt;
use std::time::Duration;

/// How bad the network is.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// So many of a million messages are lost with their connection.
    pub lost: u64,
    /// So many of a million requests arrive twice.
    pub duplicated: u64,
    /// So many of a million requests arrive after their sender has given up.
    pub late: u64,
}

impl Weather {
    /// Nothing goes wrong.
    pub const FINE: Weather = Weather {
        lost: 0,
        duplicated: 0,
        late: 0,
    };
}

/// Something that will happen.
#[derive(Debug)]
pub enum Happening {
    /// A message arrives.
    Arrive {
        /// Where.
        to: Place,
        /// On which connection.
        conn: ConnId,
        /// Which message.
        packet: Packet,
    },
    /// Something within a node that has a log.
    Node {
        /// Where.
        place: Place,
        /// In which life.
        life: u32,
        /// What.
        what: NodeStep,
    },
    /// Something within a connection's driver.
    Driver {
        /// Where it dials from.
        place: Place,
        /// In which life.
        life: u32,
        /// Which of the drivers there.
        driver: usize,
        /// What.
        what: DriverStep,
    },
    /// Something with a job's process.
    Process {
        /// Which.
        number: u64,
        /// What.
        what: ProcessStep,
    },
    /// Something within a member of a log.
    Seat {
        /// Of which log.
        cluster: Cluster,
        /// Where.
        place: Place,
        /// In which life.
        life: u32,
        /// What.
        what: SeatStep,
    },
    /// A member of a log hears another one.
    Word {
        /// Of which log.
        cluster: Cluster,
        /// Where it is heard.
        to: Place,
        /// For which member.
        to_number: Number,
        /// Where it comes from.
        from: Place,
        /// From which member.
        from_number: Number,
        /// What is said.
        message: Message,
    },
    /// A Subagent looks at its Director's lease.
    Lease {
        /// Which Subagent.
        place: Place,
        /// In which life.
        life: u32,
    },
    /// The guard of a Subagent's jobs acts: its process is gone, or may stand still.
    Guard {
        /// Which Subagent.
        place: Place,
        /// In which life.
        life: u32,
    },
    /// A Subagent notices something about a process.
    Noticed {
        /// Which Subagent.
        place: Place,
        /// In which life.
        life: u32,
        /// What.
        what: crate::process::Notice,
    },
    /// A fault begins or ends.
    Fault(crate::faults::FaultStep),
    /// A client does something.
    Client(crate::client::ClientStep),
    /// The invariants that need a look at the whole are checked.
    Look,
}

/// Within a node that has a log.
#[derive(Clone, Copy, Debug)]
pub enum NodeStep {
    /// The timer.
    Wake(u64),
    /// The snapshot is complete.
    SnapshotWritten(u64),
    /// The process starts again.
    Start,
}

/// Within a driver. Old generations are passed over.
#[derive(Clone, Copy, Debug)]
pub enum DriverStep {
    /// Dials again.
    Dial(u64),
    /// A request has taken too long.
    TimedOut(u64),
    /// Looks whether the stream has been silent for too long.
    Listen(u64),
    /// It is time to confirm what was taken over.
    Confirm(u64),
    /// It is time to say something, to keep the lease.
    KeepAlive(u64),
    /// The lease of a Subagent that is away may be over.
    LeaseOver,
}

/// With a job's process.
#[derive(Clone, Copy, Debug)]
pub enum ProcessStep {
    /// It writes.
    Write,
    /// It ends by itself.
    Exit,
    /// It runs longer than it may.
    Timeout,
    /// It has not ended after SIGTERM.
    Grace,
}

struct Planned {
    at: Moment,
    number: u64,
    what: Happening,
}

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Planned {}
impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Planned {
    // The queue gives the greatest: the earliest must be that.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

/// How a place stands.
#[derive(Clone, Copy, Debug, Default)]
pub struct Standing {
    /// Counts its starts.
    pub life: u32,
    /// Whether its process runs.
    pub is_up: bool,
    /// Since when it has been up or down.
    pub since: Moment,
    /// It stands still until then.
    pub paused: Option<(Moment, Moment)>,
    /// Nobody sends a reset for it: its host is gone too.
    pub is_silent: bool,
}

/// How the disk of a place is.
#[derive(Clone, Copy, Debug, Default)]
pub struct DiskState {
    /// Syncs are slow until then.
    pub slow_until: Moment,
    /// Nothing can be written until then.
    pub full_until: Moment,
    /// A write has met the slow disk.
    pub is_slow_met: bool,
    /// A write has met the full disk.
    pub is_full_met: bool,
}

/// What all parts share.
pub struct Kernel {
    /// The present.
    pub now: Moment,
    /// Chance.
    pub rng: Rng,
    /// The network.
    pub net: Net,
    /// How bad it is.
    pub weather: Weather,
    /// The diary.
    pub trace: Trace,
    /// Which faults have happened.
    pub counts: Counts,
    /// The first invariant that was found broken.
    pub broken: Option<Violation>,
    queue: BinaryHeap<Planned>,
    planned: u64,
    standings: BTreeMap<Place, Standing>,
    /// So many millionths a place's steady clock is too fast.
    pub drifts: BTreeMap<Place, i64>,
    /// Where the members of the logs are.
    pub numbers: BTreeMap<(Cluster, Number), Place>,
    /// What the clock showed when the events of an entry were judged, by log, term and index.
    pub judged: BTreeMap<(Cluster, u64, u64), Timestamp>,
    /// The newest entry of each log that is committed for certain.
    pub committed: BTreeMap<Cluster, u64>,
    /// When somebody had the right to act in each log.
    pub acted: BTreeMap<Cluster, Moment>,
    disks: BTreeMap<Place, DiskState>,
    unique: u64,
    /// How many steps were taken.
    pub steps: u64,
    /// How many of them before the whole was looked at last.
    steps_looked_at: u64,
    /// The most steps between two looks.
    pub steps_most: u64,
}

impl Kernel {
    /// An empty world.
    pub fn new(seed: u64, print: bool) -> Kernel {
        Kernel {
            now: Moment::default(),
            rng: Rng::new(seed),
            net: Net::default(),
            weather: Weather::FINE,
            trace: Trace::new(print),
            counts: Counts::default(),
            broken: None,
            queue: BinaryHeap::new(),
            planned: 0,
            standings: BTreeMap::new(),
            drifts: BTreeMap::new(),
            numbers: BTreeMap::new(),
            judged: BTreeMap::new(),
            committed: BTreeMap::new(),
            acted: BTreeMap::new(),
            disks: BTreeMap::new(),
            unique: 0,
            steps: 0,
            steps_looked_at: 0,
            steps_most: 0,
        }
    }

    /// Something is done. Too much of it without the time going on is a failure.
    pub fn step(&mut self) {
        self.steps += 1;
        self.check(time_goes_on::check(self.steps - self.steps_looked_at));
    }

    /// The whole is looked at.
    pub fn looks(&mut self) {
        self.steps_most = self.steps_most.max(self.steps - self.steps_looked_at);
        self.steps_looked_at = self.steps;
    }

    /// A number that was never given before.
    pub fn unique(&mut self) -> u64 {
        self.unique += 1;
        self.unique
    }

    /// How the disk of a place is.
    pub fn disk(&self, place: Place) -> DiskState {
        self.disks.get(&place).copied().unwrap_or_default()
    }

    /// The same, to be changed.
    pub fn disk_mut(&mut self, place: Place) -> &mut DiskState {
        self.disks.entry(place).or_default()
    }

    /// The disk of a place is slow for so long. It is counted with the first write that meets it.
    pub fn slow_disk(&mut self, place: Place, span: Duration) {
        let until = self.now.plus(span);
        let disk = self.disk_mut(place);
        disk.slow_until = until;
        disk.is_slow_met = false;
    }

    /// The disk of a place is full for so long. It is counted with the first write that meets it.
    pub fn fill_disk(&mut self, place: Place, span: Duration) {
        self.note(format_args!("the disk of {place} is full for {span:?}"));
        let until = self.now.plus(span);
        let disk = self.disk_mut(place);
        disk.full_until = until;
        disk.is_full_met = false;
    }

    /// Something is written at a place: whether its disk is slow, and whether it is full.
    pub fn meets_disk(&mut self, place: Place) -> (bool, bool) {
        let now = self.now;
        let disk = self.disk_mut(place);
        let (is_slow, is_full) = (disk.slow_until > now, disk.full_until > now);
        let is_slow_new = is_slow && !std::mem::replace(&mut disk.is_slow_met, is_slow);
        let is_full_new = is_full && !std::mem::replace(&mut disk.is_full_met, is_full);
        if is_slow_new {
            self.counts.count(Fault::SlowDisk);
        }
        if is_full_new {
            self.counts.count(Fault::FullDisk);
        }
        (is_slow, is_full)
    }

    /// All disks are well.
    pub fn mend_disks(&mut self) {
        self.disks.clear();
    }

    fn speed(&self, place: Place) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "at most some ten thousand")]
        let drift = self.drifts.get(&place).copied().unwrap_or_default() as f64;
        1.0 + drift / 1e6
    }

    /// What the steady clock of a place shows: it never jumps, but may be a little too fast or too slow.
    pub fn steady(&self, place: Place) -> Duration {
        self.now.since(Moment::default()).mul_f64(self.speed(place))
    }

    /// When the steady clock of a place shows this.
    pub fn when(&self, place: Place, steady: Duration) -> Moment {
        // A clock is asked not before it shows it.
        let after = steady.div_f64(self.speed(place)) + Duration::from_micros(2);
        Moment::default().plus(after).max(self.now)
    }

    /// Plans something.
    pub fn after(&mut self, delay: Duration, what: Happening) {
        self.at(self.now.plus(delay), what);
    }

    /// Plans something for a moment.
    pub fn at(&mut self, at: Moment, what: Happening) {
        self.planned += 1;
        self.queue.push(Planned {
            at: at.max(self.now),
            number: self.planned,
            what,
        });
    }

    /// The next thing that happens until `end`; time goes on to it.
    pub fn next(&mut self, end: Moment) -> Option<Happening> {
        if self.queue.peek().is_none_or(|planned| planned.at > end) {
            self.now = self.now.max(end);
            return None;
        }
        let planned = self.queue.pop()?;
        self.now = planned.at;
        Some(planned.what)
    }

    /// Writes a line into the trace.
    pub fn note(&mut self, line: fmt::Arguments<'_>) {
        self.trace.write(self.now, line);
    }

    /// An invariant does not hold; the first one counts.
    pub fn violate(&mut self, violation: Violation) {
        self.note(format_args!("VIOLATION {violation}"));
        self.broken.get_or_insert(violation);
    }

    /// Keeps the violation that a check has found, if it has.
    pub fn check(&mut self, checked: Result<(), Violation>) {
        if let Err(violation) = checked {
            self.violate(violation);
        }
    }

    /// How a place stands.
    pub fn standing(&self, place: Place) -> Standing {
        self.standings.get(&place).copied().unwrap_or_default()
    }

    /// The place's process starts; answers its life.
    pub fn begin_life(&mut self, place: Place) -> u32 {
        let now = self.now;
        let standing = self.standings.entry(place).or_default();
        *standing = Standing {
            life: standing.life + 1,
            is_up: true,
            since: now,
            paused: None,
            is_silent: false,
        };
        standing.life
    }

    /// The place's process is gone. Its peers hear of it soon, unless its host is gone too.
    pub fn end_life(&mut self, place: Place, is_silent: bool) {
        let now = self.now;
        let standing = self.standings.entry(place).or_default();
        standing.is_up = false;
        standing.since = now;
        standing.paused = None;
        standing.is_silent = is_silent;
        self.net.close_of(place);
        if !is_silent {
            for conn in self.net.open_to(place) {
                self.send(conn, Toward::Client, Packet::Reset);
            }
        }
    }

    /// The place closes all its connections, but its process goes on.
    pub fn hang_up_all(&mut self, place: Place) {
        self.net.close_of(place);
        for conn in self.net.open_to(place) {
            self.send(conn, Toward::Client, Packet::Reset);
        }
    }

    /// The place stands still until then.
    pub fn pause(&mut self, place: Place, until: Moment) {
        let now = self.now;
        self.standings.entry(place).or_default().paused = Some((now, until));
    }

    /// Until when the place stands still, if it does.
    pub fn paused_until(&self, place: Place) -> Option<Moment> {
        self.standing(place)
            .paused
            .map(|(_, until)| until)
            .filter(|until| *until > self.now)
    }

    /// Counts the starts of a place.
    pub fn life(&self, place: Place) -> u32 {
        self.standing(place).life
    }

    /// How long a place has been as it is, up or down.
    pub fn up_for(&self, place: Place) -> Duration {
        self.now.since(self.standing(place).since)
    }

    /// For how long a client would have heard nothing from a server.
    pub fn silence(&self, server: Place, client: Place) -> Duration {
        let standing = self.standing(server);
        let stopped = (!standing.is_up).then_some(standing.since);
        let paused = standing
            .paused
            .filter(|(_, until)| *until > self.now)
            .map(|(since, _)| since);
        let blocked = self.net.blocked_since(server, client);
        let since = [stopped, paused, blocked].into_iter().flatten().min();
        since.map_or(Duration::ZERO, |since| self.now.since(since))
    }

    /// Dials.
    pub fn dial(&mut self, client: Place, server: Place, is_local: bool) -> ConnId {
        let life = self.standing(client).life;
        self.net.open((client, life), server, is_local)
    }

    /// Sends a message.
    pub fn send(&mut self, id: ConnId, toward: Toward, packet: Packet) {
        let Some(conn) = self.net.conn(id).cloned() else {
            return;
        };
        let (from, to) = match toward {
            Toward::Server => (conn.client, conn.server),
            Toward::Client => (conn.server, conn.client),
        };
        if conn.is_local {
            return self.after(
                Duration::ZERO,
                Happening::Arrive {
                    to,
                    conn: id,
                    packet,
                },
            );
        }
        let is_request = matches!(packet, Packet::Request { .. });
        if packet != Packet::Reset {
            if conn.is_broken {
                return;
            }
            if self.rng.per_million(self.weather.lost) {
                self.counts.count(Fault::LostMessage);
                self.counts.count(Fault::BrokenConnection);
                self.note(format_args!(
                    "{from} ✗ {to} c{} lost: {}",
                    id.0,
                    packet.label()
                ));
                return self.break_connection(id);
            }
            if packet.may_be_repeated() && self.rng.per_million(self.weather.duplicated) {
                self.counts.count(Fault::DuplicateMessage);
                let delay = self.rng.span(1_000, 20_000_000);
                self.after(
                    delay,
                    Happening::Arrive {
                        to,
                        conn: id,
                        packet: packet.clone(),
                    },
                );
            }
            if is_request && self.rng.per_million(self.weather.late) {
                self.counts.count(Fault::LateMessage);
                self.note(format_args!(
                    "{from} … {to} c{} late: {}",
                    id.0,
                    packet.label()
                ));
                let delay = self.rng.span(11_000_000, 120_000_000);
                return self.after(
                    delay,
                    Happening::Arrive {
                        to,
                        conn: id,
                        packet,
                    },
                );
            }
        }
        if self.net.blocked_since(from, to).is_some() {
            if let Some(lost) = self.net.hold(from, to, Held { conn: id, packet }) {
                self.counts.count(Fault::LostMessage);
                self.break_connection(lost);
            }
            return;
        }
        let delay = self.rng.span(50, 40_000);
        let at = self.in_order(id, from, self.now.plus(delay));
        self.at(
            at,
            Happening::Arrive {
                to,
                conn: id,
                packet,
            },
        );
    }

    /// The moment at which a message may arrive that is not to overtake one before it.
    fn in_order(&mut self, id: ConnId, from: Place, at: Moment) -> Moment {
        let Some(conn) = self.net.conn_mut(id) else {
            return at;
        };
        let ready = if conn.client == from {
            &mut conn.server_ready
        } else {
            &mut conn.client_ready
        };
        *ready = at.max(*ready);
        *ready
    }

    /// Nothing more arrives on the connection; the client notices after a while.
    fn break_connection(&mut self, id: ConnId) {
        let delay = self.rng.span(1_000, 8_000_000);
        let Some(conn) = self.net.conn_mut(id) else {
            return;
        };
        conn.is_broken = true;
        let to = conn.client;
        self.after(
            delay,
            Happening::Arrive {
                to,
                conn: id,
                packet: Packet::Reset,
            },
        );
    }

    /// Lets messages through again. What waited on closed connections is lost or comes late.
    pub fn heal(&mut self, from: Place, to: Place) {
        for Held { conn, packet } in self.net.unblock(from, to) {
            let is_open = self.net.conn(conn).is_some_and(|conn| conn.is_open);
            let is_request = matches!(packet, Packet::Request { .. });
            if is_open || (is_request && self.rng.per_mille(500)) {
                if !is_open {
                    self.counts.count(Fault::LateMessage);
                }
                let delay = self.rng.span(1_000, 2_000_000);
                let at = self.in_order(conn, from, self.now.plus(delay));
                self.at(at, Happening::Arrive { to, conn, packet });
            } else {
                self.counts.count(Fault::LostMessage);
            }
        }
    }
}
