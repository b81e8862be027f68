//! The licences of everything that is built into Mainspring.
//! Always: judged by the SPDX expression in each manifest; a choice (`OR`) passes when one side does, a sum (`AND`) when all do; a
//! package without an expression is refused.
//! Never here: licence texts, and packages that are only built on other platforms.

use super::Faults;
use crate::metadata::Metadata;

/// Licences that ask for no more than their notice.
const ACCEPTED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Licences accepted for one package, each with its reason.
const EXCEPTIONS: &[(&str, &str)] = &[
    // The MPL covers the files of these three alone, and we use them unchanged: persistent maps that make a snapshot a pointer copy.
    ("imbl", "MPL-2.0+"),
    ("imbl-sized-chunks", "MPL-2.0+"),
    ("bitmaps", "MPL-2.0+"),
];

/// What we publish ourselves.
const OURS: &str = "Apache-2.0";

pub(super) fn check(metadata: &Metadata) -> Faults {
    let mut faults = Faults::new();
    for package in metadata.members() {
        if package.license.as_deref() != Some(OURS) {
            faults.push(format!(
                "{}: our own crates say license.workspace = true ({OURS})",
                package.name
            ));
        }
    }
    for package in metadata.guests() {
        let (name, version) = (&package.name, &package.version);
        let Some(expression) = &package.license else {
            faults.push(format!("{name} {version} names no licence"));
            continue;
        };
        let exception = EXCEPTIONS
            .iter()
            .find(|(excepted, _)| excepted == name)
            .map(|(_, licence)| *licence);
        match is_accepted(expression, exception) {
            Some(true) => {}
            Some(false) => faults.push(format!(
                "{name} {version}: licence not accepted: {expression}"
            )),
            None => faults.push(format!(
                "{name} {version}: not an SPDX expression: {expression}"
            )),
        }
    }
    faults
}

/// Judges an SPDX expression; `None` when it is none.
fn is_accepted(expression: &str, exception: Option<&str>) -> Option<bool> {
    // Before SPDX, manifests wrote a slash for OR.
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut parser = Parser {
        words: &words,
        exception,
    };
    let verdict = parser.choice()?;
    parser.words.is_empty().then_some(verdict)
}

struct Parser<'a> {
    words: &'a [&'a str],
    exception: Option<&'a str>,
}

impl Parser<'_> {
    fn takes(&mut self, word: &str) -> bool {
        let Some((first, rest)) = self.words.split_first() else {
            return false;
        };
        let is_it = *first == word;
        if is_it {
            self.words = rest;
        }
        is_it
    }

    fn choice(&mut self) -> Option<bool> {
        let mut verdict = self.sum()?;
        while self.takes("OR") {
            verdict |= self.sum()?;
        }
        Some(verdict)
    }

    fn sum(&mut self) -> Option<bool> {
        let mut verdict = self.single()?;
        while self.takes("AND") {
            verdict &= self.single()?;
        }
        Some(verdict)
    }

    fn single(&mut self) -> Option<bool> {
        if self.takes("(") {
            let verdict = self.choice()?;
            return self.takes(")").then_some(verdict);
        }
        let (first, rest) = self.words.split_first()?;
        if matches!(*first, "AND" | "OR" | "WITH" | ")") {
            return None;
        }
        self.words = rest;
        let mut licence = (*first).to_owned();
        if self.takes("WITH") {
            let (exception, rest) = self.words.split_first()?;
            self.words = rest;
            licence = format!("{licence} WITH {exception}");
        }
        Some(ACCEPTED.contains(&licence.as_str()) || self.exception == Some(&licence))
    }
}

#[cfg(test)]
mod claims {
    use super::*;

    #[test]
    fn expressions_are_judged() {
        for (expression, verdict) in [
            ("MIT", Some(true)),
            ("GPL-3.0", Some(false)),
            ("MIT OR GPL-3.0", Some(true)),
            ("MIT AND GPL-3.0", Some(false)),
            ("MIT/Apache-2.0", Some(true)),
            ("Apache-2.0 / MIT", Some(true)),
            ("Apache-2.0 WITH LLVM-exception OR GPL-3.0", Some(true)),
            ("GPL-2.0 WITH Classpath-exception-2.0", Some(false)),
            ("GPL-3.0 OR (MIT AND ISC)", Some(true)),
            ("MIT AND (GPL-3.0 OR LGPL-3.0)", Some(false)),
            // AND binds tighter than OR.
            ("MIT OR ISC AND GPL-3.0", Some(true)),
            ("MPL-2.0+", Some(false)),
            ("", None),
            ("MIT OR", None),
            ("(MIT", None),
            ("MIT ISC", None),
        ] {
            assert_eq!(is_accepted(expression, None), verdict, "{expression}");
        }
    }

    #[test]
    fn an_exception_counts_for_its_licence_alone() {
        assert_eq!(is_accepted("MPL-2.0+", Some("MPL-2.0+")), Some(true));
        assert_eq!(is_accepted("GPL-3.0", Some("MPL-2.0+")), Some(false));
    }
}
