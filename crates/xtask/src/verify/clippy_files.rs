//! The clippy.toml files: one at the root, stricter ones in the crates that are pure, a laxer one where processes are started.
//! Always: clippy takes the nearest file and merges nothing, so every copy must hold all of the root's entries itself; the pure crates
//! have one and the same text; only the crates named here leave out the ban on starting processes.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result};
use toml::{Table, Value};

use super::Faults;
use crate::metadata::{Metadata, Package};

/// Crates that start processes: the edge that does it for the product, and those that drive Mainspring from outside.
const MAY_SPAWN: &[&str] = &["process", "testkit", "bench", "xtask"];

/// The entries that those leave out.
const SPAWNING: &[&str] = &["std::process::Command::new", "tokio::process::Command::new"];

pub(super) fn check(metadata: &Metadata) -> Result<Faults> {
    let root_text = read(&crate::cargo::root())?.context("there is no clippy.toml at the root")?;
    let root: Table = root_text
        .parse()
        .context("the root's clippy.toml is no TOML")?;
    let mut faults = Faults::new();
    let mut pure: Option<(&Package, String)> = None;
    for package in metadata.members() {
        let is_pure = package.layer().is_some_and(|layer| layer <= 2);
        let Some(text) = read(&package.folder())? else {
            if is_pure {
                faults.push(format!(
                    "{}: crates of layers 1 and 2 need the strict clippy.toml",
                    package.name
                ));
            }
            continue;
        };
        let copy: Table = text
            .parse()
            .with_context(|| format!("clippy.toml of {} is no TOML", package.name))?;
        let left_out = if MAY_SPAWN.contains(&package.name.as_str()) {
            SPAWNING
        } else {
            &[]
        };
        for entry in missing(&root, &copy, left_out) {
            faults.push(format!(
                "{}/clippy.toml lacks the root's {entry}",
                package.name
            ));
        }
        if is_pure {
            match &pure {
                Some((first, same)) if *same != text => {
                    faults.push(format!(
                        "clippy.toml of {} differs from that of {}",
                        package.name, first.name
                    ));
                }
                Some(_) => {}
                None => pure = Some((package, text)),
            }
        }
    }
    Ok(faults)
}

fn read(folder: &std::path::Path) -> Result<Option<String>> {
    let path = folder.join("clippy.toml");
    if !path.exists() {
        return Ok(None);
    }
    fs::read_to_string(&path)
        .map(Some)
        .with_context(|| format!("cannot read {}", path.display()))
}

/// The entries of the root that a copy lacks.
fn missing(root: &Table, copy: &Table, left_out: &[&str]) -> Vec<String> {
    let mut missing = Vec::new();
    for (key, wanted) in root {
        let Value::Array(wanted) = wanted else {
            if copy.get(key) != Some(wanted) {
                missing.push(format!("{key} = {wanted}"));
            }
            continue;
        };
        let present: BTreeSet<&str> = copy
            .get(key)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(path_of)
            .collect();
        let lacking = wanted
            .iter()
            .filter_map(path_of)
            .filter(|path| !present.contains(path) && !left_out.contains(path));
        missing.extend(lacking.map(|path| format!("{key}: {path}")));
    }
    missing
}

fn path_of(entry: &Value) -> Option<&str> {
    entry.as_str().or_else(|| entry.get("path")?.as_str())
}

#[cfg(test)]
mod claims {
    use super::*;

    fn table(text: &str) -> Table {
        text.parse().expect("TOML")
    }

    #[test]
    fn a_copy_that_forgot_an_entry_is_found() {
        let root = table(
            r#"x = true
            m = [{ path = "a::b", reason = "r" }, "c::d"]"#,
        );
        assert_eq!(
            missing(
                &root,
                &table(
                    r#"x = true
            m = [{ path = "a::b" }, { path = "c::d" }, "more::here"]"#
                ),
                &[]
            ),
            Vec::<String>::new()
        );
        assert_eq!(
            missing(&root, &table(r#"m = ["c::d"]"#), &[]),
            ["m: a::b", "x = true"]
        );
        assert_eq!(
            missing(
                &root,
                &table(
                    r#"x = true
            m = ["c::d"]"#
                ),
                &["a::b"]
            ),
            Vec::<String>::new()
        );
    }
}
