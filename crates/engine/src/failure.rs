//! Handles an order that has failed. The order stops where `stopOnFailure` is set. Otherwise the nearest try around the
//! order catches the failure, or the order fails in its fork, or it fails.
//!
//! Always: `stopOnFailure` takes precedence over every try and over the join of a fork, as in JS7: the order stops at
//! the instruction that failed. No other failure leaves a fork's branch or the order's inner block. An Agent only
//! catches failures; the Controller does everything else. The events of leaving blocks come first, innermost block
//! first. A failed order stands before the outermost block that it has left.

use crate::instructions::{self, Here, OnFailure, finish, sticky_subagent};
use model::{Branch, Instruction, OrderEvent, Position};

/// What happens to the order of `here` that has failed at `here.position`.
pub(crate) fn handle(here: &Here<'_>, uncatchable: bool) -> Vec<OrderEvent> {
    let parents = &here.position.parents;
    if !uncatchable && let Some(moved_to) = caught_at(here) {
        // The order leaves all blocks inside of the try block. The catch block is as deep as the try block.
        let mut events = sticky_subagent::leaves(parents, moved_to.parents.len());
        events.push(OrderEvent::OrderCaught { moved_to });
        return events;
    }
    if !here.site().is_controller() {
        return vec![OrderEvent::OrderDetachable];
    }
    if stops_on_failure(here) {
        return vec![OrderEvent::OrderStopped];
    }
    let is_to_join = here.order.parent.is_some() && joins_if_failed(here);
    let barrier = finish::barrier(here.order, parents);
    let mut events = sticky_subagent::leaves(parents, barrier);
    let moved_to =
        sticky_subagent::outermost(parents, barrier).unwrap_or_else(|| here.position.clone());
    events.push(if is_to_join {
        OrderEvent::OrderFailedInFork { moved_to }
    } else {
        OrderEvent::OrderFailed { moved_to }
    });
    events
}

/// The catch block that takes a failure at `here.position`.
pub(crate) fn caught_at(here: &Here<'_>) -> Option<Position> {
    if stops_on_failure(here) {
        return None;
    }
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

/// Returns whether the innermost fork around the order joins children that have failed.
pub(crate) fn joins_if_failed(here: &Here<'_>) -> bool {
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
