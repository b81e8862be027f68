//! Work that ends a node again and again is set aside at the second start, named, and kept until an operator resumes or cancels it. All
//! other work continues.
//!
//! Always: the fault is injected from outside into the real program (`tasks::faults`): all work on one order panics, or ends the process as a
//! signal does.

use crate::failing_tasks::{EMERGENCY, Faults, started_world};
use crate::{PATIENCE, add, add_for, deploy, now};
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;
use testkit::world::{Api, Node, Pair, World};

/// How often the same work ends a node before the work is set aside.
const ENDS: u32 = 2;
/// How often work that ends the whole process does so before it is set aside. The first time, the process does not yet name its work.
const ABORTS: u32 = 1 + ENDS;
const SIGABRT: i32 = 6;
/// How much later an order of a test is due, in milliseconds. The fault is injected before that time.
const DUE_IN: i64 = 2000;

fn say() -> [Value; 1] {
    [json!({"TYPE": "Say", "what": "'hello'"})]
}

/// Lets the node end as often as it may, and starts it again each time. Finally, waits until the node is ready.
async fn ends_and_starts_again(node: &mut Node) -> Result<()> {
    for _ in 0..ENDS {
        let status = node.wait_end(PATIENCE).await?;
        ensure!(status.code() == Some(EMERGENCY), "{status}");
        node.start()?;
    }
    node.wait_ready().await
}

/// The same with a process that is ended by a signal.
async fn aborts_and_starts_again(node: &mut Node, times: u32) -> Result<()> {
    for _ in 0..times {
        let status = node.wait_end(PATIENCE).await?;
        ensure!(status.signal() == Some(SIGABRT), "{status}");
        node.start()?;
    }
    Ok(())
}

async fn advice(node: &Node) -> Result<String> {
    let api = Api::with_token(&node.url(), "")?;
    let health: Value = serde_json::from_slice(&api.client().get_bytes("/health").await?)?;
    Ok(health["advice"].as_str().unwrap_or_default().to_owned())
}

async fn await_state(world: &World, id: &str, state: &str) -> Result<Value> {
    let is_so = || async {
        let order = world.api().order(id).await.ok().flatten();
        Ok(order.is_some_and(|order| order["state"]["TYPE"] == state))
    };
    world.await_that(&format!("{id} is {state}"), is_so).await?;
    world.api().order(id).await?.context("it is there")
}

/// Adds an order whose step panics when the order is due, and waits until the order is set aside. Returns the order.
async fn poisoned(world: &mut World, faults: &Faults, victim: &str, path: &str) -> Result<Value> {
    add_for(world, "poison", path, now() + DUE_IN).await?;
    if victim != "controller" {
        world.await_event("poison", "OrderAttached").await?;
    }
    faults.poison("poison")?;
    ends_and_starts_again(world.node(victim)).await?;
    let order = await_state(world, "poison", "Broken").await?;
    let text = order.to_string();
    ensure!(
        text.contains("SetAside") && text.contains("injected by a test"),
        "the reason is named: {text}"
    );
    Ok(order)
}

/// Checks that the order that was set aside is named everywhere, that the other orders continue, and that an operator can resume the order.
async fn named_and_resumed(
    world: &mut World,
    faults: &Faults,
    victim: &str,
    path: &str,
) -> Result<()> {
    add(world, "other", path).await?;
    world.await_event("other", "OrderFinished").await?;
    let told = advice(world.node_ref(victim)?).await?;
    ensure!(
        told.contains("Order:poison was set aside") && told.contains("resume or cancel it"),
        "{told}"
    );
    let log = world.node_ref(victim)?.log();
    ensure!(
        log.contains("is set aside") && log.contains("Order:poison"),
        "{log}"
    );
    let shown = world.command_line(&["order", "show", "poison"])?;
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    ensure!(
        shown.contains("Broken") && shown.contains("was set aside"),
        "{shown}"
    );
    // The order is still set aside after a restart.
    world.node(victim).terminate().await?;
    world.node(victim).start_ready().await?;
    await_state(world, "poison", "Broken").await?;
    faults.mend("poison")?;
    let resumed = world.command_line(&["order", "resume", "poison"])?;
    ensure!(resumed.status.success(), "{resumed:?}");
    world.await_event("poison", "OrderFinished").await?;
    let is_quiet = || async { Ok(advice(world.node_ref(victim)?).await?.is_empty()) };
    world.await_that("no advice any more", is_quiet).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_whose_step_ends_the_controller_again_and_again_is_set_aside() -> Result<()> {
    let (mut world, faults) = started_world("controller").await?;
    deploy(&world, "say", &say()).await?;
    poisoned(&mut world, &faults, "controller", "say").await?;
    named_and_resumed(&mut world, &faults, "controller", "say").await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_whose_step_ends_its_agent_again_and_again_is_set_aside() -> Result<()> {
    let (mut world, faults) = started_world("A").await?;
    poisoned(&mut world, &faults, "A", "w").await?;
    named_and_resumed(&mut world, &faults, "A", "w").await
}

/// Adds an order whose step ends the whole process, without a panic that it could record, and waits until the order is set aside.
async fn aborted_order_is_set_aside(victim: &str) -> Result<()> {
    let (mut world, faults) = started_world(victim).await?;
    deploy(&world, "say", &say()).await?;
    let path = if victim == "controller" { "say" } else { "w" };
    add_for(&world, "poison", path, now() + DUE_IN).await?;
    if victim != "controller" {
        world.await_event("poison", "OrderAttached").await?;
    }
    faults.inject("abort-at", "poison")?;
    aborts_and_starts_again(world.node(victim), ABORTS).await?;
    world.node(victim).wait_ready().await?;
    let order = await_state(&world, "poison", "Broken").await?;
    let text = order.to_string();
    ensure!(
        text.contains("SetAside") && text.contains("killed or crashed"),
        "{text}"
    );
    faults.withdraw("abort-at", "poison")?;
    continues_and_is_resumed(&mut world, victim, path).await
}

async fn continues_and_is_resumed(world: &mut World, victim: &str, path: &str) -> Result<()> {
    add(world, "other", path).await?;
    world.await_event("other", "OrderFinished").await?;
    let told = advice(world.node_ref(victim)?).await?;
    ensure!(told.contains("Order:poison was set aside"), "{told}");
    let resumed = world.command_line(&["order", "resume", "poison"])?;
    ensure!(resumed.status.success(), "{resumed:?}");
    world.await_event("poison", "OrderFinished").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_whose_step_kills_the_controller_again_and_again_is_set_aside() -> Result<()> {
    aborted_order_is_set_aside("controller").await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_whose_step_kills_its_agent_again_and_again_is_set_aside() -> Result<()> {
    aborted_order_is_set_aside("A").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_kills_the_controller_each_time_it_is_repeated_is_refused() -> Result<()> {
    let (mut world, faults) = started_world("controller").await?;
    faults.inject("abort-at", "poison")?;
    let order = json!({"id": "poison", "workflowPath": "w"});
    let command = json!({"TYPE": "AddOrder", "order": order});
    for _ in 0..ABORTS {
        let answered = world.api().command(&command).await;
        ensure!(!matches!(answered, Ok(Ok(_))), "{answered:?}");
        aborts_and_starts_again(world.controller(), 1).await?;
        world.controller().wait_ready().await?;
    }
    let refused = world.api().command(&command).await?;
    let refused = refused.err().context("it is refused")?;
    ensure!(refused.code.as_deref() == Some("SetAside"), "{refused}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_from_outside_at_any_time_set_nothing_aside() -> Result<()> {
    let (mut world, _faults) = started_world("controller").await?;
    deploy(&world, "say", &say()).await?;
    for number in 0..6 {
        for order in 0..20 {
            add(&world, &format!("{number}-{order}"), "say").await?;
        }
        world.controller().kill()?;
        world.controller().start_ready().await?;
    }
    for number in 0..6 {
        let last = format!("{number}-19");
        world.await_event(&last, "OrderFinished").await?;
    }
    let told = advice(world.node_ref("controller")?).await?;
    ensure!(told.is_empty(), "{told}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_two_of_whose_orders_are_set_aside_is_set_aside_with_all_its_orders()
-> Result<()> {
    let (mut world, faults) = started_world("controller").await?;
    deploy(&world, "say", &say()).await?;
    poisoned(&mut world, &faults, "controller", "say").await?;
    add_for(&world, "second", "say", now() + DUE_IN).await?;
    faults.poison("second")?;
    let status = world.controller().wait_end(PATIENCE).await?;
    ensure!(status.code() == Some(EMERGENCY), "{status}");
    world.controller().start_ready().await?;
    await_state(&world, "second", "Broken").await?;
    // Two of its orders were set aside: no other order of this version is tried.
    add(&world, "third", "say").await?;
    let third = await_state(&world, "third", "Broken").await?;
    ensure!(
        third.to_string().contains("Workflow:say~"),
        "the workflow is named: {third}"
    );
    let told = advice(world.node_ref("controller")?).await?;
    ensure!(told.contains("Workflow:say~"), "{told}");
    // Other workflows continue, and so does a new version.
    add(&world, "other", "w").await?;
    world.await_event("other", "OrderFinished").await?;
    let mended = [json!({"TYPE": "Say", "what": "'mended'"})];
    deploy(&world, "say", &mended).await?;
    add(&world, "fourth", "say").await?;
    world.await_event("fourth", "OrderFinished").await?;
    // After an orderly restart, the workflow is tried again.
    world.controller().terminate().await?;
    world.controller().start_ready().await?;
    let resumed = world.command_line(&["order", "resume", "third"])?;
    ensure!(resumed.status.success(), "{resumed:?}");
    world.await_event("third", "OrderFinished").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_over_which_the_start_ends_is_named_and_never_left_out() -> Result<()> {
    let (mut world, faults) = started_world("controller").await?;
    world.controller().kill()?;
    faults.inject("panic-in-replay", "first")?;
    world.controller().start()?;
    let status = world.controller().wait_end(PATIENCE).await?;
    ensure!(status.code() == Some(EMERGENCY), "{status}");
    let log = world.node_ref("controller")?.log();
    let named = "OrderAdded of Order:first";
    ensure!(
        log.contains("the log cannot be replayed at event") && log.contains(named),
        "{log}"
    );
    faults.withdraw("panic-in-replay", "first")?;

    faults.inject("abort-in-replay", "first")?;
    world.controller().start()?;
    aborts_and_starts_again(world.controller(), ENDS).await?;
    let status = world.controller().wait_end(PATIENCE).await?;
    ensure!(status.signal() == Some(SIGABRT), "{status}");
    let log = world.node_ref("controller")?.log();
    let told = log
        .lines()
        .rev()
        .find(|line| line.contains("while it read the log"));
    let told = told.context("the next start says so")?;
    ensure!(told.contains(named), "{told}");
    faults.withdraw("abort-in-replay", "first")?;

    world.controller().start_ready().await?;
    await_state(&world, "first", "Finished").await?;
    let told = advice(world.node_ref("controller")?).await?;
    ensure!(told.is_empty(), "{told}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_ends_the_controller_each_time_it_is_repeated_is_refused() -> Result<()> {
    let (mut world, faults) = started_world("controller").await?;
    faults.poison("poison")?;
    let order = json!({"id": "poison", "workflowPath": "w"});
    let command = json!({"TYPE": "AddOrder", "order": order});
    for _ in 0..ENDS {
        let answered = world.api().command(&command).await;
        ensure!(!matches!(answered, Ok(Ok(_))), "{answered:?}");
        let ended = world.controller().wait_end(PATIENCE).await?;
        ensure!(ended.code() == Some(EMERGENCY), "{ended}");
        world.controller().start_ready().await?;
    }
    let refused = world.api().command(&command).await?;
    let refused = refused.err().context("it is refused")?;
    ensure!(refused.code.as_deref() == Some("SetAside"), "{refused}");
    let told = advice(world.node_ref("controller")?).await?;
    ensure!(told.contains("AddOrder:poison was set aside"), "{told}");
    add(&world, "other", "w").await?;
    world.await_event("other", "OrderFinished").await?;
    // After an orderly restart, the request is tried again.
    faults.mend("poison")?;
    world.controller().terminate().await?;
    world.controller().start_ready().await?;
    add(&world, "poison", "w").await?;
    world.await_event("poison", "OrderFinished").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_whose_handing_over_ends_its_agent_is_refused_there_and_can_be_cancelled()
-> Result<()> {
    let (mut world, faults) = started_world("A").await?;
    faults.poison("poison")?;
    add(&world, "poison", "w").await?;
    ends_and_starts_again(world.node("A")).await?;
    add(&world, "other", "w").await?;
    world.await_event("other", "OrderFinished").await?;
    let problem = world.await_event("poison", "OrderAgentProblem").await?;
    ensure!(
        format!("{problem:?}").contains("SetAside"),
        "it is named at the order: {problem:?}"
    );
    let cancelled = world.command_line(&["order", "cancel", "poison"])?;
    ensure!(cancelled.status.success(), "{cancelled:?}");
    world.await_event("poison", "OrderCancelled").await?;
    ensure!(world.node("A").try_wait()?.is_none(), "the Agent lives");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_pair_each_member_ends_at_most_twice_over_the_same_order() -> Result<()> {
    let mut pair = Pair::start(&[]).await?;
    pair.deploy_marking("marking", 0.1).await?;
    let workflow = json!({"TYPE": "Workflow", "path": "say", "instructions": say()});
    let signed = json!({"string": workflow.to_string()});
    pair.deploy(&[json!({"TYPE": "AddOrChangeSigned", "signed": signed})])
        .await?;
    let dir = pair.marks().parent().context("it has one")?.to_owned();
    let faults = [
        Faults::of(&mut pair.members[0], &dir)?,
        Faults::of(&mut pair.members[1], &dir)?,
    ];
    for member in [1, 0] {
        pair.members[member].kill()?;
        pair.members[member].start_ready().await?;
        pair.await_coupled().await?;
    }
    let order = json!({"id": "poison", "workflowPath": "say", "scheduledFor": now() + DUE_IN});
    pair.api().await?.add_order(&order).await?;
    for faults in &faults {
        faults.poison("poison")?;
    }
    let mut ends = [0, 0];
    let until = std::time::Instant::now() + PATIENCE;
    let broken = loop {
        ensure!(
            std::time::Instant::now() < until,
            "{}",
            pair.lament("not set aside")
        );
        for member in [0, 1] {
            if let Some(status) = pair.members[member].try_wait()? {
                ensure!(status.code() == Some(EMERGENCY), "{status}");
                ends[member] += 1;
                pair.members[member].start()?;
            }
        }
        let seen = [
            pair.api_of(0).order("poison").await,
            pair.api_of(1).order("poison").await,
        ];
        let is_broken = |order: &Value| order["state"]["TYPE"] == "Broken";
        let seen = seen.into_iter().filter_map(|seen| seen.ok().flatten());
        if let Some(order) = seen.into_iter().find(is_broken) {
            break order;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    ensure!(broken.to_string().contains("SetAside"), "{broken}");
    ensure!(ends.iter().all(|ends| *ends <= ENDS), "{ends:?}");
    pair.await_coupled().await?;
    pair.add_order("after", "marking").await?;
    pair.await_finished(&["after".to_owned()]).await?;
    // The order is set aside for the other member, too, which has not ended for it.
    let active = pair.active().await?;
    pair.members[active].kill()?;
    ensure!(pair.active().await? != active);
    let order = pair.api().await?.order("poison").await?;
    let order = order.context("it is there")?;
    ensure!(order["state"]["TYPE"] == "Broken", "{order}");
    Ok(())
}
