//! Which return codes are a success: `{"success": "0,4..6"}`, `{"failure": "1..99"}`, with lists and pairs of numbers too.
//!
//! Always: `"failure": ""` and `"failure": "none"` mean that no code is a failure. A code that is only a warning is a success.

use super::fields::Fields;
use super::node::{Node, Shape};
use super::reading::Reading;
use super::value::mismatch;
use crate::ReturnCodeMeaning;

type Ranges = Vec<(i64, i64)>;

pub(super) fn return_code_meaning<'t>(
    reading: &mut Reading<'t>,
    node: &Node<'t>,
) -> Option<ReturnCodeMeaning> {
    let mut fields = Fields::of(reading, node, "a return code meaning")?;
    let (has_success, has_failure) = (fields.has(&["success"]), fields.has(&["failure"]));
    let success = fields.optional(reading, &["success"], ranges);
    let failure = fields.optional(reading, &["failure"], ranges);
    let warning = fields.optional(reading, &["warning"], ranges);
    if has_success && has_failure {
        let hint = Some("give only one of them: all other codes mean the opposite".to_owned());
        reading.fault_with_hint(
            &fields.span().clone(),
            "both \"success\" and \"failure\" are given",
            hint,
        );
    }
    fields.finish(reading);
    if has_failure {
        return Some(ReturnCodeMeaning::Failure(failure?));
    }
    let mut codes = if has_success { success? } else { vec![(0, 0)] };
    codes.extend(warning.unwrap_or_default());
    Some(ReturnCodeMeaning::Success(codes))
}

fn ranges<'t>(reading: &mut Reading<'t>, node: &Node<'t>) -> Option<Ranges> {
    match &node.shape {
        Shape::Number(_) => Some(vec![single(reading, node)?]),
        Shape::Text(text) if text.trim().is_empty() || &**text == "none" => Some(Vec::new()),
        Shape::Text(text) => {
            let ranges: Option<Ranges> = text.split(',').map(|part| range(part.trim())).collect();
            if ranges.is_none() {
                wrong(reading, node);
            }
            ranges
        }
        Shape::List(nodes) => {
            let read = nodes
                .iter()
                .enumerate()
                .map(|(n, node)| reading.at(&n, |reading| element(reading, node)));
            read.collect::<Vec<Option<Ranges>>>()
                .into_iter()
                .collect::<Option<Vec<Ranges>>>()
                .map(|all| all.concat())
        }
        Shape::Null | Shape::Boolean(_) | Shape::Object(_) => {
            wrong(reading, node);
            None
        }
    }
}

/// A number, a pair of them, or a text as it stands between commas.
fn element(reading: &mut Reading<'_>, node: &Node<'_>) -> Option<Ranges> {
    let pair = match &node.shape {
        Shape::List(pair) => match pair.as_slice() {
            [from, to] => code(from).zip(code(to)).filter(|(from, to)| from <= to),
            _ => None,
        },
        Shape::Text(text) => range(text.trim()),
        Shape::Number(_) => single(reading, node),
        Shape::Null | Shape::Boolean(_) | Shape::Object(_) => None,
    };
    if pair.is_none() && !matches!(node.shape, Shape::Number(_)) {
        wrong(reading, node);
    }
    Some(vec![pair?])
}

fn single(reading: &mut Reading<'_>, node: &Node<'_>) -> Option<(i64, i64)> {
    let code = code(node);
    if code.is_none() {
        wrong(reading, node);
    }
    code.map(|code| (code, code))
}

fn code(node: &Node<'_>) -> Option<i64> {
    let Shape::Number(digits) = &node.shape else {
        return None;
    };
    digits.parse().ok()
}

fn range(text: &str) -> Option<(i64, i64)> {
    match text.split_once("..") {
        None => text.parse().ok().map(|code| (code, code)),
        Some((from, to)) => from
            .parse()
            .ok()
            .zip(to.parse().ok())
            .filter(|(from, to): &(i64, i64)| from <= to),
    }
}

fn wrong(reading: &mut Reading<'_>, node: &Node<'_>) {
    mismatch(
        reading,
        node,
        "return codes such as \"0,4..6\" or [0, [4, 6]]",
    );
}
