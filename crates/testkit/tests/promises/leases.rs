//! Subagents under lease: what becomes of jobs when Director and Subagent lose each other.

use crate::{PATIENCE, add, count, deploy, job};
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use testkit::world::{AgentPlan, Api, Mode, Plan, World};

/// Two Subagents behind proxies, and an Agent that gives them a lease.
fn plan(lease: &str) -> Plan {
    Plan {
        agents: vec![AgentPlan {
            is_local_disabled: true,
            subagents: vec!["SUB-1".to_owned(), "SUB-2".to_owned()],
            ..AgentPlan::named("ALFA")
        }],
        proxied: true,
        agent_settings: vec![("subagent-lease".to_owned(), lease.to_owned())],
        ..Plan::default()
    }
}

/// A job that holds a lock with all its children, and says DOUBLE when another one still holds it. One of its children has fled into
/// a session of its own. It ends when the gate is open.
fn locking(world: &World) -> String {
    let dir = world.tmp();
    let dir = dir.display();
    format!(
        "exec 9>>{dir}/lock; flock -n 9 || echo DOUBLE; sleep 600 & echo $! >>{dir}/children; setsid sleep 600 & echo $! >>{dir}/children\n\
         echo READY; while ! [ -e {dir}/gate ]; do sleep 0.05; done; kill %1 %2 $(cat {dir}/children); echo DONE"
    )
}

fn children(world: &World) -> Vec<u32> {
    let text = std::fs::read_to_string(world.tmp().join("children")).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.trim().parse().ok())
        .collect()
}

fn is_alive(pid: u32) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !state.is_empty() && !state.contains(") Z ")
}

async fn are_gone(world: &World, pids: &[u32], what: &str) -> Result<()> {
    world
        .await_that(what, || async {
            Ok(!pids.iter().any(|pid| is_alive(*pid)))
        })
        .await
}

/// Which Subagent has the order's start of this number.
async fn runs_at(world: &World, order: &str, nth: usize) -> Result<String> {
    let started = world
        .await_nth(order, "OrderProcessingStarted", nth)
        .await?;
    let id = started.json["subagentId"].as_str();
    Ok(id.context("a job runs somewhere")?.to_owned())
}

async fn both_coupled(world: &World) -> Result<()> {
    for id in ["SUB-1", "SUB-2"] {
        world.await_event(id, "SubagentCoupled").await?;
    }
    Ok(())
}

/// What a Subagent tells of its Director, asked past the proxy.
async fn director_of(world: &World, subagent: &str) -> Result<Value> {
    let api = Api::with_token(&world.node_ref(subagent)?.url(), &world.node_token()?)?;
    let bytes = api.client().get_bytes("/subagent/api").await?;
    let overview: Value = serde_json::from_slice(&bytes)?;
    Ok(overview["director"].clone())
}

/// One order at work, its place and its processes.
async fn at_work(world: &World) -> Result<(String, Vec<u32>)> {
    both_coupled(world).await?;
    deploy(world, "w", &[job("ALFA", &locking(world))]).await?;
    add(world, "A", "w").await?;
    world.await_stdout("A", "READY", 1).await?;
    let pids = children(world);
    ensure!(pids.len() == 2, "the job has told its children: {pids:?}");
    Ok((runs_at(world, "A", 1).await?, pids))
}

/// The order has been repeated at the other Subagent, and comes to its end there.
async fn goes_on_elsewhere(world: &World, first: &str) -> Result<()> {
    let second = runs_at(world, "A", 2).await?;
    assert_ne!(first, second, "S139: by itself at the next Subagent");
    world.await_stdout("A", "READY", 2).await?;
    let all = children(world);
    world.open_gate("gate")?;
    world.await_event("A", "OrderFinished").await?;
    are_gone(world, &all, "the end of all processes").await?;
    let output = world.history().stdout_of("A");
    assert!(
        !output.contains("DOUBLE"),
        "S142: two at once have run: {output}"
    );
    assert_eq!(count(world, "A", "OrderProcessingStarted"), 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s139_s140_s142_jobs_of_a_cut_off_subagent_are_ended_with_their_trees_and_then_repeated()
-> Result<()> {
    let world = World::start(plan("4s")).await?;
    let (first, pids) = at_work(&world).await?;
    world.proxies()[&first].set(Mode::Frozen);
    let begin = Instant::now();
    are_gone(&world, &pids, "S140: the end of the job's tree").await?;
    let seen = director_of(&world, &first).await?;
    assert_eq!(seen["isLost"], json!(true), "S136: {seen}");
    ensure!(begin.elapsed() > Duration::from_secs(2), "not at once");
    goes_on_elsewhere(&world, &first).await?;
    assert_eq!(count(&world, &first, "SubagentLost"), 1);
    let coupled = count(&world, &first, "SubagentCoupled");
    world.proxies()[&first].set(Mode::Open);
    world
        .await_nth(&first, "SubagentCoupled", coupled + 1)
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s139_s142_jobs_of_a_killed_subagent_die_with_it_and_are_repeated() -> Result<()> {
    let mut world = World::start(plan("4s")).await?;
    let (first, pids) = at_work(&world).await?;
    world.node(&first).kill()?;
    are_gone(
        &world,
        &pids,
        "S140: the end of the job's tree, by its guard",
    )
    .await?;
    goes_on_elsewhere(&world, &first).await?;
    world.node(&first).start_ready().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s142_a_subagent_that_stands_still_and_comes_back_finds_its_jobs_ended() -> Result<()> {
    let mut world = World::start(plan("4s")).await?;
    let (first, pids) = at_work(&world).await?;
    world.node(&first).stop()?;
    are_gone(
        &world,
        &pids,
        "S140: the end of the job's tree, by its guard",
    )
    .await?;
    goes_on_elsewhere(&world, &first).await?;
    let coupled = count(&world, &first, "SubagentCoupled");
    world.node(&first).cont()?;
    world
        .await_nth(&first, "SubagentCoupled", coupled + 1)
        .await?;
    assert_eq!(
        count(&world, "A", "OrderProcessed"),
        2,
        "what it reports now changes nothing"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s143_a_cut_shorter_than_the_lease_costs_no_job_and_no_line() -> Result<()> {
    let world = World::start(plan("20s")).await?;
    both_coupled(&world).await?;
    let script =
        "echo READY; i=0; while [ $i -lt 60 ]; do i=$((i+1)); echo line $i; sleep 0.1; done";
    deploy(&world, "w", &[job("ALFA", script)]).await?;
    add(&world, "A", "w").await?;
    world.await_stdout("A", "READY", 1).await?;
    let place = runs_at(&world, "A", 1).await?;
    for (round, mode) in [Mode::Cut, Mode::RequestsHeld, Mode::Cut]
        .into_iter()
        .enumerate()
    {
        let coupled = count(&world, &place, "SubagentCoupled");
        world.proxies()[&place].set(mode);
        tokio::time::sleep(Duration::from_millis(700)).await;
        world.proxies()[&place].set(Mode::Open);
        if mode == Mode::Cut {
            world
                .await_nth(&place, "SubagentCoupled", coupled + 1)
                .await
                .with_context(|| format!("round {round}"))?;
        }
    }
    world.await_event("A", "OrderFinished").await?;
    let lines: Vec<String> = (1..=60).map(|number| format!("line {number}\n")).collect();
    assert_eq!(
        world.history().stdout_of("A"),
        format!("READY\n{}", lines.concat()),
        "S143: the log is complete"
    );
    assert_eq!(count(&world, "A", "OrderProcessingStarted"), 1);
    assert_eq!(count(&world, &place, "SubagentLost"), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s136_both_ends_notice_when_either_direction_stops() -> Result<()> {
    let world = World::start(plan("4s")).await?;
    both_coupled(&world).await?;
    for mode in [Mode::RequestsHeld, Mode::AnswersHeld] {
        let (failed, coupled) = (
            count(&world, "SUB-1", "SubagentCouplingFailed"),
            count(&world, "SUB-1", "SubagentCoupled"),
        );
        let well = director_of(&world, "SUB-1").await?;
        assert_eq!(well["isLost"], json!(false), "{mode:?}: {well}");
        world.proxies()["SUB-1"].set(mode);
        world
            .await_nth("SUB-1", "SubagentCouplingFailed", failed + 1)
            .await
            .with_context(|| format!("S136: the Director's end, {mode:?}"))?;
        let is_lost = || async { Ok(director_of(&world, "SUB-1").await?["isLost"] == json!(true)) };
        world
            .await_that(&format!("S136: the Subagent's end, {mode:?}"), is_lost)
            .await?;
        world.proxies()["SUB-1"].set(Mode::Open);
        world
            .await_nth("SUB-1", "SubagentCoupled", coupled + 1)
            .await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_who_knows_that_the_machine_is_off_need_not_wait() -> Result<()> {
    let mut world = World::start(plan("10m")).await?;
    let (first, pids) = at_work(&world).await?;
    let early = world.command_line(&["subagent", "confirm-lost", &first])?;
    assert!(!early.status.success(), "it is connected: {early:?}");
    world.node(&first).kill()?;
    world.await_event(&first, "SubagentCouplingFailed").await?;
    are_gone(&world, &pids, "the end of the job's tree").await?;
    assert_eq!(count(&world, "A", "OrderProcessingStarted"), 1);
    let begin = Instant::now();
    let told = world.command_line(&["subagent", "confirm-lost", &first])?;
    assert!(told.status.success(), "{told:?}");
    let confirmed = world.await_event(&first, "SubagentLossConfirmed").await?;
    assert_eq!(confirmed.json["userId"], json!("admin"));
    let lost = world.await_event(&first, "SubagentLost").await?;
    assert_eq!(lost.json["confirmedBy"], json!("admin"));
    goes_on_elsewhere(&world, &first).await?;
    ensure!(begin.elapsed() < PATIENCE, "without waiting for the lease");
    Ok(())
}
