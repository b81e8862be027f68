//! Try: a failure in its block is caught, and the catch block runs. Entered before the order is started.

use super::{Doing, Here, OnFailure, OnReturn};
use model::{Branch, Instruction, Try};

pub(crate) fn next(here: &Here<'_>) -> Doing {
    Doing::Goes(here.position.enter(Branch::Try(Some(0))))
}

pub(crate) fn on_return() -> OnReturn {
    OnReturn::Behind
}

/// A catch block that could only retry, and may not, catches nothing: so the order shows where it failed.
pub(crate) fn on_failure(instruction: &Try, branch: &Branch) -> OnFailure {
    let Branch::Try(n) = branch else {
        return OnFailure::Passes;
    };
    let begins_with_retry = matches!(instruction.catch.steps.first(), Some(step) if step.instruction == Instruction::Retry);
    if begins_with_retry && is_used_up(instruction, tried(branch)) {
        return OnFailure::Passes;
    }
    OnFailure::Caught(Branch::Catch(Some(n.unwrap_or(0))))
}

/// How often the block has been tried in this branch, this time included.
pub(crate) fn tried(branch: &Branch) -> u32 {
    let (Branch::Try(n) | Branch::Catch(n)) = branch else {
        return 0;
    };
    n.unwrap_or(0).saturating_add(1)
}

/// Whether the block may not be tried again.
pub(crate) fn is_used_up(instruction: &Try, tried: u32) -> bool {
    instruction.max_tries.is_some_and(|max| tried >= max)
}
