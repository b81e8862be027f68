//! The orders whose end a command waits for, while it is told their events again from the beginning.
//!
//! Always: an end that had happened before the command began counts only if the order has stayed so, which its state says: since then it
//! may have been resumed. An order that is gone is known by its events alone; what no event has named does not exist.

use std::collections::BTreeMap;

use model::{Order, OrderEvent};

use super::end::End;

/// What is known of an order besides the events to come.
#[derive(Debug)]
enum Known {
    /// It goes on.
    Open,
    /// Its state says that it has ended.
    Ended(End),
    /// There is no such order any more; nothing has named it so far.
    Gone,
    /// There is no such order any more, and this was its last end, if one was told.
    Remembered(Option<End>),
}

/// The orders that are waited for.
#[derive(Debug)]
pub(super) struct Waited {
    /// The newest event when the states were not yet asked for.
    newest: u64,
    open: BTreeMap<String, Known>,
    has_failed: bool,
}

impl Waited {
    /// `newest` must have been asked for before the state of any order: what ends afterwards is told by an event or by the state.
    pub(super) fn since(newest: u64) -> Waited {
        Waited {
            newest,
            open: BTreeMap::new(),
            has_failed: false,
        }
    }

    /// Waits for an order as it stands; without one, for an id that the Controller does not know.
    pub(super) fn add(&mut self, id: &str, order: Option<&Order>) {
        let known = match order.map(End::of_order) {
            Some(Some(end)) => Known::Ended(end),
            Some(None) => Known::Open,
            None => Known::Gone,
        };
        self.open.insert(id.to_owned(), known);
    }

    /// An event of any order. Tells whether it is the end of one that is waited for.
    pub(super) fn take(&mut self, event_id: u64, id: &str, event: &OrderEvent) -> bool {
        let end = End::of_event(event);
        let Some(known) = self.open.get_mut(id) else {
            return false;
        };
        if let Some(end) = &end
            && event_id > self.newest
        {
            self.has_failed |= *end != End::Well;
            self.open.remove(id);
            return true;
        }
        if matches!(known, Known::Gone) {
            *known = Known::Remembered(None);
        }
        if let Known::Remembered(last) = known
            && let Some(end) = end
            // That it was deleted says less than how it had ended before.
            && (!matches!(event, OrderEvent::OrderDeleted) || last.is_none())
        {
            *last = Some(end);
        }
        false
    }

    /// All that had happened before has been told: what has ended by then is waited for no more. Gives the ids that nothing has named.
    pub(super) fn catch_up(&mut self) -> Vec<String> {
        let mut unheard_of = Vec::new();
        let has_failed = &mut self.has_failed;
        self.open.retain(|id, known| match known {
            Known::Open => true,
            // It is gone, and no end of its own was told: one that joined its parent.
            Known::Remembered(None) => false,
            Known::Ended(end) | Known::Remembered(Some(end)) => {
                *has_failed |= *end != End::Well;
                false
            }
            Known::Gone => {
                unheard_of.push(id.clone());
                true
            }
        });
        unheard_of
    }

    /// Whether nothing is left to wait for.
    pub(super) fn is_over(&self) -> bool {
        self.open.is_empty()
    }

    /// Whether one of those that have ended has not ended well.
    pub(super) fn has_failed(&self) -> bool {
        self.has_failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(state: &str) -> Order {
        serde_json::from_value(serde_json::json!({
            "id": "A", "workflowId": {"path": "w", "versionId": "1"}, "position": [0], "state": {"TYPE": state},
        }))
        .unwrap()
    }

    fn event(json: &str) -> OrderEvent {
        serde_json::from_str(json).unwrap()
    }

    fn failed() -> OrderEvent {
        event(r#"{"TYPE":"OrderFailed","movedTo":[0]}"#)
    }

    fn finished() -> OrderEvent {
        event(r#"{"TYPE":"OrderFinished"}"#)
    }

    #[test]
    fn a_failure_of_an_order_that_was_resumed_since_is_not_its_end() {
        let mut waited = Waited::since(10);
        waited.add("A", Some(&order("Ready")));
        assert!(!waited.take(5, "A", &failed()));
        assert_eq!(waited.catch_up(), [] as [&str; 0]);
        assert!(!waited.is_over(), "it goes on");
        assert!(!waited.take(11, "B", &failed()), "another order");
        assert!(waited.take(12, "A", &finished()));
        assert!(waited.is_over() && !waited.has_failed());
    }

    #[test]
    fn an_order_that_has_failed_and_stayed_so_has_ended_once_its_past_is_told() {
        let mut waited = Waited::since(10);
        waited.add("A", Some(&order("Failed")));
        assert!(!waited.take(5, "A", &failed()));
        assert!(!waited.is_over(), "what follows is to be told, too");
        waited.catch_up();
        assert!(waited.is_over() && waited.has_failed());
    }

    #[test]
    fn an_order_that_is_gone_has_ended_as_its_last_end_says() {
        let mut waited = Waited::since(10);
        waited.add("A", None);
        waited.take(5, "A", &failed());
        waited.take(7, "A", &finished());
        waited.take(8, "A", &event(r#"{"TYPE":"OrderDeleted"}"#));
        assert_eq!(waited.catch_up(), [] as [&str; 0]);
        assert!(waited.is_over() && !waited.has_failed());
    }

    #[test]
    fn a_branch_that_has_joined_its_parent_is_waited_for_no_more() {
        let mut waited = Waited::since(10);
        waited.add("A|x", None);
        waited.take(5, "A|x", &event(r#"{"TYPE":"OrderStarted"}"#));
        assert!(!waited.is_over(), "what it did is told first");
        assert_eq!(waited.catch_up(), [] as [&str; 0]);
        assert!(waited.is_over() && !waited.has_failed());
    }

    #[test]
    fn an_order_that_nothing_has_named_is_told_instead_of_waited_for() {
        let mut waited = Waited::since(10);
        waited.add("A", None);
        waited.take(5, "B", &finished());
        assert_eq!(waited.catch_up(), ["A"]);
    }
}
