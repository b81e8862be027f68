//! Options: settings for a block. The innermost value of `stopOnFailure` applies. It also takes precedence over every
//! Try and Fork inside and around the block, see [`crate::failure`].

use super::{Doing, Here, OnFailure, OnReturn};
use model::Branch;

pub(crate) fn next(here: &Here<'_>) -> Doing {
    Doing::Goes(here.position.enter(Branch::Options))
}

pub(crate) fn on_return() -> OnReturn {
    OnReturn::Behind
}

pub(crate) fn on_failure() -> OnFailure {
    OnFailure::Passes
}
