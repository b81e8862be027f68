//! Subagents: light, many, watched.

use crate::{PATIENCE, add, count, deploy, job, job_at, kill_and_wipe, pid};
use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};
use testkit::world::{AgentPlan, Mode, Plan, Seen, World};

fn agent_with(subagents: &[&str]) -> Plan {
    Plan {
        agents: vec![AgentPlan {
            is_local_disabled: true,
            subagents: subagents.iter().map(|&id| id.to_owned()).collect(),
            ..AgentPlan::named("ALFA")
        }],
        ..Plan::default()
    }
}

/// The largest resident size a process has had, in bytes.
fn peak_memory(pid: i32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes: u64 = line
        .context("the kernel tells VmHWM")?
        .trim()
        .trim_end_matches(" kB")
        .parse()?;
    Ok(kibibytes * 1024)
}

fn size_of(dir: &Path) -> Result<u64> {
    let mut size = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        size += if meta.is_dir() {
            size_of(&entry.path())?
        } else {
            meta.len()
        };
    }
    Ok(size)
}

fn number_in(path: &Path) -> u64 {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn s134_s141_a_subagent_keeps_nothing_on_disk_and_little_in_memory_while_its_agent_hangs()
-> Result<()> {
    let mut world = World::start(agent_with(&["SUB-1"])).await?;
    let progress = world.tmp().join("progress");
    let child = world.tmp().join("child");
    let script = format!(
        "echo READY; sleep 600 & echo $! >{}; i=0; while :; do head -c 1000000 /dev/zero | tr '\\0' x; i=$((i+1)); echo $i >{}; done",
        child.display(),
        progress.display()
    );
    deploy(&world, "flood", &[job("ALFA", &script)]).await?;
    world.node("ALFA").stop()?;
    add(&world, "A", "flood").await?;
    world.node("ALFA").cont()?;
    world.await_stdout("A", "READY", 1).await?;
    world.node("ALFA").stop()?;
    let begin = Instant::now();
    let mut written = number_in(&progress);
    let mut still_since = Instant::now();
    // The buffer holds 16 MiB: only behind most of that is a pause more than a slow machine.
    while still_since.elapsed() < Duration::from_secs(2) || written < 10 {
        ensure!(
            begin.elapsed() < PATIENCE,
            "S134: the job is never held up; it has written {written} MB"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
        let now = number_in(&progress);
        if now != written {
            (written, still_since) = (now, Instant::now());
        }
    }
    let memory = peak_memory(pid(&world, "SUB-1")?)?;
    assert!(
        memory < 128 << 20,
        "S134: the Subagent has used {memory} bytes"
    );
    let on_disk = size_of(&world.node_ref("SUB-1")?.data)?;
    assert!(
        on_disk < 64 << 10,
        "S134: no journal: {on_disk} bytes in its directory"
    );
    world.node("ALFA").cont()?;
    let mode = json!({"TYPE": "FreshOrStarted", "kill": {"immediately": true}});
    let cancel = json!({"TYPE": "CancelOrders", "orderIds": ["A"], "mode": mode});
    world.api().accept(&cancel).await?;
    world.await_event("A", "OrderCancelled").await?;
    let child = number_in(&child);
    ensure!(child > 0, "the job has told its child");
    let is_gone = || async {
        let state = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        Ok(state.is_empty() || state.contains(") Z "))
    };
    world
        .await_that("S141: the end of the job's child", is_gone)
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn s134_a_subagent_whose_directory_is_gone_works_again() -> Result<()> {
    let mut world = World::start(agent_with(&["SUB-1"])).await?;
    deploy(&world, "w", &[job("ALFA", "echo ran")]).await?;
    add(&world, "A", "w").await?;
    world.await_event("A", "OrderFinished").await?;
    kill_and_wipe(&mut world, "SUB-1").await?;
    world.node("SUB-1").start_ready().await?;
    add(&world, "B", "w").await?;
    world.await_event("B", "OrderFinished").await?;
    assert_eq!(world.history().stdout_of("B"), "ran\n");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s135_s137_s138_a_hundred_subagents_share_the_work_and_all_report_it() -> Result<()> {
    let ids: Vec<String> = (1..=100).map(|number| format!("SUB-{number:03}")).collect();
    let names: Vec<&str> = ids.iter().map(String::as_str).collect();
    // All processes start at once.
    let world = World::start(agent_with(&names)).await?;
    let is_coupled = |seen: &&Seen| seen.kind == "SubagentCoupled";
    world
        .history()
        .wait_for(PATIENCE, |events| {
            let coupled: BTreeSet<&str> = events
                .iter()
                .filter(is_coupled)
                .map(|seen| seen.key.as_str())
                .collect();
            names
                .iter()
                .all(|name| coupled.contains(name))
                .then_some(())
        })
        .await
        .with_context(|| world.lament("S135: the coupling of a hundred Subagents"))?;
    deploy(&world, "w", &[job("ALFA", "echo ran at $PPID")]).await?;
    let orders: Vec<String> = (0..200).map(|number| format!("N{number}")).collect();
    for id in &orders {
        add(&world, id, "w").await?;
    }
    for id in &orders {
        world.await_event(id, "OrderFinished").await?;
    }
    let mut used: BTreeMap<String, usize> = BTreeMap::new();
    for seen in world.history().all() {
        if seen.kind != "OrderProcessingStarted" {
            continue;
        }
        let id = seen.json["subagentId"].as_str().context("a Subagent")?;
        *used.entry(id.to_owned()).or_default() += 1;
        let told = format!("ran at {}\n", pid(&world, id)?);
        assert_eq!(
            world.history().stdout_of(&seen.key),
            told,
            "S137, S138: {} has run at {id} and its output is here",
            seen.key
        );
    }
    assert_eq!(used.keys().cloned().collect::<Vec<_>>(), ids, "S135");
    assert!(
        used.values().all(|jobs| *jobs == 2),
        "S135: all in turn: {used:?}"
    );
    Ok(())
}

/// Here the Director's end is decided. A Subagent that is not heard keeps its jobs and only holds their output.
#[tokio::test(flavor = "multi_thread")]
async fn s136_a_silent_subagent_is_noticed_and_taken_again_when_it_is_heard() -> Result<()> {
    let mut plan = agent_with(&["SUB-1"]);
    plan.proxied = true;
    let mut world = World::start(plan).await?;
    world.await_event("SUB-1", "SubagentCoupled").await?;
    for (round, mode) in [Mode::AnswersHeld, Mode::Frozen].into_iter().enumerate() {
        let coupled = count(&world, "SUB-1", "SubagentCoupled");
        world.proxies()["SUB-1"].set(mode);
        world
            .await_nth("SUB-1", "SubagentCouplingFailed", round + 1)
            .await
            .with_context(|| format!("S136: {mode:?}"))?;
        world.proxies()["SUB-1"].set(Mode::Open);
        world
            .await_nth("SUB-1", "SubagentCoupled", coupled + 1)
            .await?;
    }
    world.node("SUB-1").stop()?;
    world
        .await_nth("SUB-1", "SubagentCouplingFailed", 3)
        .await?;
    world.node("SUB-1").cont()?;
    deploy(&world, "w", &[job("ALFA", "echo ran")]).await?;
    add(&world, "A", "w").await?;
    world.await_event("A", "OrderFinished").await?;
    Ok(())
}

/// What every test that stops a process relies on.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_has_been_stopped_answers_nothing_any_more() -> Result<()> {
    let mut world = World::start(agent_with(&["SUB-1"])).await?;
    world.await_event("SUB-1", "SubagentCoupled").await?;
    for round in 0..100 {
        let node = world.node("SUB-1");
        node.stop()?;
        let tasks = format!("/proc/{}/task", node.pid().unwrap());
        for task in std::fs::read_dir(tasks)? {
            let stat = std::fs::read_to_string(task?.path().join("stat"))?;
            let state = stat.rsplit(") ").next().unwrap();
            ensure!(state.starts_with('T'), "round {round}: {stat}");
        }
        node.cont()?;
        // It is to be busy when the next one comes.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s6_jobs_are_children_of_agents_and_subagents_and_never_of_the_controller() -> Result<()> {
    let mut plan = agent_with(&["SUB-1"]);
    plan.agents[0].is_local_disabled = false;
    let world = World::start(plan).await?;
    for (order, subagent, node) in [("A", "ALFA-0", "ALFA"), ("B", "SUB-1", "SUB-1")] {
        deploy(&world, order, &[job_at("ALFA", subagent, "echo $PPID")]).await?;
        add(&world, order, order).await?;
        world.await_event(order, "OrderFinished").await?;
        let parent = world.history().stdout_of(order);
        assert_eq!(parent.trim(), pid(&world, node)?.to_string(), "S6: {order}");
    }
    Ok(())
}
