//! `cargo xtask promises`: which of the numbered promises are named by a test.
//! Always: a promise is a word `S` and a number; it counts where a Rust file that contains tests names it.
//! Never here: whether the test proves it. A reader judges that.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::cargo;

pub(crate) const SUMMARY: &str = "the numbered promises (S…) and the test files that name them";

pub(crate) fn run(_arguments: &[String]) -> Result<()> {
    let root = cargo::root();
    let mut named: BTreeMap<u32, BTreeSet<String>> = BTreeMap::new();
    collect(&root.join("crates"), &root, &mut named)?;
    for (number, files) in &named {
        println!(
            "S{number:<4} {}",
            files
                .iter()
                .map(String::as_str)
                .collect::<Vec<_>>()
                .join("  ")
        );
    }
    println!("{} promises are named by tests", named.len());
    Ok(())
}

fn collect(folder: &Path, root: &Path, named: &mut BTreeMap<u32, BTreeSet<String>>) -> Result<()> {
    for entry in
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?
    {
        let path = entry?.path();
        if path.ends_with("crates/xtask") {
            continue; // It speaks of promises without keeping any.
        }
        if path.is_dir() {
            collect(&path, root, named)?;
            continue;
        }
        if path.extension().is_none_or(|ending| ending != "rs") {
            continue;
        }
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        if !text.contains("#[test]")
            && !text.contains("#[tokio::test")
            && !text.contains("proptest!")
        {
            continue;
        }
        let shown = path
            .strip_prefix(root)
            .unwrap_or(&path)
            .display()
            .to_string();
        for number in promises_in(&text) {
            named.entry(number).or_default().insert(shown.clone());
        }
    }
    Ok(())
}

/// Numbers of the promises a text names: `S53` in prose, `s53_` at the start of a test's name.
fn promises_in(text: &str) -> BTreeSet<u32> {
    text.split(|c: char| !c.is_ascii_alphanumeric())
        .filter_map(|word| word.strip_prefix(['S', 's'])?.parse().ok())
        .filter(|number| (1..=151).contains(number))
        .collect()
}

#[cfg(test)]
mod claims {
    use super::*;

    #[test]
    fn promises_are_read_from_names_and_prose() {
        let text = "fn s53_a_killed_controller_remembers() { assert!(x, \"S54: history, S7a\"); } // S999 u32 S2-S4";
        assert_eq!(
            promises_in(text).into_iter().collect::<Vec<_>>(),
            [2, 4, 53, 54]
        );
    }
}
