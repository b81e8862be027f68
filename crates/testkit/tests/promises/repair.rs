//! A member that learns the log, or whose log is damaged. The member recovers by itself, and damage is reported and never served.

use crate::PATIENCE;
use anyhow::{Result, ensure};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use testkit::world::{Pair, PairPlan};

/// How often the standby is killed while it learns the log, each time a little later.
const KILLS: u64 = 10;

#[tokio::test(flavor = "multi_thread")]
async fn s29_a_member_killed_while_it_learns_the_log_for_the_first_time_joins_in_the_end()
-> Result<()> {
    let mut pair = Pair::start_alone(PairPlan::default()).await?;
    pair.deploy_marking("marking", 0.0).await?;
    let mut orders = Vec::new();
    for number in 0..20 {
        let id = format!("before-{number}");
        pair.add_order(&id, "marking").await?;
        orders.push(id);
    }
    pair.await_finished(&orders).await?;
    pair.start_watch()?;
    pair.appoint().await?;
    let state = pair.members[1].data.join("state");
    for kill in 0..KILLS {
        pair.members[1].start()?;
        // As soon as the member has recorded its leader, it is connected to the active member.
        let until = Instant::now() + PATIENCE;
        while !std::fs::read_to_string(state.join("state")).is_ok_and(|text| text.contains("node"))
        {
            ensure!(Instant::now() < until, "it does not learn the log");
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        // Spread over the time that learning takes.
        tokio::time::sleep(Duration::from_millis(kill * 2)).await;
        pair.members[1].kill()?;
        pair.members[1].start_ready().await?;
        pair.await_coupled().await?;
        pair.members[1].kill()?;
        std::fs::remove_dir_all(&state)?;
    }
    // The same test in one directory, with a member that is killed again and again.
    for kill in 0..KILLS {
        pair.members[1].start()?;
        tokio::time::sleep(Duration::from_millis(50 + kill * 20)).await;
        pair.members[1].kill()?;
    }
    pair.members[1].start_ready().await?;
    pair.await_coupled().await?;
    ensure!(
        pair.journal(1)?.len() >= pair.journal(0)?.len().min(20),
        "it has the events"
    );
    Ok(())
}

/// Changes a byte in the middle of the events of this order, in the first segment of a log.
fn damage_log(state: &Path, order: &str) -> Result<()> {
    use std::os::unix::fs::FileExt as _;
    for entry in std::fs::read_dir(state)? {
        let path = entry?.path();
        if path
            .extension()
            .is_none_or(|extension| extension != "segment")
        {
            continue;
        }
        let bytes = std::fs::read(&path)?;
        let mut places = bytes.windows(order.len());
        if let Some(at) = places.position(|window| window == order.as_bytes()) {
            let file = std::fs::File::options().write(true).open(&path)?;
            file.write_all_at(b"#", at as u64)?;
            return Ok(());
        }
    }
    anyhow::bail!("{order} is not in this log")
}

/// Returns the damaged logs that were set aside in the directory of a part.
fn set_aside_in(data: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(data)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("state.damaged-") {
            found.push(path);
        }
    }
    Ok(found)
}

/// Starts a pair whose log has twenty finished orders.
async fn pair_with_orders() -> Result<Pair> {
    let pair = Pair::start(&[]).await?;
    pair.deploy_marking("marking", 0.0).await?;
    let orders: Vec<String> = (0..20).map(|number| format!("order-{number:03}")).collect();
    for order in &orders {
        pair.add_order(order, "marking").await?;
    }
    pair.await_finished(&orders).await?;
    Ok(pair)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_of_a_pair_with_a_damaged_log_repairs_itself_from_the_other_one() -> Result<()> {
    let mut pair = pair_with_orders().await?;
    // The member that joined dials the other one and can ask whether the other one has the log.
    let standby = 1;
    if pair.active().await? == standby {
        let command = serde_json::json!({"TYPE": "ClusterSwitchOver"});
        pair.api_of(standby).accept(&command).await?;
        pair.await_coupled().await?;
    }
    pair.members[standby].kill()?;
    damage_log(&pair.members[standby].data.join("state"), "order-007")?;
    pair.members[standby].start_ready().await?;
    pair.await_coupled().await?;
    ensure!(
        !set_aside_in(&pair.members[standby].data)?.is_empty(),
        "the damaged log is kept: {}",
        pair.lament("no log was set aside")
    );
    let whole = pair.journal(standby)?;
    ensure!(
        whole.iter().any(|line| line.contains("order-007")),
        "it has everything again"
    );
    // It can take over, and nothing is missing.
    pair.members[1 - standby].kill()?;
    ensure!(pair.active().await? == standby, "S30: it has taken over");
    pair.add_order("afterwards", "marking").await?;
    pair.await_finished(&["afterwards".to_owned()]).await
}

/// What is damaged in the directory of a log.
#[derive(Clone, Copy, Debug)]
enum Damaged {
    /// An event in the middle of the first segment.
    Event,
    /// The file with the vote and the beginning of the log.
    Vote,
}

impl Damaged {
    fn strike(self, state: &Path) -> Result<()> {
        match self {
            Damaged::Event => damage_log(state, "order-007"),
            Damaged::Vote => Ok(std::fs::write(state.join("state"), "{}\n00000000\n")?),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_dials_nobody_repairs_its_damaged_log_from_the_one_that_dials_it()
-> Result<()> {
    let mut pair = pair_with_orders().await?;
    let dialled = 0;
    for damaged in [Damaged::Event, Damaged::Vote] {
        pair.await_coupled().await?;
        pair.members[dialled].kill()?;
        let state = pair.members[dialled].data.join("state");
        damaged.strike(&state)?;
        pair.members[dialled].start_ready().await?;
        pair.await_coupled().await?;
        let aside = set_aside_in(&pair.members[dialled].data)?;
        ensure!(
            !aside.is_empty(),
            "{damaged:?}: the damaged log is kept: {}",
            pair.lament("no log was set aside")
        );
        let whole = pair.journal(dialled)?;
        ensure!(
            whole.iter().any(|line| line.contains("order-007")),
            "{damaged:?}: it has everything again"
        );
        for aside in aside {
            std::fs::remove_dir_all(aside)?;
        }
    }
    // The member can take over, and nothing is missing.
    pair.members[1 - dialled].kill()?;
    ensure!(pair.active().await? == dialled, "S30: it has taken over");
    pair.add_order("afterwards", "marking").await?;
    pair.await_finished(&["afterwards".to_owned()]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_with_a_damaged_log_waits_for_the_member_that_has_it() -> Result<()> {
    let mut pair = Pair::start(&[]).await?;
    pair.deploy_marking("marking", 0.0).await?;
    pair.add_order("order-007", "marking").await?;
    pair.await_finished(&["order-007".to_owned()]).await?;
    for member in [0, 1] {
        pair.members[member].kill()?;
    }
    damage_log(&pair.members[0].data.join("state"), "order-007")?;
    pair.members[0].start()?;
    let until = Instant::now() + PATIENCE;
    let health = loop {
        let told = testkit::world::http::get(pair.members[0].address, "/health", None).await;
        if let Ok(told) = told {
            break told.text();
        }
        ensure!(Instant::now() < until, "it does not answer");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    ensure!(
        health.contains("starting") && health.contains("damaged"),
        "it tells what it waits for: {health}"
    );
    ensure!(
        set_aside_in(&pair.members[0].data)?.is_empty(),
        "a log that nobody else has shown to have stays where it is"
    );
    pair.members[1].start_ready().await?;
    pair.await_coupled().await?;
    ensure!(pair.active().await? == 1, "only it has the log");
    let whole = pair.journal(0)?;
    ensure!(
        whole.iter().any(|line| line.contains("order-007")),
        "it has everything again"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_with_a_damaged_directory_is_taken_in_again() -> Result<()> {
    let mut pair = Pair::start(&[]).await?;
    pair.deploy_marking("marking", 0.0).await?;
    pair.add_order("before", "marking").await?;
    let data = pair.watch_data();
    let state = data.join("state");
    for damaged in ["state", "member"] {
        pair.kill_watch()?;
        let before = std::fs::read_to_string(state.join("member"))?;
        std::fs::write(state.join(damaged), "#\n")?;
        pair.start_watch()?;
        await_other_watch(&pair, &before).await?;
        ensure!(
            !set_aside_in(&data)?.is_empty(),
            "the damaged directory is kept"
        );
        // The watch's vote counts: while the standby is lost, the watch and the active member are the majority.
        let active = pair.active().await?;
        pair.members[1 - active].kill()?;
        let order = format!("without-the-standby-{damaged}");
        pair.add_order(&order, "marking").await?;
        pair.await_finished(&[order]).await?;
        pair.members[1 - active].start_ready().await?;
        pair.await_coupled().await?;
    }
    Ok(())
}

/// Waits until a watch with another number than this one has a vote.
async fn await_other_watch(pair: &Pair, before: &str) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    let member = pair.watch_data().join("state/member");
    loop {
        let number = std::fs::read_to_string(&member).unwrap_or_default();
        let state = pair.state(pair.active().await?).await?;
        let mut others = state["others"].as_array().into_iter().flatten();
        let has_vote = others.any(|other| {
            other["isWatch"] == true && other["hasVote"] == true && other["isConnected"] == true
        });
        let is_new = number.trim().parse::<u64>().is_ok() && number != before;
        if has_vote && is_new {
            return Ok(());
        }
        ensure!(
            Instant::now() < until,
            "{}",
            pair.lament("the watch is not taken in again")
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_that_a_snapshot_covers_is_told_on_all_channels_and_stops_nobody() -> Result<()> {
    let mut pair = Pair::start_alone(PairPlan::default()).await?;
    pair.deploy_marking("marking", 0.0).await?;
    let orders: Vec<String> = (0..20).map(|number| format!("order-{number:03}")).collect();
    for order in &orders {
        pair.add_order(order, "marking").await?;
    }
    pair.await_finished(&orders).await?;
    let snapshot = serde_json::json!({"TYPE": "TakeSnapshot"});
    pair.api_of(0).accept(&snapshot).await?;
    pair.members[0].kill()?;
    damage_log(&pair.members[0].data.join("state"), "order-007")?;
    pair.members[0].start_ready().await?;
    pair.add_order("afterwards", "marking").await?;
    pair.await_finished(&["afterwards".to_owned()]).await?;

    let log = pair.members[0].log();
    ensure!(log.contains("ERROR") && log.contains("is damaged"), "{log}");
    let health = testkit::world::http::get(pair.members[0].address, "/health", None).await?;
    ensure!(health.text().contains("is damaged"), "{}", health.text());
    let refused = pair
        .api_of(0)
        .get("/controller/api/order/order-010/log")
        .await?;
    let Err(refused) = refused else {
        anyhow::bail!("what is damaged is served as if it were not there");
    };
    ensure!(
        refused.code.as_deref() == Some("JournalDamaged"),
        "{refused}"
    );
    Ok(())
}
