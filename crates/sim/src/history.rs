//! What observers outside know: durable events as they came, answers that clients got, processes that were started.
//!
//! Always: written by the world, never read by a node. The invariants judge it.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "an observer names what it keeps"
)]

use crate::fault::Fault;
use crate::invariants::marks_take_effect::PendingMark;
use crate::invariants::{
    acknowledged_is_durable, agent_events_arrive_once_in_order, due_orders_start,
    released_only_confirmed,
};
use crate::kernel::Kernel;
use crate::moment::Moment;
use crate::node::Observed;
use crate::place::Place;
use agent_node::AgentMachine;
use controller_node::ControllerMachine;
use model::{
    AgentEvent, AgentPath, Attempt, Event, EventId, OrderEvent, OrderId, RunId, SubagentId,
    SubagentStateEvent, Timestamp,
};
use std::collections::{BTreeMap, BTreeSet};

/// A step of an order that only an Agent makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The order.
    pub order_id: OrderId,
    /// When it happened at the Agent.
    pub at: Timestamp,
    /// What.
    pub text: String,
}

/// What is known of an Agent.
#[derive(Debug, Default)]
pub struct AgentHistory {
    /// Starts in its log.
    pub starts: BTreeSet<Attempt>,
    /// The steps in its log.
    pub steps: Vec<Step>,
    /// How many of them the Controller's log has.
    pub mirrored: usize,
    /// Its newest event in the Controller's log.
    pub observed: EventId,
    /// Which life its Subagents are in, and what was taken over from each.
    pub subagents: BTreeMap<RunId, EventId>,
    lives: BTreeMap<SubagentId, RunId>,
    /// Its disk was lost: what was only there is gone.
    pub was_wiped: bool,
    /// How many events its log ever had.
    pub events: u64,
}

/// When an order was started, and when it was due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Punctuality {
    /// When it was due.
    pub due: Timestamp,
    /// When it was started.
    pub started: Timestamp,
}

/// What observers know.
#[derive(Debug, Default)]
pub struct History {
    /// By Agent.
    pub agents: Vec<AgentHistory>,
    /// Processes that were started.
    pub started: BTreeMap<Attempt, (Place, Moment)>,
    /// Orders in the Controller's log.
    pub added: BTreeSet<OrderId>,
    /// Orders whose end is in the Controller's log.
    pub ended: BTreeMap<OrderId, String>,
    /// Orders that the Controller's log has forgotten.
    pub deleted: BTreeSet<OrderId>,
    /// Orders whose addition was acknowledged.
    pub acknowledged: BTreeSet<OrderId>,
    /// Starts of orders that had a time.
    pub punctuality: BTreeMap<OrderId, Punctuality>,
    /// Jobs that ended, in the Controller's log.
    pub processed: u64,
    /// Jobs whose process was lost, in the Controller's log.
    pub processes_lost: u64,
    /// How many events the Controller's log ever had.
    pub events: u64,
    /// Events of Agents that did not fit.
    pub rejected: Vec<String>,
    /// The marks of orders that are pending.
    pub pending_marks: BTreeMap<OrderId, PendingMark>,
}

impl History {
    /// A history of so many Agents.
    pub fn new(agents: usize) -> History {
        History {
            agents: (0..agents).map(|_| AgentHistory::default()).collect(),
            ..History::default()
        }
    }

    /// A process is started.
    pub fn note_start(&mut self, attempt: &Attempt, place: Place, now: Moment) {
        self.started.insert(attempt.clone(), (place, now));
    }

    /// An Agent's log has an event.
    pub fn agent_event(
        &mut self,
        k: &mut Kernel,
        index: usize,
        after: &AgentMachine,
        observed: &Observed,
    ) {
        let stamped = &observed.stamped;
        k.note(format_args!("agent-{index} log {}", short(stamped)));
        let agent = &mut self.agents[index];
        agent.events += 1;
        match &stamped.event {
            Event::Order(id, event) => {
                if let Some(step) = step_of(id, event, stamped.at()) {
                    agent.steps.push(step);
                }
                let order = after.state.engine.order(id);
                match event {
                    OrderEvent::OrderProcessingStarted { .. } => {
                        if let Some(order) = order {
                            agent.starts.insert(Attempt {
                                order_id: id.clone(),
                                number: order.attempts,
                            });
                        }
                    }
                    OrderEvent::OrderStarted => {
                        if let Some(due) = order.and_then(|order| order.scheduled_for) {
                            self.started_on_time(k, id, due, stamped.at(), observed.judged_at);
                        }
                    }
                    _ => {}
                }
            }
            Event::Subagent(
                id,
                SubagentStateEvent::SubagentDedicated {
                    subagent_run_id, ..
                },
            ) => {
                agent.lives.insert(id.clone(), subagent_run_id.clone());
                agent.subagents.entry(subagent_run_id.clone()).or_default();
            }
            Event::Subagent(_, SubagentStateEvent::SubagentLost { .. }) => {
                k.counts.count(Fault::GivenUp);
            }
            Event::Subagent(id, SubagentStateEvent::SubagentEventsObserved { until_event_id }) => {
                if let Some(life) = agent.lives.get(id) {
                    agent.subagents.insert(life.clone(), *until_event_id);
                }
            }
            _ => {}
        }
    }

    fn started_on_time(
        &mut self,
        k: &mut Kernel,
        id: &OrderId,
        due: Timestamp,
        started: Timestamp,
        judged_at: Option<Timestamp>,
    ) {
        k.check(due_orders_start::check_not_early(id, due, judged_at));
        self.punctuality
            .entry(id.clone())
            .or_insert(Punctuality { due, started });
    }

    /// The Controller's log has an event.
    pub fn controller_event(
        &mut self,
        k: &mut Kernel,
        after: &ControllerMachine,
        observed: &Observed,
    ) {
        let stamped = &observed.stamped;
        k.note(format_args!("controller log {}", short(stamped)));
        self.events += 1;
        match &stamped.event {
            Event::Order(id, event) => {
                self.controller_order_event(k, after, id, event, stamped.at(), observed);
            }
            Event::Agent(path, AgentEvent::AgentEventsObserved { until_event_id }) => {
                if let Some(agent) = index_of(path).and_then(|index| self.agents.get_mut(index)) {
                    agent.observed = *until_event_id;
                }
            }
            Event::Agent(
                path,
                AgentEvent::AgentEventRejected {
                    event_id,
                    event,
                    problem,
                },
            ) => {
                let text = format!("{path}: {event} {event_id}: {problem}");
                k.check(agent_events_arrive_once_in_order::check_rejected(
                    self, path, &text,
                ));
                self.rejected.push(text);
            }
            _ => {}
        }
    }

    fn controller_order_event(
        &mut self,
        k: &mut Kernel,
        after: &ControllerMachine,
        id: &OrderId,
        event: &OrderEvent,
        at: Timestamp,
        observed: &Observed,
    ) {
        if let Some(step) = step_of(id, event, at) {
            let agent = after
                .state
                .engine()
                .order(id)
                .and_then(|order| order.attached_to())
                .and_then(index_of);
            k.check(agent_events_arrive_once_in_order::check_step(
                self, agent, &step,
            ));
        }
        match event {
            OrderEvent::OrderAdded { .. } => {
                self.added.insert(id.clone());
                // An order that is added again under a name that was forgotten is another one.
                if self.deleted.remove(id) {
                    self.ended.remove(id);
                    self.punctuality.remove(id);
                    self.started
                        .retain(|attempt, _| attempt.order_id.root() != id.as_str());
                }
            }
            OrderEvent::OrderFinished { .. } => {
                self.ended.insert(id.clone(), "Finished".to_owned());
            }
            OrderEvent::OrderCancelled => {
                self.ended.insert(id.clone(), "Cancelled".to_owned());
            }
            OrderEvent::OrderDeleted => {
                self.deleted.insert(id.clone());
            }
            OrderEvent::OrderProcessed { outcome } => {
                self.processed += 1;
                if outcome.is_process_lost() {
                    self.processes_lost += 1;
                }
            }
            OrderEvent::OrderStarted => {
                // Started here, not at an Agent.
                let order = after
                    .state
                    .engine()
                    .order(id)
                    .filter(|order| order.is_detached());
                if let Some(due) = order.and_then(|order| order.scheduled_for) {
                    self.started_on_time(k, id, due, at, observed.judged_at);
                }
            }
            _ => {}
        }
    }

    /// A client has got its answer.
    pub fn acknowledge(&mut self, k: &mut Kernel, ids: &[OrderId]) {
        for id in ids {
            k.check(acknowledged_is_durable::check_answer(self, id));
            self.acknowledged.insert(id.clone());
        }
    }

    /// The present numbers of confirmation.
    pub fn check_released(&self, k: &mut Kernel, index: usize, machine: &AgentMachine, torn: u64) {
        k.check(released_only_confirmed::check_agent(
            index,
            machine.state.released(),
            torn,
            self.agents[index].observed,
        ));
    }
}

/// The number of the Agent called so.
pub fn index_of(path: &AgentPath) -> Option<usize> {
    path.as_str().strip_prefix('A')?.parse().ok()
}

/// The step if only an Agent makes it.
fn step_of(id: &OrderId, event: &OrderEvent, at: Timestamp) -> Option<Step> {
    let is_agents = matches!(
        event,
        OrderEvent::OrderProcessingStarted { .. }
            | OrderEvent::OrderStdoutWritten { .. }
            | OrderEvent::OrderStderrWritten { .. }
            | OrderEvent::OrderProcessingHeld { .. }
            | OrderEvent::OrderProcessed { .. }
    );
    is_agents.then(|| Step {
        order_id: id.clone(),
        at,
        text: crate::subagent::json(event),
    })
}

fn short(stamped: &model::Stamped) -> String {
    let line = stamped.to_json();
    line.chars().take(200).collect()
}
