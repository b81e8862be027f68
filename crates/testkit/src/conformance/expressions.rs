//! Cases that are a table of expressions with their values.

use anyhow::{Context as _, Result, bail, ensure};
use expr::{EvalError, Expr, NamedValues, Value};

use super::case::Case;

/// What an expression came to.
enum Came {
    To(Value),
    SyntaxError(String),
    EvalError(EvalError),
}

/// Whether the case is such a table.
pub(crate) fn is_table(case: &Case) -> bool {
    case.area == "expression" && !case.given.contains_key("agents")
}

/// Evaluates each row.
pub(crate) fn judge(case: &Case) -> Result<()> {
    let variables = variables(case)?;
    let rows = case.then.get("table").and_then(serde_json::Value::as_array);
    let mut faults = Vec::new();
    let mut previous = ("", "");
    for row in rows.context("no table")? {
        let cells: Vec<&str> = row
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(serde_json::Value::as_str)
            .collect();
        let [source, told] = cells[..] else {
            bail!("a row has two cells: {row}");
        };
        let expected = if told == "same error" {
            previous.1
        } else {
            told
        };
        let came = match applied(source, previous.0, &variables) {
            Some(came) => came?,
            None => come(source, &variables),
        };
        if let Err(fault) = compare(&came, source, expected) {
            faults.push(format!("{source}: {fault}"));
        }
        if told != "same error" {
            previous = (source, told);
        }
    }
    ensure!(faults.is_empty(), "{}", faults.join("\n"));
    Ok(())
}

fn variables(case: &Case) -> Result<NamedValues> {
    let given = case
        .given
        .get("variables")
        .and_then(serde_json::Value::as_object);
    given
        .into_iter()
        .flatten()
        .map(|(name, value)| {
            let value: Value = serde_json::from_value(value.clone())?;
            Ok((name.trim_start_matches('$').into(), value))
        })
        .collect()
}

fn come(source: &str, variables: &NamedValues) -> Came {
    match Expr::parse(source) {
        Err(error) => Came::SyntaxError(error.message),
        Ok(expression) => match expression.eval(variables) {
            Ok(value) => Came::To(value),
            Err(error) => Came::EvalError(error),
        },
    }
}

/// `function (a, b) => $a + 2 * $b applied to (1, 3)`, and `same with one argument`.
fn applied(source: &str, previous: &str, variables: &NamedValues) -> Option<Result<Came>> {
    let (told, is_one_only) = match source {
        "same with one argument" => (previous, true),
        source => (source, false),
    };
    let (function, arguments) = told.strip_prefix("function ")?.split_once(" applied to ")?;
    let arguments = arguments.trim_matches(['(', ')']).split(", ");
    let arguments: Vec<Value> = arguments
        .take(if is_one_only { 1 } else { usize::MAX })
        .filter_map(|text| Some(Value::Number(text.parse::<i64>().ok()?.into())))
        .collect();
    Some(apply(function, &arguments, variables))
}

fn apply(function: &str, arguments: &[Value], variables: &NamedValues) -> Result<Came> {
    let function = Expr::parse(function)?.eval_function(variables)?;
    Ok(match function.apply(arguments, variables) {
        Ok(value) => Came::To(value),
        Err(error) => Came::EvalError(error),
    })
}

fn compare(came: &Came, source: &str, expected: &str) -> Result<()> {
    match (expected, came) {
        ("syntax error", Came::SyntaxError(_)) | ("type error", Came::EvalError(_)) => Ok(()),
        ("list with a missing element", Came::To(value)) => {
            let elements = value.as_list().unwrap_or_default();
            ensure!(elements.iter().any(Value::is_missing), "it is {value}");
            Ok(())
        }
        ("missing", Came::To(value)) => {
            ensure!(value.is_missing(), "it is {value}");
            Ok(())
        }
        (expected, Came::EvalError(error)) => {
            let Some(words) = expected.strip_prefix("error") else {
                bail!("error {error} instead of {expected}");
            };
            let words = words.trim_start_matches(':').trim_start();
            let words = words.strip_prefix("ArithmeticException: ").unwrap_or(words);
            ensure!(
                says(error.message(), words),
                "error {error} instead of {words}"
            );
            Ok(())
        }
        (expected, Came::To(value)) => {
            let expected = match expected {
                "the same, arbitrary precision" => source,
                other => other.split(" (").next().unwrap_or(other),
            };
            let text = value.to_text()?;
            ensure!(*text == *expected, "{text} instead of {expected}");
            Ok(())
        }
        (expected, Came::SyntaxError(error)) => bail!("syntax error {error} instead of {expected}"),
    }
}

/// The cases tell what an error says, not in which case and quotes.
fn says(message: &str, words: &str) -> bool {
    let plain = |text: &str| -> String {
        text.to_lowercase()
            .chars()
            .filter(|c| c.is_alphanumeric() || *c == '.')
            .collect()
    };
    let (message, told) = (plain(message), plain(words));
    message.contains(&told)
        || words
            .split([' ', '"'])
            .all(|word| message.contains(&plain(word)))
}
