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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{JobKey, Site};
    use model::{Order, OrderId, Position, Timestamp};
    use std::sync::Arc;

    fn state() -> State {
        let mut state = State::new(Site::Controller, "CONTROLLER".into());
        for (id, at) in [("A", 10), ("B", 20)] {
            let text = format!(
                r#"{{"id":"{id}","workflowId":{{"path":"w","versionId":"1"}},"position":[0],"scheduledFor":{at},"state":{{"TYPE":"Fresh"}}}}"#
            );
            state.insert_order(serde_json::from_str(&text).expect("an order"));
        }
        state
    }

    fn change(state: &mut State, id: &str, change: impl Fn(&mut Order)) {
        change(Arc::make_mut(
            state.orders.get_mut(id).expect("it is there"),
        ));
    }

    type Break = Box<dyn Fn(&mut State)>;

    #[test]
    fn a_state_that_contradicts_itself_is_found() {
        let (id, nobody) = (OrderId::from("A"), OrderId::from("NOBODY"));
        let timer = |at| (Timestamp::from_millis(at), OrderId::from("A"));
        let ways: [(&str, Break); 9] = [
            (
                "Order:A is called X itself",
                Box::new(|state| change(state, "A", |order| order.id = "X".into())),
            ),
            (
                "Order:A is deleted and still there",
                Box::new(|state| change(state, "A", |order| order.state = OrderState::Deleted)),
            ),
            (
                "Order:A waits for NOBODY, which does not exist",
                Box::new(move |state| {
                    change(state, "A", |order| {
                        order.state = OrderState::Forked {
                            children: vec![model::ForkChild {
                                order_id: nobody.clone(),
                                branch_id: None,
                                arguments: expr::NamedValues::new(),
                            }],
                        };
                    });
                }),
            ),
            (
                "joined children",
                Box::new(|state| {
                    state.index.joined.insert("A".into(), 1);
                }),
            ),
            (
                "counts",
                Box::new(|state| {
                    state.index.counts.insert("Fresh", 3);
                }),
            ),
            (
                "running jobs",
                Box::new(|state| {
                    let key = JobKey {
                        workflow_id: state.orders["A"].workflow_id.clone(),
                        place: Position::default(),
                        name: None,
                    };
                    let orders = [OrderId::from("A")].into_iter().collect();
                    state.index.running_in.insert(key, orders);
                }),
            ),
            (
                "orphans",
                Box::new(move |state| {
                    state.index.orphans.insert(id.clone());
                }),
            ),
            (
                "belongs to no order",
                Box::new(move |state| {
                    state.index.timers.insert(timer(7));
                }),
            ),
            (
                "is missing",
                Box::new(move |state| {
                    state.index.timers.remove(&timer(10));
                }),
            ),
        ];
        for (expected, way) in ways {
            let mut state = state();
            assert_eq!(state.check(), Ok(()));
            way(&mut state);
            let found = state.check().expect_err(expected);
            assert!(found.contains(expected), "{found} instead of {expected}");
        }
    }

    #[test]
    fn a_timer_may_be_missing_after_its_time_only() {
        let mut state = state();
        state.wake(Timestamp::from_millis(10));
        assert_eq!(state.check(), Ok(()));
        state.woken_at = Timestamp::from_millis(9);
        assert!(state.check().is_err_and(|found| found.contains("missing")));
        state.woken_at = Timestamp::from_millis(11);
        assert_eq!(state.check(), Ok(()));
    }
}
