//! Cuts the source into tokens, one at a time, from where the parser stands.
//! Always: a token lies at byte bounds of characters, blanks and comments before it are skipped.
//! A "…" string is no token: the lexer reports its opening quote, and the parser reads the inside, because expressions
//! stand in it. Whether a sign belongs to a number is decided by the parser too.

use std::ops::Range;
use std::sync::Arc;

use crate::error::SyntaxError;

pub(crate) const KEYWORDS: [&str; 10] = [
    "argument", "else", "error", "false", "if", "in", "matches", "missing", "then", "true",
];

#[derive(Clone, PartialEq, Debug)]
pub(crate) enum TokenKind {
    End,
    /// Digits, maybe with a fraction.
    Number,
    /// '…' or ''…''
    RawString(Arc<str>),
    /// The `"` at the beginning.
    Quote,
    /// A word, not back-quoted; also keywords.
    Word,
    /// `` `any name` ``
    QuotedName(Arc<str>),
    /// `$name`, `${name.field.field}`
    Variable(Vec<Arc<str>>),
    JobResource(Arc<str>, Option<Arc<str>>),
    Sign(&'static str),
}

#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Token {
    pub(crate) kind: TokenKind,
    pub(crate) span: Range<usize>,
}

/// How to read two single quotes in a row, which either are an empty string or open a string with quotes inside.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum TwoQuotes {
    /// An empty string, if followed by what may follow a string.
    AreEmpty,
    /// Open a string, if there are two closing quotes.
    Open,
}

#[derive(Clone)]
pub(crate) struct Lexer<'a> {
    pub(crate) source: &'a str,
    pub(crate) position: usize,
    two_quotes: TwoQuotes,
}

/// Signs, longer ones before their beginnings.
const SIGNS: [&str; 29] = [
    "=>", "==", "!=", "<=", ">=", "&&", "||", "++", "(", ")", "[", "]", "{", "}", ",", ":", ".",
    "=", "!", "<", ">", "+", "-", "*", "/", "?", ";", "&", "|",
];

pub(crate) fn starts_name(c: char) -> bool {
    c == '_' || unicode_ident::is_xid_start(c)
}

pub(crate) fn continues_name(c: char) -> bool {
    unicode_ident::is_xid_continue(c)
}

/// Whether the text may stand as a name without back-quotes.
pub(crate) fn is_plain_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(starts_name) && chars.all(continues_name)
}

pub(crate) fn is_keyword(word: &str) -> bool {
    word == "variable" || KEYWORDS.contains(&word)
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(source: &'a str, two_quotes: TwoQuotes) -> Lexer<'a> {
        Lexer {
            source,
            position: 0,
            two_quotes,
        }
    }

    pub(crate) fn rest(&self) -> &'a str {
        &self.source[self.position..]
    }

    pub(crate) fn next(&mut self) -> Result<Token, SyntaxError> {
        self.skip_blanks()?;
        let start = self.position;
        let kind = self.kind()?;
        Ok(Token {
            kind,
            span: start..self.position,
        })
    }

    fn kind(&mut self) -> Result<TokenKind, SyntaxError> {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else {
            return Ok(TokenKind::End);
        };
        match first {
            '0'..='9' => self.number(),
            '\'' => self.raw_string(),
            '"' => {
                self.position += 1;
                Ok(TokenKind::Quote)
            }
            '`' => self.quoted_name().map(TokenKind::QuotedName),
            '$' => self.variable(),
            c if starts_name(c) => {
                let word = self.word();
                if word == "JobResource" && self.rest().starts_with(':') {
                    return self.job_resource();
                }
                Ok(TokenKind::Word)
            }
            c => {
                let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) else {
                    return Err(self.error(format!("Unexpected character {c:?}"), c.len_utf8()));
                };
                self.position += sign.len();
                Ok(TokenKind::Sign(sign))
            }
        }
    }

    fn skip_blanks(&mut self) -> Result<(), SyntaxError> {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start();
            self.position += rest.len() - trimmed.len();
            if trimmed.starts_with("//") {
                self.position += trimmed.find('\n').unwrap_or(trimmed.len());
            } else if trimmed.starts_with("/*") {
                let Some(end) = trimmed.find("*/") else {
                    return Err(self.error("Comment without end: */ is missing", 2));
                };
                self.position += end + 2;
            } else {
                return Ok(());
            }
        }
    }

    fn number(&mut self) -> Result<TokenKind, SyntaxError> {
        self.skip_digits();
        let rest = self.rest().as_bytes();
        if rest.first() == Some(&b'.') && rest.get(1).is_some_and(u8::is_ascii_digit) {
            self.position += 1;
            self.skip_digits();
        }
        if let Some(c) = self.rest().chars().next().filter(|c| continues_name(*c)) {
            return Err(self.error("Unexpected character in a number", c.len_utf8()));
        }
        Ok(TokenKind::Number)
    }

    fn skip_digits(&mut self) {
        self.position += self.rest().bytes().take_while(u8::is_ascii_digit).count();
    }

    /// '…', or more quotes on either side of a text with fewer quotes.
    fn raw_string(&mut self) -> Result<TokenKind, SyntaxError> {
        let rest = self.rest();
        let count = rest.bytes().take_while(|b| *b == b'\'').count();
        let (quotes, inside) = rest.split_at(count);
        if count == 2 && self.two_quotes == TwoQuotes::AreEmpty && may_follow_string(inside) {
            self.position += count;
            return Ok(TokenKind::RawString(Arc::from("")));
        }
        let Some(length) = inside.find(quotes) else {
            return Err(self.error(format!("String without end: {quotes} is missing"), count));
        };
        self.position += 2 * count + length;
        Ok(TokenKind::RawString(Arc::from(
            inside[..length].replace("\r\n", "\n"),
        )))
    }

    /// The name between back-quotes; a back-quote in it is doubled.
    fn quoted_name(&mut self) -> Result<Arc<str>, SyntaxError> {
        let inside = &self.rest()[1..];
        let mut position = 0;
        while let Some(quote) = inside[position..].find('`') {
            position += quote + 1;
            if !inside[position..].starts_with('`') {
                self.position += 1 + position;
                return Ok(Arc::from(inside[..position - 1].replace("``", "`")));
            }
            position += 1;
        }
        Err(self.error("Name without end: ` is missing", 1))
    }

    /// A name in a place where only a name may stand, so that keywords are names as well.
    pub(crate) fn name(&mut self) -> Result<Arc<str>, SyntaxError> {
        match self.rest().chars().next() {
            Some('`') => self.quoted_name(),
            Some(c) if starts_name(c) => Ok(Arc::from(self.word())),
            _ => Err(self.error("A name is expected here", 1)),
        }
    }

    /// What begins with a dollar, inside and outside of strings. Not `$(`, which the parser handles.
    pub(crate) fn variable(&mut self) -> Result<TokenKind, SyntaxError> {
        self.position += 1;
        let rest = self.rest();
        if rest.starts_with(|c: char| c.is_ascii_digit()) {
            let digit = &rest[..1];
            self.position += 1;
            return Ok(TokenKind::Variable(vec![Arc::from(digit)]));
        }
        if !rest.starts_with('{') {
            return Ok(TokenKind::Variable(vec![self.name()?]));
        }
        self.position += 1;
        let mut path = Vec::new();
        loop {
            if path.is_empty() && self.rest().starts_with(|c: char| c.is_ascii_digit()) {
                path.push(Arc::from(&self.rest()[..1]));
                self.position += 1;
            } else {
                path.push(self.name()?);
            }
            let separator = self.rest().chars().next();
            self.position += usize::from(matches!(separator, Some('.' | '}')));
            match separator {
                Some('.') => {}
                Some('}') => return Ok(TokenKind::Variable(path)),
                _ => return Err(self.error("} is expected here", 1)),
            }
        }
    }

    fn job_resource(&mut self) -> Result<TokenKind, SyntaxError> {
        self.position += 1;
        let rest = self.rest();
        let in_path = |c: char| continues_name(c) || "-./".contains(c);
        let length = rest.find(|c| !in_path(c)).unwrap_or(rest.len());
        let path = &rest[..length];
        if !path.starts_with(continues_name) || path.ends_with(['.', '/', '-']) {
            return Err(self.error(
                "JobResource: must be followed by the path of a job resource",
                length.max(1),
            ));
        }
        self.position += length;
        let path = Arc::from(path);
        let behind_colon = self
            .rest()
            .strip_prefix(':')
            .and_then(|behind| behind.chars().next());
        if !behind_colon.is_some_and(|c| c == '`' || starts_name(c)) {
            return Ok(TokenKind::JobResource(path, None));
        }
        self.position += 1;
        Ok(TokenKind::JobResource(path, Some(self.name()?)))
    }

    fn word(&mut self) -> &'a str {
        let rest = self.rest();
        let length = rest.find(|c| !continues_name(c)).unwrap_or(rest.len());
        self.position += length;
        &rest[..length]
    }

    pub(crate) fn error(&self, message: impl Into<String>, length: usize) -> SyntaxError {
        let end = (self.position + length).min(self.source.len());
        SyntaxError::new(message, self.position..end)
    }
}

/// Whether this may stand behind a complete string. A parenthesis may not: nobody applies an empty string.
fn may_follow_string(rest: &str) -> bool {
    rest.chars()
        .next()
        .is_none_or(|c| c.is_whitespace() || ")]},:=!<>+-*/?&|.".contains(c))
}
