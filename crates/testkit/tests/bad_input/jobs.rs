//! Jobs that cannot be started, that never end, that flood, that leave something behind.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::world::{World, processes_of};

use crate::{deploy, world};

async fn run(world: &World, id: &str, executable: Value, more: Value) {
    let mut job = json!({"agentPath": "ALFA", "processLimit": 10, "executable": executable});
    for (name, value) in more.as_object().unwrap() {
        job[name] = value.clone();
    }
    deploy(
        world,
        id,
        json!([{"TYPE": "Execute.Anonymous", "job": job}]),
    )
    .await;
    world
        .api()
        .add_order(&json!({"id": id, "workflowPath": id}))
        .await
        .unwrap();
}

fn script(text: &str) -> Value {
    json!({"TYPE": "ShellScriptExecutable", "script": text})
}

async fn kill(world: &World, id: &str) {
    let mode = json!({"TYPE": "FreshOrStarted", "kill": {}});
    let command = json!({"TYPE": "CancelOrders", "orderIds": [id], "mode": mode});
    world.api().accept(&command).await.unwrap();
}

/// Jobs of the world: processes with this in their command line.
fn running(world: &World, part: &str) -> usize {
    let has_it = |pid: &i32| {
        std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| {
            String::from_utf8_lossy(&line)
                .replace('\0', " ")
                .contains(part)
        })
    };
    processes_of(world.mark())
        .iter()
        .filter(|pid| has_it(pid))
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_does_not_exist_or_is_not_executable_fails_its_order_with_the_reason() {
    let mut world = world(&["ALFA"]).await;
    let folder = world.node("ALFA").data.join("executables");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("plain.txt"), "no program").unwrap();
    let gone = world.tmp().join("gone.sh").display().to_string();
    for (id, executable, words) in [
        (
            "gone",
            json!({"TYPE": "PathExecutable", "path": gone}),
            "gone.sh",
        ),
        (
            "gone-relative",
            json!({"TYPE": "PathExecutable", "path": "missing.sh"}),
            "missing.sh",
        ),
        (
            "plain",
            json!({"TYPE": "PathExecutable", "path": "plain.txt"}),
            "plain.txt",
        ),
        (
            "command",
            json!({"TYPE": "CommandLineExecutable", "command": "/no/such/program x"}),
            "/no/such/program",
        ),
        (
            "shebang",
            script("#!/no/such/interpreter\n:\n"),
            "/no/such/interpreter",
        ),
    ] {
        run(&world, id, executable, json!({})).await;
        let processed = world.await_event(id, "OrderProcessed").await.unwrap();
        let kind = processed.json["outcome"]["TYPE"].as_str().unwrap();
        assert!(matches!(kind, "Failed" | "Disrupted"), "{processed}");
        assert!(
            processed.to_string().contains(words),
            "{id}: the reason names it: {processed}"
        );
        world.await_event(id, "OrderFailed").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_floods_its_output_costs_bounded_memory_and_can_be_killed() {
    let mut world = world(&["ALFA"]).await;
    let script_text = "exec yes 'a line of a flood that never ends'";
    run(&world, "flood", script(script_text), json!({})).await;
    world
        .await_event("flood", "OrderStdoutWritten")
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_secs(4)).await;
    let pid = world.node("ALFA").pid().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let peak = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap()
        .to_owned();
    let kibibytes: u64 = peak.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(kibibytes < 300 * 1024, "the Agent needed {peak}");
    // Others get their turn.
    let begin = Instant::now();
    run(&world, "other", script("echo hello"), json!({})).await;
    world.await_event("other", "OrderFinished").await.unwrap();
    assert!(
        begin.elapsed() < Duration::from_secs(15),
        "{:?}",
        begin.elapsed()
    );
    kill(&world, "flood").await;
    world.await_event("flood", "OrderCancelled").await.unwrap();
    assert_eq!(running(&world, "yes a line"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_never_ends_is_ended_by_its_timeout_even_if_it_is_deaf() {
    let world = world(&["ALFA"]).await;
    let deaf = "trap '' TERM; while true; do sleep 0.1; done";
    run(
        &world,
        "deaf",
        script(deaf),
        json!({"timeout": 0.3, "sigkillDelay": 0.4}),
    )
    .await;
    let processed = world.await_event("deaf", "OrderProcessed").await.unwrap();
    let outcome = &processed.json["outcome"];
    assert_eq!(outcome["TYPE"], "TimedOut", "{outcome}");
    assert_eq!(
        outcome["outcome"]["namedValues"]["returnCode"], 137,
        "{outcome}"
    );
    let started = world
        .await_event("deaf", "OrderProcessingStarted")
        .await
        .unwrap();
    assert!(
        processed.at - started.at >= 690,
        "the grace time was granted"
    );
    world.await_event("deaf", "OrderFailed").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn children_that_a_killed_job_leaves_behind_are_gone() {
    let world = world(&["ALFA"]).await;
    // One in its own session, one deaf, one orphaned.
    let family = "setsid sleep 4711 &\n(trap '' TERM; exec sleep 4712) &\nsh -c 'sleep 4713 &'\necho READY\nwait\n";
    run(
        &world,
        "family",
        script(family),
        json!({"sigkillDelay": 0.3}),
    )
    .await;
    world.await_stdout("family", "READY", 1).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(
        running(&world, "sleep 471") >= 2,
        "{}",
        running(&world, "sleep 471")
    );
    kill(&world, "family").await;
    world.await_event("family", "OrderCancelled").await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    while running(&world, "sleep 471") > 0 {
        assert!(
            Instant::now() < deadline,
            "{} are left",
            running(&world, "sleep 471")
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_a_job_returns_badly_fail_its_order_with_the_reason() {
    let world = world(&["ALFA"]).await;
    run(
        &world,
        "values",
        script("printf 'no equals sign\\n' >>\"$MAINSPRING_RETURN_VALUES\""),
        json!({}),
    )
    .await;
    let processed = world.await_event("values", "OrderProcessed").await.unwrap();
    assert_ne!(
        processed.json["outcome"]["TYPE"], "Succeeded",
        "{processed}"
    );
    assert!(
        processed.to_string().contains("no equals sign") || processed.to_string().contains('='),
        "{processed}"
    );
    world.await_event("values", "OrderFailed").await.unwrap();
}
