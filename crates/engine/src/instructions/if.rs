//! If (and CaseWhen): the block of the first case whose predicate is true, else the other block, else on.
//!
//! A predicate that looks at nothing but the order may be decided before the order is started.

use super::{Doing, Here, OnFailure, OnReturn};
use model::{Block, Branch, Case, Problem};

pub(crate) fn next(cases: &[Case], otherwise: Option<&Block>, here: &Here<'_>) -> Doing {
    for (n, case) in (1..).zip(cases) {
        if !here.started && !case.predicate.is_pure() {
            return Doing::NeedsStart;
        }
        match case.predicate.eval_bool(&here.scope()) {
            Ok(true) => return Doing::Goes(here.position.enter(Branch::Then(n))),
            Ok(false) => {}
            Err(error) => return Doing::Faulty(Problem::plain(error.message())),
        }
    }
    Doing::Goes(if otherwise.is_some() {
        here.position.enter(Branch::Else)
    } else {
        here.position.next()
    })
}

pub(crate) fn on_return() -> OnReturn {
    OnReturn::Behind
}

pub(crate) fn on_failure() -> OnFailure {
    OnFailure::Passes
}
