//! Anticipation: where an order comes to by instructions that change nothing but its position, so that one event tells it.
//!
//! Always: a stop position ends the way, and so does a predicate that must not be decided before the order is started.

use crate::instructions::{self, Doing, Here, finish};
use model::{Position, Problem};

/// More hops at once are taken for a loop.
const HOPS_MAX: usize = 10_000;

/// Where the order comes to from `position`, and what happens there.
pub(crate) fn ahead(here: &Here<'_>, position: Position) -> (Position, Doing) {
    let mut position = position;
    for _ in 0..HOPS_MAX {
        let there = here.at(&position);
        if is_stop_position(&there) {
            let doing = finish::at(None, &there);
            return (position, doing);
        }
        let Some(instruction) = here.workflow.instruction(&position) else {
            let problem = Problem::plain(format!(
                "Unknown position {position} in Workflow:{}",
                here.workflow.id
            ));
            return (position, Doing::Faulty(problem));
        };
        match instructions::next(instruction, &there) {
            Doing::Goes(to) => position = to,
            doing @ (Doing::Enters(_)
            | Doing::Happens(_)
            | Doing::AtController(_)
            | Doing::AtAgent(_)
            | Doing::Job(_)
            | Doing::Joins
            | Doing::NeedsStart
            | Doing::Faulty(_)
            | Doing::Fails(_)
            | Doing::FailsAgain) => return (position, doing),
        }
    }
    let problem = Problem::plain(format!(
        "Order:{} is in a workflow loop at position {position}",
        here.order.id
    ));
    (position, Doing::Faulty(problem))
}

/// Where the order comes to from `position`.
pub(crate) fn settled(here: &Here<'_>, position: Position) -> Position {
    ahead(here, position).0
}

fn is_stop_position(here: &Here<'_>) -> bool {
    let order = here.order;
    if order.stop_positions.is_empty() || (order.is_resumed && order.position == *here.position) {
        return false;
    }
    let normalized = here.position.normalized();
    order
        .stop_positions
        .iter()
        .any(|stop| stop.normalized() == normalized)
}
