//! The commands that whoever is new tries first run as the README says.

use anyhow::{Context as _, Result, ensure};
use std::path::Path;
use std::process::{Command, Stdio};
use testkit::world::{free_port, mainspring};

/// Runs a script of `examples/` in a directory of its own; what it has said, if it has ended well.
fn run(script: &str, arguments: &[&str]) -> Result<String> {
    let demo = tempfile::Builder::new()
        .prefix("testkit-example-")
        .tempdir()?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let output = Command::new(root.join("examples").join(script))
        .args(arguments)
        .env("MAINSPRING_BIN", mainspring()?)
        .env("MAINSPRING_DEMO", demo.path())
        .env("MAINSPRING_DEMO_PORT", free_port()?.to_string())
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("examples/{script}"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "examples/{script}: {}\n{said}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(said)
}

#[test]
fn the_readmes_first_command_runs_the_examples_and_says_what_to_try_next() -> Result<()> {
    let said = run("run", &[])?;
    for heard in ["6  Finished", "Read on: examples/README.md"] {
        ensure!(said.contains(heard), "{heard} is not said:\n{said}");
    }
    Ok(())
}

#[test]
fn the_example_of_a_pair_loses_one_part_after_another_and_ends_well() -> Result<()> {
    let said = run("pair", &["1"])?;
    for heard in [
        "the active Controller",
        "the active Director",
        "its jobs are lost, told as lost and repeated",
        "orders have finished",
    ] {
        ensure!(said.contains(heard), "{heard} is not said:\n{said}");
    }
    Ok(())
}
