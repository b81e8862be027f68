//! What is wrong with a text, and where.
//!
//! Always: a fault names the path of the value (a JSON pointer), its line and column, and what to do where that is known.
//! The list of faults is bounded, so that a hostile text makes no endless answer.

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use std::fmt;
use std::ops::Range;

/// One thing that is wrong with a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which value: `/instructions/0/then/instructions/1/predicate`, empty for the whole text.
    pub path: String,
    /// The line, counted from 1.
    pub line: usize,
    /// The column in characters, counted from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    /// The guilty bytes of the text.
    pub(crate) span: Range<usize>,
}

/// Everything that is wrong with a text, in the order of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults {
    list: Vec<Fault>,
    omitted: usize,
}

impl Faults {
    /// So many faults are told, the rest is only counted.
    pub const COUNT_MAX: usize = 100;

    /// Finds the lines and columns. There must be at least one fault.
    pub(crate) fn locate(mut list: Vec<Fault>, omitted: usize, text: &str) -> Faults {
        list.sort_by_key(|fault| fault.span.start);
        let (mut line, mut line_start, mut seen) = (1, 0, 0);
        for fault in &mut list {
            let at = text.floor_char_boundary(fault.span.start);
            let passed = &text[seen..at];
            line += passed.matches('\n').count();
            if let Some(newline) = passed.rfind('\n') {
                line_start = seen + newline + 1;
            }
            seen = at;
            fault.line = line;
            fault.column = text[line_start..at].chars().count() + 1;
        }
        Faults { list, omitted }
    }

    /// The faults in the order of the text.
    pub fn iter(&self) -> std::slice::Iter<'_, Fault> {
        self.list.iter()
    }

    /// How many faults there are, those left out included.
    pub fn count(&self) -> usize {
        self.list.len() + self.omitted
    }

    /// All faults, each drawn under its line of `text`. `origin` says where the text comes from.
    pub fn draw(&self, text: &str, origin: &str) -> String {
        let mut drawn: Vec<String> = self.iter().map(|fault| fault.draw(text, origin)).collect();
        drawn.extend(self.omitted_line());
        drawn.join("\n\n")
    }

    fn omitted_line(&self) -> Option<String> {
        (self.omitted > 0).then(|| format!("and {} more faults", self.omitted))
    }
}

impl<'a> IntoIterator for &'a Faults {
    type Item = &'a Fault;
    type IntoIter = std::slice::Iter<'a, Fault>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Faults {
    /// One line per fault.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, fault) in self.iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            fault.fmt(f)?;
        }
        self.omitted_line()
            .map_or(Ok(()), |line| write!(f, "\n{line}"))
    }
}

impl std::error::Error for Faults {}

impl From<Faults> for crate::Problem {
    fn from(faults: Faults) -> crate::Problem {
        crate::Problem::new("InvalidItem", faults.to_string())
    }
}

impl fmt::Display for Fault {
    /// `line 3, column 5, /instructions/0: unknown field "lable"; did you mean "label"?`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)?;
        if !self.path.is_empty() {
            write!(f, ", {}", self.path)?;
        }
        write!(f, ": {}", self.message)?;
        self.hint
            .as_ref()
            .map_or(Ok(()), |hint| write!(f, "; {hint}"))
    }
}

/// A longer line is shown only around the fault.
const LINE_MAX: usize = 2_000;
const AROUND: usize = 60;

impl Fault {
    /// The fault with its line of `text` and a mark under the guilty part. `origin` says where the text comes from.
    pub fn draw(&self, text: &str, origin: &str) -> String {
        let start = text.floor_char_boundary(self.span.start);
        let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = text[start..]
            .find('\n')
            .map_or(text.len(), |length| start + length);
        let end = text.floor_char_boundary(self.span.end.clamp(start, line_end));
        let is_short = line_end - line_start <= LINE_MAX;
        let (shown_start, shown_end) = if is_short {
            (line_start, line_end)
        } else {
            let from = text
                .floor_char_boundary(start.saturating_sub(AROUND))
                .max(line_start);
            (from, text.floor_char_boundary(start + AROUND).min(line_end))
        };
        let end = end.min(shown_end);
        let mark = AnnotationKind::Primary.span(start - shown_start..end - shown_start);
        let snippet = Snippet::source(&text[shown_start..shown_end])
            .line_start(self.line)
            .annotation(mark);
        let title = Level::ERROR.primary_title(&self.message);
        let mut group: Group<'_> = if is_short {
            title.element(snippet.path(origin))
        } else {
            // The column counts from the begin of the line, not of the part that is shown.
            title
                .element(
                    Origin::path(origin)
                        .line(self.line)
                        .char_column(self.column),
                )
                .element(snippet)
        };
        if !self.path.is_empty() {
            group = group.element(Level::NOTE.message(format!("at {}", self.path)));
        }
        if let Some(hint) = &self.hint {
            group = group.element(Level::HELP.message(hint));
        }
        Renderer::plain().render(&[group])
    }
}
