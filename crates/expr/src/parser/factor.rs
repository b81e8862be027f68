//! What stands alone: literals, names, lists, objects, strings with something to fill in, parentheses.

use std::sync::Arc;

use super::{Parsed, Parser, Tree};
use crate::error::SyntaxError;
use crate::functions::Builtin;
use crate::lexer::{Token, TokenKind, is_keyword};
use crate::node::{Node, Piece};
use crate::symbol::Symbol;

impl Parser<'_> {
    /// Whether the next token can begin a factor.
    pub(super) fn at_factor(&mut self) -> Parsed<bool> {
        let token = self.peek()?;
        Ok(match token.kind {
            TokenKind::End => false,
            TokenKind::Sign(sign) => matches!(sign, "(" | "[" | "{") || self.at_signed_number()?,
            TokenKind::Word => !matches!(
                &self.lexer.source[token.span],
                "else" | "if" | "in" | "matches" | "then"
            ),
            TokenKind::Number
            | TokenKind::RawString(_)
            | TokenKind::Quote
            | TokenKind::QuotedName(_)
            | TokenKind::Variable(_)
            | TokenKind::JobResource(..) => true,
        })
    }

    /// A plus or minus with a digit right behind it.
    pub(super) fn at_signed_number(&mut self) -> Parsed<bool> {
        let token = self.peek()?;
        let next = self.lexer.source.as_bytes().get(token.span.end);
        Ok(
            matches!(token.kind, TokenKind::Sign("+" | "-"))
                && next.is_some_and(u8::is_ascii_digit),
        )
    }

    pub(super) fn factor(&mut self) -> Parsed<Tree> {
        let signed = self.at_signed_number()?;
        let token = self.advance()?;
        match token.kind {
            TokenKind::Number => self.number(token),
            TokenKind::Sign(_) if signed => {
                let digits = self.advance()?;
                let span = token.span.start..digits.span.end;
                self.number(Token {
                    kind: TokenKind::Number,
                    span,
                })
            }
            TokenKind::RawString(text) => self.tree(Node::Text(text), 0),
            TokenKind::Quote => {
                let (pieces, depth) = self.pieces()?;
                if !self.take_closing_quote() {
                    return Err(SyntaxError::new(
                        "String without end: \" is missing",
                        token.span,
                    ));
                }
                self.tree(Node::interpolated(pieces), depth)
            }
            TokenKind::Variable(path) => {
                let mut names = path.into_iter();
                let Some(name) = names.next() else {
                    return Err(SyntaxError::new("A name is missing", token.span));
                };
                if name.is_empty() {
                    return Err(SyntaxError::new("The name is empty", token.span));
                }
                let mut tree = self.tree(Node::Name(name), 0)?;
                for field in names {
                    tree = self.tree(Node::Field(Box::new(tree.node), field), tree.depth)?;
                }
                Ok(tree)
            }
            TokenKind::JobResource(path, variable) => {
                self.tree(Node::JobResource { path, variable }, 0)
            }
            TokenKind::Sign("(") => {
                let inside = self.expression()?;
                self.expect_sign(")")?;
                Ok(inside)
            }
            TokenKind::Sign("[") => {
                let (nodes, depth) = self.nodes_until("]")?;
                self.tree(Node::List(nodes), depth)
            }
            TokenKind::Sign("{") => self.object(),
            TokenKind::Word => self.word(&token),
            TokenKind::End => Err(SyntaxError::new(
                "Unexpected end of the expression",
                token.span,
            )),
            TokenKind::QuotedName(_) | TokenKind::Sign(_) => {
                Err(SyntaxError::new("A value is expected here", token.span))
            }
        }
    }

    pub(super) fn number(&mut self, token: Token) -> Parsed<Tree> {
        let number = self.lexer.source[token.span.clone()].parse();
        let number = number.map_err(|error| SyntaxError::new(format!("{error}"), token.span))?;
        self.tree(Node::Number(number), 0)
    }

    pub(super) fn word(&mut self, token: &Token) -> Parsed<Tree> {
        let word = &self.lexer.source[token.span.clone()];
        match word {
            "true" => return self.tree(Node::Boolean(true), 0),
            "false" => return self.tree(Node::Boolean(false), 0),
            "missing" => return self.tree(Node::Missing, 0),
            "argument" | "variable" => return self.lookup(token),
            _ => {}
        }
        if let Some(builtin) = Builtin::of_name(word) {
            return self.call(builtin, token);
        }
        if let Some(symbol) = Symbol::of_name(word) {
            let (lexer, peeked) = (self.lexer.clone(), self.peeked.clone());
            if !(self.take_sign("(")? && self.take_sign(")")?) {
                (self.lexer, self.peeked) = (lexer, peeked);
            }
            return self.tree(Node::Symbol(symbol), 0);
        }
        let message = if self.at_sign("(")? {
            format!("Unknown function: {word}")
        } else if is_keyword(word) {
            format!("A value is expected here, but this is the keyword {word}")
        } else {
            format!("Unknown symbol: {word}; a variable is written ${word}, a text '{word}'")
        };
        Err(SyntaxError::new(message, token.span.clone()))
    }

    pub(super) fn object(&mut self) -> Parsed<Tree> {
        let mut fields: Vec<(Arc<str>, Node)> = Vec::new();
        let mut depth = 0;
        while !self.take_sign("}")? {
            let token = self.advance()?;
            let span = token.span.clone();
            let name = self.key(token)?;
            if fields.iter().any(|(other, _)| *other == name) {
                return Err(SyntaxError::new(
                    format!("Field {name} is given twice"),
                    span,
                ));
            }
            self.expect_sign(":")?;
            let value = self.expression()?;
            depth = depth.max(value.depth);
            fields.push((name, value.node));
            if !self.at_sign("}")? {
                self.expect_sign(",")?;
            }
        }
        self.tree(Node::Object(fields), depth)
    }

    /// Parses the name of a field in an object literal: a name or a constant text, as values are printed.
    fn key(&mut self, token: Token) -> Parsed<Arc<str>> {
        if let TokenKind::RawString(text) = token.kind {
            return Ok(text);
        }
        if token.kind != TokenKind::Quote {
            return self.field_name(token);
        }
        let (pieces, _) = self.pieces()?;
        if !self.take_closing_quote() {
            return Err(SyntaxError::new(
                "String without end: \" is missing",
                token.span,
            ));
        }
        if let Node::Text(name) = Node::interpolated(pieces) {
            return Ok(name);
        }
        Err(SyntaxError::new(
            "A field name is a text without values to fill in",
            token.span,
        ))
    }

    /// Takes the closing quote of a "…" string whose content has been read. Returns whether there is one.
    fn take_closing_quote(&mut self) -> bool {
        let found = self.lexer.rest().starts_with('"');
        self.lexer.position += usize::from(found);
        found
    }

    pub(super) fn nodes_until(&mut self, end: &'static str) -> Parsed<(Vec<Node>, u32)> {
        let mut nodes = Vec::new();
        let mut depth = 0;
        while !self.take_sign(end)? {
            let tree = self.expression()?;
            depth = depth.max(tree.depth);
            nodes.push(tree.node);
            if !self.at_sign(end)? {
                self.expect_sign(",")?;
            }
        }
        Ok((nodes, depth))
    }

    /// The inside of a "…" string, up to but without the closing quote.
    pub(super) fn pieces(&mut self) -> Parsed<(Vec<Piece>, u32)> {
        let mut pieces = Vec::new();
        let mut depth = 0;
        loop {
            let rest = self.lexer.rest();
            let length = rest.find(['$', '\\', '"']).unwrap_or(rest.len());
            if length > 0 {
                pieces.push(Piece::Text(Arc::from(rest[..length].replace("\r\n", "\n"))));
                self.lexer.position += length;
            }
            match self.lexer.rest().as_bytes().first() {
                Some(b'\\') => pieces.push(Piece::Text(Arc::from(self.escaped()?))),
                Some(b'$') => {
                    let tree = self.filled_in()?;
                    depth = depth.max(tree.depth);
                    pieces.push(Piece::Node(tree.node));
                }
                _ => return Ok((pieces, depth)),
            }
        }
    }

    /// `$name`, `${name.field}` or `$(expression)` inside of a text.
    pub(super) fn filled_in(&mut self) -> Parsed<Tree> {
        if self.lexer.rest().starts_with("$(") {
            self.lexer.position += 2;
            let tree = self.expression()?;
            self.expect_sign(")")?;
            return Ok(tree);
        }
        let start = self.lexer.position;
        let kind = self.lexer.variable().map_err(|error| SyntaxError {
            message: format!("{}; a dollar sign itself is written \\$", error.message),
            ..error
        })?;
        self.peeked = Some(Token {
            kind,
            span: start..self.lexer.position,
        });
        self.factor()
    }

    pub(super) fn escaped(&mut self) -> Parsed<&'static str> {
        let text = match self.lexer.rest().as_bytes().get(1) {
            Some(b'\\') => "\\",
            Some(b'"') => "\"",
            Some(b'$') => "$",
            Some(b't') => "\t",
            Some(b'r') => "\r",
            Some(b'n') => "\n",
            _ => {
                return Err(self
                    .lexer
                    .error(r#"Unknown escape; known are \\ \" \t \r \n \$"#, 1));
            }
        };
        self.lexer.position += 2;
        Ok(text)
    }
}
