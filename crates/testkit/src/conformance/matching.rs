//! Whether what was seen is what a case expects.
//!
//! Always: only the fields that the case lists are compared; each difference is told with both sides.
//!
//! Freedoms that the cases take themselves: output events count only where they are listed, and several in a row count as one;
//! a position is written as text; a time may be told by its distance (`t1+2s`); a text ends at `…`, and `<…>` stands for anything.

use serde_json::{Map, Value};

use super::expectation::{Expected, View};
use super::position;
use crate::world::Seen;

const WRITTEN: [&str; 2] = ["OrderStdoutWritten", "OrderStderrWritten"];
const ATTACHMENT: [&str; 4] = [
    "OrderAttachable",
    "OrderAttached",
    "OrderDetachable",
    "OrderDetached",
];
/// How far a told time may be from the real one, in milliseconds.
const TOLERANCE: i64 = 200;

/// The events of an order as the case looks at them.
pub(crate) fn viewed(events: Vec<Seen>, expected: &[Expected], view: View) -> Vec<Seen> {
    let is_listed = |kind: &str| expected.iter().any(|event| event.name == kind);
    let mut seen: Vec<Seen> = Vec::new();
    let mut events = events;
    if view != View::Whole {
        // The list begins with the process.
        let begin = events
            .iter()
            .position(|event| event.kind == "OrderProcessingStarted");
        events.drain(..begin.unwrap_or(0));
    }
    for event in events {
        if view != View::Whole && ATTACHMENT.contains(&event.kind.as_str()) {
            continue;
        }
        if WRITTEN.contains(&event.kind.as_str()) {
            if view == View::WithoutAttachmentAndOutput || !is_listed(&event.kind) {
                continue;
            }
            if let Some(last) = seen.last_mut()
                && last.kind == event.kind
            {
                append_chunk(last, &event);
                continue;
            }
        }
        seen.push(event);
    }
    seen
}

fn append_chunk(last: &mut Seen, event: &Seen) {
    let both =
        [&last.json["chunk"], &event.json["chunk"]].map(|chunk| chunk.as_str().unwrap_or(""));
    last.json["chunk"] = Value::String(both.concat());
}

/// What differs, in one text; nothing if all is as expected.
pub(crate) fn difference(order: &str, seen: &[Seen], expected: &[Expected]) -> Option<String> {
    let mut faults = Vec::new();
    for (index, event) in expected.iter().enumerate() {
        let Some(actual) = seen.get(index) else {
            break;
        };
        if let Err(fault) = matches(actual, event) {
            faults.push(format!("event {} of {order}: {fault}", index + 1));
        }
    }
    if seen.len() != expected.len() {
        faults.push(format!(
            "{order} has {} events instead of {}",
            seen.len(),
            expected.len()
        ));
    }
    if faults.is_empty() {
        return None;
    }
    let expected: Vec<&str> = expected.iter().map(|event| event.name.as_str()).collect();
    Some(format!(
        "{}\n  expected {}\n  seen     {}",
        faults.join("\n"),
        expected.join(" "),
        seen.iter().map(brief).collect::<Vec<_>>().join(" ")
    ))
}

fn brief(seen: &Seen) -> String {
    let mut text = seen.kind.clone();
    for field in ["to", "movedTo", "position"] {
        if let Some(position) = position::text_of(&seen.json[field]) {
            text.extend(["(", &position, ")"]);
        }
    }
    if let Some(outcome) = seen.json.get("outcome") {
        text.push_str(&outcome.to_string());
    }
    text
}

pub(crate) fn matches(seen: &Seen, expected: &Expected) -> Result<(), String> {
    if seen.kind != expected.name {
        return Err(format!("{} instead of {}", brief(seen), expected.name));
    }
    for (name, value) in &expected.fields {
        if name == "delayedUntil" || name == "until" {
            time_matches(seen, &seen.json[name], value)?;
            continue;
        }
        let actual = field_of(&seen.json, name);
        if !field_matches(&actual, value) {
            return Err(format!(
                "{}.{name} is {actual} instead of {value}",
                seen.kind
            ));
        }
    }
    Ok(())
}

/// Some fields have a shorter form in the cases.
fn field_of(object: &Value, name: &str) -> Value {
    let value = &object[name];
    match (name, value) {
        ("to" | "movedTo" | "position", Value::Array(_)) => {
            position::text_of(value).map_or(Value::Null, Value::String)
        }
        ("children", Value::Array(children)) => children
            .iter()
            .map(|child| child.get("orderId").unwrap_or(child).clone())
            .collect(),
        // A disrupted outcome's problem.
        ("problem", Value::Null) => object["reason"]["problem"].clone(),
        _ => value.clone(),
    }
}

pub(crate) fn field_matches(actual: &Value, expected: &Value) -> bool {
    match (actual, expected) {
        (_, Value::String(text)) if text.starts_with('<') && text.ends_with('>') => true,
        // A problem is named by its code or by words of its message.
        (Value::Object(problem), Value::String(text)) => problem_matches(problem, text),
        (Value::Object(_), Value::Object(fields)) => fields
            .iter()
            .all(|(name, value)| field_matches(&field_of(actual, name), value)),
        (Value::Array(actual), Value::Array(expected)) => {
            actual.len() == expected.len()
                && actual
                    .iter()
                    .zip(expected)
                    .all(|(actual, expected)| field_matches(actual, expected))
        }
        (Value::String(actual), Value::String(expected)) => text_matches(actual, expected),
        (Value::Number(actual), Value::Number(expected)) => actual.as_f64() == expected.as_f64(),
        _ => actual == expected,
    }
}

fn problem_matches(problem: &Map<String, Value>, text: &str) -> bool {
    let part = |name: &str| problem.get(name).and_then(Value::as_str);
    part("code").is_some_and(|code| text.split([' ', '(', ':']).next() == Some(code))
        || part("message").is_some_and(|message| text_matches(message, text))
}

/// The whole text, or what stands before `…`, contained in the actual one.
pub(crate) fn text_matches(actual: &str, expected: &str) -> bool {
    let expected = expected.split('…').next().unwrap_or(expected);
    let expected = expected.split("~<").next().unwrap_or(expected);
    actual.contains(expected.trim_end())
}

fn time_matches(seen: &Seen, actual: &Value, expected: &Value) -> Result<(), String> {
    let Some(text) = expected.as_str() else {
        return Ok(());
    };
    let Some((_, distance)) = text.split_once('+').filter(|_| text.starts_with('t')) else {
        return Ok(());
    };
    let seconds: i64 = distance
        .trim_end_matches('s')
        .trim()
        .parse()
        .map_err(|error| format!("the case tells a time as {text}: {error}"))?;
    let Some(at) = actual.as_i64() else {
        return Err(format!("{} has no time but should be {text}", seen.kind));
    };
    let off = at - seen.at - seconds * 1000;
    if off.abs() > TOLERANCE {
        return Err(format!("{} is {off} ms off {text}", seen.kind));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn seen(json: &Value) -> Seen {
        Seen::from_line(json.to_string().as_bytes()).unwrap()
    }

    fn expected(json: &Value) -> Expected {
        Expected::read(json).unwrap()
    }

    #[test]
    fn only_listed_fields_are_compared() {
        let processed = seen(&json!({"eventId": 1, "Key": "A", "TYPE": "OrderProcessed",
            "outcome": {"TYPE": "Succeeded", "namedValues": {"returnCode": 0, "x": 1}}}));
        let told = |code: i64| {
            expected(
                &json!({"OrderProcessed": {"outcome": {"TYPE": "Succeeded", "namedValues": {"returnCode": code}}}}),
            )
        };
        assert_eq!(matches(&processed, &told(0)), Ok(()));
        assert!(matches(&processed, &told(1)).is_err());
        assert!(matches(&processed, &expected(&json!("OrderMoved"))).is_err());
    }

    #[test]
    fn a_problem_is_named_by_code_or_message() {
        let problem = json!({"code": "ProcessLostDueToRestart", "message": "the process is lost"});
        assert!(field_matches(&problem, &json!("ProcessLostDueToRestart")));
        assert!(field_matches(&problem, &json!("process is lost")));
        assert!(!field_matches(&problem, &json!("ProcessLost")));
    }

    #[test]
    fn a_missing_or_further_event_is_a_difference() {
        let added = seen(&json!({"eventId": 1, "Key": "A", "TYPE": "OrderAdded"}));
        let list = [expected(&json!("OrderAdded"))];
        assert_eq!(difference("A", std::slice::from_ref(&added), &list), None);
        assert!(difference("A", &[], &list).is_some());
        assert!(difference("A", &[added.clone(), added], &list).is_some());
    }

    #[test]
    fn a_told_distance_is_measured_from_the_event() {
        let retrying = seen(
            &json!({"eventId": 5_000_000, "Key": "A", "TYPE": "OrderRetrying", "delayedUntil": 6_000}),
        );
        let told = |text: &str| expected(&json!({"OrderRetrying": {"delayedUntil": text}}));
        assert_eq!(matches(&retrying, &told("t1+1s")), Ok(()));
        assert!(matches(&retrying, &told("t1+2s")).is_err());
    }
}
