//! Director pairs: an Agent becomes one, loses a Director, is shut down as a whole, and moves.
//!
//! The cases call the Directors' Subagents S-0 (or S-P) and S-1 (or S-B); they are ALFA-0 and ALFA-1 here.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::agents::quick;
use crate::conformance::case::Case;
use crate::conformance::driver::Drive;
use crate::world::{AgentPlan, Api, Node, Part, Plan, Seen, World, second_director};

const AGENT: &str = "ALFA";

/// An Agent with two Directors.
fn plan() -> Plan {
    Plan {
        agents: vec![AgentPlan {
            is_pair: true,
            ..AgentPlan::named(AGENT)
        }],
        // As slow as the cases have it, so that a busy machine is no fault.
        agent_settings: [
            ("subagent-lease", "20s"),
            ("cluster.heartbeat", "200ms"),
            ("cluster.silence", "1s"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .to_vec(),
        ..Plan::default()
    }
}

/// A coupled pair with the items of the case.
async fn coupled(case: &Case) -> Result<Drive<'_>> {
    let drive = Drive::start_empty(case, plan()).await?;
    await_told(&drive.world, "ClusterCoupled", 1).await?;
    drive.deploy(&items(case)?).await?;
    Ok(drive)
}

/// The items of the case, for the second Director's Subagent.
fn items(case: &Case) -> Result<Vec<Value>> {
    let items = json!(case.items()).to_string().replace("'S-1'", "'ALFA-1'");
    Ok(serde_json::from_str(&items)?)
}

/// What the Controller has been told of the pair.
fn told(world: &World) -> Vec<String> {
    let events = world.history().all();
    let of_pair = events
        .iter()
        .filter(|seen| seen.key == AGENT && seen.kind == "AgentMirroredEvent");
    of_pair
        .filter_map(|seen| seen.json["keyedEvent"]["TYPE"].as_str())
        .map(str::to_owned)
        .collect()
}

async fn await_told(world: &World, kind: &str, times: usize) -> Result<()> {
    let what = format!("{times} × {kind} of the Directors");
    let is_told = || async { Ok(told(world).iter().filter(|told| *told == kind).count() >= times) };
    world.await_that(&what, is_told).await
}

/// Waits until the process of a Director says that it is the active one.
async fn active(world: &World, process: &str) -> Result<()> {
    let api = Api::with_token(&world.node_ref(process)?.url(), &world.node_token()?)?;
    let is_active = || async {
        let asked = api.get("/agent/api/cluster");
        let asked = tokio::time::timeout(Duration::from_secs(1), asked).await;
        Ok(matches!(asked, Ok(Ok(Ok(report))) if report["mayAnswer"] == true))
    };
    world
        .await_that(&format!("{process} is active"), is_active)
        .await
}

fn events_of(world: &World, order: &str, kind: &str) -> Vec<Seen> {
    let mut events = world.history().of_order(order);
    events.retain(|seen| seen.kind == kind);
    events
}

/// The first Director is killed while the job of `order` runs at the other one's Subagent: the job notices nothing.
async fn killed_beside_a_job(drive: &mut Drive<'_>, order: &str, failed_over: usize) -> Result<()> {
    drive.world.await_stdout(order, "at-gate", 1).await?;
    drive.world.node(AGENT).kill()?;
    await_told(&drive.world, "ClusterFailedOver", failed_over).await?;
    drive.world.open_gate("g1")?;
    drive.world.await_event(order, "OrderFinished").await?;
    drive.settle().await?;
    let starts = events_of(&drive.world, order, "OrderProcessingStarted");
    ensure!(
        starts.len() == 1 && starts[0].json["subagentId"] == "ALFA-1",
        "{starts:?}"
    );
    let ends = events_of(&drive.world, order, "OrderProcessed");
    ensure!(
        ends.len() == 1 && ends[0].json["outcome"]["TYPE"] == "Succeeded",
        "{ends:?}"
    );
    Ok(())
}

/// AC-02.
pub(crate) async fn a_job_at_the_survivor(case: &Case) -> Result<()> {
    let mut drive = coupled(case).await?;
    drive.steps(0..1).await?;
    killed_beside_a_job(&mut drive, "K", 1).await
}

/// AC-04.
pub(crate) async fn a_second_director(case: &Case) -> Result<()> {
    let mut drive = Drive::in_world(case, World::prepare(plan()).await?);
    let world = &mut drive.world;
    for name in ["controller", AGENT] {
        world.node(name).start()?;
    }
    for name in ["controller", AGENT] {
        world.node(name).wait_ready().await?;
    }
    world.connect()?;
    let alone = [
        json!({"TYPE": "AgentRef", "path": AGENT, "directors": ["ALFA-0"]}),
        json!({"TYPE": "SubagentItem", "id": "ALFA-0", "agentPath": AGENT, "uri": world.url_of(AGENT)}),
    ];
    let gated = |gate: &str| {
        format!(
            "echo at-gate\nuntil [ -e {}/{gate} ]; do sleep 0.1; done",
            world.tmp().display()
        )
    };
    let mut during = quick("ac/during");
    during["instructions"][0]["job"]["executable"]["script"] = json!(gated("g0"));
    let mut there = quick("ac/there");
    let job = &mut there["instructions"][0]["job"];
    job["executable"]["script"] = json!(gated("g1"));
    job["subagentBundleIdExpr"] = json!("'ALFA-1'");
    job["isNotRestartable"] = json!(true);
    drive.deploy(&alone).await?;
    drive.deploy(&[quick("ac/q"), during]).await?;
    drive.add_plain("BEFORE", "ac/q").await?;
    drive.world.await_event("BEFORE", "OrderFinished").await?;
    drive.add_plain("DURING", "ac/during").await?;
    drive.world.await_stdout("DURING", "at-gate", 1).await?;

    let both = drive.world.agent_items();
    drive.world.api().change_items(&both).await?;
    let second = second_director(AGENT);
    drive.world.node(&second).start_ready().await?;
    await_told(&drive.world, "ClusterCoupled", 1).await?;
    let cluster = told(&drive.world);
    ensure!(
        cluster
            == [
                "ClusterNodesAppointed",
                "ClusterWatchRegistered",
                "ClusterCouplingPrepared",
                "ClusterCoupled"
            ],
        "{cluster:?}"
    );
    let attached = |key: &str, revision: u64| {
        drive.world.history().all().iter().any(|seen| {
            seen.kind == "ItemAttached"
                && seen.json["key"] == key
                && seen.json["itemRevision"].as_u64().unwrap_or_default() == revision
        })
    };
    ensure!(attached("Agent:ALFA", 1), "the changed Agent");
    ensure!(attached("Subagent:ALFA-1", 0), "its second Director");
    drive.add_plain("AFTER", "ac/q").await?;
    drive.world.await_event("AFTER", "OrderFinished").await?;
    drive.world.open_gate("g0")?;
    drive.world.await_event("DURING", "OrderFinished").await?;
    let starts = events_of(&drive.world, "DURING", "OrderProcessingStarted");
    ensure!(starts.len() == 1, "not interrupted: {starts:?}");

    drive.deploy(&[there]).await?;
    drive.add_plain("THERE", "ac/there").await?;
    killed_beside_a_job(&mut drive, "THERE", 1).await
}

/// AC-05.
pub(crate) async fn both_reset(case: &Case) -> Result<()> {
    let mut drive = coupled(case).await?;
    drive.steps(0..3).await?;
    drive.world.await_event(AGENT, "AgentReset").await?;
    drive.world.await_event("A", "OrderFailed").await?;
    // Nothing of the former life is left at either of them: the next one is another, and a pair of its own.
    await_told(&drive.world, "ClusterCoupled", 2).await?;
    let lives: Vec<_> = drive
        .world
        .history()
        .all()
        .into_iter()
        .filter(|seen| seen.key == AGENT && seen.kind == "AgentDedicated")
        .map(|seen| seen.json["agentRunId"].to_string())
        .collect();
    ensure!(lives.len() == 2 && lives[0] != lives[1], "{lives:?}");
    drive.deploy(&[quick("ac/q")]).await?;
    drive.add_plain("AFTER", "ac/q").await?;
    drive.world.await_event("AFTER", "OrderFinished").await?;
    drive.world.node(AGENT).kill()?;
    active(&drive.world, &second_director(AGENT)).await
}

/// AC-07. The active Director hands over before it goes, so no `ClusterActiveNodeShutDown` is needed to keep the other one from following.
pub(crate) async fn both_shut_down(case: &Case) -> Result<()> {
    let mut drive = coupled(case).await?;
    drive.deploy(&[quick("ac/q")]).await?;
    drive.add_plain("BEFORE", "ac/q").await?;
    drive.world.await_event("BEFORE", "OrderFinished").await?;
    let second = second_director(AGENT);
    let status = drive.world.node(AGENT).terminate().await?;
    ensure!(status.success(), "the Primary ends in order: {status}");
    await_told(&drive.world, "ClusterSwitchedOver", 1).await?;
    active(&drive.world, &second).await?;
    let status = drive.world.node(&second).terminate().await?;
    ensure!(status.success(), "the Backup ends in order: {status}");
    drive.world.node(&second).start_ready().await?;
    drive.world.node(AGENT).start_ready().await?;
    await_told(&drive.world, "ClusterCoupled", 2).await?;
    drive.add_plain("AFTER", "ac/q").await?;
    drive.world.await_event("AFTER", "OrderFinished").await?;
    let never = told(&drive.world);
    ensure!(
        !never.iter().any(|kind| kind == "ClusterFailedOver"),
        "{never:?}"
    );
    Ok(())
}

/// SA-15. The new process begins with an empty directory: it learns everything, and a copied state would be a vote given twice.
pub(crate) async fn a_moved_director(case: &Case) -> Result<()> {
    let mut drive = coupled(case).await?;
    let disabled = drive.world.subagent_item("ALFA-0", AGENT, AGENT, true);
    drive.world.api().change_items(&[disabled]).await?;
    drive.steps(0..1).await?;
    drive.world.await_stdout("A", "at-gate", 1).await?;
    let first = events_of(&drive.world, "A", "OrderProcessingStarted");
    ensure!(first[0].json["subagentId"] == "ALFA-1", "{first:?}");

    let second = second_director(AGENT);
    let (dir, mark) = (drive.world.dir().to_owned(), drive.world.mark().to_owned());
    let mut moved = Node::new(Part::Agent, "ALFA-moved", &dir, &mark)?;
    moved
        .arguments
        .clone_from(&drive.world.node(&second).arguments);
    let item =
        json!({"TYPE": "SubagentItem", "id": "ALFA-1", "agentPath": AGENT, "uri": moved.url()});
    drive.deploy(&[item]).await?;
    moved.start_ready().await?;
    drive.world.node(&second).kill()?;
    drive.world.open_gate("g1")?;
    await_told(&drive.world, "ClusterCoupled", 2).await?;
    let cluster = told(&drive.world);
    let at = |kind: &str| {
        cluster
            .iter()
            .rposition(|told| told == kind)
            .context(kind.to_owned())
    };
    let (lost, updated) = (at("ClusterPassiveLost")?, at("ClusterSettingUpdated")?);
    ensure!(
        lost < updated && updated < at("ClusterCoupled")?,
        "{cluster:?}"
    );
    drive.world.await_event("A", "OrderFinished").await?;
    drive.settle().await?;
    let ends = events_of(&drive.world, "A", "OrderProcessed");
    let reason = &ends[0].json["outcome"]["reason"]["TYPE"];
    ensure!(*reason == json!("ProcessLost"), "{}", ends[0]);
    let starts = events_of(&drive.world, "A", "OrderProcessingStarted");
    ensure!(
        starts.len() == 2 && starts[1].json["subagentId"] == "ALFA-1",
        "{starts:?}"
    );
    // It is a Director as good as the former one.
    drive.world.node(AGENT).kill()?;
    await_told(&drive.world, "ClusterFailedOver", 1).await?;
    drive.add_plain("B", "sub/g").await?;
    drive.world.await_event("B", "OrderFinished").await?;
    Ok(())
}
