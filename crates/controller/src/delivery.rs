//! What is sent to an Agent, and what becomes of it: prepared, in flight, answered, refused, sent again, over one connection after
//! another.
//!
//! Always: one request is in flight and at most one more is prepared; each thing is sent once per coupling unless it becomes a new
//! one or was refused; an order that the Agent had when it was coupled is not sent for what was to be sent before; what belongs to
//! an earlier coupling changes nothing. A thing is done when the state says so, not when it was answered.
//! Never here: connections, clocks, and what a thing means.

use crate::{Cursor, State, Thing};
use model::{AgentAnswer, AgentCommand, AgentPath, EventId, OrderId, Problem};
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

/// Things per request.
const REQUEST_THINGS: usize = 500;
/// How long to wait before what was refused is sent again.
const REFUSED_PAUSE: Duration = Duration::from_secs(10);

/// What happens to a delivery.
pub enum DeliveryInput<'a> {
    /// The Agent has been coupled, and the state knows it.
    Coupled {
        /// The number of the coupling, different from all earlier ones.
        coupling: u64,
        /// The orders that the Agent had then.
        held: Vec<OrderId>,
        /// Our newest event before the Agent was asked.
        since: EventId,
    },
    /// The coupling is over. What is in flight may arrive, or not.
    Uncoupled,
    /// The state as it is committed now.
    Committed(&'a State),
    /// The Agent has answered the request in flight.
    Answered {
        /// Under which coupling the request was sent.
        coupling: u64,
        /// Its answer to the batch.
        answer: AgentAnswer,
    },
    /// The refusals have been recorded.
    Recorded {
        /// Under which coupling they came.
        coupling: u64,
    },
    /// It is the time of [`AgentDelivery::next_wakeup`], or later.
    Wake,
}

/// What is to be done for a delivery.
#[derive(Debug)]
pub enum DeliveryOutput {
    /// Send these commands as one batch; then [`DeliveryInput::Answered`], or the coupling is over.
    Send {
        /// Under this coupling.
        coupling: u64,
        /// What to send, in this order.
        commands: Vec<AgentCommand>,
    },
    /// Record that the Agent refuses these things; then [`DeliveryInput::Recorded`].
    Record {
        /// Under this coupling.
        coupling: u64,
        /// What is refused, and why.
        refusals: Vec<(Thing, Problem)>,
    },
    /// Give [`DeliveryInput::Committed`] soon, even if nothing is committed.
    Look,
    /// The Agent's answer cannot be used: close the connection. The coupling is over.
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
    /// How far the outbox has been prepared.
    cursor: Cursor,
    /// Orders that the Agent had and that have not been passed over yet.
    held: BTreeSet<OrderId>,
    since: EventId,
    stage: Stage,
    /// The next request.
    prepared: Vec<PendingDelivery>,
    /// What was refused, with the time at which it is due again.
    refused: VecDeque<(Duration, Thing, EventId)>,
    /// What was refused and is due again.
    due: VecDeque<(Thing, EventId)>,
}

#[derive(Clone, Debug)]
enum Stage {
    Idle,
    /// Sent, and not answered.
    InFlight(Vec<(Thing, EventId)>),
    /// Answered, and the refusals are being recorded.
    Recording,
}

/// A thing that is prepared.
#[derive(Clone, Debug)]
struct PendingDelivery {
    thing: Thing,
    since: EventId,
    command: AgentCommand,
}

impl AgentDelivery {
    /// The delivery to an Agent that is not coupled.
    pub fn new(agent: AgentPath) -> AgentDelivery {
        AgentDelivery {
            agent,
            coupled: None,
        }
    }

    /// Takes `input` at the time `now` and appends what is to be done. Times count from any fixed beginning, by a clock that never
    /// jumps.
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
            // Of an earlier coupling.
            DeliveryInput::Answered { .. } | DeliveryInput::Recorded { .. } => {}
            DeliveryInput::Coupled { .. } => {}
        }
    }

    /// When [`DeliveryInput::Wake`] is due.
    pub fn next_wakeup(&self) -> Option<Duration> {
        let coupled = self.coupled.as_ref()?;
        coupled.refused.front().map(|(due, _, _)| *due)
    }

    /// Whether nothing is in flight, prepared or to be recorded.
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
            return Err(nonsense());
        };
        let AgentAnswer::Batch { responses } = answer else {
            return Err(refusal(answer).unwrap_or_else(nonsense));
        };
        if responses.len() != sent.len() {
            return Err(nonsense());
        }
        let mut refusals = Vec::new();
        for ((thing, since), response) in sent.into_iter().zip(responses) {
            if let Some(problem) = refusal(response) {
                self.refused
                    .push_back((now + REFUSED_PAUSE, thing.clone(), since));
                refusals.push((thing, problem));
            }
        }
        if refusals.is_empty() {
            self.go_on(out);
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
            self.go_on(out);
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

    /// Sends what is prepared, and has the next request prepared meanwhile.
    fn go_on(&mut self, out: &mut Vec<DeliveryOutput>) {
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

    /// Fills the next request if there is room.
    fn prepare(&mut self, state: &State, agent: &AgentPath) {
        if !self.prepared.is_empty() {
            return;
        }
        while self.prepared.len() < REQUEST_THINGS
            && let Some((thing, since)) = self.due.pop_front()
        {
            // What has become a new thing meanwhile is found in the outbox.
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
                // An order that came up later has been back here meanwhile: the Agent has it no longer.
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

/// What is wrong, if the answer is a refusal.
fn refusal(answer: AgentAnswer) -> Option<Problem> {
    if let AgentAnswer::Problem {
        code,
        message,
        arguments,
    } = answer
    {
        return Some(Problem {
            code,
            message,
            arguments,
        });
    }
    None
}

fn nonsense() -> Problem {
    Problem::plain("the Agent's answer to a batch does not fit to what it was sent")
}
