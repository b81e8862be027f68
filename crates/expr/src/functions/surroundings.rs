//! Functions that ask the scope: environment, clock, job resources, files, Subagents, order ids.

use std::sync::Arc;

use super::Arguments;
use crate::date_format;
use crate::error::EvalError;
use crate::eval::{self, text_of};
use crate::value::Value;

/// The default is evaluated only if it is needed.
pub(super) fn env(arguments: &Arguments<'_>) -> Result<Value, EvalError> {
    let name = arguments.value(0)?;
    if name.is_missing() {
        return Ok(Value::Missing);
    }
    let name = text_of(&name)?;
    match arguments.scope.env(name) {
        None => Err(EvalError::not_available("The environment")),
        Some(Some(value)) => Ok(Value::String(value)),
        Some(None) => arguments.get(1).unwrap_or_else(|| {
            Err(EvalError::new(format!(
                "No such environment variable: {name}"
            )))
        }),
    }
}

pub(super) fn now(arguments: &Arguments<'_>) -> Result<Value, EvalError> {
    let Some(now) = arguments.scope.now() else {
        return Err(EvalError::not_available("The clock"));
    };
    formatted(arguments, now)
}

pub(super) fn scheduled_or_empty(arguments: &Arguments<'_>) -> Result<Value, EvalError> {
    match arguments.scope.scheduled_for() {
        None => Err(EvalError::not_available("scheduledOrEmpty")),
        Some(None) => Ok(Value::from("")),
        Some(Some(scheduled)) => formatted(arguments, scheduled),
    }
}

/// Formats a time with the pattern and the time zone of the arguments.
fn formatted(arguments: &Arguments<'_>, epoch_milli: i64) -> Result<Value, EvalError> {
    let pattern = arguments.value(0)?;
    let zone = match arguments.get(1).transpose()? {
        Some(zone) => zone,
        None => Value::String(
            arguments
                .scope
                .time_zone()
                .unwrap_or_else(|| Arc::from("UTC")),
        ),
    };
    if pattern.is_missing() || zone.is_missing() {
        return Ok(Value::Missing);
    }
    date_format::format(epoch_milli, text_of(&pattern)?, text_of(&zone)?).map(Value::from)
}

pub(super) fn job_resource_variable(arguments: &Arguments<'_>) -> Result<Value, EvalError> {
    let (path, name) = (arguments.value(0)?, arguments.value(1)?);
    if path.is_missing() || name.is_missing() {
        return Ok(Value::Missing);
    }
    eval::job_resource(text_of(&path)?, Some(text_of(&name)?), arguments.scope)
}

pub(super) fn job_resource_variables(arguments: &Arguments<'_>) -> Result<Value, EvalError> {
    let path = arguments.value(0)?;
    if path.is_missing() {
        return Ok(Value::Missing);
    }
    eval::job_resource(text_of(&path)?, None, arguments.scope)
}

pub(super) fn to_file(arguments: &Arguments<'_>) -> Result<Value, EvalError> {
    let content = arguments.value(0)?;
    let pattern = arguments.get(1).unwrap_or_else(|| Ok(Value::from("*")))?;
    if content.is_missing() || pattern.is_missing() {
        return Ok(Value::Missing);
    }
    let content = content.to_text()?;
    let answer = arguments.scope.to_file(&content, text_of(&pattern)?);
    answer.unwrap_or_else(|| Err(EvalError::not_available("toFile")))
}

pub(super) fn subagent_ids(arguments: &Arguments<'_>) -> Result<Value, EvalError> {
    let bundle = arguments.get(0).transpose()?;
    if bundle.as_ref().is_some_and(Value::is_missing) {
        return Ok(Value::Missing);
    }
    let bundle = bundle.as_ref().map(text_of).transpose()?;
    let answer = arguments.scope.subagent_ids(bundle.map(|bundle| &**bundle));
    answer.unwrap_or_else(|| Err(EvalError::not_available("subagentIds")))
}

pub(super) fn unique_order_id(arguments: &Arguments<'_>) -> Result<Value, EvalError> {
    let pattern = arguments.value(0)?;
    if pattern.is_missing() {
        return Ok(Value::Missing);
    }
    let answer = arguments.scope.unique_order_id(text_of(&pattern)?);
    answer.unwrap_or_else(|| Err(EvalError::not_available("uniqueOrderId")))
}
