//! Agents that begin anew because an operator says so.

use crate::outages::await_refusal;
use crate::{add, add_for, agent_api, count, deploy, job, job_at, kill_and_wipe, now, pid};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use testkit::world::{AgentPlan, Mode, Plan, World};

const DAY: i64 = 86_400_000;

async fn alfa_with_a_subagent(proxied: bool) -> Result<World> {
    let alfa = AgentPlan {
        subagents: vec!["SUB-1".to_owned()],
        ..AgentPlan::named("ALFA")
    };
    let world = World::start(Plan {
        agents: vec![alfa],
        proxied,
        ..Plan::default()
    })
    .await?;
    deploy_all(&world).await?;
    Ok(world)
}

async fn deploy_all(world: &World) -> Result<()> {
    for (path, subagent) in [("here", "ALFA-0"), ("there", "SUB-1")] {
        deploy(world, path, &[job_at("ALFA", subagent, "echo done")]).await?;
        let file = world.tmp().join(path);
        let endless = format!("echo $$ >>{}; echo READY; sleep 600", file.display());
        let endless = job_at("ALFA", subagent, &endless);
        deploy(world, &format!("{path}-endless"), &[endless]).await?;
    }
    Ok(())
}

/// The life of the Agent's log, as it says itself; nothing while it belongs to nobody.
async fn life(world: &World) -> Result<Option<String>> {
    let api = agent_api(world, "ALFA")?;
    let overview: Value = api.client().get_json("/agent/api").await?;
    Ok(overview["agentRunId"].as_str().map(str::to_owned))
}

fn reset(world: &World, arguments: &[&str]) -> Result<()> {
    let line = [&["agent", "reset", "ALFA"], arguments].concat();
    let told = world.command_line(&line)?;
    ensure!(told.status.success(), "{told:?}");
    Ok(())
}

/// The processes of the jobs that have written down that they began.
fn began(world: &World, path: &str) -> Vec<i32> {
    let text = std::fs::read_to_string(world.tmp().join(path)).unwrap_or_default();
    text.lines().map(|line| line.parse().unwrap()).collect()
}

fn is_gone(pid: i32) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    state.is_empty() || state.contains(") Z ")
}

/// The dead children that the process has not looked after.
fn zombies_of(parent: i32) -> Result<Vec<String>> {
    let mut zombies = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let stat = std::fs::read_to_string(entry?.path().join("stat")).unwrap_or_default();
        if stat.contains(&format!(") Z {parent} ")) {
            zombies.push(stat);
        }
    }
    Ok(zombies)
}

#[tokio::test(flavor = "multi_thread")]
async fn s78_a_wiped_agent_gets_everything_again_by_a_reset_and_no_order_hangs_or_runs_twice()
-> Result<()> {
    let mut world = alfa_with_a_subagent(false).await?;
    add(&world, "RUNNING", "there-endless").await?;
    world.await_stdout("RUNNING", "READY", 1).await?;
    add_for(&world, "TOMORROW", "here", now() + DAY).await?;
    world.await_event("TOMORROW", "OrderAttached").await?;
    kill_and_wipe(&mut world, "ALFA").await?;
    world.node("ALFA").start_ready().await?;
    await_refusal(&world).await?;
    add(&world, "WAITING", "here").await?;
    world.await_event("WAITING", "OrderAttachable").await?;

    reset(&world, &["--force"])?;
    world.await_event("ALFA", "AgentReset").await?;
    world.await_nth("ALFA", "AgentDedicated", 2).await?;
    world.await_event("RUNNING", "OrderFailed").await?;
    world.await_event("WAITING", "OrderFinished").await?;
    assert_eq!(world.history().stdout_of("WAITING"), "done\n");
    world.await_nth("TOMORROW", "OrderAttached", 2).await?;
    // The Subagent has been the former life's until now: its job ends, and it works for the new one.
    add(&world, "NEW", "there").await?;
    world.await_event("NEW", "OrderFinished").await?;
    let jobs = began(&world, "there");
    assert_eq!(jobs.len(), 1, "S78: the job has not been run twice");
    ensure!(is_gone(jobs[0]), "the job of the former life has ended");
    for (id, starts) in [("RUNNING", 1), ("WAITING", 1), ("TOMORROW", 0)] {
        assert_eq!(count(&world, id, "OrderProcessingStarted"), starts, "{id}");
    }
    let attached = world.history().all();
    let attached = attached
        .iter()
        .filter(|seen| seen.kind == "ItemAttached" && seen.json["key"] == "Subagent:ALFA-0");
    assert_eq!(attached.count(), 2, "S78: its items come again");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_reset_ends_its_jobs_everywhere_and_begins_anew_in_the_same_process()
-> Result<()> {
    let world = alfa_with_a_subagent(false).await?;
    let (agent, subagent) = (pid(&world, "ALFA")?, pid(&world, "SUB-1")?);
    for path in ["here", "there"] {
        let id = format!("RUNNING-{path}");
        add(&world, &id, &format!("{path}-endless")).await?;
        world.await_stdout(&id, "READY", 1).await?;
    }
    // It floods until somebody reads: that must not hold up its end.
    let flood = "echo READY; while :; do head -c 1000000 /dev/zero | tr '\\0' x; done";
    deploy(&world, "flood", &[job("ALFA", flood)]).await?;
    add(&world, "FLOOD", "flood").await?;
    world.await_stdout("FLOOD", "READY", 1).await?;

    reset(&world, &[])?;
    world.await_event("ALFA", "AgentReset").await?;
    for id in ["RUNNING-here", "RUNNING-there", "FLOOD"] {
        world.await_event(id, "OrderFailed").await?;
        let events = world.history().all();
        let processed = events
            .iter()
            .find(|seen| seen.key == id && seen.kind == "OrderProcessed")
            .context("its job has an end")?;
        let code = &processed.json["outcome"]["reason"]["problem"]["code"];
        assert_eq!(code, "AgentReset", "{id}");
        assert_eq!(count(&world, id, "OrderProcessingStarted"), 1, "{id}");
    }
    for path in ["here", "there"] {
        let jobs = began(&world, path);
        assert_eq!(jobs.len(), 1);
        ensure!(
            is_gone(jobs[0]),
            "the job {path} has ended before the orders failed"
        );
        let id = format!("NEW-{path}");
        add(&world, &id, path).await?;
        world.await_event(&id, "OrderFinished").await?;
    }
    assert_eq!(
        (pid(&world, "ALFA")?, pid(&world, "SUB-1")?),
        (agent, subagent)
    );
    let no_zombies = || async { Ok(zombies_of(agent)?.is_empty()) };
    world
        .await_that("an Agent without dead children", no_zombies)
        .await?;
    let aside = world.node_ref("ALFA")?.data.join("state.reset");
    ensure!(!aside.exists(), "nothing of the former life is left");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_whose_answer_is_lost_is_asked_for_again_and_found_done() -> Result<()> {
    let world = alfa_with_a_subagent(true).await?;
    add(&world, "RUNNING", "there-endless").await?;
    world.await_stdout("RUNNING", "READY", 1).await?;
    let before = life(&world).await?;
    ensure!(before.is_some(), "it is dedicated");
    let proxy = &world.proxies()["ALFA"];
    proxy.set(Mode::AnswersHeld);
    reset(&world, &[])?;
    let has_forgotten = || async { Ok(life(&world).await.is_ok_and(|life| life.is_none())) };
    world
        .await_that("the Agent without a life", has_forgotten)
        .await?;
    assert_eq!(
        count(&world, "RUNNING", "OrderFailed"),
        0,
        "without force the orders stay until the Controller has heard"
    );
    proxy.set(Mode::Cut);
    world.await_event("ALFA", "AgentCouplingFailed").await?;
    proxy.set(Mode::Open);
    world.await_event("RUNNING", "OrderFailed").await?;
    world.await_event("ALFA", "AgentReset").await?;
    for path in ["here", "there"] {
        let id = format!("NEW-{path}");
        add(&world, &id, path).await?;
        world.await_event(&id, "OrderFinished").await?;
    }
    assert_eq!(count(&world, "ALFA", "AgentReset"), 1);
    let after = life(&world).await?;
    ensure!(after.is_some() && after != before, "{before:?} {after:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn by_force_the_orders_of_an_agent_that_is_cut_off_fail_at_once_and_it_is_reset_later()
-> Result<()> {
    let world = alfa_with_a_subagent(true).await?;
    add(&world, "RUNNING", "here-endless").await?;
    world.await_stdout("RUNNING", "READY", 1).await?;
    let proxy = &world.proxies()["ALFA"];
    proxy.set(Mode::Cut);
    world.await_event("ALFA", "AgentCouplingFailed").await?;
    add(&world, "WAITING", "here").await?;
    reset(&world, &["--force"])?;
    world.await_event("RUNNING", "OrderFailed").await?;
    let jobs = began(&world, "here");
    ensure!(!is_gone(jobs[0]), "nobody can reach the job now");
    proxy.set(Mode::Open);
    world.await_event("ALFA", "AgentReset").await?;
    ensure!(
        is_gone(jobs[0]),
        "it has ended before anything else is sent"
    );
    world.await_event("WAITING", "OrderFinished").await?;
    assert_eq!(count(&world, "WAITING", "OrderProcessingStarted"), 1);
    assert_eq!(began(&world, "here").len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn by_force_a_controller_that_has_lost_its_log_takes_its_agent_again() -> Result<()> {
    let mut world = alfa_with_a_subagent(false).await?;
    add(&world, "RUNNING", "there-endless").await?;
    world.await_stdout("RUNNING", "READY", 1).await?;
    kill_and_wipe(&mut world, "controller").await?;
    world.controller().start_ready().await?;
    world.connect()?;
    let items = world.agent_items();
    world.api().change_items(&items).await?;
    let refused = world.await_event("ALFA", "AgentCouplingFailed").await?;
    assert_eq!(refused.json["problem"]["code"], "AgentAlreadyDedicated");
    ensure!(
        reset(&world, &[]).is_err(),
        "the Agent does not belong to this log: that needs force"
    );
    reset(&world, &["--force"])?;
    world.await_event("ALFA", "AgentReset").await?;
    deploy_all(&world).await?;
    for path in ["here", "there"] {
        let id = format!("NEW-{path}");
        add(&world, &id, path).await?;
        world.await_event(&id, "OrderFinished").await?;
    }
    let jobs = began(&world, "there");
    ensure!(
        jobs.len() == 1 && is_gone(jobs[0]),
        "the forgotten job has ended"
    );
    Ok(())
}
