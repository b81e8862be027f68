//! One run: start, load, faults, healing, judgement.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::faults::Faults;
use super::history_check;
use super::load::{Acknowledged, Load, ended_orders};
use super::markers::Markers;
use super::workflows;
use crate::conformance::operations;
use crate::world::{AgentPlan, Plan, Seen, World, processes_of};

const TURN: Duration = Duration::from_millis(20);
/// After everything has been healed, all orders must end within this time.
const DRAIN_WITHIN: Duration = Duration::from_mins(3);
/// Faults told in full; of more there is only the number.
const TOLD: usize = 30;

/// How long, and which faults.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How long faults are made.
    pub duration: Duration,
    /// Decides the faults.
    pub seed: u64,
}

/// What a run has shown.
#[derive(Debug)]
pub struct Chaos {
    /// The result for people.
    pub report: String,
    /// What is wrong.
    pub faults: Vec<String>,
}

impl Chaos {
    /// Runs, and keeps the directory of the world if anything is wrong.
    pub async fn run(settings: Settings) -> Result<Chaos> {
        let mut world = World::start(plan()).await?;
        let outcome = run_in(&mut world, settings).await;
        if !matches!(&outcome, Ok(chaos) if chaos.faults.is_empty()) {
            world.keep();
        }
        outcome
    }
}

fn plan() -> Plan {
    let agent = |name: &str| AgentPlan {
        is_pair: false,
        name: name.to_owned(),
        is_local_disabled: false,
        subagents: (1..=2).map(|number| format!("{name}-{number}")).collect(),
    };
    Plan {
        agents: vec![agent("A"), agent("B")],
        proxied: true,
        ..Plan::default()
    }
}

async fn run_in(world: &mut World, settings: Settings) -> Result<Chaos> {
    let marker_file = world.dir().join("markers");
    std::fs::write(&marker_file, "")?;
    let items = workflows::items(&marker_file);
    world.api().change_items(&operations(&items)).await?;
    let load = Load::start(world.api().clone(), world.history().clone(), settings.seed);

    let mut faults = Faults::new(StdRng::seed_from_u64(settings.seed));
    let end = Instant::now() + settings.duration;
    while Instant::now() < end {
        faults.turn(world)?;
        tokio::time::sleep(TURN).await;
    }
    faults.heal_all(world).await?;
    let acknowledged = load.finish().await;
    let drained_in = drain(world, &mut faults, &acknowledged).await?;

    world.catch_up().await?;
    let pieces = world.history().all();
    // The parts still run and log events, so the second reading ends at the last event of the first one.
    let last = pieces.last().map_or(0, |seen| seen.event_id);
    let mut whole: Vec<Seen> = world
        .api()
        .all_events()
        .await?
        .iter()
        .map(|json| Seen::from_line(json.to_string().as_bytes()))
        .collect::<Result<_>>()?;
    whole.retain(|seen| seen.event_id <= last);
    write_traces(world, &whole, &faults)?;
    let markers = Markers::read(&marker_file)?;
    let (mut found, lives) = history_check::faults(&acknowledged, &markers, &pieces, &whole);
    found.extend(world.follower().faults());
    found.append(&mut faults.findings.clone());
    for (kind, count) in &faults.counts {
        // A run of a few seconds cannot have them all.
        if *count == 0 && settings.duration >= Duration::from_mins(1) {
            found.push(format!("no fault of the kind “{kind}” was made"));
        }
    }
    found.extend(leftovers(world).await?);

    let mut report = report_of(settings, &faults, &acknowledged, &whole);
    let _infallible = writeln!(
        report,
        "{} attempts, {} of them lost; {} processes left marks; drained in {:.1} s",
        lives.attempts.len(),
        lives.lost_processes,
        markers.starts.len(),
        drained_in.as_secs_f64(),
    );
    for fault in found.iter().take(TOLD) {
        let _infallible = writeln!(report, "✗ {fault}");
    }
    let _infallible = match found.len() {
        0 => writeln!(
            report,
            "chaos: everything acknowledged has ended, nothing ran twice, nothing is missing"
        ),
        count => writeln!(
            report,
            "chaos: {count} faults; again with: cargo xtask chaos --minutes {:.1} --seed {}",
            settings.duration.as_secs_f64() / 60.0,
            settings.seed
        ),
    };
    Ok(Chaos {
        report,
        faults: found,
    })
}

/// Waits until all acknowledged orders have ended. What has not is told by the judgement.
async fn drain(
    world: &mut World,
    faults: &mut Faults,
    acknowledged: &Acknowledged,
) -> Result<Duration> {
    let begin = Instant::now();
    while begin.elapsed() < DRAIN_WITHIN {
        let ended = ended_orders(world.history());
        if acknowledged
            .orders
            .iter()
            .all(|order| ended.contains(order))
        {
            break;
        }
        faults.look_for_dead(world, Instant::now())?;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(begin.elapsed())
}

/// After an orderly end nothing of the world may run any more.
async fn leftovers(world: &mut World) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    for name in world.node_names() {
        let node = world.node(&name);
        if node.pid().is_none() {
            continue;
        }
        let status = node.terminate().await?;
        if !status.success() {
            faults.push(format!(
                "{name} ended with {status} when asked to end:\n{}",
                node.log_tail(8)
            ));
        }
    }
    // A process that has just been killed needs a moment to disappear.
    tokio::time::sleep(Duration::from_millis(300)).await;
    for pid in processes_of(world.mark()) {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        faults.push(format!("process {pid} was left behind: {line}"));
    }
    Ok(faults)
}

fn write_traces(world: &World, events: &[Seen], faults: &Faults) -> Result<()> {
    let mut lines = String::new();
    for seen in events {
        lines.push_str(&seen.to_string());
        lines.push('\n');
    }
    std::fs::write(world.dir().join("events.ndjson"), lines)
        .context("the events cannot be kept")?;
    std::fs::write(world.dir().join("faults"), faults.diary.join("\n"))
        .context("the diary cannot be kept")
}

fn report_of(
    settings: Settings,
    faults: &Faults,
    acknowledged: &Acknowledged,
    events: &[Seen],
) -> String {
    let list = |counts: &BTreeMap<String, usize>| {
        let parts: Vec<String> = counts
            .iter()
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        parts.join(", ")
    };
    let kinds = faults
        .counts
        .iter()
        .map(|(kind, count)| ((*kind).to_owned(), *count))
        .collect();
    let mut by_workflow = BTreeMap::new();
    for order in &acknowledged.orders {
        let workflow = order.split('-').next().unwrap_or(order);
        *by_workflow.entry(workflow.to_owned()).or_default() += 1;
    }
    let mut ends = BTreeMap::new();
    for seen in events {
        if matches!(
            seen.kind.as_str(),
            "OrderFinished" | "OrderCancelled" | "OrderFailed"
        ) {
            *ends.entry(seen.kind.clone()).or_default() += 1;
        }
    }
    format!(
        "seed {}, {:.1} minutes\nfaults: {}\nkilled: {}\norders: {} acknowledged ({}); {} cancelled on the way; {} requests without an answer, {} of them done all the same\nends: {}\nevents: {}\n",
        settings.seed,
        settings.duration.as_secs_f64() / 60.0,
        list(&kinds),
        list(&faults.killed),
        acknowledged.orders.len(),
        list(&by_workflow),
        acknowledged.cancels,
        acknowledged.repeated_additions,
        acknowledged.duplicates,
        list(&ends),
        events.len(),
    )
}
