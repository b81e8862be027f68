//! Much output, many processes, many orders.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};

use super::subagents::coupled;
use crate::conformance::case::Case;
use crate::conformance::driver::{Drive, plan_of};
use crate::conformance::expectation::{Expected, View};
use crate::conformance::matching::{difference, viewed};

const LINES: usize = 160_000;

/// PF-01.
pub(crate) async fn ten_megabytes(case: &Case) -> Result<()> {
    let mut drive = Drive::start_empty(case, plan_of(case)).await?;
    let mut item = case.items()[0].clone();
    let script =
        format!("seq -f 'line %012.0f ................................................' 1 {LINES}");
    item["instructions"][0]["job"]["executable"]["script"] = json!(script);
    drive.deploy(&[item]).await?;
    drive.all_steps().await?;
    drive.world.await_event("O", "OrderFinished").await?;
    let written = drive.world.history().stdout_of("O");
    ensure!(written.len() >= 10_000_000, "{} bytes", written.len());
    let mut lines = 0;
    for (number, line) in written.lines().enumerate() {
        lines += 1;
        let told = format!("line {:012} ", number + 1);
        if !line.starts_with(&told) {
            bail!("line {} is {line:?}", number + 1);
        }
    }
    ensure!(lines == LINES, "{lines} lines of {LINES}");
    Ok(())
}

/// PF-03.
pub(crate) async fn parallelism(case: &Case) -> Result<()> {
    let mut drive = Drive::start(case).await?;
    let ids: Vec<String> = (1..=129).map(|number| format!("P{number}")).collect();
    let orders: Vec<Value> = ids
        .iter()
        .map(|id| json!({"id": id, "workflowPath": "pf/par"}))
        .collect();
    drive
        .world
        .api()
        .accept(&json!({"TYPE": "AddOrders", "orders": orders}))
        .await?;
    for id in &ids {
        drive
            .world
            .await_event(id, "OrderProcessingStarted")
            .await?;
    }
    let ended = drive
        .world
        .history()
        .all()
        .iter()
        .filter(|seen| seen.kind == "OrderProcessed")
        .count();
    ensure!(ended == 0, "all 129 run at the same time");
    let mode = json!({"TYPE": "FreshOrStarted", "kill": {"immediately": true}});
    drive
        .command(&json!({"TYPE": "CancelOrders", "orderIds": ids, "mode": mode}))
        .await?;
    for id in &ids {
        drive.world.await_event(id, "OrderCancelled").await?;
    }
    drive.judge_refusals()
}

/// PF-05.
pub(crate) async fn many_orders(case: &Case) -> Result<()> {
    let drive = Drive::start(case).await?;
    coupled(&drive.world, &["ALFA-0", "S-A"]).await?;
    let ids: Vec<String> = (1..=100).map(|number| format!("M{number}")).collect();
    let orders: Vec<Value> = ids
        .iter()
        .map(|id| json!({"id": id, "workflowPath": "pf/two"}))
        .collect();
    drive
        .world
        .api()
        .accept(&json!({"TYPE": "AddOrders", "orders": orders}))
        .await?;
    let expected = Expected::read_list(&case.then["events per order"])?;
    for id in &ids {
        drive.world.await_event(id, "OrderFinished").await?;
        let seen = viewed(drive.world.history().of_order(id), &expected, View::Whole);
        if let Some(fault) = difference(id, &seen, &expected) {
            bail!(fault);
        }
    }
    for subagent in ["ALFA-0", "S-A"] {
        let is_used = drive
            .world
            .history()
            .all()
            .iter()
            .any(|seen| seen.json["subagentId"] == subagent);
        ensure!(is_used, "{subagent} is used");
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
    Ok(())
}
