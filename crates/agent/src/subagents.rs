//! What the Subagents report, and what they are to do.
//!
//! Always: a report is taken over once, in order; what does not belong to a running attempt is passed over; work is found
//! by what is new, not by a scan.

use crate::reset::Reset;
use crate::state::{Coupling, State};
use model::{
    Attempt, DisruptedReason, Event, EventId, Kill, Mark, Order, OrderEvent, OrderId, OrderState,
    Outcome, PlatformInfo, Problem, RunId, Seconds, SubagentEvent, SubagentId, SubagentStamped,
    SubagentStateEvent, UserId,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Why the processes of a Subagent are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Its process is another one.
    Restart,
    /// It has been shut down.
    Shutdown,
    /// It has been reset.
    Reset,
    /// It is at another address now.
    Move,
    /// It is away for longer than its lease, or a user has said that its machine is off.
    Absence,
}

impl Loss {
    fn problem(self, subagent_id: &SubagentId) -> Problem {
        match self {
            Loss::Restart => Problem::new(
                "ProcessLostDueToRestart",
                format!("Subagent {subagent_id} has been restarted, so the job's process is lost"),
            ),
            Loss::Reset => Problem::new(
                "ProcessLostDueToReset",
                format!("Subagent {subagent_id} has been reset, so the job's process is lost"),
            ),
            Loss::Move => Problem::new(
                "ProcessLostDueSubagentUriChange",
                format!(
                    "Subagent {subagent_id} has got another address, so the job's process is lost"
                ),
            ),
            Loss::Shutdown => Problem::new(
                "ProcessLostDueToShutdown",
                format!("Subagent {subagent_id} has been shut down, so the job's process is lost"),
            ),
            Loss::Absence => Problem::new(
                "ProcessLostDueToSubagentLoss",
                format!(
                    "Subagent {subagent_id} is away, and the job's process cannot be running any more"
                ),
            ),
        }
    }
}

/// What a Subagent is to do. Repeating it does no harm.
#[derive(Clone, Debug, PartialEq)]
pub enum Work {
    /// Run the order's job.
    Start {
        /// Under this identity.
        attempt: Attempt,
        /// The order as it stands.
        order: Arc<Order>,
    },
    /// End the order's job.
    Kill {
        /// Which.
        attempt: Attempt,
        /// SIGKILL at once.
        immediately: bool,
    },
}

/// Work by Subagent, numbered as it came up, so that a driver finds what is new.
#[derive(Clone, Debug, Default)]
pub(crate) struct WorkList {
    by_subagent: BTreeMap<SubagentId, BTreeMap<u64, (OrderId, bool)>>,
    places: BTreeMap<OrderId, (SubagentId, Vec<u64>)>,
    last: u64,
}

impl WorkList {
    pub(crate) fn started(&mut self, order_id: &OrderId, subagent_id: &SubagentId) {
        self.ended(order_id);
        self.places
            .insert(order_id.clone(), (subagent_id.clone(), Vec::new()));
        self.add(order_id, false);
    }

    pub(crate) fn kill(&mut self, order_id: &OrderId) {
        self.add(order_id, true);
    }

    pub(crate) fn ended(&mut self, order_id: &OrderId) {
        let Some((subagent_id, numbers)) = self.places.remove(order_id) else {
            return;
        };
        if let Some(list) = self.by_subagent.get_mut(&subagent_id) {
            for number in numbers {
                list.remove(&number);
            }
            if list.is_empty() {
                self.by_subagent.remove(&subagent_id);
            }
        }
    }

    fn add(&mut self, order_id: &OrderId, kill: bool) {
        let Some((subagent_id, numbers)) = self.places.get_mut(order_id) else {
            return;
        };
        self.last += 1;
        numbers.push(self.last);
        self.by_subagent
            .entry(subagent_id.clone())
            .or_default()
            .insert(self.last, (order_id.clone(), kill));
    }
}

impl State {
    /// What is new to do for the Subagent since `number`: each with its own number. From `0` on it is all there is to do.
    pub fn work_after(
        &self,
        subagent_id: &SubagentId,
        number: u64,
    ) -> impl Iterator<Item = (u64, Work)> + '_ {
        let list = self.work.by_subagent.get(subagent_id);
        let entries = list
            .into_iter()
            .flat_map(move |list| list.range(number + 1..));
        entries.filter_map(|(number, (order_id, kill))| {
            let order = self.engine.order(order_id)?;
            let attempt = attempt_of(order);
            let work = if *kill {
                Work::Kill {
                    attempt,
                    immediately: kill_of(order)?,
                }
            } else {
                Work::Start {
                    attempt,
                    order: order.clone(),
                }
            };
            Some((*number, work))
        })
    }

    /// Takes over one event of a Subagent.
    pub fn on_subagent_event(
        &self,
        subagent_id: &SubagentId,
        stamped: &SubagentStamped,
    ) -> Vec<Event> {
        let Some(subagent) = self.subagents.get(subagent_id) else {
            return Vec::new();
        };
        if stamped.event_id <= subagent.observed {
            return Vec::new(); // already so
        }
        let of_running = |attempt: &Attempt, event: OrderEvent| {
            let order = self.engine.order(&attempt.order_id).filter(|order| {
                order.attempts == attempt.number
                    && matches!(&order.state, OrderState::Processing { subagent_id: Some(there), .. } if there == subagent_id)
            });
            order
                .map(|order| Event::Order(order.id.clone(), event))
                .into_iter()
                .collect()
        };
        match &stamped.event {
            SubagentEvent::OrderStdoutWritten { attempt, chunk } => of_running(
                attempt,
                OrderEvent::OrderStdoutWritten {
                    chunk: chunk.clone(),
                },
            ),
            SubagentEvent::OrderStderrWritten { attempt, chunk } => of_running(
                attempt,
                OrderEvent::OrderStderrWritten {
                    chunk: chunk.clone(),
                },
            ),
            SubagentEvent::OrderProcessingHeld { attempt, hold } => {
                let hold = hold.clone();
                of_running(attempt, OrderEvent::OrderProcessingHeld { hold })
            }
            SubagentEvent::OrderProcessed { attempt, outcome } => {
                let loss = subagent.reset.as_ref().map(Reset::loss);
                // The Subagent knows only that it was shut down. The Agent knows the reason.
                let outcome = match loss.filter(|_| was_ended_with_its_subagent(outcome)) {
                    Some(loss) => self.lost(&attempt.order_id, loss.problem(subagent_id)),
                    None => outcome.clone().bounded(),
                };
                of_running(attempt, OrderEvent::OrderProcessed { outcome })
            }
            SubagentEvent::SubagentShutdownStarted => {
                vec![Event::Subagent(
                    subagent_id.clone(),
                    SubagentStateEvent::SubagentShutdownStarted,
                )]
            }
            SubagentEvent::SubagentShutdown => {
                let mut events = self.lose_processes(subagent_id, subagent.loss(Loss::Shutdown));
                let told = SubagentStateEvent::SubagentShutdown;
                events.push(Event::Subagent(subagent_id.clone(), told));
                if subagent.reset.is_some() {
                    let reset = SubagentStateEvent::SubagentReset;
                    events.push(Event::Subagent(subagent_id.clone(), reset));
                }
                events
            }
        }
    }

    /// Notes that the Subagent's events have been taken over until `until`.
    pub fn on_subagent_observed(&self, subagent_id: &SubagentId, until: EventId) -> Option<Event> {
        let subagent = self.subagents.get(subagent_id)?;
        (until > subagent.observed).then(|| {
            let observed = SubagentStateEvent::SubagentEventsObserved {
                until_event_id: until,
            };
            Event::Subagent(subagent_id.clone(), observed)
        })
    }

    /// The Subagent answered with this life: jobs of an earlier one are lost.
    pub fn on_subagent_dedicated(
        &self,
        subagent_id: &SubagentId,
        run_id: &RunId,
        platform: Option<PlatformInfo>,
    ) -> Vec<Event> {
        let Some(subagent) = self.subagents.get(subagent_id) else {
            return Vec::new();
        };
        if subagent.run_id.as_ref() == Some(run_id) {
            return Vec::new(); // already so
        }
        let mut events = Vec::new();
        if subagent.run_id.is_some() {
            events.push(Event::Subagent(
                subagent_id.clone(),
                SubagentStateEvent::SubagentRestarted,
            ));
            events.extend(self.lose_processes(subagent_id, subagent.loss(Loss::Restart)));
        }
        if subagent.reset.is_some() {
            // The process that was to end has ended.
            let reset = SubagentStateEvent::SubagentReset;
            events.push(Event::Subagent(subagent_id.clone(), reset));
        }
        let dedicated = SubagentStateEvent::SubagentDedicated {
            subagent_run_id: run_id.clone(),
            platform_info: platform,
        };
        events.push(Event::Subagent(subagent_id.clone(), dedicated));
        events
    }

    /// The Subagent refused to start the job: it is repeated elsewhere if the Subagent is about to end, else it has failed.
    pub fn on_start_refused(
        &self,
        subagent_id: &SubagentId,
        attempt: &Attempt,
        problem: Problem,
    ) -> Option<Event> {
        let order = self.engine.order(&attempt.order_id).filter(|order| {
            order.attempts == attempt.number
                && matches!(&order.state, OrderState::Processing { subagent_id: Some(there), .. } if there == subagent_id)
        })?;
        let problem = problem.bounded();
        let outcome = if problem.is("SubagentIsShuttingDown") {
            Outcome::process_lost(Problem::new(
                "SubagentShutDownBeforeProcessStart",
                problem.message,
            ))
        } else {
            Outcome::disrupted(problem)
        };
        Some(Event::Order(
            order.id.clone(),
            OrderEvent::OrderProcessed { outcome },
        ))
    }

    /// The Subagent is connected.
    pub fn on_subagent_coupled(&self, subagent_id: &SubagentId) -> Option<Event> {
        let subagent = self.subagents.get(subagent_id)?;
        (subagent.coupling != Coupling::Coupled)
            .then(|| Event::Subagent(subagent_id.clone(), SubagentStateEvent::SubagentCoupled))
    }

    /// The connection to the Subagent failed.
    pub fn on_subagent_failed(&self, subagent_id: &SubagentId, problem: Problem) -> Option<Event> {
        let subagent = self.subagents.get(subagent_id)?;
        let problem = problem.bounded();
        if subagent.coupling == Coupling::Failed(problem.clone()) {
            return None; // already so
        }
        let failed = SubagentStateEvent::SubagentCouplingFailed { problem };
        Some(Event::Subagent(subagent_id.clone(), failed))
    }

    /// The Subagent may be given this lease from now on.
    pub fn on_lease_offered(&self, subagent_id: &SubagentId, lease: Duration) -> Option<Event> {
        let subagent = self.subagents.get(subagent_id)?;
        (subagent.offered != Some(lease)).then(|| {
            let offered = SubagentStateEvent::SubagentLeaseOffered {
                lease: Seconds(lease),
            };
            Event::Subagent(subagent_id.clone(), offered)
        })
    }

    /// The longest lease that the Subagent can hold is over for sure, as is the grace of its jobs. See [`crate::Renewal`].
    pub fn on_lease_over(&self, subagent_id: &SubagentId) -> Vec<Event> {
        match self.subagents.get(subagent_id) {
            Some(subagent)
                if subagent.coupling != Coupling::Coupled && !subagent.orders.is_empty() =>
            {
                self.give_up(subagent_id, None)
            }
            _ => Vec::new(),
        }
    }

    /// A user says that the machine of the Subagent is off.
    pub(crate) fn confirm_subagent_loss(
        &self,
        subagent_id: &SubagentId,
        user_id: &UserId,
    ) -> Result<Vec<Event>, Problem> {
        let Some(subagent) = self.subagents.get(subagent_id) else {
            let message = format!("there is no Subagent {subagent_id}");
            return Err(Problem::new("UnknownKey", message));
        };
        if subagent.coupling == Coupling::Coupled {
            let message =
                format!("Subagent {subagent_id} is connected: there is no loss to confirm");
            return Err(Problem::new("SubagentIsCoupled", message));
        }
        Ok(self.give_up(subagent_id, Some(user_id.clone())))
    }

    fn give_up(&self, subagent_id: &SubagentId, confirmed_by: Option<UserId>) -> Vec<Event> {
        let lost = SubagentStateEvent::SubagentLost { confirmed_by };
        let mut events = vec![Event::Subagent(subagent_id.clone(), lost)];
        let loss = self
            .subagents
            .get(subagent_id)
            .map(|it| it.loss(Loss::Absence));
        events.extend(self.lose_processes(subagent_id, loss.unwrap_or(Loss::Absence)));
        events
    }

    /// Whether somebody waits for what runs at a Subagent that is away.
    pub fn waits_for(&self, subagent_id: &SubagentId) -> bool {
        self.subagents.get(subagent_id).is_some_and(|subagent| {
            subagent.coupling != Coupling::Coupled && !subagent.orders.is_empty()
        })
    }

    /// Those of the attempts that nobody waits for any more: they were given up while the Subagent was away.
    pub fn given_up(&self, subagent_id: &SubagentId, attempts: &[Attempt]) -> Vec<Attempt> {
        let is_wanted = |attempt: &Attempt| {
            self.engine.order(&attempt.order_id).is_some_and(|order| {
                order.attempts == attempt.number
                    && matches!(&order.state, OrderState::Processing { subagent_id: Some(there), .. } if there == subagent_id)
            })
        };
        let given_up = attempts.iter().filter(|attempt| !is_wanted(attempt));
        given_up.cloned().collect()
    }

    /// Ends all jobs that ran at the Subagent, with an unknown result. A job that must not be repeated fails.
    pub(crate) fn lose_processes(&self, subagent_id: &SubagentId, loss: Loss) -> Vec<Event> {
        let Some(subagent) = self.subagents.get(subagent_id) else {
            return Vec::new();
        };
        let lost = |order_id: &OrderId| {
            let outcome = self.lost(order_id, loss.problem(subagent_id));
            Event::Order(order_id.clone(), OrderEvent::OrderProcessed { outcome })
        };
        subagent.orders.iter().map(lost).collect()
    }

    /// Returns the outcome of the order's job whose process is lost because of `problem`.
    fn lost(&self, order_id: &OrderId, problem: Problem) -> Outcome {
        let job = self.engine.order(order_id).and_then(|order| {
            let workflow = self.engine.workflow(&order.workflow_id)?;
            workflow.job(&order.position)
        });
        match job {
            Some((_, job)) => job.lost(problem),
            None => Outcome::process_lost(problem),
        }
    }
}

/// Returns whether the job ended only because its Subagent was shut down.
fn was_ended_with_its_subagent(outcome: &Outcome) -> bool {
    let Outcome::Disrupted { reason, .. } = outcome else {
        return false;
    };
    // A job that must not be repeated fails with this problem instead of being lost.
    let (DisruptedReason::ProcessLost { problem } | DisruptedReason::Other { problem }) = reason;
    problem.is("ProcessKilledDueToSubagentShutdown")
        || problem.is("SubagentShutDownBeforeProcessStart")
}

/// The identity of the order's latest start.
pub(crate) fn attempt_of(order: &Order) -> Attempt {
    Attempt {
        order_id: order.id.clone(),
        number: order.attempts,
    }
}

fn is_here(order: &Order, kill: &Kill) -> bool {
    kill.workflow_position.as_ref().is_none_or(|place| {
        place.workflow_id == *order.workflow_id && place.position == order.position
    })
}

/// Whether an operator wants the order's job killed, and if so, whether at once.
pub(crate) fn kill_of(order: &Order) -> Option<bool> {
    let kill = match order.mark.as_deref()? {
        Mark::Cancelling { mode } => mode.kill(),
        Mark::Suspending { mode } => mode.kill.as_ref(),
        Mark::Resuming { .. } | Mark::Go { .. } => None,
    };
    kill.filter(|kill| is_here(order, kill))
        .map(|kill| kill.immediately)
}
