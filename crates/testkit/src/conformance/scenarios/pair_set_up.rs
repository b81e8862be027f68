//! Controller pairs: how a single Controller becomes one, what does not fit, what is great, and what is encrypted.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::pair_stage::{
    add, await_told, count, coupled, coupled_with, deploy, events, plan, remains_active, run,
    same_journals, until,
};
use crate::conformance::case::Case;
use crate::conformance::driver::operations;
use crate::world::{Pair, PairPlan};

/// CC-10.
pub(crate) async fn appointed_late(case: &Case) -> Result<()> {
    let mut plan = plan();
    // So that the beginning of the log can be let go.
    let settings = ["release-events-users=admin", "segment=1KiB"];
    plan.settings.extend(settings.map(str::to_owned));
    let mut pair = Pair::start_alone(plan).await?;
    deploy(&pair, case).await?;
    run(&pair, "alone").await?;
    let first = pair.journal(0)?.first().context("a journal")?.clone();
    let accept = async |command| pair.api().await?.accept(&command).await;
    accept(json!({"TYPE": "TakeSnapshot"})).await?;
    let last = events(&pair).await?;
    let last = last.last().context("there are events")?["eventId"].clone();
    accept(json!({"TYPE": "ReleaseEvents", "untilEventId": last})).await?;
    ensure!(
        pair.members[0].terminate().await?.success(),
        "it ends in order"
    );
    pair.members[0].start_ready().await?;
    until(&pair, "the first journal file is gone", || async {
        Ok(pair.journal(0)?.first() != Some(&first))
    })
    .await?;

    pair.members[1].start_ready().await?;
    let refused = pair.api_of(1).get("/controller/api/order").await?;
    ensure!(
        refused
            .as_ref()
            .is_err_and(|refused| refused.code.as_deref() == Some("ClusterNodeIsNotActive")),
        "{refused:?}"
    );
    let state = pair.state(1).await?;
    ensure!(
        state["TYPE"] == "Empty" && state["standing"] == "joining",
        "{state}"
    );
    pair.start_watch()?;
    pair.appoint().await?;
    await_written(&pair, "ClusterCoupled", 1).await?;
    await_written(&pair, "ClusterWatchRegistered", 1).await?;
    run_any(&pair, "A").await?;
    has_end_of(&pair, "A").await?;

    pair.members[1].kill()?;
    await_written(&pair, "ClusterPassiveLost", 1).await?;
    pair.move_member(1)?;
    pair.appoint().await?;
    pair.members[1].start_ready().await?;
    await_written(&pair, "ClusterCoupled", 2).await?;
    let told = written(&pair)?;
    let kinds: Vec<&str> = told.iter().map(String::as_str).collect();
    let from = kinds.iter().position(|kind| *kind == "ClusterPassiveLost");
    let begin = from.context("it was lost")?;
    ensure!(
        kinds.get(begin..begin + 2) == Some(&["ClusterPassiveLost", "ClusterSettingUpdated"]),
        "{kinds:?}"
    );
    let uri = pair.members[1].url();
    for member in [0, 1] {
        until(&pair, "the new setting", || async {
            let state = pair.state(member).await?;
            Ok(state["setting"]["idToUri"]["Backup"] == *uri)
        })
        .await?;
    }
    // The watch is told the new address by whoever starts it.
    pair.kill_watch()?;
    pair.start_watch()?;
    await_vote(&pair).await?;
    pair.members[0].kill()?;
    ensure!(pair.active().await? == 1, "it follows from its new address");
    run_any(&pair, "moved").await
}

/// Adds an order and waits until it has finished.
async fn run_any(pair: &Pair, id: &str) -> Result<()> {
    add(pair, id, 0).await?;
    pair.await_finished(&[id.to_owned()]).await
}

/// What the cluster has told, from the Primary's disk: the beginning of the log is gone for readers.
fn written(pair: &Pair) -> Result<Vec<String>> {
    let lines = pair.journal(0)?;
    let events = lines
        .iter()
        .map(|line| serde_json::from_str::<Value>(line))
        .collect::<Result<Vec<_>, _>>()?;
    let kinds = events.iter().filter_map(|event| event["TYPE"].as_str());
    Ok(kinds
        .filter(|kind| kind.starts_with("Cluster"))
        .map(str::to_owned)
        .collect())
}

async fn await_written(pair: &Pair, wanted: &str, times: usize) -> Result<()> {
    until(pair, &format!("{times} × {wanted}"), || async {
        Ok(written(pair)?.iter().filter(|kind| *kind == wanted).count() >= times)
    })
    .await
}

/// Waits until a watch with a vote is connected.
async fn await_vote(pair: &Pair) -> Result<()> {
    until(pair, "the vote of the watch", || async {
        let state = pair.state(pair.active().await?).await?;
        let others = state["others"].as_array().context("others")?;
        Ok(others.iter().any(|other| {
            other["isWatch"] == true && other["isConnected"] == true && other["hasVote"] == true
        }))
    })
    .await
}

/// Waits until both disks have the end of an order.
async fn has_end_of(pair: &Pair, order: &str) -> Result<()> {
    let key = format!("\"Key\":\"{order}\"");
    let is_end = |line: &String| line.contains("\"OrderFinished\"") && line.contains(&key);
    until(
        pair,
        &format!("the end of {order} on both disks"),
        async || Ok(pair.journal(0)?.iter().any(is_end) && pair.journal(1)?.iter().any(is_end)),
    )
    .await
}

/// CC-11.
pub(crate) async fn wrong_roles(case: &Case) -> Result<()> {
    // A Backup that was not told to join and by whom has begun a Controller of its own.
    let mut pair = Pair::start_alone(plan()).await?;
    deploy(&pair, case).await?;
    let joining = pair.members[1].arguments.clone();
    let is_alone = |argument: &String| {
        !argument.starts_with("cluster.join") && !argument.starts_with("cluster.members")
    };
    let mut alone: Vec<String> = Vec::new();
    for argument in &joining {
        if is_alone(argument) {
            alone.push(argument.clone());
        } else {
            alone.pop();
        }
    }
    pair.members[1].arguments = alone;
    pair.members[1].start_ready().await?;
    until(&pair, "a Controller of its own", || async {
        Ok(pair.state(1).await?["mayAnswer"] == true)
    })
    .await?;
    ensure!(
        pair.members[1].terminate().await?.success(),
        "it ends in order"
    );
    // It joins too late: it has a log.
    pair.members[1].arguments = joining;
    pair.members[1].start_ready().await?;
    let before = pair.journal(1)?;
    pair.start_watch()?;
    pair.appoint().await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let state = pair.state(0).await?;
    ensure!(
        state["TYPE"] == "NodesAppointed" && state["mayAnswer"] == true,
        "{state}"
    );
    run(&pair, "alone").await?;
    let after = pair.journal(1)?;
    ensure!(
        after.starts_with(&before),
        "the other Controller keeps its own log"
    );
    ensure!(count(&pair, "ClusterCoupled").await? == 0, "never coupled");
    drop(pair);

    // Whoever has a log keeps it, whether it is told to join or not.
    let mut pair = coupled(case).await?;
    let joins = ["--set", "cluster.join=true"].map(str::to_owned);
    pair.members[0].arguments.extend(joins);
    ensure!(
        pair.members[0].terminate().await?.success(),
        "it ends in order"
    );
    pair.members[0].start_ready().await?;
    await_told(&pair, "ClusterCoupled", 2).await?;
    remains_active(&pair, 1, Duration::from_millis(500)).await?;
    run(&pair, "B").await?;
    same_journals(&pair).await
}

/// CC-20. Return values may have 1 MiB here, so each job returns that much; the order's own value has 9 MB.
pub(crate) async fn long_lines(case: &Case) -> Result<()> {
    const ARGUMENT: usize = 9_000_000;
    const RESULT: usize = 1_000_000;
    let settings = [
        "command-size-max=20MiB",
        "stream-size-max=20MiB",
        "cluster.heartbeat=500ms",
        "cluster.silence=8s",
    ];
    let plan = PairPlan {
        settings: settings.map(str::to_owned).to_vec(),
        ..plan()
    };
    let mut case = case.clone();
    let script = format!(
        "{{ printf result=; head -c {RESULT} /dev/zero | tr '\\0' r; echo; }} >>\"$MAINSPRING_RETURN_VALUES\""
    );
    let items = json!(case.given["items"]).to_string().replace(
        "\"script\":\"big\"",
        &format!("\"script\":{}", json!(script)),
    );
    case.given["items"] = serde_json::from_str(&items)?;
    let pair = coupled_with(&case, plan).await?;
    let order =
        json!({"id": "BIG", "workflowPath": "cl/big", "arguments": {"ARG": "a".repeat(ARGUMENT)}});
    pair.api().await?.add_order(&order).await?;
    pair.await_finished(&["BIG".to_owned()]).await?;
    ensure!(
        pair.state(0).await?["TYPE"] == "Coupled" && count(&pair, "ClusterPassiveLost").await? == 0,
        "the members are still coupled"
    );
    same_journals(&pair).await?;
    let journal = pair.journal(1)?;
    let with = |text: &str, length: usize| {
        let wanted = text.repeat(length);
        journal.iter().filter(|line| line.contains(&wanted)).count()
    };
    ensure!(with("a", ARGUMENT) >= 1, "the order's value");
    ensure!(with("r", RESULT) == 2, "both results");
    Ok(())
}

/// CC-21.
pub(crate) async fn items_over_restarts_and_tls(case: &Case) -> Result<()> {
    for is_tls in [false, true] {
        let plan = PairPlan { is_tls, ..plan() };
        let mut pair = coupled_with(case, plan).await?;
        let resource = json!({"TYPE": "JobResource", "path": "R", "variables": {"x": "'a'"}});
        let mut workflow = case.items()[0].clone();
        workflow["jobResourcePaths"] = json!(["R"]);
        workflow["path"] = json!("cl/s");
        let job = &mut workflow["instructions"][0]["job"];
        job["agentPath"] = json!("A");
        job["executable"] = json!({
            "TYPE": "ShellScriptExecutable", "script": "echo \"FROM=$FROM\"", "env": {"FROM": "JobResource:R:x"},
        });
        pair.deploy(&operations(&[resource, workflow])).await?;
        uses_resource(&pair, "first").await?;
        for member in 0..2 {
            pair.members[member].kill()?;
        }
        pair.agent.kill()?;
        pair.kill_watch()?;
        for member in 0..2 {
            pair.members[member].start()?;
        }
        pair.agent.start()?;
        pair.start_watch()?;
        await_told(&pair, "ClusterCoupled", 2).await?;
        uses_resource(&pair, "second").await?;
        pair.api()
            .await?
            .accept(&json!({"TYPE": "ClusterSwitchOver"}))
            .await?;
        await_told(&pair, "ClusterCoupled", 3).await?;
        uses_resource(&pair, "third").await?;
        same_journals(&pair).await?;
        for node in pair.members.iter().chain([&pair.agent]) {
            ensure!(!node.log().is_empty(), "{} writes its own log", node.name);
        }
        let asked = pair.api().await?.get("/controller/api/log").await?;
        ensure!(asked.is_err(), "it is not to be had from the Controller");
    }
    Ok(())
}

/// The resource is at its first revision, and a job gets its variable.
async fn uses_resource(pair: &Pair, order: &str) -> Result<()> {
    let item = pair
        .api()
        .await?
        .get("/controller/api/item/JobResource:R")
        .await?;
    let item = item.map_err(|refused| anyhow::anyhow!("{refused}"))?;
    let revision = &item["itemRevision"];
    ensure!(*revision == json!(0), "the resource is {item}");
    pair.add_order(order, "cl/s").await?;
    pair.await_finished(&[order.to_owned()]).await?;
    let events = events(pair).await?;
    let is_output = |event: &&Value| event["Key"] == order && event["TYPE"] == "OrderStdoutWritten";
    let output: String = events
        .iter()
        .filter(is_output)
        .filter_map(|event| event["chunk"].as_str())
        .collect();
    ensure!(output == "FROM=a\n", "{order} wrote {output:?}");
    Ok(())
}
