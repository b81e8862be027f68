//! The floors and helpers written in C, compiled by the system's `cc` when they are needed.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// Prints the clock and ends: `floor/clock.c`.
pub(crate) fn clock_program(dir: &Path) -> Result<PathBuf> {
    compile(dir, "clock", include_str!("../../floor/clock.c"))
}

/// Appends groups of bytes with a flush after each: `floor/append.c`.
pub(crate) struct Appender {
    program: PathBuf,
    file: PathBuf,
}

impl Appender {
    pub(crate) fn new(dir: &Path) -> Result<Appender> {
        let program = compile(dir, "append", include_str!("../../floor/append.c"))?;
        Ok(Appender {
            program,
            file: dir.join("append.dat"),
        })
    }

    /// Seconds that so many groups of so many bytes take.
    pub(crate) fn run(&self, group_bytes: usize, groups: usize) -> Result<f64> {
        let output = Command::new(&self.program)
            .arg(&self.file)
            .args([group_bytes.to_string(), groups.to_string()])
            .output()?;
        if !output.status.success() {
            bail!(
                "the C program failed: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(String::from_utf8(output.stdout)?.trim().parse()?)
    }
}

fn compile(dir: &Path, name: &str, source: &str) -> Result<PathBuf> {
    let (text, program) = (dir.join(format!("{name}.c")), dir.join(name));
    std::fs::write(&text, source)?;
    let output = Command::new("cc")
        .args(["-O2", "-o"])
        .args([&program, &text])
        .output()
        .context("cc cannot be started; the floors in C need a C compiler")?;
    if !output.status.success() {
        bail!(
            "cc failed on {name}.c: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(program)
}
