//! What an Agent has written reaches the Controller and its readers: all of it, once, as it was.

use crate::{add, agent_story, await_at_agent, deploy, job};
use anyhow::{Context as _, Result};
use serde_json::Value;
use testkit::world::{Mode, Plan, Seen, World};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

/// An event without what belongs to the log it stands in.
fn content(seen: &Seen) -> (i64, Value) {
    let mut json = seen.json.clone();
    if let Some(fields) = json.as_object_mut() {
        fields.remove("eventId");
        fields.remove("timestamp");
    }
    (seen.at, json)
}

#[tokio::test(flavor = "multi_thread")]
async fn s16_s17_s39_s56_s81_s98_s126_what_happened_while_cut_off_is_reported_event_for_event()
-> Result<()> {
    let mut world = World::start(Plan {
        proxied: true,
        ..Plan::of(&["ALFA"])
    })
    .await?;
    let gate = world.tmp().join("gate");
    let wait = format!(
        "echo READY; until [ -e {} ]; do sleep 0.05; done",
        gate.display()
    );
    let lines = "i=0; while [ $i -lt 500 ]; do echo line $i; i=$((i+1)); done; echo KEY=v >>$MAINSPRING_RETURN_VALUES";
    deploy(&world, "w", &[job("ALFA", &wait), job("ALFA", lines)]).await?;
    add(&world, "A", "w").await?;
    world.await_stdout("A", "READY", 1).await?;
    world.proxies()["ALFA"].set(Mode::Cut);
    world.open_gate("gate")?;
    await_at_agent(&world, "ALFA", "A", "OrderDetachable").await?;
    world.node("ALFA").kill()?;
    world.node("ALFA").start_ready().await?;
    let own = agent_story(&world, "ALFA", "A").await?;
    let told = world.history().of_order("A").len();
    assert!(
        told < own.len(),
        "while cut off the Controller has heard nothing of it"
    );
    world.controller().kill()?;
    world.controller().start_ready().await?;
    world.proxies()["ALFA"].set(Mode::Open);
    world.await_event("A", "OrderFinished").await?;
    let is_agents = |seen: &&Seen| seen.kind != "OrderAttachedToAgent";
    let own: Vec<_> = own.iter().filter(is_agents).map(content).collect();
    let told = world.history().of_order("A");
    let first = told
        .iter()
        .position(|seen| seen.kind == "OrderStarted")
        .context("it has started")?;
    let told: Vec<_> = told[first..].iter().map(content).collect();
    assert_eq!(
        told[..own.len()],
        own,
        "S17, S39, S40, S98: every transition once, in order, with its own time"
    );
    let output = world.history().stdout_of("A");
    assert_eq!(output.lines().count(), 501, "S16: {output}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s42_s75_a_reader_that_takes_nothing_delays_no_other() -> Result<()> {
    let world = World::start(Plan::of(&["ALFA"])).await?;
    let controller = world.node_ref("controller")?;
    let token = std::fs::read_to_string(controller.data.join("private/admin-token"))?;
    let mut lazy = TcpStream::connect(controller.address).await?;
    let request = format!(
        "GET /controller/api/event?after=0&heartbeat=1 HTTP/1.1\r\nHost: lazy\r\nAuthorization: Bearer {}\r\n\r\n",
        token.trim()
    );
    lazy.write_all(request.as_bytes()).await?;
    // Many times what the sockets of the lazy reader hold.
    let flood = "head -c 20000000 /dev/zero | tr '\\0' x; echo; echo END";
    deploy(&world, "flood", &[job("ALFA", flood)]).await?;
    add(&world, "A", "flood").await?;
    world.await_event("A", "OrderFinished").await?;
    assert_eq!(world.history().stdout_of("A").len(), 20_000_000 + 5);
    assert_eq!(world.follower().faults(), Vec::<String>::new());
    drop(lazy);
    Ok(())
}
