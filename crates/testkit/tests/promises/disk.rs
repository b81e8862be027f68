//! Logs grow while their receivers are away, and shrink when they have confirmed.

use crate::{add, agent_api, await_at_agent, deploy, job};
use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use std::path::Path;
use testkit::world::{Api, Mode, Plan, World};

const FLOOD: u64 = 20_000_000;

/// What a directory takes up, in bytes.
fn size_of(dir: &Path) -> Result<u64> {
    let mut size = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        // A segment may go while it is looked at.
        let Ok(meta) = entry.metadata() else {
            continue;
        };
        size += if meta.is_dir() {
            size_of(&entry.path())?
        } else {
            meta.len()
        };
    }
    Ok(size)
}

/// What an Agent says about the size of its log.
async fn shown(api: &Api) -> Result<u64> {
    let overview = api.get("/agent/api").await?.unwrap();
    overview["journal"]["bytes"]
        .as_u64()
        .with_context(|| format!("the size of the log is shown: {overview}"))
}

/// A world whose logs are in small segments, because only whole segments go.
async fn world(plan: Plan) -> Result<World> {
    let mut world = World::prepare(plan).await?;
    for name in world.node_names() {
        let node = world.node(&name);
        node.arguments
            .extend(["--set".to_owned(), "segment=1MiB".to_owned()]);
        node.start_ready().await?;
    }
    world.connect()?;
    world.api().change_items(&world.agent_items()).await?;
    Ok(world)
}

async fn await_shrunk(
    world: &World,
    dir: &Path,
    snapshot: impl AsyncFn() -> Result<()>,
) -> Result<()> {
    let what = format!("less than {} bytes in {}", FLOOD / 4, dir.display());
    let is_small = || async {
        snapshot().await?;
        Ok(size_of(dir)? < FLOOD / 4)
    };
    world.await_that(&what, is_small).await
}

#[tokio::test(flavor = "multi_thread")]
async fn s57_s96_s99_an_agents_log_grows_while_it_is_cut_off_and_shrinks_when_it_is_not()
-> Result<()> {
    let world = world(Plan {
        proxied: true,
        ..Plan::of(&["ALFA"])
    })
    .await?;
    let gate = world.tmp().join("gate");
    let script = format!(
        "echo READY; until [ -e {} ]; do sleep 0.05; done; head -c {FLOOD} /dev/zero | tr '\\0' x",
        gate.display()
    );
    deploy(&world, "flood", &[job("ALFA", &script)]).await?;
    add(&world, "A", "flood").await?;
    world.await_stdout("A", "READY", 1).await?;
    world.proxies()["ALFA"].set(Mode::Cut);
    world.open_gate("gate")?;
    let api = agent_api(&world, "ALFA")?;
    await_agent_at_rest(&world, &api).await?;
    let dir = world.node_ref("ALFA")?.data.clone();
    let snapshot = async || {
        let answer = api
            .post(
                "/agent/api/command",
                "application/json",
                json!({"TYPE": "TakeSnapshot"}).to_string(),
            )
            .await?;
        ensure!(answer.is_ok(), "{answer:?}");
        Ok(())
    };
    snapshot().await?;
    let grown = size_of(&dir)?;
    assert!(
        grown > FLOOD,
        "S43, S57: what is not confirmed is kept, snapshot or not: {grown} bytes"
    );
    let size = shown(&api).await?;
    assert!(size > FLOOD, "S96: the growth is shown: {size}");
    world.proxies()["ALFA"].set(Mode::Open);
    world.await_event("A", "OrderFinished").await?;
    await_shrunk(&world, &dir, snapshot)
        .await
        .context("S99: whole segments go")
}

/// Until no job runs there any more. The order's own events are too many to be read again and again.
async fn await_agent_at_rest(world: &World, api: &Api) -> Result<()> {
    let is_at_rest = || async {
        let overview = api.get("/agent/api").await?;
        Ok(overview.is_ok_and(|overview| overview["processCount"] == 0))
    };
    world.await_that("the end of the job", is_at_rest).await?;
    await_at_agent(world, "ALFA", "A", "OrderDetachable").await
}

#[tokio::test(flavor = "multi_thread")]
async fn s44_s55_the_controllers_log_shrinks_when_its_reader_has_released_and_not_before()
-> Result<()> {
    let world = world(Plan {
        controller_settings: vec![("release-events-users".to_owned(), "admin".to_owned())],
        ..Plan::of(&["ALFA"])
    })
    .await?;
    let script = format!("head -c {FLOOD} /dev/zero | tr '\\0' x");
    deploy(&world, "flood", &[job("ALFA", &script)]).await?;
    add(&world, "A", "flood").await?;
    let finished = world.await_event("A", "OrderFinished").await?;
    let dir = world.node_ref("controller")?.data.clone();
    let api = world.api();
    let snapshot = async || {
        api.accept(&json!({"TYPE": "TakeSnapshot"}))
            .await
            .map(|_accepted| ())
    };
    snapshot().await?;
    snapshot().await?;
    let kept = size_of(&dir)?;
    assert!(
        kept > FLOOD,
        "S44, S55: not released, so all of it is kept: {kept} bytes"
    );
    let release = json!({"TYPE": "ReleaseEvents", "untilEventId": finished.event_id});
    api.accept(&release).await?;
    // What its jobs wrote is kept while an order exists.
    let delete = json!({"TYPE": "DeleteOrdersWhenTerminated", "orderIds": ["A"]});
    api.accept(&delete).await?;
    await_shrunk(&world, &dir, snapshot)
        .await
        .context("S55: whole segments go")
}
