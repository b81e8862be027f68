//! Fork: goes on in several branches at once and joins them.
//!
//! Always: the join is decided at the Controller, where all children come together; each child that reaches the join costs
//! the same, however many siblings it has. A parent is handed to an Agent first where that saves hand-overs of children.

use super::{Doing, Here, OnFailure, OnReturn};
use crate::{Site, ahead, history};
use expr::NamedValues;
use model::{
    AgentPath, Branch, Fork, ForkBranch, ForkChild, Instruction, NAMED_MAX, Obstacle, Order,
    OrderEvent, OrderId, OrderState, Outcome, Position, Timestamp, Workflow,
};
use std::collections::BTreeSet;
use std::sync::Arc;

/// From so many children at one Agent on the parent forks there.
const CHILDREN_WORTH_A_HAND_OVER: usize = 3;
/// So many children are named when a join fails.
const CHILDREN_NAMED: usize = 3;
/// The maximum number of children that are examined to name a missing one. A list of orders must not cost more for
/// large forks.
const CHILDREN_LOOKED_AT: usize = 100;

pub(crate) fn next(fork: &Fork, here: &Here<'_>) -> Doing {
    let there = fork.agent.clone().or_else(|| match here.site() {
        // An order that is at an Agent forks there.
        Site::Agent(_) => None,
        Site::Controller => common_agent(fork, here),
    });
    if let Some(agent) = there
        && *here.site() != Site::Agent(agent.clone())
    {
        return Doing::AtAgent(agent);
    }
    if !here.started {
        return Doing::NeedsStart;
    }
    let children = fork.branches.iter().map(|branch| ForkChild {
        order_id: here.order.id.child(&branch.id),
        branch_id: Some(branch.id.clone()),
        arguments: NamedValues::new(),
    });
    Doing::Happens(vec![OrderEvent::OrderForked {
        children: children.collect(),
    }])
}

pub(crate) fn waiting(here: &Here<'_>) -> Option<Obstacle> {
    let OrderState::Forked { children } = &here.order.state else {
        return None;
    };
    let missing = children.len().saturating_sub(joined(here, &here.order.id));
    let is_missing = |child: &&ForkChild| {
        let child = here.state.order(&child.order_id);
        child.is_none_or(|child| !is_joinable(here.workflow, child))
    };
    let looked_at = children.iter().take(CHILDREN_LOOKED_AT);
    let named = looked_at.filter(is_missing).take(NAMED_MAX);
    Some(Obstacle::WaitingForChildren {
        missing,
        child_count: children.len(),
        children: named.map(|child| child.order_id.clone()).collect(),
    })
}

/// Returns why an order waits that has reached the join before its siblings.
pub(crate) fn waiting_at_join(here: &Here<'_>) -> Obstacle {
    let parent = here.order.parent.as_ref();
    let missing = parent.and_then(|parent| {
        let OrderState::Forked { children } = &here.state.order(parent)?.state else {
            return None;
        };
        Some(children.len().saturating_sub(joined(here, parent)))
    });
    Obstacle::WaitingForSiblings {
        parent: parent.cloned(),
        missing: missing.unwrap_or(0),
    }
}

/// Returns how many children of the order have reached its join.
fn joined(here: &Here<'_>, parent: &OrderId) -> usize {
    here.state.index.joined.get(parent).copied().unwrap_or(0)
}

pub(crate) fn on_return() -> OnReturn {
    OnReturn::Joins
}

pub(crate) fn on_failure() -> OnFailure {
    OnFailure::Barrier
}

/// What happens when all children have come to the join.
pub(crate) fn join(here: &Here<'_>, children: &[ForkChild]) -> Option<OrderEvent> {
    if joined(here, &here.order.id) < children.len() {
        return None;
    }
    let mut failures = Vec::new();
    for child in children {
        match here.state.order(&child.order_id) {
            Some(order) => failures.extend(failure_of(order)),
            None => failures.push(format!("Order:{} is unknown", child.order_id)),
        }
        if failures.len() == CHILDREN_NAMED {
            break;
        }
    }
    let outcome = if failures.is_empty() {
        match results(here, children) {
            Ok(named_values) => Outcome::Succeeded { named_values },
            Err(message) => Outcome::failed(message),
        }
    } else {
        Outcome::failed(failures.join(";\n"))
    };
    Some(OrderEvent::OrderJoined { outcome })
}

/// Whether the order, which is forked, has come to the join of its parent.
pub(crate) fn is_joinable(workflow: &Workflow, order: &Order) -> bool {
    if !order.is_detached() || order.is_suspended {
        return false;
    }
    if matches!(
        order.state,
        OrderState::FailedInFork | OrderState::Cancelled
    ) {
        return true;
    }
    let suspending = matches!(order.mark.as_deref(), Some(model::Mark::Suspending { .. }));
    order.state == OrderState::Ready && !suspending && is_at_branch_end(workflow, &order.position)
}

/// Whether `position` is the end of a fork's branch.
pub(crate) fn is_at_branch_end(workflow: &Workflow, position: &Position) -> bool {
    matches!(position.parents.last(), Some(step) if matches!(step.branch, Branch::Fork(_) | Branch::ForkList))
        && workflow.instruction(position) == Some(&Instruction::ImplicitEnd)
}

/// The order that `parent` forks as `child`.
pub(crate) fn child_of(parent: &Order, child: &ForkChild, at: Timestamp) -> Order {
    let branch = child
        .branch_id
        .clone()
        .map_or(Branch::ForkList, Branch::Fork);
    let mut arguments = parent.arguments.clone();
    arguments.extend(
        child
            .arguments
            .iter()
            .map(|(name, value)| (name.clone(), value.clone())),
    );
    Order {
        id: child.order_id.clone(),
        workflow_id: parent.workflow_id.clone(),
        position: parent.position.enter(branch),
        state: OrderState::Ready,
        arguments,
        plan_id: parent.plan_id.clone(),
        scheduled_for: parent.scheduled_for,
        external_order: None,
        attached_state: parent.attached_state.clone(),
        parent: Some(parent.id.clone()),
        priority: parent.priority.clone(),
        mark: None,
        is_suspended: false,
        delete_when_terminated: false,
        force_admission: parent.force_admission,
        is_resumed: false,
        sticky_subagents: parent.sticky_subagents.clone(),
        inner_block: parent.inner_block.clone(),
        stop_positions: parent.stop_positions.clone(),
        historic_outcomes: parent.historic_outcomes.clone(),
        omitted_outcomes: parent.omitted_outcomes.clone(),
        output_since: None,
        // The join takes the children's count back: see `State::evolve`.
        attempts: parent.attempts,
        added_at: Some(at),
        started_at: Some(at),
        state_since: Some(at),
    }
}

/// Why the join fails because of this child.
fn failure_of(child: &Order) -> Option<String> {
    let id = &child.id;
    if child.state == OrderState::Cancelled {
        return Some(format!("Order:{id} has been cancelled"));
    }
    if child.state == OrderState::FailedInFork {
        return Some(match history::last_failure(&child.historic_outcomes) {
            Some(outcome) => format!("Order:{id} {outcome}"),
            None => format!("Order:{id} Failed"),
        });
    }
    // A Finish with a failed outcome leads to the end of the branch.
    let outcome = child.last_outcome();
    (!outcome.is_succeeded()).then(|| format!("Order:{id} {outcome}"))
}

/// The values that the branches give to the parent.
fn results(here: &Here<'_>, children: &[ForkChild]) -> Result<NamedValues, String> {
    let Some(Instruction::Fork(fork)) = here.workflow.instruction(here.position) else {
        return Ok(NamedValues::new());
    };
    let mut results = NamedValues::new();
    for (branch, child) in fork.branches.iter().zip(children) {
        let Some(order) = here.state.order(&child.order_id) else {
            continue;
        };
        let child = Here {
            order,
            position: &order.position,
            ..*here
        };
        for (name, value) in &branch.block.result {
            let value = value
                .eval_kept(&child.scope())
                .map_err(|error| error.message().to_owned())?;
            if results.insert(name.clone(), value).is_some() {
                return Err(format!(
                    "The result {name} is given by more than one branch"
                ));
            }
        }
    }
    Ok(results)
}

/// The Agent at which so many children start that the parent is handed over first. An order that is added ahead of its
/// time is handed over whenever one Agent can fork it, so that it starts on time without the Controller.
fn common_agent(fork: &Fork, here: &Here<'_>) -> Option<AgentPath> {
    let waits_for_its_time =
        !here.started && here.order.scheduled_for.is_some_and(|at| here.now < at);
    let enough = if waits_for_its_time {
        1
    } else {
        CHILDREN_WORTH_A_HAND_OVER
    };
    if fork.branches.len() < enough {
        return None;
    }
    let agents: Vec<_> = fork
        .branches
        .iter()
        .map(|branch| first_agent(branch, here))
        .collect();
    let named: BTreeSet<_> = agents.iter().flatten().collect();
    let count = |agent: &AgentPath| {
        agents
            .iter()
            .filter(|other| other.as_ref() == Some(agent))
            .count()
    };
    let best = named.into_iter().max_by_key(|agent| count(agent))?;
    let all = count(best) == agents.len();
    if waits_for_its_time && !all && count(best) < CHILDREN_WORTH_A_HAND_OVER {
        return None;
    }
    (count(best) >= enough).then(|| best.clone())
}

/// The Agent at which a branch starts.
fn first_agent(branch: &ForkBranch, here: &Here<'_>) -> Option<AgentPath> {
    let start = here.position.enter(Branch::Fork(Arc::clone(&branch.id)));
    let (Doing::Job(agent) | Doing::AtAgent(agent)) = ahead::ahead(here, start).1 else {
        return None;
    };
    Some(agent)
}
