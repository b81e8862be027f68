//! P3: an order through ten jobs, from its addition to the event that it has finished, in turns with C.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::arguments::Extent;
use crate::figure::Bound::AtMost;
use crate::figure::Figure;
use crate::floor::Spawner;
use crate::sample::{Sample, ratio, spread_of_ratio};
use crate::stack::{Placement, Stack, chain, order};

const STEPS: usize = 10;

pub(crate) fn run(extent: &Extent) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (placement, told) in [
        (Placement::Local, "Agent with its own Subagent"),
        (Placement::Remote, "Subagent of its own"),
    ] {
        let mut stack = Stack::start(placement, &[])?;
        stack.deploy(&[chain()])?;
        let floor = Spawner::new(stack.dir.path())?;
        let (mut c, mut through) = (Sample::default(), Sample::default());
        for round in 0..extent.of(50, 10) {
            c.push(millis(floor.chain(STEPS)?));
            let finished = stack.follower.count("OrderFinished");
            let begin = Instant::now();
            stack.add_orders(std::iter::once(order(&format!("c{round}"), "chain")))?;
            let end = stack.await_finished(finished + 1, Duration::from_secs(30))?;
            through.push(millis(end.duration_since(begin)));
        }
        eprintln!(
            "   {placement:?}: C {}, stack {}",
            c.told("ms"),
            through.told("ms")
        );
        let what = format!("chain of 10 jobs to C; {told}");
        let figure = Figure::bound(
            "P3",
            &what,
            ratio(&through, &c),
            "C",
            AtMost(2.0),
            AtMost(4.0),
        );
        figures.push(figure.with(format!(
            "{}; {}, C {}",
            spread_of_ratio(&through, &c),
            through.told("ms"),
            c.told("ms")
        )));
    }
    Ok(figures)
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
