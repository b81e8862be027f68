//! A task of a part that panics or ends also ends the part, which is then restarted. A request or job that panics fails alone.
//!
//! Always: the faults are injected from outside into the real program, which supports this only in builds with debug assertions
//! (`tasks::faults`). Each task that a part has started gets a fault in turn, so that a new task is tested, too.

use crate::{PATIENCE, add, agent_api, deploy, job, job_at, metrics};
use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use testkit::world::{AgentPlan, Node, Pair, Plan, World};

/// The exit code that requests a restart after a failure.
pub(crate) const EMERGENCY: i32 = 98;
/// The tasks of a single request, connection, job or snapshot, which fail alone.
const CONTAINED: [&str; 7] = [
    "client-connection",
    "connection",
    "job-process",
    "request",
    "snapshot",
    "snapshot-file",
    "guard-input",
];
/// How long to wait for a fault to take effect. After that the node is restarted, because some tasks work only at the start.
const STRUCK_WITHIN: Duration = Duration::from_secs(3);

/// The directory that contains the names of the tasks of a node that are to fail.
pub(crate) struct Faults(PathBuf);

impl Faults {
    pub(crate) fn of(node: &mut Node, world: &Path) -> Result<Faults> {
        let dir = world.join(format!("faults-{}", node.name));
        for part in [
            "started",
            "panic",
            "panic-at",
            "abort-at",
            "panic-in-replay",
            "abort-in-replay",
            "end",
        ] {
            std::fs::create_dir_all(dir.join(part))?;
        }
        let variable = "MAINSPRING_INJECT_FAULTS".to_owned();
        node.environment.push((variable, dir.display().to_string()));
        Ok(Faults(dir))
    }

    /// The tasks that have been started so far.
    fn started(&self) -> Result<BTreeSet<String>> {
        let entries = std::fs::read_dir(self.0.join("started"))?;
        entries
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect()
    }

    /// Makes all work on this order or other thing panic, until [`Faults::mend`] is called.
    pub(crate) fn poison(&self, id: &str) -> Result<()> {
        self.inject("panic-at", id)
    }

    /// Ends the panics of all work on this thing.
    pub(crate) fn mend(&self, id: &str) -> Result<()> {
        self.withdraw("panic-at", id)
    }

    /// Takes back a fault that strikes again and again.
    pub(crate) fn withdraw(&self, fault: &str, id: &str) -> Result<()> {
        Ok(std::fs::remove_file(self.0.join(fault).join(id))?)
    }

    pub(crate) fn inject(&self, fault: &str, task: &str) -> Result<()> {
        Ok(std::fs::write(self.0.join(fault).join(task), "")?)
    }
}

pub(crate) async fn started_world(victim: &str) -> Result<(World, Faults)> {
    let agent = AgentPlan {
        subagents: vec!["SUB".to_owned()],
        ..AgentPlan::named("A")
    };
    let mut world = World::prepare(Plan {
        agents: vec![agent],
        ..Plan::default()
    })
    .await?;
    let dir = world.dir().to_owned();
    let faults = Faults::of(world.node(victim), &dir)?;
    world.set_up().await?;
    deploy(
        &world,
        "w",
        &[job("A", "echo there"), job_at("A", "SUB", "echo here")],
    )
    .await?;
    add(&world, "first", "w").await?;
    world.await_event("first", "OrderFinished").await?;
    Ok((world, faults))
}

/// Makes each task of this node panic in turn, except the contained ones. The tasks in `known` must be among them.
async fn every_task_ends_its_node(victim: &str, known: &[&str]) -> Result<()> {
    let (mut world, faults) = started_world(victim).await?;
    let mut struck = BTreeSet::new();
    // A restart may start further tasks.
    while let Some(task) = faults
        .started()?
        .into_iter()
        .find(|task| !struck.contains(task) && !CONTAINED.contains(&task.as_str()))
    {
        faults.inject("panic", &task)?;
        let begun = Instant::now();
        let mut number = 0;
        let status = loop {
            if let Some(status) = world.node(victim).try_wait()? {
                break status;
            }
            if begun.elapsed() > STRUCK_WITHIN {
                world.node(victim).kill()?;
                world.node(victim).start()?;
                let ended = world.node(victim).wait_end(PATIENCE).await;
                break ended.with_context(|| format!("{task} is not struck"))?;
            }
            // The order gives all tasks something to do. The node that has just ended may be the Controller itself.
            number += 1;
            let _answer = add(&world, &format!("{task}-{number}"), "w").await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let log = world.node_ref(victim)?.log_tail(20);
        ensure!(status.code() == Some(EMERGENCY), "{task}: {status}\n{log}");
        ensure!(
            log.contains(&format!("the task {task} has panicked at ")),
            "{task}: the end tells why:\n{log}"
        );
        world.node(victim).start_ready().await?;
        struck.insert(task);
    }
    for task in known {
        ensure!(struck.contains(*task), "{task} is not among {struck:?}");
    }
    add(&world, "last", "w").await?;
    world.await_event("last", "OrderFinished").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_task_of_a_controller_that_panics_ends_it_at_once_to_be_started_again() -> Result<()>
{
    let known = [
        "part",
        "commit-loop",
        "pair",
        "web-server",
        "agent-driver",
        "agent-sender",
        "leadership",
        "journal",
    ];
    every_task_ends_its_node("controller", &known).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_task_of_an_agent_that_panics_ends_it_at_once_to_be_started_again() -> Result<()> {
    let known = [
        "part",
        "commit-loop",
        "web-server",
        "subagent-driver",
        "job",
        "lease-watch",
        "journal",
        "process-keeper",
    ];
    every_task_ends_its_node("A", &known).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_task_of_a_subagent_that_panics_ends_it_at_once_to_be_started_again() -> Result<()> {
    let known = ["part", "web-server", "job", "lease-watch", "process-keeper"];
    every_task_ends_its_node("SUB", &known).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_ends_by_itself_ends_its_node_too() -> Result<()> {
    let (mut world, faults) = started_world("controller").await?;
    faults.inject("end", "web-server")?;
    let status = world.controller().wait_end(PATIENCE).await?;
    ensure!(status.code() == Some(EMERGENCY), "{status}");
    let log = world.controller().log_tail(20);
    ensure!(
        log.contains("the task web-server has ended without being told to"),
        "{log}"
    );
    Ok(())
}

/// A metric's value.
async fn figure(api: &testkit::world::Api, line: &str) -> Result<f64> {
    let page = metrics(api).await?;
    let value = page
        .lines()
        .find_map(|known| known.strip_prefix(line))
        .with_context(|| format!("no {line} in\n{page}"))?;
    Ok(value.trim().parse()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_panics_is_answered_500_and_counted_and_the_others_go_on() -> Result<()> {
    let (mut world, faults) = started_world("controller").await?;
    faults.inject("panic", "request")?;
    let answer = world.api().get("/controller/api").await?;
    let refused = answer.err().context("it has panicked")?;
    ensure!(refused.status == 500, "{refused}");
    ensure!(
        refused.code.as_deref() == Some("InternalError"),
        "{refused}"
    );
    let line = "mainspring_task_panics_total{node=\"Controller\",task=\"request\"}";
    ensure!((figure(world.api(), line).await? - 1.0).abs() < 0.1);
    add(&world, "second", "w").await?;
    world.await_event("second", "OrderFinished").await?;
    ensure!(world.controller().starts() == 1, "it lives");
    ensure!(world.controller().log().contains("task=\"request\""));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_task_panics_fails_alone_and_its_process_is_ended() -> Result<()> {
    let (mut world, faults) = started_world("A").await?;
    let script = "echo $$ >$MAINSPRING_TEST_FILE; exec sleep 600";
    let file = world.tmp().join("pid");
    let script = script.replace("$MAINSPRING_TEST_FILE", &file.display().to_string());
    deploy(&world, "long", &[job_at("A", "A-0", &script)]).await?;
    add(&world, "struck", "long").await?;
    crate::await_file(&world, "pid").await?;
    faults.inject("panic", "job-process")?;
    world.await_event("struck", "OrderFailed").await?;
    let order = world.api().order("struck").await?.context("it is there")?;
    ensure!(order.to_string().contains("JobTaskPanicked"), "{order}");
    let pid = std::fs::read_to_string(&file)?;
    let proc = format!("/proc/{}/cmdline", pid.trim());
    let is_gone = || async {
        let line = std::fs::read_to_string(&proc).unwrap_or_default();
        Ok(!line.starts_with("sleep"))
    };
    world.await_that("the end of the process", is_gone).await?;
    add(&world, "second", "w").await?;
    world.await_event("second", "OrderFinished").await?;
    ensure!(world.node("A").starts() == 1, "it lives");
    let line = "mainspring_task_panics_total{node=\"A\",task=\"job-process\"}";
    ensure!((figure(&agent_api(&world, "A")?, line).await? - 1.0).abs() < 0.1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_pair_the_other_member_takes_over_from_one_whose_task_has_failed() -> Result<()> {
    for task in ["commit-loop", "leadership", "journal"] {
        let mut pair = Pair::start(&[]).await?;
        pair.deploy_marking("marking", 0.1).await?;
        let dir = pair.marks().parent().context("it has one")?.to_owned();
        let faults = Faults::of(&mut pair.members[0], &dir)?;
        // Restarted with the switch, the member becomes the standby, and then active again.
        pair.members[0].kill()?;
        pair.members[0].start_ready().await?;
        pair.await_coupled().await?;
        if pair.active().await? != 0 {
            pair.members[1].kill()?;
            ensure!(pair.active().await? == 0);
            pair.members[1].start_ready().await?;
            pair.await_coupled().await?;
        }
        pair.add_order("before", "marking").await?;
        faults.inject("panic", task)?;
        let begun = Instant::now();
        let mut number = 0;
        let status = loop {
            if let Some(status) = pair.members[0].try_wait()? {
                break status;
            }
            ensure!(begun.elapsed() < PATIENCE, "{task} is not struck");
            // Either member may accept the order. The task of the journal fails when it writes.
            number += 1;
            let id = format!("poke-{number}");
            let _answer = pair
                .api_of(0)
                .add_order(&serde_json::json!({"workflowPath": "marking", "id": id}))
                .await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        ensure!(status.code() == Some(EMERGENCY), "{task}: {status}");
        ensure!(
            pair.active().await? == 1,
            "{task}: the other one has taken over"
        );
        pair.add_order("after", "marking").await?;
        pair.await_finished(&["before".to_owned(), "after".to_owned()])
            .await?;
    }
    Ok(())
}
