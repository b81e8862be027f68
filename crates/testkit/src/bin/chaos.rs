//! `chaos --minutes N [--seed S]`: the kill test with real processes.
//!
//! Always: exit code 1 if anything does not fit; the seed is printed and repeats the same faults. Never here: the test itself.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a program for people")]

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use testkit::chaos::{Chaos, Settings};

/// Kills, stops and cuts off real processes under a load of orders, and checks that nothing is lost or done twice.
#[derive(Debug, Parser)]
struct Arguments {
    /// How long faults are made
    #[arg(long, default_value_t = 2.0)]
    minutes: f64,
    /// Repeats the faults of an earlier run
    #[arg(long)]
    seed: Option<u64>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            println!("chaos: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(arguments: &Arguments) -> Result<ExitCode> {
    let settings = Settings {
        duration: Duration::try_from_secs_f64(arguments.minutes * 60.0)?,
        seed: arguments
            .seed
            .unwrap_or_else(|| rand::random::<u32>().into()),
    };
    println!("seed {}", settings.seed);
    let chaos = Chaos::run(settings).await?;
    println!("{}", chaos.report);
    Ok(if chaos.faults.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
