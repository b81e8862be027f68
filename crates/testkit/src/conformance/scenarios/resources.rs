//! Parameters, job resources and what jobs see of them.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::conformance::case::Case;
use crate::conformance::driver::{Drive, is_refusal, operations, plan_of};
use crate::conformance::matching::field_matches;

/// OP-03.
pub(crate) async fn a_final_parameter(case: &Case) -> Result<()> {
    let mut drive = Drive::start(case).await?;
    drive.all_steps().await?;
    for (order, pilot) in [("X", "Ines"), ("Y", "Björn")] {
        drive.world.await_event(order, "OrderFinished").await?;
        let json = drive
            .world
            .api()
            .order(order)
            .await?
            .context("the order is there")?;
        ensure!(
            json["arguments"]["PILOT"] == pilot,
            "{order} carries {pilot}: {json}"
        );
    }
    ensure!(drive.refused.len() == 1, "refused were {:?}", drive.refused);
    ensure!(
        is_refusal(&drive.refused[0], "FinalOrderArgument"),
        "{}",
        drive.refused[0]
    );

    drive
        .deploy(&[json!({
            "TYPE": "Workflow", "path": "res/object",
            "orderPreparation": {"parameters": {"port": {"final": "JobResource:port-x"}}},
            "instructions": [{"TYPE": "Say", "what": "$port.pilot"}],
        })])
        .await?;
    drive.add_plain("OBJECT", "res/object").await?;
    let said = drive.world.await_event("OBJECT", "OrderSaid").await?;
    ensure!(said.json["value"] == "Ines", "{said}");
    Ok(())
}

/// OP-05.
pub(crate) async fn a_legacy_environment(case: &Case) -> Result<()> {
    let mut drive = Drive::start(case).await?;
    drive.all_steps().await?;
    drive.world.await_event("V", "OrderFinished").await?;
    let last = drive.world.await_nth("V", "OrderProcessed", 3).await?;
    let expected = &case.then["last outcome"];
    ensure!(field_matches(&last.json["outcome"], expected), "{last}");
    Ok(())
}

/// OP-06.
pub(crate) async fn special_variables(case: &Case) -> Result<()> {
    let mut drive = Drive::start(case).await?;
    drive.all_steps().await?;
    drive.world.await_event("SP", "OrderFinished").await?;
    let written = drive.world.history().stdout_of("SP");
    let environment: BTreeMap<&str, &str> = written
        .lines()
        .filter_map(|line| line.split_once('='))
        .collect();
    let told = case.then["environment"]
        .as_object()
        .context("no environment")?;
    for (name, told) in told {
        let told = told.as_str().unwrap_or_default();
        let value = environment.get(name.as_str()).copied();
        let is_right = match (told, value) {
            (told, value) if told.starts_with("not set") => value.is_none(),
            ("<controller id>", Some(value)) => !value.is_empty(),
            (told, Some(value)) if told.starts_with("empty") => value.is_empty(),
            (told, Some(value)) => match told.split_once("<version>") {
                Some((begin, end)) => value.starts_with(begin) && value.ends_with(end),
                None => value == told,
            },
            (_, None) => false,
        };
        ensure!(is_right, "{name} is {value:?}, told is {told:?}");
    }

    let show = json!({"TYPE": "Execute.Named", "jobName": "COUNT"});
    drive
        .deploy(&[json!({
            "TYPE": "Workflow", "path": "res/count", "instructions": [show, show, show],
            "jobs": {"COUNT": {"agentPath": "ALFA", "executable": {
                "TYPE": "ShellScriptExecutable", "script": "echo \"count $H\"", "env": {"H": "$js7JobExecutionCount"},
            }}},
        })])
        .await?;
    drive.add_plain("COUNTED", "res/count").await?;
    drive.world.await_event("COUNTED", "OrderFinished").await?;
    let written = drive.world.history().stdout_of("COUNTED");
    ensure!(written == "count 1\ncount 2\ncount 3\n", "{written:?}");
    Ok(())
}

/// Deleting what an Agent has takes a moment; adding it again is refused until then.
async fn deleted(drive: &Drive<'_>, times: usize) -> Result<()> {
    let gone = drive
        .world
        .history()
        .wait_for(std::time::Duration::from_secs(10), |events| {
            let own = |seen: &&crate::world::Seen| {
                seen.kind == "ItemDeleted" && seen.json["key"] == "JobResource:R2"
            };
            (events.iter().filter(own).count() >= times).then_some(())
        })
        .await;
    gone.with_context(|| drive.world.lament("ItemDeleted of JobResource:R2"))
}

/// OP-08. The case names R1, R2 and res/env without telling them.
pub(crate) async fn changes_of_a_job_resource(case: &Case) -> Result<()> {
    let mut drive = Drive::start_empty(case, plan_of(case)).await?;
    let resource = |path: &str, word: &str| json!({"TYPE": "JobResource", "path": path, "variables": {"word": format!("'{word}'")}});
    let workflow = |path: &str, word: &str| {
        json!({
            "TYPE": "Workflow", "path": path,
            "instructions": [{"TYPE": "Execute.Anonymous", "job": {"agentPath": "ALFA", "executable": {
                "TYPE": "ShellScriptExecutable", "script": "echo \"$WORD\"", "env": {"WORD": word},
            }}}],
        })
    };
    let uses = |mut workflow: Value, resource: &str| {
        workflow["jobResourcePaths"] = json!([resource]);
        workflow
    };
    let env = uses(workflow("res/env", "JobResource:R2:word"), "R2");
    drive
        .deploy(&[resource("R1", "one"), resource("R2", "old"), env.clone()])
        .await?;
    drive.add_plain("OLD", "res/env").await?;
    drive.world.await_event("OLD", "OrderFinished").await?;
    drive.deploy(&[resource("R2", "new")]).await?;
    drive
        .world
        .history()
        .wait_for(std::time::Duration::from_secs(10), |events| {
            events
                .iter()
                .find(|seen| {
                    seen.kind == "ItemAttached"
                        && seen.json["key"] == "JobResource:R2"
                        && seen.json["itemRevision"] == 1
                })
                .cloned()
        })
        .await
        .context("the new revision is attached")?;
    drive.add_plain("NEW", "res/env").await?;
    drive.world.await_event("NEW", "OrderFinished").await?;
    for (order, word) in [("OLD", "old\n"), ("NEW", "new\n")] {
        let written = drive.world.history().stdout_of(order);
        ensure!(written == word, "{order} wrote {written:?}");
    }

    let none = uses(workflow("res/none", "JobResource:NONE:x"), "NONE");
    let refused = drive
        .world
        .api()
        .items(&operations(&[none]))
        .await?
        .err()
        .context("NONE is refused")?;
    ensure!(
        is_refusal(&refused, "MissingReferencedItem")
            && refused.message.contains("JobResource:NONE"),
        "{refused}"
    );
    let unnamed = workflow("res/none", "JobResource:NONE:x");
    let refused = drive
        .world
        .api()
        .items(&operations(&[unnamed]))
        .await?
        .err()
        .context("NONE in an expression is refused")?;
    ensure!(refused.message.contains("JobResource:NONE"), "{refused}");

    drive
        .deploy(&[uses(workflow("res/nope", "JobResource:R1:nope"), "R1")])
        .await?;
    drive.add_plain("NOPE", "res/nope").await?;
    let processed = drive.world.await_event("NOPE", "OrderProcessed").await?;
    ensure!(
        processed.json["outcome"]["TYPE"] == "Disrupted",
        "{processed}"
    );
    ensure!(
        processed.to_string().contains("JobResource:R1:nope"),
        "{processed}"
    );
    drive.world.await_event("NOPE", "OrderFailed").await?;

    let delete = json!({"TYPE": "DeleteSimple", "path": "JobResource:R2"});
    let refused = drive
        .world
        .api()
        .items(std::slice::from_ref(&delete))
        .await?
        .err()
        .context("R2 is in use")?;
    ensure!(is_refusal(&refused, "ItemIsStillReferenced"), "{refused}");
    let orders = json!({"TYPE": "DeleteOrdersWhenTerminated", "orderIds": ["OLD", "NEW"]});
    drive.world.api().accept(&orders).await?;
    drive.world.await_event("NEW", "OrderDeleted").await?;
    let remove = json!({"TYPE": "RemoveVersioned", "path": "res/env"});
    drive
        .world
        .api()
        .change_items(&[remove.clone(), delete.clone()])
        .await?;
    deleted(&drive, 1).await?;
    drive
        .deploy(&[resource("R2", "again"), env.clone()])
        .await?;

    // Deleted and added again between orders: none of them may miss the resource.
    for round in 0..8 {
        let id = format!("STRESS-{round}");
        drive
            .add(&json!({"id": id, "workflowPath": "res/env", "deleteWhenTerminated": true}))
            .await?;
        drive.world.await_event(&id, "OrderDeleted").await?;
        drive
            .world
            .api()
            .change_items(&[remove.clone(), delete.clone()])
            .await?;
        deleted(&drive, round + 2).await?;
        drive
            .deploy(&[resource("R2", "again"), env.clone()])
            .await?;
        let written = drive.world.history().stdout_of(&id);
        ensure!(written == "again\n", "{id} wrote {written:?}");
    }
    ensure!(drive.refused.is_empty(), "{:?}", drive.refused);
    Ok(())
}
