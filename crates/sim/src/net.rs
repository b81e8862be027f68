//! The network between the places: connections whose messages keep their order, may be lost with their connection, come late or
//! twice, and stop at partitions.
//!
//! Always: like TCP, nothing is lost or overtaken within a connection that stays open; a request whose sender has given up may
//! still arrive. Never here: what a message means.

use crate::moment::Moment;
use crate::place::Place;
use std::collections::BTreeMap;

/// A connection's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnId(pub u64);

/// What is asked over a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// A client asks the Controller: a command, or lines of items.
    Controller(ClientCall),
    /// The Controller sends an `AgentCommand`, as JSON, within a coupling if it has one.
    Agent(Option<u64>, String),
    /// The Controller wants the Agent's events behind this one.
    AgentEvents(u64),
    /// The Director sends a `SubagentCommand`, as JSON, within a coupling and as its request of this number.
    Subagent((u64, u64), String),
    /// The Director wants the Subagent's events of this life behind this one.
    SubagentEvents(String, u64),
}

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientCall {
    /// A `ControllerCommand` as JSON.
    Command(String),
    /// Item operations as lines.
    Items(Vec<String>),
    /// How things stand: the answer must not be older than what anybody was told before.
    Read,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// To the server.
    Request {
        /// Which of the connection's requests.
        number: u64,
        /// What is asked.
        ask: Ask,
    },
    /// To the client: the answer, or a problem as JSON.
    Response {
        /// To which request.
        number: u64,
        /// The answer.
        body: Result<String, String>,
    },
    /// To the client: events, one JSON text each.
    Chunk(Vec<String>),
    /// To the client: the connection is over.
    Reset,
}

impl Packet {
    /// Whether it may arrive twice: what a client repeats, and what is asked before a coupling. Within a coupling the transport
    /// delivers once or breaks.
    pub fn may_be_repeated(&self) -> bool {
        let Packet::Request { ask, .. } = self else {
            return false;
        };
        match ask {
            Ask::Controller(_) | Ask::Agent(None, _) | Ask::Subagent((0, _), _) => true,
            Ask::Agent(Some(_), _)
            | Ask::Subagent(..)
            | Ask::AgentEvents(_)
            | Ask::SubagentEvents(..) => false,
        }
    }

    /// A short text for the trace.
    pub fn label(&self) -> String {
        let cut = |text: &str| text.chars().take(110).collect::<String>();
        match self {
            Packet::Request { number, ask } => match ask {
                Ask::Controller(ClientCall::Command(text)) => format!("#{number} {}", cut(text)),
                Ask::Controller(ClientCall::Items(lines)) => {
                    format!("#{number} {} items", lines.len())
                }
                Ask::Controller(ClientCall::Read) => format!("#{number} read"),
                Ask::Agent(_, text) | Ask::Subagent(_, text) => format!("#{number} {}", cut(text)),
                Ask::AgentEvents(after) | Ask::SubagentEvents(_, after) => {
                    format!("#{number} events after {after}")
                }
            },
            Packet::Response {
                number,
                body: Ok(text),
            } => format!("#{number} ok {}", cut(text)),
            Packet::Response {
                number,
                body: Err(text),
            } => format!("#{number} refused {}", cut(text)),
            Packet::Chunk(lines) => format!("{} events", lines.len()),
            Packet::Reset => "reset".to_owned(),
        }
    }
}

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Toward {
    /// To the one that was dialled.
    Server,
    /// To the one that dialled.
    Client,
}

/// A connection.
#[derive(Clone, Debug)]
pub struct Conn {
    /// Who dialled.
    pub client: Place,
    /// In which life.
    pub client_life: u32,
    /// Who was dialled.
    pub server: Place,
    /// In which life, once the first message has arrived.
    pub server_life: Option<u32>,
    /// Within one process: no network in between.
    pub is_local: bool,
    /// Whether the client still listens.
    pub is_open: bool,
    /// A message was lost on it: none that is sent later arrives.
    pub is_broken: bool,
    /// No message to the server arrives earlier: order is kept.
    pub server_ready: Moment,
    /// The same to the client.
    pub client_ready: Moment,
}

/// A message that waits for the end of a partition.
#[derive(Debug)]
pub struct Held {
    /// On which connection.
    pub conn: ConnId,
    /// The message.
    pub packet: Packet,
}

/// So many messages wait in one direction at most; older ones are lost.
const HELD_MAX: usize = 40;

/// All connections and partitions.
#[derive(Debug, Default)]
pub struct Net {
    conns: BTreeMap<ConnId, Conn>,
    last: u64,
    blocked: BTreeMap<(Place, Place), Moment>,
    held: BTreeMap<(Place, Place), Vec<Held>>,
}

impl Net {
    /// A new connection.
    pub fn open(&mut self, client: (Place, u32), server: Place, is_local: bool) -> ConnId {
        self.last += 1;
        let id = ConnId(self.last);
        let conn = Conn {
            client: client.0,
            client_life: client.1,
            server,
            server_life: None,
            is_local,
            is_open: true,
            is_broken: false,
            server_ready: Moment::default(),
            client_ready: Moment::default(),
        };
        self.conns.insert(id, conn);
        id
    }

    /// The client gives up.
    pub fn close(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.is_open = false;
        }
    }

    /// A connection.
    pub fn conn(&self, id: ConnId) -> Option<&Conn> {
        self.conns.get(&id)
    }

    /// The same, to be changed.
    pub fn conn_mut(&mut self, id: ConnId) -> Option<&mut Conn> {
        self.conns.get_mut(&id)
    }

    /// Connections that are open to this server.
    pub fn open_to(&self, server: Place) -> Vec<ConnId> {
        let open = self
            .conns
            .iter()
            .filter(|(_, conn)| conn.is_open && conn.server == server);
        open.map(|(id, _)| *id).collect()
    }

    /// Closes the connections of a client that is gone.
    pub fn close_of(&mut self, client: Place) {
        for conn in self.conns.values_mut().filter(|conn| conn.client == client) {
            conn.is_open = false;
        }
    }

    /// Forgets connections that are closed for long; what still travels on them is lost.
    pub fn forget_closed(&mut self, before: Moment) {
        self.conns
            .retain(|_, conn| conn.is_open || conn.server_ready.max(conn.client_ready) >= before);
    }

    /// Stops messages in one direction.
    pub fn block(&mut self, from: Place, to: Place, now: Moment) {
        self.blocked.entry((from, to)).or_insert(now);
    }

    /// Lets messages through again; answers those that waited.
    pub fn unblock(&mut self, from: Place, to: Place) -> Vec<Held> {
        self.blocked.remove(&(from, to));
        self.held.remove(&(from, to)).unwrap_or_default()
    }

    /// Since when messages are stopped, if they are.
    pub fn blocked_since(&self, from: Place, to: Place) -> Option<Moment> {
        self.blocked.get(&(from, to)).copied()
    }

    /// All directions that are stopped.
    pub fn all_blocked(&self) -> Vec<(Place, Place)> {
        self.blocked.keys().copied().collect()
    }

    /// Keeps a message until the partition ends; answers the connection of an older one that was lost for it.
    pub fn hold(&mut self, from: Place, to: Place, held: Held) -> Option<ConnId> {
        let waiting = self.held.entry((from, to)).or_default();
        let lost = (waiting.len() >= HELD_MAX).then(|| waiting.remove(0).conn);
        waiting.push(held);
        lost
    }
}
