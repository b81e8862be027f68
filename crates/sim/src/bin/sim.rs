//! Runs worlds from seeds and tells what came of them, and how far it is. A failing seed is told with the command that repeats it.
#![forbid(unsafe_code)]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "its output is what it is for"
)]
#![expect(clippy::cast_precision_loss, reason = "a rate for people")]

use clap::Parser;
use sim::seeds::Verdict;
use sim::sweep::{News, sweep};
use sim::{Counts, Fault, seeds};
use std::collections::BTreeMap;
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
    /// So many seconds between two lines about how far it is.
    #[arg(long, default_value_t = 60)]
    progress: u64,
}

impl Arguments {
    fn first(&self) -> u64 {
        self.seed.unwrap_or(1)
    }

    fn world(&self, seed: u64) -> Verdict {
        let world = if self.clusters {
            seeds::run_clusters
        } else {
            seeds::run
        };
        world(seed, self.hours, self.trace)
    }

    /// What is to be added to `cargo xtask sim --seed N` to see a world of this run again.
    fn again(&self) -> String {
        let clusters = if self.clusters { " --clusters" } else { "" };
        format!("--hours {}{clusters}", self.hours)
    }
}

/// What came of many worlds.
struct Sum {
    begun: Instant,
    counts: Counts,
    simulated: Duration,
    steps: u64,
    steps_most: u64,
    events: u64,
    processes: u64,
    orders: usize,
    done: u64,
    failures: u64,
    /// The seeds whose worlds run, and since when.
    running: BTreeMap<u64, Instant>,
    /// The seed that took the most time, and how much.
    slowest: Option<(Duration, u64)>,
}

impl Sum {
    fn new() -> Sum {
        Sum {
            begun: Instant::now(),
            counts: Counts::default(),
            simulated: Duration::ZERO,
            steps: 0,
            steps_most: 0,
            events: 0,
            processes: 0,
            orders: 0,
            done: 0,
            failures: 0,
            running: BTreeMap::new(),
            slowest: None,
        }
    }

    fn ended(&mut self, arguments: &Arguments, seed: u64, verdict: Verdict) {
        let took = self.running.remove(&seed).map(|since| since.elapsed());
        self.slowest = self.slowest.max(took.map(|took| (took, seed)));
        self.counts.add(&verdict.counts);
        self.simulated += verdict.simulated;
        self.steps += verdict.steps;
        self.steps_most = self.steps_most.max(verdict.steps_most);
        self.events += verdict.events;
        self.processes += verdict.processes;
        self.orders += verdict.orders;
        self.done += 1;
        if let Some(failure) = verdict.failure {
            self.failures += 1;
            eprintln!("{failure} {}\n", arguments.again());
        }
        if arguments.seeds == 1 {
            println!("trace hash {:016x}", verdict.hash);
        }
    }

    fn hours(&self) -> f64 {
        self.simulated.as_secs_f64() / 3600.0
    }

    /// The kinds of faults that so many worlds should have met and have not.
    fn missing(&self, arguments: &Arguments) -> Vec<String> {
        let hours = self.done as f64 * arguments.hours;
        self.counts.missing_after(hours, arguments.clusters)
    }

    /// How far it is, with the seed that takes longest, if it takes unusually long.
    fn tell_progress(&self, arguments: &Arguments) {
        let real = self.begun.elapsed();
        eprintln!(
            "{:>6.0} s: {} of {} seeds, {:.1} hours, {} faults, {} failing",
            real.as_secs_f64(),
            self.done,
            arguments.seeds,
            self.hours(),
            self.counts.total(),
            self.failures
        );
        let oldest = self.running.iter().min_by_key(|(_, since)| **since);
        if let Some((seed, since)) = oldest
            && since.elapsed() >= Duration::from_secs(arguments.progress)
        {
            eprintln!(
                "          seed {seed} takes {:.0} s already: cargo xtask sim --seed {seed} {}",
                since.elapsed().as_secs_f64(),
                arguments.again()
            );
        }
    }

    fn tell(&self, arguments: &Arguments) {
        let real = self.begun.elapsed().as_secs_f64();
        println!(
            "{:>12}  seeds, {} failing, {:.1} seeds/s",
            arguments.seeds,
            self.failures,
            arguments.seeds as f64 / real
        );
        println!(
            "{:>12.1}  simulated hours in {real:.1} s, {:.0} times real time",
            self.hours(),
            self.simulated.as_secs_f64() / real
        );
        println!(
            "{:>12}  events, {} orders, {} processes",
            self.events, self.orders, self.processes
        );
        println!(
            "{:>12}  steps, {} within half a minute at most",
            self.steps, self.steps_most
        );
        if let Some((took, seed)) = self.slowest {
            println!(
                "{:>12}  is the seed that took longest, {:.1} s",
                seed,
                took.as_secs_f64()
            );
        }
        println!("{:>12}  faults", self.counts.total());
        for fault in Fault::ALL {
            println!("{:>12}  {fault}", self.counts.of(*fault));
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut sum = Sum::new();
    let Some(last) = (arguments.first() + arguments.seeds).checked_sub(1) else {
        return ExitCode::SUCCESS;
    };
    let pause = Duration::from_secs(arguments.progress.max(1));
    let mut told = Instant::now();
    let world = |seed| arguments.world(seed);
    sweep(
        arguments.first()..=last,
        arguments.threads,
        pause,
        world,
        |news| {
            match news {
                News::Begun(seed) => {
                    sum.running.insert(seed, Instant::now());
                }
                News::Ended(seed, verdict) => sum.ended(&arguments, seed, verdict),
                News::Silence => {}
            }
            if told.elapsed() >= pause {
                told = Instant::now();
                sum.tell_progress(&arguments);
            }
        },
    );
    sum.tell(&arguments);
    let missing = sum.missing(&arguments);
    if !missing.is_empty() {
        eprintln!("faults that never happened, so nothing was proved about them: {missing:?}");
    }
    if sum.failures == 0 && missing.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
