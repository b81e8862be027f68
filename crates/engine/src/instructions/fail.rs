//! Fail: the order fails, with a message and values if wanted, and uncatchable if wanted.

use super::{Doing, Here};
use expr::{Expr, Value};
use model::Outcome;
use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) fn next(
    message: Option<&Expr>,
    named_values: &BTreeMap<Arc<str>, Value>,
    uncatchable: bool,
    here: &Here<'_>,
) -> Doing {
    let message = match message
        .map(|message| message.eval_text(&here.scope()))
        .transpose()
    {
        Ok(message) => message,
        Err(error) => return Doing::Fails(Outcome::disrupted(Here::problem(&error))),
    };
    Doing::Fails(Outcome::Failed {
        message,
        named_values: named_values.clone(),
        uncatchable,
    })
}
