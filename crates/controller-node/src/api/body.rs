//! Reads request bodies. One pass over the bytes determines, before a body is parsed, what parsing it takes.
//!
//! Always: a large body is measured and parsed on a thread for blocking work, and only few are parsed at once. A body with too many values,
//! lines or elements is refused before any part of it is parsed.
//! Never here: the size of a body in bytes; see `net::BodyLimit`.

use super::{Api, TURN};
use axum::http::StatusCode;
use bytes::Bytes;
use model::bounds::ORDERS_PER_REQUEST_MAX;
use net::{Caller, LARGE_BODY, Problem, Refusal, Share};
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The maximum number of JSON values in one body. A value takes up to some hundred bytes of memory, however short its text is.
const VALUES_MAX: usize = 4_000_000;
/// The maximum number of lines in one change of items.
pub(super) const OPERATIONS_MAX: usize = 100_000;
/// The maximum number of unreadable lines that the answer names.
const FAULTS_MAX: usize = 100;

/// What a body consists of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Extent {
    /// The approximate number of JSON values.
    values: usize,
    /// The number of lines that are not empty.
    lines: usize,
    /// The number of elements of the outermost array; 0 if the body is something else.
    elements: usize,
}

/// What a body is a list of, which determines how many elements it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// A single thing.
    One,
    /// Orders or their ids, one per line or as elements of an array.
    Orders,
    /// Operations on items, one per line.
    Operations,
}

/// Parses a body. The caller must hold the share of a large body until the request has been answered.
pub(super) async fn read<T: Send + 'static>(
    api: &Api,
    caller: &Caller,
    body: Bytes,
    expected: Expected,
    parse: impl FnOnce(&[u8]) -> Result<T, Refusal> + Send + 'static,
) -> Result<(T, Option<Share>), Refusal> {
    if body.len() < LARGE_BODY {
        return Ok((parse(&body)?, None));
    }
    let share = api.0.quotas.large_bodies.wait(caller, 1, TURN).await?;
    let parsed = tasks::spawn_blocking(move || {
        check(&body, expected)?;
        parse(&body)
    });
    let parsed = parsed
        .await
        .map_err(|error| Problem::uncoded(format!("cannot read the body: {error}")))?;
    Ok((parsed?, Some(share)))
}

fn check(body: &[u8], expected: Expected) -> Result<(), Refusal> {
    let extent = extent(body);
    let (count, max, code, what) = match expected {
        Expected::Orders => (
            extent.elements.max(extent.lines),
            ORDERS_PER_REQUEST_MAX,
            "TooManyOrders",
            "orders",
        ),
        Expected::Operations => (
            extent.lines,
            OPERATIONS_MAX,
            "TooManyOperations",
            "operations on items",
        ),
        Expected::One => (0, 1, "", ""),
    };
    if count > max {
        if expected == Expected::Orders
            && let Some(message) = repeated(body)
        {
            return Err(Problem::new("DuplicateKey", message).into());
        }
        let message = format!(
            "the body has {count} {what}, more than the {max} that one request may have; use several requests"
        );
        return Err(refused(code, message, max));
    }
    if extent.values > VALUES_MAX {
        let message = format!(
            "the body has about {} JSON values, more than the {VALUES_MAX} that one request may have; use several requests, or shorter lists and objects",
            extent.values
        );
        return Err(refused("BodyIsTooLarge", message, VALUES_MAX));
    }
    Ok(())
}

/// Returns the message about orders that the lines of the body name several times. Returns `None` if there are too many different orders.
/// Keeps only the ids, up to that number.
fn repeated(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow)]
        id: Cow<'a, str>,
    }
    let mut counts: BTreeMap<Cow<'_, str>, usize> = BTreeMap::new();
    let lines = body.split(|byte| *byte == b'\n');
    for line in lines.filter(|line| !line.iter().all(u8::is_ascii_whitespace)) {
        let named: Named<'_> = serde_json::from_slice(line).ok()?;
        *counts.entry(named.id).or_default() += 1;
        if counts.len() > ORDERS_PER_REQUEST_MAX {
            return None;
        }
    }
    let repeated = counts.iter().filter(|(_, count)| **count > 1);
    let named: Vec<String> = repeated
        .take(FAULTS_MAX)
        .map(|(id, count)| format!("{count}×Order:{id}"))
        .collect();
    (!named.is_empty()).then(|| format!("Unexpected duplicates: {}", named.join(", ")))
}

fn refused(code: &'static str, message: String, limit: usize) -> Refusal {
    Problem::new(code, message)
        .with("limit", limit.to_string())
        .status(StatusCode::PAYLOAD_TOO_LARGE)
}

/// Measures a body without parsing it. The numbers mean nothing for a text that is not JSON.
fn extent(body: &[u8]) -> Extent {
    let mut extent = Extent::default();
    let (mut depth, mut is_in_string, mut is_escaped) = (0_usize, false, false);
    let mut is_array = false;
    let mut is_line = false;
    for byte in body {
        if is_in_string {
            match byte {
                _ if is_escaped => is_escaped = false,
                b'\\' => is_escaped = true,
                // A line break ends a string that was not closed, because each line is read on its own.
                b'"' | b'\n' => is_in_string = false,
                _ => {}
            }
            if *byte != b'\n' {
                continue;
            }
        }
        match byte {
            b'"' => is_in_string = true,
            b'[' | b'{' => {
                is_array |= depth == 0 && extent.values == 0 && *byte == b'[';
                depth += 1;
                extent.values += 1;
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b',' => {
                extent.values += 1;
                if depth == 1 && is_array {
                    extent.elements += 1;
                }
            }
            b'\n' => {
                extent.lines += usize::from(is_line);
                is_line = false;
            }
            _ => {}
        }
        is_line |= !byte.is_ascii_whitespace();
    }
    extent.lines += usize::from(is_line);
    extent.elements += usize::from(is_array);
    if is_array {
        // The number of lines of an array means nothing.
        extent.lines = 0;
    }
    extent
}

/// Parses each line that is not empty. Names the first lines that cannot be read.
pub(super) fn lines<T>(
    body: &[u8],
    parse: impl Fn(&[u8]) -> Result<T, serde_json::Error>,
) -> Result<Vec<T>, Refusal> {
    let mut parsed = Vec::new();
    let mut faults = Vec::new();
    let mut more = 0_usize;
    let lines = body.split(|byte| *byte == b'\n').enumerate();
    for (number, line) in lines.filter(|(_, line)| !line.iter().all(u8::is_ascii_whitespace)) {
        match parse(line) {
            Ok(value) if faults.is_empty() => parsed.push(value),
            Ok(_) => {}
            Err(error) if faults.len() < FAULTS_MAX => {
                faults.push(format!("line {}: {error}", number + 1));
            }
            Err(_) => more += 1,
        }
    }
    if faults.is_empty() {
        return Ok(parsed);
    }
    if more > 0 {
        faults.push(format!("and {more} more lines that cannot be read"));
    }
    Err(Problem::new("InvalidJson", faults.join("\n")).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> (usize, usize) {
        let extent = extent(text.as_bytes());
        (extent.elements, extent.lines)
    }

    #[test]
    fn elements_and_lines_are_counted_without_what_stands_in_strings() {
        assert_eq!(of(r#"[{"id":"a,b\",[","x":[1,2]},{"id":"c"}]"#), (2, 0));
        assert_eq!(of("[\n 1,\n 2,\n 3\n]\n"), (3, 0));
        assert_eq!(of("{\"id\":\"a\"}\n\n{\"id\":\"b,c\"}"), (0, 2));
        assert_eq!(of(""), (0, 0));
        // A string that is not closed ends at the end of its line.
        assert_eq!(of("{\"id\":\"a\n{\"id\":\"b\"}\n"), (0, 2));
        assert_eq!(extent(br#"{"a":[0,0,0,0]}"#).values, 5);
    }

    #[test]
    fn what_is_too_much_is_refused_with_its_bound() {
        let many = vec!["{}"; ORDERS_PER_REQUEST_MAX + 1];
        let array = format!("[{}]", many.join(","));
        for text in [many.join("\n"), array] {
            let refused = check(text.as_bytes(), Expected::Orders).unwrap_err();
            assert!(refused.problem.is("TooManyOrders"), "{refused:?}");
            assert_eq!(refused.status, StatusCode::PAYLOAD_TOO_LARGE);
            assert!(refused.problem.message.contains("100001"), "{refused:?}");
        }
        let values = format!("[{}0]", "0,".repeat(VALUES_MAX));
        let refused = check(values.as_bytes(), Expected::One).unwrap_err();
        assert!(refused.problem.is("BodyIsTooLarge"), "{refused:?}");
        check(b"[1,2]", Expected::Orders).unwrap();
        // Repeated orders are named, however many there are.
        let same = "{\"id\":\"SAME\"}\n".repeat(ORDERS_PER_REQUEST_MAX + 1);
        let refused = check(same.as_bytes(), Expected::Orders).unwrap_err();
        assert!(
            refused.problem.message.contains("100001×Order:SAME"),
            "{refused:?}"
        );
    }

    #[test]
    fn lines_that_cannot_be_read_are_named_and_the_rest_is_counted() {
        let text = "x\n".repeat(FAULTS_MAX + 7);
        let parse = |line: &[u8]| serde_json::from_slice::<u8>(line);
        let refused = lines(text.as_bytes(), parse).unwrap_err();
        let message = refused.problem.message;
        assert_eq!(message.lines().count(), FAULTS_MAX + 1);
        assert!(
            message.contains("line 1: ")
                && message.ends_with("and 7 more lines that cannot be read")
        );
    }
}
