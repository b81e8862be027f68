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
    if order.arguments.is_empty() && order.historic_outcomes.is_empty() {
        return None;
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use expr::{NamedValues, Value};
    use model::ForkChild;

    fn order(argument_bytes: usize) -> Order {
        let text = r#"{"id":"O","workflowId":{"path":"w","versionId":"1"},"position":[0],"state":{"TYPE":"Ready"}}"#;
        let mut order: Order = serde_json::from_str(text).expect("an order");
        order.arguments.insert("a".into(), text_of(argument_bytes));
        order
    }

    fn text_of(bytes: usize) -> Value {
        Value::from("x".repeat(bytes))
    }

    fn children(count: usize, padding: usize) -> Vec<ForkChild> {
        (0..count)
            .map(|n| ForkChild {
                order_id: format!("O|{n}").as_str().into(),
                branch_id: None,
                arguments: if n == 0 {
                    NamedValues::from([("p".into(), text_of(padding))])
                } else {
                    NamedValues::new()
                },
            })
            .collect()
    }

    fn is_too_large(order: &Order, event: &OrderEvent) -> bool {
        fault(order, event).is_some_and(|problem| problem.is(TOO_LARGE))
    }

    #[test]
    fn what_is_said_may_have_just_so_many_bytes() {
        let order = order(0);
        let quotes = 2;
        for (bytes, expected) in [(RESULT_BYTES_MAX, false), (RESULT_BYTES_MAX + 1, true)] {
            let value = text_of(bytes - quotes);
            let said = OrderEvent::OrderSaid { value };
            assert_eq!(is_too_large(&order, &said), expected, "{bytes}");
        }
    }

    #[test]
    fn an_order_of_just_so_many_bytes_is_handed_over() {
        let without = order_bytes(&order(0));
        for (bytes, expected) in [(ORDER_BYTES_MAX, false), (ORDER_BYTES_MAX + 1, true)] {
            let order = order(bytes - without);
            let attachable = OrderEvent::OrderAttachable {
                agent_path: "ALFA".into(),
            };
            assert_eq!(is_too_large(&order, &attachable), expected, "{bytes}");
        }
    }

    #[test]
    fn a_fork_has_just_so_many_children() {
        let order = order(0);
        for (count, expected) in [
            (CHILDREN_MAX, false),
            (CHILDREN_MAX + 1, true),
            (CHILDREN_MAX + 2, true),
        ] {
            let children = children(count, 0);
            let forked = OrderEvent::OrderForked { children };
            assert_eq!(is_too_large(&order, &forked), expected, "{count}");
        }
    }

    #[test]
    fn the_children_of_a_fork_have_just_so_many_bytes_together() {
        const COUNT: usize = 64;
        let without = order_bytes(&order(0));
        let least = json_bytes(&children(COUNT, 0));
        let argument = (FORK_BYTES_MAX - least) / COUNT - without;
        let padding = (FORK_BYTES_MAX - least) % COUNT;
        let order = order(argument);
        for (more, expected) in [(0, false), (1, true)] {
            let children = children(COUNT, padding + more);
            let forked = OrderEvent::OrderForked { children };
            assert_eq!(is_too_large(&order, &forked), expected, "{more}");
        }
    }
}
