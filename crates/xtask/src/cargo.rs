//! Running cargo as a child process.
//! Always: in the workspace root, with the cargo that started us, and never with anything on standard input.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The root of the workspace, two folders above this crate.
pub(crate) fn root() -> PathBuf {
    let mut root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.pop();
    root.pop();
    root
}

/// Cargo with these arguments, ready to run.
pub(crate) fn cargo<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args(arguments)
        .current_dir(root())
        .stdin(Stdio::null());
    command
}

/// Runs to the end; standard output and error are the caller's.
pub(crate) fn run(mut command: Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot start {}", told(&command)))?;
    if !status.success() {
        bail!("{} ended with {status}", told(&command));
    }
    Ok(())
}

/// Runs to the end and hands every line of standard output to `listen`. Says whether the command succeeded.
pub(crate) fn listen(mut command: Command, mut listen: impl FnMut(&str)) -> Result<bool> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", told(&command)))?;
    let output = child
        .stdout
        .take()
        .context("standard output was not piped")?;
    for line in BufReader::new(output).split(b'\n') {
        // A test may print bytes that are no text; they must not end the run.
        listen(&String::from_utf8_lossy(&line?));
    }
    Ok(child.wait()?.success())
}

/// Runs to the end and returns standard output.
pub(crate) fn output(mut command: Command) -> Result<Vec<u8>> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {}", told(&command)))?;
    if !output.status.success() {
        bail!("{} ended with {}", told(&command), output.status);
    }
    Ok(output.stdout)
}

/// The command as one would type it.
fn told(command: &Command) -> String {
    let words = command.get_args().map(|word| word.to_string_lossy());
    std::iter::once("cargo".into())
        .chain(words)
        .collect::<Vec<_>>()
        .join(" ")
}
