//! Where the program under test is.
//!
//! Always: `MAINSPRING_BIN` if it is set; else the workspace's own build, brought up to date by cargo with the profile of the test.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context as _, Result, anyhow, bail};

static FOUND: OnceLock<Result<PathBuf, String>> = OnceLock::new();

/// The `mainspring` program.
pub fn mainspring() -> Result<PathBuf> {
    let found = FOUND.get_or_init(|| find().map_err(|error| format!("{error:#}")));
    found
        .clone()
        .map_err(|error| anyhow!("the program under test cannot be had: {error}"))
}

fn find() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("MAINSPRING_BIN") {
        let path = PathBuf::from(path);
        if !path.is_file() {
            bail!("MAINSPRING_BIN names {}, which is no file", path.display());
        }
        return Ok(path);
    }
    let own = std::env::current_exe().context("this test has no place")?;
    let profile_dir = profile_dir(&own)
        .with_context(|| format!("{} is in no cargo target directory", own.display()))?;
    build(profile_dir)?;
    let path = profile_dir.join("mainspring");
    if !path.is_file() {
        bail!("cargo has built no {}", path.display());
    }
    Ok(path)
}

/// `target/debug` for `target/debug/chaos` and for `target/debug/deps/some_test-0123`.
fn profile_dir(own: &Path) -> Option<&Path> {
    let dir = own.parent()?;
    if dir.ends_with("deps") {
        return dir.parent();
    }
    Some(dir)
}

fn build(profile_dir: &Path) -> Result<()> {
    let target = profile_dir
        .parent()
        .context("a profile's directory has a parent")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = std::process::Command::new(cargo);
    command
        .args(["build", "--quiet", "--package", "mainspring"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("CARGO_TARGET_DIR", target);
    if profile_dir.ends_with("release") {
        command.arg("--release");
    }
    let status = command.status().context("cargo cannot be started")?;
    if !status.success() {
        bail!("cargo build --package mainspring has failed");
    }
    Ok(())
}
