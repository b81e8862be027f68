//! Regular expressions and replacements as Java understands them, on an engine whose running time is linear.
//! Always: `\d \w \s` mean ASCII, `\Q…\E` quotes, `$1` and `${name}` refer to groups.
//! Never: look-around, backreferences, possessive quantifiers and atomic groups. They are refused by name, because the
//! engine does not support them, or would silently give them another meaning. Each use is charged before it begins, as
//! if the engine read the whole rest of the text.

use std::cell::RefCell;

use regex::{Captures, Regex, RegexBuilder};

use crate::budget;
use crate::error::EvalError;

/// A compiled expression.
#[derive(Clone)]
pub(crate) struct JavaRegex {
    regex: Regex,
    /// The factor by which a byte of text takes longer than with a small expression.
    weight: usize,
    /// Whether a match may be as long as the text.
    is_unbounded: bool,
}

/// Compiled expressions kept per thread: a predicate over many orders compiles its pattern once.
const KEPT_MAX: usize = 16;
const PATTERN_LENGTH_MAX: usize = 10_000;
/// The maximum compiled sizes in bytes, each with the weight of an expression that requires it.
const SIZES: [(usize, usize); 3] = [(32 << 10, 1), (256 << 10, 8), (2 << 20, 64)];
/// The number of steps for compiling an expression, multiplied by the weight of each size that is tried.
const COMPILING_STEPS: usize = 1000;
/// Steps for finding one match.
const MATCH_STEPS: usize = 4;

thread_local! {
    static KEPT: RefCell<Vec<(String, JavaRegex)>> = const { RefCell::new(Vec::new()) };
}

impl JavaRegex {
    /// For finding anywhere in a text.
    pub(crate) fn compile(pattern: &str) -> Result<JavaRegex, EvalError> {
        Self::kept(pattern, translate(pattern)?)
    }

    /// For matching the whole text.
    pub(crate) fn compile_whole(pattern: &str) -> Result<JavaRegex, EvalError> {
        let translated = translate(pattern)?;
        Self::kept(pattern, format!(r"\A(?:{translated})\z"))
    }

    fn kept(pattern: &str, translated: String) -> Result<JavaRegex, EvalError> {
        let found = KEPT.with_borrow(|kept| {
            kept.iter()
                .find(|(source, _)| *source == translated)
                .map(|(_, regex)| regex.clone())
        });
        if let Some(regex) = found {
            return Ok(regex);
        }
        let regex = Self::compiled(pattern, &translated)?;
        KEPT.with_borrow_mut(|kept| {
            if kept.len() == KEPT_MAX {
                kept.remove(0);
            }
            kept.push((translated, regex.clone()));
        });
        Ok(regex)
    }

    fn compiled(pattern: &str, translated: &str) -> Result<JavaRegex, EvalError> {
        let mut problem = None;
        for (size, weight) in SIZES {
            budget::charge(COMPILING_STEPS * weight)?;
            let compiled = RegexBuilder::new(translated)
                .size_limit(size)
                .dfa_size_limit(size.max(1 << 20))
                .nest_limit(100)
                .build();
            match compiled {
                Ok(regex) => {
                    return Ok(JavaRegex {
                        regex,
                        weight,
                        is_unbounded: pattern.contains(['*', '+', '{', '$']),
                    });
                }
                Err(error @ regex::Error::CompiledTooBig(_)) => problem = Some(error),
                Err(error) => return Err(invalid(pattern, &last_line(&error.to_string()))),
            }
        }
        let problem = problem.map(|error| error.to_string()).unwrap_or_default();
        Err(invalid(pattern, &last_line(&problem)))
    }

    /// Returns whether the text contains a match.
    pub(crate) fn is_match(&self, text: &str) -> Result<bool, EvalError> {
        budget::charge(text.len() / 64 * self.weight)?;
        Ok(self.regex.is_match(text))
    }

    /// The first match.
    pub(crate) fn captures<'t>(&self, text: &'t str) -> Result<Option<Captures<'t>>, EvalError> {
        // Finding groups is slower than finding a match.
        budget::charge(text.len() / 16 * self.weight)?;
        Ok(self.regex.captures(text))
    }

    /// One after the other. An empty one may begin where the one before ends, which the engine's own search leaves out.
    pub(crate) fn find_all<'t>(
        &self,
        text: &'t str,
    ) -> impl Iterator<Item = Result<Captures<'t>, EvalError>> {
        let mut from = Some(0);
        std::iter::from_fn(move || {
            let begin = from?;
            // It is unknown how far the engine reads beyond a match. At worst, it reads to the end of the text for each
            // match.
            let rest = if self.is_unbounded {
                (text.len() - begin) / 1024 * self.weight
            } else {
                0
            };
            if let Err(error) = budget::charge(MATCH_STEPS + rest) {
                from = None;
                return Some(Err(error));
            }
            let captures = self.regex.captures_at(text, begin)?;
            let found = captures.get_match();
            if let Err(error) = budget::charge((found.end() - begin) / 16 * self.weight) {
                from = None;
                return Some(Err(error));
            }
            from = if found.is_empty() {
                let next = text[found.end()..].chars().next();
                next.map(|c| found.end() + c.len_utf8())
            } else {
                Some(found.end())
            };
            Some(Ok(captures))
        })
    }
}

fn invalid(pattern: &str, problem: &str) -> EvalError {
    let pattern: String = pattern.chars().take(200).collect();
    EvalError::new(format!(
        "Invalid regular expression \"{pattern}\": {problem}"
    ))
}

/// The engine draws the error first and names it in the last line.
fn last_line(text: &str) -> String {
    text.lines()
        .last()
        .unwrap_or_default()
        .trim()
        .trim_start_matches("error: ")
        .to_owned()
}

/// Rewrites what the engine would understand otherwise.
fn translate(pattern: &str) -> Result<String, EvalError> {
    if pattern.len() > PATTERN_LENGTH_MAX {
        return Err(invalid(
            pattern,
            &format!("it is longer than {PATTERN_LENGTH_MAX} bytes"),
        ));
    }
    let mut out = String::new();
    let mut class_depth = 0_usize;
    let mut after_quantifier = false;
    let has_dot_all = sets_dot_all(pattern);
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        let was_after_quantifier = std::mem::take(&mut after_quantifier);
        if let Some(quoted) = rest.strip_prefix("\\Q") {
            let (literal, behind) = quoted.split_once("\\E").unwrap_or((quoted, ""));
            out.push_str(&regex::escape(literal));
            rest = behind;
            continue;
        }
        if c == '\\' {
            let escaped = rest[1..]
                .chars()
                .next()
                .ok_or_else(|| invalid(pattern, "it ends with a backslash"))?;
            rest = &rest[1 + escaped.len_utf8()..];
            if matches!(escaped, 'p' | 'P' | 'x')
                && let Some(named) = rest.strip_prefix('{')
            {
                let (name, behind) = named
                    .split_once('}')
                    .ok_or_else(|| invalid(pattern, "a } is missing"))?;
                out.push_str(&translate_named(escaped, name));
                rest = behind;
            } else {
                translate_escape(escaped, &mut out).map_err(|problem| invalid(pattern, problem))?;
            }
            continue;
        }
        match c {
            '[' => class_depth += 1,
            ']' => class_depth = class_depth.saturating_sub(1),
            '(' if class_depth == 0 => {
                if ["(?=", "(?!", "(?<=", "(?<!"]
                    .iter()
                    .any(|look| rest.starts_with(look))
                {
                    return Err(invalid(
                        pattern,
                        "look-ahead and look-behind are not supported",
                    ));
                }
                if rest.starts_with("(?>") {
                    return Err(invalid(pattern, "atomic groups are not supported"));
                }
            }
            '+' if class_depth == 0 && was_after_quantifier => {
                return Err(invalid(pattern, "possessive quantifiers are not supported"));
            }
            '*' | '+' | '?' | '}' if class_depth == 0 => {
                after_quantifier = !out.ends_with('(') && !was_after_quantifier;
            }
            '.' if class_depth == 0 && !has_dot_all => {
                out.push_str(r"[^\n\r\u0085\u2028\u2029]");
                rest = &rest[1..];
                continue;
            }
            // Set operators of the engine that Java does not have.
            '~' | '-' if class_depth > 0 && out.ends_with(c) && !out.ends_with("\\-") => {
                out.push('\\');
            }
            _ => {}
        }
        out.push(c);
        rest = &rest[c.len_utf8()..];
    }
    Ok(out)
}

/// Whether a group of flags asks for a dot that means any character: then each one is taken for such a dot.
fn sets_dot_all(pattern: &str) -> bool {
    let mut groups = pattern
        .match_indices("(?")
        .map(|(at, _)| &pattern[at + 2..]);
    groups.any(|group| {
        let flags = group.split(|c: char| !c.is_ascii_lowercase()).next();
        flags.is_some_and(|flags| flags.contains('s'))
    })
}

/// `\p{name}`, `\P{name}` and `\x{name}`. Java's classes of POSIX mean ASCII, where the engine's of the same name mean Unicode.
fn translate_named(escaped: char, name: &str) -> String {
    let ascii = match name {
        "Lower" | "Upper" | "Alpha" | "Digit" | "Alnum" | "Punct" | "Graph" | "Print" | "Blank"
        | "Cntrl" | "XDigit" | "Space" | "ASCII" => name.to_ascii_lowercase(),
        _ => String::new(),
    };
    match (escaped, name) {
        ('p', _) if !ascii.is_empty() => format!("[[:{ascii}:]]"),
        ('P', _) if !ascii.is_empty() => format!("[[:^{ascii}:]]"),
        ('p' | 'P', "javaLowerCase") => format!(r"\{escaped}{{Lowercase}}"),
        ('p' | 'P', "javaUpperCase") => format!(r"\{escaped}{{Uppercase}}"),
        ('p' | 'P', "javaAlphabetic") => format!(r"\{escaped}{{Alphabetic}}"),
        _ => format!(r"\{escaped}{{{name}}}"),
    }
}

fn translate_escape(escaped: char, out: &mut String) -> Result<(), &'static str> {
    match escaped {
        'd' => out.push_str("[0-9]"),
        'D' => out.push_str("[^0-9]"),
        'w' => out.push_str("[0-9A-Za-z_]"),
        'W' => out.push_str("[^0-9A-Za-z_]"),
        's' => out.push_str(r"[\t\n\x0B\f\r\x20]"),
        'S' => out.push_str(r"[^\t\n\x0B\f\r\x20]"),
        'h' => out.push_str(r"[\t\x20\xA0\u1680\u180e\u2000-\u200a\u202f\u205f\u3000]"),
        'R' => out.push_str(r"(?:\r\n|[\n\x0B\f\r\u0085\u2028\u2029])"),
        'Z' => out.push_str(r"(?:\r?\n)?\z"),
        'e' => out.push_str(r"\x1B"),
        '1'..='9' | 'k' => return Err("references to groups are not supported"),
        'G' | 'X' => return Err("\\G and \\X are not supported"),
        c if c.is_ascii_alphanumeric() => out.extend(['\\', c]),
        c => out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
    }
    Ok(())
}

/// What a match is replaced by.
pub(crate) struct Replacement(Vec<Part>);

enum Part {
    Text(String),
    Group(usize),
}

impl Replacement {
    /// Reads `$1`, `${name}`, and a backslash before any character to be taken as it is.
    pub(crate) fn parse(template: &str, regex: &JavaRegex) -> Result<Replacement, EvalError> {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut chars = template.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '\\' => text.push(
                    chars
                        .next()
                        .ok_or_else(|| EvalError::new("The replacement ends with a backslash"))?,
                ),
                '$' => {
                    parts.push(Part::Text(std::mem::take(&mut text)));
                    parts.push(Part::Group(group(&mut chars, regex)?));
                }
                c => text.push(c),
            }
        }
        parts.push(Part::Text(text));
        Ok(Replacement(parts))
    }

    pub(crate) fn expand(
        &self,
        captures: &Captures<'_>,
        out: &mut String,
    ) -> Result<(), EvalError> {
        self.0.iter().try_for_each(|part| match part {
            Part::Text(text) => budget::append(out, text),
            Part::Group(group) => {
                budget::append(out, captures.get(*group).map_or("", |found| found.as_str()))
            }
        })
    }
}

/// The number of a group. Digits are taken as long as there is such a group.
fn group(
    chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
    regex: &JavaRegex,
) -> Result<usize, EvalError> {
    if chars.next_if_eq(&'{').is_some() {
        let name: String = std::iter::from_fn(|| chars.next_if(|c| *c != '}')).collect();
        if chars.next().is_none() {
            return Err(EvalError::new("In the replacement, } is missing behind ${"));
        }
        let index = regex
            .regex
            .capture_names()
            .position(|other| other == Some(&name));
        return index.ok_or_else(|| EvalError::new(format!("No group with name {{{name}}}")));
    }
    let mut digit = |max: usize, before: usize| {
        let value = |c: char| c.to_digit(10).map(|digit| before * 10 + digit as usize);
        chars
            .next_if(|c| value(*c).is_some_and(|group| group <= max))
            .and_then(value)
    };
    let Some(mut number) = digit(9, 0) else {
        return Err(EvalError::new(
            "In the replacement, a group's number is missing behind $; a dollar is written \\$",
        ));
    };
    let last = regex.regex.captures_len() - 1;
    if number > last {
        return Err(EvalError::new(format!("No group {number}")));
    }
    while let Some(longer) = digit(last, number) {
        number = longer;
    }
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        JavaRegex::compile_whole(pattern)
            .unwrap()
            .is_match(text)
            .unwrap()
    }

    #[test]
    fn the_whole_text_must_match() {
        assert!(matches("a|ab", "ab"));
        assert!(!matches("a", "ab"));
        assert!(!matches("a", "a\n"));
        assert!(matches("#([0-9]{4}-[0-9]{2}-[0-9]{2})#.*", "#2026-01-02#x"));
    }

    #[test]
    fn classes_are_ascii_as_in_java() {
        assert!(matches(r"\d+", "123"));
        assert!(!matches(r"\d", "٣"));
        assert!(!matches(r"\w", "ä"));
        assert!(matches(r"[\w.-]+", "a.b-c_1"));
        assert!(matches(r"[^\d]", "x"));
        assert!(matches(r"\D\S\W", "xy!"));
    }

    #[test]
    fn quoting_and_escapes_are_javas() {
        assert!(matches(r"\Qa.b*\E+", "a.b***"));
        assert!(matches(r"\<\>\/\-\_\ä", "<>/-_ä"));
        assert!(matches(r"[+--]", ","));
        assert!(matches("[a~~b]", "~"));
        assert!(matches(r"a+?b*?c??", "abc"));
        assert!(matches(r"(?i)HELLO", "hello"));
    }

    #[test]
    fn classes_with_names_are_quantified_like_all_others_and_ascii_where_java_means_ascii() {
        for pattern in [
            r"\p{L}+",
            r"\p{L}{3}",
            r"\p{Alpha}+",
            r"\p{Alnum}*",
            r"[\p{L}\d]++?",
        ] {
            if !pattern.contains("++") {
                assert!(matches(pattern, "abc"), "{pattern}");
            }
        }
        assert!(matches(r"\x{61}+\x62\u0063", "aabc"));
        assert!(matches(r"\p{Punct}+", "$#+"));
        assert!(matches(r"[\p{Upper}\p{Digit}]+\P{Lower}", "A1-"));
        assert!(matches(r"\p{javaLowerCase}\p{IsAlphabetic}", "äö"));
        assert!(!matches(r"\p{Alpha}", "ä"));
        assert!(JavaRegex::compile_whole(r"\p{L}++").is_err());
        assert!(JavaRegex::compile_whole(r"\p{L").is_err());
    }

    #[test]
    fn a_dot_is_no_line_terminator_unless_it_is_asked_for() {
        for end in ["\n", "\r", "\u{85}", "\u{2028}"] {
            let text = format!("a{end}b");
            assert!(!matches("a.b", &text), "{end:?}");
            assert!(matches("(?s)a.b", &text), "{end:?}");
            assert!(matches("(?is:a.B)", &text), "{end:?}");
            assert!(matches("a[.\\s\u{85}\u{2028}]b", &text), "{end:?}");
        }
        assert!(!matches("[.]", "x"));
    }

    #[test]
    fn an_empty_match_may_follow_another_one_as_in_java() {
        let found = |pattern, text| {
            let regex = JavaRegex::compile(pattern).unwrap();
            let places = regex
                .find_all(text)
                .map(|captures| captures.unwrap().get_match().range());
            places.collect::<Vec<_>>()
        };
        assert_eq!(found("a*", "baaac"), [0..0, 1..4, 4..4, 5..5]);
        assert_eq!(found("", "äö"), [0..0, 2..2, 4..4]);
        assert_eq!(found("a|$", "aba"), [0..1, 2..3, 3..3]);
    }

    #[test]
    fn what_the_engine_cannot_do_is_refused_by_name() {
        for (pattern, word) in [
            ("(?=a)a", "look-ahead"),
            ("(?<!a)b", "look-behind"),
            (r"(a)\1", "references"),
            ("a++", "possessive"),
            ("a{2}+", "possessive"),
            ("(?>a)", "atomic"),
            ("(a", "unclosed"),
            ("a{1000}{1000}{1000}", "size"),
            ("\\", "backslash"),
        ] {
            let Err(error) = JavaRegex::compile_whole(pattern) else {
                panic!("{pattern} is accepted")
            };
            assert!(error.message().contains(word), "{pattern}: {error}");
        }
    }
}
