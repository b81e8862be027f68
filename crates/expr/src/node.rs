//! The syntax tree of an expression.
//! Always: canonical. One meaning of the source has one tree, so that trees may be compared and
//! `parse(print(tree)) == tree`: literal signs belong to numbers, neighbouring text pieces are one, optional arguments
//! that are absent at the end are left out, and a legacy suffix is the function call it stands for.
//! Never here: places in the source. The parser reports those itself.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::functions::Builtin;
use crate::number::Number;
use crate::symbol::Symbol;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Node {
    Missing,
    Boolean(bool),
    Number(Number),
    Text(Arc<str>),
    /// "…" with something to fill in.
    Interpolated(Vec<Piece>),
    List(Vec<Node>),
    Object(Vec<(Arc<str>, Node)>),
    Function(Arc<Lambda>),
    /// `$name`
    Name(Arc<str>),
    /// `JobResource:path:variable`, or without the variable all of them as object.
    JobResource {
        path: Arc<str>,
        variable: Option<Arc<str>>,
    },
    Lookup(Box<Lookup>),
    Symbol(Symbol),
    /// The arguments stand in the order of the parameters.
    Call(Builtin, Vec<Option<Node>>),
    Field(Box<Node>, Arc<str>),
    /// A list or function with what stands in the parentheses behind it.
    Apply(Box<Node>, Vec<Node>),
    Not(Box<Node>),
    Negative(Box<Node>),
    /// `a?`
    OrMissing(Box<Node>),
    Binary(Operator, Box<(Node, Node)>),
    If(Box<(Node, Node, Node)>),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Piece {
    Text(Arc<str>),
    Node(Node),
}

/// A function as written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Lambda {
    pub(crate) parameters: Arc<[Arc<str>]>,
    pub(crate) body: Node,
    /// Levels of the body's tree.
    pub(crate) depth: u32,
}

/// `argument(…)` or `variable(…)`
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Lookup {
    pub(crate) place: Place,
    pub(crate) key: Node,
    pub(crate) default: Option<Node>,
}

/// Where a variable is looked up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    Arguments,
    Everywhere,
    Label(Arc<str>),
    Job(Arc<str>),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Operator {
    In,
    Matches,
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Concat,
    Plus,
    Minus,
    Times,
    Divide,
    /// `a ? b`
    OrElse,
}

/// How tightly things bind; higher is tighter. All binary operators associate to the left.
pub(crate) mod binding {
    pub(crate) const EXPRESSION: u8 = 1;
    pub(crate) const PREFIX: u8 = 9;
    pub(crate) const FALLBACK: u8 = 10;
    pub(crate) const SUFFIX: u8 = 11;
    pub(crate) const FACTOR: u8 = 12;
}

/// On what a value depends.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Dependence {
    Nothing,
    /// On the order and where it is.
    Order,
    /// On what changes without the order: the clock, the environment, job resources, Subagents.
    World,
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

impl Operator {
    pub(crate) const ALL_BUT_FALLBACK: [Operator; 15] = [
        Operator::In,
        Operator::Matches,
        Operator::Or,
        Operator::And,
        Operator::Equal,
        Operator::NotEqual,
        Operator::Less,
        Operator::LessOrEqual,
        Operator::Greater,
        Operator::GreaterOrEqual,
        Operator::Concat,
        Operator::Plus,
        Operator::Minus,
        Operator::Times,
        Operator::Divide,
    ];

    pub(crate) fn binding(self) -> u8 {
        match self {
            Operator::In | Operator::Matches => 2,
            Operator::Or => 3,
            Operator::And => 4,
            Operator::Equal | Operator::NotEqual => 5,
            Operator::Less
            | Operator::LessOrEqual
            | Operator::Greater
            | Operator::GreaterOrEqual => 6,
            Operator::Concat | Operator::Plus | Operator::Minus => 7,
            Operator::Times | Operator::Divide => 8,
            Operator::OrElse => binding::FALLBACK,
        }
    }

    pub(crate) fn sign(self) -> &'static str {
        match self {
            Operator::In => "in",
            Operator::Matches => "matches",
            Operator::Or => "||",
            Operator::And => "&&",
            Operator::Equal => "==",
            Operator::NotEqual => "!=",
            Operator::Less => "<",
            Operator::LessOrEqual => "<=",
            Operator::Greater => ">",
            Operator::GreaterOrEqual => ">=",
            Operator::Concat => "++",
            Operator::Plus => "+",
            Operator::Minus => "-",
            Operator::Times => "*",
            Operator::Divide => "/",
            Operator::OrElse => "?",
        }
    }
}

impl Node {
    /// Makes the canonical node of a "…" string.
    pub(crate) fn interpolated(pieces: Vec<Piece>) -> Node {
        let mut merged: Vec<Piece> = Vec::new();
        for piece in pieces {
            match (merged.last_mut(), piece) {
                (_, Piece::Text(text)) if text.is_empty() => {}
                (Some(Piece::Text(before)), Piece::Text(text)) => {
                    *before = Arc::from(format!("{before}{text}"));
                }
                (_, piece) => merged.push(piece),
            }
        }
        match merged.as_slice() {
            [] => Node::Text(Arc::from("")),
            [Piece::Text(text)] => Node::Text(text.clone()),
            _ => Node::Interpolated(merged),
        }
    }

    pub(crate) fn binary(operator: Operator, left: Node, right: Node) -> Node {
        Node::Binary(operator, Box::new((left, right)))
    }

    /// The nodes directly below.
    pub(crate) fn children(&self) -> Vec<&Node> {
        match self {
            Node::Missing
            | Node::Boolean(_)
            | Node::Number(_)
            | Node::Text(_)
            | Node::Name(_)
            | Node::JobResource { .. }
            | Node::Symbol(_) => vec![],
            Node::Interpolated(pieces) => pieces
                .iter()
                .filter_map(|piece| match piece {
                    Piece::Text(_) => None,
                    Piece::Node(node) => Some(node),
                })
                .collect(),
            Node::List(nodes) => nodes.iter().collect(),
            Node::Object(fields) => fields.iter().map(|(_, node)| node).collect(),
            Node::Function(lambda) => vec![&lambda.body],
            Node::Lookup(lookup) => std::iter::once(&lookup.key)
                .chain(&lookup.default)
                .collect(),
            Node::Call(_, arguments) => arguments.iter().flatten().collect(),
            Node::Apply(node, arguments) => std::iter::once(&**node).chain(arguments).collect(),
            Node::Field(node, _)
            | Node::Not(node)
            | Node::Negative(node)
            | Node::OrMissing(node) => vec![node],
            Node::Binary(_, operands) => vec![&operands.0, &operands.1],
            Node::If(parts) => vec![&parts.0, &parts.1, &parts.2],
        }
    }

    /// Shows every node to `see`, the tree's root first.
    pub(crate) fn walk<'a>(&'a self, see: &mut impl FnMut(&'a Node)) {
        see(self);
        for child in self.children() {
            child.walk(see);
        }
    }

    /// Levels of the tree.
    pub(crate) fn depth(&self) -> u32 {
        1 + self
            .children()
            .into_iter()
            .map(Node::depth)
            .max()
            .unwrap_or(0)
    }

    /// The variable that the node asks for, as `$name` or `variable('name')`.
    fn name_looked_up(&self) -> Option<&Arc<str>> {
        if let Node::Name(name) = self {
            return Some(name);
        }
        if let Node::Lookup(lookup) = self
            && let (Place::Everywhere, Node::Text(name)) = (&lookup.place, &lookup.key)
        {
            return Some(name);
        }
        None
    }

    /// What the node itself, without those below, depends on.
    pub(crate) fn dependence(&self) -> Dependence {
        match self {
            Node::Missing
            | Node::Boolean(_)
            | Node::Number(_)
            | Node::Text(_)
            | Node::Interpolated(_)
            | Node::List(_)
            | Node::Object(_)
            | Node::Function(_)
            | Node::Field(..)
            | Node::Apply(..)
            | Node::Not(_)
            | Node::Negative(_)
            | Node::OrMissing(_)
            | Node::Binary(..)
            | Node::If(_) => Dependence::Nothing,
            Node::Name(_) | Node::Lookup(_) => match self.name_looked_up() {
                Some(name) if VOLATILE_NAMES.contains(&&**name) => Dependence::World,
                _ => Dependence::Order,
            },
            Node::Symbol(_) => Dependence::Order,
            Node::JobResource { .. } => Dependence::World,
            Node::Call(builtin, _) => builtin.dependence(),
        }
    }

    /// Collects the names looked up outside: all but the parameters of functions around them.
    pub(crate) fn free_names(&self, bound: &mut Vec<Arc<str>>, names: &mut BTreeSet<Arc<str>>) {
        if let Some(name) = self.name_looked_up()
            && !bound.contains(name)
        {
            names.insert(name.clone());
        }
        let outside = bound.len();
        if let Node::Function(lambda) = self {
            bound.extend(lambda.parameters.iter().cloned());
        }
        for child in self.children() {
            child.free_names(bound, names);
        }
        bound.truncate(outside);
    }
}
