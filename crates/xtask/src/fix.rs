//! `cargo xtask fix`: writes what tools can mend, format and clippy's sure suggestions.
//! Never here: anything that changes meaning.

use anyhow::Result;

use crate::cargo::{cargo, run as run_to_end};

pub(crate) const SUMMARY: &str = "format, and apply clippy's suggestions (writes)";

pub(crate) fn run(_arguments: &[String]) -> Result<()> {
    let clippy = [
        "clippy",
        "--fix",
        "--workspace",
        "--all-targets",
        "--allow-dirty",
        "--allow-staged",
    ];
    run_to_end(cargo(clippy))?;
    run_to_end(cargo(["fmt", "--all"]))
}
