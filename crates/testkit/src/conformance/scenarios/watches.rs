//! The watch of a Controller pair: one that knows nothing, one that takes another's place, and who is asked when it is missing.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::controller_pairs::set_link;
use super::pair_stage::{
    add, await_told, count, coupled, coupled_with, finished, nobody_confirms, nobody_is_active,
    plan, processing, remains_active, run, same_journals, told, until,
};
use crate::conformance::case::Case;
use crate::world::{MEMBERS, Mode, Pair, PairPlan};

/// Far longer than a member waits that may follow.
const LONG: Duration = Duration::from_secs(3);

/// CC-13.
pub(crate) async fn fail_over_with_a_watch_that_knows_nothing(case: &Case) -> Result<()> {
    let plan = PairPlan {
        is_link_proxied: true,
        ..plan()
    };
    let mut pair = coupled_with(case, plan).await?;
    add(&pair, "O", 4).await?;
    processing(&pair, "O").await?;
    pair.kill_watch()?;
    pair.members[0].kill()?;
    pair.start_watch_called("CW-2", "watch-2")?;
    nobody_is_active(&pair, LONG).await?;
    nobody_confirms(&pair, 1).await?;
    // Its votes are on its disk: with it the Backup is a majority.
    pair.start_watch()?;
    ensure!(pair.active().await? == 1, "the Backup follows");
    await_told(&pair, "ClusterFailedOver", 1).await?;
    the_backup_has_failed_over(&pair).await?;
    finished(&pair, "O").await?;
    ensure!(count(&pair, "ClusterFailedOver").await? == 1, "once");
    pair.members[0].start_ready().await?;
    await_told(&pair, "ClusterCoupled", 2).await?;
    same_journals(&pair).await?;

    // The members cannot hear each other, and the active one is killed. Now that is the Backup, whose dialling is cut.
    set_link(&pair, Mode::Cut);
    await_told(&pair, "ClusterPassiveLost", 1).await?;
    pair.members[1].kill()?;
    nobody_is_active(&pair, LONG).await?;
    nobody_confirms(&pair, 0).await?;
    set_link(&pair, Mode::Open);
    pair.members[1].start_ready().await?;
    await_told(&pair, "ClusterCoupled", 3).await?;
    run(&pair, "healed").await?;
    same_journals(&pair).await
}

/// CC-15.
pub(crate) async fn passive_lost_with_a_watch_that_knows_nothing(case: &Case) -> Result<()> {
    let plan = PairPlan {
        is_link_proxied: true,
        ..plan()
    };
    let mut pair = coupled_with(case, plan).await?;
    // The same watch comes back.
    pair.kill_watch()?;
    pair.members[1].kill()?;
    nobody_is_active(&pair, LONG).await?;
    nobody_confirms(&pair, 0).await?;
    pair.start_watch()?;
    await_told(&pair, "ClusterPassiveLost", 1).await?;
    ensure!(pair.active().await? == 0, "the Primary goes on");
    run(&pair, "same").await?;
    pair.members[1].start_ready().await?;
    await_told(&pair, "ClusterCoupled", 2).await?;

    // Another one, which has no vote until two that have one take it in.
    pair.kill_watch()?;
    pair.members[1].kill()?;
    nobody_is_active(&pair, Duration::ZERO).await?;
    pair.start_watch_called("CW-2", "watch-2")?;
    nobody_is_active(&pair, LONG).await?;
    pair.members[1].start_ready().await?;
    await_told(&pair, "ClusterWatchRegistered", 2).await?;
    pair.await_coupled().await?;
    run(&pair, "other").await?;

    // The members cannot hear each other, and the watch is away: as soon as it is back, one of them goes on, and never both.
    pair.kill_watch_in("watch-2")?;
    set_link(&pair, Mode::Cut);
    nobody_is_active(&pair, LONG).await?;
    pair.start_watch_called("CW-2", "watch-2")?;
    let active = pair.active().await?;
    remains_active(&pair, active, LONG).await?;
    run(&pair, "separated").await?;
    let name = MEMBERS[active];
    until(&pair, &format!("{name} says that it is active"), || async {
        Ok(pair.state(active).await?["setting"]["activeId"] == name)
    })
    .await?;
    set_link(&pair, Mode::Open);
    pair.await_coupled().await?;
    remains_active(&pair, active, Duration::from_millis(300)).await?;
    same_journals(&pair).await
}

/// CC-16. The first watch is called `watch` here.
pub(crate) async fn another_watch(case: &Case) -> Result<()> {
    let mut pair = coupled(case).await?;
    pair.kill_watch()?;
    await_watches(&pair, 0).await?;
    pair.start_watch()?;
    await_watches(&pair, 1).await?;
    ensure!(
        registered(&pair).await? == ["watch"],
        "the same one again is no news"
    );
    pair.kill_watch()?;
    pair.start_watch_called("CW-2", "watch-2")?;
    await_told(&pair, "ClusterWatchRegistered", 2).await?;
    await_watches(&pair, 1).await?;

    // A second process with its directory cannot even start; one with another directory is another vote, which is not needed.
    let second = pair.watch("CW-2", "watch-2")?.output()?;
    ensure!(!second.status.success(), "two watches with one directory");
    pair.start_watch_called("CW-2", "watch-3")?;
    until(&pair, "the second CW-2 is connected", || async {
        Ok(watches(&pair)
            .await?
            .iter()
            .filter(|other| other["isConnected"] == true)
            .count()
            == 2)
    })
    .await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    await_watches(&pair, 1).await?;
    pair.kill_watch_in("watch-2")?;
    until(&pair, "the vote is the second one's", || async {
        let mut watches = watches(&pair).await?;
        watches.retain(|other| other["isConnected"] == true);
        Ok(matches!(&watches[..], [only] if only["hasVote"] == true))
    })
    .await?;
    // The Backup must know of it, too, before it is needed; and that the first one's vote counts no more: as long as both do, more are
    // missing with it and the Primary than may be.
    until(&pair, "the Backup knows whose vote it is", || async {
        let state = pair.state(1).await?;
        let others = state["others"].as_array().context("others")?;
        let votes = |other: &&Value| other["isWatch"] == true && other["hasVote"] == true;
        let mut voting = others.iter().filter(votes);
        let is_one_there = voting.next().is_some_and(|one| one["isConnected"] == true);
        Ok(is_one_there && voting.next().is_none())
    })
    .await?;
    pair.await_coupled().await?;
    pair.members[0].kill()?;
    ensure!(
        pair.active().await? == 1,
        "the vote of the second one counts"
    );
    run(&pair, "after").await?;
    let overall = registered(&pair).await?;
    ensure!(overall == ["watch", "CW-2"], "{overall:?}");
    Ok(())
}

async fn watches(pair: &Pair) -> Result<Vec<Value>> {
    let state = pair.state(pair.active().await?).await?;
    let others = state["others"].as_array().context("others")?;
    let watches = others.iter().filter(|other| other["isWatch"] == true);
    Ok(watches.cloned().collect())
}

/// Waits until so many watches are connected and have a vote.
async fn await_watches(pair: &Pair, wanted: usize) -> Result<()> {
    until(pair, &format!("{wanted} watches with a vote"), || async {
        let watches = watches(pair).await?;
        let counts = |other: &&Value| other["isConnected"] == true && other["hasVote"] == true;
        Ok(watches.iter().filter(counts).count() == wanted)
    })
    .await
}

async fn registered(pair: &Pair) -> Result<Vec<String>> {
    let told = told(pair).await?;
    let of_watches = told
        .iter()
        .filter(|event| event["TYPE"] == "ClusterWatchRegistered");
    Ok(of_watches
        .filter_map(|event| event["clusterWatchId"].as_str())
        .map(str::to_owned)
        .collect())
}

/// Waits, because the displayed state may be some milliseconds older than the events.
async fn the_backup_has_failed_over(pair: &Pair) -> Result<()> {
    until(pair, "the state shows it", || async {
        let state = pair.state(1).await?;
        Ok(state["TYPE"] == "FailedOver" && state["setting"]["activeId"] == "Backup")
    })
    .await
}

/// CC-18.
pub(crate) async fn no_confirmation(case: &Case) -> Result<()> {
    let mut pair = coupled(case).await?;
    let refused = pair
        .watch("careful", "careful")?
        .arg("--require-failover-confirmation")
        .output()?;
    ensure!(refused.status.code() == Some(2), "{refused:?}");
    add(&pair, "O", 3).await?;
    processing(&pair, "O").await?;
    nobody_confirms(&pair, 0).await?;
    pair.members[0].kill()?;
    await_told(&pair, "ClusterFailedOver", 1).await?;
    the_backup_has_failed_over(&pair).await?;
    finished(&pair, "O").await?;
    let failed_over = told(&pair).await?;
    let failed_over = failed_over
        .iter()
        .find(|event| event["TYPE"] == "ClusterFailedOver");
    ensure!(
        failed_over.is_some_and(|event| event["activatedId"] == json!("Backup")),
        "{failed_over:?}"
    );
    pair.members[0].start_ready().await?;
    await_told(&pair, "ClusterCoupled", 2).await?;
    same_journals(&pair).await
}
