//! A text as a tree of values that know their places.
//!
//! Always: numbers keep their digits; the fields of an object are unique and keep their order; no deeper than
//! [`DEPTH_MAX`]. JSON and YAML become the same tree.

use std::borrow::Cow;
use std::ops::Range;

/// How deep values may be nested: deeper than the deepest workflow, shallower than what other JSON readers refuse.
pub(super) const DEPTH_MAX: usize = 120;

/// A value and its place in the text, in bytes.
#[derive(Clone, Debug)]
pub(super) struct Node<'t> {
    pub(super) shape: Shape<'t>,
    pub(super) span: Range<usize>,
}

#[derive(Clone, Debug)]
pub(super) enum Shape<'t> {
    Null,
    Boolean(bool),
    /// The digits, as JSON wants them.
    Number(Cow<'t, str>),
    Text(Cow<'t, str>),
    List(Vec<Node<'t>>),
    Object(Vec<Entry<'t>>),
}

/// A field of an object.
#[derive(Clone, Debug)]
pub(super) struct Entry<'t> {
    pub(super) name: Cow<'t, str>,
    pub(super) name_span: Range<usize>,
    pub(super) node: Node<'t>,
}

impl Node<'_> {
    pub(super) fn is_null(&self) -> bool {
        matches!(self.shape, Shape::Null)
    }

    /// The text, if it is one.
    pub(super) fn as_text(&self) -> Option<&str> {
        if let Shape::Text(text) = &self.shape {
            Some(text)
        } else {
            None
        }
    }

    /// The digits, if it is a number.
    pub(super) fn digits(&self) -> Option<&str> {
        if let Shape::Number(digits) = &self.shape {
            Some(digits)
        } else {
            None
        }
    }

    /// The value in words, for "expected …, but is …".
    pub(super) fn describe(&self) -> String {
        match &self.shape {
            Shape::Null => "null".to_owned(),
            Shape::Boolean(truth) => truth.to_string(),
            Shape::Number(digits) => format!("the number {}", glimpse(digits)),
            Shape::Text(text) => format!("the text {:?}", glimpse(text)),
            Shape::List(_) => "a list".to_owned(),
            Shape::Object(_) => "an object".to_owned(),
        }
    }

    /// Appends the value as JSON without blanks.
    pub(super) fn write_json(&self, out: &mut String) {
        match &self.shape {
            Shape::Null => out.push_str("null"),
            Shape::Boolean(truth) => out.push_str(if *truth { "true" } else { "false" }),
            Shape::Number(digits) => out.push_str(digits),
            Shape::Text(text) => write_text(text, out),
            Shape::List(nodes) => {
                out.push('[');
                for (n, node) in nodes.iter().enumerate() {
                    if n > 0 {
                        out.push(',');
                    }
                    node.write_json(out);
                }
                out.push(']');
            }
            Shape::Object(entries) => {
                out.push('{');
                for (n, entry) in entries.iter().enumerate() {
                    if n > 0 {
                        out.push(',');
                    }
                    write_text(&entry.name, out);
                    out.push(':');
                    entry.node.write_json(out);
                }
                out.push('}');
            }
        }
    }
}

/// Appends a text as JSON string.
pub(super) fn write_text(text: &str, out: &mut String) {
    out.push_str(&serde_json::to_string(text).expect("a text always has a JSON form"));
}

/// The beginning of a text that may be long.
pub(super) fn glimpse(text: &str) -> Cow<'_, str> {
    const SHOWN: usize = 60;
    match text.char_indices().nth(SHOWN) {
        None => Cow::Borrowed(text),
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
    }
}

/// Where the bytes `inner` of the text `value` stand in `source`, if `value` was written at `span` there. The whole span
/// if the notation (folded lines) does not say.
pub(super) fn place_inside(
    source: &str,
    span: &Range<usize>,
    value: &str,
    inner: &Range<usize>,
) -> Range<usize> {
    let Some(raw) = source.get(span.clone()) else {
        return span.clone();
    };
    let find = |at: usize| match raw.as_bytes().first() {
        Some(b'"') => quoted_offset(raw, at),
        Some(b'\'') => single_quoted_offset(raw, at),
        _ => lines_offset(raw, value, at),
    };
    match (find(inner.start), find(inner.end)) {
        (Some(start), Some(end)) if start <= end => span.start + start..span.start + end,
        _ => span.clone(),
    }
}

/// The offset in a `"…"` whose decoded text is `at` bytes long up to there.
fn quoted_offset(raw: &str, at: usize) -> Option<usize> {
    let bytes = raw.as_bytes();
    let (mut decoded, mut offset) = (0, 1);
    while decoded < at {
        match bytes.get(offset)? {
            b'\n' => return None,
            b'\\' => {
                let (length, width) = match bytes.get(offset + 1)? {
                    b'u' => {
                        let code =
                            u32::from_str_radix(raw.get(offset + 2..offset + 6)?, 16).ok()?;
                        if (0xD800..0xDC00).contains(&code) {
                            (12, 4)
                        } else {
                            (6, char::from_u32(code)?.len_utf8())
                        }
                    }
                    b'x' => (4, 1),
                    b'\n' | b'\r' | b'U' => return None,
                    _ => (2, 1),
                };
                offset += length;
                decoded += width;
            }
            _ => {
                let width = raw.get(offset..)?.chars().next()?.len_utf8();
                offset += width;
                decoded += width;
            }
        }
    }
    Some(offset)
}

/// The same in a `'…'`, where a quote is doubled.
fn single_quoted_offset(raw: &str, at: usize) -> Option<usize> {
    let bytes = raw.as_bytes();
    let (mut decoded, mut offset) = (0, 1);
    while decoded < at {
        match bytes.get(offset)? {
            b'\n' => return None,
            b'\'' => offset += 2,
            _ => offset += 1,
        }
        decoded += 1;
    }
    Some(offset)
}

/// The same in lines that stand as they are but for their indentation.
fn lines_offset(raw: &str, value: &str, at: usize) -> Option<usize> {
    let before = value.get(..at)?;
    let number = before.matches('\n').count();
    let value_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = value[value_start..].lines().next().unwrap_or_default();
    let mut start = 0;
    for _ in 0..number {
        start += raw.get(start..)?.find('\n')? + 1;
    }
    let written = raw.get(start..)?.lines().next().unwrap_or_default();
    let indent = written.strip_suffix(line)?;
    Some(start + indent.len() + (at - value_start))
}
