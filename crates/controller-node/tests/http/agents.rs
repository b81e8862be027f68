//! A Controller and real Agents.

use crate::world::{Agent, Controller, PATIENCE, agent_items, settings, workflow};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::time::Instant;

async fn controller_for(data: &Path, agents: &[(&str, &Agent)]) -> Controller {
    let mut settings = settings(data);
    for (path, agent) in agents {
        settings
            .agent_token_files
            .insert((*path).to_owned(), agent.token_file.clone());
    }
    Controller::start_with(settings).await
}

async fn wait_until_coupled(controller: &Controller, path: &str) {
    let begin = Instant::now();
    loop {
        let agents = controller.get("/controller/api/agent").await.json();
        let agent = agents["agents"]
            .as_array()
            .unwrap()
            .iter()
            .find(|agent| agent["agentPath"] == path)
            .cloned();
        if agent
            .as_ref()
            .is_some_and(|agent| agent["isCoupled"] == true)
        {
            return;
        }
        assert!(
            begin.elapsed() < PATIENCE,
            "{path} is not coupled: {agent:?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn agent_events(controller: &Controller, path: &str) -> Vec<(String, Value)> {
    let events = controller
        .events()
        .await
        .into_iter()
        .filter(|event| event["Key"] == path);
    let events = events.filter(|event| event["TYPE"] != "AgentEventsObserved");
    events
        .map(|event| (event["TYPE"].as_str().unwrap().to_owned(), event))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn s45_a_workflow_over_two_agents_runs_to_its_end_and_its_output_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let alfa = Agent::start("ALFA", &dir.path().join("alfa")).await;
    let bravo = Agent::start("BRAVO", &dir.path().join("bravo")).await;
    let controller =
        controller_for(&dir.path().join("c"), &[("ALFA", &alfa), ("BRAVO", &bravo)]).await;
    controller.deploy(&agent_items("ALFA", &alfa.url)).await;
    controller.deploy(&agent_items("BRAVO", &bravo.url)).await;
    controller
        .deploy(&[workflow(
            "hop",
            &[
                ("ALFA", "echo one"),
                ("ALFA", ":"),
                ("BRAVO", "echo three >&2"),
            ],
        )])
        .await;
    controller.add("H1", "hop").await;
    let story = controller.wait_for("H1", "OrderFinished").await;
    let story: Vec<&str> = story
        .iter()
        .map(String::as_str)
        .filter(|name| !name.contains("Written"))
        .collect();
    let expected = [
        "OrderAdded",
        "OrderAttachable",
        "OrderAttached",
        "OrderStarted",
        "OrderProcessingStarted",
        "OrderProcessed",
        "OrderMoved",
        "OrderProcessingStarted",
        "OrderProcessed",
        "OrderMoved",
        "OrderDetachable",
        "OrderDetached",
        "OrderAttachable",
        "OrderAttached",
        "OrderProcessingStarted",
        "OrderProcessed",
        "OrderMoved",
        "OrderDetachable",
        "OrderDetached",
        "OrderFinished",
    ];
    assert_eq!(story, expected, "S46, S48, S79: WI-03");
    let log = controller.get("/controller/api/order/H1/log").await;
    assert_eq!(log.text, "one\nthree\n", "S47: output comes by events only");
    controller.stop().await;
    alfa.stop().await;
    bravo.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s77_work_goes_on_without_the_controller_and_is_reported_when_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let gate = dir.path().join("gate");
    let mark = dir.path().join("mark");
    let alfa = Agent::start("ALFA", &dir.path().join("alfa")).await;
    let data = dir.path().join("c");
    let controller = controller_for(&data, &[("ALFA", &alfa)]).await;
    controller.deploy(&agent_items("ALFA", &alfa.url)).await;
    let wait = format!("until [ -e {} ]; do sleep 0.05; done", gate.display());
    let done = format!("echo done; touch {}", mark.display());
    controller
        .deploy(&[workflow("w", &[("ALFA", &wait), ("ALFA", &done)])])
        .await;
    controller.add("A", "w").await;
    controller.wait_for("A", "OrderProcessingStarted").await;
    controller.stop().await;
    std::fs::write(&gate, "").unwrap();
    let begin = Instant::now();
    while !mark.exists() {
        assert!(
            begin.elapsed() < PATIENCE,
            "S15, S76: the Agent goes on by itself"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let controller = controller_for(&data, &[("ALFA", &alfa)]).await;
    controller.wait_for("A", "OrderFinished").await;
    assert_eq!(
        controller.get("/controller/api/order/A/log").await.text,
        "done\n",
        "S17"
    );
    controller.stop().await;
    alfa.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s33_an_agent_that_restarts_is_coupled_again_and_no_order_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let alfa = Agent::start("ALFA", &dir.path().join("alfa")).await;
    let listen = alfa.url.strip_prefix("http://").unwrap().to_owned();
    let url = alfa.url.clone();
    let controller = controller_for(&dir.path().join("c"), &[("ALFA", &alfa)]).await;
    controller.deploy(&agent_items("ALFA", &url)).await;
    controller.deploy(&[workflow("w", &[("ALFA", ":")])]).await;
    wait_until_coupled(&controller, "ALFA").await;
    alfa.stop().await;
    controller.add("A", "w").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(
        controller.story("A").await.last().unwrap(),
        "OrderAttachable",
        "S35: it waits"
    );
    let alfa = Agent::start_at("ALFA", &dir.path().join("alfa"), &listen).await;
    controller.wait_for("A", "OrderFinished").await;
    let names: Vec<String> = agent_events(&controller, "ALFA")
        .await
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(
        names
            .iter()
            .filter(|name| *name == "AgentDedicated")
            .count(),
        1,
        "dedicated once: {names:?}"
    );
    assert_eq!(names.iter().filter(|name| *name == "AgentReady").count(), 2);
    controller.stop().await;
    alfa.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ag06_a_moved_agent_is_found_at_its_new_address() {
    let dir = tempfile::tempdir().unwrap();
    let alfa = Agent::start("ALFA", &dir.path().join("alfa")).await;
    let controller = controller_for(&dir.path().join("c"), &[("ALFA", &alfa)]).await;
    controller
        .deploy(&agent_items("ALFA", "http://127.0.0.1:1"))
        .await;
    controller.deploy(&[workflow("w", &[("ALFA", ":")])]).await;
    controller.add("A", "w").await;
    let begin = Instant::now();
    while !agent_events(&controller, "ALFA")
        .await
        .iter()
        .any(|(name, _)| name == "AgentCouplingFailed")
    {
        assert!(begin.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let failures = agent_events(&controller, "ALFA")
        .await
        .into_iter()
        .filter(|(name, _)| name == "AgentCouplingFailed");
    assert_eq!(failures.count(), 1, "told once, however often it is tried");
    controller.deploy(&agent_items("ALFA", &alfa.url)).await;
    controller.wait_for("A", "OrderFinished").await;
    controller.stop().await;
    alfa.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn se06_an_agent_refuses_a_controller_without_its_token() {
    let dir = tempfile::tempdir().unwrap();
    let alfa = Agent::start("ALFA", &dir.path().join("alfa")).await;
    let controller = Controller::start(&dir.path().join("c")).await;
    controller.deploy(&agent_items("ALFA", &alfa.url)).await;
    let begin = Instant::now();
    loop {
        let events = agent_events(&controller, "ALFA").await;
        if let Some((_, event)) = events
            .iter()
            .find(|(name, _)| name == "AgentCouplingFailed")
        {
            assert!(
                event["problem"]["message"]
                    .as_str()
                    .unwrap()
                    .contains("HTTP 401"),
                "SE-06: {event}"
            );
            break;
        }
        assert!(begin.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    controller.stop().await;
    alfa.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ag05_an_agent_with_an_empty_log_is_not_taken_for_the_old_one() {
    let dir = tempfile::tempdir().unwrap();
    let alfa = Agent::start("ALFA", &dir.path().join("alfa")).await;
    let impostor = Agent::start("ALFA", &dir.path().join("impostor")).await;
    let token = std::fs::read(&alfa.token_file).unwrap();
    let controller = controller_for(&dir.path().join("c"), &[("ALFA", &alfa)]).await;
    controller.deploy(&agent_items("ALFA", &alfa.url)).await;
    wait_until_coupled(&controller, "ALFA").await;
    // The same secret at another, empty Agent.
    let url = impostor.url.clone();
    impostor.stop().await;
    std::fs::write(dir.path().join("impostor/private/token"), token).unwrap();
    let listen = url.strip_prefix("http://").unwrap();
    let impostor = Agent::start_at("ALFA", &dir.path().join("impostor"), listen).await;
    controller.deploy(&agent_items("ALFA", &url)).await;
    let begin = Instant::now();
    loop {
        let events = agent_events(&controller, "ALFA").await;
        let is_told = events
            .iter()
            .any(|(_, event)| event["problem"]["code"] == "AgentNotDedicated");
        if is_told {
            break;
        }
        // S78: an Agent whose disk was wiped gets nothing by itself: it is refused and told, until an operator decides.
        assert!(begin.elapsed() < PATIENCE, "AG-05: {events:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    controller.stop().await;
    alfa.stop().await;
    impostor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s70_a_silent_agent_delays_nobody() {
    let dir = tempfile::tempdir().unwrap();
    // It accepts connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent_url = format!("http://{}", silent.local_addr().unwrap());
    let holding = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = silent.accept().await {
            held.push(stream);
        }
        held.len()
    });
    let alfa = Agent::start("ALFA", &dir.path().join("alfa")).await;
    let controller = controller_for(&dir.path().join("c"), &[("ALFA", &alfa)]).await;
    controller.deploy(&agent_items("SILENT", &silent_url)).await;
    controller.deploy(&agent_items("ALFA", &alfa.url)).await;
    controller
        .deploy(&[
            workflow("w", &[("ALFA", ":")]),
            workflow("s", &[("SILENT", ":")]),
        ])
        .await;
    let orders: Vec<Value> = (0..200)
        .map(|n| json!({ "id": format!("S{n}"), "workflowPath": "s" }))
        .collect();
    controller
        .post("/controller/api/order", &json!(orders))
        .await;
    let begin = Instant::now();
    controller.add("A", "w").await;
    controller.wait_for("A", "OrderFinished").await;
    assert!(
        begin.elapsed() < Duration::from_secs(5),
        "S2: {:?}",
        begin.elapsed()
    );
    let agents = controller.get("/controller/api/agent").await.json();
    let silent = agents["agents"]
        .as_array()
        .unwrap()
        .iter()
        .find(|agent| agent["agentPath"] == "SILENT")
        .cloned();
    assert!(
        silent.unwrap()["pendingCommandCount"].as_u64().unwrap() >= 200,
        "S35: what waits is visible"
    );
    controller.stop().await;
    holding.abort();
    alfa.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s43_the_agent_releases_what_the_controller_has_committed() {
    let dir = tempfile::tempdir().unwrap();
    let alfa = Agent::start("ALFA", &dir.path().join("alfa")).await;
    let controller = controller_for(&dir.path().join("c"), &[("ALFA", &alfa)]).await;
    controller.deploy(&agent_items("ALFA", &alfa.url)).await;
    controller.deploy(&[workflow("w", &[("ALFA", ":")])]).await;
    controller.add("A", "w").await;
    controller.wait_for("A", "OrderFinished").await;
    let token = std::fs::read_to_string(&alfa.token_file).unwrap();
    let bearer = format!("Bearer {}", token.trim());
    let addr = alfa.url.strip_prefix("http://").unwrap().to_owned();
    let begin = Instant::now();
    loop {
        let headers = [("authorization", bearer.as_str())];
        let path = "/agent/api/event?after=0&timeout=0&return=JournalEventsReleased";
        let answer =
            crate::world::call(&addr, hyper::Method::GET, path, &headers, Vec::new()).await;
        if let Some(line) = answer.text.lines().last() {
            let released: Value = serde_json::from_str(line).unwrap();
            let agents = controller.get("/controller/api/agent").await.json();
            let observed = agents["agents"][0]["eventId"].as_u64().unwrap();
            assert!(
                released["untilEventId"].as_u64().unwrap() <= observed,
                "S44: released <= confirmed"
            );
            break;
        }
        assert!(
            begin.elapsed() < PATIENCE,
            "S43: nothing is released: {answer:?}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // An Agent at rest is left at rest: a release makes an event there, which must not make another release here.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let count = controller.events().await.len();
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(controller.events().await.len(), count, "idle is idle");
    controller.stop().await;
    alfa.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_job_is_cancelled_with_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let alfa = Agent::start("ALFA", &dir.path().join("alfa")).await;
    let controller = controller_for(&dir.path().join("c"), &[("ALFA", &alfa)]).await;
    controller.deploy(&agent_items("ALFA", &alfa.url)).await;
    controller
        .deploy(&[json!({
            "TYPE": "Workflow",
            "path": "w",
            "jobs": { "J": {
                "agentPath": "ALFA",
                "executable": { "TYPE": "ShellScriptExecutable", "script": "sleep 60 & echo READY; wait" },
                "graceTimeout": 2,
            } },
            "instructions": [{ "TYPE": "Execute.Named", "jobName": "J" }],
        })])
        .await;
    controller.add("A", "w").await;
    controller.wait_for("A", "OrderStdoutWritten").await;
    let mode = json!({ "TYPE": "FreshOrStarted", "kill": {} });
    controller
        .command(json!({ "TYPE": "CancelOrders", "orderIds": ["A"], "mode": mode }))
        .await;
    let story = controller.wait_for("A", "OrderCancelled").await;
    let at = story
        .iter()
        .position(|name| name == "OrderCancellationMarked")
        .unwrap();
    let expected = [
        "OrderCancellationMarked",
        "OrderCancellationMarkedOnAgent",
        // The shell has ended. The process that it has started has the rest of the grace time.
        "OrderProcessingHeld",
        "OrderProcessed",
        "OrderProcessingKilled",
        "OrderDetachable",
        "OrderDetached",
        "OrderCancelled",
    ];
    assert_eq!(story[at..], expected, "S125");
    controller.stop().await;
    alfa.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_orders_pass_through_an_agent() {
    let dir = tempfile::tempdir().unwrap();
    let alfa = Agent::start("ALFA", &dir.path().join("alfa")).await;
    let controller = controller_for(&dir.path().join("c"), &[("ALFA", &alfa)]).await;
    controller.deploy(&agent_items("ALFA", &alfa.url)).await;
    controller.deploy(&[workflow("w", &[("ALFA", ":")])]).await;
    let orders: Vec<Value> = (0..700)
        .map(|n| json!({ "id": format!("N{n}"), "workflowPath": "w" }))
        .collect();
    controller
        .post("/controller/api/order", &json!(orders))
        .await;
    let begin = Instant::now();
    loop {
        let counts = controller.get("/controller/api").await.json()["orderCountByState"].clone();
        if counts["Finished"] == 700 {
            break;
        }
        assert!(begin.elapsed() < Duration::from_mins(1), "{counts}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    controller.stop().await;
    alfa.stop().await;
}
