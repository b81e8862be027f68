//! `trial`: a Controller pair with its Agents on hosts of its own, disturbed in every way under load. `cargo xtask trial`.
//!
//! Always: exit code 1 if anything was lost, started twice or would have required human action, or if a fail-over took longer than
//! promised. A missed goal is only reported.
//! Never here: the trial itself.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a program for people")]

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use clap::Parser;
use testkit::trial::{
    Directing, Extent, Installation, Kind, Matrix, Plan, Report, hosts, run, run_matrix,
};
use testkit::world::{Network, skip};

/// Kills, stops, cuts off and hands over a Controller pair under load, and tells how long no job starts.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask trial")]
struct Arguments {
    /// SIGKILL of the active member: so often
    #[arg(long, value_name = "N")]
    kill: Option<usize>,
    /// SIGSTOP of the active member for longer than anybody waits, then SIGCONT
    #[arg(long, value_name = "N")]
    stop: Option<usize>,
    /// Cut links, each kind of cut in turn
    #[arg(long, value_name = "N")]
    cut: Option<usize>,
    /// Switch-overs by command
    #[arg(long, value_name = "N")]
    switch: Option<usize>,
    /// Rolling restarts of both members
    #[arg(long, value_name = "N")]
    rolling: Option<usize>,
    /// Everything at once
    #[arg(long, value_name = "N")]
    crash: Option<usize>,
    /// Killed active Directors
    #[arg(long, value_name = "N")]
    director: Option<usize>,
    /// How many Directors the Agent has
    #[arg(long, value_enum, default_value_t = Directing::Pair)]
    directing: Directing,
    /// Only these kinds
    #[arg(long, value_enum, value_name = "KIND")]
    only: Vec<Kind>,
    /// Two of each kind: shows that it runs; its result is told and not kept
    #[arg(long)]
    short: bool,
    /// Orders added per second
    #[arg(long, default_value_t = 70)]
    rate: u64,
    /// Of the pauses between disturbances
    #[arg(long)]
    seed: Option<u64>,
    /// Writes the section of docs/benchmarks.md from the newest kept result of each kind
    #[arg(long)]
    write_docs: bool,
    /// Runs the matrix of hosts instead: an installation on three hosts in every placement, each host lost in each way
    #[arg(long)]
    matrix: bool,
    /// Of the matrix, runs one loss of each host, in turn, instead of all
    #[arg(long, requires = "matrix")]
    in_turn: bool,
    /// Of the matrix, runs N placements only, as a sample
    #[arg(
        long,
        requires = "matrix",
        value_name = "N",
        conflicts_with = "in_turn"
    )]
    sample: Option<usize>,
    /// Measures nothing; with --write-docs, for what is there already
    #[arg(long)]
    none: bool,
}

impl Arguments {
    fn plan(&self) -> Plan {
        let asked = |kind: Kind| match kind {
            Kind::Kill => self.kill,
            Kind::Stop => self.stop,
            Kind::Cut => self.cut,
            Kind::Switch => self.switch,
            Kind::Rolling => self.rolling,
            Kind::Crash => self.crash,
            Kind::Director => self.director,
        };
        let is_wanted = |kind: Kind| self.only.is_empty() || self.only.contains(&kind);
        let usual = |kind: Kind| if self.short { 2 } else { kind.often() };
        let wanted = Kind::ALL
            .into_iter()
            .filter(|kind| is_wanted(*kind) && !self.none);
        Plan {
            counts: wanted
                .map(|kind| (kind, asked(kind).unwrap_or_else(|| usual(kind))))
                .collect(),
            rate: self.rate,
            directing: self.directing,
            seed: self.seed.unwrap_or_else(|| rand::random::<u32>().into()),
        }
    }
}

fn main() -> ExitCode {
    match trial(&Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            println!("trial: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn whole_hosts(arguments: &Arguments) -> Result<ExitCode> {
    let extent = match arguments.sample {
        Some(count) => Extent::Sample(count),
        None if arguments.in_turn => Extent::InTurn,
        None => Extent::Whole,
    };
    let matrix = if arguments.none {
        Matrix::kept()?
    } else {
        let network = Arc::new(Network::build(&hosts()));
        if let Some(why) = network.why_loopback() {
            println!(
                "hosts are addresses of the loopback and none is cut off, because namespaces cannot be made: {why}"
            );
            skip("hosts that are cut off", why)?;
        }
        println!("about {:.0} minutes", extent.lasts().as_secs_f64() / 60.0);
        let matrix = run_matrix(&network, extent, arguments.rate, |line| println!("{line}"))?;
        if arguments.sample.is_none() {
            matrix.keep()?;
        }
        matrix
    };
    println!("\n{}", matrix.section());
    if arguments.write_docs && arguments.sample.is_none() {
        matrix.write_docs()?;
        println!("written: docs/benchmarks.md");
    }
    Ok(if matrix.is_in_order() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn trial(arguments: &Arguments) -> Result<ExitCode> {
    if arguments.matrix {
        return whole_hosts(arguments);
    }
    let plan = arguments.plan();
    let network = Arc::new(Network::build(&Installation::hosts()));
    if let Some(why) = network.why_loopback() {
        println!(
            "hosts are addresses of the loopback and no link is cut, because namespaces cannot be made: {why}"
        );
        skip("fail-overs on hosts of their own", why)?;
    }
    println!(
        "seed {}, about {:.0} minutes",
        plan.seed,
        plan.lasts().as_secs_f64() / 60.0
    );
    let mut report = if arguments.short {
        Report::default()
    } else {
        Report::open()?
    };
    let mut is_in_order = true;
    run(
        &network,
        &plan,
        |line| println!("{line}"),
        |told| {
            is_in_order &= told.is_in_order();
            if told.breaks_the_promise() {
                println!("{}: S30 promises a median of 3 s at most", told.kind.told());
            }
            report.add(told, !arguments.short)
        },
    )?;
    println!("\n{}", report.section());
    if arguments.write_docs && !arguments.short {
        report.write_docs()?;
        println!("written: docs/benchmarks.md");
    }
    Ok(if is_in_order {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
