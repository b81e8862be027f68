//! Subagent Clusters: who gets a job, and how Subagents come and go.

use crate::{PATIENCE, add, count, deploy, job};
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use testkit::world::{AgentPlan, Plan, Seen, World};

const ALL: [&str; 3] = ["SUB-1", "SUB-2", "SUB-3"];

/// ALFA, whose own Subagent takes no jobs, with three others; they are connected.
async fn three_subagents() -> Result<World> {
    let world = World::start(Plan {
        agents: vec![AgentPlan {
            is_local_disabled: true,
            subagents: ALL.map(str::to_owned).to_vec(),
            ..AgentPlan::named("ALFA")
        }],
        agent_settings: vec![("subagent-lease".to_owned(), "3s".to_owned())],
        ..Plan::default()
    })
    .await?;
    for id in ALL {
        world.await_event(id, "SubagentCoupled").await?;
    }
    Ok(world)
}

/// A Subagent Cluster, given as it is deployed.
fn cluster(id: &str, members: &[(&str, &str)]) -> Value {
    let members: BTreeMap<&str, &str> = members.iter().copied().collect();
    json!({"TYPE": "AddOrChangeSimple", "item": {"TYPE": "SubagentBundle", "id": id, "subagentToPriority": members}})
}

/// A job for a Subagent Cluster.
fn job_of(cluster: &str, script: &str) -> Value {
    let mut job = job("ALFA", script);
    job["job"]["subagentBundleIdExpr"] = json!(format!("'{cluster}'"));
    job
}

async fn started(world: &World, id: &str) -> Result<Seen> {
    world.await_event(id, "OrderProcessingStarted").await
}

/// Runs orders one after the other; answers where.
async fn run(world: &World, workflow: &str, prefix: &str, n: usize) -> Result<Vec<String>> {
    let mut places = Vec::new();
    for number in 1..=n {
        let id = format!("{prefix}-{number}");
        add(world, &id, workflow).await?;
        let seen = started(world, &id).await?;
        places.push(text(&seen.json["subagentId"]));
        world.await_event(&id, "OrderFinished").await?;
    }
    Ok(places)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// A Subagent as the Controller shows it.
fn shown(world: &World, id: &str) -> Result<Value> {
    let output = world.command_line(&["--json", "subagent", "show", id])?;
    ensure!(output.status.success(), "{output:?}");
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Runs an operator's command that must succeed; answers what it says.
fn command(world: &World, arguments: &[&str]) -> Result<String> {
    let output = world.command_line(arguments)?;
    ensure!(output.status.success(), "{arguments:?}: {output:?}");
    Ok(String::from_utf8(output.stdout)?)
}

/// How often the changed item of a Subagent has come to its Agent.
fn attachments(world: &World, id: &str) -> usize {
    let key = format!("Subagent:{id}");
    let all = world.history().all();
    all.iter()
        .filter(|seen| seen.kind == "ItemAttached" && seen.json["key"] == key)
        .count()
}

async fn await_attachment(world: &World, id: &str, before: usize) -> Result<()> {
    world
        .await_that(&format!("the changed {id} at its Agent"), || async {
            Ok(attachments(world, id) > before)
        })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn s144_s145_s146_s147_clusters_of_one_some_and_all_subagents_share_them() -> Result<()> {
    let mut world = three_subagents().await?;
    let clusters = [
        cluster("ONE", &[("SUB-2", "1")]),
        cluster("FIXED", &[("SUB-1", "2"), ("SUB-3", "1")]),
        cluster("ROUND", &[("SUB-1", "1"), ("SUB-2", "1"), ("SUB-3", "1")]),
        cluster("MIXED", &[("SUB-1", "2"), ("SUB-2", "2"), ("SUB-3", "1")]),
    ];
    world.api().change_items(&clusters).await?;
    for id in ["ONE", "FIXED", "ROUND", "MIXED"] {
        deploy(&world, id, &[job_of(id, ":")]).await?;
    }
    assert_eq!(
        run(&world, "ONE", "O", 2).await?,
        ["SUB-2", "SUB-2"],
        "S145: one"
    );
    assert_eq!(
        run(&world, "FIXED", "F", 2).await?,
        ["SUB-1", "SUB-1"],
        "S146: fixed priority"
    );
    let round = run(&world, "ROUND", "R", 6).await?;
    assert_eq!(round[..3], round[3..], "S146: in turn");
    assert_eq!(
        count_of(&round),
        [2, 2, 2],
        "S145: all, S147: shared with other clusters"
    );
    assert_eq!(count_of(&run(&world, "MIXED", "M", 4).await?), [2, 2, 0]);

    world.node("SUB-1").kill()?;
    world.await_event("SUB-1", "SubagentCouplingFailed").await?;
    assert_eq!(
        run(&world, "FIXED", "G", 2).await?,
        ["SUB-3", "SUB-3"],
        "S146: the first is away"
    );
    assert_eq!(count_of(&run(&world, "MIXED", "N", 2).await?), [0, 2, 0]);
    assert_eq!(count_of(&run(&world, "ROUND", "S", 4).await?), [0, 2, 2]);
    world.node("SUB-1").start_ready().await?;
    world.await_nth("SUB-1", "SubagentCoupled", 2).await?;
    assert_eq!(
        run(&world, "FIXED", "H", 1).await?,
        ["SUB-1"],
        "S146: it is back"
    );
    Ok(())
}

fn count_of(places: &[String]) -> [usize; 3] {
    ALL.map(|id| places.iter().filter(|place| *place == id).count())
}

#[tokio::test(flavor = "multi_thread")]
async fn s139_a_job_that_has_not_begun_goes_to_the_next_subagent_and_says_why_it_waits()
-> Result<()> {
    let mut world = three_subagents().await?;
    world
        .api()
        .change_items(&[cluster("PAIR", &[("SUB-1", "2"), ("SUB-2", "1")])])
        .await?;
    deploy(&world, "w", &[job_of("PAIR", ":")]).await?;
    for id in ["SUB-1", "SUB-2"] {
        world.node(id).kill()?;
        world.await_event(id, "SubagentCouplingFailed").await?;
    }
    add(&world, "A", "w").await?;
    world.await_event("A", "OrderAttached").await?;
    let shown = command(&world, &["order", "show", "A"])?;
    for told in [
        "waits for a Subagent of Subagent Cluster PAIR: SUB-1 is not connected",
        "SUB-2 is not connected",
    ] {
        assert!(shown.contains(told), "{shown}");
    }
    world.node("SUB-2").start_ready().await?;
    let seen = started(&world, "A").await?;
    assert_eq!(seen.json["subagentId"], "SUB-2", "S139: {seen}");
    world.await_event("A", "OrderFinished").await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn s146_the_measured_load_decides_and_what_is_too_full_gets_nothing() -> Result<()> {
    let world = three_subagents().await?;
    let load = "if $js7SubagentProcessCount >= 1 then missing else $js7TotalMemorySize - $js7FreeMemorySize + 2 - $js7CpuLoad";
    let full = "if $js7FreeMemorySize > 0 then missing else 1";
    let members = [("SUB-1", load), ("SUB-2", load), ("SUB-3", full)];
    world
        .api()
        .change_items(&[
            cluster("LOAD", &members),
            cluster("OWN", &[("ALFA-0", "1 - $js7CpuLoad")]),
        ])
        .await?;
    deploy(&world, "w", &[job_of("LOAD", "echo READY; sleep 600")]).await?;
    for id in ["A", "B", "C"] {
        add(&world, id, "w").await?;
    }
    let mut places = Vec::new();
    for id in ["A", "B"] {
        places.push(text(&started(&world, id).await?.json["subagentId"]));
    }
    places.sort();
    assert_eq!(places, ["SUB-1", "SUB-2"], "one process each");
    world.await_stdout("A", "READY", 1).await?;
    assert_eq!(
        count(&world, "C", "OrderProcessingStarted"),
        0,
        "nobody has room"
    );
    let mode = json!({"TYPE": "FreshOrStarted", "kill": {"immediately": true}});
    let cancel = json!({"TYPE": "CancelOrders", "orderIds": ["A"], "mode": mode});
    world.api().accept(&cancel).await?;
    started(&world, "C").await?;
    // The Director measures its own machine itself.
    let enabled = world.subagent_item("ALFA-0", "ALFA", "ALFA", false);
    world.api().change_items(&[enabled]).await?;
    deploy(&world, "own", &[job_of("OWN", ":")]).await?;
    assert_eq!(run(&world, "own", "OWN", 1).await?, ["ALFA-0"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s148_an_order_keeps_to_its_subagent_over_a_restart_of_the_director() -> Result<()> {
    let mut world = three_subagents().await?;
    let all = [("SUB-1", "1"), ("SUB-2", "1"), ("SUB-3", "1")];
    world.api().change_items(&[cluster("ANY", &all)]).await?;
    let gate = world.tmp().join("gate");
    let waits = format!("until [ -e {} ]; do sleep 0.05; done", gate.display());
    let block = json!({"TYPE": "StickySubagent", "agentPath": "ALFA", "subagentBundleIdExpr": "'ANY'", "subworkflow": {
        "instructions": [job("ALFA", ":"), job("ALFA", &waits), job("ALFA", ":"), job_of("ANY", ":"), job("ALFA", ":")],
    }});
    deploy(&world, "w", &[block]).await?;
    deploy(&world, "other", &[job_of("ANY", ":")]).await?;
    add(&world, "ST", "w").await?;
    let first = started(&world, "ST").await?;
    assert_eq!(first.json["stick"], true, "{first}");
    let place = text(&first.json["subagentId"]);
    world.await_nth("ST", "OrderProcessingStarted", 2).await?;
    // Others take their turns meanwhile, so that the next in turn would be another one.
    run(&world, "other", "X", 1).await?;
    let agent = world.node("ALFA");
    ensure!(agent.terminate().await?.success(), "ALFA ends in order");
    agent.start_ready().await?;
    world.open_gate("gate")?;
    world.await_event("ST", "OrderFinished").await?;
    let history = world.history().of_order("ST");
    let starts = history
        .iter()
        .filter(|seen| seen.kind == "OrderProcessingStarted");
    let places: Vec<String> = starts.map(|seen| text(&seen.json["subagentId"])).collect();
    assert_eq!(places, vec![place; 5]);
    assert_eq!(count(&world, "ST", "OrderStickySubagentLeaved"), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s145_a_drained_subagent_is_told_to_be_idle_when_its_jobs_have_ended() -> Result<()> {
    let world = three_subagents().await?;
    let all = [("SUB-1", "2"), ("SUB-2", "1")];
    world.api().change_items(&[cluster("PAIR", &all)]).await?;
    let gate = world.tmp().join("gate");
    let waits = format!(
        "echo READY; until [ -e {} ]; do sleep 0.05; done",
        gate.display()
    );
    deploy(&world, "w", &[job_of("PAIR", &waits)]).await?;
    deploy(&world, "short", &[job_of("PAIR", ":")]).await?;
    add(&world, "A", "w").await?;
    world.await_stdout("A", "READY", 1).await?;
    let busy = world.command_line(&["subagent", "drain", "SUB-1", "--timeout", "1s"])?;
    assert_eq!(busy.status.code(), Some(4), "{busy:?}");
    assert_eq!(
        run(&world, "short", "B", 1).await?,
        ["SUB-2"],
        "it gets no more jobs"
    );
    let seen = shown(&world, "SUB-1")?;
    assert_eq!(
        (&seen["disabled"], &seen["processCount"]),
        (&json!(true), &json!(1)),
        "{seen}"
    );
    world.open_gate("gate")?;
    let told = command(&world, &["subagent", "drain", "SUB-1"])?;
    assert_eq!(told, "SUB-1  idle\n");
    assert_eq!(
        count(&world, "A", "OrderProcessed"),
        1,
        "its job has ended by itself"
    );
    let before = attachments(&world, "SUB-1");
    assert_eq!(
        command(&world, &["subagent", "enable", "SUB-1"])?,
        "SUB-1  enabled\n"
    );
    await_attachment(&world, "SUB-1", before).await?;
    assert_eq!(run(&world, "short", "C", 1).await?, ["SUB-1"]);
    let list = command(&world, &["subagent", "list"])?;
    assert!(list.contains("SUB-1") && list.contains("PAIR"), "{list}");
    let unknown = world.command_line(&["subagent", "show", "SUB-9"])?;
    assert_eq!(unknown.status.code(), Some(1), "{unknown:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s139_the_jobs_of_a_reset_subagent_are_killed_and_repeated_at_the_next_one() -> Result<()> {
    let mut world = three_subagents().await?;
    let pair = [("SUB-1", "2"), ("SUB-2", "1")];
    world.api().change_items(&[cluster("PAIR", &pair)]).await?;
    deploy(&world, "w", &[job_of("PAIR", "echo $$; sleep 600")]).await?;
    add(&world, "A", "w").await?;
    world.await_event("A", "OrderStdoutWritten").await?;
    let first: i32 = world.history().stdout_of("A").trim().parse()?;
    command(&world, &["subagent", "reset", "SUB-1"])?;
    let again = world.await_nth("A", "OrderProcessingStarted", 2).await?;
    assert_eq!(again.json["subagentId"], "SUB-2", "S139: {again}");
    ensure!(
        !std::path::Path::new(&format!("/proc/{first}")).exists(),
        "the first process is gone before the second one is started"
    );
    world.await_event("SUB-1", "SubagentReset").await?;
    let status = world.node("SUB-1").wait_end(PATIENCE).await?;
    assert_eq!(status.code(), Some(97), "to be started again");
    world.node("SUB-1").start_ready().await?;
    world.await_nth("SUB-1", "SubagentCoupled", 2).await?;
    deploy(&world, "short", &[job_of("PAIR", ":")]).await?;
    assert_eq!(run(&world, "short", "B", 1).await?, ["SUB-1"]);
    let refused = world.command_line(&["subagent", "reset", "ALFA-0"])?;
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s142_a_subagent_that_gets_another_address_leaves_nothing_running_at_the_old_one()
-> Result<()> {
    let mut world = three_subagents().await?;
    deploy(
        &world,
        "w",
        &[crate::job_at("ALFA", "SUB-1", "echo $$; sleep 600")],
    )
    .await?;
    add(&world, "A", "w").await?;
    world.await_event("A", "OrderStdoutWritten").await?;
    let first: i32 = world.history().stdout_of("A").trim().parse()?;
    // SUB-3 gives its process to SUB-1.
    let delete = json!({"TYPE": "DeleteSimple", "path": "Subagent:SUB-3"});
    world.api().change_items(&[delete]).await?;
    let ended = world.node("SUB-3").wait_end(PATIENCE).await?;
    assert_eq!(
        ended.code(),
        Some(97),
        "a Subagent that is removed begins anew"
    );
    world.node("SUB-3").start_ready().await?;
    let moved = world.subagent_item("SUB-1", "ALFA", "SUB-3", false);
    world.api().change_items(&[moved]).await?;
    let lost = world.await_event("A", "OrderProcessed").await?;
    let reason = &lost.json["outcome"]["reason"];
    assert_eq!(reason["TYPE"], "ProcessLost", "{lost}");
    world.await_nth("A", "OrderProcessingStarted", 2).await?;
    ensure!(
        !std::path::Path::new(&format!("/proc/{first}")).exists(),
        "S142: the first process is gone before the second one is started"
    );
    let is_there = || async {
        let seen = shown(&world, "SUB-1")?;
        Ok(seen["uri"] == world.url_of("SUB-3") && seen["couplingState"] == "Coupled")
    };
    world
        .await_that("SUB-1 at its new address", is_there)
        .await?;
    tokio::time::timeout(Duration::from_secs(30), async {
        while world.history().stdout_of("A").lines().count() < 2 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .context("the job runs at the new address")
}
