//! The built-in functions: their names, parameters, and where they are computed.
//! Always: arguments may be given by position or by name. A missing argument makes the result missing, except where
//! a function says otherwise.

mod arithmetic;
mod conversion;
mod surroundings;
mod text;

use crate::error::EvalError;
use crate::eval;
use crate::node::{Dependence, Node};
use crate::scope::Scope;
use crate::value::Value;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Builtin {
    ToNumber,
    ToBoolean,
    StripMargin,
    MkString,
    Impure,
    ReplaceAll,
    Substring,
    Match,
    Min,
    Max,
    Error,
    Env,
    Now,
    ScheduledOrEmpty,
    JobResourceVariable,
    JobResourceVariables,
    ToFile,
    SubagentIds,
    UniqueOrderId,
}

/// Name, parameters with their alternative names, and how many of them are required.
type Signature = (&'static str, &'static [&'static [&'static str]], usize);

impl Builtin {
    pub(crate) const ALL: [Builtin; 19] = [
        Builtin::ToNumber,
        Builtin::ToBoolean,
        Builtin::StripMargin,
        Builtin::MkString,
        Builtin::Impure,
        Builtin::ReplaceAll,
        Builtin::Substring,
        Builtin::Match,
        Builtin::Min,
        Builtin::Max,
        Builtin::Error,
        Builtin::Env,
        Builtin::Now,
        Builtin::ScheduledOrEmpty,
        Builtin::JobResourceVariable,
        Builtin::JobResourceVariables,
        Builtin::ToFile,
        Builtin::SubagentIds,
        Builtin::UniqueOrderId,
    ];

    fn signature(self) -> Signature {
        match self {
            Builtin::ToNumber => ("toNumber", &[&["value"]], 1),
            Builtin::ToBoolean => ("toBoolean", &[&["value"]], 1),
            Builtin::StripMargin => ("stripMargin", &[&["string"]], 1),
            Builtin::MkString => ("mkString", &[&["list"]], 1),
            Builtin::Impure => ("impure", &[&["value"]], 1),
            Builtin::ReplaceAll => (
                "replaceAll",
                &[&["string"], &["pattern", "regex"], &["replacement"]],
                3,
            ),
            Builtin::Substring => ("substring", &[&["string"], &["start"], &["end"]], 2),
            Builtin::Match => (
                "match",
                &[&["string"], &["pattern", "regex"], &["replacement"]],
                3,
            ),
            Builtin::Min => ("min", &[&["a"], &["b"]], 2),
            Builtin::Max => ("max", &[&["a"], &["b"]], 2),
            Builtin::Error => ("error", &[&["message"]], 1),
            Builtin::Env => ("env", &[&["name", "key"], &["default"]], 1),
            Builtin::Now => ("now", &[&["format"], &["timezone"]], 1),
            Builtin::ScheduledOrEmpty => ("scheduledOrEmpty", &[&["format"], &["timezone"]], 1),
            Builtin::JobResourceVariable => (
                "jobResourceVariable",
                &[&["path", "jobResource"], &["name", "key", "variable"]],
                2,
            ),
            Builtin::JobResourceVariables => {
                ("jobResourceVariables", &[&["path", "jobResource"]], 1)
            }
            Builtin::ToFile => ("toFile", &[&["content"], &["pattern", "filename"]], 1),
            Builtin::SubagentIds => ("subagentIds", &[&["bundleId"]], 0),
            Builtin::UniqueOrderId => ("uniqueOrderId", &[&["pattern"]], 1),
        }
    }

    pub(crate) fn name(self) -> &'static str {
        self.signature().0
    }

    pub(crate) fn parameters(self) -> &'static [&'static [&'static str]] {
        self.signature().1
    }

    pub(crate) fn required(self) -> usize {
        self.signature().2
    }

    pub(crate) fn parameter_index(self, name: &str) -> Option<usize> {
        self.parameters()
            .iter()
            .position(|names| names.contains(&name))
    }

    pub(crate) fn of_name(name: &str) -> Option<Builtin> {
        Builtin::ALL
            .into_iter()
            .find(|builtin| builtin.name() == name)
    }

    /// The functions that may also be written behind their argument, `$x.toNumber`.
    pub(crate) fn of_suffix(name: &str) -> Option<Builtin> {
        match name {
            "toNumber" => Some(Builtin::ToNumber),
            "toBoolean" => Some(Builtin::ToBoolean),
            "stripMargin" => Some(Builtin::StripMargin),
            "mkString" => Some(Builtin::MkString),
            _ => None,
        }
    }

    /// What the function looks at, besides its arguments.
    pub(crate) fn dependence(self) -> Dependence {
        match self {
            Builtin::ToNumber
            | Builtin::ToBoolean
            | Builtin::StripMargin
            | Builtin::MkString
            | Builtin::ReplaceAll
            | Builtin::Substring
            | Builtin::Match
            | Builtin::Min
            | Builtin::Max
            | Builtin::Error => Dependence::Nothing,
            Builtin::ScheduledOrEmpty => Dependence::Order,
            Builtin::Impure
            | Builtin::Env
            | Builtin::Now
            | Builtin::JobResourceVariable
            | Builtin::JobResourceVariables
            | Builtin::ToFile
            | Builtin::SubagentIds
            | Builtin::UniqueOrderId => Dependence::World,
        }
    }
}

/// The arguments of a call, not yet evaluated.
pub(crate) struct Arguments<'a> {
    nodes: &'a [Option<Node>],
    scope: &'a dyn Scope,
}

impl Arguments<'_> {
    /// The argument's value, if the argument is given.
    fn get(&self, index: usize) -> Option<Result<Value, EvalError>> {
        self.nodes
            .get(index)?
            .as_ref()
            .map(|node| eval::eval(node, self.scope))
    }

    /// The value of a required argument. The parser has seen to it that it is given.
    fn value(&self, index: usize) -> Result<Value, EvalError> {
        self.get(index)
            .unwrap_or_else(|| Err(EvalError::new("An argument is missing")))
    }
}

pub(crate) fn call(
    builtin: Builtin,
    nodes: &[Option<Node>],
    scope: &dyn Scope,
) -> Result<Value, EvalError> {
    let arguments = &Arguments { nodes, scope };
    match builtin {
        Builtin::ToNumber => conversion::to_number(&arguments.value(0)?),
        Builtin::ToBoolean => conversion::to_boolean(&arguments.value(0)?),
        Builtin::MkString => conversion::mk_string(&arguments.value(0)?),
        Builtin::Impure => arguments.value(0),
        Builtin::Error => Err(error(&arguments.value(0)?)),
        Builtin::StripMargin => text::strip_margin(&arguments.value(0)?),
        Builtin::ReplaceAll => text::replace_all(arguments),
        Builtin::Substring => text::substring(arguments),
        Builtin::Match => text::whole_match(arguments),
        Builtin::Min => arithmetic::min(&arguments.value(0)?, &arguments.value(1)?),
        Builtin::Max => arithmetic::max(&arguments.value(0)?, &arguments.value(1)?),
        Builtin::Env => surroundings::env(arguments),
        Builtin::Now => surroundings::now(arguments),
        Builtin::ScheduledOrEmpty => surroundings::scheduled_or_empty(arguments),
        Builtin::JobResourceVariable => surroundings::job_resource_variable(arguments),
        Builtin::JobResourceVariables => surroundings::job_resource_variables(arguments),
        Builtin::ToFile => surroundings::to_file(arguments),
        Builtin::SubagentIds => surroundings::subagent_ids(arguments),
        Builtin::UniqueOrderId => surroundings::unique_order_id(arguments),
    }
}

/// An error fails even when its message is missing or no string.
fn error(message: &Value) -> EvalError {
    message
        .to_text()
        .map_or_else(|problem| problem, EvalError::new)
}
