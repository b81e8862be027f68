//! What the scenarios of Controller pairs have in common: the items of the case, its orders, and what the cluster has told.
//!
//! Always: what is waited for comes within half a minute, or the message says how all parts stand.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::conformance::case::Case;
use crate::conformance::driver::operations;
use crate::world::{MEMBERS, Pair, PairPlan};

const PATIENCE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(30);
/// A member that does not say by then how it stands says nothing.
const ANSWER: Duration = Duration::from_millis(300);

/// As slow as the cases have it, so that a busy machine is no fault. Tests of promises have the defaults.
const TIMING: [&str; 2] = ["cluster.heartbeat=200ms", "cluster.silence=1s"];

/// A plan with the timing of the cases.
pub(crate) fn plan() -> PairPlan {
    PairPlan {
        settings: TIMING.map(str::to_owned).to_vec(),
        ..PairPlan::default()
    }
}

/// A coupled pair with the items of the case.
pub(crate) async fn coupled(case: &Case) -> Result<Pair> {
    coupled_with(case, plan()).await
}

/// The same by a plan.
pub(crate) async fn coupled_with(case: &Case, plan: PairPlan) -> Result<Pair> {
    let pair = Pair::start_with(plan).await?;
    deploy(&pair, case).await?;
    Ok(pair)
}

/// Makes the items of the case known. The Agent, ALFA in the cases, is the pair's only one.
pub(crate) async fn deploy(pair: &Pair, case: &Case) -> Result<()> {
    let items = json!(case.items()).to_string().replace("\"ALFA\"", "\"A\"");
    let items: Vec<Value> = serde_json::from_str(&items)?;
    pair.deploy(&operations(&items)).await
}

/// Adds an order whose job takes so many seconds.
pub(crate) async fn add(pair: &Pair, id: &str, seconds: u32) -> Result<()> {
    let order = order(id, seconds);
    // Who is becoming active may refuse; what has arrived all the same is ignored as a duplicate.
    until(pair, &format!("{id} is taken"), || async {
        pair.api().await?.add_order(&order).await?;
        Ok(true)
    })
    .await
}

/// An order whose job takes so many seconds.
pub(crate) fn order(id: &str, seconds: u32) -> Value {
    json!({"id": id, "workflowPath": "cl/w", "arguments": {"sleep": seconds}})
}

/// Adds an order and waits until it has finished.
pub(crate) async fn run(pair: &Pair, id: &str) -> Result<()> {
    add(pair, id, 0).await?;
    finished(pair, id).await
}

/// Waits until an order has finished. Its job has been started once.
pub(crate) async fn finished(pair: &Pair, id: &str) -> Result<()> {
    pair.await_finished(&[id.to_owned()]).await?;
    let events = events(pair).await?;
    let starts = events
        .iter()
        .filter(|event| event["Key"] == id && event["TYPE"] == "OrderProcessingStarted")
        .count();
    ensure!(starts == 1, "the job of {id} was started {starts} times");
    Ok(())
}

/// Waits until the job of an order runs.
pub(crate) async fn processing(pair: &Pair, id: &str) -> Result<()> {
    until(pair, &format!("the job of {id} runs"), || async {
        let order = pair.api().await?.order(id).await?;
        Ok(order.is_some_and(|order| order["state"]["TYPE"] == "Processing"))
    })
    .await
}

/// Waits until a look is satisfied. A look that fails is repeated: the active member may be changing.
pub(crate) async fn until<F>(pair: &Pair, what: &str, mut look: impl FnMut() -> F) -> Result<()>
where
    F: Future<Output = Result<bool>>,
{
    let deadline = Instant::now() + PATIENCE;
    while !matches!(look().await, Ok(true)) {
        if Instant::now() > deadline {
            bail!(pair.lament(&format!("has not come: {what}")));
        }
        sleep(LOOK).await;
    }
    Ok(())
}

/// All events so far, of whoever is active.
pub(crate) async fn events(pair: &Pair) -> Result<Vec<Value>> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match pair.all_events().await {
            Ok(events) => return Ok(events),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => sleep(LOOK).await,
        }
    }
}

/// What the cluster has told so far: its own events.
pub(crate) async fn told(pair: &Pair) -> Result<Vec<Value>> {
    let mut events = events(pair).await?;
    events.retain(|event| kind(event).starts_with("Cluster"));
    Ok(events)
}

/// The names of these events.
pub(crate) fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(kind).collect()
}

fn kind(event: &Value) -> &str {
    event["TYPE"].as_str().unwrap_or_default()
}

/// How often the cluster has told this.
pub(crate) async fn count(pair: &Pair, wanted: &str) -> Result<usize> {
    let events = told(pair).await?;
    Ok(events.iter().filter(|event| kind(event) == wanted).count())
}

/// Waits until the cluster has told this so often.
pub(crate) async fn await_told(pair: &Pair, wanted: &str, times: usize) -> Result<()> {
    until(pair, &format!("{times} × {wanted}"), || async {
        Ok(count(pair, wanted).await? >= times)
    })
    .await
}

/// Waits until both members have the same events on their disks, byte by byte.
pub(crate) async fn same_journals(pair: &Pair) -> Result<()> {
    until(pair, "the same events on both disks", || async {
        let [primary, backup] = [pair.journal(0)?, pair.journal(1)?];
        Ok(!primary.is_empty() && primary == backup)
    })
    .await
}

/// Whether a member answers as the active one.
async fn answers(pair: &Pair, member: usize) -> bool {
    let asked = timeout(ANSWER, pair.state(member)).await;
    matches!(asked, Ok(Ok(state)) if state["mayAnswer"] == true)
}

/// Nobody is active for this time, and it stays so by itself.
pub(crate) async fn nobody_is_active(pair: &Pair, long: Duration) -> Result<()> {
    // The last one needs a moment to see that no majority hears it.
    until(pair, "nobody active", || async {
        Ok(!answers(pair, 0).await && !answers(pair, 1).await)
    })
    .await?;
    let end = Instant::now() + long;
    while Instant::now() < end {
        for (member, name) in MEMBERS.iter().enumerate() {
            ensure!(
                !answers(pair, member).await,
                pair.lament(&format!("{name} is active without a majority"))
            );
        }
        sleep(LOOK).await;
    }
    Ok(())
}

/// This member remains the active one for this time, and the other one never is.
pub(crate) async fn remains_active(pair: &Pair, member: usize, long: Duration) -> Result<()> {
    let end = Instant::now() + long;
    while Instant::now() < end {
        ensure!(
            !answers(pair, 1 - member).await,
            pair.lament("the other member is active")
        );
        sleep(LOOK).await;
    }
    ensure!(
        pair.active().await? == member,
        pair.lament("it is active no more")
    );
    Ok(())
}

/// The command by which users of JS7 confirm a loss does not exist, and no member waits for it.
pub(crate) async fn nobody_confirms(pair: &Pair, member: usize) -> Result<()> {
    let command = json!({"TYPE": "ConfirmClusterNodeLoss", "agentPath": "A", "lostNodeId": "Primary", "confirmer": "SMITH"});
    let answer = pair.api_of(member).command(&command).await?;
    ensure!(answer.is_err(), "a loss was confirmed: {answer:?}");
    Ok(())
}
