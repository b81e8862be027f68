//! The result for people: a table on the terminal, a page of the documentation.

use std::fmt::Write as _;

use super::outcome::{Judged, Verdict};
use super::suite::Suite;

/// The result as lines.
pub fn table(suite: &Suite) -> String {
    let mut text = String::new();
    for judged in &suite.judged {
        let word = match &judged.verdict {
            Verdict::Passed if judged.replaced.is_some() => "replaced",
            Verdict::Passed => "passed",
            Verdict::Failed(_) => "FAILED",
            Verdict::NotYet(_) => "not yet",
        };
        let took = match judged.verdict {
            Verdict::NotYet(_) => String::new(),
            Verdict::Passed | Verdict::Failed(_) => format!("{:.1} s", judged.took.as_secs_f64()),
        };
        // Writing to a String does not fail.
        let _infallible = writeln!(text, "{:6} {word:8} {took:>7}  {}", judged.id, judged.title);
        if let Verdict::Failed(why) = &judged.verdict {
            for line in why.lines() {
                let _infallible = writeln!(text, "         │ {line}");
            }
        }
    }
    let (passed, failed, not_yet) = suite.counts();
    let _infallible = writeln!(
        text,
        "conformance: {passed} passed ({} of them replaced), {failed} failed, {not_yet} not yet supported",
        suite.replaced()
    );
    text
}

/// The intended differences from JS7.
const DIFFERENCES: &str = include_str!("../../conformance/differences.md");

/// The page `docs/conformance.md`.
pub fn documentation(suite: &Suite) -> String {
    let (passed, failed, not_yet) = suite.counts();
    let replaced = suite.replaced();
    let mut text = format!(
        "# Conformance\n\n\
         The cases in `crates/testkit/conformance/cases.yaml` say what users of JS7 rely on: items, orders, commands and faults go in, \
         events in order come out. `cargo xtask conformance` drives them through the public API; this page is written by \
         `cargo xtask conformance --write-docs`.\n\n\
         {passed} passed ({replaced} of them replaced), {failed} failed, {not_yet} not yet supported.\n\n\
         A case is driven by the expression language alone, by real processes with the steps as they stand in the case, or by real \
         processes with steps written down for it because the case tells them in prose. Where Mainspring goes another way on purpose, \
         the case is *replaced*: its steps are driven, and what happens instead is judged.\n\n\
         | case | level | what | driven by | result |\n|---|---|---|---|---|\n"
    );
    for judged in &suite.judged {
        let _infallible = writeln!(
            text,
            "| {} | {} | {} | {} | {} |",
            judged.id,
            judged.level,
            judged.title.replace('|', "\\|"),
            judged.how.name(),
            result_of(judged)
        );
    }
    text + DIFFERENCES
}

fn result_of(judged: &Judged) -> String {
    match (&judged.verdict, &judged.replaced) {
        (Verdict::Passed, Some(instead)) => format!("passed, replaced: {instead}"),
        (Verdict::Passed, None) => "passed".to_owned(),
        (Verdict::Failed(_), _) => "**failed**".to_owned(),
        (Verdict::NotYet(reason), _) => format!("not yet: {reason}"),
    }
}
