//! Runs worlds from seeds and tells what came of them. A failing seed is told with the command that repeats it.
#![forbid(unsafe_code)]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "its output is what it is for"
)]
#![expect(clippy::cast_precision_loss, reason = "a rate for people")]

use clap::Parser;
use sim::{Counts, Fault, seeds};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// The simulated world: the real machines, everything around them from a seed.
#[derive(Parser)]
#[command(name = "sim")]
struct Arguments {
    /// So many seeds, one after another.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// The first seed; alone: only this one.
    #[arg(long)]
    seed: Option<u64>,
    /// Hours of faults in each world.
    #[arg(long, default_value_t = 3.0)]
    hours: f64,
    /// Worlds of pairs: two Controllers, two Directors for each Agent, watches.
    #[arg(long)]
    clusters: bool,
    /// Print everything that happens.
    #[arg(long)]
    trace: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let first = arguments.seed.unwrap_or(1);
    let begun = Instant::now();
    let mut counts = Counts::default();
    let (mut simulated, mut events, mut processes, mut orders, mut failures) =
        (Duration::ZERO, 0, 0, 0, 0);
    for seed in first..first + arguments.seeds {
        let run = if arguments.clusters {
            seeds::run_clusters
        } else {
            seeds::run
        };
        let verdict = run(seed, arguments.hours, arguments.trace);
        counts.add(&verdict.counts);
        simulated += verdict.simulated;
        events += verdict.events;
        processes += verdict.processes;
        orders += verdict.orders;
        if let Some(failure) = verdict.failure {
            failures += 1;
            let clusters = if arguments.clusters {
                " --clusters"
            } else {
                ""
            };
            eprintln!("{failure} --hours {}{clusters}\n", arguments.hours);
        }
        if arguments.seeds == 1 {
            println!("trace hash {:016x}", verdict.hash);
        }
    }
    let real = begun.elapsed().as_secs_f64();
    println!(
        "{:>12}  seeds, {failures} failing, {:.1} seeds/s",
        arguments.seeds,
        arguments.seeds as f64 / real
    );
    println!(
        "{:>12.1}  simulated hours in {real:.1} s, {:.0} times real time",
        simulated.as_secs_f64() / 3600.0,
        simulated.as_secs_f64() / real
    );
    println!("{events:>12}  events, {orders} orders, {processes} processes");
    println!("{:>12}  faults", counts.total());
    for fault in Fault::ALL {
        println!("{:>12}  {fault}", counts.of(*fault));
    }
    if failures == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
