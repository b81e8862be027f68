//! `min` and `max` of two numbers.

use crate::budget;
use crate::error::EvalError;
use crate::eval::number_of;
use crate::number::Number;
use crate::value::Value;

pub(super) fn min(a: &Value, b: &Value) -> Result<Value, EvalError> {
    choose(a, b, |a, b| if b < a { b } else { a })
}

pub(super) fn max(a: &Value, b: &Value) -> Result<Value, EvalError> {
    choose(a, b, |a, b| if b > a { b } else { a })
}

fn choose(
    a: &Value,
    b: &Value,
    better: for<'a> fn(&'a Number, &'a Number) -> &'a Number,
) -> Result<Value, EvalError> {
    if a.is_missing() || b.is_missing() {
        return Ok(Value::Missing);
    }
    let (a, b) = (number_of(a)?, number_of(b)?);
    budget::charge_numbers(a.words(), b.words())?;
    Ok(Value::Number(better(a, b).clone()))
}
