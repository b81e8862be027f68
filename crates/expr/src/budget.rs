//! What one evaluation may cost: levels of nested evaluation (the stack), steps (time), and length of text (memory).
//! A step is worth about 0.1 µs. Slower operations cost more steps: texts by their length, long numbers by their digits,
//! regular expressions by their size and by the text that they may read.
//! Always: an expression that needs more fails with a message and never ends the process. An evaluation that a scope
//! starts for another one (a default that mentions variables) counts as part of the other one. The counters are kept
//! per thread, because a scope lies between the two evaluations. They restart with each outermost evaluation.

use std::cell::Cell;

use crate::error::EvalError;

/// Levels of syntax trees under evaluation at a time. The tests evaluate up to it on a stack of 2 MiB.
pub(crate) const LEVELS_MAX: u32 = 600;
/// Nodes evaluated, plus elements copied or compared.
const STEPS_MAX: u64 = 2_000_000;
/// Bytes of a text.
pub(crate) const TEXT_MAX: usize = 4 << 20;

thread_local! {
    static SPENT: Cell<Spent> = const { Cell::new(Spent { levels: 0, steps: 0, steps_max: STEPS_MAX }) };
}

#[derive(Clone, Copy)]
struct Spent {
    levels: u32,
    steps: u64,
    steps_max: u64,
}

/// Runs `work` with one budget for all its evaluations, which is `times` the budget of a single evaluation. Without
/// this function, each evaluation of a predicate over many orders has a budget of its own.
pub fn shared<T>(times: u32, work: impl FnOnce() -> T) -> T {
    let before = SPENT.get();
    if before.levels > 0 {
        return work(); // within an evaluation its budget counts
    }
    SPENT.set(Spent {
        levels: 1,
        steps: 0,
        steps_max: STEPS_MAX * u64::from(times),
    });
    let _level = Levels(1);
    work()
}

/// Gives the levels back at the end of an evaluation.
pub(crate) struct Levels(u32);

impl Drop for Levels {
    fn drop(&mut self) {
        SPENT.with(|spent| {
            let now = spent.get();
            spent.set(Spent {
                levels: now.levels - self.0,
                ..now
            });
        });
    }
}

/// Takes levels for the evaluation of a tree.
pub(crate) fn enter(levels: u32) -> Result<Levels, EvalError> {
    SPENT.with(|spent| {
        let now = spent.get();
        let (steps, steps_max) = if now.levels == 0 {
            (0, STEPS_MAX)
        } else {
            (now.steps, now.steps_max)
        };
        if now.levels + levels > LEVELS_MAX {
            return Err(EvalError::new(
                "Evaluation is nested too deeply; does a function or variable use itself?",
            ));
        }
        spent.set(Spent {
            levels: now.levels + levels,
            steps,
            steps_max,
        });
        Ok(Levels(levels))
    })
}

/// Pays for steps.
pub(crate) fn charge(steps: usize) -> Result<(), EvalError> {
    SPENT.with(|spent| {
        let now = spent.get();
        let steps = now.steps.saturating_add(steps as u64);
        spent.set(Spent { steps, ..now });
        if steps > now.steps_max {
            Err(EvalError::new("Evaluation takes too many steps"))
        } else {
            Ok(())
        }
    })
}

/// Pays for the making of a text: a step per 64 bytes, and no text beyond the bound.
pub(crate) fn charge_text(length: usize) -> Result<(), EvalError> {
    if length > TEXT_MAX {
        return Err(EvalError::new(format!(
            "Text gets longer than {TEXT_MAX} bytes"
        )));
    }
    charge(length / 64)
}

/// Charges for an operation on two numbers of this many machine words each.
pub(crate) fn charge_numbers(left: usize, right: usize) -> Result<(), EvalError> {
    charge(left.saturating_mul(right) / 16)
}

/// Appends to a text under construction, and pays for the piece.
pub(crate) fn append(text: &mut String, piece: &str) -> Result<(), EvalError> {
    if text.len() + piece.len() > TEXT_MAX {
        return charge_text(usize::MAX);
    }
    charge(piece.len() / 64)?;
    text.push_str(piece);
    Ok(())
}
