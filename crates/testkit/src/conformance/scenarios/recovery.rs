//! Crashes, and what comes back.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::conformance::case::Case;
use crate::conformance::driver::Drive;
use crate::conformance::expectation::{Expected, View};
use crate::conformance::matching::{difference, viewed};
use crate::world::{Seen, processes_of};

/// RC-01. `Stop without snapshot` is SIGKILL here.
pub(crate) async fn crashes(case: &Case) -> Result<()> {
    let mut drive = Drive::start(case).await?;
    drive.steps(0..1).await?;
    drive.world.await_nth("O1", "OrderProcessed", 2).await?;
    drive.add_plain("O2", "rec/five").await?;
    drive.world.await_event("O2", "OrderStarted").await?;
    crash(&mut drive, &["ALFA", "BRAVO"]).await?;
    tokio::time::sleep(Duration::from_millis(700)).await;
    drive.add_plain("O3", "rec/five").await?;
    for _ in 0..2 {
        crash(&mut drive, &["controller", "ALFA", "BRAVO"]).await?;
        tokio::time::sleep(Duration::from_millis(900)).await;
    }
    let told = Expected::read_list(&case.then["events per order, after removing lost attempts"])?;
    for order in ["O1", "O2", "O3"] {
        drive.world.await_event(order, "OrderFinished").await?;
        let events = viewed(drive.world.history().of_order(order), &told, View::Whole);
        if let Some(fault) = difference(order, &without_lost_attempts(events), &told) {
            anyhow::bail!(fault);
        }
        let json = drive
            .world
            .api()
            .order(order)
            .await?
            .context("the order is there")?;
        let results: Vec<&Value> = json["historicOutcomes"]
            .as_array()
            .context("no history")?
            .iter()
            .filter_map(|entry| entry["outcome"]["namedValues"].get("result"))
            .collect();
        ensure!(
            json!(results) == json!(["R-ALFA", "R-ALFA", "R-ALFA", "R-BRAVO", "R-BRAVO"]),
            "{results:?}"
        );
    }
    let items = drive.world.api().get("/controller/api/item").await?;
    ensure!(
        items.is_ok_and(|items| items.to_string().contains("rec/five")),
        "the workflow is recovered"
    );
    Ok(())
}

async fn crash(drive: &mut Drive<'_>, names: &[&str]) -> Result<()> {
    for name in names {
        drive.world.node(name).kill()?;
    }
    for name in names {
        drive.world.node(name).start()?;
    }
    for name in names {
        drive.world.node(name).wait_ready().await?;
    }
    Ok(())
}

/// Removes what goes from an `OrderProcessingStarted` to the `OrderMoved` after the loss of the process.
pub(crate) fn without_lost_attempts(events: Vec<Seen>) -> Vec<Seen> {
    let mut kept: Vec<Seen> = Vec::new();
    let mut is_after_loss = false;
    for seen in events {
        if is_after_loss && seen.kind == "OrderMoved" {
            is_after_loss = false;
            continue;
        }
        if seen.kind == "OrderProcessed" && seen.to_string().contains("\"ProcessLost\"") {
            let begin = kept
                .iter()
                .rposition(|seen| seen.kind == "OrderProcessingStarted");
            kept.truncate(begin.unwrap_or(kept.len()));
            is_after_loss = true;
            continue;
        }
        kept.push(seen);
    }
    kept
}

/// RC-03. A batch is one record with a checksum here, so an open transaction and a cut last line are both a last record of which only
/// a part was written. A record that is missing although it was confirmed as durable is another thing: it was acknowledged, so the
/// start is refused until an operator has decided.
pub(crate) async fn a_torn_journal(case: &Case) -> Result<()> {
    let mut drive = Drive::start(case).await?;
    drive
        .deploy(&[
            json!({"TYPE": "Workflow", "path": "rc/stop", "instructions": [{"TYPE": "Stop"}]}),
        ])
        .await?;
    for id in ["A", "B", "LAST"] {
        drive.add_plain(id, "rc/stop").await?;
        drive.world.await_event(id, "OrderStopped").await?;
    }
    drive.settle().await?;
    drive.world.controller().kill()?;
    let segment = last_segment(&drive.world.controller().data.join("state"))?;
    let whole = std::fs::read(&segment)?;
    // Room that was allocated ahead is no record.
    let end = whole
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);

    let mut torn = whole[..end].to_vec();
    torn.extend_from_slice(&whole[end.saturating_sub(200)..end - 100]);
    std::fs::write(&segment, &torn)?;
    drive.world.controller().start_ready().await?;
    let snapshot = drive.world.api().snapshot().await?;
    for id in ["A", "B", "LAST"] {
        let is_there = snapshot
            .iter()
            .any(|line| line.to_string().contains(&format!("\"{id}\"")));
        ensure!(is_there, "{id} is lost");
    }
    drive.add_plain("AFTER", "rc/stop").await?;
    drive.world.await_event("AFTER", "OrderStopped").await?;
    let all = drive.world.api().all_events().await?;
    let numbers: Vec<u64> = all
        .iter()
        .filter_map(|event| event["eventId"].as_u64())
        .collect();
    ensure!(
        numbers.is_sorted_by(|a, b| a < b),
        "numbers increase over the tear"
    );

    drive.world.controller().kill()?;
    let segment = last_segment(&drive.world.controller().data.join("state"))?;
    let whole = std::fs::read(&segment)?;
    let end = whole
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    std::fs::write(&segment, &whole[..end.saturating_sub(2)])?;
    drive.world.controller().start()?;
    let status = drive
        .world
        .controller()
        .wait_end(Duration::from_secs(10))
        .await?;
    let log = drive.world.controller().log_tail(3);
    ensure!(
        !status.success() && log.contains("confirmed as durable"),
        "{status}: {log}"
    );
    std::fs::write(&segment, &whole)?;
    drive.world.controller().start_ready().await?;
    drive.add_plain("LATER", "rc/stop").await?;
    drive.world.await_event("LATER", "OrderStopped").await?;
    Ok(())
}

/// The file of the log that was written last.
fn last_segment(state: &Path) -> Result<PathBuf> {
    let mut files = Vec::new();
    collect(state, &mut files)?;
    let is_segment = |path: &PathBuf| {
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        name.is_some_and(|name| name.contains("segment"))
    };
    let mut segments: Vec<PathBuf> = files
        .iter()
        .filter(|path| is_segment(path))
        .cloned()
        .collect();
    segments.sort();
    segments
        .pop()
        .with_context(|| format!("no segment among {files:?}"))
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}

/// RC-05. The next start of the Agent does here what a tool of the start script does there.
pub(crate) async fn leftovers(case: &Case) -> Result<()> {
    let mut drive = Drive::start(case).await?;
    let script = "trap '' TERM\n(sleep 1000) &\n(sleep 1001) &\necho READY\nwhile true; do sleep 0.1; done\n";
    drive
        .deploy(&[json!({
            "TYPE": "Workflow", "path": "rc/left",
            "instructions": [{"TYPE": "Execute.Anonymous", "job": {
                "agentPath": "ALFA", "processLimit": 10, "isNotRestartable": true,
                "executable": {"TYPE": "ShellScriptExecutable", "script": script},
            }}],
        })])
        .await?;
    let ids: Vec<String> = (1..=10).map(|number| format!("J{number}")).collect();
    for id in &ids {
        drive.add_plain(id, "rc/left").await?;
    }
    for id in &ids {
        drive.world.await_stdout(id, "READY", 1).await?;
    }
    let sleepers = |drive: &Drive<'_>| {
        processes_of(drive.world.mark())
            .into_iter()
            .filter(|pid| {
                let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                let line = String::from_utf8_lossy(&line).replace('\0', " ");
                line.starts_with("sleep 100")
            })
            .count()
    };
    ensure!(sleepers(&drive) == 20, "ten jobs with two children each");
    drive.world.node("ALFA").kill()?;
    drive.world.node("ALFA").start_ready().await?;
    ensure!(
        sleepers(&drive) == 0,
        "{} are left after the start",
        sleepers(&drive)
    );
    for id in &ids {
        let processed = drive.world.await_event(id, "OrderProcessed").await?;
        ensure!(processed.to_string().contains("ProcessLost"), "{processed}");
        drive.world.await_event(id, "OrderFailed").await?;
    }
    Ok(())
}
