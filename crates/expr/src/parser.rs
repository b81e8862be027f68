//! Reads source into a syntax tree: recursive descent, with binding strengths for the binary operators.
//! The parts: expressions and tokens here, `factor` what stands alone, `call` what has arguments.
//! Always: reading fails with a place and a message, or consumes the whole source. Nesting is bounded, so that no
//! source, however hostile, exhausts the stack here or at the tree's evaluation.

mod call;
mod factor;

use std::sync::Arc;

use crate::error::SyntaxError;
use crate::functions::Builtin;
use crate::lexer::{Lexer, Token, TokenKind, TwoQuotes, is_keyword};
use crate::node::{Lambda, Node, Operator, Piece, binding};

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
    // Two quotes open a text that ends with two quotes, if the source can be parsed this way. Otherwise they are the
    // empty text.
    parse_with(TwoQuotes::Open).or_else(|error| {
        if !source.contains("''") {
            return Err(error);
        }
        parse_with(TwoQuotes::AreEmpty).map_err(|other| {
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
        let kind = self.peek()?.kind;
        if !matches!(
            kind,
            TokenKind::Word | TokenKind::QuotedName(_) | TokenKind::Sign("(")
        ) {
            return Ok(None);
        }
        let (lexer, peeked) = (self.lexer.clone(), self.peeked.clone());
        // Whatever is wrong here will be reported when the same text is read as an expression.
        let parameters = self.parameters().unwrap_or(None);
        if parameters.is_none() {
            (self.lexer, self.peeked) = (lexer, peeked);
        }
        Ok(parameters)
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
        if !matches!(token.kind, TokenKind::Word | TokenKind::Sign(_)) {
            return Ok(None);
        }
        let written = &self.lexer.source[token.span];
        Ok(Operator::ALL_BUT_FALLBACK
            .into_iter()
            .find(|operator| operator.sign() == written))
    }

    /// Parses `!` or `-`, once. A minus must touch the digits of a number. A blank may separate it from anything else.
    fn prefix(&mut self) -> Parsed<Tree> {
        if self.take_sign("!")? {
            let operand = self.fallback()?;
            return self.tree(Node::Not(Box::new(operand.node)), operand.depth);
        }
        if self.at_sign("-")? && !self.at_signed_number()? {
            let minus = self.advance()?;
            if self.peek()?.kind == TokenKind::Number {
                return Err(SyntaxError::new(
                    "A minus sign must touch its number",
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

    /// Parses `a?`, `a ? b` and `a? ? b`. Two adjacent question marks, as in `a ??`, are an error.
    fn fallback(&mut self) -> Parsed<Tree> {
        let mut left = self.suffixed()?;
        let mut is_complete = false;
        while self.at_sign("?")? {
            let question = self.advance()?;
            let is_doubled = self.lexer.source[question.span.end..].starts_with('?');
            let has_alternative = self.at_factor()?;
            if is_doubled || (is_complete && !has_alternative) {
                return Err(SyntaxError::new(
                    "Only one question mark is allowed",
                    question.span,
                ));
            }
            left = if has_alternative {
                let right = self.suffixed()?;
                let depth = left.depth.max(right.depth);
                self.tree(Node::binary(Operator::OrElse, left.node, right.node), depth)?
            } else {
                self.tree(Node::OrMissing(Box::new(left.node)), left.depth)?
            };
            is_complete = !has_alternative;
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
        let is_word = token.kind == TokenKind::Word;
        let name = self.field_name(token)?;
        let node = match Builtin::of_suffix(&name).filter(|_| is_word) {
            Some(builtin) => Node::Call(builtin, vec![Some(left.node)]),
            None => Node::Field(Box::new(left.node), name),
        };
        self.tree(node, left.depth)
    }

    // ---- Tokens

    /// Parses the name of an object's field after a dot. Keywords are valid names here.
    fn field_name(&self, token: Token) -> Parsed<Arc<str>> {
        match token.kind {
            TokenKind::QuotedName(name) => Ok(name),
            TokenKind::Word => Ok(Arc::from(&self.lexer.source[token.span])),
            TokenKind::End
            | TokenKind::Number
            | TokenKind::RawString(_)
            | TokenKind::Quote
            | TokenKind::Variable(_)
            | TokenKind::JobResource(..)
            | TokenKind::Sign(_) => Err(SyntaxError::new(
                "A field name is expected here",
                token.span,
            )),
        }
    }

    /// A name that is not a keyword.
    fn take_identifier(&mut self) -> Parsed<Option<Arc<str>>> {
        let token = self.peek()?;
        let identifier = if let TokenKind::QuotedName(name) = token.kind {
            name
        } else if token.kind == TokenKind::Word {
            Arc::from(&self.lexer.source[token.span])
        } else {
            return Ok(None);
        };
        let is_back_quoted = self.lexer.source[self.peek()?.span].starts_with('`');
        if identifier.is_empty() || (is_keyword(&identifier) && !is_back_quoted) {
            return Ok(None);
        }
        self.advance()?;
        Ok(Some(identifier))
    }

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
