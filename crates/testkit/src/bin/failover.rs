//! Fail-overs of a Controller pair under load, many of each kind, with real processes: how long no job starts, and whether anything is
//! lost or doubled. `cargo xtask failover`.
//!
//! Always: the load never pauses; a gap is the longest time without a job's start around a disturbance, as the jobs themselves tell it.
#![forbid(unsafe_code)]
#![expect(
    clippy::print_stdout,
    reason = "a report for the person who has started it"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail, ensure};
use clap::Parser;
use serde_json::json;
use testkit::world::Pair;
use tokio::sync::RwLock;

/// Kills, stops and hands over a Controller pair under load.
#[derive(Debug, Parser)]
struct Arguments {
    /// SIGKILL for the active member.
    #[arg(long, default_value_t = 10)]
    kills: usize,
    /// SIGSTOP for longer than anybody waits, then SIGCONT.
    #[arg(long, default_value_t = 5)]
    stops: usize,
    /// Switch-overs by command.
    #[arg(long, default_value_t = 5)]
    switches: usize,
    /// Rolling restarts: standby, then active member.
    #[arg(long, default_value_t = 3)]
    rolling: usize,
    /// Everything at once.
    #[arg(long, default_value_t = 2)]
    crashes: usize,
    /// Orders added per second.
    #[arg(long, default_value_t = 100)]
    load: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Kill,
    Stop,
    Switch,
    Rolling,
    Crash,
}

impl Kind {
    fn told(self) -> &'static str {
        match self {
            Kind::Kill => "SIGKILL of the active member",
            Kind::Stop => "SIGSTOP of the active member, SIGCONT",
            Kind::Switch => "switch-over",
            Kind::Rolling => "rolling restart",
            Kind::Crash => "members, watch and Agent at once",
        }
    }
}

fn nanos() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// What is shared with the load.
struct Load {
    pair: RwLock<Pair>,
    is_over: AtomicBool,
    added: AtomicU64,
}

async fn feed(load: Arc<Load>, lane: u64, every: Duration) -> Result<Vec<String>> {
    let mut orders = Vec::new();
    let mut tick = tokio::time::interval(every);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    while !load.is_over.load(Ordering::Relaxed) {
        tick.tick().await;
        let id = format!("{lane}-{}", orders.len());
        load.pair.read().await.add_order(&id, "marking").await?;
        load.added.fetch_add(1, Ordering::Relaxed);
        orders.push(id);
    }
    Ok(orders)
}

/// Disturbs; answers when.
async fn disturb(load: &Load, kind: Kind) -> Result<u64> {
    // Reading does not hold up the load; changing the processes does, for a moment.
    let active = load.pair.read().await.active().await?;
    let at = nanos();
    match kind {
        Kind::Kill => {
            load.pair.write().await.members[active].kill()?;
            tokio::time::sleep(Duration::from_secs(2)).await;
            load.pair.write().await.members[active].start()?;
        }
        Kind::Stop => {
            load.pair.write().await.members[active].stop()?;
            tokio::time::sleep(Duration::from_secs(2)).await;
            load.pair.write().await.members[active].cont()?;
        }
        Kind::Switch => {
            let pair = load.pair.read().await;
            let command = json!({"TYPE": "ClusterSwitchOver"});
            pair.api_of(active).accept(&command).await?;
        }
        Kind::Rolling => {
            for member in [1 - active, active] {
                let mut pair = load.pair.write().await;
                pair.members[member].terminate().await?;
                pair.members[member].start()?;
                drop(pair);
                load.pair.read().await.await_coupled().await?;
            }
        }
        Kind::Crash => {
            let mut pair = load.pair.write().await;
            pair.kill_watch()?;
            let Pair { members, agent, .. } = &mut *pair;
            for node in members.iter_mut().chain([&mut *agent]) {
                node.kill()?;
            }
            for node in members.iter_mut().chain([agent]) {
                node.start()?;
            }
            pair.start_watch()?;
        }
    }
    Ok(at)
}

/// The longest time without a start around a moment.
fn gap(starts: &[u64], at: u64, until: u64) -> Option<Duration> {
    let from = starts
        .partition_point(|start| *start < at)
        .saturating_sub(1);
    let to = starts.partition_point(|start| *start <= until);
    starts[from..to]
        .windows(2)
        .map(|two| two[1] - two[0])
        .max()
        .map(Duration::from_nanos)
}

fn told(mut gaps: Vec<Duration>) -> String {
    gaps.sort_unstable();
    let at = |share: usize| gaps[(gaps.len() * share / 100).min(gaps.len() - 1)];
    format!(
        "median {:.0?}, p99 {:.0?}, max {:.0?} of {}",
        at(50),
        at(99),
        gaps[gaps.len() - 1],
        gaps.len()
    )
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let pair = Pair::start(&[]).await?;
    pair.deploy_marking("marking", 0.01).await?;
    let load = Arc::new(Load {
        pair: RwLock::new(pair),
        is_over: AtomicBool::new(false),
        added: AtomicU64::new(0),
    });
    let lanes = 4;
    let every = Duration::from_micros(1_000_000 * lanes / arguments.load.max(1));
    let feeding: Vec<_> = (0..lanes)
        .map(|lane| tokio::spawn(feed(Arc::clone(&load), lane, every)))
        .collect();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let plan = [
        (Kind::Kill, arguments.kills),
        (Kind::Stop, arguments.stops),
        (Kind::Switch, arguments.switches),
        (Kind::Rolling, arguments.rolling),
        (Kind::Crash, arguments.crashes),
    ];
    let quiet_from = nanos();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let quiet_until = nanos();
    let mut moments: Vec<(Kind, u64, u64)> = Vec::new();
    for (kind, count) in plan {
        for number in 1..=count {
            let at = disturb(&load, kind).await?;
            load.pair.read().await.await_coupled().await?;
            tokio::time::sleep(Duration::from_secs(1)).await;
            moments.push((kind, at, nanos()));
            println!(
                "{} {number} of {count}: {} orders so far",
                kind.told(),
                load.added.load(Ordering::Relaxed)
            );
        }
    }
    load.is_over.store(true, Ordering::Relaxed);
    let mut orders = Vec::new();
    for lane in feeding {
        orders.extend(lane.await??);
    }
    let pair = load.pair.read().await;
    pair.await_finished(&orders).await?;
    let (counts, starts) = pair.starts();
    println!(
        "usual longest gap: {:.0?}",
        gap(&starts, quiet_from, quiet_until).unwrap_or_default()
    );
    for (kind, _) in plan {
        let gaps: Vec<Duration> = moments
            .iter()
            .filter(|(of, _, _)| *of == kind)
            .filter_map(|(_, at, until)| gap(&starts, *at, *until))
            .collect();
        if !gaps.is_empty() {
            println!("{}: {}", kind.told(), told(gaps));
        }
    }
    let lost = orders
        .iter()
        .filter(|order| !counts.contains_key(*order))
        .count();
    let doubled = counts.values().filter(|count| **count > 1).count();
    println!(
        "{} orders acknowledged, {lost} lost, {doubled} started more than once",
        orders.len()
    );
    ensure!(lost == 0, "acknowledged orders were lost");
    // With the Agent itself killed, its own jobs are lost and repeated, as they say.
    if arguments.crashes == 0 && doubled > 0 {
        bail!("jobs were started twice");
    }
    Ok(())
}
