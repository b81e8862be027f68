//! What happens to an order now. The deciding happens here; instructions, marks and failures give the pieces.
//!
//! Always: a pure question; the answer's events are valid as one unit in their order. An order that is not this site's, or
//! whose workflow is unknown here, rests. Everything an Agent cannot do is `OrderDetachable` there.

use crate::instructions::{Doing, Here, fork, retry};
use crate::scope::OrderScope;
use crate::{JobCall, JobKey, Site, State, ahead, bounded, failure, mark, state};
use model::{
    AgentPath, DisruptedReason, Instruction, Order, OrderEvent, OrderId, OrderState, Outcome,
    Position, Problem, Timestamp, Workflow,
};
use std::sync::Arc;

/// The budget of all expressions of one step, in budgets of a single evaluation.
const STEP_BUDGETS: u32 = 2;

/// What happens to an order now.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Nothing. Another event, a command or a timer makes it restless again.
    Rest,
    /// These events, as one unit.
    Events(Vec<(OrderId, OrderEvent)>),
    /// The order stands at a job of this Agent. One that is still fresh starts together with the job's process.
    Job(JobCall),
}

impl State {
    /// Returns what happens to this order now. All expressions of the step share one budget, so that a path through
    /// many predicates does not delay all other orders.
    pub fn next(&self, id: &OrderId, now: Timestamp) -> Next {
        expr::in_one_budget(STEP_BUDGETS, || self.next_step(id, now))
    }

    fn next_step(&self, id: &OrderId, now: Timestamp) -> Next {
        let Some(order) = self.orders.get(id) else {
            return Next::Rest;
        };
        if !state::acts(&self.site, order) {
            return Next::Rest;
        }
        let Some(workflow) = self.workflows.get(&order.workflow_id) else {
            return Next::Rest;
        };
        if let Some(events) = self.set_aside_by_workflow(order, now) {
            let events = events.into_iter().map(|event| (id.clone(), event));
            return Next::Events(events.collect());
        }
        let here = here(self, workflow, order, now);
        let decided = match decide(&here) {
            Decision::Rest => return Next::Rest,
            Decision::Events(events) => bounded::bounded(&here, events),
            Decision::Job if let Some(problem) = bounded::fault_of_order(order) => {
                vec![bounded::failure(problem)]
            }
            Decision::Job => {
                let Some((key, job)) = JobKey::at(workflow, &order.position) else {
                    return Next::Rest;
                };
                return Next::Job(JobCall {
                    workflow: workflow.clone(),
                    job: job.clone(),
                    key,
                });
            }
        };
        Next::Events(
            decided
                .into_iter()
                .map(|event| (id.clone(), event))
                .collect(),
        )
    }

    /// The job that the order stands ready at here, if it does: asked again when a slot is free.
    pub fn job_of(&self, id: &OrderId, now: Timestamp) -> Option<JobCall> {
        match self.next(id, now) {
            Next::Job(call) => Some(call),
            Next::Rest | Next::Events(_) => None,
        }
    }

    /// What expressions see of this order; nothing if the order or its workflow is unknown here.
    pub fn scope(&self, id: &OrderId, now: Timestamp) -> Option<OrderScope<'_>> {
        let order = self.orders.get(id)?;
        Some(OrderScope::new(
            self,
            self.workflows.get(&order.workflow_id)?,
            order,
            now,
        ))
    }
}

/// The order where it stands.
pub(crate) fn here<'a>(
    state: &'a State,
    workflow: &'a Arc<Workflow>,
    order: &'a Order,
    now: Timestamp,
) -> Here<'a> {
    let started = order.state != OrderState::Fresh;
    Here {
        state,
        workflow,
        order,
        position: &order.position,
        now,
        started,
    }
}

/// Whether the latest outcome is a failure to be handled. A lost process is none: its job is repeated.
pub(crate) fn has_failed(order: &Order) -> bool {
    !order.last_outcome().is_succeeded() && !order.last_outcome().is_process_lost()
}

enum Decision {
    Rest,
    Events(Vec<OrderEvent>),
    Job,
}

impl From<OrderEvent> for Decision {
    fn from(event: OrderEvent) -> Decision {
        Decision::Events(vec![event])
    }
}

fn decide(here: &Here<'_>) -> Decision {
    let order = here.order;
    if order.is_terminated() {
        let deletable =
            order.delete_when_terminated && order.parent.is_none() && here.site().is_controller();
        return if deletable {
            OrderEvent::OrderDeleted.into()
        } else {
            Decision::Rest
        };
    }
    if let Some(events) = mark::follow(here) {
        return Decision::Events(events);
    }
    if order.is_suspended {
        return Decision::Rest;
    }
    match &order.state {
        OrderState::Fresh => fresh(here),
        OrderState::Ready => ready(here),
        OrderState::Processed => processed(here),
        OrderState::ProcessingKilled => failed(here),
        OrderState::DelayingRetry { until } if *until <= here.now => {
            Decision::Events(retry::on_time(here))
        }
        OrderState::Sleeping { until, .. } if *until <= here.now => {
            moved(ahead::settled(here, here.position.next()))
        }
        OrderState::Forked { .. } if !here.site().is_controller() => {
            OrderEvent::OrderDetachable.into()
        }
        OrderState::Forked { children } => {
            fork::join(here, children).map_or(Decision::Rest, Decision::from)
        }
        OrderState::Processing { .. }
        | OrderState::DelayingRetry { .. }
        | OrderState::Sleeping { .. }
        | OrderState::Broken { .. }
        | OrderState::Failed
        | OrderState::FailedWhileFresh
        | OrderState::FailedInFork
        | OrderState::Stopped
        | OrderState::StoppedWhileFresh
        | OrderState::Finished
        | OrderState::Cancelled
        | OrderState::Deleted => Decision::Rest,
    }
}

/// Not started: handed over ahead of its time where its first job is, else started when it is due.
fn fresh(here: &Here<'_>) -> Decision {
    let order = here.order;
    let is_due = order.scheduled_for.is_none_or(|at| at <= here.now);
    if has_failed(order) {
        let is_caught =
            !order.last_outcome().is_uncatchable() && failure::caught_at(here).is_some();
        return match (is_caught, is_due) {
            (false, _) => failed(here),
            // Only a started order can be caught.
            (true, true) => OrderEvent::OrderStarted.into(),
            (true, false) => Decision::Rest,
        };
    }
    let (position, doing) = ahead::ahead(here, order.position.clone());
    let goes = (position != order.position).then(|| OrderEvent::OrderMoved {
        to: position.clone(),
        reason: None,
    });
    match (&doing, here.site()) {
        (Doing::Job(agent) | Doing::AtAgent(agent), Site::Controller) => {
            Decision::Events(goes.into_iter().chain([attachable(agent)]).collect())
        }
        (Doing::Job(agent) | Doing::AtAgent(agent), Site::Agent(this)) if agent != this => {
            OrderEvent::OrderDetachable.into()
        }
        (Doing::AtController(_), Site::Agent(_)) => OrderEvent::OrderDetachable.into(),
        (Doing::Enters(event), _) => {
            Decision::Events(goes.into_iter().chain([event.clone()]).collect())
        }
        _ if !is_due => Decision::Rest,
        // The order stays fresh while it waits for a process.
        (Doing::Job(_), Site::Agent(_)) if goes.is_none() => Decision::Job,
        (Doing::Faulty(problem), Site::Controller)
            if failure::caught_at(&here.at(&position)).is_none() =>
        {
            // It fails where it cannot be started, so nothing shows it as started or moved.
            let outcome = Outcome::disrupted(problem.clone());
            let end = failure::handle(&here.at(&position), false);
            let noted = OrderEvent::OrderOutcomeAdded { outcome };
            Decision::Events([noted].into_iter().chain(end).collect())
        }
        _ => goes.unwrap_or(OrderEvent::OrderStarted).into(),
    }
}

/// Between two instructions.
fn ready(here: &Here<'_>) -> Decision {
    let order = here.order;
    let is_to_join =
        order.parent.is_some() && fork::is_at_branch_end(here.workflow, &order.position);
    if has_failed(order) && !is_to_join {
        return failed(here);
    }
    let (position, doing) = ahead::ahead(here, order.position.clone());
    if position != order.position {
        return moved(position);
    }
    match (doing, here.site()) {
        (Doing::Job(agent) | Doing::AtAgent(agent), Site::Controller) => attachable(&agent).into(),
        (Doing::Job(agent), Site::Agent(this)) if agent == *this => Decision::Job,
        (
            Doing::Job(_) | Doing::AtAgent(_) | Doing::AtController(_) | Doing::Joins,
            Site::Agent(_),
        ) => OrderEvent::OrderDetachable.into(),
        (Doing::Joins, Site::Controller) => Decision::Rest,
        (Doing::AtController(events), Site::Controller) | (Doing::Happens(events), _) => {
            Decision::Events(events)
        }
        (Doing::Enters(event), _) => event.into(),
        (Doing::Fails(outcome), _) => OrderEvent::OrderOutcomeAdded { outcome }.into(),
        (Doing::Faulty(problem), _) => OrderEvent::OrderOutcomeAdded {
            outcome: Outcome::disrupted(problem),
        }
        .into(),
        (Doing::FailsAgain, _) => Decision::Events(failure::handle(here, false)),
        (Doing::Goes(_) | Doing::NeedsStart, _) => Decision::Rest,
    }
}

/// Its job or its join has ended.
fn processed(here: &Here<'_>) -> Decision {
    let order = here.order;
    if matches!(order.last_outcome(), Outcome::Killed { .. }) {
        return OrderEvent::OrderProcessingKilled.into();
    }
    if let Outcome::Disrupted { reason, .. } = order.last_outcome()
        && let DisruptedReason::ProcessLost { problem } = reason
    {
        return process_lost(here, problem);
    }
    if has_failed(order) {
        return failed(here);
    }
    let (to, doing) = ahead::ahead(here, order.position.next());
    match (doing, here.workflow.instruction(&to)) {
        // The next position is unknown, so the order fails where it stands.
        (Doing::Faulty(problem), Some(Instruction::If { .. })) => OrderEvent::OrderOutcomeAdded {
            outcome: Outcome::disrupted(problem),
        }
        .into(),
        _ => moved(to),
    }
}

/// Repeats the job where the order stands, unless the job has begun and must not be repeated. Agents of earlier
/// versions report such a job as lost; the Controller fails it here.
fn process_lost(here: &Here<'_>, problem: &Problem) -> Decision {
    let job = here.workflow.job(here.position);
    let has_begun = !problem.is("SubagentShutDownBeforeProcessStart");
    if !has_begun || !job.is_some_and(|(_, job)| job.is_not_restartable) {
        return moved(here.position.clone());
    }
    let problem = Problem::new(
        "JobIsNotRestartable",
        format!("The process was lost and the job must not be repeated: {problem}"),
    );
    let outcome = Outcome::disrupted(problem);
    OrderEvent::OrderOutcomeAdded { outcome }.into()
}

fn failed(here: &Here<'_>) -> Decision {
    let is_uncatchable = here.order.last_outcome().is_uncatchable();
    Decision::Events(failure::handle(here, is_uncatchable))
}

fn moved(to: Position) -> Decision {
    OrderEvent::OrderMoved { to, reason: None }.into()
}

fn attachable(agent: &AgentPath) -> OrderEvent {
    OrderEvent::OrderAttachable {
        agent_path: agent.clone(),
    }
}
