//! The command line.

use clap::Parser;

/// Measures Mainspring against floors taken in the same run.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench")]
pub(crate) struct Arguments {
    /// What to measure: names or metrics (`throughput`, `P3`, …); everything if left out
    pub(crate) names: Vec<String>,
    /// A tenth of the work: shows that it runs, not how fast
    #[arg(long)]
    pub(crate) quick: bool,
    /// Writes docs/benchmarks.md from the newest result of each measurement; without names nothing is measured for it
    #[arg(long)]
    pub(crate) write_docs: bool,
    /// Lists what can be measured
    #[arg(long)]
    pub(crate) list: bool,
    /// Jobs of the throughput measurement
    #[arg(long, value_name = "N")]
    pub(crate) jobs: Option<usize>,
    /// Waiting orders of the measurement of memory and start
    #[arg(long, value_name = "N")]
    pub(crate) orders: Option<usize>,
}

/// How much is done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    pub(crate) quick: bool,
    pub(crate) jobs: usize,
    pub(crate) orders: usize,
}

impl Extent {
    /// The full figure, or the one for a quick run.
    pub(crate) fn of<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }
}

impl Arguments {
    pub(crate) fn extent(&self) -> Extent {
        let (jobs, orders) = if self.quick {
            (2_000, 100_000)
        } else {
            (20_000, 1_000_000)
        };
        Extent {
            quick: self.quick,
            jobs: self.jobs.unwrap_or(jobs),
            orders: self.orders.unwrap_or(orders),
        }
    }
}
