//! A host dies with everything on it: the active Controller and the active Director at once.

use anyhow::{Context as _, Result, ensure};
use std::sync::Arc;
use std::time::{Duration, Instant};
use testkit::trial::{
    CLIENT, Courier, DIRECTORS, Directing, HOSTS, Installation, MEMBERS, Placement, SUBAGENTS,
    WATCH, hosts,
};
use testkit::world::Network;

/// How long to wait, far longer than on a quiet machine.
const WITHIN: Duration = Duration::from_secs(20);

#[test]
fn the_host_of_the_active_controller_and_the_active_director_dies_and_orders_go_on() -> Result<()> {
    let network = Arc::new(Network::build(&hosts()));
    let on_network = network.clone();
    // Spawned, because only the runtime's own threads are on the client's host.
    let running = network.runtime(CLIENT)?;
    let story = running.spawn(async move { story(&on_network).await });
    running.block_on(story)?
}

async fn story(network: &Arc<Network>) -> Result<()> {
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
    for round in 0..2 {
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

        for node in installation.all_on(host) {
            node.kill()?;
        }
        let order = format!("after-{round}");
        courier.add_order(&order, "short").await?;
        await_started(&installation, &order).await?;
        let survivor = installation.active_director().await?;
        ensure!(survivor != active, "the other Director is active now");

        // The return of the host changes nothing. After that the other host may die in the same way.
        for node in installation.all_on(host) {
            node.start()?;
        }
        installation.await_coupled().await?;
    }
    Ok(())
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
