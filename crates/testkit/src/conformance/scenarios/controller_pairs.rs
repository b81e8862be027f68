//! Controller pairs: coupled, replicated, torn apart and coupled again.

use std::time::Duration;

use anyhow::{Result, ensure};
use net::NDJSON;
use serde_json::json;
use tokio::time::timeout;

use super::pair_stage::{
    add, await_told, count, coupled, coupled_with, deploy, events, finished, kinds, order, plan,
    remains_active, run, same_journals, told,
};
use crate::conformance::case::Case;
use crate::world::{Mode, Pair, PairPlan};

/// CC-01. What a member has confirmed is said between the members only, so there is no `onlyAcks` to be refused at the active one.
pub(crate) async fn coupling(case: &Case) -> Result<()> {
    let pair = coupled(case).await?;
    let events = told(&pair).await?;
    ensure!(
        kinds(&events)
            == [
                "ClusterNodesAppointed",
                "ClusterWatchRegistered",
                "ClusterCouplingPrepared",
                "ClusterCoupled"
            ],
        "{events:?}"
    );
    let nothing = json!({"TYPE": "NoOperation"});
    pair.api_of(0).accept(&nothing).await?;
    let acknowledgements = "/controller/api/event?after=0&onlyAcks=true&timeout=0";
    for answer in [
        pair.api_of(1).command(&nothing).await?,
        pair.api_of(1).get(acknowledgements).await?,
    ] {
        let refused = answer.err();
        ensure!(
            refused.as_ref().is_some_and(|refused| refused.status == 503
                && refused.code.as_deref() == Some("ClusterNodeIsNotActive")),
            "{refused:?}"
        );
    }
    run(&pair, "C1").await?;
    same_journals(&pair).await
}

/// CC-03. After everything was down, the members' votes decide who is active; it need not be the Primary.
pub(crate) async fn replication(case: &Case) -> Result<()> {
    let mut pair = Pair::start_alone(plan()).await?;
    deploy(&pair, case).await?;
    run(&pair, "before").await?;
    pair.members[1].start_ready().await?;
    pair.start_watch()?;
    pair.appoint().await?;
    pair.await_coupled().await?;
    same_journals(&pair).await?;
    ensure!(has_finished(&pair, "before")?, "the whole journal");
    run(&pair, "A").await?;
    same_journals(&pair).await?;
    let snapshot = json!({"TYPE": "TakeSnapshot"});
    pair.api().await?.accept(&snapshot).await?;
    run(&pair, "B").await?;
    same_journals(&pair).await?;

    for member in &mut pair.members {
        member.kill()?;
    }
    for member in &mut pair.members {
        member.start()?;
    }
    await_told(&pair, "ClusterCoupled", 2).await?;
    run(&pair, "C").await?;
    same_journals(&pair).await?;
    ensure!(has_finished(&pair, "C")?, "C is at both members");

    let before = events(&pair).await?.len();
    let empty = pair.api().await?.post("/controller/api/order", NDJSON, "");
    let answer = timeout(Duration::from_secs(5), empty).await??;
    ensure!(answer.is_ok(), "{answer:?}");
    ensure!(events(&pair).await?.len() == before, "no event");
    Ok(())
}

/// Whether both disks have the end of an order.
fn has_finished(pair: &Pair, order: &str) -> Result<bool> {
    let key = format!("\"Key\":\"{order}\"");
    let has = |lines: Vec<String>| {
        lines
            .iter()
            .any(|line| line.contains("\"OrderFinished\"") && line.contains(&key))
    };
    Ok(has(pair.journal(0)?) && has(pair.journal(1)?))
}

/// CC-05. What nobody else had is not appended by hand here: the Primary really writes it while the others do not hear it.
pub(crate) async fn unacknowledged(case: &Case) -> Result<()> {
    let plan = PairPlan {
        is_link_proxied: true,
        ..plan()
    };
    let mut pair = coupled_with(case, plan).await?;
    run(&pair, "before").await?;
    set_link(&pair, Mode::Frozen);
    pair.kill_watch()?;
    // Soon enough to be written before the Primary sees that nobody hears it.
    let ghost = order("GHOST", 0);
    let ghost = pair.api_of(0).add_order(&ghost);
    let answer = timeout(Duration::from_millis(1500), ghost).await;
    ensure!(!matches!(answer, Ok(Ok(_))), "GHOST was acknowledged");
    pair.members[0].kill()?;
    // What is still on its way is lost.
    set_link(&pair, Mode::Cut);
    tokio::time::sleep(Duration::from_millis(200)).await;
    ensure!(has(&pair, 0, "GHOST")?, "the Primary has written it");
    ensure!(!has(&pair, 1, "GHOST")?, "the Backup has not");

    set_link(&pair, Mode::Open);
    pair.start_watch()?;
    await_told(&pair, "ClusterFailedOver", 1).await?;
    run(&pair, "after").await?;
    ensure!(!has(&pair, 1, "GHOST")?, "it is not with the Backup");
    pair.members[0].start_ready().await?;
    await_told(&pair, "ClusterCoupled", 2).await?;
    same_journals(&pair).await?;
    let is_running = pair.members[0].try_wait()?.is_none();
    ensure!(
        is_running && pair.members[0].starts() == 2,
        "it needs no further restart to forget what nobody else had"
    );
    let switch = json!({"TYPE": "ClusterSwitchOver"});
    pair.api().await?.accept(&switch).await?;
    await_told(&pair, "ClusterCoupled", 3).await?;
    let seen = pair.api().await?.order("GHOST").await?;
    let events = events(&pair).await?;
    ensure!(
        seen.is_none() && !events.iter().any(|event| event["Key"] == "GHOST"),
        "GHOST is visible: {seen:?}"
    );
    Ok(())
}

/// Whether a member has this on its disk.
fn has(pair: &Pair, member: usize, text: &str) -> Result<bool> {
    Ok(pair.journal(member)?.iter().any(|line| line.contains(text)))
}

/// CC-06.
pub(crate) async fn a_cut_link(case: &Case) -> Result<()> {
    let plan = PairPlan {
        is_link_proxied: true,
        ..plan()
    };
    let pair = coupled_with(case, plan).await?;
    for (times, mode) in (1..).zip([Mode::Cut, Mode::Frozen]) {
        set_link(&pair, mode);
        // A silent member is noticed when it lets an event wait.
        run(&pair, &format!("{mode:?}")).await?;
        await_told(&pair, "ClusterPassiveLost", times).await?;
        remains_active(&pair, 0, Duration::from_millis(1500)).await?;
        run(&pair, &format!("{mode:?}-later")).await?;
        set_link(&pair, Mode::Open);
        await_told(&pair, "ClusterCoupled", times + 1).await?;
        same_journals(&pair).await?;
    }
    for never in ["ClusterFailedOver", "ClusterSwitchedOver"] {
        ensure!(count(&pair, never).await? == 0, "{never}");
    }
    Ok(())
}

pub(crate) fn set_link(pair: &Pair, mode: Mode) {
    if let Some(link) = &pair.link {
        link.set(mode);
    }
}

/// CC-08.
pub(crate) async fn lost_five_times(case: &Case) -> Result<()> {
    let mut pair = coupled(case).await?;
    add(&pair, "long", 5).await?;
    for times in 1..=5 {
        pair.members[1].kill()?;
        await_told(&pair, "ClusterPassiveLost", times).await?;
        run(&pair, &format!("alone-{times}")).await?;
        pair.members[1].start_ready().await?;
        await_told(&pair, "ClusterCoupled", times + 1).await?;
        let order = format!("both-{times}");
        run(&pair, &order).await?;
        same_journals(&pair).await?;
        ensure!(has_finished(&pair, &order)?, "{order} is at both members");
    }
    finished(&pair, "long").await
}
