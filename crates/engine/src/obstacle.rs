//! Why an order waits, computed for whoever asks; nothing is stored.

use crate::instructions::{self, Here};
use crate::{State, next};
use model::{AgentPath, AttachedState, OrderId, OrderState, Timestamp, WorkflowId};
use std::fmt;
use std::sync::Arc;

/// Why an order waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// Somebody must resume, cancel or otherwise decide.
    WaitingForCommand,
    /// It has a time to wait for.
    WaitingForOtherTime {
        /// Until then.
        until: Timestamp,
    },
    /// It is being handed to an Agent, which has not taken it yet.
    WaitingForAgentToTake {
        /// The Agent.
        agent_path: AgentPath,
    },
    /// It has done at an Agent what could be done there; the Agent has not given it back yet.
    WaitingForAgentToReturn {
        /// The Agent.
        agent_path: AgentPath,
    },
    /// It is at an Agent, which acts on its own.
    AtAgent {
        /// The Agent.
        agent_path: AgentPath,
    },
    /// Its job runs, or waits for a free slot or Subagent.
    WaitingForProcess,
    /// Its children have not all come to the join.
    WaitingForChildren {
        /// So many are missing.
        missing: usize,
    },
    /// It has come to the join before its siblings.
    WaitingForSiblings,
    /// Its workflow is not known here.
    UnknownWorkflow {
        /// The workflow version.
        workflow_id: Arc<WorkflowId>,
    },
}

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
            Some(AttachedState::Attached { agent_path }) if self.site.is_controller() => {
                obstacles.push(Obstacle::AtAgent {
                    agent_path: agent_path.clone(),
                });
            }
            Some(AttachedState::Attached { .. }) | None => {}
        }
        if order.is_suspended
            || matches!(
                order.state,
                OrderState::Failed
                    | OrderState::FailedWhileFresh
                    | OrderState::Stopped
                    | OrderState::StoppedWhileFresh
                    | OrderState::Broken { .. }
            )
        {
            obstacles.push(Obstacle::WaitingForCommand);
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

/// Why an order that may go on waits, by its state or by its instruction.
fn waiting(here: &Here<'_>) -> Option<Obstacle> {
    let order = here.order;
    if order.state == OrderState::Fresh
        && let Some(until) = order.scheduled_for.filter(|at| here.now < *at)
    {
        return Some(Obstacle::WaitingForOtherTime { until });
    }
    if matches!(order.state, OrderState::Processing { .. }) {
        return Some(Obstacle::WaitingForProcess);
    }
    if order.state == OrderState::FailedInFork {
        return Some(Obstacle::WaitingForSiblings);
    }
    instructions::waiting(here.workflow.instruction(here.position)?, here)
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Obstacle::WaitingForCommand => f.write_str("waits for somebody to resume or cancel it"),
            Obstacle::WaitingForOtherTime { until } => write!(f, "waits until {until}"),
            Obstacle::WaitingForAgentToTake { agent_path } => {
                write!(f, "waits for Agent {agent_path} to take it")
            }
            Obstacle::WaitingForAgentToReturn { agent_path } => {
                write!(f, "waits for Agent {agent_path} to give it back")
            }
            Obstacle::AtAgent { agent_path } => write!(f, "is at Agent {agent_path}"),
            Obstacle::WaitingForProcess => f.write_str("its job runs or waits for a free slot"),
            Obstacle::WaitingForChildren { missing } => {
                write!(f, "waits for {missing} of its children")
            }
            Obstacle::WaitingForSiblings => {
                f.write_str("waits for its siblings to come to the join")
            }
            Obstacle::UnknownWorkflow { workflow_id } => {
                write!(f, "its workflow {workflow_id} is not known here")
            }
        }
    }
}
