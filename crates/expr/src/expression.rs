//! An expression: its source, its syntax tree, and what may be asked of it.
//! Always: well-formed from the moment it exists; cheap to clone; equal if the trees are equal, however they are
//! written. In JSON it is the string it was written as.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::budget;
use crate::error::{EvalError, SyntaxError};
use crate::eval;
use crate::function::Function;
use crate::functions::Builtin;
use crate::node::{Dependence, Node, Place};
use crate::number::Number;
use crate::parser;
use crate::printer;
use crate::scope::{Nothing, Scope};
use crate::symbol::Symbol;
use crate::value::Value;

/// An expression of the workflow language.
#[derive(Clone)]
pub struct Expr(Arc<Inner>);

struct Inner {
    source: Arc<str>,
    node: Node,
    /// Levels of the tree, for the bound on nested evaluation.
    depth: u32,
}

impl Expr {
    /// Reads an expression.
    pub fn parse(source: &str) -> Result<Expr, SyntaxError> {
        let (node, depth) = parser::parse(source)?;
        Ok(Expr(Arc::new(Inner {
            source: Arc::from(source),
            node,
            depth,
        })))
    }

    /// The source as it was written.
    pub fn source(&self) -> &str {
        &self.0.source
    }

    /// The expression that yields this value.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a value is an Arc at most, and callers have one to give"
    )]
    pub fn constant(value: Value) -> Expr {
        Expr::of_node(eval::node_of(&value))
    }

    /// The expression that yields this text.
    pub fn quoted(text: impl Into<Arc<str>>) -> Expr {
        Expr::of_node(Node::Text(text.into()))
    }

    pub(crate) fn of_node(node: Node) -> Expr {
        let source = Arc::from(printer::source_of(&node));
        let depth = node.depth();
        Expr(Arc::new(Inner {
            source,
            node,
            depth,
        }))
    }

    #[cfg(test)]
    pub(crate) fn node(&self) -> &Node {
        &self.0.node
    }

    // ---- Evaluation

    /// The value in this scope.
    pub fn eval(&self, scope: &dyn Scope) -> Result<Value, EvalError> {
        let _levels = budget::enter(self.0.depth)?;
        eval::eval(&self.0.node, scope)
    }

    /// The truth; any other value, also a missing one, is an error.
    pub fn eval_bool(&self, scope: &dyn Scope) -> Result<bool, EvalError> {
        eval::truth_of(&self.eval(scope)?)
    }

    /// The String; any other value is an error.
    pub fn eval_string(&self, scope: &dyn Scope) -> Result<Arc<str>, EvalError> {
        eval::text_of(&self.eval(scope)?).cloned()
    }

    /// A value that can be written down (see [`Value::kept`]).
    pub fn eval_kept(&self, scope: &dyn Scope) -> Result<Value, EvalError> {
        self.eval(scope)?.kept()
    }

    /// The value as text, whatever has a text (see [`Value::to_text`]).
    pub fn eval_text(&self, scope: &dyn Scope) -> Result<Arc<str>, EvalError> {
        self.eval(scope)?.to_text()
    }

    /// The Number; any other value is an error.
    pub fn eval_number(&self, scope: &dyn Scope) -> Result<Number, EvalError> {
        eval::number_of(&self.eval(scope)?).cloned()
    }

    /// The List; any other value is an error.
    pub fn eval_list(&self, scope: &dyn Scope) -> Result<Arc<[Value]>, EvalError> {
        let value = self.eval(scope)?;
        if let Value::List(elements) = value {
            Ok(elements)
        } else {
            Err(EvalError::mismatch("list", &value))
        }
    }

    /// The Function; any other value is an error.
    pub fn eval_function(&self, scope: &dyn Scope) -> Result<Arc<Function>, EvalError> {
        let value = self.eval(scope)?;
        if let Value::Function(function) = value {
            Ok(function)
        } else {
            Err(EvalError::mismatch("function", &value))
        }
    }

    // ---- Questions about the expression

    /// Whether the value is the same everywhere and always: no names, no function that looks around.
    pub fn is_constant(&self) -> bool {
        // Without names from outside, the names that are there are parameters.
        let is_closed =
            |node: &Node| matches!(node, Node::Name(_)) || node.dependence() == Dependence::Nothing;
        self.named_values().is_empty() && self.all(is_closed)
    }

    /// The value of a constant expression; none if it is not constant.
    pub fn as_constant(&self) -> Option<Result<Value, EvalError>> {
        self.is_constant().then(|| self.eval(&Nothing))
    }

    /// Whether it may be evaluated early for an order: neither the clock, the environment, a job resource, nor anything
    /// else that changes independently of the order has a part in it, in no branch and under no operator.
    pub fn is_pure(&self) -> bool {
        self.all(|node| node.dependence() < Dependence::World)
    }

    /// The variables mentioned as `$name` or `variable('name')`, without the parameters of functions.
    pub fn named_values(&self) -> BTreeSet<Arc<str>> {
        let mut names = BTreeSet::new();
        self.0.node.free_names(&mut Vec::new(), &mut names);
        names
    }

    /// The paths of the job resources mentioned. A computed path is not known.
    pub fn job_resources(&self) -> BTreeSet<Arc<str>> {
        self.collect(|node| {
            if let Node::JobResource { path, .. } = node {
                return Some(path);
            }
            let reads_resource = [Builtin::JobResourceVariable, Builtin::JobResourceVariables];
            if let Node::Call(builtin, arguments) = node
                && reads_resource.contains(builtin)
                && let Some(Some(Node::Text(path))) = arguments.first()
            {
                return Some(path);
            }
            None
        })
    }

    /// The labels of instructions whose results are used.
    pub fn labels(&self) -> BTreeSet<Arc<str>> {
        self.collect(|node| {
            let Node::Lookup(lookup) = node else {
                return None;
            };
            if let Place::Label(label) = &lookup.place {
                Some(label)
            } else {
                None
            }
        })
    }

    /// The jobs whose results are used.
    pub fn jobs(&self) -> BTreeSet<Arc<str>> {
        self.collect(|node| {
            let Node::Lookup(lookup) = node else {
                return None;
            };
            if let Place::Job(job) = &lookup.place {
                Some(job)
            } else {
                None
            }
        })
    }

    /// The symbols used.
    pub fn symbols(&self) -> BTreeSet<Symbol> {
        let mut symbols = BTreeSet::new();
        self.0.node.walk(&mut |node| {
            if let Node::Symbol(symbol) = node {
                symbols.insert(*symbol);
            }
        });
        symbols
    }

    fn all(&self, holds: impl Fn(&Node) -> bool) -> bool {
        let mut all = true;
        self.0.node.walk(&mut |node| all = all && holds(node));
        all
    }

    fn collect<'a>(
        &'a self,
        name_of: impl Fn(&'a Node) -> Option<&'a Arc<str>>,
    ) -> BTreeSet<Arc<str>> {
        let mut names = BTreeSet::new();
        self.0
            .node
            .walk(&mut |node| names.extend(name_of(node).cloned()));
        names
    }
}

impl PartialEq for Expr {
    fn eq(&self, other: &Expr) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.node == other.0.node
    }
}

impl Eq for Expr {}

impl fmt::Display for Expr {
    /// Prints the expression in its canonical form, which may differ from the source.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        printer::write_node(f, &self.0.node)
    }
}

impl fmt::Debug for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Expr({})", self.0.source)
    }
}

impl FromStr for Expr {
    type Err = SyntaxError;

    fn from_str(source: &str) -> Result<Expr, SyntaxError> {
        Expr::parse(source)
    }
}

impl Serialize for Expr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.source())
    }
}

impl<'de> Deserialize<'de> for Expr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Expr, D::Error> {
        let source = String::deserialize(deserializer)?;
        Expr::parse(&source)
            .map_err(|error| de::Error::custom(format!("error in expression `{source}`: {error}")))
    }
}
