//! The implicit end of a block: on to what is behind the block's instruction; the order's end behind the outermost block.

use super::{Doing, Here, OnReturn, finish, fork, on_return};
use model::{Obstacle, Problem};

pub(crate) fn next(here: &Here<'_>) -> Doing {
    if finish::is_outermost(here.order, &here.position.parents) {
        return Doing::AtController(finish::finished(None));
    }
    let Some((parent, _branch)) = here.position.parent() else {
        return Doing::AtController(finish::finished(None));
    };
    match here.workflow.instruction(&parent).map(on_return) {
        Some(OnReturn::Behind) => Doing::Goes(parent.next()),
        Some(OnReturn::Leaves(event)) => Doing::Happens(vec![event]),
        Some(OnReturn::Joins) => Doing::Joins,
        None => Doing::Faulty(Problem::plain(format!(
            "Unknown position {parent} in Workflow:{}",
            here.workflow.id
        ))),
    }
}

pub(crate) fn waiting(here: &Here<'_>) -> Option<Obstacle> {
    (next(here) == Doing::Joins).then(|| fork::waiting_at_join(here))
}
