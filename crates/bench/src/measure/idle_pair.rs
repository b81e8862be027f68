//! P13: the cost of a pair of Controllers with its watch while nothing happens.
//!
//! Always: only the three processes that keep the log are measured. The stack also has an Agent, which is idle.

use std::time::Duration;

use anyhow::Result;

use crate::arguments::Extent;
use crate::figure::Bound::AtMost;
use crate::figure::{Figure, number};
use crate::procfs::wake_ups_between;
use crate::stack::{Keeping, Placement, Stack};

pub(crate) fn run(extent: &Extent) -> Result<Vec<Figure>> {
    let stack = Stack::start_kept(Placement::Local, Keeping::Pair(Duration::ZERO), &[])?;
    // The members are coupled, and all work for the first order is done.
    std::thread::sleep(Duration::from_secs(extent.of(10, 5)));
    let window = Duration::from_secs(extent.of(60, 10));
    let seconds = window.as_secs_f64();
    let look = || -> Result<Vec<_>> {
        let members = stack.members().into_iter();
        members
            .map(|part| Ok((part.name, part.cpu()?, part.wake_ups()?)))
            .collect()
    };
    let before = look()?;
    std::thread::sleep(window);
    let after = look()?;
    let mut figures = Vec::new();
    let mut cpu_sum = 0.0;
    let mut told = Vec::new();
    for ((name, cpu, wakes), (_, cpu_before, wakes_before)) in after.iter().zip(&before) {
        let cpu = (*cpu - *cpu_before).all().as_secs_f64() / seconds * 100.0;
        cpu_sum += cpu;
        told.push(format!("{name} {}", number(cpu, "%")));
        let what = format!("wake-ups per second of an idle pair, {name}");
        let per_second = count(wake_ups_between(wakes_before, wakes)) / seconds;
        figures.push(Figure::told("P13", &what, per_second, "/s"));
    }
    let figure = Figure::bound(
        "P13",
        "CPU of an idle pair, both Controllers and the watch",
        cpu_sum,
        "% of a core",
        AtMost(0.5),
        AtMost(1.0),
    );
    figures.insert(0, figure.with(told.join(", ")));
    Ok(figures)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of a measurement are small"
)]
fn count(things: u64) -> f64 {
    things as f64
}
