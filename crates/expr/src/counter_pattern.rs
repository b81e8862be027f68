//! The pattern of `uniqueOrderId`: text with one printf number, like `LINK-%d` or `X%04d`.
//! Always: different numbers give different texts. The caller counts up from 1 until it finds an unused one.

use crate::error::EvalError;

/// A text with a place for a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CounterPattern {
    before: String,
    after: String,
    /// Digits filled up with zeros.
    width: usize,
}

impl CounterPattern {
    /// Reads a pattern: one `%d` or `%0<width>d`; a percent sign itself is `%%`.
    pub fn parse(pattern: &str) -> Result<CounterPattern, EvalError> {
        let invalid = || EvalError::new(format!("Pattern wants exactly one %d: {pattern}"));
        let (mut before, mut after, mut width) = (String::new(), String::new(), None);
        let mut rest = pattern;
        while let Some((text, behind)) = rest.split_once('%') {
            let target = if width.is_none() {
                &mut before
            } else {
                &mut after
            };
            target.push_str(text);
            if let Some(behind) = behind.strip_prefix('%') {
                target.push('%');
                rest = behind;
                continue;
            }
            let (digits, behind) = behind.split_once('d').ok_or_else(invalid)?;
            let padding = match digits.strip_prefix('0') {
                Some(padding) => padding
                    .parse::<usize>()
                    .ok()
                    .filter(|padding| *padding <= 20)
                    .ok_or_else(invalid)?,
                None if digits.is_empty() => 0,
                None => return Err(invalid()),
            };
            if width.replace(padding).is_some() {
                return Err(invalid());
            }
            rest = behind;
        }
        after.push_str(rest);
        let width = width.ok_or_else(invalid)?;
        Ok(CounterPattern {
            before,
            after,
            width,
        })
    }

    /// The text for a number.
    pub fn text_of(&self, number: u64) -> String {
        format!(
            "{}{number:0width$}{}",
            self.before,
            self.after,
            width = self.width
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_takes_a_number() {
        for (pattern, expected) in [
            ("LINK-%d", "LINK-7"),
            ("%d", "7"),
            ("a%04db%%", "a0007b%"),
            ("100%% %d.", "100% 7."),
        ] {
            assert_eq!(CounterPattern::parse(pattern).unwrap().text_of(7), expected);
        }
    }

    #[test]
    fn a_pattern_without_one_number_is_refused() {
        for pattern in ["", "X", "%s", "%d-%d", "%", "%5d", "%0d", "%099d", "%%d"] {
            assert!(CounterPattern::parse(pattern).is_err(), "{pattern}");
        }
    }
}
