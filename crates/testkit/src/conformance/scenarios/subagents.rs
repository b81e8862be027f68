//! Which Subagent runs a job, and what happens when it goes.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::conformance::case::Case;
use crate::conformance::driver::{Drive, plan_of};
use crate::conformance::expectation::View;
use crate::world::{Api, World};

/// Waits until the Controller shows Subagents of ALFA as connected.
pub(crate) async fn coupled(world: &World, subagents: &[&str]) -> Result<()> {
    for subagent in subagents {
        world
            .await_that(&format!("{subagent} is coupled"), || async {
                let state = standing(world.api(), subagent).await?;
                Ok(state.contains("Coupled") && !state.contains("Failed"))
            })
            .await?;
    }
    Ok(())
}

async fn standing(api: &Api, subagent: &str) -> Result<String> {
    let Ok(list) = api.get("/controller/api/agent").await? else {
        return Ok(String::new());
    };
    let agents = list["agents"].as_array().into_iter().flatten();
    let mut subagents =
        agents.flat_map(|agent| agent["subagents"].as_array().into_iter().flatten());
    let found = subagents.find(|json| json["id"] == subagent);
    Ok(found.map_or_else(String::new, Value::to_string))
}

/// Adds orders and answers on which Subagents they ran, in the order of their starts.
async fn run_orders(drive: &mut Drive<'_>, workflow: &str, ids: &[String]) -> Result<Vec<String>> {
    let mut subagents = Vec::new();
    for id in ids {
        drive.add_plain(id, workflow).await?;
        let started = drive
            .world
            .await_event(id, "OrderProcessingStarted")
            .await?;
        subagents.push(
            started.json["subagentId"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        );
        drive.world.await_event(id, "OrderFinished").await?;
    }
    Ok(subagents)
}

fn ids(prefix: &str, count: usize) -> Vec<String> {
    (1..=count)
        .map(|number| format!("{prefix}-{number}"))
        .collect()
}

fn counted(subagents: &[String]) -> Value {
    let mut counts = BTreeMap::new();
    for subagent in subagents {
        *counts.entry(subagent.as_str()).or_insert(0) += 1;
    }
    json!(counts)
}

/// SA-01. Which of two equals gets the odd one is not told to be the third, only how many each gets.
pub(crate) async fn a_bundle(case: &Case) -> Result<()> {
    let mut drive = Drive::start(case).await?;
    let all = ["S-A", "S-B", "S-C", "S-D"];
    coupled(&drive.world, &all).await?;
    let told = &case.then["count per Subagent"];
    let first = run_orders(&mut drive, "sub/b", &ids("ALL", 3)).await?;
    let first = counted(&first);
    ensure!(
        first == told[0] || first == json!({"S-C": 1, "S-D": 2}),
        "{first}, told is {}",
        told[0]
    );
    let started = drive
        .world
        .await_event("ALL-1", "OrderProcessingStarted")
        .await?;
    ensure!(started.json["subagentBundleId"] == "BUN", "{started}");

    let agent = drive.world.node("ALFA");
    ensure!(agent.terminate().await?.success(), "ALFA ends in order");
    agent.start_ready().await?;
    for subagent in all {
        let couplings = drive
            .world
            .history()
            .all()
            .iter()
            .filter(|seen| seen.key == subagent && seen.kind == "SubagentCoupled")
            .count();
        drive
            .world
            .await_nth(subagent, "SubagentCoupled", couplings.max(2))
            .await?;
    }

    drive.world.node("S-D").kill()?;
    drive
        .world
        .await_event("S-D", "SubagentCouplingFailed")
        .await?;
    let third = counted(&run_orders(&mut drive, "sub/b", &ids("NO-D", 3)).await?);
    ensure!(third == told[2], "{third}, told is {}", told[2]);
    drive.world.node("S-C").kill()?;
    drive
        .world
        .await_event("S-C", "SubagentCouplingFailed")
        .await?;
    let fourth = counted(&run_orders(&mut drive, "sub/b", &ids("NO-C", 3)).await?);
    ensure!(fourth == told[3], "{fourth}, told is {}", told[3]);
    drive
        .deploy(&[
            json!({"TYPE": "SubagentBundle", "id": "BUN", "subagentToPriority": {"S-A": "1"}}),
        ])
        .await?;
    drive
        .world
        .history()
        .wait_for(Duration::from_secs(10), |events| {
            events
                .iter()
                .find(|seen| {
                    seen.kind == "ItemAttached"
                        && seen.to_string().contains("BUN")
                        && seen.json["itemRevision"] == 1
                })
                .cloned()
        })
        .await
        .context("the changed bundle is attached")?;
    let last = counted(&run_orders(&mut drive, "sub/b", &ids("ONLY-A", 1)).await?);
    ensure!(last == told[5], "{last}, told is {}", told[5]);

    let mut workflow = case.items()[1].clone();
    workflow["path"] = json!("sub/id");
    workflow["instructions"][0]["job"]["subagentBundleIdExpr"] = json!("'S-B'");
    drive.deploy(&[workflow]).await?;
    let named = run_orders(&mut drive, "sub/id", &ids("ID", 1)).await?;
    ensure!(named == ["S-B"], "{named:?}");
    let started = drive
        .world
        .await_event("ID-1", "OrderProcessingStarted")
        .await?;
    ensure!(started.json.get("subagentBundleId").is_none(), "{started}");
    Ok(())
}

async fn set_disabled(drive: &Drive<'_>, id: &str, is_disabled: bool) -> Result<()> {
    let node = if id == "ALFA-0" { "ALFA" } else { id };
    let operation = drive.world.subagent_item(id, "ALFA", node, is_disabled);
    let before = attachments(drive, id);
    drive.world.api().change_items(&[operation]).await?;
    drive
        .world
        .history()
        .wait_for(Duration::from_secs(10), |events| {
            let key = format!("Subagent:{id}");
            let count = events
                .iter()
                .filter(|seen| seen.kind == "ItemAttached" && seen.json["key"] == key)
                .count();
            (count > before).then_some(())
        })
        .await
        .with_context(|| format!("the changed {id} is attached"))
}

fn attachments(drive: &Drive<'_>, id: &str) -> usize {
    let key = format!("Subagent:{id}");
    let all = drive.world.history().all();
    all.iter()
        .filter(|seen| seen.kind == "ItemAttached" && seen.json["key"] == key)
        .count()
}

/// SA-03. With whom a round begins is left open; everybody's turn comes.
pub(crate) async fn in_turn(case: &Case) -> Result<()> {
    let mut drive = Drive::start(case).await?;
    coupled(&drive.world, &["ALFA-0", "S-A", "S-B"]).await?;
    let six = run_orders(&mut drive, "sub/any", &ids("SIX", 6)).await?;
    ensure!(
        counted(&six) == json!({"ALFA-0": 2, "S-A": 2, "S-B": 2}),
        "{six:?}"
    );
    ensure!(six[..3] == six[3..], "in the same turn again: {six:?}");
    set_disabled(&drive, "ALFA-0", true).await?;
    let four = run_orders(&mut drive, "sub/any", &ids("FOUR", 4)).await?;
    ensure!(counted(&four) == json!({"S-A": 2, "S-B": 2}), "{four:?}");
    ensure!(four[..2] == four[2..], "in turn: {four:?}");
    set_disabled(&drive, "S-A", true).await?;
    let two = run_orders(&mut drive, "sub/any", &ids("B", 2)).await?;
    ensure!(two == ["S-B", "S-B"], "{two:?}");
    set_disabled(&drive, "S-A", false).await?;
    set_disabled(&drive, "S-B", true).await?;
    let two = run_orders(&mut drive, "sub/any", &ids("A", 2)).await?;
    ensure!(two == ["S-A", "S-A"], "{two:?}");
    set_disabled(&drive, "S-A", true).await?;
    drive.add_plain("WAITS", "sub/any").await?;
    drive.world.await_event("WAITS", "OrderAttached").await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let all = drive.world.history().of_order("WAITS");
    ensure!(
        !all.iter().any(|seen| seen.kind == "OrderProcessingStarted"),
        "nobody takes it"
    );
    set_disabled(&drive, "S-A", false).await?;
    let started = drive
        .world
        .await_event("WAITS", "OrderProcessingStarted")
        .await?;
    ensure!(started.json["subagentId"] == "S-A", "{started}");
    drive.world.await_event("WAITS", "OrderFinished").await?;
    Ok(())
}

/// SA-05. B needs no second slot: it waits for the Subagent or for A.
pub(crate) async fn a_lost_process(case: &Case) -> Result<()> {
    let mut drive = Drive::start(case).await?;
    drive.steps(0..2).await?;
    drive.world.node("S-A").kill()?;
    drive.add_plain("B", "sub/g").await?;
    drive.world.node("S-A").start_ready().await?;
    drive.world.open_gate("g1")?;
    drive.judge_events().await?;
    drive.world.await_event("B", "OrderFinished").await?;

    // The same when the Director is restarted at the same time.
    std::fs::remove_file(drive.world.tmp().join("g1"))?;
    drive.add_plain("BOTH", "sub/g").await?;
    drive
        .world
        .await_event("BOTH", "OrderStdoutWritten")
        .await?;
    drive.world.node("S-A").kill()?;
    drive.world.node("ALFA").kill()?;
    drive.world.node("ALFA").start()?;
    drive.world.node("S-A").start()?;
    drive
        .world
        .await_nth("BOTH", "OrderStdoutWritten", 2)
        .await?;
    drive.world.open_gate("g1")?;
    let mut told = case.then["events"]["A"].clone();
    let list = told.as_array_mut().context("a list")?;
    list.retain(|event| event.is_object() || event.as_str().is_some());
    drive.judge_order("BOTH", View::Whole, &told).await
}

/// SA-06.
pub(crate) async fn a_director_restart(case: &Case) -> Result<()> {
    let mut drive = Drive::start(case).await?;
    drive.steps(0..1).await?;
    drive
        .world
        .await_event("D", "OrderProcessingStarted")
        .await?;
    // Without the Director nobody hears the end of the job; it must not be lost.
    drive.world.await_event("D", "OrderStdoutWritten").await?;
    let agent = drive.world.node("ALFA");
    ensure!(agent.terminate().await?.success(), "ALFA ends in order");
    drive.world.open_gate("g1")?;
    tokio::time::sleep(Duration::from_millis(400)).await;
    let all = drive.world.history().of_order("D");
    ensure!(
        !all.iter().any(|seen| seen.kind == "OrderProcessed"),
        "nobody knows of the end yet"
    );
    drive.world.node("ALFA").start_ready().await?;
    drive.world.await_event("D", "OrderFinished").await?;
    drive.settle().await?;
    let all = drive.world.history().of_order("D");
    let ends: Vec<_> = all
        .iter()
        .filter(|seen| seen.kind == "OrderProcessed")
        .collect();
    ensure!(
        ends.len() == 1 && ends[0].json["outcome"]["TYPE"] == "Succeeded",
        "{ends:?}"
    );
    let starts = all
        .iter()
        .filter(|seen| seen.kind == "OrderProcessingStarted")
        .count();
    ensure!(starts == 1, "the job was started {starts} times");
    Ok(())
}

async fn item_event(drive: &Drive<'_>, key: &str, kind: &str, nth: usize) -> Result<()> {
    drive
        .world
        .history()
        .wait_for(Duration::from_secs(10), |events| {
            let own = events
                .iter()
                .filter(|seen| seen.kind == kind && seen.json["key"] == key);
            (own.count() >= nth).then_some(())
        })
        .await
        .with_context(|| drive.world.lament(&format!("{kind} of {key}")))
}

/// A Subagent that has been removed ends its process; whoever watches over it starts it again.
async fn begin_anew(drive: &mut Drive<'_>, subagent: &str) -> Result<()> {
    let node = drive.world.node(subagent);
    let status = node.wait_end(Duration::from_secs(10)).await?;
    ensure!(
        status.code() == Some(97),
        "{subagent} is to be started again, and ended with {status}"
    );
    node.start_ready().await
}

/// SA-08.
pub(crate) async fn a_deleted_subagent(case: &Case) -> Result<()> {
    let mut drive = Drive::start(case).await?;
    coupled(&drive.world, &["S-A"]).await?;
    let delete = |id: &str| json!({"TYPE": "DeleteSimple", "path": format!("Subagent:{id}")});
    let add = drive.world.subagent_item("S-A", "ALFA", "S-A", false);
    let key = "Subagent:S-A";

    drive.world.api().change_items(&[delete("S-A")]).await?;
    item_event(&drive, key, "ItemDetachable", 1).await?;
    item_event(&drive, key, "ItemDeleted", 1).await?;
    begin_anew(&mut drive, "S-A").await?;

    drive
        .world
        .api()
        .change_items(std::slice::from_ref(&add))
        .await?;
    drive.add_plain("A", "sub/g").await?;
    drive.world.await_event("A", "OrderStdoutWritten").await?;
    drive.world.api().change_items(&[delete("S-A")]).await?;
    item_event(&drive, key, "ItemDetachable", 2).await?;
    drive.add_plain("B", "sub/g").await?;
    drive.world.await_event("B", "OrderAttached").await?;
    tokio::time::sleep(Duration::from_millis(400)).await;
    let all = drive.world.history().all();
    let detached = all
        .iter()
        .filter(|seen| seen.kind == "ItemDetached" && seen.json["key"] == key)
        .count();
    ensure!(detached == 1, "not detached while A runs");
    let refused = drive
        .world
        .api()
        .items(std::slice::from_ref(&add))
        .await?
        .err();
    let refused = refused.context("adding again is refused while it is being deleted")?;
    ensure!(
        refused.code.as_deref() == Some("ItemIsMarkedForDeletion"),
        "{refused}"
    );
    let b = drive.world.history().of_order("B");
    ensure!(
        !b.iter().any(|seen| seen.kind == "OrderProcessingStarted"),
        "B is not started"
    );
    drive.world.open_gate("g1")?;
    drive.world.await_event("A", "OrderFinished").await?;
    item_event(&drive, key, "ItemDeleted", 2).await?;
    begin_anew(&mut drive, "S-A").await?;
    drive
        .world
        .api()
        .change_items(std::slice::from_ref(&add))
        .await?;
    drive.world.await_event("B", "OrderFinished").await?;

    std::fs::remove_file(drive.world.tmp().join("g1"))?;
    drive.add_plain("C", "sub/g").await?;
    drive.world.await_event("C", "OrderStdoutWritten").await?;
    drive.world.api().change_items(&[delete("S-A")]).await?;
    item_event(&drive, key, "ItemDetachable", 3).await?;
    let agent = drive.world.node("ALFA");
    ensure!(agent.terminate().await?.success(), "ALFA ends in order");
    agent.start_ready().await?;
    // Here the Subagent goes on running the job over the Director's restart, and is deleted after the job has ended.
    drive.world.open_gate("g1")?;
    drive.world.await_event("C", "OrderProcessed").await?;
    item_event(&drive, key, "ItemDeleted", 3).await?;
    begin_anew(&mut drive, "S-A").await?;

    let refused = drive.world.api().items(&[delete("ALFA-0")]).await?.err();
    let refused = refused.context("deleting the Director's own Subagent is refused")?;
    ensure!(
        refused.code.as_deref() == Some("ItemIsStillReferenced"),
        "{refused}"
    );
    Ok(())
}

/// SA-10. S-X is at the address of S-A, which ALFA has; by force BRAVO takes it over.
pub(crate) async fn a_forced_reset(case: &Case) -> Result<()> {
    let mut plan = plan_of(case);
    for agent in &mut plan.agents {
        agent.is_local_disabled = true;
        agent.subagents.clear();
    }
    plan.agents[0].subagents.push("S-A".to_owned());
    let mut drive = Drive::start_empty(case, plan).await?;
    let job = |agent: &str, script: &str| {
        json!({"TYPE": "Execute.Anonymous", "job": {
            "agentPath": agent,
            "executable": {"TYPE": "ShellScriptExecutable", "script": script},
        }})
    };
    let workflow =
        |path: &str, job: Value| json!({"TYPE": "Workflow", "path": path, "instructions": [job]});
    drive
        .deploy(&[
            workflow("sub/alfa", job("ALFA", "echo at-gate; sleep 100")),
            workflow("sub/bravo", job("BRAVO", "echo ran")),
        ])
        .await?;
    drive.add_plain("A", "sub/alfa").await?;
    drive.world.await_event("A", "OrderStdoutWritten").await?;
    let other = drive.world.subagent_item("S-X", "BRAVO", "S-A", false);
    drive.world.api().change_items(&[other]).await?;
    drive.add_plain("B", "sub/bravo").await?;
    drive
        .world
        .await_event("S-X", "SubagentCouplingFailed")
        .await?;
    let reset = |id: &str| json!({"TYPE": "ResetSubagent", "subagentId": id, "force": true});
    drive.world.api().accept(&reset("S-X")).await?;
    drive.world.await_event("S-X", "SubagentReset").await?;
    let lost = drive.world.await_event("A", "OrderProcessed").await?;
    ensure!(
        lost.json["outcome"]["reason"]["TYPE"] == "ProcessLost",
        "the job of ALFA is killed and lost: {lost}"
    );
    let status = drive
        .world
        .node("S-A")
        .wait_end(Duration::from_secs(10))
        .await?;
    ensure!(status.code() == Some(97), "the process ends: {status}");
    // Nobody deletes S-A in time: without that, whoever comes first would take the process.
    let delete = json!({"TYPE": "DeleteSimple", "path": "Subagent:S-A"});
    drive.world.api().accept(&reset("S-A")).await?;
    drive.world.api().change_items(&[delete]).await?;
    item_event(&drive, "Subagent:S-A", "ItemDeleted", 1).await?;
    drive.world.node("S-A").start_ready().await?;
    let started = drive
        .world
        .await_event("B", "OrderProcessingStarted")
        .await?;
    ensure!(started.json["subagentId"] == "S-X", "{started}");
    drive.world.await_event("B", "OrderFinished").await?;
    Ok(())
}

/// SA-11.
pub(crate) async fn an_orderly_shutdown(case: &Case) -> Result<()> {
    let mut drive = Drive::start(case).await?;
    coupled(&drive.world, &["ALFA-0", "S-A"]).await?;
    let ids = ids("L", 4);
    let mut remote = Vec::new();
    for id in &ids {
        drive.add_plain(id, "sub/long").await?;
        let started = drive
            .world
            .await_event(id, "OrderProcessingStarted")
            .await?;
        if started.json["subagentId"] == "S-A" {
            remote.push(id.clone());
        }
        drive.world.await_event(id, "OrderStdoutWritten").await?;
    }
    ensure!(remote.len() == 2, "two of four run on S-A: {remote:?}");
    let subagent = Api::with_token(&drive.world.node("S-A").url(), &drive.world.node_token()?)?;
    let shut_down = json!({"TYPE": "ShutDown", "processSignal": "SIGKILL"});
    let answer = subagent
        .post(
            "/subagent/api/command",
            "application/json",
            shut_down.to_string(),
        )
        .await?;
    ensure!(answer.is_ok(), "{answer:?}");
    for id in &remote {
        drive.world.await_nth(id, "OrderStdoutWritten", 2).await?;
    }
    let kill = json!({"TYPE": "FreshOrStarted", "kill": {"immediately": true}});
    drive
        .world
        .api()
        .accept(&json!({"TYPE": "CancelOrders", "orderIds": ids, "mode": kill}))
        .await?;
    for id in &remote {
        let told = &case.then["events of the orders that were on S-A"];
        drive.judge_order(id, View::Whole, told).await?;
    }
    drive.world.await_event("S-A", "SubagentShutdown").await?;
    let kinds: Vec<String> = drive
        .world
        .history()
        .all()
        .iter()
        .filter(|seen| seen.key == "S-A" && seen.kind.starts_with("SubagentShut"))
        .map(|seen| seen.kind.clone())
        .collect();
    ensure!(json!(kinds) == case.then["Subagent events"], "{kinds:?}");
    let status = drive
        .world
        .node("S-A")
        .wait_end(Duration::from_secs(10))
        .await?;
    ensure!(status.success(), "S-A ends in order, not with {status}");
    without_signal(case).await
}

/// The variant without signal: it waits for the jobs.
async fn without_signal(case: &Case) -> Result<()> {
    let mut drive = Drive::start_empty(case, plan_of(case)).await?;
    let mut item = case.items()[0].clone();
    let gate = drive.world.tmp().join("g1");
    let script = format!(
        "echo STARTED; until [ -e '{}' ]; do sleep 0.1; done",
        gate.display()
    );
    item["instructions"][0]["job"]["executable"]["script"] = json!(script);
    drive.deploy(&[item]).await?;
    coupled(&drive.world, &["ALFA-0", "S-A"]).await?;
    let ids = ids("W", 4);
    for id in &ids {
        drive.add_plain(id, "sub/long").await?;
        drive.world.await_event(id, "OrderStdoutWritten").await?;
    }
    let subagent = Api::with_token(&drive.world.node("S-A").url(), &drive.world.node_token()?)?;
    let answer = subagent
        .post(
            "/subagent/api/command",
            "application/json",
            r#"{"TYPE":"ShutDown"}"#,
        )
        .await?;
    ensure!(answer.is_ok(), "{answer:?}");
    tokio::time::sleep(Duration::from_millis(300)).await;
    ensure!(
        drive.world.node("S-A").try_wait()?.is_none(),
        "it waits for its jobs"
    );
    drive.world.open_gate("g1")?;
    for id in &ids {
        drive.world.await_event(id, "OrderFinished").await?;
        let starts = drive
            .world
            .history()
            .of_order(id)
            .iter()
            .filter(|seen| seen.kind == "OrderProcessingStarted")
            .count();
        ensure!(starts == 1, "{id} was started {starts} times");
    }
    let status = drive
        .world
        .node("S-A")
        .wait_end(Duration::from_secs(10))
        .await?;
    ensure!(status.success(), "S-A ends in order, not with {status}");
    Ok(())
}
