//! `bench`: measures Mainspring against floors taken in the same run. Started by `cargo xtask bench`.
//!
//! Always: floor and stack take turns on the same machine, what is told is a ratio of medians with its spread; a figure that
//! misses its goal is told as it is. Never here: what Mainspring does; it is driven as an operator drives it.
#![forbid(unsafe_code)]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for the terminal"
)]

mod arguments;
mod figure;
mod floor;
mod halves;
mod host;
mod measure;
mod procfs;
mod report;
mod sample;
mod stack;

use anyhow::Result;
use clap::Parser as _;

fn main() -> Result<()> {
    let arguments = arguments::Arguments::parse();
    if arguments.list {
        for measurement in measure::ALL {
            println!(
                "{:10} {:14} {}",
                measurement.name,
                measurement.metrics.join(" "),
                measurement.summary
            );
        }
        return Ok(());
    }
    let chosen = if arguments.write_docs && arguments.names.is_empty() {
        Vec::new()
    } else {
        measure::chosen(&arguments.names)?
    };
    let host = host::Host::look()?;
    println!("{host}");
    let mut report = report::Report::open(&host)?;
    let mut failures = Vec::new();
    for measurement in chosen {
        eprintln!("== {}: {}", measurement.name, measurement.summary);
        match (measurement.run)(&arguments.extent()) {
            Ok(figures) => report.add(measurement, arguments.quick, figures)?,
            Err(error) => failures.push(format!("{}: {error:#}", measurement.name)),
        }
    }
    if arguments.write_docs {
        report.write_docs()?;
    }
    if failures.is_empty() {
        Ok(())
    } else {
        anyhow::bail!("not measured: {}", failures.join("; "))
    }
}
