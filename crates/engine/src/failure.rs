//! What becomes of an order that has failed: caught by the nearest try around, else stopped, failed in its fork, or failed.
//!
//! Always: no failure leaves a fork's branch or the order's inner block. An Agent only catches; the rest is the
//! Controller's.

use crate::instructions::{self, Here, OnFailure, finish};
use model::{Branch, Instruction, OrderEvent, Position};

/// What happens to the order of `here` that has failed at `here.position`.
pub(crate) fn handle(here: &Here<'_>, uncatchable: bool) -> OrderEvent {
    if !uncatchable && let Some(moved_to) = caught_at(here) {
        return OrderEvent::OrderCaught { moved_to };
    }
    if !here.site().is_controller() {
        return OrderEvent::OrderDetachable;
    }
    let moved_to = here.position.clone();
    if here.order.parent.is_some() && joins_if_failed(here) {
        return OrderEvent::OrderFailedInFork { moved_to };
    }
    if stops_on_failure(here) {
        return OrderEvent::OrderStopped;
    }
    OrderEvent::OrderFailed { moved_to }
}

/// The catch block that takes a failure at `here.position`.
pub(crate) fn caught_at(here: &Here<'_>) -> Option<Position> {
    let parents = &here.position.parents;
    let inner = finish::inner_block(&here.order.inner_block).map_or(0, |inner| inner.len());
    for depth in (inner..parents.len()).rev() {
        let around = Position {
            parents: parents[..depth].to_vec(),
            nr: parents[depth].nr,
        };
        match instructions::on_failure(here.workflow.instruction(&around)?, &parents[depth]) {
            OnFailure::Passes => {}
            OnFailure::Caught(branch) => return Some(around.enter(branch)),
            OnFailure::Barrier => return None,
        }
    }
    None
}

fn joins_if_failed(here: &Here<'_>) -> bool {
    let parents = &here.position.parents;
    let Some(depth) = parents
        .iter()
        .rposition(|step| matches!(step.branch, Branch::Fork(_) | Branch::ForkList))
    else {
        return false;
    };
    let around = Position {
        parents: parents[..depth].to_vec(),
        nr: parents[depth].nr,
    };
    matches!(here.workflow.instruction(&around), Some(Instruction::Fork(fork)) if fork.join_if_failed)
}

/// The innermost given value counts.
fn stops_on_failure(here: &Here<'_>) -> bool {
    let parents = &here.position.parents;
    let given = (0..parents.len())
        .rev()
        .filter(|depth| parents[*depth].branch == Branch::Options)
        .find_map(|depth| {
            let around = Position {
                parents: parents[..depth].to_vec(),
                nr: parents[depth].nr,
            };
            match here.workflow.instruction(&around) {
                Some(Instruction::Options {
                    stop_on_failure, ..
                }) => *stop_on_failure,
                _ => None,
            }
        });
    given.unwrap_or(false)
}
