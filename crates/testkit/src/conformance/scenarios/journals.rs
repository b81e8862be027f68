//! The event stream, snapshots and the release of events.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::agents::quick;
use crate::conformance::case::Case;
use crate::conformance::driver::{Drive, now_millis, plan_of};
use crate::world::{Api, Seen};

/// JN-01. Segments go with snapshots here; what counts for readers is `tornEventId`, and for the disk the bytes in the directory.
pub(crate) async fn release(case: &Case) -> Result<()> {
    let mut plan = plan_of(case);
    let users = ["A", "B", "X"];
    for user in users {
        let hash = token_hash(&secret_of(user));
        plan.controller_settings
            .push((format!("users.{user}.token-hashes"), hash));
        plan.controller_settings.push((
            format!("users.{user}.permissions"),
            "ReleaseEvents".to_owned(),
        ));
    }
    plan.controller_settings
        .push(("release-events-users".to_owned(), "A,B".to_owned()));
    // Whole segments go: with small ones it shows soon.
    plan.controller_settings
        .push(("segment".to_owned(), "1KiB".to_owned()));
    let mut drive = Drive::start_with(case, plan).await?;
    let url = drive.world.controller().url();
    let release = |user: &str, until: u64| {
        let api = Api::with_token(&url, &secret_of(user));
        let command = json!({"TYPE": "ReleaseEvents", "untilEventId": until});
        async move { api?.command(&command).await }
    };
    drive.add_plain("ONE", "jn/w").await?;
    drive.world.await_event("ONE", "OrderFinished").await?;
    restart(&mut drive).await?;
    drive.settle().await?;
    let end = drive.world.history().last_event_id();
    let refused = release("X", end).await?.err().context("X is refused")?;
    ensure!(
        refused.code.as_deref() == Some("UserIsNotEnabledToReleaseEvents"),
        "{refused}"
    );
    ensure!(torn(&drive).await? == 0, "nobody has released anything");
    ensure!(release("A", end).await?.is_ok(), "A releases");
    drive
        .world
        .api()
        .accept(&json!({"TYPE": "TakeSnapshot"}))
        .await?;
    ensure!(torn(&drive).await? == 0, "B has not released");
    ensure!(release("B", end).await?.is_ok(), "B releases");
    drive
        .world
        .api()
        .accept(&json!({"TYPE": "TakeSnapshot"}))
        .await?;
    let first = torn(&drive).await?;
    ensure!(
        first > 0 && first <= end,
        "events until {end} may go, gone are those until {first}"
    );

    let mut ends = Vec::new();
    for id in ["S1", "S2", "S3"] {
        drive
            .world
            .api()
            .accept(&json!({"TYPE": "TakeSnapshot"}))
            .await?;
        drive.add_plain(id, "jn/w").await?;
        drive.world.await_event(id, "OrderFinished").await?;
        drive.settle().await?;
        ends.push(drive.world.history().last_event_id());
    }
    ensure!(
        release("B", ends[1]).await?.is_ok(),
        "B releases until the second order"
    );
    drive
        .world
        .api()
        .accept(&json!({"TYPE": "TakeSnapshot"}))
        .await?;
    ensure!(torn(&drive).await? <= end, "A has not released more");
    ensure!(
        release("A", ends[2]).await?.is_ok(),
        "A releases until the last order"
    );
    drive
        .world
        .api()
        .accept(&json!({"TYPE": "TakeSnapshot"}))
        .await?;
    let second = torn(&drive).await?;
    ensure!(
        second > first && second <= ends[1],
        "never more than the least that was released: {second}"
    );
    ensure!(release("B", ends[2]).await?.is_ok(), "B, too");
    drive
        .world
        .api()
        .accept(&json!({"TYPE": "TakeSnapshot"}))
        .await?;
    let third = torn(&drive).await?;
    ensure!(
        third >= second && third <= ends[2],
        "until the snapshot before the last order: {third}"
    );
    drive.settle().await?;
    let newest = drive.world.history().last_event_id();
    for user in ["A", "B"] {
        ensure!(release(user, newest).await?.is_ok(), "{user} releases all");
    }
    let fourth = torn(&drive).await?;
    ensure!(
        fourth > third && fourth <= newest,
        "until the last snapshot: {fourth}"
    );
    let backwards = release("B", ends[0]).await?.err();
    ensure!(backwards.is_some(), "not backwards");
    Ok(())
}

fn secret_of(user: &str) -> String {
    format!("the-secret-token-of-user-{user}-0123456789")
}

fn token_hash(token: &str) -> String {
    net::TokenHash::of(&net::Secret::new(token)).to_string()
}

async fn restart(drive: &mut Drive<'_>) -> Result<()> {
    for name in ["ALFA", "controller"] {
        let status = drive.world.node(name).terminate().await?;
        ensure!(status.success(), "{name} ends in order, not with {status}");
    }
    for name in ["controller", "ALFA"] {
        drive.world.node(name).start_ready().await?;
    }
    Ok(())
}

async fn torn(drive: &Drive<'_>) -> Result<u64> {
    // Removing files is not part of the answer to a command.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let info = drive.world.api().get("/controller/api/journalInfo").await?;
    let info = info.map_err(|refused| anyhow::anyhow!("{refused}"))?;
    info["tornEventId"]
        .as_u64()
        .with_context(|| format!("no tornEventId in {info}"))
}

/// JN-03. Numbers are times here: the n-th event stands for the number 10·n.
pub(crate) async fn the_event_stream(case: &Case) -> Result<()> {
    let mut drive = Drive::start(case).await?;
    drive
        .deploy(&[json!({"TYPE": "Workflow", "path": "jn/empty", "instructions": []})])
        .await?;
    for number in 0..6 {
        let id = format!("E{number}");
        drive.add_plain(&id, "jn/empty").await?;
        drive.world.await_event(&id, "OrderFinished").await?;
    }
    drive.settle().await?;
    let ids: Vec<u64> = drive
        .world
        .history()
        .all()
        .iter()
        .map(|seen| seen.event_id)
        .collect();
    let count = ids.len();
    ensure!(count >= 18, "enough events: {count}");
    let api = drive.world.api().clone();
    for _ in 0..100 {
        for (after, first, last) in [
            (3, 4, 6),
            (6, 7, 9),
            (7, 8, 10),
            (count - 3, count - 2, count),
        ] {
            let read = read(&api, &format!("limit=3&after={}", ids[after - 1])).await?;
            ensure!(
                read == ids[first - 1..last],
                "after event {after} came {read:?}"
            );
        }
    }
    let begin = Instant::now();
    let nothing = read(&api, &format!("after={}&timeout=0", ids[count - 1])).await?;
    ensure!(
        nothing.is_empty() && begin.elapsed() < Duration::from_secs(2),
        "empty at once"
    );
    let begin = Instant::now();
    let nothing = read(&api, &format!("after={}&timeout=0.2", ids[count - 1])).await?;
    let took = begin.elapsed();
    ensure!(
        nothing.is_empty() && took >= Duration::from_millis(190),
        "empty after 0.2 s, not after {took:?}"
    );
    ensure!(
        took < Duration::from_secs(2),
        "empty after 0.2 s, not after {took:?}"
    );
    let unknown = api
        .get(&format!(
            "/controller/api/event?after={}",
            ids[4] + 123_456_789_000
        ))
        .await?
        .err();
    let unknown = unknown.context("a number that never was is refused")?;
    ensure!(
        unknown.code.as_deref() == Some("UnknownEventId"),
        "{unknown}"
    );
    let all = read(&api, "after=0&timeout=0").await?;
    ensure!(all == ids, "all events in one go");

    // Sporadic events arrive in an open stream one by one.
    let path = format!(
        "/controller/api/event?after={}&heartbeat=0.5",
        ids[count - 1]
    );
    let mut stream = api
        .client()
        .get_stream(&path, Duration::from_secs(5))
        .await?;
    for number in 0..3 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let id = format!("SPORADIC{number}");
        drive.add_plain(&id, "jn/empty").await?;
        let line = stream.next_line().await?.context("the stream goes on")?;
        let seen = Seen::from_line(&line)?;
        ensure!(seen.kind == "OrderAdded" && seen.key == id, "{seen}");
        for _ in 0..2 {
            stream.next_line().await?.context("the stream goes on")?;
        }
    }
    torn_stream(case).await
}

/// Readers who come too late are told so.
async fn torn_stream(case: &Case) -> Result<()> {
    let mut plan = plan_of(case);
    // Nobody is waited for: events go with the snapshot that covers them.
    plan.controller_settings
        .push(("release-events-users".to_owned(), String::new()));
    plan.controller_settings
        .push(("segment".to_owned(), "1KiB".to_owned()));
    let mut drive = Drive::start_with(case, plan).await?;
    let empty = json!({"TYPE": "Workflow", "path": "jn/empty", "instructions": []});
    drive.deploy(&[empty]).await?;
    for number in 0..30 {
        drive.add_plain(&format!("T{number}"), "jn/empty").await?;
    }
    drive.settle().await?;
    let early = drive
        .world
        .history()
        .all()
        .first()
        .context("an event")?
        .event_id;
    drive
        .world
        .api()
        .accept(&json!({"TYPE": "TakeSnapshot"}))
        .await?;
    drive
        .world
        .api()
        .accept(&json!({"TYPE": "TakeSnapshot"}))
        .await?;
    let torn = torn(&drive).await?;
    ensure!(torn > early, "the first events are gone, torn is {torn}");
    let refused = drive
        .world
        .api()
        .get(&format!("/controller/api/event?after={early}"))
        .await?
        .err();
    let refused = refused.context("what is gone is refused")?;
    ensure!(refused.code.as_deref() == Some("EventSeqTorn"), "{refused}");
    ensure!(
        refused.message.contains(&torn.to_string()),
        "it names the place: {refused}"
    );
    Ok(())
}

async fn read(api: &Api, query: &str) -> Result<Vec<u64>> {
    let bytes = api
        .client()
        .get_bytes(&format!("/controller/api/event?{query}"))
        .await?;
    bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| Ok(Seen::from_line(line)?.event_id))
        .collect()
}

/// JN-05.
pub(crate) async fn snapshot_and_events(case: &Case) -> Result<()> {
    let mut drive = Drive::start(case).await?;
    let gate = drive.world.tmp().join("never");
    let waiting = json!({"TYPE": "Execute.Anonymous", "job": {
        "agentPath": "ALFA", "processLimit": 9, "executable": {
            "TYPE": "ShellScriptExecutable", "script": format!("until [ -e '{}' ]; do sleep 0.1; done", gate.display()),
        },
    }});
    let stop = json!({"TYPE": "Stop"});
    let fork = json!({"TYPE": "Fork", "branches": [
        {"id": "a", "workflow": {"instructions": [waiting.clone()]}},
        {"id": "b", "workflow": {"instructions": [stop.clone()]}},
    ]});
    let retry = json!({
        "TYPE": "Try", "try": {"instructions": [{"TYPE": "Fail", "message": "'again'"}]},
        "catch": {"instructions": [{"TYPE": "Retry"}]}, "retryDelays": [3600], "maxTries": 3,
    });
    let workflows = [
        ("wait", waiting, "OrderProcessingStarted"),
        ("fork", fork, "OrderForked"),
        ("retry", retry, "OrderRetrying"),
        ("stop", stop, "OrderStopped"),
        ("fail", json!({"TYPE": "Fail"}), "OrderFailed"),
        (
            "sleep",
            json!({"TYPE": "Sleep", "duration": "3600"}),
            "OrderSleeping",
        ),
        ("end", json!({"TYPE": "Finish"}), "OrderFinished"),
    ];
    for (name, instruction, _) in &workflows {
        drive
            .deploy(&[json!({"TYPE": "Workflow", "path": name, "instructions": [instruction]})])
            .await?;
    }
    for (name, _, event) in &workflows {
        let order = json!({"id": name, "workflowPath": name, "arguments": {"x": 1.5, "list": [1, "two", {"three": null}]}});
        drive.add(&order).await?;
        drive.world.await_event(name, event).await?;
    }
    let later =
        json!({"id": "later", "workflowPath": "stop", "scheduledFor": now_millis() + 3_600_000});
    drive.add(&later).await?;
    drive
        .world
        .await_event("fork|a", "OrderProcessingStarted")
        .await?;
    drive.settle().await?;
    ensure!(drive.refused.is_empty(), "{:?}", drive.refused);

    let before = state(&drive).await?;
    drive.world.controller().kill()?;
    drive.world.controller().start_ready().await?;
    let from_events = state(&drive).await?;
    ensure!(
        from_events == before,
        "state from all events:\n{}",
        first_difference(&before, &from_events)
    );
    drive
        .world
        .api()
        .accept(&json!({"TYPE": "TakeSnapshot"}))
        .await?;
    drive.world.controller().kill()?;
    drive.world.controller().start_ready().await?;
    let from_snapshot = state(&drive).await?;
    ensure!(
        from_snapshot == before,
        "state from the snapshot:\n{}",
        first_difference(&before, &from_snapshot)
    );
    let status = drive.world.controller().terminate().await?;
    ensure!(
        status.success(),
        "the Controller ends in order, not with {status}"
    );
    drive.world.controller().start_ready().await?;
    let after = state(&drive).await?;
    ensure!(
        after == before,
        "state after an orderly restart:\n{}",
        first_difference(&before, &after)
    );
    Ok(())
}

/// The orders and items of the snapshot, without what a start itself changes.
async fn state(drive: &Drive<'_>) -> Result<BTreeMap<String, Value>> {
    let lines = drive.world.api().snapshot().await?;
    Ok(lines
        .into_iter()
        .filter(|line| {
            line.get("workflowPosition").is_some()
                || line.get("position").is_some()
                || line.get("signed").is_some()
                || line.get("item").is_some()
        })
        .map(|line| {
            let key = ["id", "key"]
                .iter()
                .find_map(|name| line[*name].as_str().map(str::to_owned));
            (key.unwrap_or_else(|| line.to_string()), line)
        })
        .collect())
}

fn first_difference(a: &BTreeMap<String, Value>, b: &BTreeMap<String, Value>) -> String {
    for (key, value) in a {
        if b.get(key) != Some(value) {
            return format!(
                "before {value}\nafter  {}",
                b.get(key).unwrap_or(&Value::Null)
            );
        }
    }
    let new = b.keys().find(|key| !a.contains_key(*key));
    format!("new: {new:?}")
}

/// PX-03, the stream; the release has no proxy and no history database.
pub(crate) async fn small_parts(case: &Case) -> Result<()> {
    let mut drive = Drive::start(case).await?;
    drive.deploy(&[quick("px/quick")]).await?;
    for number in 0..5 {
        drive.add_plain(&format!("P{number}"), "px/quick").await?;
    }
    let api = drive.world.api().clone();
    let mut parts = Vec::new();
    let mut after = 0;
    loop {
        let part = read(&api, &format!("after={after}&limit=3&timeout=1")).await?;
        let Some(last) = part.last() else { break };
        after = *last;
        parts.extend(part);
    }
    let whole = read(&api, "after=0&timeout=0").await?;
    ensure!(
        parts == whole,
        "{} events in parts, {} in one go",
        parts.len(),
        whole.len()
    );
    for number in 0..5 {
        drive
            .world
            .await_event(&format!("P{number}"), "OrderFinished")
            .await?;
    }

    // A deleted journal under an open stream: the reader is told, and nothing is invented.
    let last = drive.world.history().last_event_id();
    let path = format!("/controller/api/event?after={last}&heartbeat=1");
    let mut stream = api
        .client()
        .get_stream(&path, Duration::from_secs(5))
        .await?;
    let data = drive.world.controller().data.clone();
    drive.world.controller().kill()?;
    std::fs::remove_dir_all(data.join("state"))?;
    ensure!(
        !matches!(stream.next_line().await, Ok(Some(_))),
        "the open stream ends"
    );
    drive.world.controller().start_ready().await?;
    let refused = api
        .get(&format!("/controller/api/event?after={last}&timeout=1"))
        .await?
        .err();
    let refused = refused.context("a number of another life is refused")?;
    ensure!(
        matches!(
            refused.code.as_deref(),
            Some("UnknownEventId" | "EventSeqTorn")
        ),
        "{refused}"
    );
    Ok(())
}
