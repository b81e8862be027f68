//! Dependencies that nobody uses.
//! Always: a dependency counts as used when its name stands as a word in some source file of the crate, tests included.
//! Never here: features, and placeholders: a crate that is still empty has its dependencies laid out for it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{Faults, porches};
use crate::metadata::Metadata;

pub(super) fn check(metadata: &Metadata) -> Result<Faults> {
    let mut faults = Faults::new();
    for package in metadata.members() {
        let texts = sources(&package.folder())?
            .iter()
            .map(|path| {
                fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
            })
            .collect::<Result<Vec<_>>>()?;
        if texts.iter().any(|text| porches::is_placeholder(text)) {
            continue;
        }
        for dependency in &package.dependencies {
            let name = dependency
                .rename
                .as_ref()
                .unwrap_or(&dependency.name)
                .replace('-', "_");
            if !texts.iter().any(|text| mentions(text, &name)) {
                faults.push(format!(
                    "{} does not use {}; take it out of its manifest",
                    package.name, dependency.name
                ));
            }
        }
    }
    Ok(faults)
}

/// All Rust files below a folder, in order.
pub(super) fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        let entries =
            fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

fn mentions(text: &str, name: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(name).any(|(at, _)| {
        !text[..at].ends_with(is_word) && !text[at + name.len()..].starts_with(is_word)
    })
}

#[cfg(test)]
mod claims {
    use super::*;

    #[test]
    fn only_the_whole_word_counts() {
        assert!(mentions("use serde::Serialize;", "serde"));
        assert!(!mentions("use serde_json::Value;", "serde"));
        assert!(!mentions("let node_id = 1;", "node"));
        assert!(mentions("#[derive(thiserror::Error)]", "thiserror"));
    }
}
