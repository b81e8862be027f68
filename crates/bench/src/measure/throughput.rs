//! P1, P2, P7: no-op shell jobs through the stack at 8 slots, in turns with F; then at one slot; then idle.
//!
//! Always: a round's time runs from before the first order is added to the last `OrderFinished` in the event stream. Jobs run in
//! a Subagent of its own where CPU is told per part, and in the Agent's own where nothing is said.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::arguments::Extent;
use crate::figure::Bound::{AtLeast, AtMost};
use crate::figure::{Figure, number};
use crate::floor::{Spawned, Spawner};
use crate::procfs::Cpu;
use crate::sample::{Sample, ratio, spread_of_ratio};
use crate::stack::{JOB_SLOTS, Placement, Stack, one_slot, order};

const ROUNDS: usize = 5;
const PATIENCE: Duration = Duration::from_mins(5);

/// Rates and costs of the rounds with one placement.
#[derive(Default)]
struct Rounds {
    floor_rate: Sample,
    rate: Sample,
    floor_cpu: Sample,
    /// CPU per job of the whole stack beyond that of the floor.
    added_cpu: Sample,
    /// CPU per job of each part without its children, by name.
    cpu_of: Vec<(&'static str, Sample)>,
    flushes: [Sample; 2],
    /// Of F's log.
    floor_flushes: Sample,
}

pub(crate) fn run(extent: &Extent) -> Result<Vec<Figure>> {
    let local = rounds(Placement::Local, extent)?;
    let remote = rounds(Placement::Remote, extent)?;
    let mut figures = vec![
        rate(&local, "Agent with its own Subagent"),
        rate(&remote, "Subagent of its own"),
    ];
    figures.push(cpu(
        &remote,
        "Subagent of its own",
        AtMost(150.0),
        AtMost(300.0),
    ));
    let told = cpu(
        &local,
        "Agent with its own Subagent",
        AtMost(150.0),
        AtMost(300.0),
    );
    figures.push(told);
    for (name, flushes) in ["Controller", "Agent"].iter().zip(&local.flushes) {
        let what = format!("flushes per job, {name}'s journal, 8 slots");
        let figure = Figure::bound("P7", &what, flushes.median(), "", AtMost(0.4), AtMost(0.8));
        figures.push(figure.with(format!(
            "{} to {}; F {}",
            number(flushes.min(), ""),
            number(flushes.max(), ""),
            number(local.floor_flushes.median(), "")
        )));
    }
    figures.extend(quiet(extent)?);
    Ok(figures)
}

fn rate(rounds: &Rounds, placement: &str) -> Figure {
    let what = format!("no-op shell jobs at 8 slots to F; {placement}");
    let value = ratio(&rounds.rate, &rounds.floor_rate);
    Figure::bound("P1", &what, value, "F", AtLeast(0.6), AtLeast(0.3)).with(format!(
        "{}; {} jobs/s, F {}/s",
        spread_of_ratio(&rounds.rate, &rounds.floor_rate),
        rounds.rate.told(""),
        rounds.floor_rate.told("")
    ))
}

fn cpu(
    rounds: &Rounds,
    placement: &str,
    goal: crate::figure::Bound,
    half: crate::figure::Bound,
) -> Figure {
    let parts: Vec<String> = rounds
        .cpu_of
        .iter()
        .map(|(name, sample)| format!("{name} {}", number(sample.median(), "µs")))
        .collect();
    let what = format!("CPU per job beyond that of F; {placement}");
    let added = &rounds.added_cpu;
    Figure::bound("P2", &what, added.median(), "µs", goal, half).with(format!(
        "{} to {}; without jobs: {}; F with its jobs {}",
        number(added.min(), ""),
        number(added.max(), ""),
        parts.join(", "),
        number(rounds.floor_cpu.median(), "µs")
    ))
}

fn rounds(placement: Placement, extent: &Extent) -> Result<Rounds> {
    let mut stack = Stack::start(placement, &[])?;
    let floor = Spawner::new(stack.dir.path())?;
    let jobs = extent.jobs / ROUNDS;
    let mut rounds = Rounds {
        cpu_of: stack
            .parts()
            .iter()
            .map(|part| (part.name, Sample::default()))
            .collect(),
        ..Rounds::default()
    };
    for round in 0..ROUNDS {
        let spawned = if round % 2 == 0 {
            Some(floor.run(jobs, JOB_SLOTS)?)
        } else {
            None
        };
        let ran = through(&mut stack, "noop", &format!("r{round}"), jobs)?;
        let spawned = match spawned {
            Some(spawned) => spawned,
            None => floor.run(jobs, JOB_SLOTS)?,
        };
        note(&mut rounds, jobs, &spawned, &ran);
        eprintln!(
            "   {placement:?} round {}: F {:.0}/s, stack {:.0}/s",
            round + 1,
            per_second(jobs, spawned.elapsed),
            per_second(jobs, ran.elapsed)
        );
    }
    Ok(rounds)
}

fn note(rounds: &mut Rounds, jobs: usize, spawned: &Spawned, ran: &Ran) {
    rounds.floor_rate.push(per_second(jobs, spawned.elapsed));
    rounds.rate.push(per_second(jobs, ran.elapsed));
    let floor_cpu = micros_per(jobs, spawned.cpu.all());
    rounds.floor_cpu.push(floor_cpu);
    let all = ran.cpu.iter().fold(Cpu::default(), |sum, cpu| sum + *cpu);
    rounds
        .added_cpu
        .push(micros_per(jobs, all.all()) - floor_cpu);
    for ((_, sample), cpu) in rounds.cpu_of.iter_mut().zip(&ran.cpu) {
        sample.push(micros_per(jobs, cpu.own));
    }
    rounds.floor_flushes.push(per(jobs, spawned.flushes));
    for (sample, flushes) in rounds.flushes.iter_mut().zip(ran.flushes) {
        sample.push(per(jobs, flushes));
    }
}

/// What a round took.
pub(super) struct Ran {
    pub(super) elapsed: Duration,
    cpu: Vec<Cpu>,
    flushes: [u64; 2],
}

/// Adds so many orders and waits until all have finished.
pub(super) fn through(stack: &mut Stack, workflow: &str, prefix: &str, jobs: usize) -> Result<Ran> {
    let cpu_of = |stack: &Stack| -> Result<Vec<Cpu>> {
        stack.parts().iter().map(|part| part.cpu()).collect()
    };
    let finished = stack.follower.count("OrderFinished");
    let (flushes, cpu) = (stack.flushes()?, cpu_of(stack)?);
    let begin = Instant::now();
    stack.add_orders((0..jobs).map(|number| order(&format!("{prefix}-{number}"), workflow)))?;
    let end = stack.await_finished(finished + jobs as u64, PATIENCE)?;
    let cpu = cpu_of(stack)?
        .into_iter()
        .zip(cpu)
        .map(|(after, before)| after - before)
        .collect();
    let after = stack.flushes()?;
    let flushes = [after[0] - flushes[0], after[1] - flushes[1]];
    Ok(Ran {
        elapsed: end.duration_since(begin),
        cpu,
        flushes,
    })
}

/// Flushes with one slot, and when nothing happens.
fn quiet(extent: &Extent) -> Result<Vec<Figure>> {
    let mut stack = Stack::start(Placement::Local, &[])?;
    stack.deploy(&[one_slot()])?;
    let jobs = extent.of(1000, 200);
    let ran = through(&mut stack, "one-slot", "s", jobs)?;
    let mut figures = Vec::new();
    for (name, flushes) in ["Controller", "Agent"].iter().zip(ran.flushes) {
        let what = format!("flushes per job, {name}'s journal, 1 slot");
        figures.push(Figure::bound(
            "P7",
            &what,
            per(jobs, flushes),
            "",
            AtMost(2.0),
            AtMost(4.0),
        ));
    }
    // What is confirmed late is confirmed by then.
    std::thread::sleep(Duration::from_secs(3));
    let before = stack.flushes()?;
    let idle = Duration::from_secs(extent.of(30, 5));
    std::thread::sleep(idle);
    let after = stack.flushes()?;
    let idle_flushes = after
        .iter()
        .zip(before)
        .map(|(after, before)| after - before)
        .sum();
    let what = format!(
        "flushes of both journals in {} idle seconds",
        idle.as_secs()
    );
    figures.push(Figure::bound(
        "P7",
        &what,
        per(1, idle_flushes),
        "",
        AtMost(0.0),
        AtMost(0.0),
    ));
    Ok(figures)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of a measurement are small"
)]
pub(super) fn per_second(count: usize, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of a measurement are small"
)]
fn micros_per(count: usize, time: Duration) -> f64 {
    time.as_secs_f64() * 1e6 / count as f64
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of a measurement are small"
)]
fn per(count: usize, things: u64) -> f64 {
    things as f64 / count as f64
}
