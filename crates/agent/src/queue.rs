//! Orders that stand ready at a job, in line for a process.
//!
//! Always: per job the order of priority, then of arrival, among those that can start: an order that nobody can take lets others
//! by that are to run elsewhere. An order is in one line at most; a job's and the Agent's limits count what runs. Finding the next
//! one to start costs by what can start, not by what waits.

use engine::JobKey;
use expr::Number;
use model::{OrderId, SubagentId};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

type Rank = (Reverse<Number>, u64, OrderId);

/// Where an order's job is to run: orders with the same placement wait for the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Placement {
    /// On the Subagent, or one of the Subagent Cluster, with this name; on any, if there is none.
    Named(Option<Arc<str>>),
    /// On the one that the order is tied to.
    Tied(SubagentId),
}

impl Default for Placement {
    fn default() -> Self {
        Placement::Named(None)
    }
}

#[derive(Clone, Debug, Default)]
struct Queue {
    /// Worth a try.
    waiting: BTreeSet<Rank>,
    /// Behind an order, or at its place, that was tried in vain and has the same placement. Of each such lane one is tried at a time.
    lanes: BTreeMap<Placement, BTreeSet<Rank>>,
    running: u32,
    limit: u32,
}

impl Queue {
    fn can_start(&self) -> bool {
        !self.waiting.is_empty() && self.running < self.limit
    }

    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.lanes.is_empty() && self.running == 0
    }

    /// The first of a lane is worth a try.
    fn promote(&mut self, placement: &Placement) {
        if let Some(lane) = self.lanes.get_mut(placement) {
            self.waiting.extend(lane.pop_first());
            if lane.is_empty() {
                self.lanes.remove(placement);
            }
        }
    }

    /// Takes an order out, wherever it stands. Answers whether it was there.
    fn remove(&mut self, rank: &Rank, placement: Option<&Placement>) -> bool {
        let Some(placement) = placement else {
            return self.waiting.remove(rank);
        };
        let was_tried_next = self.waiting.remove(rank);
        let lane = self.lanes.get_mut(placement);
        let was_first = lane.as_ref().is_some_and(|lane| lane.first() == Some(rank));
        let was_there = was_tried_next || lane.is_some_and(|lane| lane.remove(rank));
        if was_tried_next || was_first {
            self.promote(placement);
        }
        was_there
    }
}

/// Where an order stands.
#[derive(Clone, Debug)]
struct Place {
    key: Arc<JobKey>,
    rank: Rank,
    /// Where its job is to run, as soon as it was tried in vain.
    placement: Option<Placement>,
}

/// All lines of an Agent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Queues {
    lines: BTreeMap<Arc<JobKey>, Queue>,
    /// Lines in which the first one could start, as far as its job's limit goes, and which have not been tried since
    /// something changed.
    startable: BTreeSet<Arc<JobKey>>,
    /// Lines with orders that could not be served: no Subagent was free to take them.
    stuck: BTreeSet<Arc<JobKey>>,
    places: BTreeMap<OrderId, Place>,
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

    /// Returns whether an order waits for a process.
    pub(crate) fn contains(&self, order_id: &OrderId) -> bool {
        self.places.contains_key(order_id)
    }

    /// Returns the orders that wait for a process.
    pub(crate) fn orders(&self) -> impl Iterator<Item = &OrderId> {
        self.places.keys()
    }

    /// Puts the order in line, unless it is there already.
    pub(crate) fn enter(&mut self, order_id: &OrderId, key: &JobKey, priority: Number, limit: u32) {
        if self
            .places
            .get(order_id)
            .is_some_and(|place| *place.key == *key)
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
        let place = Place {
            key,
            rank,
            placement: None,
        };
        self.places.insert(order_id.clone(), place);
    }

    /// Takes the order out of its line.
    pub(crate) fn leave(&mut self, order_id: &OrderId) {
        let Some(Place {
            key,
            rank,
            placement,
        }) = self.places.remove(order_id)
        else {
            return;
        };
        if let Some(queue) = self.lines.get_mut(&key) {
            if queue.remove(&rank, placement.as_ref()) {
                self.waiting -= 1;
            }
            // Whoever stood behind it has its chance.
            if queue.can_start() {
                self.startable.insert(key.clone());
            } else {
                self.startable.remove(&key);
            }
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

    /// Who is served next, as the first of its line.
    pub(crate) fn next(&self) -> Option<OrderId> {
        self.startable.iter().find_map(|key| {
            let (_, _, order_id) = self.lines.get(key)?.waiting.first()?;
            Some(order_id.clone())
        })
    }

    /// Nobody can take the order, nor others with the same placement, until [`Queues::unstick`].
    pub(crate) fn stick(&mut self, order_id: &OrderId, placement: Placement) {
        let Some(place) = self.places.get_mut(order_id) else {
            return;
        };
        let Some(queue) = self.lines.get_mut(&place.key) else {
            return;
        };
        if let Some(before) = place.placement.replace(placement.clone())
            && before != placement
        {
            queue.promote(&before);
        }
        queue.waiting.remove(&place.rank);
        let lane = queue.lanes.entry(placement).or_default();
        lane.insert(place.rank.clone());
        if !queue.can_start() {
            self.startable.remove(&place.key);
        }
        self.stuck.insert(place.key.clone());
    }

    /// Something has changed with the Subagents: the lines are worth another look.
    pub(crate) fn unstick(&mut self) {
        for key in std::mem::take(&mut self.stuck) {
            let Some(queue) = self.lines.get_mut(&key) else {
                continue;
            };
            let placements: Vec<Placement> = queue.lanes.keys().cloned().collect();
            for placement in placements {
                queue.promote(&placement);
            }
            if queue.can_start() {
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
        if self.lines.get(key).is_some_and(Queue::is_idle) {
            self.lines.remove(key);
            self.startable.remove(key);
            self.stuck.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Position, WorkflowId};

    fn job() -> JobKey {
        let id = WorkflowId {
            path: "w".into(),
            version_id: "1".into(),
        };
        JobKey {
            workflow_id: Arc::new(id),
            place: Position::default(),
            name: None,
        }
    }

    fn is_empty(queues: &Queues) -> bool {
        let Queues {
            lines,
            startable,
            stuck,
            places,
            running,
            waiting,
            arrivals: _,
        } = queues;
        lines.is_empty()
            && startable.is_empty()
            && stuck.is_empty()
            && places.is_empty()
            && running.is_empty()
            && *waiting == 0
    }

    #[test]
    fn nothing_is_kept_of_a_job_for_which_nobody_waits_and_that_does_not_run() {
        let key = job();
        let orders: Vec<OrderId> = ["1", "2", "3"].map(OrderId::from).into();
        let line = |stuck: usize| {
            let mut queues = Queues::default();
            for id in &orders {
                queues.enter(id, &key, Number::from(0), 1);
            }
            for id in &orders[..stuck] {
                queues.stick(id, Placement::default());
            }
            queues
        };
        // In line or tried in vain, they leave in any order.
        for stuck in 0..=3 {
            for places in [[0, 1, 2], [1, 2, 0], [2, 1, 0]] {
                let mut queues = line(stuck);
                for place in places {
                    assert!(!is_empty(&queues), "one is left");
                    queues.leave(&orders[place]);
                }
                assert!(is_empty(&queues), "{stuck} were stuck: {queues:?}");
            }
        }
        // One runs.
        let mut queues = line(0);
        queues.started(&orders[0], &key, 1);
        queues.leave(&orders[1]);
        queues.leave(&orders[2]);
        assert!(!is_empty(&queues), "it runs");
        queues.enter(&orders[1], &key, Number::from(0), 1);
        assert_eq!(queues.next(), None, "the limit is one");
        queues.leave(&orders[1]);
        queues.ended(&orders[0]);
        assert!(is_empty(&queues), "{queues:?}");
    }
}
