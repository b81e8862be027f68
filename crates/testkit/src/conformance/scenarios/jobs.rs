//! What is run, and how its end is judged.

use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::conformance::case::Case;
use crate::conformance::driver::{Drive, plan_of};

/// OP-11.
pub(crate) async fn fail_on_err_written(case: &Case) -> Result<()> {
    let mut drive = Drive::start(case).await?;
    drive.all_steps().await?;
    drive.world.await_event("E", "OrderFailed").await?;
    for (nth, told) in case.then["outcomes"]
        .as_array()
        .context("no outcomes")?
        .iter()
        .enumerate()
    {
        let told = told.as_str().unwrap_or_default();
        let processed = drive
            .world
            .await_nth("E", "OrderProcessed", nth + 1)
            .await?;
        let outcome = &processed.json["outcome"];
        let is_right = if told == "Succeeded rc 0" {
            outcome["TYPE"] == "Succeeded" && outcome["namedValues"]["returnCode"] == 0
        } else {
            let message = told.trim_start_matches("Failed ").trim_matches('"');
            outcome["TYPE"] == "Failed" && outcome["message"] == message
        };
        ensure!(is_right, "outcome {} is {outcome}, told is {told}", nth + 1);
    }
    Ok(())
}

/// OP-13.
pub(crate) async fn executables(case: &Case) -> Result<()> {
    let mut drive = Drive::start_empty(case, plan_of(case)).await?;
    let folder = drive.world.node("ALFA").data.join("executables");
    std::fs::create_dir_all(&folder)?;
    let script = "#!/bin/sh\nfor word in \"$@\"; do echo \"$word\"; done\nexit ${RC:-0}\n";
    let absolute = drive.world.tmp().join("show words");
    for file in [&folder.join("show.sh"), &absolute] {
        std::fs::write(file, script)?;
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o755))?;
    }
    let job = |executable: Value| json!({"agentPath": "ALFA", "executable": executable});
    let anonymous =
        |executable: Value| json!({"TYPE": "Execute.Anonymous", "job": job(executable)});
    let line = format!("'{}' x 'y y' \"z\" $WORD", absolute.display());
    let returns = |code: i64| {
        job(json!({
            "TYPE": "ShellScriptExecutable", "script": format!("exit {code}"),
            "returnCodeMeaning": {"success": [1, 2, 11]},
        }))
    };
    let named = |name: &str| json!({"TYPE": "Execute.Named", "jobName": name});
    drive
        .deploy(&[
            json!({"TYPE": "Workflow", "path": "exe/line", "instructions": [
                anonymous(json!({"TYPE": "CommandLineExecutable", "command": line})),
                anonymous(json!({"TYPE": "PathExecutable", "path": "show.sh"})),
                anonymous(json!({"TYPE": "PathExecutable", "path": absolute.display().to_string()})),
            ]}),
            json!({"TYPE": "Workflow", "path": "exe/nested",
                "jobs": {"a": returns(1), "b": returns(2)},
                "instructions": [
                    named("a"), named("b"),
                    {"TYPE": "Try", "try": {"instructions": [named("a"), named("b")], "jobs": {"a": returns(11)}},
                     "catch": {"instructions": []}},
                ]}),
        ])
        .await?;
    drive
        .add(&json!({"id": "LINE", "workflowPath": "exe/line", "arguments": {"WORD": "last"}}))
        .await?;
    drive.add_plain("NESTED", "exe/nested").await?;
    drive.world.await_event("LINE", "OrderFinished").await?;
    drive.world.await_event("NESTED", "OrderFinished").await?;
    let written = drive.world.history().stdout_of("LINE");
    ensure!(written == "x\ny y\nz\nlast\n", "{written:?}");
    let codes: Vec<Value> = drive
        .world
        .history()
        .of_order("NESTED")
        .iter()
        .filter(|seen| seen.kind == "OrderProcessed")
        .map(|seen| seen.json["outcome"]["namedValues"]["returnCode"].clone())
        .collect();
    ensure!(json!(codes) == case.then["return codes"], "{codes:?}");
    Ok(())
}
