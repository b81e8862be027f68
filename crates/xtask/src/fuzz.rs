//! `cargo xtask fuzz --minutes N [target…]`: random input, guided by coverage, for everything that reads bytes from outside.
//! Always: with the nightly toolchain and `cargo-fuzz`; without a target all of them, N minutes each; what is found stays in
//! `fuzz/artifacts/<target>`, what leads to new code is kept in `fuzz/corpus/<target>`.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cargo;

pub(crate) const SUMMARY: &str = "fuzz the readers of foreign bytes: --minutes N [target…]";

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let known = targets(&cargo::root().join("fuzz"))?;
    let mut minutes = 10;
    let mut chosen = Vec::new();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        if word == "--minutes" {
            let number = words.next().context("--minutes needs a number")?;
            minutes = number
                .parse::<u64>()
                .with_context(|| format!("--minutes {number} is no number"))?;
        } else if known.contains(word) {
            chosen.push(word.clone());
        } else {
            bail!(
                "there is no fuzz target “{word}”; there are: {}",
                known.join(", ")
            );
        }
    }
    if chosen.is_empty() {
        chosen = known;
    }
    for target in &chosen {
        println!("── {target}, {minutes} min");
        let time = format!("-max_total_time={}", minutes * 60);
        let limits = [
            "-max_len=65536",
            "-timeout=10",
            "-rss_limit_mb=2048",
            "-print_final_stats=1",
        ];
        cargo_fuzz(&["run", target, "--", &time], &limits).with_context(|| {
            format!("{target}: a finding, or cargo-fuzz or the nightly toolchain is missing")
        })?;
        // What leads nowhere new need not be kept.
        cargo_fuzz(&["cmin", target], &[])?;
    }
    Ok(())
}

fn cargo_fuzz(arguments: &[&str], more: &[&str]) -> Result<()> {
    let mut command = Command::new("cargo");
    command
        .args(["+nightly", "fuzz"])
        .args(arguments)
        .args(more)
        .current_dir(cargo::root());
    // The cargo that started us pins its own toolchain for its children.
    command.env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
    let status = command.status().context("cannot start cargo")?;
    if !status.success() {
        bail!("cargo fuzz ended with {status}; it is installed by `cargo install cargo-fuzz`");
    }
    Ok(())
}

/// The targets, by their files.
fn targets(folder: &Path) -> Result<Vec<String>> {
    let folder = folder.join("fuzz_targets");
    let entries =
        std::fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if let (Some(stem), Some("rs")) = (
            path.file_stem(),
            path.extension().and_then(|ending| ending.to_str()),
        ) {
            names.push(stem.to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}
