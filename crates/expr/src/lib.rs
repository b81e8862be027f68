//! The expression language of workflows: reading, printing, checking and evaluating.
//! Always: pure. What an expression can see comes in through a [`Scope`]; there is no clock, no file, no environment
//! here. No source and no value, however hostile, takes the process down: nesting, steps and sizes are bounded.
//! Never here: which variables exist at a place (see the scopes of `engine`), and how job results become variables.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod command_line;
mod counter_pattern;
mod error;
mod expression;
mod function;
mod json;
mod number;
mod scope;
mod symbol;
mod value;

mod lexer;
mod node;
mod parser;
mod printer;

mod budget;
mod date_format;
mod eval;
mod functions;
mod java_regex;

#[cfg(test)]
mod tests;

pub use budget::shared as in_one_budget;
pub use command_line::CommandLine;
pub use counter_pattern::CounterPattern;
pub use error::{EvalError, SyntaxError};
pub use expression::Expr;
pub use function::Function;
pub use number::{Number, NumberError};
pub use scope::{Answer, At, Chain, Nothing, Scope};
pub use symbol::Symbol;
pub use value::{NamedValues, Value};
