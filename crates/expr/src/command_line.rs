//! The command line of a `CommandLineExecutable`: words separated by blanks, the first of them the program.
//! Always: `'…'` is literal; `"…"` and bare text fill in `$name`, `${name.field}` and `$(expression)`; pieces that touch
//! are one word, and what is filled in never falls apart into words. No shell is involved.
//! In bare text a backslash escapes only a quote, a dollar or a blank, so that Windows paths need no care.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::error::{EvalError, SyntaxError};
use crate::expression::Expr;
use crate::lexer::{Lexer, TwoQuotes};
use crate::node::{Node, Piece};
use crate::parser;
use crate::scope::Scope;

/// A command line with places to fill in. In JSON it is the string it was written as.
#[derive(Clone, PartialEq, Eq)]
pub struct CommandLine {
    source: Arc<str>,
    words: Vec<Expr>,
}

impl CommandLine {
    /// Reads a command line.
    pub fn parse(source: &str) -> Result<CommandLine, SyntaxError> {
        let mut lexer = Lexer::new(source, TwoQuotes::AreEmpty);
        let mut words = Vec::new();
        loop {
            lexer.position += lexer.rest().len() - lexer.rest().trim_start().len();
            if lexer.rest().is_empty() {
                break;
            }
            words.push(word(&mut lexer)?);
        }
        if words.is_empty() {
            return Err(SyntaxError::new(
                "The command line names no program",
                0..source.len(),
            ));
        }
        Ok(CommandLine {
            source: Arc::from(source),
            words,
        })
    }

    /// The source as it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The words as expressions, the program first.
    pub fn expressions(&self) -> &[Expr] {
        &self.words
    }

    /// The words with everything filled in, the program first.
    pub fn words(&self, scope: &dyn Scope) -> Result<Vec<String>, EvalError> {
        let words = self
            .words
            .iter()
            .map(|word| word.eval_text(scope).map(|text| text.to_string()));
        let words = words.collect::<Result<Vec<_>, _>>()?;
        if words.first().is_none_or(String::is_empty) {
            return Err(EvalError::new("The command line names no program"));
        }
        if words.iter().any(|word| word.contains('\0')) {
            return Err(EvalError::new("The command line contains a NUL character"));
        }
        Ok(words)
    }
}

/// Reads up to the next blank outside of quotes.
fn word(lexer: &mut Lexer<'_>) -> Result<Expr, SyntaxError> {
    let mut pieces = Vec::new();
    loop {
        let rest = lexer.rest();
        let Some(first) = rest.chars().next() else {
            break;
        };
        let start = lexer.position;
        match first {
            c if c.is_whitespace() => break,
            '\'' => {
                let Some(length) = rest[1..].find('\'') else {
                    return Err(lexer.error("' is missing at the end of this text", 1));
                };
                pieces.push(Piece::Text(Arc::from(&rest[1..=length])));
                lexer.position += length + 2;
            }
            '"' => {
                lexer.position += 1;
                pieces.extend(parser::parse_quoted(lexer)?);
                if !lexer.rest().starts_with('"') {
                    return Err(SyntaxError::new(
                        "\" is missing at the end of this text",
                        start..start + 1,
                    ));
                }
                lexer.position += 1;
            }
            '\\' => {
                let escaped = rest[1..]
                    .chars()
                    .next()
                    .filter(|c| "\"'$".contains(*c) || c.is_whitespace());
                pieces.push(Piece::Text(Arc::from(escaped.unwrap_or('\\').to_string())));
                lexer.position += 1 + escaped.map_or(0, char::len_utf8);
            }
            '$' => pieces.push(parser::parse_filled_in(lexer)?),
            _ => {
                let ends = |c: char| c.is_whitespace() || "'\"\\$".contains(c);
                let length = rest.find(ends).unwrap_or(rest.len());
                pieces.push(Piece::Text(Arc::from(&rest[..length])));
                lexer.position += length;
            }
        }
    }
    Ok(Expr::of_node(Node::interpolated(pieces)))
}

impl fmt::Debug for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CommandLine({})", self.source)
    }
}

impl Serialize for CommandLine {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.source)
    }
}

impl<'de> Deserialize<'de> for CommandLine {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<CommandLine, D::Error> {
        let source = String::deserialize(deserializer)?;
        CommandLine::parse(&source).map_err(|error| {
            de::Error::custom(format!("error in command line `{source}`: {error}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scope::Nothing;
    use crate::value::{NamedValues, Value};

    fn words(source: &str) -> Vec<String> {
        let scope: NamedValues = [
            (Arc::from("WORD"), Value::from("last one")),
            (Arc::from("N"), Value::from(7)),
            (Arc::from("gone"), Value::Missing),
        ]
        .into();
        CommandLine::parse(source).unwrap().words(&scope).unwrap()
    }

    #[test]
    fn op_13_quoted_and_filled_in_words_stay_whole() {
        assert_eq!(
            words(r#"'/opt/my script' x 'y y' "z" $WORD"#),
            ["/opt/my script", "x", "y y", "z", "last one"]
        );
    }

    #[test]
    fn pieces_that_touch_are_one_word() {
        assert_eq!(
            words(r#"p --a="$WORD"/'$x'$N-${N}$(1 + $N) """#),
            ["p", "--a=last one/$x7-78", ""]
        );
        assert_eq!(words("p\t$gone\n'' end "), ["p", "", "", "end"]);
        assert_eq!(
            words(r#"C:\bin\p.exe \\server\share \"q\" a\ b \$N "\\\$""#),
            [
                r"C:\bin\p.exe",
                r"\\server\share",
                "\"q\"",
                "a b",
                "$N",
                r"\$"
            ]
        );
    }

    #[test]
    fn a_broken_command_line_is_refused_with_its_place() {
        for (source, start) in [
            ("", 0),
            ("   ", 0),
            ("p 'x", 2),
            ("p \"x", 2),
            ("p $", 3),
            ("p $(1 +)", 7),
        ] {
            let error = CommandLine::parse(source).unwrap_err();
            assert_eq!(error.span.start, start, "{source}: {error}");
        }
    }

    #[test]
    fn a_command_line_without_program_fails() {
        for source in ["$gone x", "'' x", "\"\""] {
            let scope: NamedValues = [(Arc::from("gone"), Value::Missing)].into();
            assert!(
                CommandLine::parse(source).unwrap().words(&scope).is_err(),
                "{source}"
            );
        }
        let unknown = CommandLine::parse("p $nobody")
            .unwrap()
            .words(&Nothing)
            .unwrap_err();
        assert_eq!(unknown.message(), "No such named value: nobody");
    }
}
