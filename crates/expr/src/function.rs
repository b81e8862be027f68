//! A function as value: `x => expr`, with what it saw of the parameters around it.
//! Always: a parameter hides a variable of the same name; anything else is looked up where the function is applied.
//! Never: recursion without end. Applying counts against the evaluation's budget (see `budget`).

use std::fmt;
use std::sync::Arc;

use crate::budget;
use crate::error::EvalError;
use crate::eval;
use crate::node::{Lambda, Node};
use crate::printer;
use crate::scope::{Chain, Scope};
use crate::value::{NamedValues, Value};

/// A function of the expression language.
#[derive(Clone, PartialEq, Eq)]
pub struct Function {
    pub(crate) lambda: Arc<Lambda>,
    /// Parameters of enclosing functions that the body mentions.
    pub(crate) captured: NamedValues,
}

impl Function {
    /// The names of the parameters.
    pub fn parameters(&self) -> &[Arc<str>] {
        &self.lambda.parameters
    }

    /// Applies the function to exactly as many arguments as it has parameters.
    pub fn apply(&self, arguments: &[Value], scope: &dyn Scope) -> Result<Value, EvalError> {
        let parameters = self.parameters();
        if arguments.len() != parameters.len() {
            return Err(EvalError::new(format!(
                "wrong number of arguments: {} given, {} expected",
                arguments.len(),
                parameters.len()
            )));
        }
        let _level = budget::enter(self.lambda.depth)?;
        let mut visible = self.captured.clone();
        visible.extend(parameters.iter().cloned().zip(arguments.iter().cloned()));
        let visible = Bound(visible);
        eval::eval(&self.lambda.body, &Chain(&[&visible, scope]))
    }

    /// Applies the function to the first arguments it has parameters for, as `ForkList` offers the element and its index.
    pub fn apply_to_first(
        &self,
        arguments: &[Value],
        scope: &dyn Scope,
    ) -> Result<Value, EvalError> {
        self.apply(
            &arguments[..arguments.len().min(self.parameters().len())],
            scope,
        )
    }

    /// The function as syntax. Captured parameters become the arguments of a function around it.
    pub(crate) fn to_node(&self) -> Node {
        let function = Node::Function(self.lambda.clone());
        if self.captured.is_empty() {
            return function;
        }
        let lambda = Lambda {
            parameters: self.captured.keys().cloned().collect(),
            depth: function.depth(),
            body: function,
        };
        let arguments = self.captured.values().map(eval::node_of).collect();
        Node::Apply(Box::new(Node::Function(Arc::new(lambda))), arguments)
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        printer::write_node(f, &self.to_node())
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The scope of a function's parameters.
struct Bound(NamedValues);

impl Scope for Bound {
    fn named_value(&self, name: &str) -> Option<Result<Value, EvalError>> {
        self.0.get(name).cloned().map(Ok)
    }

    fn parameter(&self, name: &str) -> Option<Value> {
        self.0.get(name).cloned()
    }
}
