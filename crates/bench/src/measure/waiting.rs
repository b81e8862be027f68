//! P9, P11, P12: many orders that wait for a far day, handed over to the Agent: memory, cost when idle, start after SIGKILL.
//!
//! Always: an Agent and a Subagent count with their guards.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::arguments::Extent;
use crate::figure::Bound::{AtLeast, AtMost};
use crate::figure::{Figure, number};
use crate::floor::{Reading, read_lines};
use crate::procfs::{Cpu, wake_ups_between};
use crate::stack::{Placement, Stack, order, order_at};

use super::on_time::now_millis;

const YEAR_MILLIS: i64 = 365 * 24 * 3600 * 1000;
/// Adding and handing over this many orders takes a minute or two.
const PATIENCE: Duration = Duration::from_mins(10);

pub(crate) fn run(extent: &Extent) -> Result<Vec<Figure>> {
    // Snapshots are taken when they are measured, so that the log holds every event until then.
    let mut stack = Stack::start(Placement::Remote, &["snapshot-size=64GiB"])?;
    let mut figures = idle_memory(&stack, extent)?;
    let few = extent.orders / 10;
    let mut added = 0;
    add(&mut stack, &mut added, few)?;
    figures.extend(idle_cost(&mut stack, few, extent)?);
    let before = sizes(&stack)?;
    add(&mut stack, &mut added, extent.orders)?;
    std::thread::sleep(Duration::from_secs(extent.of(10, 2)));
    let after = sizes(&stack)?;
    figures.extend(slopes(&before, &after, few, extent.orders));
    figures.extend(starts(&mut stack, extent)?);
    Ok(figures)
}

/// Adds waiting orders up to a number and waits until the Agent has them.
fn add(stack: &mut Stack, added: &mut usize, upto: usize) -> Result<()> {
    let begin = Instant::now();
    let due = now_millis()? + YEAR_MILLIS;
    // One has been attached to warm up.
    let attached = 1 + upto as u64;
    let from = *added;
    stack.add_orders(
        (from..upto).map(|number| order_at(&format!("waiting-{number:07}"), "noop", due)),
    )?;
    let taken = begin.elapsed();
    stack
        .follower
        .await_count("OrderAttached", attached, PATIENCE)
        .with_context(|| stack.log_tails())?;
    *added = upto;
    eprintln!(
        "   {upto} orders: added in {taken:.1?}, handed over in {:.1?}",
        begin.elapsed()
    );
    Ok(())
}

fn sizes(stack: &Stack) -> Result<Vec<(&'static str, u64)>> {
    stack
        .parts()
        .iter()
        .map(|part| Ok((part.name, part.memory()?)))
        .collect()
}

fn idle_memory(stack: &Stack, extent: &Extent) -> Result<Vec<Figure>> {
    std::thread::sleep(Duration::from_secs(extent.of(5, 1)));
    let figure = |(name, bytes): (&str, u64)| {
        let goal = match name {
            "controller" => 25.0,
            "agent" => 15.0,
            _ => 8.0,
        };
        Figure::bound(
            "P11",
            &format!("idle, {}", with_guard(name)),
            mib(bytes),
            "MiB",
            AtMost(goal),
            AtMost(goal * 2.0),
        )
    };
    Ok(sizes(stack)?.into_iter().map(figure).collect())
}

/// Whose jobs have a guard: what it takes belongs to them.
fn with_guard(name: &str) -> String {
    if name == "controller" {
        name.to_owned()
    } else {
        format!("{name} with its guard")
    }
}

/// What the kernel has counted for each part so far.
struct Look(Vec<(Cpu, BTreeMap<String, u64>)>);

fn look(stack: &Stack) -> Result<Look> {
    let parts = stack.parts();
    let look = parts.iter().map(|part| Ok((part.cpu()?, part.wake_ups()?)));
    Ok(Look(look.collect::<Result<_>>()?))
}

/// CPU, wake-ups and flushes while nothing is due.
fn idle_cost(stack: &mut Stack, timers: usize, extent: &Extent) -> Result<Vec<Figure>> {
    // Confirmations of what has just come are over then.
    std::thread::sleep(Duration::from_secs(extent.of(10, 3)));
    let window = Duration::from_secs(extent.of(60, 10));
    // The requests that ask for flushes are outside of the window of CPU and wake-ups.
    let flushes = stack.flushes()?;
    std::thread::sleep(Duration::from_secs(1));
    let before = look(stack)?;
    std::thread::sleep(window);
    let after = look(stack)?;
    let flushes_after = stack.flushes()?;
    let seconds = window.as_secs_f64();
    let mut figures = Vec::new();
    let mut cpu_sum = 0.0;
    let mut told = Vec::new();
    for ((part, (cpu, wakes)), (cpu_before, wakes_before)) in
        stack.parts().iter().zip(&after.0).zip(&before.0)
    {
        let cpu = (*cpu - *cpu_before).all().as_secs_f64() / seconds * 100.0;
        cpu_sum += cpu;
        told.push(format!("{} {}", part.name, number(cpu, "%")));
        let what = format!(
            "wake-ups per second, {}, {timers} timers",
            with_guard(part.name)
        );
        let per_second = count(wake_ups_between(wakes_before, wakes)) / seconds;
        let figure = Figure::bound("P12", &what, per_second, "/s", AtMost(2.0), AtMost(4.0));
        figures.push(figure);
    }
    let what = format!("CPU of the whole stack, idle, {timers} timers");
    let figure = Figure::bound(
        "P12",
        &what,
        cpu_sum,
        "% of a core",
        AtMost(0.1),
        AtMost(0.2),
    );
    figures.insert(0, figure.with(told.join(", ")));
    let idle_flushes: u64 = flushes_after
        .iter()
        .zip(flushes)
        .map(|(after, before)| after - before)
        .sum();
    let what = format!(
        "flushes of both journals in {} idle seconds, {timers} timers",
        window.as_secs()
    );
    figures.push(Figure::bound(
        "P12",
        &what,
        count(idle_flushes),
        "",
        AtMost(0.0),
        AtMost(0.0),
    ));
    Ok(figures)
}

fn slopes(
    before: &[(&'static str, u64)],
    after: &[(&'static str, u64)],
    few: usize,
    many: usize,
) -> Vec<Figure> {
    let mut figures = Vec::new();
    for ((name, before), (_, after)) in before.iter().zip(after) {
        if *name == "subagent" {
            continue;
        }
        let slope = count(after.saturating_sub(*before)) / count((many - few) as u64);
        let what = format!("bytes per waiting order, {name}, {few} to {many} orders");
        let figure = Figure::bound("P11", &what, slope, "B", AtMost(400.0), AtMost(800.0));
        figures.push(figure.with(format!("{} with all of them", number(mib(*after), "MiB"))));
    }
    figures
}

/// Starts from the log alone, then from a snapshot, each after SIGKILL.
fn starts(stack: &mut Stack, extent: &Extent) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    // What is in the page cache is the same for both sides.
    let log_floor = read_lines(&files(stack, "log-", "controller")?)?;
    stack.controller.kill()?;
    let begin = Instant::now();
    stack.controller.start()?;
    stack.controller.wait_until_it_works(PATIENCE)?;
    let replay = begin.elapsed();
    let events = recovered_events(stack).unwrap_or(log_floor.lines);
    let rate = count(events) / replay.as_secs_f64();
    let floor_rate = rate_of(&log_floor);
    eprintln!(
        "   Controller: {events} events replayed in {replay:.1?}; floor {floor_rate:.0} events/s"
    );
    let what =
        "events replayed per second, Controller, to read + checksum + parse of the same files";
    let figure = Figure::bound(
        "P9",
        what,
        rate / floor_rate,
        "×",
        AtLeast(0.5),
        AtLeast(0.25),
    );
    figures.push(figure.with(format!(
        "{} events/s from {} events, floor {}",
        number(rate, ""),
        number(count(events), ""),
        number(floor_rate, "")
    )));
    stack.reconnect(PATIENCE)?;
    stack.take_snapshot()?;
    stack.agent_takes_snapshot()?;
    let snapshot_floor = read_lines(&files(stack, "snapshot-", "controller")?)?;
    let floor_told = format!(
        "read + checksum + parse of the snapshot {}",
        number(snapshot_floor.elapsed.as_secs_f64(), "s")
    );
    let orders = extent.orders;

    let answered = first_start(stack, "after-controller", Restarted::Controller)?;
    let what = format!(
        "Controller with {orders} waiting orders: SIGKILL, start, to the first new job start"
    );
    let (goal, half) = scaled(orders);
    let figure = Figure::bound("P9", &what, answered.job, "s", AtMost(goal), AtMost(half));
    figures.push(figure.with(format!(
        "works after {}; {floor_told}",
        number(answered.answers, "s")
    )));

    let answered = first_start(stack, "after-agent", Restarted::Agent)?;
    let what =
        format!("Agent with {orders} waiting orders: SIGKILL, start, to the first new job start");
    let figure = Figure::bound("P9", &what, answered.job, "s", AtMost(goal), AtMost(half));
    figures.push(figure.with(format!("works after {}", number(answered.answers, "s"))));

    let after = sizes(stack)?;
    for (name, bytes) in after.iter().filter(|(name, _)| *name != "subagent") {
        let what = format!("bytes per waiting order after the start from a snapshot, {name}");
        figures.push(
            Figure::told("P11", &what, count(*bytes) / count(orders as u64), "B")
                .with(number(mib(*bytes), "MiB")),
        );
    }
    Ok(figures)
}

/// The goal is for a million orders; a shortened run gets its share, and never less than a tenth.
fn scaled(orders: usize) -> (f64, f64) {
    let share = (count(orders as u64) / 1e6).max(0.1);
    (3.0 * share, 6.0 * share)
}

/// Who is killed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Restarted {
    Controller,
    Agent,
}

struct FirstStart {
    /// Seconds until the part does its work.
    answers: f64,
    /// Seconds until the next job has started.
    job: f64,
}

/// Kills the Controller or the Agent, starts it, and waits for the start of a new order's job.
fn first_start(stack: &mut Stack, id: &str, restarted: Restarted) -> Result<FirstStart> {
    let part = match restarted {
        Restarted::Controller => &mut stack.controller,
        Restarted::Agent => &mut stack.agent,
    };
    part.kill()?;
    let (begin, begin_millis) = (Instant::now(), now_millis()?);
    part.start()?;
    part.wait_until_it_works(PATIENCE)?;
    let answers = begin.elapsed().as_secs_f64();
    if restarted == Restarted::Controller {
        stack.reconnect(PATIENCE)?;
        stack.follow_again()?;
    }
    stack.follower.keep(&["OrderProcessingStarted"]);
    let started = stack.follower.count("OrderProcessingStarted");
    stack.add_orders(std::iter::once(order(id, "noop")))?;
    stack
        .follower
        .await_count("OrderProcessingStarted", started + 1, PATIENCE)
        .with_context(|| stack.log_tails())?;
    let kept = stack.follower.take_kept();
    let line = kept
        .iter()
        .find(|line| line.contains(id))
        .context("the new order was not started")?;
    let event: Value = serde_json::from_str(line)?;
    let at = event["timestamp"]
        .as_i64()
        .or_else(|| Some(event["eventId"].as_i64()? / 1000));
    let millis = at.context("an event without a time")? - begin_millis;
    let job = Duration::from_millis(u64::try_from(millis)?).as_secs_f64();
    eprintln!("   {id}: works after {answers:.2} s, starts a job after {job:.2} s");
    Ok(FirstStart { answers, job })
}

/// The files of a part's log whose names begin so.
fn files(stack: &Stack, prefix: &str, name: &str) -> Result<Vec<PathBuf>> {
    let dir = stack.dir.path().join(name).join("state");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&dir)? {
        let path = entry?.path();
        let is_wanted = path.file_name().is_some_and(|file| {
            let file = file.to_string_lossy();
            file.starts_with(prefix) && (file.ends_with(".segment") || file.ends_with(".jsonl"))
        });
        if is_wanted {
            files.push(path);
        }
    }
    files.sort();
    // Only the newest snapshot is read at a start.
    if prefix == "snapshot-" && files.len() > 1 {
        files.drain(..files.len() - 1);
    }
    Ok(files)
}

/// How many events the Controller says it has read.
fn recovered_events(stack: &Stack) -> Option<u64> {
    let log = stack.controller.log();
    let line = log.lines().rev().find(|line| line.contains("recovered"))?;
    let (_, rest) = line.split_once("events=")?;
    rest.split(|letter: char| !letter.is_ascii_digit())
        .next()?
        .parse()
        .ok()
}

fn rate_of(reading: &Reading) -> f64 {
    count(reading.lines) / reading.elapsed.as_secs_f64()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of a measurement are small"
)]
fn count(things: u64) -> f64 {
    things as f64
}

fn mib(bytes: u64) -> f64 {
    count(bytes) / f64::from(1 << 20)
}
