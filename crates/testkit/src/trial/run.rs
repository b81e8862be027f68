//! A trial from its beginning to its end: one installation for each kind of disturbance, under load all the time.
//!
//! Always: who or what comes to its end in the middle, by a failure or a signal, ends all processes and removes all hosts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::courier::Courier;
use super::fault::{Cut, Kind, disturb};
use super::installation::{CLIENT, Directing, Installation};
use super::judge::{Log, Starts, judge, nanos};
use super::load::Load;
use super::reader::Reader;
use super::report::{Gaps, Told, place};
use crate::world::Network;

/// The caches are warm after it.
const WARM_UP: Duration = Duration::from_secs(2);
/// So long nothing is disturbed, to know the usual gap.
const QUIET: Duration = Duration::from_secs(4);
/// Between coupling and the next disturbance; longer for the short form would only be waiting.
const PAUSE_MILLIS: std::ops::Range<u64> = 500..1300;
/// Orders that were acknowledged must end within this time.
const END_WITHIN: Duration = Duration::from_mins(2);
/// How many events are read at a time in the end.
const PAGE: usize = 20_000;

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How often each kind.
    pub counts: Vec<(Kind, usize)>,
    /// Orders per second.
    pub rate: u64,
    /// Of the pauses between disturbances.
    pub seed: u64,
    /// How many Directors the Agent has.
    pub directing: Directing,
}

impl Plan {
    /// About how long it takes.
    pub fn lasts(&self) -> Duration {
        let kinds = self.counts.iter().filter(|(_, count)| *count > 0);
        kinds
            .map(|(kind, count)| {
                let around = WARM_UP + QUIET + Duration::from_secs(6);
                kind.lasts() * u32::try_from(*count).unwrap_or(u32::MAX) + around
            })
            .sum()
    }
}

/// Runs one kind after another; `progress` hears how it goes, and `done` each result. A kind that fails does not end the others.
pub fn run(
    network: &Arc<Network>,
    plan: &Plan,
    progress: fn(&str),
    mut done: impl FnMut(Told) -> Result<()>,
) -> Result<()> {
    let runtime = network.runtime(CLIENT)?;
    let mut failed = Vec::new();
    for (kind, count) in plan.counts.iter().filter(|(_, count)| *count > 0) {
        let (network, plan, kind, count) = (network.clone(), plan.clone(), *kind, *count);
        if kind == Kind::Cut
            && let Some(why) = network.why_loopback()
        {
            progress(&format!("{}: left out, {why}", kind.told()));
            continue;
        }
        if kind == Kind::Director && plan.directing == Directing::Single {
            progress(&format!("{}: left out, there is one only", kind.told()));
            continue;
        }
        // Spawned, because only the runtime's own threads are on the client's host.
        let trial = runtime.spawn(async move {
            tokio::select! {
                told = one_kind(&network, &plan, kind, count, progress) => Ok(told),
                ended = signalled() => Err(ended),
            }
        });
        match runtime.block_on(trial)? {
            Ok(Ok(told)) => done(told)?,
            Ok(Err(error)) => {
                progress(&format!("{}: {error:#}", kind.told()));
                failed.push(kind.told());
            }
            Err(ended) => {
                ended?;
                bail!("ended by a signal");
            }
        }
    }
    if !failed.is_empty() {
        bail!("has failed: {}", failed.join("; "));
    }
    Ok(())
}

pub(super) async fn signalled() -> Result<()> {
    let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminated.recv() => {}
    }
    Ok(())
}

async fn one_kind(
    network: &Arc<Network>,
    plan: &Plan,
    kind: Kind,
    count: usize,
    progress: fn(&str),
) -> Result<Told> {
    let place = place();
    let mut random = StdRng::seed_from_u64(plan.seed);
    let mut installation = Installation::start(network, plan.directing).await?;
    let courier = Arc::new(Courier::new(installation.apis()));
    let reader = Reader::start(courier.clone());
    let load = Load::start(&courier, "T", plan.rate);
    tokio::time::sleep(WARM_UP).await;
    let quiet_from = nanos();
    tokio::time::sleep(QUIET).await;
    let quiet_until = nanos();
    let begin = Instant::now();
    let mut moments: Vec<(u64, u64, Option<Cut>)> = Vec::new();
    let mut stuck = None;
    for number in 0..count {
        let disturbed = async {
            let made = disturb(&mut installation, network, kind, number).await?;
            installation.await_coupled().await?;
            anyhow::Ok(made)
        };
        match disturbed.await {
            Ok((at, cut)) => {
                let pause = Duration::from_millis(random.random_range(PAUSE_MILLIS));
                tokio::time::sleep(pause).await;
                moments.push((at, nanos(), cut));
            }
            Err(error) => {
                stuck = Some(error);
                break;
            }
        }
        if (number + 1).is_multiple_of(10) || number + 1 == count {
            progress(&format!(
                "{}: {} of {count} in {:.0?}, {} orders so far",
                kind.told(),
                number + 1,
                begin.elapsed(),
                load.acknowledged()
            ));
        }
    }
    if let Some(error) = stuck {
        // Somebody would have had to do something now. What follows cannot be judged.
        return Err(error.context(format!(
            "{} number {} is not mended by itself",
            kind.told(),
            moments.len() + 1
        )));
    }
    let orders = load.end().await?;
    let log = whole_log(&courier, &orders)
        .await
        .with_context(|| installation.lament("the end of all orders"))?;
    let seen = await_reader(&reader, log.last_event_id()).await;
    let text = std::fs::read_to_string(installation.starts_file()).unwrap_or_default();
    let starts = Starts::of(&text);
    let judgement = judge(&orders, &seen, &starts, &log);
    for fault in judgement.lost.iter().chain(&judgement.doubled).take(20) {
        progress(&format!("{}: {fault}", kind.told()));
    }
    let mut cuts: BTreeMap<Cut, Vec<Duration>> = BTreeMap::new();
    let mut gaps = Vec::new();
    for (at, until, cut) in moments {
        let gap = starts
            .gap(at, until)
            .context("there are no starts around a disturbance")?;
        gaps.push(gap);
        if let Some(cut) = cut {
            cuts.entry(cut).or_default().push(gap);
        }
    }
    Ok(Told {
        kind,
        gaps: Gaps::of(gaps),
        cuts: cuts
            .into_iter()
            .map(|(cut, gaps)| (cut, Gaps::of(gaps)))
            .collect(),
        usual: Gaps::of(starts.gaps(quiet_from, quiet_until)),
        changes: log.changes(),
        orders: orders.len(),
        events: seen.len(),
        lost: judgement.lost.len(),
        doubled: judgement.doubled.len(),
        repeated: judgement.repeated,
        human_actions: 0,
        seed: plan.seed,
        rate: plan.rate,
        directing: plan.directing,
        loopback: network.why_loopback().map(str::to_owned),
        place,
    })
}

/// Reads the log of the active member until all of these orders have finished.
pub(super) async fn whole_log(courier: &Courier, orders: &[String]) -> Result<Log> {
    let mut log = Log::default();
    let until = Instant::now() + END_WITHIN;
    let found = courier.found();
    loop {
        let member = found.borrow().member;
        let path = format!(
            "/controller/api/event?after={}&timeout=0&limit={PAGE}",
            log.last_event_id()
        );
        let mut count = 0;
        match courier.api(member).client().get_bytes(&path).await {
            Ok(bytes) => {
                for line in bytes
                    .split(|byte| *byte == b'\n')
                    .filter(|line| !line.is_empty())
                {
                    log.take(line)?;
                    count += 1;
                }
            }
            Err(_) => courier.suspect(),
        }
        if log.have_finished(orders) && count == 0 {
            return Ok(log);
        }
        if Instant::now() > until {
            // What has not finished is counted as lost.
            return Ok(log);
        }
        if count == 0 {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// The reader may be a little behind.
pub(super) async fn await_reader(reader: &Reader, last: u64) -> Vec<(u64, u64)> {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let mut prints = reader.prints();
        if prints.last().is_some_and(|(id, _)| *id >= last) || Instant::now() > until {
            // What has happened since the log was read is not judged.
            prints.retain(|(id, _)| *id <= last);
            return prints;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
