//! Finish: ends the order; in a fork, its branch. A stop position acts alike.
//!
//! Always: executed at the Controller. A failed outcome of a Finish is recorded and is not a failure. The child fails
//! only in a branch of a fork that does not join failed orders. A message becomes the message of a failed outcome, or
//! the value `returnMessage` of a successful one.

use super::{Doing, Here, sticky_subagent};
use crate::failure;
use expr::{Expr, Value};
use model::{Branch, Order, OrderEvent, Outcome, Position, PositionStep};

pub(crate) fn next(outcome: Option<&Outcome>, message: Option<&Expr>, here: &Here<'_>) -> Doing {
    let text = match message
        .map(|message| message.eval_text(&here.scope()))
        .transpose()
    {
        Ok(text) => text,
        Err(error) => return Doing::Fails(Outcome::disrupted(Here::problem(&error))),
    };
    let outcome = match (outcome.cloned(), text) {
        (
            Some(Outcome::Failed {
                message: None,
                named_values,
                uncatchable,
            }),
            message,
        ) => Some(Outcome::Failed {
            message,
            named_values,
            uncatchable,
        }),
        (outcome @ (None | Some(Outcome::Succeeded { .. })), Some(text)) => {
            let mut named_values = outcome
                .map(|outcome| outcome.named_values().clone())
                .unwrap_or_default();
            named_values.insert("returnMessage".into(), Value::from(text));
            Some(Outcome::Succeeded { named_values })
        }
        (outcome, _) => outcome,
    };
    at(outcome, here)
}

/// Ends the order or its branch from here.
pub(crate) fn at(outcome: Option<Outcome>, here: &Here<'_>) -> Doing {
    let parents = &here.position.parents;
    let left = sticky_subagent::leaves(parents, barrier(here.order, parents));
    let Some(end) = branch_end(here) else {
        return Doing::AtController(left.into_iter().chain(finished(outcome)).collect());
    };
    if end == *here.position && outcome.is_none() {
        return Doing::Joins;
    }
    let has_failed = outcome
        .as_ref()
        .is_some_and(|outcome| !outcome.is_succeeded());
    let ended = if has_failed && here.order.parent.is_some() && !failure::joins_if_failed(here) {
        OrderEvent::OrderFailedInFork {
            moved_to: here.position.clone(),
        }
    } else {
        OrderEvent::OrderMoved {
            to: end,
            reason: None,
        }
    };
    let noted = outcome.map(|outcome| OrderEvent::OrderOutcomeAdded { outcome });
    Doing::AtController(noted.into_iter().chain(left).chain([ended]).collect())
}

pub(crate) fn finished(outcome: Option<Outcome>) -> Vec<OrderEvent> {
    vec![OrderEvent::OrderFinished { outcome }]
}

/// Whether the end of the block `parents` is the order's end. How often a try or a catch has been entered makes no other block.
pub(crate) fn is_outermost(order: &Order, parents: &[PositionStep]) -> bool {
    let is_same = |inner: Vec<PositionStep>| {
        let step = |step: &PositionStep| (step.nr, step.branch.normalized());
        inner.iter().map(step).eq(parents.iter().map(step))
    };
    parents.is_empty() || inner_block(&order.inner_block).is_some_and(is_same)
}

/// How many blocks are around the order that it does not leave by itself: those around its branch of a fork, and its inner
/// block.
pub(crate) fn barrier(order: &Order, parents: &[PositionStep]) -> usize {
    let fork = parents
        .iter()
        .rposition(|step| matches!(step.branch, Branch::Fork(_) | Branch::ForkList))
        .map_or(0, |depth| depth + 1);
    let inner = inner_block(&order.inner_block).map_or(0, |inner| inner.len());
    fork.max(inner)
}

/// The block that the order must not leave.
pub(crate) fn inner_block(given: &[serde_json::Value]) -> Option<Vec<PositionStep>> {
    given
        .chunks(2)
        .map(|step| {
            let nr = u32::try_from(step.first()?.as_u64()?).ok()?;
            Some(PositionStep {
                nr,
                branch: step.get(1)?.as_str()?.parse().ok()?,
            })
        })
        .collect()
}

/// The end of the fork's branch that the position is in.
fn branch_end(here: &Here<'_>) -> Option<Position> {
    let parents = &here.position.parents;
    let depth = parents
        .iter()
        .rposition(|step| matches!(step.branch, Branch::Fork(_) | Branch::ForkList))?
        + 1;
    if inner_block(&here.order.inner_block).is_some_and(|inner| inner.len() >= depth) {
        return None;
    }
    let nr = u32::try_from(here.workflow.block_at(&parents[..depth])?.steps.len()).ok()?;
    Some(Position {
        parents: parents[..depth].to_vec(),
        nr,
    })
}
