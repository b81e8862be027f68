//! The state as JSON lines, and back.
//!
//! Always: what is restored gives the same lines again. Items and their ties are written as the events that make them. Never here:
//! when a snapshot is taken.

use crate::outbox::thing_of;
use crate::state::Unsettled;
use crate::{AgentState, Attachment, NotApplicable, State, SubagentState, Thing};
use model::{
    AgentPath, Event, EventId, ItemBody, ItemEvent, ItemKey, Order, OrderId, Problem, SignedText,
    Stamped, SubagentId, Timestamp, UserId,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A line that is no event.
#[derive(Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
enum Line {
    ControllerMetaState {
        controller_id: model::ControllerId,
        initially_started_at: Option<Timestamp>,
    },
    JournalState {
        user_id_to_released_event_id: BTreeMap<UserId, EventId>,
    },
    ClusterState {
        state: model::ClusterState,
    },
    AgentRefState {
        agent_path: AgentPath,
        state: AgentState,
    },
    SubagentItemState {
        subagent_id: SubagentId,
        state: SubagentState,
    },
    WorkflowRemoved {
        path: model::WorkflowPath,
    },
    Refusal {
        agent_path: AgentPath,
        thing: Sent,
        problem: Problem,
    },
    Unsent {
        agent_path: AgentPath,
        order_id: OrderId,
        since: EventId,
    },
}

/// A thing as it is written.
#[derive(Serialize, Deserialize)]
enum Sent {
    DetachOrder(OrderId),
    AttachItem(ItemKey),
    AttachOrder(OrderId),
    MarkOrder(OrderId),
    DetachItem(ItemKey),
    ResetSubagent(SubagentId),
    ConfirmSubagentLoss(SubagentId),
}

impl State {
    /// The state, line by line without line ends.
    pub fn snapshot(&self) -> impl Iterator<Item = String> {
        let meta = Line::ControllerMetaState {
            controller_id: self.controller_id.clone(),
            initially_started_at: self.initially_started_at,
        };
        let released = self
            .released
            .iter()
            .map(|(user, id)| (user.clone(), *id))
            .collect();
        let journal = Line::JournalState {
            user_id_to_released_event_id: released,
        };
        let items = self
            .item_events()
            .into_iter()
            .map(|(at, event)| event_line(at, Event::Item(event)));
        let removed = self
            .removed
            .iter()
            .map(|path| line(&Line::WorkflowRemoved { path: path.clone() }));
        let agents = self.agents.iter().map(|(path, state)| {
            line(&Line::AgentRefState {
                agent_path: path.clone(),
                state: state.clone(),
            })
        });
        let subagents = self.subagents.iter().map(|(id, state)| {
            line(&Line::SubagentItemState {
                subagent_id: id.clone(),
                state: state.clone(),
            })
        });
        let orders = self.engine.orders().map(|order| order_line(order));
        let refusals = self.refusals.iter().map(|((agent_path, thing), problem)| {
            let (agent_path, problem) = (agent_path.clone(), problem.clone());
            line(&Line::Refusal {
                agent_path,
                thing: thing.clone().into(),
                problem,
            })
        });
        let cluster = Line::ClusterState {
            state: self.cluster.clone(),
        };
        [line(&meta), line(&journal), line(&cluster)]
            .into_iter()
            .chain(items)
            .chain(removed)
            .chain(agents)
            .chain(subagents)
            .chain(orders)
            .chain(refusals)
            .chain(self.unsent())
    }

    /// The orders that came up for an Agent while it could not be reached. Since when the others are to be sent matters to nobody.
    fn unsent(&self) -> impl Iterator<Item = String> {
        let lost = self
            .agents
            .iter()
            .filter_map(|(path, agent)| Some((path, agent.lost_since?)));
        lost.flat_map(|(path, lost)| {
            let unsent = self.outbox.orders_after(path, lost);
            unsent.map(|(order_id, since)| {
                line(&Line::Unsent {
                    agent_path: path.clone(),
                    order_id: order_id.clone(),
                    since,
                })
            })
        })
    }

    /// The items in the order in which they came, then what holds for them.
    fn item_events(&self) -> Vec<(EventId, ItemEvent)> {
        let mut records: Vec<_> = self.items.values().collect();
        // A current version comes after the old ones of its path.
        records.sort_by_key(|record| {
            let is_current = matches!(&record.item.body, ItemBody::Workflow(workflow) if self.is_current(&workflow.id));
            (is_current, record.since)
        });
        let mut events = Vec::new();
        for record in records {
            let text = SignedText {
                string: record.item.text.clone(),
                signature: record.signature.clone(),
            };
            let item_revision = record.item.revision.unwrap_or(0);
            if let ItemBody::Workflow(workflow) = &record.item.body {
                events.push((
                    record.since,
                    ItemEvent::VersionAdded {
                        version_id: workflow.id.version_id.clone(),
                    },
                ));
                events.push((record.since, ItemEvent::VersionedItemAdded { signed: text }));
            } else if record.item.body.item_type().is_signed() {
                events.push((
                    record.since,
                    ItemEvent::SignedItemAdded {
                        signed: text,
                        item_revision,
                    },
                ));
            } else {
                events.push((
                    record.since,
                    ItemEvent::UnsignedSimpleItemAdded {
                        item: text,
                        item_revision,
                    },
                ));
            }
        }
        let at = EventId::BEFORE_FIRST;
        for key in &self.deletion_marked {
            events.push((at, ItemEvent::ItemDeletionMarked { key: key.clone() }));
        }
        for (key, delegate_id, attachment) in self.attachments.iter() {
            let (key, delegate_id) = (key.clone(), delegate_id.clone());
            events.push((
                at,
                match attachment {
                    Attachment::Attachable => ItemEvent::ItemAttachable { key, delegate_id },
                    Attachment::Attached(item_revision) => ItemEvent::ItemAttached {
                        key,
                        item_revision: *item_revision,
                        delegate_id,
                    },
                    Attachment::Detachable => ItemEvent::ItemDetachable { key, delegate_id },
                },
            ));
        }
        if let Some(version_id) = &self.adding_version {
            events.push((
                at,
                ItemEvent::VersionAdded {
                    version_id: version_id.clone(),
                },
            ));
        }
        events
    }

    /// Takes a line of a snapshot into an empty state.
    pub fn restore(&mut self, text: &str) -> Result<(), NotApplicable> {
        let broken = |error: String| NotApplicable::new("snapshot", error);
        if text.starts_with("{\"eventId\":") {
            let stamped = Stamped::from_json(text).map_err(|error| broken(error.to_string()))?;
            return self.evolve(&stamped);
        }
        if text.starts_with("{\"TYPE\":\"Order\"") {
            let order: Order =
                serde_json::from_str(text).map_err(|error| broken(error.to_string()))?;
            self.restore_order(order);
            return Ok(());
        }
        let line: Line = serde_json::from_str(text).map_err(|error| broken(error.to_string()))?;
        match line {
            Line::ControllerMetaState {
                controller_id,
                initially_started_at,
            } => {
                if controller_id != self.controller_id {
                    return Err(broken(format!(
                        "it is of {controller_id}, but this is {}",
                        self.controller_id
                    )));
                }
                self.initially_started_at = initially_started_at;
            }
            Line::JournalState {
                user_id_to_released_event_id,
            } => {
                self.released = user_id_to_released_event_id.into_iter().collect();
            }
            Line::ClusterState { state } => self.cluster = state,
            Line::AgentRefState { agent_path, state } => {
                if state.is_reset_by_force {
                    self.unsettled.insert(Unsettled::GiveUp(agent_path.clone()));
                }
                drop(self.agents.insert(agent_path, state));
            }
            Line::SubagentItemState { subagent_id, state } => {
                if let (Some(agent), Some(_)) = (&state.agent_path, state.reset_asked) {
                    let thing = Thing::ResetSubagent(subagent_id.clone());
                    self.outbox.insert(agent, thing, EventId::BEFORE_FIRST);
                }
                if let (Some(agent), Some(_)) = (&state.agent_path, &state.loss_confirmed_by) {
                    let thing = Thing::ConfirmSubagentLoss(subagent_id.clone());
                    self.outbox.insert(agent, thing, EventId::BEFORE_FIRST);
                }
                drop(self.subagents.insert(subagent_id, state));
            }
            Line::WorkflowRemoved { path } => {
                if let Some(id) = self.current.remove(&path) {
                    self.unsettled
                        .insert(Unsettled::Item(ItemKey::workflow(&id)));
                }
                self.engine.retire_workflow(&path);
                self.removed.insert(path);
            }
            Line::Refusal {
                agent_path,
                thing,
                problem,
            } => {
                self.refusals.insert((agent_path, thing.into()), problem);
            }
            Line::Unsent {
                agent_path,
                order_id,
                since,
            } => {
                let thing = Thing::AttachOrder(order_id);
                self.outbox.insert(&agent_path, thing, since);
            }
        }
        Ok(())
    }

    fn restore_order(&mut self, order: Order) {
        let id = order.id.clone();
        if let Some(since) = order.output_since {
            self.outputs.insert(since, order.id.clone());
        }
        self.engine.insert_order(order);
        let Some(order) = self.engine.order(&id).cloned() else {
            return;
        };
        self.use_workflow(&order.workflow_id, 1);
        let at = EventId::BEFORE_FIRST;
        if let Some((agent, thing)) = thing_of(&order) {
            self.unsettled.insert(Unsettled::Needed(
                agent.clone(),
                ItemKey::workflow(&order.workflow_id),
            ));
            self.outbox.insert(agent, thing, at);
        } else if let (Some(agent), Some(_)) = (order.attached_to(), &order.mark) {
            // Whether the Agent has heard of the mark is not kept: telling it twice does no harm.
            self.outbox.insert(agent, Thing::MarkOrder(id), at);
        }
    }
}

fn line(line: &Line) -> String {
    serde_json::to_string(line).expect("names and states always have a JSON form")
}

fn event_line(event_id: EventId, event: Event) -> String {
    Stamped {
        event_id,
        timestamp: None,
        by: None,
        event,
    }
    .to_json()
}

fn order_line(order: &Order) -> String {
    let json = serde_json::to_string(order).expect("an order always has a JSON form");
    format!("{{\"TYPE\":\"Order\",{}", &json[1..])
}

impl From<Thing> for Sent {
    fn from(thing: Thing) -> Sent {
        match thing {
            Thing::DetachOrder(id) => Sent::DetachOrder(id),
            Thing::AttachItem(key) => Sent::AttachItem(key),
            Thing::AttachOrder(id) => Sent::AttachOrder(id),
            Thing::MarkOrder(id) => Sent::MarkOrder(id),
            Thing::DetachItem(key) => Sent::DetachItem(key),
            Thing::ResetSubagent(id) => Sent::ResetSubagent(id),
            Thing::ConfirmSubagentLoss(id) => Sent::ConfirmSubagentLoss(id),
        }
    }
}

impl From<Sent> for Thing {
    fn from(thing: Sent) -> Thing {
        match thing {
            Sent::DetachOrder(id) => Thing::DetachOrder(id),
            Sent::AttachItem(key) => Thing::AttachItem(key),
            Sent::AttachOrder(id) => Thing::AttachOrder(id),
            Sent::MarkOrder(id) => Thing::MarkOrder(id),
            Sent::DetachItem(key) => Thing::DetachItem(key),
            Sent::ResetSubagent(id) => Thing::ResetSubagent(id),
            Sent::ConfirmSubagentLoss(id) => Thing::ConfirmSubagentLoss(id),
        }
    }
}
