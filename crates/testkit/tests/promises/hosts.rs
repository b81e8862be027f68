//! A host dies with everything on it: the active Controller and the active Director at once.

use crate::clocks::Clock;
use crate::now;
use anyhow::{Context as _, Result, ensure};
use std::sync::Arc;
use std::time::{Duration, Instant};
use testkit::trial::{
    CLIENT, Courier, DIRECTORS, Directing, HOSTS, Installation, MEMBERS, Placement, SUBAGENTS,
    WATCH, hosts,
};
use testkit::world::{Network, Node};

/// How long to wait, far longer than on a quiet machine.
const WITHIN: Duration = Duration::from_secs(20);

/// In seconds.
const DAY: i64 = 86_400;
const HOUR_MS: i64 = 3_600_000;

#[test]
fn the_host_of_the_active_controller_and_the_active_director_dies_and_orders_go_on() -> Result<()> {
    on_a_network(&[0, 0])
}

#[test]
fn the_same_after_the_clock_of_the_active_controller_has_jumped() -> Result<()> {
    on_a_network(&[-DAY, 365 * DAY])
}

/// Tells the story with one round for each of these jumps, in seconds, of the active Controller's clock.
fn on_a_network(jumps: &'static [i64]) -> Result<()> {
    let network = Arc::new(Network::build(&hosts()));
    let on_network = network.clone();
    // Spawned, because only the runtime's own threads are on the client's host.
    let running = network.runtime(CLIENT)?;
    let story = running.spawn(async move { story(&on_network, jumps).await });
    running.block_on(story)?
}

async fn story(network: &Arc<Network>, jumps: &[i64]) -> Result<()> {
    let placement = Placement::of(&[
        (MEMBERS[0], HOSTS[0]),
        (DIRECTORS[0], HOSTS[0]),
        (SUBAGENTS[0], HOSTS[0]),
        (MEMBERS[1], HOSTS[1]),
        (DIRECTORS[1], HOSTS[1]),
        (SUBAGENTS[1], HOSTS[1]),
        (WATCH, HOSTS[2]),
    ]);
    let mut installation = Installation::start_at(network, Directing::Pair, placement).await?;
    let courier = Courier::new(installation.apis());
    let has_jumps = jumps.iter().any(|jump| *jump != 0);
    let mut clocks = Vec::new();
    for member in 0..if has_jumps { MEMBERS.len() } else { 0 } {
        let node = member_of(&mut installation, member)?;
        clocks.push(Clock::of(node)?);
        node.kill()?;
        node.start()?;
        installation.await_coupled().await?;
    }
    for (round, jump) in jumps.iter().enumerate() {
        let active = installation.active().await?;
        let host = HOSTS[active];
        if installation.active_director().await? != active {
            let command = serde_json::json!({"TYPE": "ClusterSwitchOver", "agentPath": "A"});
            installation.apis()[active].accept(&command).await?;
            let until = Instant::now() + WITHIN;
            while installation.active_director().await? != active {
                ensure!(Instant::now() < until, "no switch-over within {WITHIN:?}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            installation.await_coupled().await?;
        }
        courier
            .add_order(&format!("before-{round}"), "short")
            .await?;
        await_started(&installation, &format!("before-{round}")).await?;

        if let Some(clock) = clocks.get(active) {
            clock.jump(*jump)?;
            // What happens now is recorded with the wrong time.
            courier
                .add_order(&format!("jumped-{round}"), "short")
                .await?;
            await_started(&installation, &format!("jumped-{round}")).await?;
            let order = installation.apis()[active]
                .order(&format!("jumped-{round}"))
                .await?;
            let added = order.as_ref().and_then(|order| order["addedAt"].as_i64());
            let off = added.context("it is there")? - now();
            // The times of events never go back, so only a clock that is ahead shows in them.
            let expected = jump.max(&0) * 1000;
            ensure!(
                (off - expected).abs() < HOUR_MS,
                "the clock is off by {off} ms instead of {jump} s"
            );
        }

        for node in installation.all_on(host) {
            node.kill()?;
        }
        let order = format!("after-{round}");
        courier.add_order(&order, "short").await?;
        await_started(&installation, &order).await?;
        let survivor = installation.active_director().await?;
        ensure!(survivor != active, "the other Director is active now");

        if let Some(clock) = clocks.get(active) {
            clock.jump(0)?;
        }
        // The return of the host changes nothing. After that the other host may die in the same way.
        for node in installation.all_on(host) {
            node.start()?;
        }
        installation.await_coupled().await?;
    }
    Ok(())
}

fn member_of(installation: &mut Installation, member: usize) -> Result<&mut Node> {
    let mut nodes = installation.all_on(HOSTS[member]).into_iter();
    let node = nodes.find(|node| node.name == MEMBERS[member]);
    node.with_context(|| format!("{} is not there", MEMBERS[member]))
}

/// Waits until the job of this order has reported its start.
async fn await_started(installation: &Installation, order: &str) -> Result<()> {
    let until = Instant::now() + WITHIN;
    let mark = format!("{order}#");
    loop {
        let starts = std::fs::read_to_string(installation.starts_file()).unwrap_or_default();
        if starts.lines().any(|line| line.starts_with(&mark)) {
            return Ok(());
        }
        if Instant::now() > until {
            return Err(anyhow::anyhow!(installation.lament("the order's start")))
                .with_context(|| format!("{order} does not start within {WITHIN:?}"));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
