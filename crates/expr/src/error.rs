//! The two ways an expression goes wrong: it cannot be read (`SyntaxError`), or it cannot be computed (`EvalError`).
//! Always: the message is complete for the reader; it is what an order's outcome or an editor shows.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::number::NumberError;
use crate::printer;
use crate::value::Value;

/// The source is no expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// What is wrong.
    pub message: String,
    /// Where, in bytes of the source.
    pub span: Range<usize>,
}

impl SyntaxError {
    /// An error at a place of the source.
    pub fn new(message: impl Into<String>, span: Range<usize>) -> SyntaxError {
        SyntaxError {
            message: message.into(),
            span,
        }
    }

    /// Shows the source line with a mark under the guilty part. `origin` says where the source comes from.
    pub fn draw(&self, source: &str, origin: &str) -> String {
        let start = source.floor_char_boundary(self.span.start);
        let line_start = source[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = source[start..]
            .find('\n')
            .map_or(source.len(), |length| start + length);
        let line = source[line_start..line_end].trim_end_matches('\r');
        let line_number = source[..line_start].matches('\n').count() + 1;
        let column = source[line_start..start].chars().count();
        let end = source
            .floor_char_boundary(self.span.end.min(line_end))
            .max(start);
        let width = source[start..end].chars().count().max(1);
        let gutter = line_number.to_string();
        let blank = " ".repeat(gutter.len());
        // Tabs stay tabs, so that the mark stands under its text whatever the tab width is.
        let indent: String = line
            .chars()
            .take(column)
            .map(|c| if c == '\t' { '\t' } else { ' ' })
            .collect();
        format!(
            "{message}\n{blank}--> {origin}:{line_number}:{column}\n{blank} |\n{gutter} | {line}\n{blank} | {indent}{mark}",
            message = self.message,
            column = column + 1,
            mark = "^".repeat(width),
        )
    }
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (at offset {})", self.message, self.span.start)
    }
}

impl std::error::Error for SyntaxError {}

/// An expression could not be computed. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct EvalError(Arc<str>);

impl EvalError {
    /// An error with the text that users see.
    pub fn new(message: impl Into<Arc<str>>) -> EvalError {
        EvalError(message.into())
    }

    /// What users see.
    pub fn message(&self) -> &str {
        &self.0
    }

    /// There is nothing of this name.
    pub fn unknown_name(name: &str) -> EvalError {
        EvalError::new(format!("No such named value: {name}"))
    }

    /// A value is of another type than wanted.
    pub fn mismatch(wanted: &str, found: &Value) -> EvalError {
        EvalError::new(format!(
            "{wanted} expected but {} found",
            printer::glimpse_of(found)
        ))
    }

    /// What is asked for does not exist where the expression is evaluated.
    pub fn not_available(what: &str) -> EvalError {
        EvalError::new(format!("{what} is not available here"))
    }
}

impl fmt::Display for EvalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for EvalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EvalError({:?})", self.0)
    }
}

impl std::error::Error for EvalError {}

impl From<NumberError> for EvalError {
    fn from(error: NumberError) -> EvalError {
        EvalError::new(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_drawn_under_its_source_line() {
        let error = SyntaxError::new("Unknown symbol: foo", 15..18);
        assert_eq!(
            error.draw("'ä' ++\n\t'b' ++foo\n", "job.yaml"),
            "Unknown symbol: foo\n --> job.yaml:2:8\n  |\n2 | \t'b' ++foo\n  | \t      ^^^"
        );
    }

    #[test]
    fn an_error_at_the_end_or_beyond_is_drawn_too() {
        let drawn = SyntaxError::new("x", 3..9).draw("1 +", "here");
        assert_eq!(drawn, "x\n --> here:1:4\n  |\n1 | 1 +\n  |    ^");
    }
}
