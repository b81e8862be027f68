//! What is shown of Agents and Subagents is true. Lost ones are shown as lost, with the time since then, and logged once. Those that have
//! returned are shown as connected.

use crate::{PATIENCE, add, deploy, job, metrics};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::time::{Duration, Instant};
use testkit::world::{AgentPlan, Plan, World, second_director};

const AGENT: &str = "ALFA";
const SUBAGENT: &str = "SUB";
/// The Controller's log line about a lost Agent, and the one about its return.
const LOST: &str = "the connection to the Agent is lost";
const BACK: &str = "the Agent is connected again";

/// Returns an Agent as the API lists it.
async fn shown(world: &World) -> Result<Value> {
    let list = world.api().get("/controller/api/agent").await?;
    let list = list.map_err(|refused| anyhow::anyhow!("{refused}"))?;
    let agents = list["agents"].as_array().context("a list")?;
    let agent = agents.iter().find(|agent| agent["path"] == AGENT);
    Ok(agent.or(agents.first()).context("the Agent")?.clone())
}

async fn await_connection(world: &World, connection: &str) -> Result<Value> {
    let is_so = || async { Ok(shown(world).await?["connection"] == connection) };
    let what = format!("{AGENT} is shown as {connection}");
    world.await_that(&what, is_so).await?;
    shown(world).await
}

async fn link_up(world: &World) -> Result<bool> {
    let page = metrics(world.api()).await?;
    let line = page
        .lines()
        .find(|line| line.starts_with("mainspring_link_up{") && line.contains(AGENT));
    let line = line.with_context(|| format!("no link to {AGENT} in\n{page}"))?;
    Ok(line.ends_with(" 1"))
}

fn status(world: &World) -> Result<String> {
    let output = world.command_line(&["status"])?;
    ensure!(output.status.success(), "{output:?}");
    Ok(String::from_utf8(output.stdout)?)
}

/// Returns how often the Controller has logged a line with this text on this level.
fn logged(world: &World, level: &str, text: &str) -> Result<usize> {
    let log = world.node_ref("controller")?.log();
    let lines = log.lines().filter(|line| line.contains(text));
    Ok(lines.filter(|line| line.contains(level)).count())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_was_restarted_in_order_is_shown_as_working() -> Result<()> {
    let mut world = World::start(Plan::of(&[AGENT])).await?;
    deploy(&world, "w", &[job(AGENT, "echo here")]).await?;
    await_connection(&world, "Connected").await?;
    world.node(AGENT).terminate().await?;
    await_connection(&world, "ShutDown").await?;
    ensure!(!link_up(&world).await?, "an Agent that was shut down is up");
    ensure!(status(&world)?.contains("shut down"), "{}", status(&world)?);
    world.node(AGENT).start_ready().await?;
    let agent = await_connection(&world, "Connected").await?;
    ensure!(
        agent["subagents"]
            .as_array()
            .is_some_and(|subagents| !subagents.is_empty()),
        "{agent}"
    );
    let all_connected = || async {
        let agent = shown(&world).await?;
        let subagents = agent["subagents"].as_array().cloned().unwrap_or_default();
        Ok(subagents.iter().all(|it| it["connection"] == "Connected"))
    };
    world
        .await_that("its Subagents, too", all_connected)
        .await?;
    ensure!(link_up(&world).await?, "it is up");
    let status = status(&world)?;
    ensure!(!status.contains("shut down"), "{status}");
    add(&world, "order", "w").await?;
    world.await_event("order", "OrderFinished").await?;
    ensure!(
        logged(&world, "WARN", LOST)? == 0,
        "an orderly end is no warning"
    );
    Ok(())
}

/// How all processes of the Agent are lost.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Loss {
    Killed,
    Stopped,
}

async fn whole_agent_is_lost(loss: Loss) -> Result<()> {
    let mut world = World::start(Plan {
        agents: vec![AgentPlan {
            is_pair: true,
            subagents: vec![SUBAGENT.to_owned()],
            ..AgentPlan::named(AGENT)
        }],
        ..Plan::default()
    })
    .await?;
    deploy(&world, "w", &[job(AGENT, "echo here")]).await?;
    add(&world, "before", "w").await?;
    world.await_event("before", "OrderFinished").await?;
    let is_coupled = || async { Ok(shown(&world).await?["cluster"]["TYPE"] == "Coupled") };
    world.await_that("a coupled pair", is_coupled).await?;
    ensure!(shown(&world).await?["lastKnownCluster"].is_null());
    let parts = [
        AGENT.to_owned(),
        second_director(AGENT),
        SUBAGENT.to_owned(),
    ];
    for round in 1..=2 {
        for part in &parts {
            match loss {
                Loss::Killed => world.node(part).kill()?,
                Loss::Stopped => world.node(part).stop()?,
            }
        }
        let agent = await_connection(&world, "Unreachable").await?;
        ensure!(
            agent["cluster"].is_null() && agent["lastKnownCluster"]["TYPE"] == "Coupled",
            "what was known last is shown as such: {agent}"
        );
        for subagent in agent["subagents"].as_array().context("Subagents")? {
            ensure!(
                subagent["connection"] != "Connected",
                "nobody knows whether it is: {subagent}"
            );
        }
        ensure!(!link_up(&world).await?, "it is not up");
        let told = status(&world)?;
        ensure!(
            told.contains("unreachable") && !told.contains("connected since"),
            "{told}"
        );
        // The time since the loss grows, and nothing is logged again meanwhile.
        let begun = Instant::now();
        let age = |agent: &Value| agent["secondsSinceConnectionChange"].as_u64();
        let first = age(&agent).context("an age")?;
        let grows = || async { Ok(age(&shown(&world).await?) >= Some(first + 5)) };
        world.await_that("the age grows", grows).await?;
        ensure!(begun.elapsed() > Duration::from_secs(3), "as time does");
        ensure!(
            logged(&world, "WARN", LOST)? == round,
            "one warning for each loss: {}",
            world.node_ref("controller")?.log_tail(60)
        );
        for part in &parts {
            match loss {
                Loss::Killed => world.node(part).start()?,
                Loss::Stopped => world.node(part).cont()?,
            }
        }
        await_connection(&world, "Connected").await?;
        let is_coupled = || async { Ok(shown(&world).await?["cluster"]["TYPE"] == "Coupled") };
        world.await_that("a coupled pair again", is_coupled).await?;
        let is_logged = || async { Ok(logged(&world, "INFO", BACK)? == round) };
        world
            .await_that("one line for each return", is_logged)
            .await?;
        ensure!(
            logged(&world, "WARN", LOST)? == round,
            "no loss after the return: {}",
            world.node_ref("controller")?.log_tail(60)
        );
        let id = format!("after-{round}");
        add(&world, &id, "w").await?;
        tokio::time::timeout(PATIENCE, world.await_event(&id, "OrderFinished")).await??;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_agent_that_was_killed_is_shown_as_lost_and_logged_once() -> Result<()> {
    whole_agent_is_lost(Loss::Killed).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_agent_that_hangs_is_shown_as_lost_and_logged_once() -> Result<()> {
    whole_agent_is_lost(Loss::Stopped).await
}
