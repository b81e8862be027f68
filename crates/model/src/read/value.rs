//! Plain values: texts, numbers, times, expressions, lists and maps of them.
//!
//! Always: a wrong type tells what was expected and what was found. Where people write a text or an expression, the rule is
//! in [`text_or_expression`].

use super::node::{Entry, Node, Shape};
use super::reading::Reading;
use crate::Seconds;
use expr::{Expr, Number, Value};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

/// The value is of another type than wanted.
pub(super) fn mismatch(reading: &mut Reading<'_>, node: &Node<'_>, wanted: &str) {
    mismatch_with_hint(reading, node, wanted, None);
}

fn mismatch_with_hint(
    reading: &mut Reading<'_>,
    node: &Node<'_>,
    wanted: &str,
    hint: Option<String>,
) {
    let span = match node.shape {
        // Only the bracket is marked: the whole may be long.
        Shape::List(_) | Shape::Object(_) => {
            node.span.start..(node.span.start + 1).min(node.span.end)
        }
        Shape::Null | Shape::Boolean(_) | Shape::Number(_) | Shape::Text(_) => node.span.clone(),
    };
    let message = format!("expected {wanted}, but found {}", node.describe());
    reading.fault_with_hint(&span, message, hint);
}

/// A text.
pub(super) fn text<'n>(reading: &mut Reading<'_>, node: &'n Node<'_>) -> Option<&'n str> {
    let Shape::Text(text) = &node.shape else {
        mismatch(reading, node, "a text");
        return None;
    };
    Some(text)
}

/// A text with something in it.
pub(super) fn name<'n>(reading: &mut Reading<'_>, node: &'n Node<'_>) -> Option<&'n str> {
    let name = text(reading, node)?;
    if name.is_empty() {
        reading.fault(&node.span, "a name must not be empty");
        return None;
    }
    if name.contains(char::is_control) {
        reading.fault(&node.span, "a name must not contain control characters");
        return None;
    }
    Some(name)
}

/// A name that keeps the rules `check` knows.
pub(super) fn checked<T>(
    check: impl FnOnce(&str) -> Result<T, crate::NameError>,
) -> impl FnOnce(&mut Reading<'_>, &Node<'_>) -> Option<T> {
    |reading, node| {
        let name = text(reading, node)?;
        check(name)
            .map_err(|error| reading.fault(&node.span, error.to_string()))
            .ok()
    }
}

/// True or false.
pub(super) fn boolean(reading: &mut Reading<'_>, node: &Node<'_>) -> Option<bool> {
    let Shape::Boolean(truth) = node.shape else {
        mismatch(reading, node, "true or false");
        return None;
    };
    Some(truth)
}

/// A number.
pub(super) fn number(reading: &mut Reading<'_>, node: &Node<'_>) -> Option<Number> {
    let Shape::Number(digits) = &node.shape else {
        mismatch(reading, node, "a number");
        return None;
    };
    digits
        .parse()
        .map_err(|error: expr::NumberError| reading.fault(&node.span, error.to_string()))
        .ok()
}

/// A whole number within bounds.
pub(super) fn whole(
    bounds: RangeInclusive<u32>,
) -> impl FnOnce(&mut Reading<'_>, &Node<'_>) -> Option<u32> {
    move |reading, node| {
        let number = node
            .digits()
            .and_then(|digits| digits.parse::<Number>().ok())
            .and_then(|number| number.to_i64());
        let number = number
            .and_then(|number| u32::try_from(number).ok())
            .filter(|number| bounds.contains(number));
        if number.is_none() {
            mismatch(
                reading,
                node,
                &format!("a whole number from {} to {}", bounds.start(), bounds.end()),
            );
        }
        number
    }
}

/// A time span in seconds. Nobody waits longer than a hundred years.
pub(super) fn seconds(reading: &mut Reading<'_>, node: &Node<'_>) -> Option<Seconds> {
    const SECONDS_MAX: f64 = 100.0 * 366.0 * 24.0 * 3600.0;
    let seconds = node.digits().and_then(|digits| digits.parse::<f64>().ok());
    let duration = seconds
        .filter(|seconds| *seconds <= SECONDS_MAX)
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    if duration.is_none() {
        let meant = if let Shape::Text(text) = &node.shape {
            seconds_of_span(text)
        } else {
            None
        };
        let hint = meant.map(|seconds| format!("write {seconds}"));
        mismatch_with_hint(reading, node, "a number of seconds, zero or more", hint);
    }
    duration.map(Seconds)
}

/// Returns the seconds of a time span such as `10m`, the notation of settings.
fn seconds_of_span(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim() {
        "s" | "sec" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// A constant value.
pub(super) fn constant(reading: &mut Reading<'_>, node: &Node<'_>) -> Option<Value> {
    constant_at(reading, node, 0)
}

fn constant_at(reading: &mut Reading<'_>, node: &Node<'_>, depth: usize) -> Option<Value> {
    if depth == Value::NESTING_MAX {
        reading.fault(
            &node.span,
            format!(
                "the value is nested deeper than {} levels",
                Value::NESTING_MAX
            ),
        );
        return None;
    }
    match &node.shape {
        Shape::Null => Some(Value::Missing),
        Shape::Boolean(truth) => Some(Value::Boolean(*truth)),
        Shape::Number(_) => number(reading, node).map(Value::Number),
        Shape::Text(text) => Some(Value::from(&**text)),
        Shape::List(nodes) => {
            let mut elements = Vec::with_capacity(nodes.len());
            for (n, node) in nodes.iter().enumerate() {
                elements.extend(reading.at(&n, |reading| constant_at(reading, node, depth + 1)));
            }
            Some(Value::from(elements))
        }
        Shape::Object(entries) => {
            let mut fields = BTreeMap::new();
            for entry in entries {
                let value = reading.at(&entry.name, |reading| {
                    constant_at(reading, &entry.node, depth + 1)
                });
                fields.extend(value.map(|value| (Arc::from(&*entry.name), value)));
            }
            Some(Value::from(fields))
        }
    }
}

/// An expression: a text in the expression language, or any other JSON value as a constant.
pub(super) fn expression(reading: &mut Reading<'_>, node: &Node<'_>) -> Option<Expr> {
    let Shape::Text(text) = &node.shape else {
        return constant_expression(reading, node);
    };
    Expr::parse(text)
        .map_err(|error| {
            let message = format!("not an expression: {}", error.message);
            reading.fault_inside_with_hint(node, text, &error.span, message, quoting_hint(text));
        })
        .ok()
}

/// Returns a hint how to quote the text, unless something in the text shows that an expression was meant.
fn quoting_hint(text: &str) -> Option<String> {
    const LENGTH_MAX: usize = 60;
    let is_plain = !text.contains(['$', '\'', '"', '(', '[', '{', '`', '\n']);
    (is_plain && text.len() <= LENGTH_MAX)
        .then(|| format!("a text stands in quotes of its own: \"'{text}'\""))
}

/// The expression that yields a JSON value.
pub(super) fn constant_expression(reading: &mut Reading<'_>, node: &Node<'_>) -> Option<Expr> {
    constant(reading, node).map(Expr::constant)
}

/// A place where people write a plain text as well as an expression.
///
/// It is an expression if it can be read as one and either holds one of the signs that only an expression has
/// (`$ ' " ( [ {` and the back-quote) or does not merely compute a constant of another type than a text, as `2024-01-01` or
/// `7` would. What cannot be read as an expression is the text itself, unless one of the signs in `marks` shows that an
/// expression was meant: then it is a fault.
pub(super) fn text_or_expression(
    marks: &'static [char],
) -> impl FnOnce(&mut Reading<'_>, &Node<'_>) -> Option<Expr> {
    move |reading, node| {
        let Shape::Text(text) = &node.shape else {
            return constant_expression(reading, node);
        };
        let itself = || Expr::constant(Value::from(&**text));
        match Expr::parse(text) {
            Ok(expression) if is_meant(text, &expression) => Some(expression),
            Ok(_) => Some(itself()),
            Err(_) if !text.contains(marks) && !text.starts_with(['\'', '"']) => Some(itself()),
            Err(error) => {
                reading.fault_inside(
                    node,
                    text,
                    &error.span,
                    format!("not an expression: {}", error.message),
                );
                None
            }
        }
    }
}

/// Whether an expression was meant by a text that can be read as one.
pub(super) fn is_meant(text: &str, expression: &Expr) -> bool {
    text.contains(['$', '\'', '"', '`', '(', '[', '{'])
        || !matches!(expression.as_constant(), Some(Ok(value)) if value.as_str().is_none())
}

/// The elements of a list.
pub(super) fn list<'n, 't, T>(
    reading: &mut Reading<'t>,
    node: &'n Node<'t>,
    what: &str,
    mut read: impl FnMut(&mut Reading<'t>, &'n Node<'t>) -> Option<T>,
) -> Option<Vec<T>> {
    let Shape::List(nodes) = &node.shape else {
        mismatch(reading, node, what);
        return None;
    };
    let read = nodes
        .iter()
        .enumerate()
        .map(|(n, node)| reading.at(&n, |reading| read(reading, node)));
    // All are read before any is found wanting.
    let elements: Vec<Option<T>> = read.collect();
    elements.into_iter().collect()
}

/// The fields of an object whose names are free.
pub(super) fn map<'n, 't, T>(
    reading: &mut Reading<'t>,
    node: &'n Node<'t>,
    what: &str,
    mut read: impl FnMut(&mut Reading<'t>, &'n Entry<'t>) -> Option<T>,
) -> Option<BTreeMap<Arc<str>, T>> {
    let Shape::Object(entries) = &node.shape else {
        mismatch(reading, node, what);
        return None;
    };
    let mut result = Some(BTreeMap::new());
    for entry in entries {
        let value = reading.at(&entry.name, |reading| {
            if entry.name.is_empty() {
                reading.fault(&entry.name_span, "a name must not be empty");
            }
            read(reading, entry)
        });
        match (&mut result, value) {
            (Some(map), Some(value)) => {
                map.insert(Arc::from(&*entry.name), value);
            }
            (result, _) => *result = None,
        }
    }
    result
}

/// Expressions by name.
pub(super) fn expressions<'t>(
    reading: &mut Reading<'t>,
    node: &Node<'t>,
) -> Option<BTreeMap<Arc<str>, Expr>> {
    map(
        reading,
        node,
        "an object of expressions",
        |reading, entry| expression(reading, &entry.node),
    )
}
