//! What operators ask of orders: cancel, suspend, resume, delete. And how an Agent takes what its Controller passes on.
//!
//! Commands are the Controller's; an Agent knows marks only. Always: everything is checked before the first event; no
//! events mean "already so". An order that an Agent has is only marked; the mark is sent there, and followed as soon as
//! the order can.

use crate::{State, evolve, instructions::Here, mark, next};
use model::{
    CancellationMode, HistoryOperation, Kill, Mark, Order, OrderEvent, OrderId, OrderState,
    Outcome, Position, Problem, Resumption, SuspensionMode, Timestamp, Workflow,
};

type Decided = Result<Vec<(OrderId, OrderEvent)>, Problem>;

impl State {
    /// Cancels an order, or marks it to be cancelled.
    pub fn cancel(&self, id: &OrderId, mode: &CancellationMode) -> Decided {
        let order = self.known(id)?;
        if order.is_terminated() || order.state == OrderState::Deleted {
            return Ok(Vec::new());
        }
        if *mode == CancellationMode::FreshOnly && !mark::is_fresh(order) {
            return Err(Problem::new(
                "CancelStartedOrder",
                format!("Order:{id} has been started and is not to be cancelled then"),
            )
            .with("orderId", id));
        }
        if order.state == OrderState::FailedInFork {
            return Err(Problem::new(
                "CannotCancelOrder",
                format!("Order:{id} has failed in its fork and only waits for the join"),
            )
            .with("orderId", id));
        }
        if self.is_held(order)
            && let Some(here) = self.here(order)
        {
            if let Some(events) = mark::cancelled(&here, mode) {
                return Ok(of(id, events));
            }
            if order.state == OrderState::Ready {
                // Only its end is before it, so it ends by itself.
                return Ok(Vec::new());
            }
        }
        if let Some(Mark::Cancelling { mode: known }) = order.mark.as_deref()
            && includes_cancellation(known, mode)
        {
            return Ok(Vec::new());
        }
        Ok(of(
            id,
            vec![OrderEvent::OrderCancellationMarked { mode: mode.clone() }],
        ))
    }

    /// Suspends an order, or marks it to be suspended.
    pub fn suspend(&self, id: &OrderId, mode: &SuspensionMode) -> Decided {
        let order = self.known(id)?;
        if order.is_suspended {
            return Ok(Vec::new());
        }
        let refused = |why: &str| {
            Err(Problem::new(
                "CannotSuspendOrder",
                format!("Order:{id} cannot be suspended: {why}"),
            )
            .with("orderId", id))
        };
        match (&order.state, order.mark.as_deref()) {
            (OrderState::Finished | OrderState::Cancelled | OrderState::Deleted, _) => {
                return refused("it has ended");
            }
            (
                OrderState::Failed
                | OrderState::FailedWhileFresh
                | OrderState::FailedInFork
                | OrderState::Stopped
                | OrderState::StoppedWhileFresh
                | OrderState::Broken { .. },
                _,
            ) => return refused("it stands still already"),
            (_, Some(Mark::Cancelling { .. })) => return refused("it is being cancelled"),
            (_, Some(Mark::Suspending { mode: known })) if includes_suspension(known, mode) => {
                return Ok(Vec::new());
            }
            _ => {}
        }
        if self.is_held(order)
            && let Some(events) = mark::suspended(order, mode)
        {
            return Ok(of(id, events));
        }
        Ok(of(
            id,
            vec![OrderEvent::OrderSuspensionMarked { mode: mode.clone() }],
        ))
    }

    /// Lets an order go on that stands still; withdraws a suspension that is still under way.
    pub fn resume(&self, id: &OrderId, resumption: &Resumption) -> Decided {
        let order = self.known(id)?;
        let refused = |why: &str| {
            Err(Problem::new(
                "CannotResumeOrder",
                format!("Order:{id} cannot be resumed: {why}"),
            )
            .with("orderId", id))
        };
        if mark::stands_still(order) {
            let resumption = &Resumption {
                restart_killed_job: Some(self.restarts_killed_job(order, resumption)),
                ..resumption.clone()
            };
            self.check_resumption(order, resumption)?;
            let event = if order.is_detached() {
                resumed(resumption)
            } else {
                resumption_marked(resumption)
            };
            let repeated = matches!(
                (order.mark.as_deref(), &event),
                (
                    Some(Mark::Resuming { .. }),
                    OrderEvent::OrderResumptionMarked { .. }
                )
            );
            return Ok(if repeated {
                Vec::new()
            } else {
                of(id, vec![event])
            });
        }
        match order.mark.as_deref() {
            Some(Mark::Suspending { .. }) if resumption.is_plain() => {
                Ok(of(id, vec![resumption_marked(resumption)]))
            }
            Some(Mark::Suspending { .. }) => {
                refused("it is not suspended yet, so its position and history cannot be changed")
            }
            _ if order.is_terminated() => refused("it has ended"),
            _ => refused("it does not stand still"),
        }
    }

    /// Returns whether the job that was killed last runs again. By default the job runs again, unless it must not be
    /// repeated or the resumption changes the order's position or history.
    fn restarts_killed_job(&self, order: &Order, resumption: &Resumption) -> bool {
        let is_killed = matches!(order.last_outcome(), Outcome::Killed { .. });
        if let Some(asked) = resumption.restart_killed_job {
            return asked && is_killed;
        }
        let job = self
            .workflows
            .get(&order.workflow_id)
            .and_then(|workflow| workflow.job(&order.position));
        is_killed && resumption.is_plain() && job.is_none_or(|(_, job)| !job.is_not_restartable)
    }

    /// Lets the order be forgotten when it has ended.
    pub fn delete_when_terminated(&self, id: &OrderId) -> Decided {
        let order = self.known(id)?;
        if order.parent.is_some() {
            return Err(Problem::new(
                "CannotDeleteChildOrder",
                format!("Order:{id} is forked and goes with its parent"),
            )
            .with("orderId", id));
        }
        if order.delete_when_terminated {
            return Ok(Vec::new());
        }
        Ok(of(id, vec![OrderEvent::OrderDeletionMarked]))
    }

    /// At an Agent: takes the Controller's mark. An order that can leave at once does so without being marked.
    pub fn mark(&self, id: &OrderId, wish: &Mark) -> Decided {
        let order = self.known(id)?;
        if !self.has(order) || order.mark.as_deref() == Some(wish) {
            return Ok(Vec::new());
        }
        if mark::may_leave(order, wish) {
            return Ok(of(id, vec![OrderEvent::OrderDetachable]));
        }
        let starts_later = matches!(
            order.state,
            OrderState::Processing { .. } | OrderState::Processed | OrderState::Ready
        );
        Ok(match wish {
            // Too late for a wish that is only for orders not yet started.
            Mark::Cancelling {
                mode: CancellationMode::FreshOnly,
            } => Vec::new(),
            Mark::Cancelling { mode } if starts_later => of(
                id,
                vec![OrderEvent::OrderCancellationMarked { mode: mode.clone() }],
            ),
            Mark::Suspending { mode } if starts_later => of(
                id,
                vec![OrderEvent::OrderSuspensionMarked { mode: mode.clone() }],
            ),
            Mark::Cancelling { .. }
            | Mark::Suspending { .. }
            | Mark::Resuming { .. }
            | Mark::Go { .. } => Vec::new(),
        })
    }

    fn known(&self, id: &OrderId) -> Result<&Order, Problem> {
        self.orders
            .get(id)
            .map(|order| &**order)
            .ok_or_else(|| Problem::unknown_order(id.as_str()))
    }

    /// Whether the order would follow its mark at once if the Controller had it.
    pub fn would_follow_mark(&self, id: &OrderId) -> bool {
        let here = self.orders.get(id).and_then(|order| self.here(order));
        here.is_some_and(|here| mark::follow(&here).is_some())
    }

    /// Whether the order is at this Controller, so that what is asked can be done at once.
    fn is_held(&self, order: &Order) -> bool {
        self.site.is_controller() && self.has(order)
    }

    /// Whether the order is here and not on its way.
    fn has(&self, order: &Order) -> bool {
        crate::state::acts(&self.site, order)
    }

    /// The order where it stands. No rule of a command looks at the clock.
    fn here<'a>(&'a self, order: &'a Order) -> Option<Here<'a>> {
        let workflow = self.workflows.get(&order.workflow_id)?;
        Some(next::here(self, workflow, order, Timestamp::default()))
    }

    fn check_resumption(&self, order: &Order, resumption: &Resumption) -> Result<(), Problem> {
        let Some(workflow) = self.workflows.get(&order.workflow_id) else {
            return Err(Problem::unknown_item(format!(
                "Workflow:{}",
                order.workflow_id
            )));
        };
        if let Some(position) = &resumption.position {
            check_reachable(workflow, &order.position, position)?;
        }
        for operation in &resumption.history_operations {
            let (HistoryOperation::Replace { position, .. }
            | HistoryOperation::Delete { position }
            | HistoryOperation::Append { position, .. }
            | HistoryOperation::Insert { position, .. }) = operation;
            check_known(workflow, position)?;
            if let HistoryOperation::Insert { before, .. } = operation {
                check_known(workflow, before)?;
            }
        }
        evolve::resumed_history(order, resumption).map(drop)
    }
}

/// Returns whether the known cancellation does everything that the requested one does. If so, the order keeps the known
/// one, because a weaker one would undo what has been accepted.
fn includes_cancellation(known: &CancellationMode, asked: &CancellationMode) -> bool {
    match (known, asked) {
        (_, CancellationMode::FreshOnly) => true,
        (CancellationMode::FreshOnly, CancellationMode::FreshOrStarted { .. }) => false,
        (
            CancellationMode::FreshOrStarted { kill: known },
            CancellationMode::FreshOrStarted { kill: asked },
        ) => includes_kill(known.as_ref(), asked.as_ref()),
    }
}

/// Returns whether the known suspension does everything that the requested one does.
fn includes_suspension(known: &SuspensionMode, asked: &SuspensionMode) -> bool {
    (known.reset_state || !asked.reset_state)
        && includes_kill(known.kill.as_ref(), asked.kill.as_ref())
}

fn includes_kill(known: Option<&Kill>, asked: Option<&Kill>) -> bool {
    match (known, asked) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(known), Some(asked)) => {
            (known.immediately || !asked.immediately)
                && known.workflow_position == asked.workflow_position
        }
    }
}

/// Refuses a position that the workflow does not have.
pub(crate) fn check_known(workflow: &Workflow, position: &Position) -> Result<(), Problem> {
    if workflow.step(position).is_some() {
        return Ok(());
    }
    let message = format!("Unknown position {position} in Workflow:{}", workflow.id);
    Err(Problem::new("UnknownPosition", message))
}

/// Refuses a jump that would enter or leave a block that only its own instruction may let in or out.
pub(crate) fn check_reachable(
    workflow: &Workflow,
    from: &Position,
    to: &Position,
) -> Result<(), Problem> {
    let barriers = |position: &Position| {
        let depth = position
            .parents
            .iter()
            .rposition(|step| !step.branch.is_open())
            .map_or(0, |depth| depth + 1);
        Position {
            parents: position.parents[..depth].to_vec(),
            nr: 0,
        }
        .normalized()
    };
    if workflow.step(to).is_some() && barriers(from) == barriers(to) {
        return Ok(());
    }
    let message = format!(
        "Position {to} cannot be reached from {from} in Workflow:{}",
        workflow.id
    );
    Err(Problem::new("UnreachableOrderPosition", message).with("position", to))
}

fn resumed(resumption: &Resumption) -> OrderEvent {
    let Resumption {
        position,
        history_operations,
        as_succeeded,
        restart_killed_job,
    } = resumption.clone();
    OrderEvent::OrderResumed {
        position,
        history_operations,
        as_succeeded,
        restart_killed_job: restart_killed_job.unwrap_or(false),
    }
}

fn resumption_marked(resumption: &Resumption) -> OrderEvent {
    let Resumption {
        position,
        history_operations,
        as_succeeded,
        restart_killed_job,
    } = resumption.clone();
    OrderEvent::OrderResumptionMarked {
        position,
        history_operations,
        as_succeeded,
        restart_killed_job: restart_killed_job.unwrap_or(false),
    }
}

fn of(id: &OrderId, events: Vec<OrderEvent>) -> Vec<(OrderId, OrderEvent)> {
    events
        .into_iter()
        .map(|event| (id.clone(), event))
        .collect()
}
