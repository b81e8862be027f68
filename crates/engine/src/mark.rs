//! How an order follows what an operator has asked and what could not be done at once.
//!
//! Always: an Agent gives the order back; what was asked is done at the Controller. A failure goes before a suspension.

use crate::instructions::{Here, finish, fork, sticky_subagent};
use crate::next;
use model::{CancellationMode, Mark, Order, OrderEvent, OrderState, SuspensionMode};

/// What the order's mark makes of it now; nothing if the order cannot follow yet or never will.
pub(crate) fn follow(here: &Here<'_>) -> Option<Vec<OrderEvent>> {
    let mark = here.order.mark.as_deref()?;
    if !here.site().is_controller() {
        return may_leave(here.order, mark).then(|| vec![OrderEvent::OrderDetachable]);
    }
    match mark {
        Mark::Cancelling { mode } => cancelled(here, mode),
        Mark::Suspending { mode } => suspended(here.order, mode),
        Mark::Resuming {
            position,
            history_operations,
            as_succeeded,
            restart_killed_job,
        } => stands_still(here.order).then(|| {
            vec![OrderEvent::OrderResumed {
                position: position.clone(),
                history_operations: history_operations.clone(),
                as_succeeded: *as_succeeded,
                restart_killed_job: *restart_killed_job,
            }]
        }),
        Mark::Go { .. } => None,
    }
}

/// Whether an Agent gives the order back because of the mark.
pub(crate) fn may_leave(order: &Order, mark: &Mark) -> bool {
    let waits = match order.state {
        OrderState::Fresh
        | OrderState::ProcessingKilled
        | OrderState::DelayingRetry { .. }
        | OrderState::Sleeping { .. }
        | OrderState::Broken { .. } => true,
        OrderState::Ready => matches!(mark, Mark::Cancelling { .. }) || !next::has_failed(order),
        OrderState::Processing { .. }
        | OrderState::Processed
        | OrderState::Forked { .. }
        | OrderState::Failed
        | OrderState::FailedWhileFresh
        | OrderState::FailedInFork
        | OrderState::Stopped
        | OrderState::StoppedWhileFresh
        | OrderState::Finished
        | OrderState::Cancelled
        | OrderState::Deleted => false,
    };
    waits
        && match mark {
            Mark::Cancelling { mode } => {
                *mode != CancellationMode::FreshOnly || order.state == OrderState::Fresh
            }
            Mark::Suspending { .. } => !matches!(order.state, OrderState::Broken { .. }),
            Mark::Resuming { .. } => matches!(order.state, OrderState::Broken { .. }),
            Mark::Go { .. } => false,
        }
}

/// Returns whether the order can never execute its mark, so that the mark is to be removed.
pub(crate) fn is_void(order: &Order) -> bool {
    let Some(mark) = order.mark.as_deref() else {
        return false;
    };
    let has_ended = order.is_terminated() || order.state == OrderState::FailedInFork;
    match mark {
        Mark::Cancelling {
            mode: CancellationMode::FreshOnly,
        } => !is_fresh(order),
        Mark::Cancelling { .. } => has_ended,
        // An order that has stopped, failed or is broken cannot be suspended.
        Mark::Suspending { .. } => {
            has_ended
                || matches!(
                    order.state,
                    OrderState::Failed
                        | OrderState::FailedWhileFresh
                        | OrderState::Stopped
                        | OrderState::StoppedWhileFresh
                        | OrderState::Broken { .. }
                )
        }
        Mark::Resuming { .. } | Mark::Go { .. } => has_ended,
    }
}

/// How the order is cancelled now, if it can be.
pub(crate) fn cancelled(here: &Here<'_>, mode: &CancellationMode) -> Option<Vec<OrderEvent>> {
    let order = here.order;
    if *mode == CancellationMode::FreshOnly && !is_fresh(order) {
        return None;
    }
    let parents = &order.position.parents;
    let mut left = sticky_subagent::leaves(parents, finish::barrier(order, parents));
    left.push(OrderEvent::OrderCancelled);
    match order.state {
        OrderState::Ready if !order.is_suspended && is_at_end(here) => None,
        OrderState::Fresh
        | OrderState::Ready
        | OrderState::ProcessingKilled
        | OrderState::Broken { .. }
        | OrderState::Failed
        | OrderState::FailedWhileFresh
        | OrderState::Stopped
        | OrderState::StoppedWhileFresh => Some(left),
        OrderState::DelayingRetry { .. } | OrderState::Sleeping { .. } => {
            left.insert(0, OrderEvent::OrderStateReset);
            Some(left)
        }
        OrderState::Processing { .. }
        | OrderState::Processed
        | OrderState::Forked { .. }
        | OrderState::FailedInFork
        | OrderState::Finished
        | OrderState::Cancelled
        | OrderState::Deleted => None,
    }
}

/// How the order is suspended now, if it can be.
pub(crate) fn suspended(order: &Order, mode: &SuspensionMode) -> Option<Vec<OrderEvent>> {
    if is_waiting_for_time(order) && mode.reset_state {
        return Some(vec![
            OrderEvent::OrderStateReset,
            OrderEvent::OrderSuspended,
        ]);
    }
    let waits = matches!(
        order.state,
        OrderState::Fresh | OrderState::ProcessingKilled
    );
    let goes_on = order.state == OrderState::Ready && !next::has_failed(order);
    (waits || goes_on).then(|| vec![OrderEvent::OrderSuspended])
}

/// Whether the order has not been started.
pub(crate) fn is_fresh(order: &Order) -> bool {
    matches!(
        order.state,
        OrderState::Fresh | OrderState::FailedWhileFresh | OrderState::StoppedWhileFresh
    )
}

/// Whether the order stands still so that it can be resumed.
pub(crate) fn stands_still(order: &Order) -> bool {
    let between = matches!(order.state, OrderState::Fresh | OrderState::Ready);
    (between && order.is_suspended)
        || matches!(
            order.state,
            OrderState::Stopped
                | OrderState::StoppedWhileFresh
                | OrderState::Failed
                | OrderState::Broken { .. }
        )
}

fn is_waiting_for_time(order: &Order) -> bool {
    matches!(
        order.state,
        OrderState::DelayingRetry { .. } | OrderState::Sleeping { .. }
    )
}

/// Whether the order has nothing before it but its end or its join.
fn is_at_end(here: &Here<'_>) -> bool {
    let position = here.position;
    if here.workflow.instruction(position) != Some(&model::Instruction::ImplicitEnd) {
        return false;
    }
    finish::is_outermost(here.order, &position.parents)
        || fork::is_at_branch_end(here.workflow, position)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_lasts_as_long_as_it_can_be_executed() {
        let marked = |state: &str, mark: &str| {
            let text = format!(
                r#"{{"id":"O","workflowId":{{"path":"w","versionId":"1"}},"position":[0],"state":{state},"mark":{mark}}}"#
            );
            let order: Order = serde_json::from_str(&text).expect("an order");
            is_void(&order)
        };
        let fresh_only = r#"{"TYPE":"Cancelling","mode":{"TYPE":"FreshOnly"}}"#;
        let cancelling = r#"{"TYPE":"Cancelling","mode":{"TYPE":"FreshOrStarted"}}"#;
        let suspending = r#"{"TYPE":"Suspending","mode":{}}"#;
        let resuming = r#"{"TYPE":"Resuming"}"#;
        // Whether the mark is void: cancel if fresh, cancel, suspend, resume.
        for (state, expected) in [
            ("Fresh", [false, false, false, false]),
            ("Ready", [true, false, false, false]),
            ("Processed", [true, false, false, false]),
            ("FailedWhileFresh", [false, false, true, false]),
            ("StoppedWhileFresh", [false, false, true, false]),
            ("Failed", [true, false, true, false]),
            ("Stopped", [true, false, true, false]),
            ("Broken", [true, false, true, false]),
            ("FailedInFork", [true, true, true, true]),
            ("Finished", [true, true, true, true]),
            ("Cancelled", [true, true, true, true]),
        ] {
            let state = format!(r#"{{"TYPE":"{state}"}}"#);
            let found =
                [fresh_only, cancelling, suspending, resuming].map(|mark| marked(&state, mark));
            assert_eq!(found, expected, "{state}");
        }
    }
}
