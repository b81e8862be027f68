//! Function calls, and the two lookups with arguments of their own, `argument(…)` and `variable(…)`.
//! Always: arguments end up in the order of the parameters, whether given by position or by name.

use std::sync::Arc;

use super::{Parsed, Parser, Tree};
use crate::error::SyntaxError;
use crate::functions::Builtin;
use crate::lexer::{Token, TokenKind};
use crate::node::{Lookup, Node, Place};

impl Parser<'_> {
    pub(super) fn call(&mut self, builtin: Builtin, name: &Token) -> Parsed<Tree> {
        if !self.take_sign("(")? {
            let message = format!("Function {} needs arguments in parentheses", builtin.name());
            return Err(SyntaxError::new(message, name.span.clone()));
        }
        let mut arguments: Vec<Option<Node>> = vec![None; builtin.parameters().len()];
        let mut depth = 0;
        let mut position = 0;
        while !self.take_sign(")")? {
            let start = self.peek()?.span;
            let index = match self.take_argument_name()? {
                Some(name) => builtin.parameter_index(&name).ok_or_else(|| {
                    SyntaxError::new(
                        format!("Function {} has no argument {name}", builtin.name()),
                        start.clone(),
                    )
                })?,
                None => position,
            };
            position = index + 1;
            let value = self.expression()?;
            depth = depth.max(value.depth);
            match arguments.get_mut(index) {
                Some(slot @ None) => *slot = Some(value.node),
                Some(Some(_)) => {
                    return Err(SyntaxError::new("This argument is given twice", start));
                }
                None => {
                    return Err(SyntaxError::new(
                        format!("Too many arguments for {}", builtin.name()),
                        start,
                    ));
                }
            }
            if !self.at_sign(")")? {
                self.expect_sign(",")?;
            }
        }
        if let Some(absent) = arguments
            .iter()
            .take(builtin.required())
            .position(Option::is_none)
        {
            let parameter = builtin.parameters()[absent][0];
            let message = format!("Function {} needs the argument {parameter}", builtin.name());
            return Err(SyntaxError::new(message, name.span.clone()));
        }
        while arguments.last().is_some_and(Option::is_none) {
            arguments.pop();
        }
        self.tree(Node::Call(builtin, arguments), depth)
    }

    /// `argument(key, default=…)`, `variable(key, label=L, default=…)`
    pub(super) fn lookup(&mut self, word: &Token) -> Parsed<Tree> {
        let only_arguments = &self.lexer.source[word.span.clone()] == "argument";
        self.expect_sign("(")?;
        let mut place = if only_arguments {
            Place::Arguments
        } else {
            Place::Everywhere
        };
        let (mut key, mut default) = (None, None);
        let mut depth = 0;
        while !self.take_sign(")")? {
            let start = self.peek()?.span;
            let name = self.take_argument_name()?;
            match name.as_deref() {
                Some(which @ ("label" | "job")) if place == Place::Everywhere => {
                    let target = self.label_or_job()?;
                    place = if which == "label" {
                        Place::Label(target)
                    } else {
                        Place::Job(target)
                    };
                }
                Some("key") | None if key.is_none() => key = Some(self.expression()?),
                Some("default") | None if default.is_none() => default = Some(self.expression()?),
                Some(name) => {
                    return Err(SyntaxError::new(
                        format!("Unexpected argument {name}"),
                        start,
                    ));
                }
                None => return Err(SyntaxError::new("Too many arguments", start)),
            }
            if !self.at_sign(")")? {
                self.expect_sign(",")?;
            }
        }
        let Some(key) = key else {
            return Err(SyntaxError::new(
                "The argument key is missing",
                word.span.clone(),
            ));
        };
        depth = depth.max(key.depth);
        let default = default.map(|default: Tree| {
            depth = depth.max(default.depth);
            default.node
        });
        self.tree(
            Node::Lookup(Box::new(Lookup {
                place,
                key: key.node,
                default,
            })),
            depth,
        )
    }

    /// A label or a job name, as a word, back-quoted, or as string.
    pub(super) fn label_or_job(&mut self) -> Parsed<Arc<str>> {
        let token = self.peek()?;
        if matches!(token.kind, TokenKind::Quote | TokenKind::RawString(_)) {
            let Node::Text(text) = self.factor()?.node else {
                return Err(SyntaxError::new(
                    "A constant name is expected here",
                    token.span,
                ));
            };
            return Ok(text);
        }
        self.advance()?;
        self.field_name(token)
    }

    /// `name=`, or nothing.
    pub(super) fn take_argument_name(&mut self) -> Parsed<Option<Arc<str>>> {
        let (lexer, peeked) = (self.lexer.clone(), self.peeked.clone());
        let token = self.advance()?;
        if token.kind == TokenKind::Word && self.take_sign("=")? {
            return Ok(Some(Arc::from(&self.lexer.source[token.span])));
        }
        (self.lexer, self.peeked) = (lexer, peeked);
        Ok(None)
    }
}
