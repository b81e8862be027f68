//! The third vote of a Controller pair: what it is good for is seen when it is missing.

use anyhow::{Result, ensure};
use std::time::Duration;
use testkit::world::Pair;

#[tokio::test(flavor = "multi_thread")]
async fn s101_s102_s108_s109_without_a_watch_nobody_follows_and_that_is_told_before() -> Result<()>
{
    let mut pair = Pair::start(&[]).await?;
    pair.deploy_marking("marking", 0.1).await?;
    let state = pair.state(0).await?;
    ensure!(
        state["setting"]["clusterWatchId"] == "watch",
        "S108: who has the third vote is shown: {state}"
    );
    pair.kill_watch()?;
    let mut told = String::new();
    for _ in 0..200 {
        told = pair.state(0).await?["ifTheActiveMemberFailed"].to_string();
        if told.contains("watch is missing") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    ensure!(
        told.contains("watch is missing"),
        "S109: an operator is told: {told}"
    );
    pair.add_order("with-two", "marking").await?;
    pair.await_finished(&["with-two".to_owned()]).await?;

    // One of three is left: it must not act alone.
    pair.members[0].kill()?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let state = pair.state(1).await?;
    ensure!(
        state["isActive"] == false && state["mayAnswer"] == false,
        "S109: no unsafe fail-over: {state}"
    );
    let refused = pair.api_of(1).get("/controller/api/order").await;
    ensure!(
        !matches!(refused, Ok(Ok(_))),
        "S109: who is not active answers nothing as if it were"
    );

    // With the watch there is a majority again, and nobody has to confirm anything.
    pair.start_watch()?;
    ensure!(
        pair.active().await? == 1,
        "S102: the standby has taken over by itself"
    );
    pair.add_order("after", "marking").await?;
    pair.await_finished(&["with-two".to_owned(), "after".to_owned()])
        .await?;
    pair.members[0].start_ready().await?;
    pair.await_coupled().await?;
    ensure!(
        pair.active().await? == 1,
        "S101, S102: who comes back is the standby"
    );
    Ok(())
}
