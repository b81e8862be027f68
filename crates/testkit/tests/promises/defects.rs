//! Defects that the reference had to repair, each as a regression test that names it; `docs/known-defects.md` lists all of them with
//! the tests elsewhere.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use testkit::world::Pair;

const PATIENCE: Duration = Duration::from_mins(1);
/// No fail-over by a busy machine: these tests look at something else.
const CALM: [&str; 2] = ["cluster.heartbeat=200ms", "cluster.silence=2s"];
const PAUSE: Duration = Duration::from_millis(20);

async fn await_watch(pair: &Pair, id: &str) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        let active = pair.active().await?;
        if pair
            .state(active)
            .await
            .is_ok_and(|state| state["setting"]["clusterWatchId"] == id)
        {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
    anyhow::bail!("{}", pair.lament("the third vote is not the new watch's"))
}

#[tokio::test(flavor = "multi_thread")]
async fn js_2110_js_2092_losing_the_passive_member_while_the_watch_changes_hangs_nobody()
-> Result<()> {
    let mut pair = Pair::start(&["cluster.heartbeat=100ms", "cluster.silence=500ms"]).await?;
    pair.deploy_marking("marking", 0.1).await?;
    let active = pair.active().await?;
    pair.kill_watch()?;
    pair.start_watch_called("second", "second-watch")?;
    pair.members[1 - active].kill()?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    pair.members[1 - active].start_ready().await?;
    pair.await_coupled().await?;
    await_watch(&pair, "second").await?;
    pair.add_order("after", "marking").await?;
    pair.await_finished(&["after".to_owned()]).await?;

    // A watch changes while everything of the Controller is restarted.
    pair.kill_watch_in("second-watch")?;
    for member in &mut pair.members {
        member.kill()?;
    }
    pair.start_watch_called("third", "third-watch")?;
    for member in &mut pair.members {
        member.start()?;
    }
    pair.await_coupled().await?;
    await_watch(&pair, "third").await?;
    // The new one's vote counts.
    let active = pair.active().await?;
    pair.members[active].kill()?;
    ensure!(
        pair.active().await? != active,
        "the other one follows with the new watch's vote"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fail_over_while_the_journal_rolls_loses_nothing_and_cuts_nothing_by_hand() -> Result<()>
{
    let mut pair = Pair::start(&["segment=128KiB", "snapshot-size=512KiB"]).await?;
    pair.deploy_marking("marking", 0.0).await?;
    let text = "x".repeat(30_000);
    let mut acknowledged = Vec::new();
    for number in 0..32 {
        let id = format!("rolling-{number}");
        let order = json!({"id": id, "workflowPath": "marking", "scheduledFor": 9_000_000_000_000_i64, "arguments": {"text": text}});
        let until = Instant::now() + PATIENCE;
        loop {
            let added = pair.api().await?.add_order(&order);
            if matches!(
                tokio::time::timeout(Duration::from_secs(1), added).await,
                Ok(Ok(_))
            ) {
                break;
            }
            ensure!(
                Instant::now() < until,
                "{}",
                pair.lament("the order is taken by nobody")
            );
        }
        acknowledged.push(id);
        // Four orders fill a segment: these strike at any place of one.
        if matches!(number, 9 | 22) {
            let active = pair.active().await?;
            pair.members[active].kill()?;
            pair.active().await?;
            pair.members[active].start_ready().await?;
            pair.await_coupled().await?;
        }
    }
    let api = pair.api().await?;
    for id in &acknowledged {
        ensure!(
            api.order(id).await?.is_some(),
            "S2: {id} was acknowledged and is gone"
        );
    }
    Ok(())
}

/// Memory of a process, in KiB.
fn memory(pid: i32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let size = line.and_then(|line| line.split_whitespace().next());
    Ok(size.context("a process has a size")?.parse()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn js_2188_js_2170_hundreds_who_wait_for_events_hold_nobody_up_and_leave_no_memory_behind()
-> Result<()> {
    const READERS: usize = 300;
    // One user may have a quarter of the streams.
    let settings = [CALM[0], CALM[1], "event-streams-max=2000"];
    let pair = Pair::start(&settings).await?;
    pair.deploy_marking("marking", 0.0).await?;
    let active = pair.active().await?;
    let pid = pair.members[active].pid().context("it runs")?;
    let mut sizes = Vec::new();
    for round in 0..3 {
        let mut readers = Vec::new();
        for _ in 0..READERS {
            let client = pair.api_of(active).client();
            let path = "/controller/api/event?return=OrderAdded&heartbeat=1";
            readers.push(client.get_stream(path, PATIENCE).await?);
        }
        let id = format!("seen-{round}");
        let begun = Instant::now();
        pair.add_order(&id, "marking").await?;
        ensure!(
            begun.elapsed() < Duration::from_secs(5),
            "JS-2188: an order takes {:?} while {READERS} wait",
            begun.elapsed()
        );
        for reader in &mut readers {
            let line = tokio::time::timeout(PATIENCE, reader.next_line()).await??;
            let line: Value = serde_json::from_slice(&line.context("the stream goes on")?)?;
            ensure!(line["Key"] == id.as_str(), "each reader is told: {line}");
        }
        drop(readers);
        tokio::time::sleep(Duration::from_millis(500)).await;
        sizes.push(memory(pid)?);
    }
    let grown = sizes[2].saturating_sub(sizes[0]);
    ensure!(
        grown < 16 << 10,
        "JS-2170: memory grows with readers that have gone: {sizes:?} KiB"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn js_2093_orders_with_many_stop_positions_cost_memory_as_they_are_and_no_more() -> Result<()>
{
    let pair = Pair::start(&CALM).await?;
    let finish = json!({"TYPE": "Finish"});
    let workflow = json!({"TYPE": "Workflow", "path": "long", "instructions": vec![finish; 300]});
    let signed = json!({"string": workflow.to_string()});
    pair.deploy(&[json!({"TYPE": "AddOrChangeSigned", "signed": signed})])
        .await?;
    let active = pair.active().await?;
    let pid = pair.members[active].pid().context("it runs")?;
    let before = memory(pid)?;
    let stops: Vec<Value> = (1..300).map(|n| json!([n])).collect();
    let mut ids = Vec::new();
    for number in 0..200 {
        let id = format!("stopping-{number}");
        let order = json!({"id": id, "workflowPath": "long", "stopPositions": stops});
        pair.api_of(active).add_order(&order).await?;
        ids.push(id);
    }
    pair.await_finished(&ids).await?;
    let grown = memory(pid)?.saturating_sub(before);
    ensure!(
        grown < 100 << 10,
        "JS-2093: {grown} KiB for 200 orders with 299 stop positions each"
    );
    Ok(())
}
