//! Agents that go and come, and Agents that are not who they should be.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::conformance::case::Case;
use crate::conformance::driver::{Drive, operations, plan_of};
use crate::world::{Api, Node, Part, Seen, World, copy_dir};

/// AG-01.
pub(crate) async fn a_shutdown_with_kill(case: &Case) -> Result<()> {
    let mut drive = Drive::start(case).await?;
    drive.steps(0..2).await?;
    let agent = Api::with_token(&drive.world.node("ALFA").url(), &drive.world.node_token()?)?;
    let shut_down = json!({"TYPE": "ShutDown", "processSignal": "SIGKILL"});
    let answer = agent
        .post(
            "/agent/api/command",
            "application/json",
            shut_down.to_string(),
        )
        .await?;
    ensure!(answer.is_ok(), "{answer:?}");
    let status = drive
        .world
        .node("ALFA")
        .wait_end(Duration::from_secs(15))
        .await?;
    ensure!(status.success(), "ALFA ends in order, not with {status}");
    drive.world.node("ALFA").start_ready().await?;
    drive.world.await_nth("L", "OrderStdoutWritten", 2).await?;
    drive.step_now(&case.when[case.when.len() - 1]).await?;
    drive.world.await_event("L", "OrderCancelled").await?;
    drive.settle().await?;

    let told: Vec<String> = case.then["global sequence"]
        .as_array()
        .context("no sequence")?
        .iter()
        .filter_map(|line| line.as_str().map(str::to_owned))
        .collect();
    let events = drive.world.history().all();
    let of_order: Vec<&Seen> = events
        .iter()
        .filter(|seen| seen.key == "L" && seen.is_of_order())
        .collect();
    let told_of_order: Vec<&String> = told.iter().filter(|line| line.starts_with("L ")).collect();
    let kinds = |seen: &[&Seen]| {
        seen.iter()
            .map(|seen| seen.kind.clone())
            .collect::<Vec<_>>()
    };
    ensure!(
        of_order.len() == told_of_order.len(),
        "L went through {:?}, told is {told_of_order:?}",
        kinds(&of_order)
    );
    for (seen, told) in of_order.iter().zip(&told_of_order) {
        let mut words = told.split(' ').skip(1);
        ensure!(
            words.next() == Some(&seen.kind),
            "{seen} where the case tells {told}"
        );
        ensure!(
            !told.contains("ProcessLost") || seen.to_string().contains("ProcessLost"),
            "{seen}: {told}"
        );
        ensure!(
            !told.contains("Killed SIGKILL") || seen.to_string().contains("\"returnCode\":137"),
            "{seen}: {told}"
        );
    }
    // The life of Agent and Subagent around it, in this order; what else they say is not told.
    let mut rest = events.iter();
    let life = [
        "SubagentShutdownStarted",
        "SubagentShutdown",
        "AgentShutDown",
        "AgentReady",
    ];
    for kind in life {
        rest.find(|seen| seen.kind == kind)
            .with_context(|| format!("{kind} is missing or comes too early"))?;
    }
    for kind in ["SubagentRestarted", "SubagentDedicated"] {
        let is_there = events
            .iter()
            .any(|seen| seen.key == "ALFA-0" && seen.kind == kind);
        ensure!(is_there, "ALFA-0 has no {kind}");
    }
    Ok(())
}

async fn coupling_problem(world: &World, after: u64) -> Result<Seen> {
    world
        .history()
        .wait_for(Duration::from_secs(15), |events| {
            events
                .iter()
                .find(|seen| seen.event_id > after && seen.kind == "AgentCouplingFailed")
                .cloned()
        })
        .await
        .with_context(|| world.lament("AgentCouplingFailed"))
}

/// AG-05. The journal is a directory of segments and snapshots here: all of it is moved, or replaced by an older copy.
pub(crate) async fn a_journal_that_does_not_fit(case: &Case) -> Result<()> {
    let mut drive = Drive::start(case).await?;
    drive.deploy(&[quick("ag/one")]).await?;
    drive.add_plain("FIRST", "ag/one").await?;
    drive.world.await_event("FIRST", "OrderFinished").await?;
    let data = drive.world.node("ALFA").data.clone();
    let (state, old, new) = (
        data.join("state"),
        data.join("old-state"),
        data.join("new-state"),
    );

    // An older copy: the Agent does not know the events that the Controller has taken over from it.
    drive.world.node("ALFA").terminate().await?;
    copy_dir(&state, &old)?;
    drive.world.node("ALFA").start_ready().await?;
    drive.add_plain("SECOND", "ag/one").await?;
    drive.world.await_event("SECOND", "OrderFinished").await?;
    drive.world.node("ALFA").terminate().await?;
    std::fs::rename(&state, &new)?;
    copy_dir(&old, &state)?;
    drive.settle().await?;
    let before = drive.world.history().last_event_id();
    drive.world.node("ALFA").start_ready().await?;
    let failed = coupling_problem(&drive.world, before).await?;
    ensure!(failed.to_string().contains("UnknownEventId"), "{failed}");

    // The right one again.
    drive.world.node("ALFA").terminate().await?;
    std::fs::remove_dir_all(&state)?;
    std::fs::rename(&new, &state)?;
    drive.world.node("ALFA").start_ready().await?;
    drive.add_plain("THIRD", "ag/one").await?;
    drive.world.await_event("THIRD", "OrderFinished").await?;

    // An empty one.
    drive.world.node("ALFA").terminate().await?;
    std::fs::rename(&state, &new)?;
    drive.settle().await?;
    let before = drive.world.history().last_event_id();
    drive.world.node("ALFA").start_ready().await?;
    let failed = coupling_problem(&drive.world, before).await?;
    ensure!(failed.to_string().contains("AgentNotDedicated"), "{failed}");

    // One of another life: of an Agent that another Controller has dedicated.
    drive.world.node("ALFA").terminate().await?;
    std::fs::remove_dir_all(&state)?;
    let other = Drive::start(case).await?;
    other.deploy(&[quick("ag/one")]).await?;
    other
        .world
        .api()
        .add_order(&json!({"id": "OTHER", "workflowPath": "ag/one"}))
        .await?;
    other.world.await_event("OTHER", "OrderFinished").await?;
    let foreign = other.world.node_ref("ALFA")?.data.join("state");
    drop_after_copy(other, &foreign, &state).await?;
    drive.settle().await?;
    let before = drive.world.history().last_event_id();
    drive.world.node("ALFA").start_ready().await?;
    let failed = coupling_problem(&drive.world, before).await?;
    ensure!(
        failed.to_string().contains("AgentRunIdMismatch"),
        "{failed}"
    );
    Ok(())
}

async fn drop_after_copy(mut other: Drive<'_>, from: &Path, to: &Path) -> Result<()> {
    other.world.node("ALFA").terminate().await?;
    copy_dir(from, to)
}

/// A workflow with one job that does nothing.
pub(crate) fn quick(path: &str) -> Value {
    json!({
        "TYPE": "Workflow", "path": path,
        "instructions": [{"TYPE": "Execute.Anonymous", "job": {
            "agentPath": "ALFA", "processLimit": 100, "executable": {"TYPE": "ShellScriptExecutable", "script": ":"},
        }}],
    })
}

/// AG-06. The process of a deleted Agent does not end by itself here, and its directory stays until somebody removes it.
pub(crate) async fn adding_and_deleting(case: &Case) -> Result<()> {
    let mut drive = Drive::start_empty(case, plan_of(case)).await?;
    let token = drive.world.dir().join("token").display().to_string();
    let (dir, mark) = (drive.world.dir().to_owned(), drive.world.mark().to_owned());
    let mut agent = Node::new(Part::Agent, "ALFA", &dir, &mark)?;
    agent.arguments = vec!["--name".into(), "ALFA".into(), "--token-file".into(), token];
    agent.start_ready().await?;
    let agent_ref = json!({"TYPE": "AgentRef", "path": "ALFA", "directors": ["ALFA-0"]});
    let subagent = |uri: &str| json!({"TYPE": "SubagentItem", "id": "ALFA-0", "agentPath": "ALFA", "uri": uri});
    let items = operations(&[agent_ref, subagent(&agent.url()), quick("ag/one")]);
    drive.world.api().change_items(&items).await?;
    drive
        .add(&json!({"id": "FIRST", "workflowPath": "ag/one", "deleteWhenTerminated": true}))
        .await?;
    drive.world.await_event("FIRST", "OrderDeleted").await?;

    let delete_agent = json!({"TYPE": "DeleteSimple", "path": "Agent:ALFA"});
    let refused = drive
        .world
        .api()
        .items(std::slice::from_ref(&delete_agent))
        .await?
        .err();
    let refused = refused.context("deleting the Agent alone is refused")?;
    ensure!(
        refused.message.contains("Subagent:ALFA-0") && refused.message.contains("Workflow:ag/one"),
        "all references are told: {refused}"
    );
    let all = [
        delete_agent,
        json!({"TYPE": "DeleteSimple", "path": "Subagent:ALFA-0"}),
        json!({"TYPE": "RemoveVersioned", "path": "ag/one"}),
    ];
    drive.world.api().change_items(&all).await?;
    let deleted = drive
        .world
        .history()
        .wait_for(Duration::from_secs(15), |events| {
            let is_gone = |key: &str| {
                events
                    .iter()
                    .any(|seen| seen.kind == "ItemDeleted" && seen.json["key"] == key)
            };
            (is_gone("Agent:ALFA") && is_gone("Subagent:ALFA-0")).then_some(())
        })
        .await;
    deleted.with_context(|| drive.world.lament("ItemDeleted of Agent and Subagent"))?;
    agent.terminate().await?;
    std::fs::remove_dir_all(agent.data.join("state"))?;

    agent.start_ready().await?;
    drive
        .world
        .await_that("adding again is taken", || async {
            Ok(drive.world.api().items(&items).await?.is_ok())
        })
        .await?;
    drive.world.await_nth("ALFA", "AgentDedicated", 2).await?;
    drive.world.await_nth("ALFA", "AgentReady", 2).await?;

    drive.settle().await?;
    let before = drive.world.history().last_event_id();
    let nowhere = operations(&[subagent("http://127.0.0.1:9")]);
    drive.world.api().change_items(&nowhere).await?;
    drive.add_plain("WAITS", "ag/one").await?;
    coupling_problem(&drive.world, before).await?;
    agent.terminate().await?;
    let moved = Node::new(Part::Agent, "MOVED", &dir, &mark)?;
    agent.address = moved.address;
    agent.start_ready().await?;
    drive
        .world
        .api()
        .change_items(&operations(&[subagent(&agent.url())]))
        .await?;
    drive.world.await_event("WAITS", "OrderFinished").await?;
    drive.add_plain("NEW", "ag/one").await?;
    drive.world.await_event("NEW", "OrderFinished").await?;
    Ok(())
}
