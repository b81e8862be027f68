//! The orders for which something may follow, each at most once: highest priority first, then first come first served.

use expr::Number;
use model::OrderId;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The queue of restless orders.
#[derive(Clone, Debug, Default)]
pub(crate) struct Restless {
    by_priority: BTreeMap<Reverse<Number>, VecDeque<OrderId>>,
    queued: BTreeSet<OrderId>,
}

impl Restless {
    pub(crate) fn push(&mut self, id: &OrderId, priority: &Number) {
        if self.queued.insert(id.clone()) {
            if let Some(queue) = self.by_priority.get_mut(&Reverse(priority.clone())) {
                queue.push_back(id.clone());
            } else {
                self.by_priority
                    .insert(Reverse(priority.clone()), VecDeque::from([id.clone()]));
            }
        }
    }

    pub(crate) fn pop(&mut self) -> Option<OrderId> {
        let mut highest = self.by_priority.first_entry()?;
        let id = highest.get_mut().pop_front();
        if highest.get().is_empty() {
            highest.remove();
        }
        let id = id?;
        self.queued.remove(&id);
        Some(id)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_priority.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &OrderId> {
        self.queued.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_higher_priority_goes_first_and_equals_keep_their_turn() {
        let mut restless = Restless::default();
        for (id, priority) in [("a", 0), ("b", 5), ("c", 0), ("d", -1), ("a", 0)] {
            restless.push(&OrderId::from(id), &Number::from(priority));
        }
        assert!(!restless.is_empty());
        let turn: Vec<_> = std::iter::from_fn(|| restless.pop())
            .map(|id| id.to_string())
            .collect();
        assert_eq!(turn, ["b", "a", "c", "d"]);
        assert!(restless.is_empty());
    }
}
