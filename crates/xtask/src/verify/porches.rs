//! The first lines of every crate: no unsafe code, and documentation asked for.
//! Always: each library and binary but those of `process` forbids unsafe code; libraries of layers 1 to 4 warn of missing docs.
//! A crate that still is a placeholder is passed over.

use std::fs;

use anyhow::{Context, Result};

use super::Faults;
use crate::metadata::Metadata;

/// The whole text of a crate that nobody has moved into.
const PLACEHOLDER: &str = "//! To be furnished.";

/// The one crate that speaks to the operating system in its own tongue.
const MAY_BE_UNSAFE: &str = "process";

pub(super) fn check(metadata: &Metadata) -> Result<Faults> {
    let mut faults = Faults::new();
    for package in metadata.members() {
        for target in package.targets.iter().filter(|target| target.is_product()) {
            let path = &target.src_path;
            let text = fs::read_to_string(path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            if is_placeholder(&text) {
                continue;
            }
            let is_library = target.kind.iter().any(|kind| kind == "lib");
            let wants_docs = is_library && package.layer().is_some_and(|layer| layer <= 4);
            for line in missing(&text, package.name != MAY_BE_UNSAFE, wants_docs) {
                faults.push(format!(
                    "{} ({}): add {line} to {}",
                    package.name,
                    target.name,
                    path.display()
                ));
            }
        }
    }
    Ok(faults)
}

/// Whether a crate's root says that there is nothing yet.
pub(super) fn is_placeholder(text: &str) -> bool {
    text.trim_start().starts_with(PLACEHOLDER)
}

fn missing(text: &str, is_safe: bool, wants_docs: bool) -> Vec<&'static str> {
    let has = |lint: &str, levels: &[&str]| {
        text.lines().any(|line| {
            levels
                .iter()
                .any(|level| line.trim() == format!("#![{level}({lint})]"))
        })
    };
    let mut missing = Vec::new();
    if is_safe && !has("unsafe_code", &["forbid"]) {
        missing.push("#![forbid(unsafe_code)]");
    }
    if wants_docs && !has("missing_docs", &["warn", "deny"]) {
        missing.push("#![warn(missing_docs)]");
    }
    missing
}

#[cfg(test)]
mod claims {
    use super::*;

    #[test]
    fn a_porch_without_its_lints_is_found() {
        assert_eq!(
            missing("//! A crate.\n", true, true),
            ["#![forbid(unsafe_code)]", "#![warn(missing_docs)]"]
        );
        assert_eq!(
            missing(
                "#![forbid(unsafe_code)]\n#![warn(missing_docs)]\n",
                true,
                true
            ),
            Vec::<&str>::new()
        );
        assert_eq!(
            missing("//! speaks of #![forbid(unsafe_code)]\n", true, false),
            ["#![forbid(unsafe_code)]"]
        );
    }
}
