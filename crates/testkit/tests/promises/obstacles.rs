//! Each order shows what it waits for: in the answer for a single order, in the list, and after a restart of the Controller.

use crate::{add, deploy, job};
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use testkit::world::{Plan, World};

/// Requests the order's obstacles, as they are in the answer for a single order.
async fn obstacles(world: &World, id: &str) -> Result<Vec<Value>> {
    let order = world.api().order(id).await?.context("the order is known")?;
    let obstacles = order["obstacles"].as_array();
    Ok(obstacles.context("a list")?.clone())
}

/// Waits until the first obstacle of the order has this `TYPE`, and returns the obstacle.
async fn await_obstacle(world: &World, id: &str, kind: &str) -> Result<Value> {
    let has_it = || async {
        let obstacles = obstacles(world, id).await?;
        Ok(obstacles.first().is_some_and(|first| first["TYPE"] == kind))
    };
    world.await_that(&format!("{id}: {kind}"), has_it).await?;
    let obstacle = obstacles(world, id).await?.swap_remove(0);
    let path = format!("/controller/api/order?prefix={id}");
    let list = world.api().get(&path).await?;
    let list = list.map_err(|refused| anyhow::anyhow!("{refused}"))?;
    ensure!(
        list["orders"][0]["obstacles"][0]["TYPE"] == kind,
        "the list has the same: {list}"
    );
    ensure!(
        obstacle["message"]
            .as_str()
            .is_some_and(|words| !words.is_empty()),
        "in words, too: {obstacle}"
    );
    Ok(obstacle)
}

/// Returns a job with this `parallelism`.
fn limited(script: &str, parallelism: u32) -> Value {
    let mut job = job("ALFA", script);
    job["job"]["processLimit"] = json!(parallelism);
    job
}

async fn limit_agent(world: &World, limit: u32) -> Result<()> {
    let item =
        json!({"TYPE": "AgentRef", "path": "ALFA", "directors": ["ALFA-0"], "processLimit": limit});
    let operation = json!({"TYPE": "AddOrChangeSimple", "item": item});
    world.api().change_items(&[operation]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_without_a_slot_tells_whose_limit_it_is_and_who_holds_it() -> Result<()> {
    let mut world = World::start(Plan::of(&["ALFA"])).await?;
    deploy(&world, "slot", &[limited("echo READY; sleep 600", 1)]).await?;
    deploy(&world, "wide", &[limited("echo READY; sleep 600", 9)]).await?;
    deploy(&world, "never", &[limited("echo READY", 0)]).await?;
    add(&world, "HOLDS", "slot").await?;
    world.await_stdout("HOLDS", "READY", 1).await?;
    ensure!(obstacles(&world, "HOLDS").await?.is_empty());
    let running = world.api().order("HOLDS").await?.context("it is known")?;
    ensure!(running["process"]["subagentId"] == "ALFA-0", "{running}");
    add(&world, "WAITS", "slot").await?;
    add(&world, "NEVER", "never").await?;
    let waits = await_obstacle(&world, "WAITS", "JobProcessLimitReached").await?;
    let held_by = json!({"processCount": 1, "orders": ["HOLDS"]});
    ensure!(waits["limit"] == 1 && waits["heldBy"] == held_by, "{waits}");
    ensure!(waits["since"].is_i64(), "{waits}");
    let never = await_obstacle(&world, "NEVER", "JobProcessLimitReached").await?;
    ensure!(never["limit"] == 0, "{never}");
    // The obstacle is known after a restart of the Controller, too.
    world.controller().kill()?;
    world.controller().start_ready().await?;
    let again = await_obstacle(&world, "WAITS", "JobProcessLimitReached").await?;
    ensure!(again == waits, "{again} {waits}");
    limit_agent(&world, 1).await?;
    add(&world, "WIDE", "wide").await?;
    let wide = await_obstacle(&world, "WIDE", "AgentProcessLimitReached").await?;
    ensure!(wide["limit"] == 1 && wide["heldBy"] == held_by, "{wide}");
    ensure!(
        obstacles(&world, "WIDE").await?.len() == 1,
        "not the job's limit"
    );
    limit_agent(&world, 9).await?;
    world.await_stdout("WIDE", "READY", 1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_at_an_agent_that_is_away_says_so_since_when_and_until_it_is_back() -> Result<()> {
    let mut world = World::start(Plan::of(&["ALFA"])).await?;
    deploy(&world, "slot", &[limited("echo READY; sleep 600", 1)]).await?;
    add(&world, "RUNS", "slot").await?;
    world.await_stdout("RUNS", "READY", 1).await?;
    add(&world, "WAITS", "slot").await?;
    await_obstacle(&world, "WAITS", "JobProcessLimitReached").await?;
    // The Agent is stopped.
    world.node("ALFA").stop()?;
    for id in ["RUNS", "WAITS"] {
        let away = await_obstacle(&world, id, "AgentNotConnected").await?;
        ensure!(away["connection"] == "Unreachable", "{away}");
        ensure!(
            away["agentPath"] == "ALFA" && away["since"].is_i64(),
            "{away}"
        );
        ensure!(away["problem"]["message"].is_string(), "{away}");
    }
    let cancel = json!({"TYPE": "CancelOrders", "orderIds": ["WAITS"]});
    world.api().accept(&cancel).await?;
    let told = obstacles(&world, "WAITS").await?;
    ensure!(
        told.iter()
            .any(|it| it["TYPE"] == "WaitingForAgentToMark" && it["mark"] == "Cancelling"),
        "{told:?}"
    );
    world.node("ALFA").cont()?;
    world.await_event("WAITS", "OrderCancelled").await?;
    let is_free = || async { Ok(obstacles(&world, "RUNS").await?.is_empty()) };
    world.await_that("RUNS runs again", is_free).await?;
    // The Agent is dead, and another order is still to go there.
    world.node("ALFA").kill()?;
    await_obstacle(&world, "RUNS", "AgentNotConnected").await?;
    add(&world, "COMES", "slot").await?;
    await_obstacle(&world, "COMES", "AgentNotConnected").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_background_process_that_holds_the_output_is_told_and_a_kill_does_not_wait_for_it()
-> Result<()> {
    let world = World::start(Plan::of(&["ALFA"])).await?;
    // The grace time is so long that the test cannot wait for its end.
    let held = |script: &str| {
        let mut job = job("ALFA", script);
        job["job"]["sigkillDelay"] = json!(3600);
        job
    };
    let leaves = "sleep 3601 & echo $! READY";
    deploy(&world, "leaves", &[held(leaves)]).await?;
    deploy(
        &world,
        "both",
        &[held("sleep 3602 & echo READY; sleep 3603 >&-")],
    )
    .await?;
    add(&world, "LEAVES", "leaves").await?;
    let told = await_obstacle(&world, "LEAVES", "OutputIsHeld").await?;
    let written = world.history().stdout_of("LEAVES");
    let child: u64 = written.split(' ').next().unwrap_or("").parse()?;
    ensure!(told["processes"] == json!([child]), "{told}, {written}");
    ensure!(told["pid"].is_u64() && told["since"].is_i64(), "{told}");
    ensure!(told["subagentId"] == "ALFA-0", "{told}");
    let cancel = json!({"TYPE": "CancelOrders", "orderIds": ["LEAVES"],
        "mode": {"TYPE": "FreshOrStarted", "kill": {}}});
    world.api().accept(&cancel).await?;
    world.await_event("LEAVES", "OrderCancelled").await?;
    Ok(())
}
