//! Functions on text. Positions count characters from 0.

use std::sync::Arc;

use super::Arguments;
use crate::budget;
use crate::error::EvalError;
use crate::eval::{number_of, text_of};
use crate::java_regex::{JavaRegex, Replacement};
use crate::value::Value;

/// Removes, from each line, the blanks before a bar and the bar.
pub(super) fn strip_margin(value: &Value) -> Result<Value, EvalError> {
    if value.is_missing() {
        return Ok(Value::Missing);
    }
    budget::charge_text(text_of(value)?.len())?;
    let stripped: String = text_of(value)?
        .split_inclusive('\n')
        .map(|line| {
            line.trim_start_matches(|c| c <= ' ' && c != '\n')
                .strip_prefix('|')
                .unwrap_or(line)
        })
        .collect();
    Ok(Value::from(stripped))
}

pub(super) fn substring(arguments: &Arguments<'_>) -> Result<Value, EvalError> {
    let (value, start) = (arguments.value(0)?, arguments.value(1)?);
    let end = arguments.get(2).transpose()?;
    if value.is_missing() || start.is_missing() || end.as_ref().is_some_and(Value::is_missing) {
        return Ok(Value::Missing);
    }
    let text = text_of(&value)?;
    budget::charge_text(text.len())?;
    let length = text.chars().count();
    let start = position(&start, 0, length)?;
    let end = end.map_or(Ok(length), |end| position(&end, start, length))?;
    Ok(Value::from(
        text.chars()
            .skip(start)
            .take(end - start)
            .collect::<String>(),
    ))
}

fn position(value: &Value, min: usize, max: usize) -> Result<usize, EvalError> {
    let number = number_of(value)?;
    if !number.is_integer() {
        return Err(EvalError::new("Rounding necessary"));
    }
    number
        .to_i64()
        .and_then(|position| usize::try_from(position).ok())
        .filter(|position| (min..=max).contains(position))
        .ok_or_else(|| EvalError::new(format!("Index {number} out of range {min}...{max}")))
}

/// String, pattern, replacement; none if one of them is missing.
fn regex_arguments(arguments: &Arguments<'_>) -> Result<Option<[Arc<str>; 3]>, EvalError> {
    let values = [
        arguments.value(0)?,
        arguments.value(1)?,
        arguments.value(2)?,
    ];
    if values.iter().any(Value::is_missing) {
        return Ok(None);
    }
    let [text, pattern, replacement] = &values;
    budget::charge_text(text_of(text)?.len())?;
    Ok(Some([
        text_of(text)?.clone(),
        text_of(pattern)?.clone(),
        text_of(replacement)?.clone(),
    ]))
}

pub(super) fn replace_all(arguments: &Arguments<'_>) -> Result<Value, EvalError> {
    let Some([text, pattern, replacement]) = regex_arguments(arguments)? else {
        return Ok(Value::Missing);
    };
    let regex = JavaRegex::compile(&pattern)?;
    let replacement = Replacement::parse(&replacement, &regex)?;
    let mut result = String::new();
    let mut position = 0;
    for captures in regex.find_all(&text) {
        let captures = captures?;
        let whole = captures.get_match();
        budget::append(&mut result, &text[position..whole.start()])?;
        replacement.expand(&captures, &mut result)?;
        position = whole.end();
    }
    budget::append(&mut result, &text[position..])?;
    Ok(Value::from(result))
}

pub(super) fn whole_match(arguments: &Arguments<'_>) -> Result<Value, EvalError> {
    let Some([text, pattern, replacement]) = regex_arguments(arguments)? else {
        return Ok(Value::Missing);
    };
    let regex = JavaRegex::compile_whole(&pattern)?;
    let replacement = Replacement::parse(&replacement, &regex)?;
    let Some(captures) = regex.captures(&text)? else {
        let text: String = text.chars().take(100).collect();
        return Err(EvalError::new(format!("{text} does not match {pattern}")));
    };
    let mut result = String::new();
    replacement.expand(&captures, &mut result)?;
    Ok(Value::from(result))
}
