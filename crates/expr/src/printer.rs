//! Prints trees and values as source.
//! Always: what is printed parses to the same tree; parentheses stand only where they must.

use std::fmt::{self, Write};

use crate::budget;
use crate::error::EvalError;
use crate::eval;
use crate::functions::Builtin;
use crate::lexer::{is_keyword, is_plain_name};
use crate::node::{Node, Operator, Piece, Place, binding};
use crate::value::Value;

/// A tree as source.
pub(crate) fn source_of(node: &Node) -> String {
    let mut source = String::new();
    write_node(&mut source, node).unwrap_or_default(); // writing to a string does not fail
    source
}

pub(crate) fn write_node(out: &mut dyn Write, node: &Node) -> fmt::Result {
    Printer { out }.node(node, binding::EXPRESSION)
}

/// Writes a value as the expression that yields it.
pub(crate) fn write_value(out: &mut dyn Write, value: &Value) -> fmt::Result {
    Printer { out }.value(value)
}

/// A value as source, unless that gets too long.
pub(crate) fn bounded_text_of(value: &Value) -> Result<String, EvalError> {
    let mut out = Bounded {
        text: String::new(),
        max: budget::TEXT_MAX,
    };
    let complete = write_value(&mut out, value).is_ok();
    let length = if complete { out.text.len() } else { usize::MAX };
    budget::charge_text(length).map(|()| out.text)
}

/// A value for an error message: its type, and the beginning of its content.
pub(crate) fn glimpse_of(value: &Value) -> String {
    let mut out = Bounded {
        text: String::new(),
        max: 100,
    };
    let kind = value.type_name().to_lowercase();
    if value.is_missing() {
        return kind;
    }
    // Strings in messages always stand in double quotes, easier to see than single ones.
    let complete = if let Value::String(text) = value {
        Printer { out: &mut out }.double_quoted(text)
    } else {
        write_value(&mut out, value)
    };
    let dots = if complete.is_ok() { "" } else { "…" };
    format!("{kind} {}{dots}", out.text)
}

/// Stops the writing when there is enough.
struct Bounded {
    text: String,
    max: usize,
}

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = text.floor_char_boundary(self.max - self.text.len());
        self.text.push_str(&text[..end]);
        if end < text.len() {
            Err(fmt::Error)
        } else {
            Ok(())
        }
    }
}

struct Printer<'a> {
    out: &'a mut dyn Write,
}

impl Printer<'_> {
    /// Prints a node for a place that wants at least this binding.
    fn node(&mut self, node: &Node, binding_min: u8) -> fmt::Result {
        if binding_of(node) >= binding_min {
            return self.bare(node);
        }
        self.out.write_char('(')?;
        self.bare(node)?;
        self.out.write_char(')')
    }

    fn bare(&mut self, node: &Node) -> fmt::Result {
        match node {
            Node::Missing => self.out.write_str("missing"),
            Node::Boolean(truth) => write!(self.out, "{truth}"),
            Node::Number(number) => write!(self.out, "{number}"),
            Node::Text(text) => self.text(text),
            Node::Interpolated(pieces) => self.interpolated(pieces),
            Node::List(nodes) => {
                self.out.write_char('[')?;
                self.nodes(nodes)?;
                self.out.write_char(']')
            }
            Node::Object(fields) => {
                self.out.write_char('{')?;
                for (i, (name, value)) in fields.iter().enumerate() {
                    self.comma(i)?;
                    self.field_name(name)?;
                    self.out.write_str(": ")?;
                    self.node(value, binding::EXPRESSION)?;
                }
                self.out.write_char('}')
            }
            Node::Function(lambda) => {
                match &*lambda.parameters {
                    [parameter] => self.identifier(parameter)?,
                    parameters => {
                        self.out.write_char('(')?;
                        for (i, parameter) in parameters.iter().enumerate() {
                            self.comma(i)?;
                            self.identifier(parameter)?;
                        }
                        self.out.write_char(')')?;
                    }
                }
                self.out.write_str(" => ")?;
                self.node(&lambda.body, binding::EXPRESSION)
            }
            Node::Name(name) => {
                self.out.write_char('$')?;
                self.variable_name(name)
            }
            Node::JobResource { path, variable } => {
                write!(self.out, "JobResource:{path}")?;
                let Some(variable) = variable else {
                    return Ok(());
                };
                self.out.write_char(':')?;
                self.plain_or_quoted(variable)
            }
            Node::Lookup(lookup) => {
                let function = if lookup.place == Place::Arguments {
                    "argument("
                } else {
                    "variable("
                };
                self.out.write_str(function)?;
                self.node(&lookup.key, binding::EXPRESSION)?;
                match &lookup.place {
                    Place::Arguments | Place::Everywhere => {}
                    Place::Label(label) => {
                        self.out.write_str(", label=")?;
                        self.plain_or_quoted(label)?;
                    }
                    Place::Job(job) => {
                        self.out.write_str(", job=")?;
                        self.plain_or_quoted(job)?;
                    }
                }
                if let Some(default) = &lookup.default {
                    self.out.write_str(", default=")?;
                    self.node(default, binding::EXPRESSION)?;
                }
                self.out.write_char(')')
            }
            Node::Symbol(symbol) => self.out.write_str(symbol.name()),
            Node::Call(builtin, arguments) => {
                write!(self.out, "{}(", builtin.name())?;
                let mut has_gap = false;
                let mut printed = 0;
                for (i, argument) in arguments.iter().enumerate() {
                    let Some(argument) = argument else {
                        has_gap = true;
                        continue;
                    };
                    self.comma(printed)?;
                    printed += 1;
                    if has_gap {
                        write!(self.out, "{}=", builtin.parameters()[i][0])?;
                    }
                    self.node(argument, binding::EXPRESSION)?;
                }
                self.out.write_char(')')
            }
            Node::Field(node, name) => {
                // A dot behind a job resource's path would belong to the path.
                let is_path = matches!(**node, Node::JobResource { variable: None, .. });
                self.node(node, if is_path { u8::MAX } else { binding::SUFFIX })?;
                self.out.write_char('.')?;
                self.field_name(name)
            }
            Node::Apply(node, arguments) => {
                // A symbol with empty parentheses behind it would be just the symbol.
                let binding = if matches!(**node, Node::Symbol(_)) {
                    u8::MAX
                } else {
                    binding::SUFFIX
                };
                self.node(node, binding)?;
                self.out.write_char('(')?;
                self.nodes(arguments)?;
                self.out.write_char(')')
            }
            Node::Not(node) => {
                self.out.write_char('!')?;
                self.node(node, binding::FALLBACK)
            }
            Node::Negative(node) => {
                self.out.write_char('-')?;
                // A number right behind the minus would take it as its sign.
                let binding = if begins_with_number(node) {
                    u8::MAX
                } else {
                    binding::FALLBACK
                };
                self.node(node, binding)
            }
            Node::OrMissing(node) => {
                let binding = if matches!(**node, Node::OrMissing(_)) {
                    u8::MAX
                } else {
                    binding::FALLBACK
                };
                self.node(node, binding)?;
                self.out.write_char('?')
            }
            Node::Binary(operator, operands) => {
                self.node(&operands.0, operator.binding())?;
                write!(self.out, " {} ", operator.sign())?;
                self.node(&operands.1, operator.binding() + 1)
            }
            Node::If(parts) => {
                self.out.write_str("if ")?;
                self.node(&parts.0, binding::EXPRESSION)?;
                self.out.write_str(" then ")?;
                self.node(&parts.1, binding::EXPRESSION)?;
                self.out.write_str(" else ")?;
                self.node(&parts.2, binding::EXPRESSION)
            }
        }
    }

    fn value(&mut self, value: &Value) -> fmt::Result {
        match value {
            Value::Missing => self.out.write_str("missing"),
            Value::Boolean(truth) => write!(self.out, "{truth}"),
            Value::Number(number) => write!(self.out, "{number}"),
            Value::String(text) => self.text(text),
            Value::List(elements) => {
                self.out.write_char('[')?;
                for (i, element) in elements.iter().enumerate() {
                    self.comma(i)?;
                    self.value(element)?;
                }
                self.out.write_char(']')
            }
            Value::Object(fields) => {
                self.out.write_char('{')?;
                for (i, (name, field)) in fields.iter().enumerate() {
                    self.comma(i)?;
                    self.text(name)?;
                    self.out.write_char(':')?;
                    self.value(field)?;
                }
                self.out.write_char('}')
            }
            Value::Function(function) => {
                self.node(&eval::node_of(&Value::Function(function.clone())), 0)
            }
        }
    }

    fn nodes(&mut self, nodes: &[Node]) -> fmt::Result {
        for (i, node) in nodes.iter().enumerate() {
            self.comma(i)?;
            self.node(node, binding::EXPRESSION)?;
        }
        Ok(())
    }

    fn comma(&mut self, index: usize) -> fmt::Result {
        if index > 0 {
            self.out.write_str(", ")
        } else {
            Ok(())
        }
    }

    /// '…' where it can say it. An empty string stands in double quotes, because two single ones may open a string.
    fn text(&mut self, text: &str) -> fmt::Result {
        if text.is_empty() || text.contains(['\'', '\r']) {
            return self.double_quoted(text);
        }
        write!(self.out, "'{text}'")
    }

    fn double_quoted(&mut self, text: &str) -> fmt::Result {
        self.out.write_char('"')?;
        self.escaped(text)?;
        self.out.write_char('"')
    }

    fn escaped(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                '\\' => self.out.write_str("\\\\")?,
                '"' => self.out.write_str("\\\"")?,
                '$' => self.out.write_str("\\$")?,
                '\t' => self.out.write_str("\\t")?,
                '\r' => self.out.write_str("\\r")?,
                '\n' => self.out.write_str("\\n")?,
                c => self.out.write_char(c)?,
            }
        }
        Ok(())
    }

    fn interpolated(&mut self, pieces: &[Piece]) -> fmt::Result {
        self.out.write_char('"')?;
        for piece in pieces {
            match piece {
                Piece::Text(text) => self.escaped(text)?,
                Piece::Node(Node::Name(name)) => {
                    self.out.write_str("${")?;
                    self.variable_name(name)?;
                    self.out.write_char('}')?;
                }
                Piece::Node(node) => {
                    self.out.write_str("$(")?;
                    self.node(node, binding::EXPRESSION)?;
                    self.out.write_char(')')?;
                }
            }
        }
        self.out.write_char('"')
    }

    /// A name behind a dollar, where keywords and single digits are names.
    fn variable_name(&mut self, name: &str) -> fmt::Result {
        let is_group = name.len() == 1 && name.as_bytes()[0].is_ascii_digit();
        if is_group {
            self.out.write_str(name)
        } else {
            self.plain_or_quoted(name)
        }
    }

    fn field_name(&mut self, name: &str) -> fmt::Result {
        // `.toNumber` would be the legacy suffix, and a colon behind this word begin a path.
        if Builtin::of_suffix(name).is_some() || name == "JobResource" {
            self.quoted(name)
        } else {
            self.plain_or_quoted(name)
        }
    }

    fn identifier(&mut self, name: &str) -> fmt::Result {
        if is_keyword(name) {
            self.quoted(name)
        } else {
            self.plain_or_quoted(name)
        }
    }

    fn plain_or_quoted(&mut self, name: &str) -> fmt::Result {
        if is_plain_name(name) {
            self.out.write_str(name)
        } else {
            self.quoted(name)
        }
    }

    fn quoted(&mut self, name: &str) -> fmt::Result {
        write!(self.out, "`{}`", name.replace('`', "``"))
    }
}

fn begins_with_number(node: &Node) -> bool {
    let first = if let Node::Field(first, _) | Node::Apply(first, _) | Node::OrMissing(first) = node
    {
        first
    } else if let Node::Binary(Operator::OrElse, operands) = node {
        &operands.0
    } else {
        return matches!(node, Node::Number(_));
    };
    begins_with_number(first)
}

fn binding_of(node: &Node) -> u8 {
    match node {
        Node::If(_) | Node::Function(_) => binding::EXPRESSION,
        Node::Binary(operator, _) => operator.binding(),
        Node::Not(_) | Node::Negative(_) => binding::PREFIX,
        Node::OrMissing(_) => binding::FALLBACK,
        Node::Field(..) | Node::Apply(..) => binding::SUFFIX,
        Node::Missing
        | Node::Boolean(_)
        | Node::Number(_)
        | Node::Text(_)
        | Node::Interpolated(_)
        | Node::List(_)
        | Node::Object(_)
        | Node::Name(_)
        | Node::JobResource { .. }
        | Node::Lookup(_)
        | Node::Symbol(_)
        | Node::Call(..) => binding::FACTOR,
    }
}
