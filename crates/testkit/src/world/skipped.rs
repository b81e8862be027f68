//! Tests that cannot show their point on this machine.
//!
//! Always: a skipped test is counted apart from those that have passed, and fails in continuous integration (`CI=true`), where
//! everything that tests need is set up.

use std::io::Write as _;

use anyhow::{Result, bail};

/// How a line on standard output begins that says that a test was skipped. `cargo xtask verify` counts these lines.
pub const SKIPPED: &str = "SKIPPED: ";

/// Reports that something cannot be shown here, and why. Fails if `CI` is `true`.
pub fn skip(what: &str, why: &str) -> Result<()> {
    if std::env::var("CI").is_ok_and(|value| value == "true") {
        bail!("{what} must be shown in continuous integration, and cannot be shown here: {why}");
    }
    // Written past the capture of a test's output. A line of the test runner may have begun.
    let line = format!("\n{SKIPPED}{what}: {why}\n");
    std::io::stdout().write_all(line.as_bytes())?;
    Ok(())
}
