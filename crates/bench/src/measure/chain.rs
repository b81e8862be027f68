//! P3: an order through ten jobs, from its addition to the event that it has finished, in turns with C.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::arguments::Extent;
use crate::figure::Bound::AtMost;
use crate::figure::Figure;
use crate::floor::Spawner;
use crate::sample::{Sample, ratio, spread_of_ratio};
use crate::stack::{Placement, Stack, chain, order};

pub(super) const STEPS: usize = 10;

pub(crate) fn run(extent: &Extent) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (placement, told) in [
        (Placement::Local, "Agent with its own Subagent"),
        (Placement::Remote, "Subagent of its own"),
    ] {
        let mut stack = Stack::start(placement, &[])?;
        stack.deploy(&[chain()])?;
        let floor = Spawner::new(stack.dir.path())?;
        let (mut c, mut chains) = (Sample::default(), Sample::default());
        for round in 0..extent.of(50, 10) {
            c.push(millis(floor.chain(STEPS)?));
            chains.push(through(&mut stack, round)?);
        }
        eprintln!(
            "   {placement:?}: C {}, stack {}",
            c.told("ms"),
            chains.told("ms")
        );
        let what = format!("chain of 10 jobs to C; {told}");
        let figure = Figure::bound(
            "P3",
            &what,
            ratio(&chains, &c),
            "C",
            AtMost(2.0),
            AtMost(4.0),
        );
        figures.push(figure.with(format!(
            "{}; {}, C {}",
            spread_of_ratio(&chains, &c),
            chains.told("ms"),
            c.told("ms")
        )));
    }
    Ok(figures)
}

/// Milliseconds from the addition of an order to the event that it has finished.
pub(super) fn through(stack: &mut Stack, round: usize) -> Result<f64> {
    let finished = stack.follower.count("OrderFinished");
    let begin = Instant::now();
    stack.add_orders(std::iter::once(order(&format!("c{round}"), "chain")))?;
    let end = stack.await_finished(finished + 1, Duration::from_secs(30))?;
    Ok(millis(end.duration_since(begin)))
}

pub(super) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
