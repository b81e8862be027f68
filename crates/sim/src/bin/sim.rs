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
    /// So many worlds at once.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Print everything that happens.
    #[arg(long)]
    trace: bool,
}

/// What came of many worlds.
#[derive(Default)]
struct Sum {
    counts: Counts,
    simulated: Duration,
    events: u64,
    processes: u64,
    orders: usize,
    failures: u64,
}

impl Sum {
    fn add(&mut self, other: &Sum) {
        self.counts.add(&other.counts);
        self.simulated += other.simulated;
        self.events += other.events;
        self.processes += other.processes;
        self.orders += other.orders;
        self.failures += other.failures;
    }
}

fn run(arguments: &Arguments, seeds: impl Iterator<Item = u64>) -> Sum {
    let mut sum = Sum::default();
    let world = if arguments.clusters {
        seeds::run_clusters
    } else {
        seeds::run
    };
    for seed in seeds {
        let verdict = world(seed, arguments.hours, arguments.trace);
        sum.counts.add(&verdict.counts);
        sum.simulated += verdict.simulated;
        sum.events += verdict.events;
        sum.processes += verdict.processes;
        sum.orders += verdict.orders;
        if let Some(failure) = verdict.failure {
            sum.failures += 1;
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
    sum
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let first = arguments.seed.unwrap_or(1);
    let begun = Instant::now();
    let threads = arguments.threads.max(1);
    let mut sum = Sum::default();
    // Each world lives in one thread; which of them does not matter to it.
    std::thread::scope(|scope| {
        let parts: Vec<_> = (0..threads)
            .map(|thread| {
                let seeds = (first..first + arguments.seeds)
                    .skip(thread)
                    .step_by(threads);
                let arguments = &arguments;
                scope.spawn(move || run(arguments, seeds))
            })
            .collect();
        for part in parts {
            match part.join() {
                Ok(part) => sum.add(&part),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    let real = begun.elapsed().as_secs_f64();
    println!(
        "{:>12}  seeds, {} failing, {:.1} seeds/s",
        arguments.seeds,
        sum.failures,
        arguments.seeds as f64 / real
    );
    println!(
        "{:>12.1}  simulated hours in {real:.1} s, {:.0} times real time",
        sum.simulated.as_secs_f64() / 3600.0,
        sum.simulated.as_secs_f64() / real
    );
    println!(
        "{:>12}  events, {} orders, {} processes",
        sum.events, sum.orders, sum.processes
    );
    println!("{:>12}  faults", sum.counts.total());
    for fault in Fault::ALL {
        println!("{:>12}  {fault}", sum.counts.of(*fault));
    }
    if sum.failures == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
