//! Orders that stand ready at a job, in line for a process.
//!
//! Always: per job the order of priority, then of arrival; an order is in one line at most; a job's and the Agent's limits
//! count what runs. Finding the next one to start costs by what can start, not by what waits.

use engine::JobKey;
use expr::Number;
use model::OrderId;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

type Rank = (Reverse<Number>, u64, OrderId);

#[derive(Clone, Debug, Default)]
struct Queue {
    waiting: BTreeSet<Rank>,
    running: u32,
    limit: u32,
}

impl Queue {
    fn can_start(&self) -> bool {
        !self.waiting.is_empty() && self.running < self.limit
    }
}

/// All lines of an Agent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Queues {
    lines: BTreeMap<Arc<JobKey>, Queue>,
    /// Lines in which the first one could start, as far as its job's limit goes, and which have not been tried since
    /// something changed.
    startable: BTreeSet<Arc<JobKey>>,
    /// Lines that could not be served: no Subagent was free to take the job.
    stuck: BTreeSet<Arc<JobKey>>,
    places: BTreeMap<OrderId, (Arc<JobKey>, Rank)>,
    running: BTreeMap<OrderId, Arc<JobKey>>,
    arrivals: u64,
    waiting: usize,
}

impl Queues {
    pub(crate) fn running(&self) -> usize {
        self.running.len()
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Puts the order in line, unless it is there already.
    pub(crate) fn enter(&mut self, order_id: &OrderId, key: &JobKey, priority: Number, limit: u32) {
        if self
            .places
            .get(order_id)
            .is_some_and(|(there, _)| **there == *key)
        {
            return;
        }
        self.leave(order_id);
        let key = self.key(key);
        self.arrivals += 1;
        let rank = (Reverse(priority), self.arrivals, order_id.clone());
        let queue = self.lines.entry(key.clone()).or_default();
        queue.limit = limit;
        queue.waiting.insert(rank.clone());
        self.waiting += 1;
        if queue.can_start() {
            self.startable.insert(key.clone());
        }
        self.places.insert(order_id.clone(), (key, rank));
    }

    /// Takes the order out of its line.
    pub(crate) fn leave(&mut self, order_id: &OrderId) {
        let Some((key, rank)) = self.places.remove(order_id) else {
            return;
        };
        if let Some(queue) = self.lines.get_mut(&key)
            && queue.waiting.remove(&rank)
        {
            self.waiting -= 1;
        }
        self.forget_if_idle(&key);
    }

    /// The order's process has been started.
    pub(crate) fn started(&mut self, order_id: &OrderId, key: &JobKey, limit: u32) {
        self.leave(order_id);
        let key = self.key(key);
        let queue = self.lines.entry(key.clone()).or_default();
        queue.limit = limit;
        queue.running += 1;
        if queue.can_start() {
            self.startable.insert(key.clone());
        } else {
            self.startable.remove(&key);
        }
        self.running.insert(order_id.clone(), key);
    }

    /// The order's process has ended.
    pub(crate) fn ended(&mut self, order_id: &OrderId) {
        let Some(key) = self.running.remove(order_id) else {
            return;
        };
        if let Some(queue) = self.lines.get_mut(&key) {
            queue.running = queue.running.saturating_sub(1);
            if queue.can_start() {
                self.startable.insert(key.clone());
            }
        }
        self.forget_if_idle(&key);
    }

    /// A line to serve next, and who stands first in it.
    pub(crate) fn next(&self) -> Option<(Arc<JobKey>, OrderId)> {
        self.startable.iter().find_map(|key| {
            let (_, _, order_id) = self.lines.get(key)?.waiting.first()?;
            Some((key.clone(), order_id.clone()))
        })
    }

    /// The line cannot be served until [`Queues::unstick`].
    pub(crate) fn stick(&mut self, key: &Arc<JobKey>) {
        self.startable.remove(key);
        self.stuck.insert(key.clone());
    }

    /// Something has changed with the Subagents: the lines are worth another look.
    pub(crate) fn unstick(&mut self) {
        for key in std::mem::take(&mut self.stuck) {
            if self.lines.get(&key).is_some_and(Queue::can_start) {
                self.startable.insert(key);
            }
        }
    }

    fn key(&self, key: &JobKey) -> Arc<JobKey> {
        self.lines
            .get_key_value(key)
            .map_or_else(|| Arc::new(key.clone()), |(known, _)| known.clone())
    }

    fn forget_if_idle(&mut self, key: &Arc<JobKey>) {
        if self
            .lines
            .get(key)
            .is_some_and(|queue| queue.waiting.is_empty() && queue.running == 0)
        {
            self.lines.remove(key);
            self.startable.remove(key);
            self.stuck.remove(key);
        }
    }
}
