//! P5: orders due at random moments while nothing else happens, in turns with a timer of the kernel and a spawn.
//!
//! Always: the job itself reads the clock; a start before its time fails the measurement.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::arguments::Extent;
use crate::figure::Bound::AtMost;
use crate::figure::{Figure, number};
use crate::floor::{clock_program, start_on_time};
use crate::sample::Sample;
use crate::stack::{CLOCK, Placement, Stack, clock, order_at};

/// Between the moment when all orders are added and the first one that is due.
const LEAD_MILLIS: i64 = 3000;

pub(crate) fn run(extent: &Extent) -> Result<Vec<Figure>> {
    let mut stack = Stack::start(Placement::Local, &[])?;
    let program = clock_program(stack.dir.path())?;
    stack.deploy(&[clock(&program)])?;
    stack.follower.keep(&["OrderStdoutWritten"]);
    let count = extent.of(400, 60);
    let moments = moments(count * 2)?;
    let of_orders: Vec<i64> = moments.iter().copied().step_by(2).collect();
    let of_floor: Vec<i64> = moments.iter().copied().skip(1).step_by(2).collect();
    stack.add_orders(
        of_orders
            .iter()
            .map(|at| order_at(&format!("t{at}"), CLOCK, *at)),
    )?;
    let mut floor = Sample::default();
    for at in &of_floor {
        floor.push(delay(start_on_time(*at, &program)?, *at)?);
    }
    stack.await_finished(1 + count as u64, Duration::from_secs(30))?;
    let mut starts = Sample::default();
    for line in stack.follower.take_kept() {
        let event: Value = serde_json::from_str(&line)?;
        let key = event["Key"]
            .as_str()
            .context("an event of an order without its key")?;
        let Some(at) = key.strip_prefix('t') else {
            continue;
        };
        let read = event["chunk"]
            .as_str()
            .unwrap_or_default()
            .trim()
            .parse()
            .context("no clock on stdout")?;
        starts.push(delay(read, at.parse()?)?);
    }
    eprintln!(
        "   delays: stack {}, timer and spawn {}",
        starts.told("ms"),
        floor.told("ms")
    );
    let spread = |sample: &Sample| {
        format!(
            "{} to {} ms, {count} starts, none early",
            number(sample.min(), ""),
            number(sample.max(), "")
        )
    };
    let (p50, p99) = (starts.percentile(0.5), starts.percentile(0.99));
    let to_floor = p50 / floor.percentile(0.5);
    let floor_told = format!(
        "timer and spawn: p50 {}, p99 {}",
        number(floor.percentile(0.5), "ms"),
        number(floor.percentile(0.99), "ms")
    );
    Ok(vec![
        Figure::bound(
            "P5",
            "due time to start of the process, p50",
            p50,
            "ms",
            AtMost(1.0),
            AtMost(2.0),
        )
        .with(spread(&starts)),
        Figure::bound(
            "P5",
            "due time to start of the process, p99",
            p99,
            "ms",
            AtMost(5.0),
            AtMost(10.0),
        )
        .with(spread(&starts)),
        Figure::bound(
            "P5",
            "p50 to a timer of the kernel and a spawn",
            to_floor,
            "×",
            AtMost(4.0),
            AtMost(8.0),
        )
        .with(floor_told),
    ])
}

/// Moments 60 to 160 ms apart.
fn moments(count: usize) -> Result<Vec<i64>> {
    let mut at = now_millis()? + LEAD_MILLIS;
    let mut random = u64::try_from(at)? | 1;
    let mut next = || {
        // Xorshift: any moment will do, as long as none follows from the one before.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        at += 60 + i64::try_from(random % 101).unwrap_or(0);
        at
    };
    Ok((0..count).map(|_| next()).collect())
}

/// Milliseconds from the moment to what the job read.
#[expect(clippy::cast_precision_loss, reason = "a delay is short")]
fn delay(read_nanos: i64, at_millis: i64) -> Result<f64> {
    let delay = read_nanos - at_millis * 1_000_000;
    if delay < 0 {
        bail!("a job started {} ns before its time", -delay);
    }
    Ok(delay as f64 / 1e6)
}

/// The wall clock.
pub(super) fn now_millis() -> Result<i64> {
    Ok(i64::try_from(
        SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis(),
    )?)
}
