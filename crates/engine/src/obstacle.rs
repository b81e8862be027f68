//! Why an order waits, as far as the order and its workflow show. The reasons are computed on each request and not
//! stored. The Controller adds what it knows about connections, limits and Subagents.

use crate::instructions::{self, Here, fork};
use crate::{State, next};
use model::{AttachedState, JobHold, Obstacle, Order, OrderId, OrderState, TimeCause, Timestamp};

/// The commands of `mainspring order` for an order that stands still.
const RESUME_OR_CANCEL: &[&str] = &["resume", "cancel"];
const CANCEL: &[&str] = &["cancel"];

impl State {
    /// Why this order waits; empty if nothing holds it, or if there is no such order.
    pub fn obstacles(&self, id: &OrderId, now: Timestamp) -> Vec<Obstacle> {
        let Some(order) = self.orders.get(id) else {
            return Vec::new();
        };
        if order.is_terminated() {
            return Vec::new();
        }
        let mut obstacles = Vec::new();
        match &order.attached_state {
            Some(AttachedState::Attaching { agent_path }) => {
                obstacles.push(Obstacle::WaitingForAgentToTake {
                    agent_path: agent_path.clone(),
                });
            }
            Some(AttachedState::Detaching { agent_path }) => {
                obstacles.push(Obstacle::WaitingForAgentToReturn {
                    agent_path: agent_path.clone(),
                });
            }
            Some(AttachedState::Attached { .. }) | None => {}
        }
        if let Some(obstacle) = waiting_for_command(order) {
            obstacles.push(obstacle);
            return obstacles;
        }
        let Some(workflow) = self.workflows.get(&order.workflow_id) else {
            obstacles.push(Obstacle::UnknownWorkflow {
                workflow_id: order.workflow_id.clone(),
            });
            return obstacles;
        };
        obstacles.extend(waiting(&next::here(self, workflow, order, now)));
        obstacles
    }
}

/// Returns when the order began to wait where it is: when it got its state, or when its time came, if that was later.
pub(crate) fn since(order: &Order, now: Timestamp) -> Option<Timestamp> {
    let due = order
        .scheduled_for
        .filter(|at| order.state == OrderState::Fresh && *at <= now);
    due.max(order.state_since)
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "only these states wait for an operator"
)]
fn waiting_for_command(order: &Order) -> Option<Obstacle> {
    let commands = match &order.state {
        OrderState::FailedWhileFresh => CANCEL,
        OrderState::Failed
        | OrderState::Stopped
        | OrderState::StoppedWhileFresh
        | OrderState::Broken { .. } => RESUME_OR_CANCEL,
        _ if order.is_suspended => RESUME_OR_CANCEL,
        _ => return None,
    };
    let state = if order.is_suspended {
        "Suspended"
    } else {
        order.state.type_name()
    };
    Some(Obstacle::WaitingForCommand {
        state: state.into(),
        since: order.state_since,
        commands: commands.iter().map(|command| (*command).into()).collect(),
    })
}

/// Why an order that may go on waits, by its state or by its instruction.
fn waiting(here: &Here<'_>) -> Option<Obstacle> {
    let order = here.order;
    if order.state == OrderState::Fresh
        && let Some(until) = order.scheduled_for.filter(|at| here.now < *at)
    {
        return Some(Obstacle::WaitingForOtherTime {
            until,
            cause: TimeCause::Schedule,
        });
    }
    if let OrderState::Processing {
        subagent_id, hold, ..
    } = &order.state
    {
        // A running job is not an obstacle.
        let subagent_id = subagent_id.clone();
        return Some(match hold.as_deref()?.clone() {
            JobHold::MachineIsShort { since, message } => Obstacle::MachineIsShort {
                subagent_id,
                since,
                shortage: message,
            },
            JobHold::OutputIsHeld {
                since,
                pid,
                processes,
            } => Obstacle::OutputIsHeld {
                subagent_id,
                since,
                pid,
                processes,
            },
        });
    }
    if order.state == OrderState::FailedInFork {
        return Some(fork::waiting_at_join(here));
    }
    instructions::waiting(here.workflow.instruction(here.position)?, here)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_waits_since_it_is_due_or_got_its_state() {
        let text = r#"{"id":"O","workflowId":{"path":"w","versionId":"1"},"position":[0],"scheduledFor":5,"stateSince":3,"state":{"TYPE":"Fresh"}}"#;
        let mut order: Order = serde_json::from_str(text).expect("an order");
        let since = |order: &Order, now| since(order, Timestamp::from_millis(now));
        let at = |millis| Some(Timestamp::from_millis(millis));
        assert_eq!(since(&order, 4), at(3), "it is not due yet");
        assert_eq!(since(&order, 5), at(5), "it is due");
        assert_eq!(since(&order, 6), at(5));
        order.state = OrderState::Ready;
        assert_eq!(
            since(&order, 6),
            at(3),
            "a started order does not wait for its time, even if the clock was set back"
        );
    }
}
