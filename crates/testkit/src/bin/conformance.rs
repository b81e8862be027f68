//! `conformance [--write-docs] [--jobs N] [case…]`: drives the conformance cases and tells how each ended.
//!
//! Always: exit code 1 if a supported case fails. Never here: the cases.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a program for people")]

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser;

/// Drives the conformance cases through the public API of real processes.
#[derive(Debug, Parser)]
struct Arguments {
    /// Cases, or beginnings of their names such as WI
    #[arg(value_name = "CASE")]
    cases: Vec<String>,
    /// How many cases at a time
    #[arg(long, default_value_t = 4)]
    jobs: usize,
    /// Write docs/conformance.md
    #[arg(long)]
    write_docs: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            println!("conformance: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(arguments: &Arguments) -> Result<ExitCode> {
    let suite = testkit::conformance::run(&arguments.cases, arguments.jobs.max(1)).await?;
    println!("{}", testkit::conformance::table(&suite));
    if arguments.write_docs {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/conformance.md");
        std::fs::write(&path, testkit::conformance::documentation(&suite))
            .with_context(|| format!("{} cannot be written", path.display()))?;
    }
    let (_, failed, _) = suite.counts();
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
