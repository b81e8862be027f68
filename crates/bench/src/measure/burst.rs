//! P6: orders due at the same second. How long until the last one is started, that none is lost, and that priorities count.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::arguments::Extent;
use crate::figure::Bound::AtMost;
use crate::figure::Figure;
use crate::floor::Spawner;
use crate::sample::Sample;
use crate::stack::{JOB_SLOTS, Placement, Stack};

use super::on_time::now_millis;
use super::throughput::per_second;

const PRIORITIES: usize = 5;
const ROUNDS: usize = 3;

pub(crate) fn run(extent: &Extent) -> Result<Vec<Figure>> {
    let count = extent.of(10_000, 2_000);
    let mut stack = Stack::start(Placement::Local, &[])?;
    let floor = Spawner::new(stack.dir.path())?;
    let (mut rate, mut seconds) = (Sample::default(), Sample::default());
    for round in 0..extent.of(ROUNDS, 1) {
        rate.push(per_second(
            count / 2,
            floor.run(count / 2, JOB_SLOTS)?.elapsed,
        ));
        seconds.push(burst(&mut stack, round, count, extent)?);
        rate.push(per_second(
            count / 2,
            floor.run(count / 2, JOB_SLOTS)?.elapsed,
        ));
    }
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts of a measurement are small"
    )]
    let bare = count as f64 / rate.median();
    eprintln!("   burst: {}, F {}", seconds.told("s"), rate.told("/s"));
    let what = format!("{count} orders due at once, all started, to {count}/F");
    let figure = Figure::bound(
        "P6",
        &what,
        seconds.median() / bare,
        "×",
        AtMost(1.4),
        AtMost(2.8),
    );
    Ok(vec![figure.with(format!(
        "{}, F {}; each once, by priority",
        seconds.told("s"),
        rate.told("/s")
    ))])
}

/// Seconds from the due time to the last start.
fn burst(stack: &mut Stack, round: usize, count: usize, extent: &Extent) -> Result<f64> {
    let due = (now_millis()? / 1000 + extent.of(20, 8)) * 1000;
    let (attached, finished) = (
        stack.follower.count("OrderAttached"),
        stack.follower.count("OrderFinished"),
    );
    stack.follower.keep(&["OrderProcessingStarted"]);
    let id = |number: usize| format!("b{round}-{}-{number}", number % PRIORITIES);
    stack.add_orders((0..count).map(|number| {
        let priority = number % PRIORITIES;
        let id = id(number);
        format!("{{\"id\":\"{id}\",\"workflowPath\":\"noop\",\"scheduledFor\":{due},\"priority\":{priority}}}")
    }))?;
    stack.follower.await_count(
        "OrderAttached",
        attached + count as u64,
        Duration::from_mins(1),
    )?;
    let ready = now_millis()?;
    if ready > due {
        bail!(
            "the orders were handed over {} ms after their due time: give the burst more lead",
            ready - due
        );
    }
    stack.await_finished(finished + count as u64, Duration::from_mins(2))?;
    let mut last = 0;
    let mut priority = PRIORITIES;
    let mut started = std::collections::BTreeSet::new();
    for line in stack.follower.take_kept() {
        let event: Value = serde_json::from_str(&line)?;
        let key = event["Key"]
            .as_str()
            .context("an event of an order without its key")?;
        let Some(rest) = key.strip_prefix(&format!("b{round}-")) else {
            continue;
        };
        if !started.insert(rest.to_owned()) {
            bail!("{key} was started twice");
        }
        let of_this: usize = rest.split('-').next().unwrap_or_default().parse()?;
        if of_this > priority {
            bail!("{key} was started after one of priority {priority}");
        }
        priority = of_this;
        let at = event["timestamp"]
            .as_i64()
            .or_else(|| Some(event["eventId"].as_i64()? / 1000));
        last = last.max(at.context("an event without a time")?);
    }
    if started.len() != count {
        bail!("{} of {count} orders were started", started.len());
    }
    Ok(Duration::from_millis(u64::try_from(last - due)?).as_secs_f64())
}
