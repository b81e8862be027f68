//! The life of an order as one table: in which state which event may happen, and the state after it.
//!
//! ```text
//! Fresh               Started→Ready Moved→Fresh Failed→FailedWhileFresh Stopped→StoppedWhileFresh Broken→Broken
//!                     Attachable→Fresh Attached→Fresh Detachable→Fresh Detached→Fresh
//!                     Suspended→Fresh Resumed→Fresh Cancelled→Cancelled
//!                     StickySubagentEntered→Fresh StickySubagentLeaved→Fresh
//! Ready               StickySubagentEntered→Ready StickySubagentLeaved→Ready Moved→Ready ProcessingStarted→Processing Forked→Forked Sleeping→Sleeping Said→Ready
//!                     Retrying→Ready Retrying→DelayingRetry Caught→Ready
//!                     Failed→Failed FailedInFork→FailedInFork Stopped→Stopped Broken→Broken
//!                     Attachable→Ready Attached→Ready Detachable→Ready Detached→Ready
//!                     Suspended→Ready Resumed→Ready Resumed→Processed Finished→Finished Cancelled→Cancelled
//! Processing          StdoutWritten→Processing StderrWritten→Processing ProcessingHeld→Processing Processed→Processed
//! Processed           StickySubagentLeaved→Processed Moved→Ready ProcessingKilled→ProcessingKilled Caught→Ready
//!                     Failed→Failed FailedInFork→FailedInFork Stopped→Stopped Broken→Broken
//!                     Detachable→Processed Detached→Processed
//! ProcessingKilled    StickySubagentLeaved→ProcessingKilled Caught→Ready Failed→Failed FailedInFork→FailedInFork Stopped→Stopped
//!                     Detachable→ProcessingKilled Detached→ProcessingKilled Suspended→Ready Cancelled→Cancelled
//! DelayingRetry       Awoke→Ready StateReset→Ready Detachable→DelayingRetry Detached→DelayingRetry
//! Sleeping            Moved→Ready Awoke→Ready StateReset→Ready Detachable→Sleeping Detached→Sleeping
//! Forked              Joined→Processed
//!                     Attachable→Forked Attached→Forked Detachable→Forked Detached→Forked
//! Broken              StickySubagentLeaved→Broken Failed→Failed FailedInFork→FailedInFork Stopped→Stopped
//!                     Detachable→Broken Detached→Broken Resumed→Ready Resumed→Processed Cancelled→Cancelled
//! Failed              Resumed→Ready Resumed→Processed Cancelled→Cancelled
//! FailedWhileFresh    Cancelled→Cancelled
//! FailedInFork
//! Stopped             StickySubagentLeaved→Stopped Resumed→Ready Resumed→Processed Cancelled→Cancelled
//! StoppedWhileFresh   StickySubagentLeaved→StoppedWhileFresh Resumed→Fresh Cancelled→Cancelled
//! Finished            Deleted→Deleted
//! Cancelled           Deleted→Deleted
//! Deleted
//! every state but Deleted, unchanged: DeletionMarked CancellationMarked CancellationMarkedOnAgent SuspensionMarked
//!                     SuspensionMarkedOnAgent ResumptionMarked OutcomeAdded AgentProblem
//! ```
//!
//! What must be true besides (where the order is, whether it is suspended) says [`place`].

use model::{AttachedState, Order, OrderEvent as E, OrderState as S};

/// The state after `event`, if the event may happen in `state`.
pub(crate) fn after(state: &S, event: &E) -> Option<S> {
    Some(match (state, event) {
        (S::Deleted, _) => return None,
        (
            same,
            E::OrderDeletionMarked
            | E::OrderCancellationMarked { .. }
            | E::OrderCancellationMarkedOnAgent
            | E::OrderSuspensionMarked { .. }
            | E::OrderSuspensionMarkedOnAgent
            | E::OrderResumptionMarked { .. }
            | E::OrderOutcomeAdded { .. }
            | E::OrderAgentProblem { .. },
        ) => same.clone(),

        (S::Fresh, E::OrderStarted) => S::Ready,
        (S::Fresh, E::OrderMoved { .. }) => S::Fresh,
        (S::Fresh, E::OrderFailed { .. }) => S::FailedWhileFresh,
        (S::Fresh, E::OrderStopped) => S::StoppedWhileFresh,

        (S::Ready | S::Processed | S::Sleeping { .. }, E::OrderMoved { .. }) => S::Ready,
        (
            S::Ready,
            E::OrderProcessingStarted {
                subagent_id,
                subagent_bundle_id,
                ..
            },
        ) => S::Processing {
            subagent_id: subagent_id.clone(),
            subagent_bundle_id: subagent_bundle_id.clone(),
            hold: None,
        },
        (
            S::Processing {
                subagent_id,
                subagent_bundle_id,
                ..
            },
            E::OrderProcessingHeld { hold },
        ) => S::Processing {
            subagent_id: subagent_id.clone(),
            subagent_bundle_id: subagent_bundle_id.clone(),
            hold: hold.clone(),
        },
        (
            same @ S::Processing { .. },
            E::OrderStdoutWritten { .. } | E::OrderStderrWritten { .. },
        ) => same.clone(),
        (S::Processing { .. }, E::OrderProcessed { .. }) => S::Processed,
        (S::Processed, E::OrderProcessingKilled) => S::ProcessingKilled,

        (same @ (S::Fresh | S::Ready), E::OrderStickySubagentEntered { .. }) => same.clone(),
        (
            same @ (S::Fresh
            | S::Ready
            | S::Processed
            | S::ProcessingKilled
            | S::Broken { .. }
            | S::Stopped
            | S::StoppedWhileFresh),
            E::OrderStickySubagentLeft,
        ) => same.clone(),
        (S::Ready, E::OrderForked { children }) => S::Forked {
            children: children.clone(),
        },
        (S::Forked { .. }, E::OrderJoined { .. }) => S::Processed,
        (S::Ready, E::OrderSleeping { until, cause }) => S::Sleeping {
            until: *until,
            cause: *cause,
        },
        (S::Ready, E::OrderSaid { .. }) => S::Ready,
        (
            S::Ready,
            E::OrderRetrying {
                delayed_until: None,
            },
        ) => S::Ready,
        (
            S::Ready,
            E::OrderRetrying {
                delayed_until: Some(until),
            },
        ) => S::DelayingRetry { until: *until },
        (S::Sleeping { .. } | S::DelayingRetry { .. }, E::OrderAwoke | E::OrderStateReset) => {
            S::Ready
        }

        (S::Ready | S::Processed | S::ProcessingKilled, E::OrderCaught { .. }) => S::Ready,
        (
            S::Ready | S::Processed | S::ProcessingKilled | S::Broken { .. },
            E::OrderFailed { .. },
        ) => S::Failed,
        (
            S::Ready | S::Processed | S::ProcessingKilled | S::Broken { .. },
            E::OrderFailedInFork { .. },
        ) => S::FailedInFork,
        (S::Ready | S::Processed | S::ProcessingKilled | S::Broken { .. }, E::OrderStopped) => {
            S::Stopped
        }
        (S::Fresh | S::Ready | S::Processed, E::OrderBroken { problem }) => S::Broken {
            problem: problem.clone(),
        },

        (
            same @ (S::Fresh | S::Ready | S::Forked { .. }),
            E::OrderAttachable { .. } | E::OrderAttached { .. },
        ) => same.clone(),
        (
            same @ (S::Fresh
            | S::Ready
            | S::Processed
            | S::ProcessingKilled
            | S::DelayingRetry { .. }
            | S::Sleeping { .. }
            | S::Forked { .. }
            | S::Broken { .. }),
            E::OrderDetachable | E::OrderDetached,
        ) => same.clone(),

        (S::Fresh, E::OrderSuspended) => S::Fresh,
        (S::Ready | S::ProcessingKilled, E::OrderSuspended) => S::Ready,
        (S::Fresh | S::StoppedWhileFresh, E::OrderResumed { .. }) => S::Fresh,
        (
            S::Ready | S::Failed | S::Stopped | S::Broken { .. },
            E::OrderResumed {
                position: None,
                as_succeeded: true,
                restart_killed_job: false,
                ..
            },
        ) => S::Processed,
        (S::Ready | S::Failed | S::Stopped | S::Broken { .. }, E::OrderResumed { .. }) => S::Ready,

        (S::Ready, E::OrderFinished { .. }) => S::Finished,
        (
            S::Fresh
            | S::Ready
            | S::ProcessingKilled
            | S::Broken { .. }
            | S::Failed
            | S::FailedWhileFresh
            | S::Stopped
            | S::StoppedWhileFresh,
            E::OrderCancelled,
        ) => S::Cancelled,
        (S::Finished | S::Cancelled, E::OrderDeleted) => S::Deleted,
        _ => return None,
    })
}

/// What must be true of the order's place for `event`, if it is not.
pub(crate) fn place(order: &Order, event: &E) -> Result<(), &'static str> {
    let detached = order.is_detached();
    let attached = order.attached_to().is_some();
    let (holds, rule) = match event {
        E::OrderStarted => (
            (detached || attached) && !order.is_suspended,
            "an order starts where it is, not suspended",
        ),
        E::OrderProcessingStarted { .. } => (
            attached && !order.is_suspended,
            "a job runs at an Agent, not suspended",
        ),
        E::OrderStdoutWritten { .. }
        | E::OrderStderrWritten { .. }
        | E::OrderProcessingHeld { .. }
        | E::OrderProcessed { .. } => (attached, "a job runs at an Agent"),
        E::OrderMoved { .. }
        | E::OrderProcessingKilled
        | E::OrderForked { .. }
        | E::OrderSleeping { .. }
        | E::OrderSaid { .. }
        | E::OrderRetrying { .. }
        | E::OrderAwoke
        | E::OrderStateReset
        | E::OrderCaught { .. }
        | E::OrderStickySubagentEntered { .. }
        | E::OrderBroken { .. } => (
            detached || attached,
            "an order on its way between Controller and Agent stands still",
        ),
        E::OrderStickySubagentLeft => (
            (detached || attached) && crate::instructions::sticky_subagent::is_inside(order),
            "only an order that is in the block and not on its way",
        ),
        E::OrderFailed { .. }
        | E::OrderStopped
        | E::OrderJoined { .. }
        | E::OrderSuspended
        | E::OrderFinished { .. }
        | E::OrderCancelled
        | E::OrderAttachable { .. } => (
            detached,
            "only the Controller may do so, with an order that no Agent has",
        ),
        E::OrderFailedInFork { .. } => (
            detached && order.parent.is_some(),
            "only a forked order at the Controller",
        ),
        E::OrderResumed { .. } => {
            let stands = order.is_suspended || !matches!(order.state, S::Fresh | S::Ready);
            (
                detached && stands,
                "only an order that stands still at the Controller",
            )
        }
        E::OrderDeleted => (
            detached && order.parent.is_none(),
            "a forked order goes when it is joined",
        ),
        E::OrderAttached { agent_path } => {
            let expected = AttachedState::Attaching {
                agent_path: agent_path.clone(),
            };
            (
                order.attached_state.as_ref() == Some(&expected),
                "only an order that is on the way to this Agent",
            )
        }
        E::OrderDetachable => (attached, "only an order that is at an Agent"),
        E::OrderDetached => (!detached, "the Controller has the order already"),
        E::OrderAdded { .. } | E::OrderAttachedToAgent { .. } => {
            (false, "the order exists already")
        }
        E::OrderDeletionMarked
        | E::OrderCancellationMarked { .. }
        | E::OrderCancellationMarkedOnAgent
        | E::OrderSuspensionMarked { .. }
        | E::OrderSuspensionMarkedOnAgent
        | E::OrderResumptionMarked { .. }
        | E::OrderOutcomeAdded { .. }
        | E::OrderAgentProblem { .. } => (true, ""),
    };
    if holds { Ok(()) } else { Err(rule) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{ForkChild, Outcome, Position, SleepCause, Timestamp};
    use std::collections::BTreeSet;

    fn states() -> Vec<S> {
        let until = Timestamp::default();
        vec![
            S::Fresh,
            S::Ready,
            S::Processing {
                subagent_id: None,
                subagent_bundle_id: None,
                hold: None,
            },
            S::Processed,
            S::ProcessingKilled,
            S::DelayingRetry { until },
            S::Sleeping {
                until,
                cause: SleepCause::SleepInstruction,
            },
            S::Forked {
                children: Vec::new(),
            },
            S::Broken { problem: None },
            S::Failed,
            S::FailedWhileFresh,
            S::FailedInFork,
            S::Stopped,
            S::StoppedWhileFresh,
            S::Finished,
            S::Cancelled,
            S::Deleted,
        ]
    }

    fn events() -> Vec<E> {
        let until = Timestamp::default();
        let (agent_path, position) = (model::AgentPath::from("A"), Position::default());
        let moved_to = position.clone();
        let outcome = Outcome::SUCCEEDED;
        let resumed = |as_succeeded| E::OrderResumed {
            position: None,
            history_operations: Vec::new(),
            as_succeeded,
            restart_killed_job: false,
        };
        vec![
            E::OrderStarted,
            E::OrderFinished { outcome: None },
            E::OrderCancelled,
            E::OrderDeletionMarked,
            E::OrderDeleted,
            E::OrderBroken { problem: None },
            E::OrderMoved {
                to: position,
                reason: None,
            },
            E::OrderAwoke,
            E::OrderForked {
                children: Vec::<ForkChild>::new(),
            },
            E::OrderJoined {
                outcome: outcome.clone(),
            },
            E::OrderStickySubagentEntered {
                agent_path: agent_path.clone(),
                subagent_bundle_id: None,
            },
            E::OrderStickySubagentLeft,
            E::OrderRetrying {
                delayed_until: None,
            },
            E::OrderRetrying {
                delayed_until: Some(until),
            },
            E::OrderSleeping {
                until,
                cause: SleepCause::SleepInstruction,
            },
            E::OrderProcessingStarted {
                subagent_id: None,
                subagent_bundle_id: None,
                stick: false,
            },
            E::OrderStdoutWritten { chunk: "".into() },
            E::OrderStderrWritten { chunk: "".into() },
            E::OrderProcessingHeld { hold: None },
            E::OrderProcessed {
                outcome: outcome.clone(),
            },
            E::OrderProcessingKilled,
            E::OrderOutcomeAdded { outcome },
            E::OrderFailed {
                moved_to: moved_to.clone(),
            },
            E::OrderFailedInFork {
                moved_to: moved_to.clone(),
            },
            E::OrderCaught { moved_to },
            E::OrderStopped,
            E::OrderAttachable {
                agent_path: agent_path.clone(),
            },
            E::OrderAttached { agent_path },
            E::OrderDetachable,
            E::OrderDetached,
            E::OrderCancellationMarked {
                mode: model::CancellationMode::FreshOnly,
            },
            E::OrderCancellationMarkedOnAgent,
            E::OrderStateReset,
            E::OrderSuspensionMarked {
                mode: model::SuspensionMode::default(),
            },
            E::OrderSuspensionMarkedOnAgent,
            E::OrderSuspended,
            E::OrderResumptionMarked {
                position: None,
                history_operations: Vec::new(),
                as_succeeded: false,
                restart_killed_job: false,
            },
            resumed(false),
            resumed(true),
            E::OrderSaid {
                value: expr::Value::Missing,
            },
            E::OrderAgentProblem {
                problem: model::Problem::plain(""),
            },
        ]
    }

    /// Where an order may be: at the Controller, on the way to the Agent, there, on the way back.
    fn places() -> [Option<AttachedState>; 4] {
        let agent_path = model::AgentPath::from("A");
        [
            None,
            Some(AttachedState::Attaching {
                agent_path: agent_path.clone(),
            }),
            Some(AttachedState::Attached {
                agent_path: agent_path.clone(),
            }),
            Some(AttachedState::Detaching { agent_path }),
        ]
    }

    /// An order that may do everything at the right place: a suspended child in a block with a Subagent for its jobs,
    /// or a root order that is not suspended.
    fn order(is_child: bool) -> Order {
        let text = if is_child {
            r#"{"id":"O|c","workflowId":{"path":"w","versionId":"1"},"position":[0,"stickySubagent",0],"state":{"TYPE":"Ready"},"parent":"O","isSuspended":true,"stickySubagents":[{"agentPath":"A"}]}"#
        } else {
            r#"{"id":"O","workflowId":{"path":"w","versionId":"1"},"position":[0],"state":{"TYPE":"Ready"}}"#
        };
        serde_json::from_str(text).expect("an order")
    }

    /// Where each event may happen, of a root order and of a suspended child in a `StickySubagent` block: one letter for
    /// each of [`places`], `-` where it may not.
    #[test]
    fn each_event_has_its_place() {
        let table = "
            OrderStarted c-a- ----
            OrderFinished c--- c---
            OrderCancelled c--- c---
            OrderDeleted c--- ----
            OrderBroken c-a- c-a-
            OrderMoved c-a- c-a-
            OrderAwoke c-a- c-a-
            OrderForked c-a- c-a-
            OrderJoined c--- c---
            OrderStickySubagentEntered c-a- c-a-
            OrderStickySubagentLeaved ---- c-a-
            OrderRetrying c-a- c-a-
            OrderSleeping c-a- c-a-
            OrderProcessingStarted --a- ----
            OrderStdoutWritten --a- --a-
            OrderStderrWritten --a- --a-
            OrderProcessingHeld --a- --a-
            OrderProcessed --a- --a-
            OrderProcessingKilled c-a- c-a-
            OrderFailed c--- c---
            OrderFailedInFork ---- c---
            OrderCaught c-a- c-a-
            OrderStopped c--- c---
            OrderAttachable c--- c---
            OrderAttached -t-- -t--
            OrderDetachable --a- --a-
            OrderDetached -tab -tab
            OrderStateReset c-a- c-a-
            OrderSuspended c--- c---
            OrderResumed ---- c---
            OrderSaid c-a- c-a-
            OrderDeletionMarked ctab ctab
            OrderOutcomeAdded ctab ctab
            OrderCancellationMarked ctab ctab
            OrderCancellationMarkedOnAgent ctab ctab
            OrderSuspensionMarked ctab ctab
            OrderSuspensionMarkedOnAgent ctab ctab
            OrderResumptionMarked ctab ctab
            OrderAgentProblem ctab ctab
        ";
        let expected: BTreeSet<_> = table
            .lines()
            .map(|line| line.trim().to_owned())
            .filter(|line| !line.is_empty())
            .collect();
        let may = |is_child, event: &E| -> String {
            let letter = |(attached_state, letter)| {
                let order = Order {
                    attached_state,
                    ..order(is_child)
                };
                place(&order, event).map_or('-', |()| letter)
            };
            places()
                .into_iter()
                .zip("ctab".chars())
                .map(letter)
                .collect()
        };
        let found: BTreeSet<_> = events()
            .iter()
            .map(|event| {
                let (root, child) = (may(false, event), may(true, event));
                format!("{} {root} {child}", event.type_name())
            })
            .collect();
        assert_eq!(
            found.difference(&expected).collect::<Vec<_>>(),
            expected.difference(&found).collect::<Vec<_>>()
        );
    }

    #[test]
    fn only_a_block_that_was_entered_is_left() {
        let mut entered = order(true);
        assert_eq!(place(&entered, &E::OrderStickySubagentLeft), Ok(()));
        entered.position = Position::default();
        assert!(place(&entered, &E::OrderStickySubagentLeft).is_err());
        let mut not_entered = order(true);
        not_entered.sticky_subagents.clear();
        assert!(place(&not_entered, &E::OrderStickySubagentLeft).is_err());
    }

    /// The rows of the table in this file's header: state, event, state after it.
    fn told() -> BTreeSet<(String, String, String)> {
        let header = include_str!("life.rs")
            .lines()
            .take_while(|line| line.starts_with("//!"));
        let table = header.skip_while(|line| !line.contains("```text")).skip(1);
        let mut rows = BTreeSet::new();
        let (mut state, mut everywhere) = (String::new(), false);
        for line in table.take_while(|line| !line.contains("```")) {
            let text = line.trim_start_matches("//!").trim_start_matches(' ');
            let mut words = text.split_whitespace().peekable();
            if let Some(rest) = text.strip_prefix("every state but Deleted, unchanged:") {
                everywhere = true;
                words = rest.split_whitespace().peekable();
            } else if line.starts_with("//! ") && !line.starts_with("//!  ") && !everywhere {
                state = words.next().expect("a state").to_owned();
            }
            for word in words {
                if everywhere {
                    let living = states().into_iter().filter(|state| *state != S::Deleted);
                    rows.extend(living.map(|state| {
                        (
                            state.type_name().to_owned(),
                            format!("Order{word}"),
                            state.type_name().to_owned(),
                        )
                    }));
                } else {
                    let (event, after) = word
                        .split_once('→')
                        .expect("an event and the state after it");
                    rows.insert((state.clone(), format!("Order{event}"), after.to_owned()));
                }
            }
        }
        rows
    }

    #[test]
    fn the_table_in_the_header_is_what_happens() {
        assert_eq!(states().len(), S::TYPES.len(), "every state is tried");
        let tried: BTreeSet<_> = events().iter().map(E::type_name).collect();
        let known: BTreeSet<_> = E::TYPES
            .iter()
            .copied()
            .filter(|name| !["OrderAdded", "OrderAttachedToAgent"].contains(name))
            .collect();
        assert_eq!(tried, known, "every event of an existing order is tried");
        let mut happens = BTreeSet::new();
        for state in states() {
            for event in events() {
                if let Some(next) = after(&state, &event) {
                    happens.insert((
                        state.type_name().to_owned(),
                        event.type_name().to_owned(),
                        next.type_name().to_owned(),
                    ));
                }
            }
        }
        let told = told();
        assert_eq!(
            happens.difference(&told).collect::<Vec<_>>(),
            Vec::<&_>::new(),
            "happens, but is not in the table"
        );
        assert_eq!(
            told.difference(&happens).collect::<Vec<_>>(),
            Vec::<&_>::new(),
            "is in the table, but does not happen"
        );
    }
}
