//! Orders that are added all the time, by some lanes that each wait for the acknowledgement of their last one.
//!
//! Always: what it gives back in the end was acknowledged, all of it and nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::courier::Courier;

const LANES: u64 = 6;
/// One order of so many has a long job.
const LONG_ONE_OF: usize = 12;

/// Runs until it is ended.
#[derive(Debug)]
pub(super) struct Load {
    lanes: JoinSet<Result<Vec<String>>>,
    is_over: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
}

impl Load {
    /// Adds so many orders per second, their names beginning with `name`.
    pub(super) fn start(courier: &Arc<Courier>, name: &str, per_second: u64) -> Load {
        let is_over = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicU64::new(0));
        let every = Duration::from_micros(1_000_000 * LANES / per_second.max(1));
        let mut lanes = JoinSet::new();
        for lane in 0..LANES {
            let (courier, is_over) = (courier.clone(), is_over.clone());
            let (acknowledged, name) = (acknowledged.clone(), format!("{name}-{lane}"));
            // The lanes take turns.
            let offset = Duration::from_micros(1_000_000 * lane / per_second.max(1));
            lanes.spawn(async move {
                let mut orders = Vec::new();
                let mut tick =
                    tokio::time::interval_at(tokio::time::Instant::now() + offset, every);
                tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
                while !is_over.load(Ordering::Relaxed) {
                    tick.tick().await;
                    let id = format!("{name}-{}", orders.len());
                    let is_long = orders.len().is_multiple_of(LONG_ONE_OF);
                    let workflow = if is_long { "long" } else { "short" };
                    courier.add_order(&id, workflow).await?;
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                    orders.push(id);
                }
                Ok(orders)
            });
        }
        Load {
            lanes,
            is_over,
            acknowledged,
        }
    }

    /// How many orders have been acknowledged.
    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Ends it; all orders that were acknowledged.
    pub(super) async fn end(mut self) -> Result<Vec<String>> {
        self.is_over.store(true, Ordering::Relaxed);
        let mut orders = Vec::new();
        while let Some(lane) = self.lanes.join_next().await {
            orders.extend(lane??);
        }
        Ok(orders)
    }
}
