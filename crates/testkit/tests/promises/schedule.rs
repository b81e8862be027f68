//! Orders start at their time, at the Agent, whoever is away.

use crate::{add_for, agent_api, agent_story, await_at_agent, deploy, job, now};
use anyhow::{Context as _, Result};
use testkit::world::{Plan, World};

const COUNT: i64 = 20;
const WEEK: i64 = 7 * 86_400_000;

/// How late each order was started, in milliseconds.
async fn lateness(world: &World, prefix: &str, due: impl Fn(i64) -> i64) -> Result<Vec<i64>> {
    let mut late = Vec::new();
    for n in 0..COUNT {
        let id = format!("{prefix}{n}");
        await_at_agent(world, "ALFA", &id, "OrderDetachable").await?;
        let story = agent_story(world, "ALFA", &id).await?;
        let started = story
            .iter()
            .find(|seen| seen.kind == "OrderStarted")
            .with_context(|| format!("{id} has started"))?;
        late.push(started.at - due(n));
    }
    late.sort_unstable();
    Ok(late)
}

/// How late an order may start. Measured values are far below this limit; on a busy machine they depend more on the machine.
const PROMISED_MS: i64 = 5000;

#[tokio::test(flavor = "multi_thread")]
async fn s49_s94_s95_no_order_starts_early_and_each_one_starts_with_and_without_the_controller()
-> Result<()> {
    let mut world = World::start(Plan::of(&["ALFA"])).await?;
    deploy(&world, "w", &[job("ALFA", ":")]).await?;
    for prefix in ["with", "without"] {
        let begin = now() + 3000;
        let due = |n: i64| begin + n * 53;
        for n in 0..COUNT {
            add_for(&world, &format!("{prefix}{n}"), "w", due(n)).await?;
        }
        for n in 0..COUNT {
            world
                .await_event(&format!("{prefix}{n}"), "OrderAttached")
                .await?;
        }
        if prefix == "without" {
            world.controller().kill()?;
        }
        let late = lateness(&world, prefix, due).await?;
        assert!(late[0] >= 0, "{prefix}: started {} ms early", -late[0]);
        let worst = late[late.len() - 1];
        assert!(worst < PROMISED_MS, "S49, {prefix}: {worst} ms late");
        println!(
            "{prefix} the Controller: started late by {} ms (median), {} ms (worst of {COUNT})",
            late[late.len() / 2],
            late[late.len() - 1]
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s12_s22_s93_an_agent_holds_the_orders_of_a_week_through_its_own_restart() -> Result<()> {
    let mut world = World::start(Plan::of(&["ALFA"])).await?;
    let mark = world.tmp().join("mark");
    let touch = format!("touch {}", mark.display());
    deploy(&world, "w", &[job("ALFA", &touch)]).await?;
    let begin = now();
    for n in 1..=50 {
        add_for(&world, &format!("D{n}"), "w", begin + n * WEEK / 50).await?;
    }
    add_for(&world, "SOON", "w", begin + 4000).await?;
    world.await_event("D50", "OrderAttached").await?;
    world.await_event("SOON", "OrderAttached").await?;
    world.controller().kill()?;
    world.node("ALFA").kill()?;
    world.node("ALFA").start_ready().await?;
    await_at_agent(&world, "ALFA", "SOON", "OrderDetachable").await?;
    assert!(
        mark.exists(),
        "S12, S22: workflow and plan are at the Agent"
    );
    let overview = agent_api(&world, "ALFA")?.get("/agent/api").await?.unwrap();
    assert_eq!(overview["orderCount"], 51, "S93: {overview}");
    for n in 1..=50 {
        let story = agent_story(&world, "ALFA", &format!("D{n}")).await?;
        assert_eq!(story.len(), 1, "attached, not started: {story:?}");
    }
    Ok(())
}
