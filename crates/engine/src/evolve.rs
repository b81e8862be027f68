//! What an event makes of an order. [`crate::life`] says whether it may happen; here is what else changes.
//!
//! Always: a refused event leaves the order as it was.

use crate::instructions::sticky_subagent;
use crate::{history, life, mark};
use model::{
    AttachedState, HistoricOutcome, Mark, Order, OrderEvent, OrderId, Outcome, Resumption,
};

/// The event does not fit to the order as it stands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{event} does not fit to Order:{order_id} ({state}): {rule}")]
pub struct NotApplicable {
    /// The order.
    pub order_id: OrderId,
    /// The event's name.
    pub event: &'static str,
    /// The order's state, or that there is no such order.
    pub state: &'static str,
    /// The rule that is broken.
    pub rule: &'static str,
}

impl NotApplicable {
    pub(crate) fn new(
        order_id: &OrderId,
        event: &OrderEvent,
        state: &'static str,
        rule: &'static str,
    ) -> Self {
        NotApplicable {
            order_id: order_id.clone(),
            event: event.type_name(),
            state,
            rule,
        }
    }
}

/// Changes `order` as `event` says.
pub(crate) fn evolve(order: &mut Order, event: &OrderEvent) -> Result<(), NotApplicable> {
    let refused =
        |order: &Order, rule| NotApplicable::new(&order.id, event, order.state.type_name(), rule);
    life::place(order, event).map_err(|rule| refused(order, rule))?;
    let Some(state) = life::after(&order.state, event) else {
        return Err(refused(order, "no such event in this state"));
    };
    match event {
        OrderEvent::OrderMoved { to, .. } => {
            order.position = to.clone();
            order.is_resumed = false;
        }
        OrderEvent::OrderProcessingStarted {
            subagent_id, stick, ..
        } => {
            order.attempts += 1;
            if *stick && let Some(subagent_id) = subagent_id {
                sticky_subagent::stick(order, subagent_id);
            }
        }
        OrderEvent::OrderStickySubagentEntered {
            agent_path,
            subagent_bundle_id,
        } => sticky_subagent::enter(order, agent_path, subagent_bundle_id.as_ref()),
        OrderEvent::OrderStickySubagentLeft => sticky_subagent::leave(order),
        OrderEvent::OrderProcessed { outcome }
        | OrderEvent::OrderOutcomeAdded { outcome }
        | OrderEvent::OrderJoined { outcome }
        | OrderEvent::OrderFinished {
            outcome: Some(outcome),
        } => note(order, outcome.clone()),
        OrderEvent::OrderCaught { moved_to } => {
            order.position = moved_to.clone();
            order.is_resumed = false;
            note(order, Outcome::Caught);
        }
        OrderEvent::OrderRetrying { .. } => history::omit_middle_tries(order),
        OrderEvent::OrderFailed { moved_to } | OrderEvent::OrderFailedInFork { moved_to } => {
            order.position = moved_to.clone();
        }
        OrderEvent::OrderCancelled => {
            order.mark = None;
            order.is_suspended = false;
        }
        OrderEvent::OrderStateReset => order.mark = None,
        OrderEvent::OrderDeletionMarked => order.delete_when_terminated = true,
        OrderEvent::OrderAttachable { agent_path } => {
            order.attached_state = Some(AttachedState::Attaching {
                agent_path: agent_path.clone(),
            });
        }
        OrderEvent::OrderAttached { agent_path } => {
            order.attached_state = Some(AttachedState::Attached {
                agent_path: agent_path.clone(),
            });
        }
        OrderEvent::OrderDetachable => {
            let agent_path = order.attached_to().cloned();
            order.attached_state =
                agent_path.map(|agent_path| AttachedState::Detaching { agent_path });
        }
        OrderEvent::OrderDetached => order.attached_state = None,
        OrderEvent::OrderCancellationMarked { mode } => {
            order.mark = Some(Box::new(Mark::Cancelling { mode: mode.clone() }));
        }
        OrderEvent::OrderSuspensionMarked { mode } => {
            order.mark = Some(Box::new(Mark::Suspending { mode: mode.clone() }));
        }
        OrderEvent::OrderSuspended => {
            order.mark = None;
            order.is_suspended = true;
            order.is_resumed = false;
        }
        OrderEvent::OrderResumptionMarked {
            position,
            history_operations,
            as_succeeded,
            restart_killed_job,
        } => {
            // To resume what is only about to be suspended is to withdraw that wish.
            let withdrawn = matches!(order.mark.as_deref(), Some(Mark::Suspending { .. }));
            order.mark = (!withdrawn).then(|| {
                Box::new(Mark::Resuming {
                    position: position.clone(),
                    history_operations: history_operations.clone(),
                    as_succeeded: *as_succeeded,
                    restart_killed_job: *restart_killed_job,
                })
            });
        }
        OrderEvent::OrderResumed {
            position,
            history_operations,
            as_succeeded,
            restart_killed_job,
        } => {
            let resumption = Resumption {
                position: position.clone(),
                history_operations: history_operations.clone(),
                as_succeeded: *as_succeeded,
                restart_killed_job: Some(*restart_killed_job),
            };
            order.historic_outcomes = resumed_history(order, &resumption)
                .map_err(|_unknown_entry| refused(order, "the history has no such entry"))?;
            history::drop_counts_without_place(order);
            if let Some(position) = position {
                order.position = position.clone();
            }
            order.mark = None;
            order.is_suspended = false;
            order.is_resumed = true;
        }
        OrderEvent::OrderAdded { .. }
        | OrderEvent::OrderAttachedToAgent { .. }
        | OrderEvent::OrderStarted
        | OrderEvent::OrderFinished { outcome: None }
        | OrderEvent::OrderStopped
        | OrderEvent::OrderDeleted
        | OrderEvent::OrderBroken { .. }
        | OrderEvent::OrderAwoke
        | OrderEvent::OrderForked { .. }
        | OrderEvent::OrderSleeping { .. }
        | OrderEvent::OrderStdoutWritten { .. }
        | OrderEvent::OrderStderrWritten { .. }
        | OrderEvent::OrderProcessingHeld { .. }
        | OrderEvent::OrderProcessingKilled
        | OrderEvent::OrderCancellationMarkedOnAgent
        | OrderEvent::OrderSuspensionMarkedOnAgent
        | OrderEvent::OrderSaid { .. }
        | OrderEvent::OrderAgentProblem { .. } => {}
    }
    order.state = state;
    if mark::is_void(order) {
        order.mark = None;
    }
    Ok(())
}

/// The history with which `order` goes on when it is resumed so.
pub(crate) fn resumed_history(
    order: &Order,
    resumption: &Resumption,
) -> Result<Vec<HistoricOutcome>, model::Problem> {
    let mut entries = order.historic_outcomes.clone();
    if let Some(position) = &resumption.position {
        history::cut_from(&mut entries, position);
    } else if resumption.restart_killed_job == Some(true) {
        if matches!(
            entries.last(),
            Some(HistoricOutcome {
                outcome: Outcome::Killed { .. },
                ..
            })
        ) {
            entries.pop();
        }
    } else if !order.is_suspended
        && !resumption.as_succeeded
        && resumption.history_operations.is_empty()
    {
        // Nothing but "go on": the failed instruction is repeated.
        history::cut_failures(&mut entries);
    }
    history::change(&mut entries, &resumption.history_operations)?;
    if resumption.as_succeeded
        && entries
            .last()
            .is_some_and(|entry| !entry.outcome.is_succeeded())
    {
        entries.push(HistoricOutcome {
            position: order.position.clone(),
            outcome: Outcome::SUCCEEDED,
        });
    }
    Ok(entries)
}

fn note(order: &mut Order, outcome: Outcome) {
    order.historic_outcomes.push(HistoricOutcome {
        position: order.position.clone(),
        outcome,
    });
}
