//! What one evaluation may cost: levels of nested evaluation (the stack), steps (time), and length of text (memory).
//! Always: an expression that asks for more fails with a message; it never takes the process down. Evaluations started
//! by a scope on behalf of another one (a default that mentions variables) count as part of it: the counters are kept
//! per thread, because a scope lies between the two, and start anew with each outermost evaluation.

use std::cell::Cell;

use crate::error::EvalError;

/// Levels of syntax trees under evaluation at a time. The tests evaluate up to it on a stack of 2 MiB.
pub(crate) const LEVELS_MAX: u32 = 600;
/// Nodes evaluated, plus elements copied or compared.
const STEPS_MAX: u64 = 2_000_000;
/// Bytes of a text.
pub(crate) const TEXT_MAX: usize = 16 << 20;

thread_local! {
    static SPENT: Cell<Spent> = const { Cell::new(Spent { levels: 0, steps: 0 }) };
}

#[derive(Clone, Copy)]
struct Spent {
    levels: u32,
    steps: u64,
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
        let steps = if now.levels == 0 { 0 } else { now.steps };
        if now.levels + levels > LEVELS_MAX {
            return Err(EvalError::new(
                "Evaluation is nested too deeply; does a function or variable use itself?",
            ));
        }
        spent.set(Spent {
            levels: now.levels + levels,
            steps,
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
        if steps > STEPS_MAX {
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

/// Appends to a text under construction, and pays for the piece.
pub(crate) fn append(text: &mut String, piece: &str) -> Result<(), EvalError> {
    if text.len() + piece.len() > TEXT_MAX {
        return charge_text(usize::MAX);
    }
    charge(piece.len() / 64)?;
    text.push_str(piece);
    Ok(())
}
