//! Reads source into a syntax tree: recursive descent, with binding strengths for the binary operators.
//! Always: reading fails with a place and a message, or consumes the whole source. Nesting is bounded, so that no
//! source, however hostile, exhausts the stack here or at the tree's evaluation.

use std::sync::Arc;

use crate::error::SyntaxError;
use crate::functions::Builtin;
use crate::lexer::{Lexer, Token, TokenKind, TwoQuotes, is_keyword};
use crate::node::{Lambda, Lookup, Node, Operator, Piece, Place, binding};
use crate::symbol::Symbol;

/// Parentheses, brackets, branches, functions in one another.
const NESTING_MAX: u32 = 60;
/// Levels of the tree; a chain of operators adds one per operator.
pub(crate) const DEPTH_MAX: u32 = 500;
/// Bytes of the source.
const SOURCE_MAX: usize = 16 << 20;

type Parsed<T> = Result<T, SyntaxError>;

/// A node and the levels of its tree.
#[derive(Debug)]
struct Tree {
    node: Node,
    depth: u32,
}

/// Reads an expression. Returns the tree and its levels.
pub(crate) fn parse(source: &str) -> Parsed<(Node, u32)> {
    let parse_with = |two_quotes| {
        let mut parser = Parser {
            lexer: Lexer::new(source, two_quotes),
            peeked: None,
            nesting: 0,
        };
        let tree = parser.expression()?;
        match parser.peek()? {
            Token {
                kind: TokenKind::End,
                ..
            } => Ok((tree.node, tree.depth)),
            unexpected => Err(SyntaxError::new(
                "Operator or end of the expression is expected here",
                unexpected.span,
            )),
        }
    };
    if source.len() > SOURCE_MAX {
        return Err(SyntaxError::new(
            format!("The expression is longer than {SOURCE_MAX} bytes"),
            0..0,
        ));
    }
    parse_with(TwoQuotes::AreEmpty).or_else(|error| {
        if !source.contains("''") {
            return Err(error);
        }
        parse_with(TwoQuotes::Open).map_err(|other| {
            if other.span.start > error.span.start {
                other
            } else {
                error
            }
        })
    })
}

/// Reads the inside of a "…" string, up to its closing quote, for a reader of another notation.
pub(crate) fn parse_quoted(lexer: &mut Lexer<'_>) -> Parsed<Vec<Piece>> {
    let mut parser = Parser {
        lexer: lexer.clone(),
        peeked: None,
        nesting: 0,
    };
    let (pieces, _) = parser.pieces()?;
    lexer.position = parser.lexer.position;
    Ok(pieces)
}

/// Reads what begins with a dollar and is to be filled in, for a reader of another notation.
pub(crate) fn parse_filled_in(lexer: &mut Lexer<'_>) -> Parsed<Piece> {
    let mut parser = Parser {
        lexer: lexer.clone(),
        peeked: None,
        nesting: 0,
    };
    let tree = parser.filled_in()?;
    lexer.position = parser.lexer.position;
    Ok(Piece::Node(tree.node))
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    /// A token read ahead, with the position behind it in `lexer`.
    peeked: Option<Token>,
    nesting: u32,
}

impl Parser<'_> {
    // ---- Expressions, from loose to tight

    fn expression(&mut self) -> Parsed<Tree> {
        self.nesting += 1;
        if self.nesting > NESTING_MAX {
            return Err(self.error_here("The expression is nested too deeply"));
        }
        let tree = if self.at_word("if")? {
            self.if_expression()
        } else if let Some(parameters) = self.function_head()? {
            self.function(parameters)
        } else {
            self.binary(binding::EXPRESSION)
        }?;
        self.nesting -= 1;
        Ok(tree)
    }

    /// A ladder of `else if` is read in a loop, so that its length is no nesting.
    fn if_expression(&mut self) -> Parsed<Tree> {
        let mut rungs = Vec::new();
        while self.at_word("if")? {
            self.advance()?;
            let condition = self.expression()?;
            self.expect_word("then")?;
            rungs.push((condition, self.expression()?));
            self.expect_word("else")?;
        }
        let mut tree = self.expression()?;
        while let Some((condition, yes)) = rungs.pop() {
            let depth = condition.depth.max(yes.depth).max(tree.depth);
            tree = self.tree(
                Node::If(Box::new((condition.node, yes.node, tree.node))),
                depth,
            )?;
        }
        Ok(tree)
    }

    /// The parameters, if a function begins here: `x =>` or `(a, b) =>`. Otherwise nothing is consumed.
    fn function_head(&mut self) -> Parsed<Option<Vec<Arc<str>>>> {
        let may_begin = match self.peek()?.kind {
            TokenKind::Word | TokenKind::QuotedName(_) | TokenKind::Sign("(") => true,
            _ => false,
        };
        if !may_begin {
            return Ok(None);
        }
        let (lexer, peeked) = (self.lexer.clone(), self.peeked.clone());
        match self.parameters() {
            Ok(Some(parameters)) => Ok(Some(parameters)),
            // Whatever is wrong here will be reported when the same text is read as an expression.
            Ok(None) | Err(_) => {
                (self.lexer, self.peeked) = (lexer, peeked);
                Ok(None)
            }
        }
    }

    fn parameters(&mut self) -> Parsed<Option<Vec<Arc<str>>>> {
        let mut parameters = Vec::new();
        if self.take_sign("(")? {
            while !self.take_sign(")")? {
                let Some(parameter) = self.take_identifier()? else {
                    return Ok(None);
                };
                parameters.push(parameter);
                if !self.at_sign(")")? && !self.take_sign(",")? {
                    return Ok(None);
                }
            }
        } else {
            let Some(parameter) = self.take_identifier()? else {
                return Ok(None);
            };
            parameters.push(parameter);
        }
        Ok(self.take_sign("=>")?.then_some(parameters))
    }

    fn function(&mut self, parameters: Vec<Arc<str>>) -> Parsed<Tree> {
        if let Some(twice) = first_duplicate(&parameters) {
            return Err(self.error_here(format!("Parameter {twice} is given twice")));
        }
        let body = self.expression()?;
        let lambda = Lambda {
            parameters: Arc::from(parameters),
            body: body.node,
            depth: body.depth,
        };
        self.tree(Node::Function(Arc::new(lambda)), body.depth)
    }

    fn binary(&mut self, binding_min: u8) -> Parsed<Tree> {
        let mut left = self.prefix()?;
        while let Some(operator) = self.peek_operator()? {
            if operator.binding() < binding_min {
                break;
            }
            self.advance()?;
            let right = self.binary(operator.binding() + 1)?;
            let depth = left.depth.max(right.depth);
            left = self.tree(Node::binary(operator, left.node, right.node), depth)?;
        }
        Ok(left)
    }

    fn peek_operator(&mut self) -> Parsed<Option<Operator>> {
        let token = self.peek()?;
        Ok(match token.kind {
            TokenKind::Word => match &self.lexer.source[token.span] {
                "in" => Some(Operator::In),
                "matches" => Some(Operator::Matches),
                _ => None,
            },
            TokenKind::Sign(sign) => match sign {
                "||" => Some(Operator::Or),
                "&&" => Some(Operator::And),
                "==" => Some(Operator::Equal),
                "!=" => Some(Operator::NotEqual),
                "<" => Some(Operator::Less),
                "<=" => Some(Operator::LessOrEqual),
                ">" => Some(Operator::Greater),
                ">=" => Some(Operator::GreaterOrEqual),
                "++" => Some(Operator::Concat),
                "+" => Some(Operator::Plus),
                "-" => Some(Operator::Minus),
                "*" => Some(Operator::Times),
                "/" => Some(Operator::Divide),
                _ => None,
            },
            _ => None,
        })
    }

    /// `!` or `-`, once. A minus must touch its operand; before a digit it is the number's sign.
    fn prefix(&mut self) -> Parsed<Tree> {
        if self.take_sign("!")? {
            let operand = self.fallback()?;
            return self.tree(Node::Not(Box::new(operand.node)), operand.depth);
        }
        if self.at_sign("-")? && !self.at_signed_number()? {
            let minus = self.advance()?;
            if self.peek()?.span.start != minus.span.end {
                return Err(SyntaxError::new(
                    "A minus sign must touch its operand",
                    minus.span,
                ));
            }
            if self.at_signed_number()? {
                return Err(self.error_here("Only one sign is allowed"));
            }
            let operand = self.fallback()?;
            return self.tree(Node::Negative(Box::new(operand.node)), operand.depth);
        }
        self.fallback()
    }

    /// `a?`, `a ? b`
    fn fallback(&mut self) -> Parsed<Tree> {
        let mut left = self.suffixed()?;
        while self.take_sign("?")? {
            left = if self.at_factor()? {
                let right = self.suffixed()?;
                let depth = left.depth.max(right.depth);
                self.tree(Node::binary(Operator::OrElse, left.node, right.node), depth)?
            } else {
                self.tree(Node::OrMissing(Box::new(left.node)), left.depth)?
            };
        }
        Ok(left)
    }

    /// `.name`, `(arguments)`
    fn suffixed(&mut self) -> Parsed<Tree> {
        let mut left = self.factor()?;
        loop {
            if self.take_sign(".")? {
                left = self.field(left)?;
            } else if self.take_sign("(")? {
                let (arguments, depth) = self.nodes_until(")")?;
                let depth = left.depth.max(depth);
                left = self.tree(Node::Apply(Box::new(left.node), arguments), depth)?;
            } else {
                return Ok(left);
            }
        }
    }

    fn field(&mut self, left: Tree) -> Parsed<Tree> {
        let token = self.advance()?;
        let node = match token.kind {
            TokenKind::QuotedName(name) => Node::Field(Box::new(left.node), name),
            TokenKind::Word => {
                let name = &self.lexer.source[token.span];
                match Builtin::of_suffix(name) {
                    Some(builtin) => Node::Call(builtin, vec![Some(left.node)]),
                    None => Node::Field(Box::new(left.node), Arc::from(name)),
                }
            }
            _ => {
                return Err(SyntaxError::new(
                    "A field name is expected here",
                    token.span,
                ));
            }
        };
        self.tree(node, left.depth)
    }

    // ---- Factors

    /// Whether the next token can begin a factor.
    fn at_factor(&mut self) -> Parsed<bool> {
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
    fn at_signed_number(&mut self) -> Parsed<bool> {
        let token = self.peek()?;
        let next = self.lexer.source.as_bytes().get(token.span.end);
        Ok(
            matches!(token.kind, TokenKind::Sign("+" | "-"))
                && next.is_some_and(u8::is_ascii_digit),
        )
    }

    fn factor(&mut self) -> Parsed<Tree> {
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
                if !self.lexer.rest().starts_with('"') {
                    return Err(SyntaxError::new(
                        "String without end: \" is missing",
                        token.span,
                    ));
                }
                self.lexer.position += 1;
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

    fn number(&mut self, token: Token) -> Parsed<Tree> {
        let number = self.lexer.source[token.span.clone()].parse();
        let number = number.map_err(|error| SyntaxError::new(format!("{error}"), token.span))?;
        self.tree(Node::Number(number), 0)
    }

    fn word(&mut self, token: &Token) -> Parsed<Tree> {
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

    fn object(&mut self) -> Parsed<Tree> {
        let mut fields: Vec<(Arc<str>, Node)> = Vec::new();
        let mut depth = 0;
        while !self.take_sign("}")? {
            let token = self.advance()?;
            let name = match token.kind {
                TokenKind::QuotedName(name) => name,
                TokenKind::Word => Arc::from(&self.lexer.source[token.span.clone()]),
                _ => {
                    return Err(SyntaxError::new(
                        "A field name is expected here",
                        token.span,
                    ));
                }
            };
            if fields.iter().any(|(other, _)| *other == name) {
                return Err(SyntaxError::new(
                    format!("Field {name} is given twice"),
                    token.span,
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

    fn nodes_until(&mut self, end: &'static str) -> Parsed<(Vec<Node>, u32)> {
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
    fn pieces(&mut self) -> Parsed<(Vec<Piece>, u32)> {
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
    fn filled_in(&mut self) -> Parsed<Tree> {
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

    fn escaped(&mut self) -> Parsed<&'static str> {
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

    // ---- Calls

    fn call(&mut self, builtin: Builtin, name: &Token) -> Parsed<Tree> {
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
    fn lookup(&mut self, word: &Token) -> Parsed<Tree> {
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
    fn label_or_job(&mut self) -> Parsed<Arc<str>> {
        let token = self.peek()?;
        if token.kind == TokenKind::Quote {
            return match self.factor()?.node {
                Node::Text(text) => Ok(text),
                _ => Err(SyntaxError::new(
                    "A constant name is expected here",
                    token.span,
                )),
            };
        }
        self.advance()?;
        match token.kind {
            TokenKind::Word => Ok(Arc::from(&self.lexer.source[token.span])),
            TokenKind::QuotedName(name) | TokenKind::RawString(name) => Ok(name),
            _ => Err(SyntaxError::new("A name is expected here", token.span)),
        }
    }

    /// `name=`, or nothing.
    fn take_argument_name(&mut self) -> Parsed<Option<Arc<str>>> {
        let (lexer, peeked) = (self.lexer.clone(), self.peeked.clone());
        let token = self.advance()?;
        if token.kind == TokenKind::Word && self.take_sign("=")? {
            return Ok(Some(Arc::from(&self.lexer.source[token.span])));
        }
        (self.lexer, self.peeked) = (lexer, peeked);
        Ok(None)
    }

    /// A name that is not a keyword.
    fn take_identifier(&mut self) -> Parsed<Option<Arc<str>>> {
        let token = self.peek()?;
        let identifier = match token.kind {
            TokenKind::QuotedName(name) if !name.is_empty() => name,
            TokenKind::Word if !is_keyword(&self.lexer.source[token.span.clone()]) => {
                Arc::from(&self.lexer.source[token.span])
            }
            _ => return Ok(None),
        };
        self.advance()?;
        Ok(Some(identifier))
    }

    // ---- Tokens

    fn peek(&mut self) -> Parsed<Token> {
        if let Some(token) = &self.peeked {
            return Ok(token.clone());
        }
        let token = self.lexer.next()?;
        self.peeked = Some(token.clone());
        Ok(token)
    }

    fn advance(&mut self) -> Parsed<Token> {
        match self.peeked.take() {
            Some(token) => Ok(token),
            None => self.lexer.next(),
        }
    }

    fn at_sign(&mut self, sign: &str) -> Parsed<bool> {
        Ok(matches!(self.peek()?.kind, TokenKind::Sign(s) if s == sign))
    }

    fn take_sign(&mut self, sign: &str) -> Parsed<bool> {
        let found = self.at_sign(sign)?;
        if found {
            self.peeked = None;
        }
        Ok(found)
    }

    fn expect_sign(&mut self, sign: &str) -> Parsed<()> {
        if self.take_sign(sign)? {
            Ok(())
        } else {
            Err(self.error_here(format!("{sign} is expected here")))
        }
    }

    fn at_word(&mut self, word: &str) -> Parsed<bool> {
        let token = self.peek()?;
        Ok(token.kind == TokenKind::Word && &self.lexer.source[token.span] == word)
    }

    fn expect_word(&mut self, word: &str) -> Parsed<()> {
        if !self.at_word(word)? {
            return Err(self.error_here(format!("{word} is expected here")));
        }
        self.advance().map(|_| ())
    }

    /// Makes a node one level above its deepest child.
    fn tree(&mut self, node: Node, depth_of_children: u32) -> Parsed<Tree> {
        let depth = depth_of_children + 1;
        if depth > DEPTH_MAX {
            return Err(self.error_here("The expression is too long a chain of operators"));
        }
        Ok(Tree { node, depth })
    }

    fn error_here(&mut self, message: impl Into<String>) -> SyntaxError {
        match self.peek() {
            Ok(token) => SyntaxError::new(message, token.span),
            Err(error) => error,
        }
    }
}

fn first_duplicate(names: &[Arc<str>]) -> Option<&Arc<str>> {
    names
        .iter()
        .enumerate()
        .find(|(i, name)| names[..*i].contains(name))
        .map(|(_, name)| name)
}
