//! Reads YAML into the same tree as JSON.
//!
//! Always: one document; plain scalars mean what YAML 1.2 says (`yes` is a text); names of fields are texts. What aliases
//! repeat is bounded, so that a small text cannot become a huge tree.

use super::json::Names;
use super::node::{DEPTH_MAX, Entry, Node, Shape};
use super::reading::Reading;
use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, Span};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

/// What aliases may add: nodes and bytes of text.
const ALIASED_MAX: usize = 1_000_000;

/// A fault that ends the reading.
struct Broken {
    message: String,
    hint: Option<&'static str>,
    span: Range<usize>,
}

/// Reads the text of `reading`.
pub(super) fn parse<'t>(reading: &mut Reading<'t>) -> Option<Node<'t>> {
    let text = reading.text();
    let mut options = granit_parser::Options::default();
    options.set_emit_comments(false);
    // A key may be as long as a name may be.
    options.simple_key_max_lookahead = 4_096;
    let parser = Parser::new_from_str_with_options(text, options);
    let mut builder = Builder {
        parser,
        length: text.len(),
        anchors: BTreeMap::new(),
        aliased: 0,
        reading,
    };
    match builder.document() {
        Ok(node) => Some(node),
        Err(broken) => {
            let hint = broken.hint.map(str::to_owned);
            reading.clear_path();
            reading.fault_with_hint(&broken.span, broken.message, hint);
            None
        }
    }
}

struct Builder<'r, 't> {
    parser: Parser<'t, granit_parser::StrInput<'t>>,
    length: usize,
    anchors: BTreeMap<usize, Node<'t>>,
    aliased: usize,
    reading: &'r mut Reading<'t>,
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the events of the parser are an open list"
)]
impl<'t> Builder<'_, 't> {
    fn next(&mut self) -> Result<(Event<'t>, Range<usize>), Broken> {
        match self.parser.next_event() {
            None => Ok((Event::StreamEnd, self.length..self.length)),
            Some(Ok((event, span))) => Ok((event, self.range(&span))),
            Some(Err(error)) => {
                let at = error
                    .marker()
                    .byte_offset()
                    .unwrap_or(self.length)
                    .min(self.length);
                let span = at..self.length.min(at + 1);
                let message = if matches!(error.kind(), ErrorKind::RecursionLimitExceeded) {
                    format!("values are nested deeper than {DEPTH_MAX} levels")
                } else {
                    format!("not YAML: {}", error.info())
                };
                Err(Broken {
                    message,
                    hint: None,
                    span,
                })
            }
        }
    }

    fn range(&self, span: &Span) -> Range<usize> {
        let range = span.byte_range().unwrap_or(self.length..self.length);
        range.start.min(self.length)..range.end.min(self.length)
    }

    fn document(&mut self) -> Result<Node<'t>, Broken> {
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentStart(..) => {}
                Event::StreamEnd => {
                    return Err(Broken {
                        message: "the text is empty".to_owned(),
                        hint: None,
                        span,
                    });
                }
                event => {
                    let node = self.node(event, span, 0)?;
                    self.end()?;
                    return Ok(node);
                }
            }
        }
    }

    fn end(&mut self) -> Result<(), Broken> {
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(()),
                Event::DocumentStart(..) => {
                    let message = "a second document begins here".to_owned();
                    return Err(Broken {
                        message,
                        hint: Some("put each item into a file of its own"),
                        span,
                    });
                }
                _ => {}
            }
        }
    }

    fn node(
        &mut self,
        event: Event<'t>,
        span: Range<usize>,
        depth: usize,
    ) -> Result<Node<'t>, Broken> {
        if depth > DEPTH_MAX {
            let message = format!("values are nested deeper than {DEPTH_MAX} levels");
            return Err(Broken {
                message,
                hint: None,
                span,
            });
        }
        let (anchor, node) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let tag = tag
                    .as_deref()
                    .map(|tag| tag.core_suffix().unwrap_or("?").to_owned());
                (
                    anchor,
                    Node {
                        shape: scalar(text, style, tag.as_deref(), &span)?,
                        span,
                    },
                )
            }
            Event::SequenceStart(_, anchor, _) => (anchor, self.list(span, depth)?),
            Event::MappingStart(_, anchor, _) => (anchor, self.object(span, depth)?),
            Event::Alias(id) => return self.alias(id, &span),
            _ => {
                return Err(Broken {
                    message: "a value was expected".to_owned(),
                    hint: None,
                    span,
                });
            }
        };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn list(&mut self, begin: Range<usize>, depth: usize) -> Result<Node<'t>, Broken> {
        let mut nodes = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::SequenceEnd {
                return Ok(Node {
                    shape: Shape::List(nodes),
                    span: begin.start..span.end.max(begin.end),
                });
            }
            let length = self.reading.enter(&nodes.len());
            nodes.push(self.node(event, span, depth + 1)?);
            self.reading.leave(length);
        }
    }

    fn object(&mut self, begin: Range<usize>, depth: usize) -> Result<Node<'t>, Broken> {
        let mut entries = Vec::new();
        let mut names = Names::default();
        loop {
            let (event, name_span) = self.next()?;
            let name = match event {
                Event::MappingEnd => {
                    return Ok(Node {
                        shape: Shape::Object(entries),
                        span: begin.start..name_span.end.max(begin.end),
                    });
                }
                Event::Scalar(name, ..) => name,
                Event::Alias(id) => match self.alias(id, &name_span)?.shape {
                    Shape::Text(name) => name,
                    Shape::Null
                    | Shape::Boolean(_)
                    | Shape::Number(_)
                    | Shape::List(_)
                    | Shape::Object(_) => {
                        return Err(no_name(name_span));
                    }
                },
                _ => return Err(no_name(name_span)),
            };
            let (event, span) = self.next()?;
            let length = self.reading.enter(&name);
            let node = self.node(event, span, depth + 1)?;
            self.reading.leave(length);
            names.see(self.reading, &name, &name_span);
            entries.push(Entry {
                name,
                name_span,
                node,
            });
        }
    }

    fn alias(&mut self, id: usize, span: &Range<usize>) -> Result<Node<'t>, Broken> {
        let Some(node) = self.anchors.get(&id) else {
            let message = "this alias repeats a value that it stands in itself".to_owned();
            return Err(Broken {
                message,
                hint: None,
                span: span.clone(),
            });
        };
        self.aliased += weight(node);
        if self.aliased > ALIASED_MAX {
            let hint = Some("write the values out, or leave some away");
            return Err(Broken {
                message: "aliases repeat too much".to_owned(),
                hint,
                span: span.clone(),
            });
        }
        Ok(node.clone())
    }
}

fn no_name(span: Range<usize>) -> Broken {
    let hint = Some("a text that begins with a bracket or a brace needs quotes");
    Broken {
        message: "the name of a field must be a text".to_owned(),
        hint,
        span,
    }
}

/// How much memory a repeated value costs.
fn weight(node: &Node<'_>) -> usize {
    1 + match &node.shape {
        Shape::Null | Shape::Boolean(_) => 0,
        Shape::Number(text) | Shape::Text(text) => text.len(),
        Shape::List(nodes) => nodes.iter().map(weight).sum(),
        Shape::Object(entries) => entries
            .iter()
            .map(|entry| entry.name.len() + weight(&entry.node))
            .sum(),
    }
}

/// What a scalar means: only a plain one can be something else than a text.
fn scalar<'t>(
    text: Cow<'t, str>,
    style: ScalarStyle,
    tag: Option<&str>,
    span: &Range<usize>,
) -> Result<Shape<'t>, Broken> {
    match tag {
        None if style != ScalarStyle::Plain => Ok(Shape::Text(text)),
        Some("str" | "") => Ok(Shape::Text(text)),
        None | Some("null" | "bool" | "int" | "float") => Ok(match &*text {
            "" | "~" | "null" | "Null" | "NULL" => Shape::Null,
            "true" | "True" | "TRUE" => Shape::Boolean(true),
            "false" | "False" | "FALSE" => Shape::Boolean(false),
            other => match number(other) {
                Some(digits) if *digits == *text => Shape::Number(text),
                Some(digits) => Shape::Number(Cow::Owned(digits.into_owned())),
                None => Shape::Text(text),
            },
        }),
        Some(_) => Err(Broken {
            message: "this tag has no meaning here".to_owned(),
            hint: Some("known are !!str, !!int, !!float, !!bool and !!null"),
            span: span.clone(),
        }),
    }
}

/// The digits of a YAML number as JSON wants them.
fn number(text: &str) -> Option<Cow<'_, str>> {
    let radix = |digits: &str, radix| {
        u64::from_str_radix(digits, radix)
            .ok()
            .map(|n| Cow::Owned(n.to_string()))
    };
    let plain = |digits: &str| digits.bytes().all(|b| b.is_ascii_digit());
    if let Some(digits) = text.strip_prefix("0x") {
        return digits
            .bytes()
            .all(|b| b.is_ascii_hexdigit())
            .then(|| radix(digits, 16))?;
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return plain(digits).then(|| radix(digits, 8))?;
    }
    let (sign, unsigned) = match text.as_bytes().first()? {
        b'-' => ("-", &text[1..]),
        b'+' => ("", &text[1..]),
        _ => ("", text),
    };
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (&unsigned[..at], Some(&unsigned[at + 1..])),
        None => (unsigned, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.len() + fraction.len() == 0 || !plain(whole) || !plain(fraction) {
        return None;
    }
    let exponent = match exponent {
        None => String::new(),
        Some(exponent) => {
            let digits = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
            if digits.is_empty() || !plain(digits) {
                return None;
            }
            format!("e{exponent}")
        }
    };
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        digits => digits,
    };
    let point = if fraction.is_empty() { "" } else { "." };
    Some(Cow::Owned(format!(
        "{sign}{whole}{point}{fraction}{exponent}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_numbers_become_json_numbers() {
        for (yaml, json) in [
            ("0", "0"),
            ("007", "7"),
            ("+5", "5"),
            ("-0.50", "-0.50"),
            (".5", "0.5"),
            ("5.", "5"),
            ("1e3", "1e3"),
            ("0x1F", "31"),
            ("0o17", "15"),
            (
                "123456789012345678901234567890",
                "123456789012345678901234567890",
            ),
        ] {
            assert_eq!(number(yaml).as_deref(), Some(json), "{yaml}");
        }
        for text in [
            "", "-", ".", "1_000", "12:30", "1e", "0x", "0xg", "1.2.3", "x", ".inf", "0,1", "1..2",
        ] {
            assert_eq!(number(text), None, "{text}");
        }
    }
}
