//! Conversion between types, which happens only where it is asked for.

use std::sync::Arc;

use crate::budget;
use crate::error::EvalError;
use crate::eval::paid_text;
use crate::number::Number;
use crate::value::Value;

pub(super) fn to_number(value: &Value) -> Result<Value, EvalError> {
    match value {
        Value::Missing | Value::Number(_) => Ok(value.clone()),
        Value::String(text) => {
            // A text that is too long is refused before it is parsed.
            budget::charge(text.len().min(100_000) / 4)?;
            Ok(Value::Number(text.parse::<Number>()?))
        }
        Value::Boolean(truth) => Ok(Value::from(i64::from(*truth))),
        Value::List(_) | Value::Object(_) | Value::Function(_) => {
            Err(EvalError::mismatch("number", value))
        }
    }
}

/// Takes the words "true" and "false", and the numbers 1 and 0.
pub(super) fn to_boolean(value: &Value) -> Result<Value, EvalError> {
    match value {
        Value::Missing | Value::Boolean(_) => Ok(value.clone()),
        Value::String(text) if &**text == "true" => Ok(Value::Boolean(true)),
        Value::String(text) if &**text == "false" => Ok(Value::Boolean(false)),
        Value::Number(number) if *number == Number::from(1) => Ok(Value::Boolean(true)),
        Value::Number(number) if *number == Number::from(0) => Ok(Value::Boolean(false)),
        Value::String(_) | Value::Number(_) => {
            let text: String = value.to_text()?.chars().take(100).collect();
            Err(EvalError::new(format!("Not a valid Boolean: {text}")))
        }
        Value::List(_) | Value::Object(_) | Value::Function(_) => {
            Err(EvalError::mismatch("boolean", value))
        }
    }
}

/// Joins the texts of the list's elements. Any other value is treated as a list with this value only. The text of a
/// missing value is empty.
pub(super) fn mk_string(value: &Value) -> Result<Value, EvalError> {
    let Value::List(elements) = value else {
        return paid_text(value).map(Value::String);
    };
    let mut text = String::new();
    for element in &**elements {
        budget::charge(1)?;
        budget::append(&mut text, &paid_text(element)?)?;
    }
    Ok(Value::String(Arc::from(text)))
}
