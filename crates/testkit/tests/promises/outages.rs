//! A part is away, and the others go on; wishes are kept for it.

use crate::{
    PATIENCE, add, add_for, agent_api, agent_story, await_at_agent, await_file, count, deploy, job,
    job_at, kill_and_wipe, metrics, now, pid,
};
use anyhow::{Context as _, Result, ensure};
use net::{Client, ClientSettings};
use serde_json::json;
use std::time::Duration;
use testkit::world::{AgentPlan, Mode, Plan, Seen, World};

/// The processes of all nodes but one.
fn lives(world: &World, but: &str) -> Vec<(String, Option<i32>)> {
    let others = world.node_names().into_iter().filter(|name| name != but);
    others
        .map(|name| {
            let pid = world.node_ref(&name).unwrap().pid();
            (name, pid)
        })
        .collect()
}

async fn all_answer(world: &World, but: &str) -> Result<()> {
    for name in world.node_names().into_iter().filter(|name| name != but) {
        let mut settings = ClientSettings::new(world.node_ref(&name)?.url());
        settings.request_timeout = Duration::from_secs(10);
        let answer = Client::new(settings)?.get_bytes("/health").await;
        ensure!(
            answer.is_ok(),
            "S2: {name} does not answer while {but} is away: {answer:?}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s2_s3_s38_each_part_may_fail_while_the_others_work_and_only_itself_is_started_again()
-> Result<()> {
    let alfa = AgentPlan {
        subagents: vec!["SUB-1".to_owned()],
        ..AgentPlan::named("ALFA")
    };
    let mut world = World::start(Plan {
        agents: vec![alfa, AgentPlan::named("BRAVO")],
        ..Plan::default()
    })
    .await?;
    deploy(&world, "alfa", &[job_at("ALFA", "ALFA-0", "echo done")]).await?;
    deploy(&world, "SUB-1", &[job_at("ALFA", "SUB-1", "echo done")]).await?;
    deploy(&world, "BRAVO", &[job("BRAVO", "echo done")]).await?;
    for victim in ["SUB-1", "BRAVO"] {
        let others = lives(&world, victim);
        world.node(victim).kill()?;
        all_answer(&world, victim).await?;
        let late = format!("late-{victim}");
        add(&world, &late, victim).await?;
        let meanwhile = format!("meanwhile-{victim}");
        add(&world, &meanwhile, "alfa").await?;
        world.await_event(&meanwhile, "OrderFinished").await?;
        assert_eq!(
            count(&world, &late, "OrderStdoutWritten"),
            0,
            "nobody else does the work of {victim}"
        );
        world.node(victim).start_ready().await?;
        world.await_event(&late, "OrderFinished").await?;
        assert_eq!(
            world.history().stdout_of(&late),
            "done\n",
            "S3: {victim} catches up, once"
        );
        assert_eq!(
            lives(&world, victim),
            others,
            "S38: nobody else had to be started again"
        );
    }
    let mark = world.tmp().join("mark");
    let touch = format!("touch {}", mark.display());
    deploy(&world, "touch", &[job("ALFA", &touch)]).await?;
    add_for(&world, "alone", "touch", now() + 1500).await?;
    world.await_event("alone", "OrderAttached").await?;
    let others = lives(&world, "controller");
    world.controller().kill()?;
    all_answer(&world, "controller").await?;
    await_file(&world, "mark").await?;
    world.controller().start_ready().await?;
    world.await_event("alone", "OrderFinished").await?;
    assert_eq!(
        lives(&world, "controller"),
        others,
        "S38: nobody else had to be started again"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s36_s37_s87_a_cancel_outlives_the_controller_and_arrives_once_while_a_question_is_lost()
-> Result<()> {
    let mut world = World::start(Plan {
        proxied: true,
        ..Plan::of(&["ALFA"])
    })
    .await?;
    deploy(&world, "long", &[job("ALFA", "echo READY; sleep 600")]).await?;
    add(&world, "RUNNING", "long").await?;
    world.await_stdout("RUNNING", "READY", 1).await?;
    add_for(&world, "FRESH", "long", now() + 86_400_000).await?;
    world.await_event("FRESH", "OrderAttached").await?;
    let agent = pid(&world, "ALFA")?;

    world.proxies()["ALFA"].set(Mode::Cut);
    let mode = json!({"TYPE": "FreshOrStarted", "kill": {"immediately": true}});
    let cancel = json!({"TYPE": "CancelOrders", "orderIds": ["RUNNING", "FRESH"], "mode": mode});
    // S87: accepted although the Agent is away.
    world.api().accept(&cancel).await?;
    world.catch_up().await?;
    let last = world.history().last_event_id();
    let question = format!("/controller/api/event?after={last}&timeout=25");
    let asking = {
        let (client, question) = (world.api().client().clone(), question.clone());
        tokio::spawn(async move { client.get_bytes(&question).await })
    };
    world.controller().kill()?;
    let lost = asking.await?;
    ensure!(
        lost.as_ref().map_or(true, bytes::Bytes::is_empty),
        "S36: {lost:?}"
    );
    world.controller().start_ready().await?;
    world.proxies()["ALFA"].set(Mode::Open);

    // What the wish becomes at the Agent: an order that has not been started just goes back.
    for (id, mark) in [
        ("RUNNING", "OrderCancellationMarked"),
        ("FRESH", "OrderDetachable"),
    ] {
        world.await_event(id, "OrderCancelled").await?;
        let story = agent_story(&world, "ALFA", id).await?;
        let marks = story.iter().filter(|seen| seen.kind == mark);
        assert_eq!(
            marks.count(),
            1,
            "S37, S51: the wish arrives once: {story:?}"
        );
        assert_eq!(count(&world, id, "OrderCancelled"), 1);
    }
    // Whoever asks again is answered.
    assert!(!world.api().client().get_bytes(&question).await?.is_empty());
    assert_eq!(pid(&world, "ALFA")?, agent, "S38: the Agent went on");
    Ok(())
}

/// Returns the number of the newest event of ALFA that has been released.
async fn released(world: &World) -> Result<u64> {
    let page = metrics(&agent_api(world, "ALFA")?).await?;
    let line = page
        .lines()
        .find(|line| line.starts_with("mainspring_journal_released_event_id"))
        .context("the figure")?;
    Ok(line.rsplit(' ').next().context("a value")?.parse()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn s14_what_an_agent_cannot_report_waits_there_is_counted_and_arrives_later() -> Result<()> {
    let world = World::start(Plan {
        proxied: true,
        ..Plan::of(&["ALFA"])
    })
    .await?;
    deploy(&world, "w", &[job("ALFA", "echo done")]).await?;
    for n in 0..10 {
        add_for(&world, &format!("W{n}"), "w", now() + 2000).await?;
    }
    for n in 0..10 {
        world.await_event(&format!("W{n}"), "OrderAttached").await?;
    }
    world.proxies()["ALFA"].set(Mode::Cut);
    let mut waiting = Vec::new();
    for n in 0..10 {
        let id = format!("W{n}");
        await_at_agent(&world, "ALFA", &id, "OrderDetachable").await?;
        waiting.extend(agent_story(&world, "ALFA", &id).await?);
    }
    waiting.retain(|seen| seen.kind != "OrderAttached");
    assert!(waiting.len() >= 40, "the backlog: {}", waiting.len());
    let newest = waiting.iter().map(|seen| seen.event_id).max().unwrap();
    let before = released(&world).await?;
    assert!(
        before < waiting[0].event_id,
        "S14: what the Controller has not got is kept, and the figure shows it: {before}"
    );
    world.catch_up().await?;
    for n in 0..10 {
        for kind in ["OrderStarted", "OrderFailed"] {
            assert_eq!(count(&world, &format!("W{n}"), kind), 0, "W{n} {kind}");
        }
    }
    world.proxies()["ALFA"].set(Mode::Open);
    for n in 0..10 {
        world.await_event(&format!("W{n}"), "OrderFinished").await?;
    }
    let is_released = || async { Ok(released(&world).await? >= newest) };
    world
        .await_that("the release of the report", is_released)
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn s4_what_happens_is_told_by_events_and_nobody_asks_for_the_whole_state() -> Result<()> {
    let alfa = AgentPlan {
        subagents: vec!["SUB-1".to_owned()],
        ..AgentPlan::named("ALFA")
    };
    let world = World::start(Plan {
        proxied: true,
        agents: vec![alfa],
        ..Plan::default()
    })
    .await?;
    deploy(&world, "w", &[job_at("ALFA", "SUB-1", "echo done")]).await?;
    for n in 0..20 {
        add(&world, &format!("W{n}"), "w").await?;
    }
    for n in 0..20 {
        world.await_event(&format!("W{n}"), "OrderFinished").await?;
    }
    for (node, api) in [("ALFA", "/agent/api"), ("SUB-1", "/subagent/api")] {
        let mut requests = world.proxies()[node].requests();
        // The path of an Agent's stream ends with the number of the coupling.
        let events = format!("GET {api}/event");
        let streams: usize = requests
            .extract_if(.., |request, _| request.starts_with(&events))
            .map(|(_, count)| count)
            .sum();
        let commands = requests.remove(&format!("POST {api}/command")).unwrap_or(0);
        assert!(
            (1..=3).contains(&streams),
            "S4: {node}: one stream of events, not {streams} questions"
        );
        assert!(commands > 0, "{node} has got its work");
        assert!(
            requests.is_empty(),
            "S4: {node} was asked for more: {requests:?}"
        );
    }
    Ok(())
}

/// Waits until the Agent ALFA is not taken for the one that the Controller knows.
pub(crate) async fn await_refusal(world: &World) -> Result<()> {
    let is_refusal = |seen: &&Seen| {
        seen.key == "ALFA"
            && seen.kind == "AgentCouplingFailed"
            && ["AgentNotDedicated", "AgentRunIdMismatch"]
                .contains(&seen.json["problem"]["code"].as_str().unwrap_or_default())
    };
    world
        .history()
        .wait_for(PATIENCE, |events| {
            events.iter().find(is_refusal).map(|_| ())
        })
        .await
        .with_context(|| world.lament("S78: the refusal of the wiped Agent"))
}

/// An Agent that has lost its log is not taken for the old one; an operator hears of it and decides. What then, see `reset`.
#[tokio::test(flavor = "multi_thread")]
async fn s78_a_wiped_agent_is_refused_and_told_its_orders_are_kept_and_the_others_go_on()
-> Result<()> {
    let mut world = World::start(Plan::of(&["ALFA", "BRAVO"])).await?;
    deploy(&world, "alfa", &[job("ALFA", "echo done")]).await?;
    deploy(&world, "bravo", &[job("BRAVO", "echo done")]).await?;
    add_for(&world, "TOMORROW", "alfa", now() + 86_400_000).await?;
    world.await_event("TOMORROW", "OrderAttached").await?;
    kill_and_wipe(&mut world, "ALFA").await?;
    world.node("ALFA").start_ready().await?;
    await_refusal(&world).await?;
    add(&world, "A", "alfa").await?;
    add(&world, "B", "bravo").await?;
    world.await_event("B", "OrderFinished").await?;
    for id in ["TOMORROW", "A"] {
        ensure!(world.api().order(id).await?.is_some(), "{id} is kept");
        assert_eq!(
            count(&world, id, "OrderStarted"),
            0,
            "{id} starts nowhere unnoticed"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s35_what_cannot_be_handed_over_is_seen_to_wait_and_arrives_in_order() -> Result<()> {
    const COUNT: usize = 40;
    let world = World::start(Plan {
        proxied: true,
        ..Plan::of(&["ALFA"])
    })
    .await?;
    deploy(&world, "w", &[job("ALFA", "echo done")]).await?;
    world.proxies()["ALFA"].set(Mode::Cut);
    let ids: Vec<String> = (0..COUNT).map(|n| format!("order-{n:02}")).collect();
    for id in &ids {
        add(&world, id, "w").await?;
    }
    for id in &ids {
        let order = world.api().order(id).await?.context("it is there")?;
        ensure!(
            order["attachedState"]["TYPE"] == "Attaching",
            "S35: it is seen to wait: {order}"
        );
    }
    world.proxies()["ALFA"].set(Mode::Open);
    for id in &ids {
        world.await_event(id, "OrderFinished").await?;
    }
    let attached: Vec<String> = world
        .history()
        .all()
        .into_iter()
        .filter(|seen| seen.kind == "OrderAttached")
        .map(|seen| seen.key)
        .collect();
    ensure!(
        attached == ids,
        "S35: handed over in order, once: {attached:?}"
    );
    Ok(())
}
