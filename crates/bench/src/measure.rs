//! The measurements, each for one or several metrics of one run.

mod burst;
mod calls;
mod chain;
mod idle_pair;
mod journal_writer;
mod on_time;
mod standby;
mod throughput;
mod waiting;

use anyhow::{Result, bail};

use crate::arguments::Extent;
use crate::figure::Figure;

/// One measurement.
pub(crate) struct Measurement {
    pub(crate) name: &'static str,
    pub(crate) metrics: &'static [&'static str],
    pub(crate) summary: &'static str,
    pub(crate) run: fn(&Extent) -> Result<Vec<Figure>>,
}

/// All of them.
pub(crate) const ALL: &[Measurement] = &[
    Measurement {
        name: "throughput",
        metrics: &["P1", "P2", "P7"],
        summary: "no-op shell jobs at 8 slots: rate, CPU and flushes per job",
        run: throughput::run,
    },
    Measurement {
        name: "calls",
        metrics: &[],
        summary: "system calls per job, counted by the kernel",
        run: calls::run,
    },
    Measurement {
        name: "chain",
        metrics: &["P3"],
        summary: "a chain of ten jobs",
        run: chain::run,
    },
    Measurement {
        name: "standby",
        metrics: &["P4"],
        summary: "the chain and a commit with a standby that must acknowledge",
        run: standby::run,
    },
    Measurement {
        name: "on-time",
        metrics: &["P5"],
        summary: "from the due time to the start",
        run: on_time::run,
    },
    Measurement {
        name: "burst",
        metrics: &["P6"],
        summary: "10 000 orders due at the same second",
        run: burst::run,
    },
    Measurement {
        name: "journal",
        metrics: &["P8"],
        summary: "the writer of the journal alone",
        run: journal_writer::run,
    },
    Measurement {
        name: "waiting",
        metrics: &["P9", "P11", "P12"],
        summary: "many waiting orders: memory, idle cost, start",
        run: waiting::run,
    },
    Measurement {
        name: "idle-pair",
        metrics: &["P13"],
        summary: "an idle pair of Controllers with its watch",
        run: idle_pair::run,
    },
];

/// Those that are named by name or metric; all if none is.
pub(crate) fn chosen(names: &[String]) -> Result<Vec<&'static Measurement>> {
    let is = |measurement: &Measurement, name: &String| {
        measurement.name == name.as_str()
            || measurement
                .metrics
                .iter()
                .any(|metric| metric.eq_ignore_ascii_case(name))
    };
    for name in names {
        if !ALL.iter().any(|measurement| is(measurement, name)) {
            let known: Vec<&str> = ALL.iter().map(|measurement| measurement.name).collect();
            bail!(
                "{name} is no measurement; there are {} and their metrics, see --list",
                known.join(", ")
            );
        }
    }
    let is_chosen = |measurement: &&Measurement| {
        names.is_empty() || names.iter().any(|name| is(measurement, name))
    };
    Ok(ALL.iter().filter(is_chosen).collect())
}
