//! What goes to an Agent over one connection, in which order, and what need not go.
//!
//! Always: each thing once per connection unless it becomes a new one; an order that the Agent said it has when it was coupled is not
//! sent for what was to be sent then. Never here: the connection.

use crate::{Cursor, State, Thing};
use model::{AgentCommand, AgentPath, EventId, OrderId};
use std::collections::BTreeSet;

/// Something to be sent, with the event since which it is.
#[derive(Clone, Debug)]
pub struct Sending {
    /// What.
    pub thing: Thing,
    /// Since when.
    pub since: EventId,
    /// The command that sends it.
    pub command: AgentCommand,
}

/// How far an Agent has been sent what is for it over one connection.
#[derive(Clone, Debug, Default)]
pub struct Handover {
    cursor: Cursor,
    held: BTreeSet<OrderId>,
    since: EventId,
}

impl Handover {
    /// Nothing has been sent. The Agent has the orders `held`, as it said; our newest event was `since` before it was asked.
    pub fn new(held: impl IntoIterator<Item = OrderId>, since: EventId) -> Handover {
        Handover {
            cursor: Cursor::default(),
            held: held.into_iter().collect(),
            since,
        }
    }

    /// The next things, about `limit` of them; none when everything has been sent.
    pub fn next(&mut self, state: &State, agent: &AgentPath, limit: usize) -> Vec<Sending> {
        loop {
            let mut passed = self.cursor.clone();
            let mut batch = Vec::new();
            let mut is_at_end = true;
            for (thing, since) in state.outbox(agent, &self.cursor).take(limit) {
                passed.pass(thing, since);
                is_at_end = false;
                // An order that came up later has been back here meanwhile: the Agent has it no longer.
                if let Thing::AttachOrder(id) = thing
                    && since <= self.since
                    && self.held.remove(id)
                {
                    continue;
                }
                if let Some(command) = state.agent_command(thing) {
                    batch.push(Sending {
                        thing: thing.clone(),
                        since,
                        command,
                    });
                }
            }
            self.cursor = passed;
            if is_at_end || !batch.is_empty() {
                return batch;
            }
        }
    }
}
