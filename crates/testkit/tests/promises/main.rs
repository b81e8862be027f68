//! Numbered promises that only real processes decide: each test names its own.
//!
//! Always: everything is seen from outside, through the public interface, signals, files and `/proc`.
//! Never here: what a machine's story or the simulated world decides more cheaply; speed, which is measured elsewhere.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot set up its world fails at that line"
)]

mod clocks;
mod clusters;
mod crash_loops;
mod defects;
mod dialling;
mod directors;
mod disk;
mod disks;
mod documented;
mod doubles;
mod examples;
mod failing_tasks;
mod figures;
mod golden;
mod hosts;
mod leases;
mod members;
mod obstacles;
mod outages;
mod pair;
mod repair;
mod reports;
mod reset;
mod schedule;
mod shown_state;
mod signals;
mod sockets;
mod subagents;
mod surroundings;
mod votes;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use testkit::world::{Api, Seen, World};

/// How long a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// A job that may run with many others of its kind.
pub(crate) fn job(agent: &str, script: &str) -> Value {
    json!({"TYPE": "Execute.Anonymous", "job": {
        "agentPath": agent,
        "processLimit": 100,
        "executable": {"TYPE": "ShellScriptExecutable", "script": script},
    }})
}

/// The same at one Subagent.
pub(crate) fn job_at(agent: &str, subagent: &str, script: &str) -> Value {
    let mut job = job(agent, script);
    job["job"]["subagentBundleId"] = json!(subagent);
    job
}

/// Makes a workflow of these instructions known.
pub(crate) async fn deploy(world: &World, path: &str, instructions: &[Value]) -> Result<()> {
    let workflow = json!({"TYPE": "Workflow", "path": path, "instructions": instructions});
    let signed = json!({"string": workflow.to_string()});
    let operation = json!({"TYPE": "AddOrChangeSigned", "signed": signed});
    world.api().change_items(&[operation]).await
}

/// Requests the page of metrics.
pub(crate) async fn metrics(api: &Api) -> Result<String> {
    let page = api.client().get_bytes("/metrics").await?;
    Ok(String::from_utf8(page.to_vec())?)
}

/// Adds an order that is to start at once.
pub(crate) async fn add(world: &World, id: &str, path: &str) -> Result<()> {
    let order = json!({"id": id, "workflowPath": path});
    world.api().add_order(&order).await.map(|_added| ())
}

/// Adds an order that is to start at a time, in milliseconds since the epoch.
pub(crate) async fn add_for(world: &World, id: &str, path: &str, at: i64) -> Result<()> {
    let order = json!({"id": id, "workflowPath": path, "scheduledFor": at});
    world.api().add_order(&order).await.map(|_added| ())
}

/// In milliseconds since the epoch.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

/// An Agent as its Controller reaches it, but past any proxy.
pub(crate) fn agent_api(world: &World, agent: &str) -> Result<Api> {
    Api::with_token(&world.node_ref(agent)?.url(), &world.node_token()?)
}

/// What an Agent itself has written about an order so far.
pub(crate) async fn agent_story(world: &World, agent: &str, order: &str) -> Result<Vec<Seen>> {
    let api = agent_api(world, agent)?;
    let bytes = api
        .client()
        .get_bytes("/agent/api/event?after=0&timeout=0")
        .await?;
    let lines = bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    let events = lines.map(Seen::from_line).collect::<Result<Vec<_>>>()?;
    Ok(events
        .into_iter()
        .filter(|seen| seen.key == order)
        .collect())
}

/// Waits until an Agent itself has written an event of an order.
pub(crate) async fn await_at_agent(
    world: &World,
    agent: &str,
    order: &str,
    kind: &str,
) -> Result<()> {
    let is_there = || async {
        let story = agent_story(world, agent, order).await?;
        Ok(story.iter().any(|seen| seen.kind == kind))
    };
    let what = format!("{kind} of {order} at {agent}");
    world.await_that(&what, is_there).await
}

/// Waits until a file is there.
pub(crate) async fn await_file(world: &World, name: &str) -> Result<()> {
    let path = world.tmp().join(name);
    world
        .await_that(&format!("the file {name}"), || async { Ok(path.exists()) })
        .await
}

/// Kills a node and removes its directory. Who ends the jobs of a killed node may still write there for a moment.
pub(crate) async fn kill_and_wipe(world: &mut World, node: &str) -> Result<()> {
    world.node(node).kill()?;
    let data = world.node_ref(node)?.data.clone();
    let is_gone = || async { Ok(std::fs::remove_dir_all(&data).is_ok() || !data.exists()) };
    world
        .await_that(&format!("the removal of {}", data.display()), is_gone)
        .await
}

/// How often an event has happened to a key, as the Controller tells it.
pub(crate) fn count(world: &World, key: &str, kind: &str) -> usize {
    let events = world.history().all();
    events
        .iter()
        .filter(|seen| seen.key == key && seen.kind == kind)
        .count()
}

/// The pid of a node that runs.
pub(crate) fn pid(world: &World, node: &str) -> Result<i32> {
    world
        .node_ref(node)?
        .pid()
        .with_context(|| format!("{node} does not run"))
}
