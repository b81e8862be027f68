//! An Agent kept by two Directors, with the Controller as the third vote: either may fail, hang or be handed over.

use crate::{PATIENCE, add, add_for, count, deploy, job, job_at, now};
use anyhow::{Result, ensure};
use serde_json::{Value, json};
use testkit::world::{AgentPlan, Api, Plan, World, second_director};

const AGENT: &str = "ALFA";

/// A pair with a Subagent of its own kind.
fn plan() -> Plan {
    Plan {
        agents: vec![AgentPlan {
            is_pair: true,
            subagents: vec!["SUB-1".to_owned()],
            ..AgentPlan::named(AGENT)
        }],
        agent_settings: vec![("subagent-lease".to_owned(), "6s".to_owned())],
        ..Plan::default()
    }
}

/// Where both Directors have everything.
async fn coupled() -> Result<World> {
    let world = World::start(plan()).await?;
    await_told(&world, "ClusterCoupled", 1).await?;
    Ok(world)
}

/// How often the Controller has been told this of the pair.
fn told(world: &World, kind: &str) -> usize {
    let events = world.history().all();
    let of_pair = events
        .iter()
        .filter(|seen| seen.key == AGENT && seen.kind == "AgentMirroredEvent");
    of_pair
        .filter(|seen| seen.json["keyedEvent"]["TYPE"] == kind)
        .count()
}

async fn await_told(world: &World, kind: &str, times: usize) -> Result<()> {
    let what = format!("{times} × {kind} of the Directors");
    let is_told = || async { Ok(told(world, kind) >= times) };
    world.await_that(&what, is_told).await
}

fn processes() -> [String; 2] {
    [AGENT.to_owned(), second_director(AGENT)]
}

/// What a Director says of the pair.
async fn report(world: &World, process: &str) -> Result<Value> {
    let api = Api::with_token(&world.node_ref(process)?.url(), &world.node_token()?)?;
    let answer = tokio::time::timeout(
        std::time::Duration::from_secs(1),
        api.client().get_json("/agent/api/cluster"),
    );
    Ok(answer.await??)
}

/// The process of the active Director, and the other one.
async fn active(world: &World) -> Result<(String, String)> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        for (process, other) in [(0, 1), (1, 0)] {
            let names = processes();
            if report(world, &names[process])
                .await
                .is_ok_and(|report| report["mayAnswer"] == true)
            {
                return Ok((names[process].clone(), names[other].clone()));
            }
        }
        ensure!(
            tokio::time::Instant::now() < deadline,
            world.lament("an active Director")
        );
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// A job that says that it has begun and ends when the gate is open.
fn gated(world: &World, gate: &str) -> String {
    format!(
        "echo BEGUN; while ! [ -e {}/{gate} ]; do sleep 0.02; done; echo DONE",
        world.tmp().display()
    )
}

/// Two orders whose jobs have begun and end when `gate` is open: ELSEWHERE at the Subagent, OWN in the first Director's process.
async fn begin_elsewhere_and_own(world: &World) -> Result<()> {
    let jobs = [
        ("ELSEWHERE", "elsewhere", "SUB-1"),
        ("OWN", "own", "ALFA-0"),
    ];
    for (id, path, subagent) in jobs {
        let job = job_at(AGENT, subagent, &gated(world, "gate"));
        deploy(world, path, &[job]).await?;
        add(world, id, path).await?;
        world.await_stdout(id, "BEGUN", 1).await?;
    }
    Ok(())
}

/// What an Agent's log on the disk of this process says, up to its end.
fn log_of(world: &World, process: &str) -> Result<Vec<String>> {
    let dir = world.node_ref(process)?.data.join("state");
    let output = world.command_line(&["journal", "cat", &dir.display().to_string()])?;
    ensure!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout)?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// What the standby has is what the active one has: nothing more, nothing else.
async fn s132_both_logs_are_the_same(world: &World, one: &str, other: &str) -> Result<()> {
    let mut last = (Vec::new(), Vec::new());
    for _ in 0..200 {
        last = (log_of(world, one)?, log_of(world, other)?);
        if last.0 == last.1 && !last.0.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let differs = last.0.iter().zip(&last.1).find(|(one, other)| one != other);
    anyhow::bail!(
        "S132: {} and {} lines, first difference {differs:?}",
        last.0.len(),
        last.1.len()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn s1_s31_s129_to_s133_s138_everything_goes_on_when_the_active_director_is_killed()
-> Result<()> {
    let mut world = coupled().await?;
    let (first, second) = active(&world).await?;
    ensure!(first == AGENT, "the Agent begins at its first Director");
    let retried = json!({"TYPE": "Try",
        "try": {"instructions": [job_at(AGENT, "SUB-1", &format!("test -e {}/fixed", world.tmp().display()))]},
        "catch": {"instructions": [{"TYPE": "Retry"}]}, "retryDelays": [1]});
    begin_elsewhere_and_own(&world).await?;
    deploy(&world, "retried", &[retried]).await?;
    deploy(&world, "any", &[job(AGENT, "echo RAN")]).await?;
    add(&world, "RETRIED", "retried").await?;
    add_for(&world, "PLANNED", "any", now() + 3000).await?;
    world.await_event("PLANNED", "OrderAttached").await?;
    world.await_event("RETRIED", "OrderRetrying").await?;

    world.node(&first).kill()?;
    await_told(&world, "ClusterFailedOver", 1).await?;
    let (now_active, _) = active(&world).await?;
    assert_eq!(now_active, second, "S133: the other Director has followed");
    world.await_event("PLANNED", "OrderFinished").await?;
    std::fs::write(world.tmp().join("fixed"), "")?;
    world.await_event("RETRIED", "OrderFinished").await?;
    world.open_gate("gate")?;
    world.await_event("ELSEWHERE", "OrderFinished").await?;
    assert_eq!(
        count(&world, "ELSEWHERE", "OrderProcessingStarted"),
        1,
        "S138: a job elsewhere goes on"
    );
    assert_eq!(
        world.history().stdout_of("ELSEWHERE"),
        "BEGUN\nDONE\n",
        "no line is missing"
    );
    // What ran at the dead Director is lost, and told as lost, when its lease is over or it is back.
    world.node(&first).start_ready().await?;
    world.await_event("OWN", "OrderFinished").await?;
    assert_eq!(count(&world, "OWN", "OrderProcessingStarted"), 2);
    await_told(&world, "ClusterCoupled", 2).await?;
    s132_both_logs_are_the_same(&world, &first, &second).await?;

    // And back by a command.
    let switched = world.command_line(&["cluster", "switch-over", "--agent", AGENT])?;
    ensure!(switched.status.success(), "{switched:?}");
    let (again, _) = active(&world).await?;
    assert_eq!(again, first, "S133: handed over by a command");
    add(&world, "LAST", "any").await?;
    world.await_event("LAST", "OrderFinished").await?;
    let seen = world.api().get("/controller/api/agent").await?;
    let seen = seen.map_err(|refused| anyhow::anyhow!("{refused}"))?;
    let cluster = &seen["agents"][0]["cluster"];
    ensure!(
        cluster["setting"]["activeId"] == "Primary",
        "the Controller shows who is active: {seen}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s132_how_far_the_standby_is_behind_is_shown_until_it_has_everything() -> Result<()> {
    let mut world = coupled().await?;
    let (first, second) = active(&world).await?;
    let behind = async |world: &World| -> Result<Option<u64>> {
        let report = report(world, &first).await?;
        let others = report["others"].as_array().cloned().unwrap_or_default();
        let standby = others.iter().find(|other| other["isWatch"] == false);
        Ok(standby.and_then(|standby| standby["batchesBehind"].as_u64()))
    };
    world
        .await_that("a standby that has everything", || async {
            Ok(behind(&world).await? == Some(0))
        })
        .await?;
    deploy(&world, "any", &[job_at(AGENT, "SUB-1", "echo RAN")]).await?;
    world.node(&second).kill()?;
    for n in 0..5 {
        add(&world, &format!("DURING-{n}"), "any").await?;
        world
            .await_event(&format!("DURING-{n}"), "OrderFinished")
            .await?;
    }
    let lag = behind(&world).await?;
    ensure!(
        lag.is_some_and(|lag| lag >= 5),
        "S132: the lag is shown: {lag:?}"
    );
    world.node(&second).start_ready().await?;
    await_told(&world, "ClusterCoupled", 2).await?;
    world
        .await_that("a standby that has everything again", || async {
            Ok(behind(&world).await? == Some(0))
        })
        .await?;
    s132_both_logs_are_the_same(&world, &first, &second).await
}

#[tokio::test(flavor = "multi_thread")]
async fn s131_s142_a_director_that_hung_comes_back_as_the_one_that_follows() -> Result<()> {
    let mut world = coupled().await?;
    let (first, second) = active(&world).await?;
    begin_elsewhere_and_own(&world).await?;
    deploy(&world, "any", &[job_at(AGENT, "SUB-1", "echo RAN")]).await?;
    world.node(&first).stop()?;
    await_told(&world, "ClusterFailedOver", 1).await?;
    add(&world, "DURING", "any").await?;
    world.await_event("DURING", "OrderFinished").await?;
    // Its jobs are ended by its guard when their lease is over, so that they can be repeated.
    world.await_nth("OWN", "OrderProcessed", 1).await?;
    world.node(&first).cont()?;
    await_told(&world, "ClusterCoupled", 2).await?;
    let (now_active, _) = active(&world).await?;
    assert_eq!(now_active, second, "S131: who was followed follows");
    world.open_gate("gate")?;
    for order in ["ELSEWHERE", "OWN"] {
        world.await_event(order, "OrderFinished").await?;
    }
    assert_eq!(count(&world, "ELSEWHERE", "OrderProcessingStarted"), 1);
    let output = world.history().stdout_of("OWN");
    ensure!(
        output.matches("DONE").count() == 1,
        "S142: the first run was ended before the second began: {output}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_director_that_dials_nobody_repairs_its_damaged_log_from_the_one_that_dials_it()
-> Result<()> {
    let mut world = coupled().await?;
    deploy(&world, "w", &[job(AGENT, "echo DONE")]).await?;
    add(&world, "before", "w").await?;
    world.await_event("before", "OrderFinished").await?;
    let [dialled, dials] = processes();
    world.node(&dialled).kill()?;
    let vote = world.node_ref(&dialled)?.data.join("state/state");
    std::fs::write(&vote, "{}\n00000000\n")?;
    let coupled = told(&world, "ClusterCoupled");
    world.node(&dialled).start()?;
    await_told(&world, "ClusterCoupled", coupled + 1).await?;
    let log = world.node_ref(&dialled)?.log();
    ensure!(log.contains("is set aside for inspection"), "{log}");
    s132_both_logs_are_the_same(&world, &dialled, &dials).await?;
    // The Director can take over.
    world.node(&dials).kill()?;
    add(&world, "afterwards", "w").await?;
    world.await_event("afterwards", "OrderFinished").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s138_a_director_that_is_shut_down_hands_over_first() -> Result<()> {
    let mut world = coupled().await?;
    let (first, second) = active(&world).await?;
    deploy(
        &world,
        "own",
        &[job_at(
            AGENT,
            "ALFA-0",
            "echo BEGUN; trap 'echo ENDING; exit 3' TERM; while :; do sleep 0.02; done",
        )],
    )
    .await?;
    add(&world, "OWN", "own").await?;
    world.await_stdout("OWN", "BEGUN", 1).await?;
    let status = world.node(&first).terminate().await?;
    ensure!(status.success(), "it ends in order: {status}");
    // The Director that has become active records the switch-over.
    await_told(&world, "ClusterSwitchedOver", 1).await?;
    let (now_active, _) = active(&world).await?;
    assert_eq!(now_active, second);
    let processed = world.await_event("OWN", "OrderProcessed").await?;
    ensure!(
        world.history().stdout_of("OWN").contains("ENDING"),
        "the last words of its job have arrived: {processed}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn directors_follow_each_other_while_the_controller_is_away_if_a_watch_is_there() -> Result<()>
{
    let mut world = coupled().await?;
    deploy(&world, "any", &[job_at(AGENT, "SUB-1", "echo RAN")]).await?;
    let mut watch = world.watch_agent(AGENT)?;
    let (first, second) = active(&world).await?;
    add_for(&world, "PLANNED", "any", now() + 6000).await?;
    world.await_event("PLANNED", "OrderAttached").await?;
    world.controller().kill()?;
    let has_other_watch = || async {
        let report = report(&world, &first).await?;
        Ok(report["setting"]["clusterWatchId"] == "watch")
    };
    world
        .await_that("the vote of the other watch", has_other_watch)
        .await?;
    world.node(&first).kill()?;
    let (now_active, _) = active(&world).await?;
    assert_eq!(now_active, second, "without any Controller");
    world.controller().start_ready().await?;
    world.await_event("PLANNED", "OrderFinished").await?;
    watch.kill()?;
    watch.wait()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s78_a_reset_of_the_agent_resets_both_directors_and_they_are_a_pair_again() -> Result<()> {
    let mut world = coupled().await?;
    deploy(&world, "gated", &[job(AGENT, &gated(&world, "never"))]).await?;
    deploy(&world, "any", &[job(AGENT, "echo RAN")]).await?;
    for (round, switches) in [(1, false), (2, true)] {
        if switches {
            // The second Director is the active one when it happens.
            let switch = json!({"TYPE": "ClusterSwitchOver", "agentPath": AGENT});
            while active(&world).await?.0 != second_director(AGENT) {
                world.api().accept(&switch).await?;
            }
        }
        let (running, later) = (format!("RUNNING-{round}"), format!("LATER-{round}"));
        add(&world, &running, "gated").await?;
        world.await_stdout(&running, "BEGUN", 1).await?;
        let coupled = told(&world, "ClusterCoupled");
        let reset = json!({"TYPE": "ResetAgent", "agentPath": AGENT});
        world.api().accept(&reset).await?;
        world.await_nth(AGENT, "AgentReset", round).await?;
        world.await_event(&running, "OrderFailed").await?;
        add(&world, &later, "any").await?;
        world.await_event(&later, "OrderFinished").await?;
        await_told(&world, "ClusterCoupled", coupled + 1).await?;
        let (now_active, _) = active(&world).await?;
        assert_eq!(
            now_active, AGENT,
            "the Agent begins anew at its first Director"
        );
    }
    world.node(AGENT).kill()?;
    let (now_active, _) = active(&world).await?;
    assert_eq!(
        now_active,
        second_director(AGENT),
        "and they follow each other as before"
    );
    Ok(())
}
