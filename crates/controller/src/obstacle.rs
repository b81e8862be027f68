//! Why an order waits: what the engine reports about the order, and what the Controller knows about its Agent, limits
//! and Subagents.
//!
//! Always: the cost for one order does not depend on the number of orders. What an Agent reported last counts only
//! while the Agent is connected. Otherwise the missing connection is the reason.

use crate::{Connection, State, Thing};
use engine::JobKey;
use model::{
    AgentPath, AttachedState, ItemKey, Job, Mark, Obstacle, Order, OrderId, OrderState, Timestamp,
};

impl State {
    /// Returns why the order waits; empty if nothing holds it, or if there is no such order.
    pub fn obstacles(&self, id: &OrderId, now: Timestamp) -> Vec<Obstacle> {
        let Some(order) = self.engine.order(id) else {
            return Vec::new();
        };
        let of_order = self.engine.obstacles(id, now);
        let Some(attached) = &order.attached_state else {
            return of_order;
        };
        if order.is_terminated() {
            return of_order;
        }
        let agent_path = attached.agent_path();
        let mut obstacles = Vec::new();
        if let Some(problem) = self.order_refusal(id) {
            obstacles.push(Obstacle::AgentRefusesOrder {
                agent_path: agent_path.clone(),
                problem: problem.clone(),
            });
        }
        obstacles.extend(self.refused_item(order));
        let away = self.away(agent_path);
        let is_away = away.is_some();
        obstacles.extend(away);
        obstacles.extend(self.unconfirmed_mark(order, agent_path));
        let is_here = matches!(attached, AttachedState::Attached { .. });
        for obstacle in of_order {
            if obstacle.depends_on_agent() && is_here {
                // Only a connected Agent knows the reason.
                if !is_away && matches!(obstacle, Obstacle::WaitingForProcess { .. }) {
                    obstacles.extend(self.waiting_for_process(order, agent_path, obstacle, now));
                } else if !is_away {
                    obstacles.push(obstacle);
                }
            } else {
                obstacles.push(obstacle);
            }
        }
        if is_here && !is_away {
            obstacles.extend(self.subagent_away(order));
        }
        obstacles
    }

    /// Returns an obstacle if the Agent that is to take the order refuses an item that the order needs there.
    fn refused_item(&self, order: &Order) -> Option<Obstacle> {
        let Some(AttachedState::Attaching { agent_path }) = &order.attached_state else {
            return None;
        };
        // An Agent rarely refuses anything, so this usually saves the lookup of items when orders are listed.
        if self.refusals.is_empty() {
            return None;
        }
        let workflow = ItemKey::workflow(&order.workflow_id);
        self.needed_items(&workflow).find_map(|key| {
            let thing = Thing::AttachItem(key.clone());
            let problem = self.refusals.get(&(agent_path.clone(), thing))?;
            Some(Obstacle::AgentRefusesItem {
                agent_path: agent_path.clone(),
                key,
                problem: problem.clone(),
            })
        })
    }

    /// Returns an obstacle if the Controller is not connected to the Agent.
    fn away(&self, agent_path: &AgentPath) -> Option<Obstacle> {
        let Some(agent) = self.agents.get(agent_path) else {
            return Some(Obstacle::AgentNotConnected {
                agent_path: agent_path.clone(),
                connection: Connection::Unknown,
                since: None,
                problem: None,
            });
        };
        let connection = agent.connection();
        (connection != Connection::Connected).then(|| Obstacle::AgentNotConnected {
            agent_path: agent_path.clone(),
            connection,
            since: agent.connection_since,
            problem: agent.problem.clone(),
        })
    }

    /// Returns an obstacle if the Agent has not confirmed the order's mark.
    fn unconfirmed_mark(&self, order: &Order, agent_path: &AgentPath) -> Option<Obstacle> {
        let mark = order.mark.as_deref()?;
        let thing = Thing::MarkOrder(order.id.clone());
        let is_under_way =
            order.attached_to().is_none() || self.outbox_since(agent_path, &thing).is_some();
        let mark = match mark {
            Mark::Cancelling { .. } => "Cancelling",
            Mark::Suspending { .. } => "Suspending",
            Mark::Resuming { .. } => "Resuming",
            Mark::Go { .. } => "Go",
        };
        is_under_way.then(|| Obstacle::WaitingForAgentToMark {
            agent_path: agent_path.clone(),
            mark: mark.into(),
        })
    }

    /// Returns why the job of an order at a connected Agent does not start: all limits that are reached, or else
    /// missing Subagents.
    fn waiting_for_process(
        &self,
        order: &Order,
        agent_path: &AgentPath,
        otherwise: Obstacle,
        now: Timestamp,
    ) -> Vec<Obstacle> {
        let workflow = self.engine.workflow(&order.workflow_id);
        let job = workflow.and_then(|workflow| JobKey::at(workflow, &order.position));
        let Some((key, job)) = job else {
            return vec![otherwise];
        };
        let since = if let Obstacle::WaitingForProcess { since } = &otherwise {
            *since
        } else {
            None
        };
        let mut obstacles = Vec::new();
        obstacles.extend(self.job_limit(order, agent_path, &key, job, since));
        obstacles.extend(self.agent_limit(agent_path, since));
        if obstacles.is_empty() {
            obstacles.extend(self.shortage(&order.id, since, now));
        }
        if obstacles.is_empty() {
            obstacles.push(otherwise);
        }
        obstacles
    }

    fn job_limit(
        &self,
        order: &Order,
        agent_path: &AgentPath,
        key: &JobKey,
        job: &Job,
        since: Option<Timestamp>,
    ) -> Option<Obstacle> {
        let held_by = self.engine.running_in(key);
        let is_reached = held_by.process_count >= job.parallelism as usize;
        is_reached.then(|| Obstacle::JobProcessLimitReached {
            agent_path: agent_path.clone(),
            workflow_path: order.workflow_id.path.clone(),
            job_name: key.name.clone(),
            position: order.position.clone(),
            limit: job.parallelism,
            held_by,
            since,
        })
    }

    fn agent_limit(&self, agent_path: &AgentPath, since: Option<Timestamp>) -> Option<Obstacle> {
        let limit = self.agent_item(agent_path)?.process_limit?;
        let held_by = self.engine.running_at(agent_path);
        let is_reached = held_by.process_count >= limit as usize;
        is_reached.then(|| Obstacle::AgentProcessLimitReached {
            agent_path: agent_path.clone(),
            limit,
            held_by,
            since,
        })
    }

    /// Returns an obstacle if the job runs at a Subagent to which its Agent is not connected.
    fn subagent_away(&self, order: &Order) -> Option<Obstacle> {
        let OrderState::Processing { subagent_id, .. } = &order.state else {
            return None;
        };
        let subagent_id = subagent_id.as_ref()?;
        let (connection, since) = self.subagent_connection(subagent_id);
        let subagent = self.subagents.get(subagent_id)?;
        (connection != Connection::Connected).then(|| Obstacle::SubagentNotConnected {
            subagent_id: subagent_id.clone(),
            connection,
            since,
            problem: subagent.problem.clone(),
        })
    }
}
