//! Invariants: what must be true of every state, found out by a full scan. For tests, simulation and debug builds.

use crate::State;
use crate::state::Index;
use model::OrderState;

impl State {
    /// Says what is wrong, if anything is: every index must equal what a scan of all orders gives.
    pub fn check(&self) -> Result<(), String> {
        let mut scanned = Index::default();
        for (id, order) in &self.orders {
            if order.id != *id {
                return Err(format!("Order:{id} is called {} itself", order.id));
            }
            if order.state == OrderState::Deleted {
                return Err(format!("Order:{id} is deleted and still there"));
            }
            if let OrderState::Forked { children } = &order.state
                && self.site.is_controller()
                && let Some(child) = children
                    .iter()
                    .find(|child| !self.orders.contains_key(&child.order_id))
            {
                return Err(format!(
                    "Order:{id} waits for {}, which does not exist",
                    child.order_id
                ));
            }
            scanned.add_traits(id, &self.traits_of(order));
        }
        if scanned.joined != self.index.joined {
            return Err(format!(
                "joined children: {:?}, scanned {:?}",
                self.index.joined, scanned.joined
            ));
        }
        if scanned.counts != self.index.counts {
            return Err(format!(
                "counts: {:?}, scanned {:?}",
                self.index.counts, scanned.counts
            ));
        }
        if (&scanned.running_at, &scanned.running_in)
            != (&self.index.running_at, &self.index.running_in)
        {
            return Err(format!(
                "running jobs: {:?} {:?}, scanned {:?} {:?}",
                self.index.running_at,
                self.index.running_in,
                scanned.running_at,
                scanned.running_in
            ));
        }
        if scanned.orphans != self.index.orphans {
            return Err(format!(
                "orphans: {:?}, scanned {:?}",
                self.index.orphans, scanned.orphans
            ));
        }
        if let Some(timer) = self
            .index
            .timers
            .iter()
            .find(|timer| !scanned.timers.contains(*timer))
        {
            return Err(format!("the timer {timer:?} belongs to no order"));
        }
        // A timer that has been woken is gone; its order has been looked at since, or will be.
        let missing = scanned.timers.iter().find(|(at, id)| {
            *at > self.woken_at && !self.index.timers.contains(&(*at, id.clone()))
        });
        match missing {
            Some(timer) => Err(format!("the timer {timer:?} is missing")),
            None => Ok(()),
        }
    }
}
