//! The expression language: no text makes the reader or the evaluator panic, hang or eat memory.
//! Always: what was read and printed reads as the same expression and prints the same again; it evaluates, in a scope that answers
//! everything and in one that answers nothing, to a value or to an error.
#![no_main]

use std::sync::Arc;

use expr::{Answer, At, CommandLine, Expr, Nothing, Scope, Symbol, Value};
use libfuzzer_sys::fuzz_target;

/// Knows every name, and tells the name itself.
struct Talkative;

impl Talkative {
    fn tells(name: &str) -> Answer {
        Some(Ok(Value::from(name)))
    }
}

impl Scope for Talkative {
    fn named_value(&self, name: &str) -> Answer {
        Self::tells(name)
    }
    fn argument(&self, name: &str) -> Answer {
        Self::tells(name)
    }
    fn variable_at(&self, name: &str, _at: At<'_>) -> Answer {
        Self::tells(name)
    }
    fn symbol(&self, _symbol: Symbol) -> Answer {
        Self::tells("symbol")
    }
    fn job_resource(&self, path: &str, _variable: Option<&str>) -> Answer {
        Self::tells(path)
    }
    fn env(&self, name: &str) -> Option<Option<Arc<str>>> {
        Some(Some(name.into()))
    }
    fn now(&self) -> Option<i64> {
        Some(1_700_000_000_000)
    }
    fn scheduled_for(&self) -> Option<Option<i64>> {
        Some(Some(1_700_000_000_000))
    }
}

fuzz_target!(|source: &str| {
    if let Ok(command_line) = CommandLine::parse(source) {
        drop(command_line.words(&Talkative));
    }
    let Ok(read) = Expr::parse(source) else {
        return;
    };
    let printed = read.to_string();
    match Expr::parse(&printed) {
        Ok(again) => {
            assert!(
                again == read,
                "{source}\nis printed as\n{printed}\nwhich is another expression"
            );
            assert_eq!(again.to_string(), printed, "printing is not stable");
        }
        Err(error) => panic!("{source}\nis printed as\n{printed}\nwhich does not read: {error}"),
    }
    drop(read.eval(&Nothing));
    drop(read.eval(&Talkative));
});
