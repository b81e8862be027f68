//! Versions and revisions of items.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::conformance::case::Case;
use crate::conformance::driver::{Drive, is_refusal, plan_of};
use crate::world::Seen;

/// IT-01.
pub(crate) async fn workflow_versions(case: &Case) -> Result<()> {
    let mut drive = Drive::start(case).await?;
    drive.steps(0..1).await?;
    drive.world.await_event("OLD", "OrderStdoutWritten").await?;
    let mut quick = case.items()[0].clone();
    quick["versionId"] = json!("2");
    quick["instructions"][0]["job"]["executable"]["script"] = json!(":");
    // The old version's process holds its job's only slot; the new version's job is another one.
    drive.deploy(std::slice::from_ref(&quick)).await?;
    drive.settle().await?;
    let before = count(&drive, "VersionedItemChanged");
    drive
        .deploy(std::slice::from_ref(&quick))
        .await
        .context("the same again is accepted")?;
    drive.settle().await?;
    ensure!(
        count(&drive, "VersionedItemChanged") == before,
        "the same again changes nothing"
    );
    drive.add_plain("NEW", "item/w").await?;
    drive.world.await_event("NEW", "OrderFinished").await?;
    ensure!(
        drive.state_of("OLD").await? == "Processing",
        "NEW finishes before OLD"
    );
    drive.world.open_gate("slow")?;
    drive.world.await_event("OLD", "OrderFinished").await?;
    let remove = [
        json!({"TYPE": "AddVersion", "versionId": "3"}),
        json!({"TYPE": "RemoveVersioned", "path": "item/w"}),
    ];
    drive.world.api().change_items(&remove).await?;
    drive
        .world
        .api()
        .change_items(&remove)
        .await
        .context("the same again is accepted")?;
    drive.add_plain("LATE", "item/w").await?;
    ensure!(drive.refused.len() == 1, "LATE is refused");
    let refused = &drive.refused[0];
    ensure!(
        is_refusal(refused, "VersionedItemRemoved") && refused.message.contains("Workflow:item/w"),
        "{refused}"
    );
    Ok(())
}

fn count(drive: &Drive<'_>, kind: &str) -> usize {
    drive
        .world
        .history()
        .all()
        .iter()
        .filter(|seen| seen.kind == kind)
        .count()
}

/// IT-05.
pub(crate) async fn an_unused_version(case: &Case) -> Result<()> {
    let mut drive = Drive::start_empty(case, plan_of(case)).await?;
    let version = |version: &str| {
        let mut item = case.items()[0].clone();
        item["versionId"] = json!(version);
        item
    };
    drive.deploy(&[version("1")]).await?;
    drive.steps(0..2).await?;
    drive.deploy(&[version("2")]).await?;
    drive.world.open_gate("g1")?;
    drive.world.await_event("O", "OrderDeleted").await?;
    let deleted = drive
        .world
        .history()
        .wait_for(Duration::from_secs(10), |events| {
            events
                .iter()
                .find(|seen| is_item(seen, "Workflow:item/old~1") && seen.kind == "ItemDeleted")
                .cloned()
        })
        .await;
    let all = drive.world.history().all();
    let kinds: Vec<&str> = all
        .iter()
        .filter(|seen| is_item(seen, "Workflow:item/old~1"))
        .map(|seen| seen.kind.as_str())
        .collect();
    ensure!(
        deleted.is_some(),
        "the old version is deleted, but: {kinds:?}"
    );
    ensure!(
        kinds
            == [
                "ItemAttachable",
                "ItemAttached",
                "ItemDetachable",
                "ItemDetached",
                "ItemDeleted"
            ],
        "{kinds:?}"
    );
    let detachable = all
        .iter()
        .find(|seen| seen.kind == "ItemDetachable")
        .context("just seen")?;
    let last = drive.world.await_event("O", "OrderDetached").await?;
    ensure!(
        detachable.event_id > last.event_id,
        "only after the last order has left the Agent"
    );
    ensure!(
        !all.iter().any(|seen| is_item(seen, "Workflow:item/old~2")),
        "the new version is not attached yet"
    );
    Ok(())
}

fn is_item(seen: &Seen, key: &str) -> bool {
    seen.json["key"] == key
}

/// IT-06.
pub(crate) async fn revisions(case: &Case) -> Result<()> {
    let drive = Drive::start(case).await?;
    let lock = |limit: Option<u32>| {
        let mut item = json!({"TYPE": "Lock", "path": "L"});
        if let Some(limit) = limit {
            item["limit"] = json!(limit);
        }
        json!({"TYPE": "AddOrChangeSimple", "item": item})
    };
    for operation in [
        lock(None),
        lock(Some(2)),
        json!({"TYPE": "DeleteSimple", "path": "Lock:L"}),
        lock(None),
    ] {
        drive.world.api().change_items(&[operation]).await?;
    }
    drive.settle().await?;
    let events: Vec<(String, Value)> = drive
        .world
        .history()
        .all()
        .into_iter()
        .filter(|seen| seen.to_string().contains("Lock"))
        .map(|seen| (seen.kind.clone(), seen.json["itemRevision"].clone()))
        .collect();
    let kinds: Vec<&str> = events.iter().map(|(kind, _)| kind.as_str()).collect();
    ensure!(json!(kinds) == case.then["events"], "{kinds:?}");
    let revisions: Vec<Value> = events
        .into_iter()
        .map(|(kind, revision)| {
            if revision.is_null() {
                json!(kind)
            } else {
                revision
            }
        })
        .collect();
    ensure!(json!(revisions) == case.then["revisions"], "{revisions:?}");
    Ok(())
}
