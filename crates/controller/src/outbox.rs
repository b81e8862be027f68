//! What is to be sent to each Agent, in the order of sending.
//!
//! Always: an index of the state, kept by `evolve`; a thing stays until an event of the Agent (or a change here) says that it is
//! done, however often it was sent. Never here: what has been sent over which connection. See `controller-node`.

use crate::{Attachment, State};
use imbl::{OrdMap, OrdSet};
use model::{
    AgentCommand, AgentPath, AttachedState, EventId, ItemKey, Order, OrderId, SignedText,
    SubagentId,
};
use std::ops::Bound;

/// Something to be sent. Detaching goes first, since it makes room and lets orders go on; items go before the orders that need
/// them; an Agent's own item goes last when it is taken back.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Thing {
    /// The order comes back.
    DetachOrder(OrderId),
    /// The Agent gets the item.
    AttachItem(ItemKey),
    /// The Agent gets the order.
    AttachOrder(OrderId),
    /// The Agent hears what an operator wants of the order.
    MarkOrder(OrderId),
    /// The item comes back.
    DetachItem(ItemKey),
    /// The Agent is to reset a Subagent.
    ResetSubagent(SubagentId),
    /// The Agent hears that a user says that a Subagent's machine is off.
    ConfirmSubagentLoss(SubagentId),
}

impl Thing {
    fn rank(&self) -> u8 {
        match self {
            Thing::DetachOrder(_) => 0,
            Thing::AttachItem(_) => 1,
            Thing::AttachOrder(_) => 2,
            Thing::MarkOrder(_) => 3,
            Thing::DetachItem(_) => 4,
            Thing::ResetSubagent(_) => 6,
            Thing::ConfirmSubagentLoss(_) => 5,
        }
    }

    /// The order it is about.
    pub fn order_id(&self) -> Option<&OrderId> {
        match self {
            Thing::DetachOrder(id) | Thing::AttachOrder(id) | Thing::MarkOrder(id) => Some(id),
            Thing::AttachItem(_)
            | Thing::DetachItem(_)
            | Thing::ResetSubagent(_)
            | Thing::ConfirmSubagentLoss(_) => None,
        }
    }
}

const RANKS: u8 = 7;

/// How far an outbox has been sent over one connection.
#[derive(Clone, Debug, Default)]
pub struct Cursor {
    last: [Option<(EventId, Thing)>; RANKS as usize],
}

impl Cursor {
    /// Everything up to this thing has been sent.
    pub fn pass(&mut self, thing: &Thing, since: EventId) {
        self.last[usize::from(thing.rank())] = Some((since, thing.clone()));
    }

    fn begin(&self, rank: u8) -> (u8, Bound<(u8, EventId, Thing)>) {
        let bound = match &self.last[usize::from(rank)] {
            Some((since, thing)) => Bound::Excluded((rank, *since, thing.clone())),
            // Smaller than every thing of this rank.
            None => Bound::Included((
                rank,
                EventId::BEFORE_FIRST,
                Thing::DetachOrder(OrderId::from("")),
            )),
        };
        (rank, bound)
    }
}

/// The things for one Agent: by rank, then first come first served.
#[derive(Clone, Debug, Default)]
struct Queue {
    things: OrdSet<(u8, EventId, Thing)>,
    since: OrdMap<Thing, EventId>,
}

/// The things for all Agents.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outbox {
    queues: OrdMap<AgentPath, Queue>,
}

impl Outbox {
    /// A thing that stands there already becomes a new one: it is to be sent again.
    pub(crate) fn insert(&mut self, agent: &AgentPath, thing: Thing, since: EventId) {
        self.remove(agent, &thing);
        let queue = self.queues.entry(agent.clone()).or_default();
        queue.things.insert((thing.rank(), since, thing.clone()));
        queue.since.insert(thing, since);
    }

    pub(crate) fn remove(&mut self, agent: &AgentPath, thing: &Thing) {
        if let Some(queue) = self.queues.get_mut(agent)
            && let Some(since) = queue.since.remove(thing)
        {
            queue.things.remove(&(thing.rank(), since, thing.clone()));
        }
    }

    pub(crate) fn forget(&mut self, agent: &AgentPath) {
        self.queues.remove(agent);
    }

    fn after(&self, agent: &AgentPath, cursor: &Cursor) -> impl Iterator<Item = (&Thing, EventId)> {
        let begins: Vec<_> = (0..RANKS).map(|rank| cursor.begin(rank)).collect();
        let queue = self.queues.get(agent);
        begins.into_iter().flat_map(move |(rank, begin)| {
            let range = queue.map(|queue| queue.things.range((begin, Bound::Unbounded)));
            let of_rank = range
                .into_iter()
                .flatten()
                .take_while(move |(r, _, _)| *r == rank);
            of_rank.map(|(_, since, thing)| (thing, *since))
        })
    }

    /// The orders that are to be attached since an event after `lost`.
    pub(crate) fn orders_after(
        &self,
        agent: &AgentPath,
        lost: EventId,
    ) -> impl Iterator<Item = (&OrderId, EventId)> {
        let rank = Thing::AttachOrder(OrderId::from("")).rank();
        // Smaller than every thing of this rank.
        let begin = (rank, lost, Thing::DetachOrder(OrderId::from("")));
        let queue = self.queues.get(agent);
        let range = queue.map(|queue| queue.things.range(begin..));
        let of_rank = range
            .into_iter()
            .flatten()
            .take_while(move |(r, _, _)| *r == rank);
        of_rank.filter_map(move |(_, since, thing)| {
            let Thing::AttachOrder(id) = thing else {
                return None;
            };
            Some((id, *since))
        })
    }

    fn len(&self, agent: &AgentPath) -> usize {
        self.queues.get(agent).map_or(0, |queue| queue.things.len())
    }

    fn since(&self, agent: &AgentPath, thing: &Thing) -> Option<EventId> {
        self.queues.get(agent)?.since.get(thing).copied()
    }
}

/// What an order's state asks to be sent. A mark is judged by the event that makes it, not by the state.
pub(crate) fn thing_of(order: &Order) -> Option<(&AgentPath, Thing)> {
    match order.attached_state.as_ref()? {
        AttachedState::Attaching { agent_path } => {
            Some((agent_path, Thing::AttachOrder(order.id.clone())))
        }
        AttachedState::Detaching { agent_path } => {
            Some((agent_path, Thing::DetachOrder(order.id.clone())))
        }
        AttachedState::Attached { .. } => None,
    }
}

impl State {
    /// What is to be sent to the Agent behind what the cursor has passed, in order, each with the event since which it is to be
    /// sent: a thing with a newer event is a new one. Nothing while the Agent is reset.
    pub fn outbox(
        &self,
        agent: &AgentPath,
        cursor: &Cursor,
    ) -> impl Iterator<Item = (&Thing, EventId)> {
        let is_open = !self.is_resetting(agent);
        self.outbox
            .after(agent, cursor)
            .take_while(move |_| is_open)
    }

    /// How many things wait for the Agent's confirmation, sent or not.
    pub fn outbox_len(&self, agent: &AgentPath) -> usize {
        self.outbox.len(agent)
    }

    /// Since when a thing is to be sent, if it still is.
    pub fn outbox_since(&self, agent: &AgentPath, thing: &Thing) -> Option<EventId> {
        self.outbox.since(agent, thing)
    }

    /// The command that sends a thing.
    pub fn agent_command(&self, thing: &Thing) -> Option<AgentCommand> {
        Some(match thing {
            Thing::DetachOrder(id) => AgentCommand::DetachOrder {
                order_id: id.clone(),
            },
            Thing::AttachOrder(id) => AgentCommand::AttachOrder {
                order: Box::new(Order::clone(self.engine.order(id)?)),
            },
            Thing::MarkOrder(id) => {
                let mark = self.engine.order(id)?.mark.as_deref()?.clone();
                AgentCommand::MarkOrder {
                    order_id: id.clone(),
                    mark,
                }
            }
            Thing::AttachItem(key) => {
                let record = self.items.get(key)?;
                let item = SignedText {
                    string: record.item.text.clone(),
                    signature: record.signature.clone(),
                };
                AgentCommand::AttachItem {
                    item,
                    key: key.clone(),
                    item_revision: record.item.revision,
                }
            }
            Thing::DetachItem(key) => AgentCommand::DetachItem { key: key.clone() },
            Thing::ResetSubagent(id) => AgentCommand::ResetSubagent {
                subagent_id: id.clone(),
                force: self.subagents.get(id)?.reset_asked?,
            },
            Thing::ConfirmSubagentLoss(id) => AgentCommand::ConfirmSubagentLoss {
                subagent_id: id.clone(),
                user_id: self.subagents.get(id)?.loss_confirmed_by.clone()?,
            },
        })
    }

    /// Puts an attachment's thing where it belongs.
    pub(crate) fn index_attachment(&mut self, key: &ItemKey, agent: &AgentPath, at: EventId) {
        let (attach, detach) = (
            Thing::AttachItem(key.clone()),
            Thing::DetachItem(key.clone()),
        );
        match self.attachments.get(key, agent) {
            Some(Attachment::Attachable) => {
                self.outbox.remove(agent, &detach);
                self.outbox.insert(agent, attach, at);
            }
            Some(Attachment::Detachable) => {
                self.outbox.remove(agent, &attach);
                self.outbox.insert(agent, detach, at);
            }
            Some(Attachment::Attached(_)) | None => {
                self.outbox.remove(agent, &attach);
                self.outbox.remove(agent, &detach);
            }
        }
    }
}
