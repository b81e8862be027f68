//! Orders on their way through workflows.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::conformance::case::Case;
use crate::conformance::driver::{Drive, now_millis};
use crate::conformance::position;
use crate::world::Seen;

/// WI-01.
pub(crate) async fn an_empty_workflow(case: &Case) -> Result<()> {
    let mut drive = Drive::start(case).await?;
    drive.all_steps().await?;
    drive.judge().await?;
    ensure!(drive.state_of("E1").await? == "Finished", "E1 stays listed");
    let gone = drive.world.api().order("E2").await?;
    ensure!(gone.is_none(), "E2 is gone, not {gone:?}");
    let delete = json!({"TYPE": "DeleteOrdersWhenTerminated", "orderIds": ["E1"]});
    drive.world.api().accept(&delete).await?;
    drive.world.await_event("E1", "OrderDeleted").await?;
    Ok(())
}

/// WI-06, with the real clock: one o'clock is the second in which the orders are due.
pub(crate) async fn an_impure_predicate(case: &Case) -> Result<()> {
    let mut drive = Drive::start_empty(case, crate::world::Plan::default()).await?;
    let due = (now_millis() / 1000 + 3) * 1000;
    let of_day = (due / 1000) % 86_400;
    let text = format!(
        "{:02}:{:02}:{:02}",
        of_day / 3600,
        of_day / 60 % 60,
        of_day % 60
    );
    let items: Vec<Value> = case
        .items()
        .iter()
        .map(|item| {
            let item = item
                .to_string()
                .replace("HH:mm", "HH:mm:ss")
                .replace("13:00", &text);
            serde_json::from_str(&item)
        })
        .collect::<Result<_, _>>()?;
    drive.deploy(&items).await?;
    for (id, workflow) in [
        ("A", "dock/if-arg"),
        ("B", "dock/if-clock"),
        ("C", "dock/if-resource"),
    ] {
        let arguments = if id == "A" {
            json!({"flag": true})
        } else {
            json!({})
        };
        drive
            .add(&json!({"id": id, "workflowPath": workflow, "arguments": arguments, "scheduledFor": due}))
            .await?;
    }
    drive.judge().await?;
    for id in ["B", "C"] {
        let early = drive
            .world
            .history()
            .of_order(id)
            .into_iter()
            .find(|seen| seen.at < due && seen.kind != "OrderAdded");
        ensure!(
            early.is_none(),
            "nothing happens before the time: {early:?}"
        );
    }
    Ok(())
}

/// WI-08.
pub(crate) async fn a_choice(case: &Case) -> Result<()> {
    let mut drive = Drive::start(case).await?;
    drive.all_steps().await?;
    let told = case.then["position of the said line"]
        .as_object()
        .context("no positions")?;
    for (order, expected) in told {
        drive.world.await_event(order, "OrderFinished").await?;
        let events = drive.world.history().of_order(order);
        let said = events
            .iter()
            .position(|seen| seen.kind == "OrderSaid")
            .context("nothing said")?;
        let place = events[..said]
            .iter()
            .rev()
            .find_map(|seen| position::text_of(&seen.json["to"]));
        ensure!(
            place.as_deref() == expected.as_str(),
            "{order} said at {place:?}, not at {expected}"
        );
    }
    Ok(())
}

/// WI-13.
pub(crate) async fn a_stuck_fork(case: &Case) -> Result<()> {
    let mut drive = Drive::start(case).await?;
    drive.steps(0..2).await?;
    ensure!(
        drive.state_of("S1").await? == "Forked",
        "S1 waits for its children"
    );
    ensure!(
        drive.state_of("S1|rock").await? == "Failed",
        "S1|rock has failed"
    );
    drive.steps(2..case.when.len()).await?;
    drive.judge().await
}

/// WI-21.
pub(crate) async fn retry_delays(case: &Case) -> Result<()> {
    let mut drive = Drive::start(case).await?;
    drive.all_steps().await?;
    drive.judge().await?;
    let events = drive.world.history().of_order("R");
    let tries: Vec<i64> = events
        .iter()
        .filter(|seen| seen.kind == "OrderMoved")
        .map(|seen| seen.at)
        .collect();
    for (pair, at_least) in tries.windows(2).zip([0, 1000, 2000, 2000]) {
        let gap = pair[1] - pair[0];
        ensure!(
            (at_least..at_least + 5000).contains(&gap),
            "{gap} ms instead of {at_least} ms between two tries"
        );
    }
    Ok(())
}

/// WI-30.
pub(crate) async fn stopped_while_fresh(case: &Case) -> Result<()> {
    let mut drive = Drive::start(case).await?;
    drive.steps(0..2).await?;
    ensure!(
        drive.state_of("SF").await? == "StoppedWhileFresh",
        "it was never started"
    );
    let order = drive
        .world
        .api()
        .order("SF")
        .await?
        .context("SF is there")?;
    let mut command = case.when[2]["command"].clone();
    command["historyOperations"][0]["position"] = order["position"].clone();
    drive.command(&command).await?;
    drive.judge().await
}

/// WI-45, with the real clock.
pub(crate) async fn a_sleep(case: &Case) -> Result<()> {
    let mut drive = Drive::start(case).await?;
    drive.steps(0..3).await?;
    let slept = drive.world.await_event("N", "OrderSleeping").await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    ensure!(
        drive.state_of("N").await? == "Sleeping",
        "N sleeps after 2 s"
    );
    drive.judge().await?;
    for order in ["N", "NA"] {
        let sleeping = drive.world.await_event(order, "OrderSleeping").await?;
        let until = sleeping.json["until"].as_i64().context("no until")?;
        ensure!(
            (until - sleeping.at - 3000).abs() <= 500,
            "{order} sleeps 3 s: {sleeping}"
        );
        let events = drive.world.history().of_order(order);
        let woke = events
            .iter()
            .rfind(|seen| seen.kind == "OrderMoved")
            .context("it moves on")?;
        ensure!(
            (0..5000).contains(&(woke.at - until)),
            "{order} wakes at its time: {woke}"
        );
    }
    ensure!(slept.key == "N");
    Ok(())
}

/// EX-06. The release has no Prompt; Say evaluates its text at the same place and in the same scope.
pub(crate) async fn the_scope_of_an_order(case: &Case) -> Result<()> {
    let mut drive = Drive::start_empty(case, crate::conformance::driver::plan_of(case)).await?;
    let rows = case.then["table"].as_array().context("no table")?;
    let mut workflow = case.items()[0].clone();
    let instructions = workflow["instructions"]
        .as_array_mut()
        .context("no instructions")?;
    instructions.pop();
    for row in rows {
        instructions.push(json!({"TYPE": "Say", "what": row[0]}));
    }
    let resource = json!({"TYPE": "JobResource", "path": "res", "variables": {"name": "\"the resource's variable\""}});
    workflow["jobResourcePaths"] = json!(["res"]);
    drive.deploy(&[resource, workflow]).await?;
    drive.steps(0..1).await?;
    let finished = drive
        .world
        .history()
        .wait_for(Duration::from_secs(15), |events| ended(events, "S"));
    let finished = finished.await.unwrap_or_default();
    let said: Vec<Value> = drive
        .world
        .history()
        .of_order("S")
        .into_iter()
        .filter(|seen| seen.kind == "OrderSaid")
        .map(|seen| seen.json["value"].clone())
        .collect();
    for (row, value) in rows.iter().zip(&said) {
        let (source, told) = (
            row[0].as_str().unwrap_or_default(),
            row[1].as_str().unwrap_or_default(),
        );
        let is_right = match told {
            "missing" => value.is_null(),
            "a number" => value.is_number(),
            "the server's PATH" => value.as_str().is_some_and(|path| path.contains('/')),
            told => {
                let told = told.split(" (").next().unwrap_or(told);
                value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned)
                    == told
            }
        };
        ensure!(is_right, "{source} is {value}, not {told}");
    }
    ensure!(
        said.len() == rows.len(),
        "{} is not evaluated: {finished}",
        rows[said.len()][0]
    );
    Ok(())
}

/// The event that ended an order, with what it had before.
fn ended(events: &[Seen], order: &str) -> Option<String> {
    let is_end = |kind: &str| matches!(kind, "OrderFinished" | "OrderFailed");
    events
        .iter()
        .rfind(|seen| seen.key == order && is_end(&seen.kind))?;
    let cause = events
        .iter()
        .rfind(|seen| seen.key == order && seen.json.get("outcome").is_some());
    Some(cause.map_or_else(String::new, ToString::to_string))
}
