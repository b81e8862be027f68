//! What an expression can see of the world around it.
//! A scope answers per kind of question; `None` means "unknown to me", and the next scope of a chain is asked.
//! The caller may rely on: a scope is asked only for what the evaluation really needs, so answers may be lazy and costly.
//! The implementer owes: the same answer to the same question within one evaluation.
//!
//! The predefined variables `$js7OrderId`, `$js7EpochMilli`, … are ordinary named values that the caller's scope
//! answers; a symbol no scope knows (`orderId`) is looked up as its predefined variable.

use std::sync::Arc;

use crate::error::EvalError;
use crate::symbol::Symbol;
use crate::value::{NamedValues, Value};

/// An answer, or none.
pub type Answer = Option<Result<Value, EvalError>>;

/// The instruction whose result is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum At<'a> {
    /// The instruction with this label.
    Label(&'a str),
    /// The instruction that executes this job.
    Job(&'a str),
}

/// What an expression can see. All questions have the default answer "unknown".
pub trait Scope {
    /// `$name`: the order's arguments, then results, then whatever the place provides.
    fn named_value(&self, _name: &str) -> Answer {
        None
    }

    /// `argument('name')`: the order's arguments only.
    fn argument(&self, _name: &str) -> Answer {
        None
    }

    /// `variable('name', label=L)`, `variable('name', job=J)`: the last result of that instruction.
    fn variable_at(&self, _name: &str, _at: At<'_>) -> Answer {
        None
    }

    /// `orderId`, `tryCount`, …
    fn symbol(&self, _symbol: Symbol) -> Answer {
        None
    }

    /// `JobResource:path:variable`; without variable an object of all.
    fn job_resource(&self, _path: &str, _variable: Option<&str>) -> Answer {
        None
    }

    /// The process environment. The outer `None` means that there is none here, the inner one that the variable is
    /// not set.
    fn env(&self, _name: &str) -> Option<Option<Arc<str>>> {
        None
    }

    /// Milliseconds since the epoch.
    fn now(&self) -> Option<i64> {
        None
    }

    /// The order's scheduled time in milliseconds since the epoch; the inner `None` is an order without.
    fn scheduled_for(&self) -> Option<Option<i64>> {
        None
    }

    /// The time zone of formatted times that name none. Without an answer it is UTC.
    fn time_zone(&self) -> Option<Arc<str>> {
        None
    }

    /// Writes `content` to a temporary file and answers its path. `pattern` is a file name with a `*` for the unique part.
    fn to_file(&self, _content: &str, _pattern: &str) -> Answer {
        None
    }

    /// The ids of the Subagents of a bundle, or of all, as list.
    fn subagent_ids(&self, _bundle: Option<&str>) -> Answer {
        None
    }

    /// The first unused order id of a pattern (see `CounterPattern`).
    fn unique_order_id(&self, _pattern: &str) -> Answer {
        None
    }

    /// A parameter of a function that is being applied. Only functions answer this.
    fn parameter(&self, _name: &str) -> Option<Value> {
        None
    }
}

/// The scope that knows nothing.
#[derive(Clone, Copy, Debug)]
pub struct Nothing;

impl Scope for Nothing {}

/// Variables alone.
impl Scope for NamedValues {
    fn named_value(&self, name: &str) -> Answer {
        self.get(name).cloned().map(Ok)
    }
}

/// Scopes that are asked one after the other; the first answer counts.
#[derive(Clone, Copy)]
pub struct Chain<'a>(pub &'a [&'a dyn Scope]);

impl Scope for Chain<'_> {
    fn named_value(&self, name: &str) -> Answer {
        self.0.iter().find_map(|scope| scope.named_value(name))
    }

    fn argument(&self, name: &str) -> Answer {
        self.0.iter().find_map(|scope| scope.argument(name))
    }

    fn variable_at(&self, name: &str, at: At<'_>) -> Answer {
        self.0.iter().find_map(|scope| scope.variable_at(name, at))
    }

    fn symbol(&self, symbol: Symbol) -> Answer {
        self.0.iter().find_map(|scope| scope.symbol(symbol))
    }

    fn job_resource(&self, path: &str, variable: Option<&str>) -> Answer {
        self.0
            .iter()
            .find_map(|scope| scope.job_resource(path, variable))
    }

    fn env(&self, name: &str) -> Option<Option<Arc<str>>> {
        self.0.iter().find_map(|scope| scope.env(name))
    }

    fn now(&self) -> Option<i64> {
        self.0.iter().find_map(|scope| scope.now())
    }

    fn scheduled_for(&self) -> Option<Option<i64>> {
        self.0.iter().find_map(|scope| scope.scheduled_for())
    }

    fn time_zone(&self) -> Option<Arc<str>> {
        self.0.iter().find_map(|scope| scope.time_zone())
    }

    fn to_file(&self, content: &str, pattern: &str) -> Answer {
        self.0
            .iter()
            .find_map(|scope| scope.to_file(content, pattern))
    }

    fn subagent_ids(&self, bundle: Option<&str>) -> Answer {
        self.0.iter().find_map(|scope| scope.subagent_ids(bundle))
    }

    fn unique_order_id(&self, pattern: &str) -> Answer {
        self.0
            .iter()
            .find_map(|scope| scope.unique_order_id(pattern))
    }

    fn parameter(&self, name: &str) -> Option<Value> {
        self.0.iter().find_map(|scope| scope.parameter(name))
    }
}
