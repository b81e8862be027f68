//! Those who use the Controller: they ask over and over until they are answered, as a careful program does.
//!
//! Always: a call is repeated with the same text until an answer has come; what was acknowledged is told to the history.

use crate::history::History;
use crate::invariants::Violation;
use crate::kernel::{Happening, Kernel};
use crate::moment::Moment;
use crate::net::{Ask, ClientCall, ConnId, Packet, Toward};
use crate::place::Place;
use crate::workload::Expected;
use model::{ControllerAnswer, OrderId};
use std::collections::BTreeMap;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(8);

/// What a client does next.
#[derive(Clone, Copy, Debug)]
pub enum ClientStep {
    /// Asks, for the first time or again.
    Ask(usize),
    /// Waits no longer for this try.
    TimedOut(usize, u64),
}

/// What a refusal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A fault of the Controller: the call is in order.
    Wrong,
    /// As good as any answer.
    Fine,
}

/// Something that is asked.
#[derive(Debug)]
struct Call {
    what: ClientCall,
    orders: Vec<OrderId>,
    refusal: Refusal,
    conn: Option<ConnId>,
    tries: u64,
    is_answered: bool,
}

/// All clients.
#[derive(Debug, Default)]
pub struct Clients {
    calls: Vec<Call>,
    open: BTreeMap<ConnId, usize>,
    expected: BTreeMap<OrderId, Expected>,
    /// How many Controllers there are; each is tried in turn.
    pub controllers: usize,
    seat: usize,
    /// Answers that came.
    pub answers: u64,
    /// Refusals that came and were fine.
    pub refusals: u64,
}

impl Clients {
    /// Plans a call. `orders` are those whose addition it asks for.
    pub fn plan(
        &mut self,
        k: &mut Kernel,
        at: Moment,
        what: ClientCall,
        orders: Vec<OrderId>,
        refusal: Refusal,
    ) {
        self.calls.push(Call {
            what,
            orders,
            refusal,
            conn: None,
            tries: 0,
            is_answered: false,
        });
        k.at(at, Happening::Client(ClientStep::Ask(self.calls.len() - 1)));
    }

    /// An order's end is known beforehand.
    pub fn expect(&mut self, id: OrderId, expected: Expected) {
        self.expected.insert(id, expected);
    }

    /// Somebody touches the order: its end is not known any more.
    pub fn expect_nothing(&mut self, id: &OrderId) {
        self.expected.remove(id);
    }

    /// Which orders end how.
    pub fn expected(&self) -> impl Iterator<Item = (&OrderId, &Expected)> {
        self.expected.iter()
    }

    /// Whether everything has been answered.
    pub fn is_done(&self) -> bool {
        self.calls.iter().all(|call| call.is_answered)
    }

    /// What happens next.
    pub fn step(&mut self, k: &mut Kernel, step: ClientStep) {
        let (ClientStep::Ask(index) | ClientStep::TimedOut(index, _)) = step;
        let Some(call) = self.calls.get_mut(index).filter(|call| !call.is_answered) else {
            return;
        };
        match step {
            ClientStep::Ask(_) => {
                call.tries += 1;
                let seat = self.seat % self.controllers.max(1);
                let conn = k.dial(Place::Client, Place::Controller(seat), false);
                call.conn = Some(conn);
                self.open.insert(conn, index);
                let ask = Ask::Controller(call.what.clone());
                let packet = Packet::Request {
                    number: call.tries,
                    ask,
                };
                k.note(format_args!("client asks {}", packet.label()));
                k.send(conn, Toward::Server, packet);
                k.after(
                    PATIENCE,
                    Happening::Client(ClientStep::TimedOut(index, call.tries)),
                );
            }
            ClientStep::TimedOut(_, tries) if tries == call.tries => self.again(k, index),
            ClientStep::TimedOut(..) => {}
        }
    }

    fn again(&mut self, k: &mut Kernel, index: usize) {
        let Some(call) = self.calls.get_mut(index) else {
            return;
        };
        if let Some(conn) = call.conn.take() {
            k.net.close(conn);
            self.open.remove(&conn);
        }
        call.tries += 1;
        self.seat += 1;
        let pause = k.rng.span(10_000, 5_000_000);
        k.after(pause, Happening::Client(ClientStep::Ask(index)));
    }

    /// An answer has arrived.
    pub fn message(&mut self, k: &mut Kernel, history: &mut History, conn: ConnId, packet: Packet) {
        let Some(index) = self.open.get(&conn).copied() else {
            return;
        };
        let body = match packet {
            Packet::Response { body, .. } => body,
            Packet::Reset => return self.again(k, index),
            Packet::Request { .. } | Packet::Chunk(_) => return,
        };
        let Some(call) = self.calls.get_mut(index) else {
            return;
        };
        if body
            .as_ref()
            .is_err_and(|problem| problem.contains("ClusterNodeIsNotActive"))
        {
            return self.again(k, index);
        }
        let refused = match &body {
            Err(problem) => Some(problem.clone()),
            Ok(text) if text.is_empty() => None,
            Ok(text) => match serde_json::from_str::<ControllerAnswer>(text) {
                Ok(ControllerAnswer::Problem { code, message, .. }) => {
                    Some(format!("{code:?}: {message}"))
                }
                Ok(_) => None,
                Err(error) => Some(error.to_string()),
            },
        };
        call.is_answered = true;
        k.net.close(conn);
        self.open.remove(&conn);
        self.answers += 1;
        match (refused, call.refusal) {
            (Some(why), Refusal::Wrong) => {
                let what = Packet::Request {
                    number: call.tries,
                    ask: Ask::Controller(call.what.clone()),
                };
                k.violate(Violation::new(
                    "acknowledged_is_durable",
                    format!("refused: {why}: {}", what.label()),
                ));
            }
            (Some(why), Refusal::Fine) => {
                self.refusals += 1;
                k.note(format_args!("client is refused: {why}"));
            }
            (None, _) => {
                let orders = std::mem::take(&mut call.orders);
                history.acknowledge(k, &orders);
            }
        }
    }
}
