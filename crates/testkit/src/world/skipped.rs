//! Tests that cannot run on this machine.
//!
//! Always: a skipped test is counted separately from the tests that have passed. In continuous integration (`CI=true`), where everything
//! that tests need is set up, it fails.

use std::io::Write as _;

use anyhow::{Result, bail};

/// The beginning of the line on standard output by which a test reports that it was skipped. `cargo xtask verify` counts these lines.
pub const SKIPPED: &str = "SKIPPED: ";

/// Reports that something cannot be shown here, and why. Fails if `CI` is `true`.
pub fn skip(what: &str, why: &str) -> Result<()> {
    if std::env::var("CI").is_ok_and(|value| value == "true") {
        bail!("{what} must be shown in continuous integration, and cannot be shown here: {why}");
    }
    // Written directly, because the test harness captures what `println!` prints. The harness may be in the middle of a line.
    let line = format!("\n{SKIPPED}{what}: {why}\n");
    std::io::stdout().write_all(line.as_bytes())?;
    Ok(())
}
