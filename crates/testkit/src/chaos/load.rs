//! The load: orders that are added again and again until the Controller has acknowledged them, and now and then cancelled.
//!
//! Always: an order counts as acknowledged only after the Controller's answer has arrived; an addition without an answer is repeated
//! under the same id.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::workflows;
use crate::world::{Api, History};

/// No more open orders than this, so that the end of the run is in sight.
const OPEN_MAX: usize = 150;
const PAUSE: Duration = Duration::from_millis(60);
const CANCEL_ONE_IN: u32 = 25;

/// What the load has seen acknowledged.
#[derive(Clone, Debug, Default)]
pub(crate) struct Acknowledged {
    pub(crate) orders: Vec<String>,
    pub(crate) repeated_additions: usize,
    pub(crate) duplicates: usize,
    pub(crate) cancels: usize,
    pub(crate) refusals: Vec<String>,
}

pub(crate) struct Load {
    acknowledged: Arc<Mutex<Acknowledged>>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Load {
    pub(crate) fn start(api: Api, history: History, seed: u64) -> Load {
        let acknowledged = Arc::new(Mutex::new(Acknowledged::default()));
        let stop = CancellationToken::new();
        let task = tokio::spawn(feed(api, history, seed, acknowledged.clone(), stop.clone()));
        Load {
            acknowledged,
            stop,
            task,
        }
    }

    /// Adds no more; the addition that is under way is completed.
    pub(crate) async fn finish(self) -> Acknowledged {
        self.stop.cancel();
        // The task does not panic; if it did, what it has noted says so by being too short.
        let _ended = self.task.await;
        lock(&self.acknowledged).clone()
    }
}

fn lock(acknowledged: &Mutex<Acknowledged>) -> std::sync::MutexGuard<'_, Acknowledged> {
    acknowledged.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn feed(
    api: Api,
    history: History,
    seed: u64,
    acknowledged: Arc<Mutex<Acknowledged>>,
    stop: CancellationToken,
) {
    let mut rng = StdRng::seed_from_u64(seed ^ 0x10AD);
    for number in 1.. {
        if stop.is_cancelled() {
            return;
        }
        let workflow = workflows::any(&mut rng);
        let id = format!("{workflow}-{number}");
        let order = json!({"id": id, "workflowPath": workflow});
        let added = json!({"TYPE": "AddOrder", "order": order});
        let Some(answer) = until_answered(&api, &added, &acknowledged).await else {
            continue;
        };
        {
            let mut acknowledged = lock(&acknowledged);
            acknowledged.orders.push(id.clone());
            if answer["ignoredBecauseDuplicate"] == true {
                acknowledged.duplicates += 1;
            }
        }
        if rng.random_ratio(1, CANCEL_ONE_IN) {
            tokio::time::sleep(Duration::from_millis(rng.random_range(0..500))).await;
            let cancel = json!({
                "TYPE": "CancelOrders", "orderIds": [id], "mode": {"TYPE": "FreshOrStarted", "kill": {}},
            });
            if until_answered(&api, &cancel, &acknowledged).await.is_some() {
                lock(&acknowledged).cancels += 1;
            }
        }
        tokio::time::sleep(PAUSE).await;
        wait_for_room(&history, &acknowledged, &stop).await;
    }
}

/// Asks again until an answer comes; none if the answer is no.
async fn until_answered(
    api: &Api,
    command: &Value,
    acknowledged: &Mutex<Acknowledged>,
) -> Option<Value> {
    loop {
        match api.command(command).await {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(refused)) if refused.status == 503 => {}
            Ok(Err(refused)) => {
                lock(acknowledged)
                    .refusals
                    .push(format!("{command}: {refused}"));
                return None;
            }
            Err(_unreachable) => lock(acknowledged).repeated_additions += 1,
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn wait_for_room(
    history: &History,
    acknowledged: &Mutex<Acknowledged>,
    stop: &CancellationToken,
) {
    let orders = lock(acknowledged).orders.len();
    loop {
        let ended = ended_orders(history).len();
        if orders.saturating_sub(ended) < OPEN_MAX || stop.is_cancelled() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The orders whose end has been seen, children left out.
pub(crate) fn ended_orders(history: &History) -> BTreeSet<String> {
    history
        .all()
        .into_iter()
        .filter(|seen| {
            matches!(
                seen.kind.as_str(),
                "OrderFinished" | "OrderCancelled" | "OrderFailed"
            )
        })
        .filter(|seen| !seen.key.contains('|'))
        .map(|seen| seen.key)
        .collect()
}
