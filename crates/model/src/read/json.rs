//! Reads JSON into a tree.
//!
//! Always: strict JSON, one value, in time proportional to its length. Syntax ends at the first fault, because what
//! follows cannot be trusted; fields given twice are collected by the [`Reading`].

use super::node::{DEPTH_MAX, Entry, Node, Shape};
use super::reading::Reading;
use std::borrow::Cow;
use std::ops::Range;

/// A syntax fault.
struct Broken {
    message: String,
    hint: Option<&'static str>,
    span: Range<usize>,
}

/// Reads the text of `reading`.
pub(super) fn parse<'t>(reading: &mut Reading<'t>) -> Option<Node<'t>> {
    let text = reading.text();
    let mut parser = Parser {
        text,
        bytes: text.as_bytes(),
        at: 0,
        reading,
    };
    let parsed = parser.document();
    match parsed {
        Ok(node) => Some(node),
        Err(broken) => {
            let hint = broken.hint.map(str::to_owned);
            reading.clear_path();
            reading.fault_with_hint(&broken.span, broken.message, hint);
            None
        }
    }
}

struct Parser<'r, 't> {
    text: &'t str,
    bytes: &'t [u8],
    at: usize,
    reading: &'r mut Reading<'t>,
}

impl<'t> Parser<'_, 't> {
    fn document(&mut self) -> Result<Node<'t>, Broken> {
        if self.text.starts_with('\u{feff}') {
            let hint = Some("save it as UTF-8 without one");
            return Err(Broken {
                message: "the text begins with a byte order mark".to_owned(),
                hint,
                span: 0..3,
            });
        }
        self.skip_blanks();
        if self.at == self.bytes.len() {
            return Err(Broken {
                message: "the text is empty".to_owned(),
                hint: None,
                span: 0..0,
            });
        }
        let node = self.value(0)?;
        self.skip_blanks();
        if self.at < self.bytes.len() {
            return Err(self.unexpected("the end of the text, because the JSON value ends before"));
        }
        Ok(node)
    }

    fn value(&mut self, depth: usize) -> Result<Node<'t>, Broken> {
        let start = self.at;
        if depth > DEPTH_MAX {
            let message = format!("values are nested deeper than {DEPTH_MAX} levels");
            return Err(Broken {
                message,
                hint: None,
                span: start..start + 1,
            });
        }
        let shape = match self.bytes.get(start) {
            Some(b'{') => self.object(depth)?,
            Some(b'[') => self.list(depth)?,
            Some(b'"') => Shape::Text(self.string()?),
            Some(b'-' | b'0'..=b'9') => Shape::Number(Cow::Borrowed(self.number()?)),
            Some(b't') if self.word("true") => Shape::Boolean(true),
            Some(b'f') if self.word("false") => Shape::Boolean(false),
            Some(b'n') if self.word("null") => Shape::Null,
            _ => return Err(self.unexpected("a value")),
        };
        Ok(Node {
            shape,
            span: start..self.at,
        })
    }

    fn object(&mut self, depth: usize) -> Result<Shape<'t>, Broken> {
        self.at += 1;
        let mut entries = Vec::new();
        let mut names = Names::default();
        self.skip_blanks();
        if self.take(b'}') {
            return Ok(Shape::Object(entries));
        }
        loop {
            self.skip_blanks();
            let name_start = self.at;
            if self.bytes.get(self.at) != Some(&b'"') {
                let what = if entries.is_empty() {
                    "a field name in double quotes or }"
                } else {
                    "a field name in double quotes"
                };
                let mut broken = self.unexpected(what);
                if self.bytes.get(self.at) == Some(&b'}') {
                    broken.hint = Some("remove the comma before it");
                }
                return Err(broken);
            }
            let name = self.string()?;
            let name_span = name_start..self.at;
            self.skip_blanks();
            if !self.take(b':') {
                return Err(self.unexpected("a colon behind the field name"));
            }
            self.skip_blanks();
            let length = self.reading.enter(&name);
            let node = self.value(depth + 1)?;
            self.reading.leave(length);
            names.see(self.reading, &name, &name_span);
            entries.push(Entry {
                name,
                name_span,
                node,
            });
            self.skip_blanks();
            if self.take(b'}') {
                return Ok(Shape::Object(entries));
            }
            if !self.take(b',') {
                return Err(self.unexpected("a comma or }"));
            }
        }
    }

    fn list(&mut self, depth: usize) -> Result<Shape<'t>, Broken> {
        self.at += 1;
        let mut nodes = Vec::new();
        self.skip_blanks();
        if self.take(b']') {
            return Ok(Shape::List(nodes));
        }
        loop {
            self.skip_blanks();
            if self.bytes.get(self.at) == Some(&b']') {
                let mut broken = self.unexpected("a value");
                broken.hint = Some("remove the comma before it");
                return Err(broken);
            }
            let length = self.reading.enter(&nodes.len());
            nodes.push(self.value(depth + 1)?);
            self.reading.leave(length);
            self.skip_blanks();
            if self.take(b']') {
                return Ok(Shape::List(nodes));
            }
            if !self.take(b',') {
                return Err(self.unexpected("a comma or ]"));
            }
        }
    }

    /// The text between the quotes; borrowed if nothing in it is escaped.
    fn string(&mut self) -> Result<Cow<'t, str>, Broken> {
        let start = self.at;
        let unterminated = |end: usize| Broken {
            message: "the text in double quotes does not end".to_owned(),
            hint: Some("a line break inside is written \\n, a double quote \\\""),
            span: start..end,
        };
        self.at += 1;
        let mut decoded = String::new();
        let mut piece = self.at;
        loop {
            match self.bytes.get(self.at) {
                None => return Err(unterminated(start + 1)),
                Some(b'"') => {
                    let rest = &self.text[piece..self.at];
                    self.at += 1;
                    if decoded.is_empty() {
                        return Ok(Cow::Borrowed(rest));
                    }
                    decoded.push_str(rest);
                    return Ok(Cow::Owned(decoded));
                }
                Some(b'\\') => {
                    decoded.push_str(&self.text[piece..self.at]);
                    let escaped = self.escape()?;
                    decoded.push(escaped);
                    piece = self.at;
                }
                Some(b'\n' | b'\r') => return Err(unterminated(self.at)),
                Some(0..0x20) => {
                    let span = self.at..self.at + 1;
                    let message = format!(
                        "a control character (U+{:04X}) must be escaped",
                        self.bytes[self.at]
                    );
                    return Err(Broken {
                        message,
                        hint: Some("write it as \\uXXXX, a tab as \\t"),
                        span,
                    });
                }
                Some(_) => self.at += 1,
            }
        }
    }

    fn escape(&mut self) -> Result<char, Broken> {
        let start = self.at;
        self.at += 2;
        match self.bytes.get(start + 1) {
            Some(b'"') => Ok('"'),
            Some(b'\\') => Ok('\\'),
            Some(b'/') => Ok('/'),
            Some(b'b') => Ok('\u{8}'),
            Some(b'f') => Ok('\u{c}'),
            Some(b'n') => Ok('\n'),
            Some(b'r') => Ok('\r'),
            Some(b't') => Ok('\t'),
            Some(b'u') => self.unicode(start),
            _ => Err(Broken {
                message: "unknown escape in a text".to_owned(),
                hint: Some(
                    "known are \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\uXXXX; a backslash itself is written \\\\",
                ),
                span: start..start + 2,
            }),
        }
    }

    fn unicode(&mut self, start: usize) -> Result<char, Broken> {
        let code_at = |at: usize| {
            let digits = self.text.get(at..at + 4)?;
            digits
                .bytes()
                .all(|b| b.is_ascii_hexdigit())
                .then(|| u32::from_str_radix(digits, 16).ok())?
        };
        let first = code_at(start + 2);
        let (code, length) = match first {
            Some(high @ 0xD800..0xDC00) if self.text.get(start + 6..start + 8) == Some("\\u") => {
                match code_at(start + 8) {
                    Some(low @ 0xDC00..0xE000) => (
                        Some(0x1_0000 + ((high - 0xD800) << 10) + (low - 0xDC00)),
                        12,
                    ),
                    _ => (None, 12),
                }
            }
            code => (code, 6),
        };
        self.at = start + length;
        code.and_then(char::from_u32).ok_or_else(|| Broken {
            message: "\\u must be followed by four hexadecimal digits that make a character"
                .to_owned(),
            hint: None,
            span: start..(start + length).min(self.bytes.len()),
        })
    }

    fn number(&mut self) -> Result<&'t str, Broken> {
        let start = self.at;
        self.take(b'-');
        let whole = self.digits();
        let mut valid = whole == 1 || (whole > 1 && self.bytes[self.at - whole] != b'0');
        if self.take(b'.') {
            valid &= self.digits() > 0;
        }
        if self.take(b'e') || self.take(b'E') {
            if !self.take(b'-') {
                self.take(b'+');
            }
            valid &= self.digits() > 0;
        }
        // `1x` or `1.2.3` is a slip in the number rather than a number and something else.
        let end = self.bytes[self.at..]
            .iter()
            .take_while(|b| b.is_ascii_alphanumeric() || **b == b'.')
            .count();
        if valid && end == 0 {
            return Ok(&self.text[start..self.at]);
        }
        Err(Broken {
            message: "not a number".to_owned(),
            hint: Some("a text needs double quotes"),
            span: start..self.at + end,
        })
    }

    fn digits(&mut self) -> usize {
        let count = self.bytes[self.at..]
            .iter()
            .take_while(|b| b.is_ascii_digit())
            .count();
        self.at += count;
        count
    }

    fn word(&mut self, word: &str) -> bool {
        let rest = &self.bytes[self.at..];
        let behind = rest.get(word.len()).is_some_and(u8::is_ascii_alphanumeric);
        let found = rest.starts_with(word.as_bytes()) && !behind;
        if found {
            self.at += word.len();
        }
        found
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.bytes.get(self.at) == Some(&byte);
        self.at += usize::from(found);
        found
    }

    fn skip_blanks(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn unexpected(&self, wanted: &str) -> Broken {
        match self.text[self.at..].chars().next() {
            None => Broken {
                message: format!("the text ends where {wanted} was expected"),
                hint: None,
                span: self.at.saturating_sub(1)..self.at,
            },
            Some(found) => Broken {
                message: format!("expected {wanted}, but found {found:?}"),
                hint: None,
                span: self.at..self.at + found.len_utf8(),
            },
        }
    }
}

/// The field names of one object.
#[derive(Default)]
pub(super) struct Names(std::collections::BTreeMap<String, usize>);

impl Names {
    /// Notes a name; a second one is a fault.
    pub(super) fn see(&mut self, reading: &mut Reading<'_>, name: &str, span: &Range<usize>) {
        if let Some(first) = self.0.get(name) {
            if reading.only_counts() {
                return;
            }
            let line = reading.line_of(*first);
            let message = format!("the field {:?} is given twice", super::node::glimpse(name));
            let hint = Some(format!("it was given first in line {line}"));
            let length = reading.enter(&name);
            reading.fault_with_hint(span, message, hint);
            reading.leave(length);
        } else {
            self.0.insert(name.to_owned(), span.start);
        }
    }
}
