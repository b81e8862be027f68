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
use crate::node::{Node, Place};
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

/// Variables that tell another value every time they are asked.
const VOLATILE_NAMES: [&str; 10] = [
    "epochMilli",
    "js7EpochMilli",
    "js7EpochSecond",
    "js7CpuLoad",
    "js7CommittedVirtualMemorySize",
    "js7FreeMemorySize",
    "js7TotalMemorySize",
    "js7SubagentProcessCount",
    "js7ClusterProcessCount",
    "js7ClusterSubagentProcessCount",
];

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
        match self.eval(scope)? {
            Value::List(elements) => Ok(elements),
            other => Err(EvalError::mismatch("list", &other)),
        }
    }

    /// The Function; any other value is an error.
    pub fn eval_function(&self, scope: &dyn Scope) -> Result<Arc<Function>, EvalError> {
        match self.eval(scope)? {
            Value::Function(function) => Ok(function),
            other => Err(EvalError::mismatch("function", &other)),
        }
    }

    // ---- Questions about the expression

    /// Whether the value is the same everywhere and always: no names, no function that looks around.
    pub fn is_constant(&self) -> bool {
        self.named_values().is_empty()
            && self.all(|node| match node {
                Node::Symbol(_) | Node::JobResource { .. } => false,
                // A variable under a computed name, or of a place.
                Node::Lookup(_) => false,
                Node::Call(builtin, _) => builtin.is_closed(),
                _ => true,
            })
    }

    /// The value of a constant expression; none if it is not constant.
    pub fn as_constant(&self) -> Option<Result<Value, EvalError>> {
        self.is_constant().then(|| self.eval(&Nothing))
    }

    /// Whether it may be evaluated early for an order: neither the clock, the environment, a job resource, nor anything
    /// else that changes independently of the order has a part in it, in no branch and under no operator.
    pub fn is_pure(&self) -> bool {
        let is_volatile = |name: &str| VOLATILE_NAMES.contains(&name);
        self.all(|node| match node {
            Node::JobResource { .. } => false,
            Node::Call(builtin, _) => builtin.is_pure(),
            Node::Name(name) => !is_volatile(name),
            Node::Lookup(lookup) => match &lookup.key {
                Node::Text(name) => !is_volatile(name),
                _ => true,
            },
            _ => true,
        })
    }

    /// The variables mentioned as `$name` or `variable('name')`, without the parameters of functions.
    pub fn named_values(&self) -> BTreeSet<Arc<str>> {
        let mut names = BTreeSet::new();
        self.0.node.free_names(&mut Vec::new(), &mut names);
        names
    }

    /// The paths of the job resources mentioned. A computed path is not known.
    pub fn job_resources(&self) -> BTreeSet<Arc<str>> {
        self.collect(|node| match node {
            Node::JobResource { path, .. } => Some(path),
            Node::Call(Builtin::JobResourceVariable | Builtin::JobResourceVariables, arguments) => {
                match arguments.first() {
                    Some(Some(Node::Text(path))) => Some(path),
                    _ => None,
                }
            }
            _ => None,
        })
    }

    /// The labels of instructions whose results are used.
    pub fn labels(&self) -> BTreeSet<Arc<str>> {
        self.collect(|node| match node {
            Node::Lookup(lookup) => match &lookup.place {
                Place::Label(label) => Some(label),
                Place::Arguments | Place::Everywhere | Place::Job(_) => None,
            },
            _ => None,
        })
    }

    /// The jobs whose results are used.
    pub fn jobs(&self) -> BTreeSet<Arc<str>> {
        self.collect(|node| match node {
            Node::Lookup(lookup) => match &lookup.place {
                Place::Job(job) => Some(job),
                Place::Arguments | Place::Everywhere | Place::Label(_) => None,
            },
            _ => None,
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
