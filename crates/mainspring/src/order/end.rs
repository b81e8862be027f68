//! How an order has ended, or that it cannot go on without somebody.

use model::{Order, OrderEvent, OrderState};

/// The end of an order, as far as somebody waits for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// At the end of its workflow.
    Well,
    /// Finished with a failure, cancelled, failed, stopped or broken.
    Badly(&'static str),
}

impl End {
    /// What an event ends; nothing for events in the middle.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "few of the many events end an order"
    )]
    pub(crate) fn of_event(event: &OrderEvent) -> Option<End> {
        Some(match event {
            OrderEvent::OrderFinished {
                outcome: Some(outcome),
            } if !outcome.is_succeeded() => End::Badly("finished with a failure"),
            OrderEvent::OrderFinished { .. } => End::Well,
            OrderEvent::OrderCancelled => End::Badly("cancelled"),
            OrderEvent::OrderFailed { .. } => End::Badly("failed"),
            OrderEvent::OrderStopped => End::Badly("stopped"),
            OrderEvent::OrderBroken { .. } => End::Badly("broken"),
            // Whoever ended before has said so; this is for those that vanish otherwise.
            OrderEvent::OrderDeleted => End::Badly("deleted"),
            _ => return None,
        })
    }

    /// How the order has ended as it stands; nothing while it goes on.
    pub(crate) fn of_order(order: &Order) -> Option<End> {
        Some(match &order.state {
            OrderState::Finished if order.last_outcome().is_succeeded() => End::Well,
            OrderState::Finished => End::Badly("finished with a failure"),
            OrderState::Cancelled => End::Badly("cancelled"),
            OrderState::Failed | OrderState::FailedWhileFresh | OrderState::FailedInFork => {
                End::Badly("failed")
            }
            OrderState::Stopped | OrderState::StoppedWhileFresh => End::Badly("stopped"),
            OrderState::Broken { .. } => End::Badly("broken"),
            OrderState::Deleted => End::Badly("deleted"),
            OrderState::Fresh
            | OrderState::Ready
            | OrderState::Processing { .. }
            | OrderState::Processed
            | OrderState::ProcessingKilled
            | OrderState::DelayingRetry { .. }
            | OrderState::Forked { .. }
            | OrderState::Sleeping { .. } => return None,
        })
    }

    /// In one word for programs and people.
    pub(crate) fn told(&self) -> &'static str {
        match self {
            End::Well => "finished",
            End::Badly(how) => how,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_order_that_reached_its_end_without_a_failure_has_ended_well() {
        let end = |json: &str| End::of_event(&serde_json::from_str(json).unwrap());
        assert_eq!(end(r#"{"TYPE":"OrderFinished"}"#), Some(End::Well));
        assert_eq!(
            end(r#"{"TYPE":"OrderFinished","outcome":{"TYPE":"Failed"}}"#),
            Some(End::Badly("finished with a failure"))
        );
        assert_eq!(
            end(r#"{"TYPE":"OrderFailed","movedTo":[0]}"#),
            Some(End::Badly("failed"))
        );
        assert_eq!(end(r#"{"TYPE":"OrderStarted"}"#), None);
    }
}
