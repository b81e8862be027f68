//! Orders under control: cancelled, killed, suspended, resumed.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::conformance::case::Case;
use crate::conformance::driver::{Drive, is_refusal, now_millis, plan_of};
use crate::conformance::expectation::{View, lists};
use crate::conformance::matching::text_matches;

/// OC-01.
pub(crate) async fn a_fresh_order(case: &Case) -> Result<()> {
    let mut drive = Drive::start(case).await?;
    drive.all_steps().await?;
    drive.judge().await?;
    let ids = ["C1", "C2", "C3"];
    for id in ids {
        let order =
            json!({"id": id, "workflowPath": "pier/one", "scheduledFor": now_millis() + 99_000});
        drive.add(&order).await?;
        drive.world.await_event(id, "OrderAttached").await?;
    }
    let answer = drive
        .world
        .api()
        .accept(&json!({"TYPE": "CancelOrders", "orderIds": ids, "mode": {"TYPE": "FreshOnly"}}))
        .await?;
    ensure!(answer["TYPE"] == "Accepted", "{answer}");
    for id in ids {
        drive.world.await_event(id, "OrderCancelled").await?;
    }
    Ok(())
}

/// OC-05.
pub(crate) async fn a_deaf_script(case: &Case) -> Result<()> {
    let mut drive = Drive::start(case).await?;
    drive.steps(0..3).await?;
    let begin = now_millis();
    drive.steps(3..case.when.len()).await?;
    drive.judge().await?;
    let (view, list) = lists(case)?.remove("D").context("the list of D")?;
    ensure!(
        view == View::WithoutAttachmentAndOutput,
        "as the case tells it"
    );
    let told = &case.then["events without attach, detach, stdout"]["D"];
    drive.judge_order("D0", view, told).await?;
    ensure!(!list.is_empty(), "there is something to compare");
    let killed_after = |at: i64| at - begin;
    let d = killed_after(drive.world.await_event("D", "OrderProcessed").await?.at);
    let d0 = killed_after(drive.world.await_event("D0", "OrderProcessed").await?.at);
    ensure!(
        (500..5000).contains(&d),
        "D was killed after {d} ms, told are 500"
    );
    ensure!(d0 < d, "D0 was killed after {d0} ms, told is at once");
    Ok(())
}

/// The script that OC-08 describes.
const SWARM: &str = r#"
sleep 1000 & a=$!
sleep 1000 & b=$!
trap 'kill $a $b 2>/dev/null; wait $a $b 2>/dev/null; exit 7' TERM
echo "own $a"; echo "own $b"
sh -c 'trap "sleep 1000 & echo pid \$!; wait" TERM; echo "pid $$"; while true; do sleep 0.1; done' &
i=0
while [ $i -lt 97 ]; do
  sh -c '(trap "" TERM; exec sleep 1000) & echo "pid $!"' &
  i=$((i+1))
done
while true; do sleep 0.1; done
"#;

/// OC-08.
pub(crate) async fn a_swarm(case: &Case) -> Result<()> {
    for is_gentle_first in [true, false] {
        let mut drive = Drive::start_empty(case, plan_of(case)).await?;
        let mut item = case.items()[0].clone();
        item["instructions"][0]["job"]["executable"]["script"] = json!(SWARM);
        item["instructions"][0]["job"]["sigkillDelay"] = json!(60);
        drive.deploy(&[item]).await?;
        drive.steps(0..1).await?;
        drive.world.await_stdout("SW", "\n", 100).await?;
        let pids = |drive: &Drive<'_>| -> Vec<i32> {
            let written = drive.world.history().stdout_of("SW");
            written
                .lines()
                .filter_map(|line| line.split(' ').nth(1)?.parse().ok())
                .collect()
        };
        let kill = |kill: Value| json!({"TYPE": "CancelOrders", "orderIds": ["SW"], "mode": {"TYPE": "FreshOrStarted", "kill": kill}});
        if is_gentle_first {
            drive.world.api().accept(&kill(json!({}))).await?;
            tokio::time::sleep(Duration::from_secs(1)).await;
            let all = drive.world.history().of_order("SW");
            let is_over = all.iter().any(|seen| seen.kind == "OrderProcessed");
            ensure!(!is_over, "the order lives while descendants of its job do");
            let own: Vec<i32> = pids(&drive).into_iter().take(2).collect();
            ensure!(
                own.iter().all(|pid| !is_alive(*pid)),
                "the script has ended its own children first"
            );
        }
        drive
            .world
            .api()
            .accept(&kill(json!({"immediately": true})))
            .await?;
        let processed = drive.world.await_event("SW", "OrderProcessed").await?;
        let outcome = &processed.json["outcome"];
        let code = if is_gentle_first { 7 } else { 137 };
        ensure!(
            outcome["TYPE"] == "Killed" && outcome["outcome"]["namedValues"]["returnCode"] == code,
            "{outcome}, told is Killed(Failed rc {code})"
        );
        drive.world.await_event("SW", "OrderCancelled").await?;
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let alive: Vec<i32> = pids(&drive)
                .into_iter()
                .filter(|pid| is_alive(*pid))
                .collect();
            if alive.is_empty() {
                break;
            }
            ensure!(Instant::now() < deadline, "still there: {alive:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(())
}

/// Zombies are dead.
fn is_alive(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// OC-10.
pub(crate) async fn a_predicate(case: &Case) -> Result<()> {
    let mut drive = Drive::start(case).await?;
    for id in ["BATCH-A1", "BATCH-A2", "BATCH-B"] {
        let order =
            json!({"id": id, "workflowPath": "pier/one", "scheduledFor": now_millis() + 99_000});
        drive.add(&order).await?;
        drive.world.await_event(id, "OrderAttached").await?;
    }
    drive.steps(1..2).await?;
    drive
        .world
        .await_event("BATCH-A1", "OrderCancelled")
        .await?;
    drive
        .world
        .await_event("BATCH-A2", "OrderCancelled")
        .await?;
    drive.settle().await?;
    drive.judge_refusals()?;
    ensure!(
        drive.state_of("BATCH-B").await? == "Fresh",
        "BATCH-B is not cancelled"
    );
    Ok(())
}

/// OC-13.
pub(crate) async fn a_timeout(case: &Case) -> Result<()> {
    let mut drive = Drive::start(case).await?;
    drive.all_steps().await?;
    drive.judge().await?;
    let started = drive
        .world
        .await_event("S", "OrderProcessingStarted")
        .await?;
    let processed = drive.world.await_event("S", "OrderProcessed").await?;
    let elapsed = processed.at - started.at;
    ensure!(
        (200..5000).contains(&elapsed),
        "timed out after {elapsed} ms"
    );
    Ok(())
}

/// OC-18. Both orders stand at the gate at once, so the job needs two slots; the case does not tell them.
pub(crate) async fn a_resume_while_suspending(case: &Case) -> Result<()> {
    let mut drive = Drive::start_empty(case, plan_of(case)).await?;
    let mut item = case.items()[0].clone();
    item["instructions"][0]["job"]["processLimit"] = json!(2);
    drive.deploy(&[item]).await?;
    drive.all_steps().await?;
    drive.judge_events().await?;
    ensure!(
        drive.refused.len() == 1 && is_refusal(&drive.refused[0], "CannotResumeOrder"),
        "{:?}",
        drive.refused
    );
    drive.world.await_event("B", "OrderSuspended").await?;
    Ok(())
}

/// OC-23.
pub(crate) async fn a_changed_history(case: &Case) -> Result<()> {
    let mut drive = Drive::start(case).await?;
    drive.steps(0..5).await?;
    drive.world.await_event("H", "OrderSuspended").await?;
    let told = case.then["rejected"].as_array().context("no refusals")?;
    let beyond = drive.filled(&case.when[5]["command"]);
    let mut attempts = vec![(beyond, 0)];
    for kind in ["Replace", "Insert", "Delete", "Append"] {
        let mut operation = json!({"TYPE": kind, "position": [99]});
        if kind != "Delete" {
            operation["outcome"] = json!({"TYPE": "Succeeded"});
        }
        if kind == "Insert" {
            operation["before"] = json!([99]);
        }
        let command =
            json!({"TYPE": "ResumeOrder", "orderId": "H", "historyOperations": [operation]});
        attempts.push((command, 1));
    }
    for (command, index) in attempts {
        let refused = drive.world.api().command(&command).await?.err();
        let refused = refused.with_context(|| format!("{command} is refused"))?;
        let told = told[index].as_str().unwrap_or_default();
        let is_right = is_refusal(&refused, told) || text_matches(&refused.message, told);
        ensure!(
            is_right,
            "{command} was refused with {refused}, told is {told}"
        );
    }
    let before = drive.world.history().of_order("H").len();
    drive.steps(7..8).await?;
    drive.world.await_event("H", "OrderFailed").await?;
    drive.settle().await?;
    let expected = crate::conformance::expectation::Expected::read_list(
        &case.then["events after OrderSuspended"],
    )?;
    let after = drive.world.history().of_order("H").split_off(before);
    if let Some(fault) = crate::conformance::matching::difference("H", &after, &expected) {
        anyhow::bail!(fault);
    }
    let order = drive.world.api().order("H").await?.context("H is there")?;
    let history: Vec<(String, String)> = order["historicOutcomes"]
        .as_array()
        .context("no history")?
        .iter()
        .map(|entry| {
            let position =
                crate::conformance::position::text_of(&entry["position"]).unwrap_or_default();
            (position.replace("try+0", "try"), brief(&entry["outcome"]))
        })
        .collect();
    let told: Vec<(String, String)> = case.then["history"]
        .as_array()
        .context("no history told")?
        .iter()
        .map(|row| {
            let text = |index: usize| row[index].as_str().unwrap_or_default().to_owned();
            (text(0), text(1))
        })
        .collect();
    ensure!(
        history == told,
        "the history is {history:?}, told is {told:?}"
    );
    Ok(())
}

/// `Succeeded NEW=1`, `Failed bilge`, `Caught`.
fn brief(outcome: &Value) -> String {
    let kind = outcome["TYPE"].as_str().unwrap_or_default();
    let values = outcome["namedValues"].as_object().into_iter().flatten();
    let mut words = vec![kind.to_owned()];
    words.extend(values.map(|(name, value)| format!("{name}={value}")));
    words.extend(outcome["message"].as_str().map(str::to_owned));
    words.join(" ")
}
