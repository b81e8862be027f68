//! Two living processes with one identity: one of them runs in a copied or restored data directory.

use crate::{PATIENCE, add, deploy, job};
use anyhow::{Context as _, Result, ensure};
use net::{Client, ClientSettings};
use serde_json::{Value, json};
use testkit::world::{Api, Node, Pair, Part, Plan, World, copy_dir, is_coupled};

/// Creates a Controller at another address, in a copy of the directory of the running one.
fn copy_of_controller(world: &World, name: &str) -> Result<Node> {
    let original = world.node_ref("controller")?;
    let mut copy = Node::new(Part::Controller, name, world.dir(), world.mark())?;
    copy.arguments.clone_from(&original.arguments);
    copy_dir(&original.data, &copy.data)?;
    Ok(copy)
}

/// Returns the problem of an Agent, as a Controller shows it.
async fn problem_of(api: &Api, agent: &str) -> Result<Value> {
    let told: Value = api.client().get_json("/controller/api/agent").await?;
    let agents = told["agents"].as_array().context("agents")?;
    let described = agents.iter().find(|known| known["agentPath"] == agent);
    Ok(described.context("the Agent is known")?["problem"].clone())
}

async fn health_of(url: &str) -> Result<Value> {
    let told = Client::new(ClientSettings::new(url))?
        .get_bytes("/health")
        .await?;
    Ok(serde_json::from_slice(&told)?)
}

fn names_both(text: &str, one: &str, other: &str) -> bool {
    text.contains(one) && text.contains(other)
}

fn log_of(world: &World, name: &str) -> Result<String> {
    Ok(std::fs::read_to_string(
        world.dir().join(format!("{name}.log")),
    )?)
}

async fn await_problem(world: &World, api: &Api, code: &str) -> Result<String> {
    let has_come = || async { Ok(problem_of(api, "ALFA").await?["code"] == code) };
    world
        .await_that(&format!("{code} of ALFA"), has_come)
        .await?;
    let problem = problem_of(api, "ALFA").await?;
    Ok(problem["message"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copied_controller_beside_the_original_is_refused_and_both_say_so() -> Result<()> {
    let mut world = World::start(Plan::of(&["ALFA"])).await?;
    let ran = world.tmp().join("ran");
    let script = format!("echo ran >> {}", ran.display());
    deploy(&world, "w", &[job("ALFA", &script)]).await?;
    add(&world, "BEFORE", "w").await?;
    world.await_event("BEFORE", "OrderFinished").await?;

    let mut copy = copy_of_controller(&world, "copy")?;
    copy.start_ready().await?;
    let at_copy = Api::with_token(&copy.url(), &world.admin_token()?)?;
    let order = json!({"TYPE": "AddOrder", "order": {"id": "ONCE", "workflowPath": "w"}});
    at_copy.accept(&order).await?;
    add(&world, "ONCE", "w").await?;
    world.await_event("ONCE", "OrderFinished").await?;

    let (one, two) = (world.node_ref("controller")?.url(), copy.url());
    for api in [world.api(), &at_copy] {
        let told = await_problem(&world, api, "ControllerIsDouble").await?;
        ensure!(names_both(&told, &one, &two), "{told}");
    }
    let agent = world.node_ref("ALFA")?.url();
    for url in [&one, &two, &agent] {
        let told = health_of(url).await?;
        let advice = told["advice"].as_str().unwrap_or_default();
        ensure!(names_both(advice, &one, &two), "{url}: {told}");
    }
    for (name, level) in [("controller", "ERROR"), ("copy", "WARN"), ("ALFA", "ERROR")] {
        let log = log_of(&world, name)?;
        let lines = log
            .lines()
            .filter(|line| line.contains(level) && names_both(line, &one, &two));
        ensure!(lines.count() == 1, "{name} says it once:\n{log}");
    }
    let status = world.command_line(&["agent", "list"])?;
    let shown = String::from_utf8_lossy(&status.stdout);
    ensure!(shown.contains("two Controllers"), "{shown}");

    // A successor of the original is accepted at once, although the copy tries to couple all the time.
    world.controller().kill()?;
    world.controller().start_ready().await?;
    add(&world, "AFTER", "w").await?;
    world.await_event("AFTER", "OrderFinished").await?;

    // Without the original the copy is not accepted either, because it lacks what the original has confirmed.
    world.controller().kill()?;
    let told = await_problem(&world, &at_copy, "UnknownEventId").await?;
    ensure!(
        told.contains("is a copy") && told.contains("agent reset"),
        "{told}"
    );
    ensure!(told.contains(&two), "{told}");
    let ran = std::fs::read_to_string(&ran)?;
    ensure!(ran.lines().count() == 3, "each order has run once: {ran:?}");
    copy.kill()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_that_was_moved_with_its_directory_is_coupled_and_then_the_original_is_refused()
-> Result<()> {
    let mut world = World::start(Plan::of(&["ALFA"])).await?;
    deploy(&world, "w", &[job("ALFA", "echo ran")]).await?;
    add(&world, "BEFORE", "w").await?;
    world.await_event("BEFORE", "OrderFinished").await?;
    world.controller().kill()?;
    let mut moved = copy_of_controller(&world, "moved")?;
    moved.start_ready().await?;
    let at_moved = Api::with_token(&moved.url(), &world.admin_token()?)?;
    let is_coupled = || async { Ok(problem_of(&at_moved, "ALFA").await?.is_null()) };
    world
        .await_that("the moved one coupled", is_coupled)
        .await?;
    let order = json!({"TYPE": "AddOrder", "order": {"id": "THERE", "workflowPath": "w"}});
    at_moved.accept(&order).await?;

    world.controller().start_ready().await?;
    world.connect()?;
    let has_come = || async {
        let problem = problem_of(world.api(), "ALFA").await?;
        Ok(problem["code"] == "ControllerIsDouble" || problem["code"] == "UnknownEventId")
    };
    world.await_that("the original refused", has_come).await?;
    let told = problem_of(world.api(), "ALFA").await?.to_string();
    let one = world.node_ref("controller")?.url();
    ensure!(names_both(&told, &one, &moved.url()), "{told}");
    let finished = || async {
        let path = "/controller/api/order/THERE";
        let order: Value = at_moved.client().get_json(path).await?;
        Ok(order.to_string().contains("Finished"))
    };
    tokio::time::timeout(PATIENCE, world.await_that("THERE finished", finished)).await??;
    moved.kill()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copied_member_of_a_pair_is_refused_and_the_pair_fails_over_as_ever() -> Result<()> {
    let mut pair = Pair::start(&[]).await?;
    pair.deploy_marking("marking", 0.1).await?;
    let original = &pair.members[1];
    let mut copy = Node::new(Part::Controller, "copy", pair.dir(), pair.mark())?;
    copy.arguments.clone_from(&original.arguments);
    copy_dir(&original.data, &copy.data)?;
    let (one, two) = (original.url(), copy.url());
    copy.start_ready().await?;
    let active = pair.active().await?;
    ensure!(active == 0, "the Backup dials the Primary");
    for url in [&pair.members[0].url(), &two] {
        let begun = tokio::time::Instant::now();
        loop {
            let told = health_of(url).await?;
            let advice = told["advice"].as_str().unwrap_or_default();
            if names_both(advice, &one, &two) {
                break;
            }
            ensure!(begun.elapsed() < PATIENCE, "{url}: {told}");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
    for name in ["Primary", "copy"] {
        let log = std::fs::read_to_string(pair.dir().join(format!("{name}.log")))?;
        let lines = log
            .lines()
            .filter(|line| line.contains("ERROR") && names_both(line, &one, &two));
        ensure!(lines.count() == 1, "{name} says it once:\n{log}");
    }
    ensure!(is_coupled(&pair.state(0).await?), "the original stays");
    pair.members[0].kill()?;
    pair.add_order("AFTER", "marking").await?;
    pair.await_finished(&["AFTER".to_owned()]).await?;
    ensure!(pair.active().await? == 1, "the original has taken over");
    copy.kill()?;
    Ok(())
}
