//! Fails an order if its next step is too large to be recorded or handed over. No other order is affected.
//!
//! Always: a step is checked before its first event, and the failure names the bound.

use crate::instructions::Here;
use model::bounds::{
    CHILDREN_MAX, FORK_BYTES_MAX, ORDER_BYTES_MAX, RESULT_BYTES_MAX, TOO_LARGE, json_bytes,
    order_bytes, too_large,
};
use model::{Order, OrderEvent, Outcome, Problem};

/// Returns the step's events with bounded messages, or the failure of a step that is too large.
pub(crate) fn bounded(here: &Here<'_>, events: Vec<OrderEvent>) -> Vec<OrderEvent> {
    match events.iter().find_map(|event| fault(here.order, event)) {
        Some(problem) => vec![failure(problem)],
        None => events.into_iter().map(shortened).collect(),
    }
}

/// Why the order is too large to be handed over to a Subagent or an Agent.
pub(crate) fn fault_of_order(order: &Order) -> Option<Problem> {
    let bytes = order_bytes(order);
    (bytes > ORDER_BYTES_MAX).then(|| {
        let what = "the order with its arguments and the results of its steps";
        too_large(what, bytes, ORDER_BYTES_MAX)
    })
}

pub(crate) fn failure(problem: Problem) -> OrderEvent {
    OrderEvent::OrderOutcomeAdded {
        outcome: Outcome::disrupted(problem),
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "only what carries values or names without a bound of its own is looked at"
)]
fn fault(order: &Order, event: &OrderEvent) -> Option<Problem> {
    match event {
        OrderEvent::OrderSaid { value } => {
            let bytes = json_bytes(value);
            (bytes > RESULT_BYTES_MAX)
                .then(|| too_large("what is to be said", bytes, RESULT_BYTES_MAX))
        }
        OrderEvent::OrderForked { children } => {
            if children.len() > CHILDREN_MAX {
                let message = format!(
                    "the fork has {} branches, more than the {CHILDREN_MAX} allowed",
                    children.len()
                );
                return Some(Problem::new(TOO_LARGE, message));
            }
            let bytes = order_bytes(order)
                .saturating_mul(children.len())
                .saturating_add(json_bytes(children));
            (bytes > FORK_BYTES_MAX).then(|| {
                let what = "the fork's children with the arguments and results of their parent";
                too_large(what, bytes, FORK_BYTES_MAX)
            })
        }
        OrderEvent::OrderAttachable { .. } => fault_of_order(order),
        _ => None,
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "only what carries outcomes and messages is looked at"
)]
fn shortened(event: OrderEvent) -> OrderEvent {
    match event {
        OrderEvent::OrderOutcomeAdded { outcome } => OrderEvent::OrderOutcomeAdded {
            outcome: outcome.bounded(),
        },
        OrderEvent::OrderJoined { outcome } => OrderEvent::OrderJoined {
            outcome: outcome.bounded(),
        },
        OrderEvent::OrderFinished {
            outcome: Some(outcome),
        } => OrderEvent::OrderFinished {
            outcome: Some(outcome.bounded()),
        },
        OrderEvent::OrderBroken {
            problem: Some(problem),
        } => OrderEvent::OrderBroken {
            problem: Some(problem.bounded()),
        },
        other => other,
    }
}
