//! Sends what is in an Agent's outbox: prepares requests, handles answers and refusals, and sends again after each
//! coupling.
//!
//! Always: one request is in flight and at most one more is prepared. Each thing is sent once per coupling unless it
//! becomes a new one or was refused. An order that the Agent had when it was coupled is not attached again for an older
//! reason. Inputs of an earlier coupling change nothing. A thing is done when the state shows it, not when the Agent has
//! answered.
//! Never here: connections, clocks, and what a thing means.

use crate::{Cursor, State, Thing};
use model::{AgentAnswer, AgentCommand, AgentPath, EventId, OrderId, Problem};
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

/// The maximum number of things in one request.
const REQUEST_THINGS: usize = 500;
/// How long to wait before a refused thing is sent again.
const REFUSED_PAUSE: Duration = Duration::from_secs(10);

/// What has happened to a delivery.
pub enum DeliveryInput<'a> {
    /// The Agent has been coupled, and the state shows it.
    Coupled {
        /// The number of the coupling, different from all earlier ones.
        coupling: u64,
        /// The orders that the Agent reported when it was coupled.
        held: Vec<OrderId>,
        /// The Controller's newest event when the Agent was asked for its orders.
        since: EventId,
    },
    /// The coupling is over. What is in flight may still arrive.
    Uncoupled,
    /// The current committed state.
    Committed(&'a State),
    /// The Agent has answered the request in flight.
    Answered {
        /// The coupling under which the request was sent.
        coupling: u64,
        /// The Agent's answer to the batch.
        answer: AgentAnswer,
    },
    /// The refusals have been recorded.
    Recorded {
        /// The coupling under which the Agent refused.
        coupling: u64,
    },
    /// The time of [`AgentDelivery::next_wakeup`] has come.
    Wake,
}

/// What the caller must do for a delivery.
#[derive(Debug)]
pub enum DeliveryOutput {
    /// Send these commands as one batch. [`DeliveryInput::Answered`] follows, unless the coupling ends before.
    Send {
        /// The coupling that the answer belongs to.
        coupling: u64,
        /// The commands, in the order in which they are sent.
        commands: Vec<AgentCommand>,
    },
    /// Record that the Agent refuses these things. [`DeliveryInput::Recorded`] follows.
    Record {
        /// The coupling under which the Agent refused.
        coupling: u64,
        /// The refused things, each with the reason.
        refusals: Vec<(Thing, Problem)>,
    },
    /// Pass [`DeliveryInput::Committed`] soon, even if nothing new is committed.
    Look,
    /// Close the connection, because the Agent's answer cannot be used. The coupling is over.
    Close(Problem),
}

/// The delivery to one Agent.
#[derive(Clone, Debug)]
pub struct AgentDelivery {
    agent: AgentPath,
    coupled: Option<Coupled>,
}

/// The delivery while the Agent is coupled.
#[derive(Clone, Debug)]
struct Coupled {
    coupling: u64,
    /// The position in the outbox up to which requests have been prepared.
    cursor: Cursor,
    /// Orders that the Agent had when it was coupled, and that the cursor has not passed yet.
    held: BTreeSet<OrderId>,
    since: EventId,
    stage: Stage,
    /// The next request; empty if none is prepared.
    prepared: Vec<PendingDelivery>,
    /// Refused things, each with the time at which it is sent again.
    refused: VecDeque<(Duration, Thing, EventId)>,
    /// Refused things whose time has come.
    due: VecDeque<(Thing, EventId)>,
}

#[derive(Clone, Debug)]
enum Stage {
    Idle,
    /// A request has been sent and not answered.
    InFlight(Vec<(Thing, EventId)>),
    /// A request has been answered, and its refusals are being recorded.
    Recording,
}

/// A thing of the next request.
#[derive(Clone, Debug)]
struct PendingDelivery {
    thing: Thing,
    since: EventId,
    command: AgentCommand,
}

impl AgentDelivery {
    /// Creates the delivery to an Agent that is not coupled.
    pub fn new(agent: AgentPath) -> AgentDelivery {
        AgentDelivery {
            agent,
            coupled: None,
        }
    }

    /// Handles `input` and appends to `out` what the caller must do. `now` is measured by a monotonic clock, from any
    /// fixed point in time.
    pub fn handle(
        &mut self,
        now: Duration,
        input: DeliveryInput<'_>,
        out: &mut Vec<DeliveryOutput>,
    ) {
        if let DeliveryInput::Coupled {
            coupling,
            held,
            since,
        } = input
        {
            self.coupled = Some(Coupled::new(coupling, held, since));
            out.push(DeliveryOutput::Look);
            return;
        }
        let Some(coupled) = &mut self.coupled else {
            return;
        };
        match input {
            DeliveryInput::Committed(state) => coupled.committed(state, &self.agent, out),
            DeliveryInput::Answered { coupling, answer } if coupling == coupled.coupling => {
                if let Err(problem) = coupled.answered(now, answer, out) {
                    self.coupled = None;
                    out.push(DeliveryOutput::Close(problem));
                }
            }
            DeliveryInput::Recorded { coupling } if coupling == coupled.coupling => {
                coupled.recorded(out);
            }
            DeliveryInput::Wake => coupled.wake(now, out),
            DeliveryInput::Uncoupled => self.coupled = None,
            // The input belongs to an earlier coupling.
            DeliveryInput::Answered { .. } | DeliveryInput::Recorded { .. } => {}
            DeliveryInput::Coupled { .. } => {}
        }
    }

    /// Returns when the caller must pass [`DeliveryInput::Wake`]; `None` if this is not required.
    pub fn next_wakeup(&self) -> Option<Duration> {
        let coupled = self.coupled.as_ref()?;
        coupled.refused.front().map(|(due, _, _)| *due)
    }

    /// Returns whether no request is in flight or prepared, and no refusal is being recorded.
    pub fn is_idle(&self) -> bool {
        self.coupled.as_ref().is_none_or(|coupled| {
            matches!(coupled.stage, Stage::Idle) && coupled.prepared.is_empty()
        })
    }
}

impl Coupled {
    fn new(coupling: u64, held: Vec<OrderId>, since: EventId) -> Coupled {
        Coupled {
            coupling,
            cursor: Cursor::default(),
            held: held.into_iter().collect(),
            since,
            stage: Stage::Idle,
            prepared: Vec::new(),
            refused: VecDeque::new(),
            due: VecDeque::new(),
        }
    }

    fn committed(&mut self, state: &State, agent: &AgentPath, out: &mut Vec<DeliveryOutput>) {
        self.prepare(state, agent);
        if self.send_prepared(out) {
            self.prepare(state, agent);
        }
    }

    fn answered(
        &mut self,
        now: Duration,
        answer: AgentAnswer,
        out: &mut Vec<DeliveryOutput>,
    ) -> Result<(), Problem> {
        let Stage::InFlight(sent) = std::mem::replace(&mut self.stage, Stage::Idle) else {
            return Err(unexpected_answer());
        };
        let AgentAnswer::Batch { responses } = answer.into_result()? else {
            return Err(unexpected_answer());
        };
        if responses.len() != sent.len() {
            return Err(unexpected_answer());
        }
        let mut refusals = Vec::new();
        for ((thing, since), response) in sent.into_iter().zip(responses) {
            if let Err(problem) = response.into_result() {
                self.refused
                    .push_back((now + REFUSED_PAUSE, thing.clone(), since));
                refusals.push((thing, problem));
            }
        }
        if refusals.is_empty() {
            self.send_next(out);
        } else {
            self.stage = Stage::Recording;
            out.push(DeliveryOutput::Record {
                coupling: self.coupling,
                refusals,
            });
        }
        Ok(())
    }

    fn recorded(&mut self, out: &mut Vec<DeliveryOutput>) {
        if matches!(self.stage, Stage::Recording) {
            self.stage = Stage::Idle;
            self.send_next(out);
        }
    }

    fn wake(&mut self, now: Duration, out: &mut Vec<DeliveryOutput>) {
        let before = self.due.len();
        while let Some((_, thing, since)) = self.refused.pop_front_if(|(due, _, _)| *due <= now) {
            self.due.push_back((thing, since));
        }
        if self.due.len() > before {
            out.push(DeliveryOutput::Look);
        }
    }

    /// Sends the prepared request and asks for the state, so that the next one is prepared meanwhile.
    fn send_next(&mut self, out: &mut Vec<DeliveryOutput>) {
        if self.send_prepared(out) {
            out.push(DeliveryOutput::Look);
        }
    }

    fn send_prepared(&mut self, out: &mut Vec<DeliveryOutput>) -> bool {
        if self.prepared.is_empty() || !matches!(self.stage, Stage::Idle) {
            return false;
        }
        let (sent, commands) = std::mem::take(&mut self.prepared)
            .into_iter()
            .map(|pending| ((pending.thing, pending.since), pending.command))
            .unzip();
        self.stage = Stage::InFlight(sent);
        out.push(DeliveryOutput::Send {
            coupling: self.coupling,
            commands,
        });
        true
    }

    /// Prepares the next request, unless one is prepared.
    fn prepare(&mut self, state: &State, agent: &AgentPath) {
        if !self.prepared.is_empty() {
            return;
        }
        while self.prepared.len() < REQUEST_THINGS
            && let Some((thing, since)) = self.due.pop_front()
        {
            // If the thing has become a new one meanwhile, the cursor finds it in the outbox.
            if state.outbox_since(agent, &thing) == Some(since) {
                self.push(state, thing, since);
            }
        }
        let mut is_at_end = false;
        while self.prepared.is_empty() && !is_at_end {
            is_at_end = true;
            let new: Vec<(Thing, EventId)> = state
                .outbox(agent, &self.cursor)
                .take(REQUEST_THINGS)
                .map(|(thing, since)| (thing.clone(), since))
                .collect();
            for (thing, since) in new {
                is_at_end = false;
                self.cursor.pass(&thing, since);
                // An order that was attached later has returned to the Controller meanwhile, so the Agent no longer has
                // it.
                let is_held = since <= self.since
                    && matches!(&thing, Thing::AttachOrder(id) if self.held.remove(id));
                if !is_held {
                    self.push(state, thing, since);
                }
            }
        }
    }

    fn push(&mut self, state: &State, thing: Thing, since: EventId) {
        if let Some(command) = state.agent_command(&thing) {
            self.prepared.push(PendingDelivery {
                thing,
                since,
                command,
            });
        }
    }
}

fn unexpected_answer() -> Problem {
    Problem::plain("the Agent's answer to a batch does not fit to what it was sent")
}
