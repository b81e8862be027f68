//! `StickySubagent`: the first job in the block chooses a Subagent, and the others of the same Agent keep to it.
//!
//! Always: the tie ends with the block, however the block is left; forked children inherit it. Entered before the order is
//! started where the name can be told then. Never here: which Subagent it becomes; the Agent chooses.

use super::{Doing, Here, OnFailure, OnReturn};
use expr::{Expr, Value};
use model::{
    AgentPath, Branch, BundleId, Order, OrderEvent, Position, PositionStep, Problem,
    StickySubagent, SubagentId,
};

pub(crate) fn next(agent: &AgentPath, bundle: Option<&Expr>, here: &Here<'_>) -> Doing {
    if !here.started && bundle.is_some_and(|bundle| !bundle.is_pure()) {
        return Doing::NeedsStart;
    }
    let subagent_bundle_id = match bundle.map(|bundle| bundle.eval(&here.scope())).transpose() {
        Ok(None | Some(Value::Missing)) => None,
        Ok(Some(Value::String(name))) => Some(BundleId::new(name)),
        Ok(Some(other)) => {
            let message = format!(
                "the Subagent or Subagent Cluster must be a String, not {}",
                other.type_name()
            );
            return Doing::Faulty(Problem::plain(message));
        }
        Err(error) => return Doing::Faulty(Here::problem(&error)),
    };
    Doing::Enters(OrderEvent::OrderStickySubagentEntered {
        agent_path: agent.clone(),
        subagent_bundle_id,
    })
}

pub(crate) fn on_return() -> OnReturn {
    OnReturn::Leaves(OrderEvent::OrderStickySubagentLeft)
}

pub(crate) fn on_failure() -> OnFailure {
    OnFailure::Passes
}

/// What happens on the way out of all blocks inside of the first `depth` ones.
pub(crate) fn leaves(parents: &[PositionStep], depth: usize) -> Vec<OrderEvent> {
    let inner = parents.get(depth..).unwrap_or_default();
    let left = inner
        .iter()
        .filter(|step| step.branch == Branch::StickySubagent);
    left.map(|_| OrderEvent::OrderStickySubagentLeft).collect()
}

/// The outermost `StickySubagent` inside of the first `depth` blocks: there a failed order begins again.
pub(crate) fn outermost(parents: &[PositionStep], depth: usize) -> Option<Position> {
    let inner = parents.get(depth..)?;
    let found = inner
        .iter()
        .position(|step| step.branch == Branch::StickySubagent)?
        + depth;
    Some(Position {
        parents: parents[..found].to_vec(),
        nr: parents[found].nr,
    })
}

/// Makes true that the order has entered the block where it stands.
pub(crate) fn enter(order: &mut Order, agent_path: &AgentPath, bundle: Option<&BundleId>) {
    order.position = order.position.enter(Branch::StickySubagent);
    order.is_resumed = false;
    order.sticky_subagents.push(StickySubagent {
        agent_path: agent_path.clone(),
        subagent_bundle_id: bundle.cloned(),
        stuck_subagent_id: None,
    });
}

/// Makes true that the order has left the innermost such block.
pub(crate) fn leave(order: &mut Order) {
    let parents = &order.position.parents;
    if let Some(depth) = innermost(parents) {
        order.position = Position {
            parents: parents[..depth].to_vec(),
            nr: parents[depth].nr + 1,
        };
    }
    order.is_resumed = false;
    order.sticky_subagents.pop();
}

/// Makes true that the first job in the block has chosen this Subagent.
pub(crate) fn stick(order: &mut Order, subagent_id: &SubagentId) {
    let here = order.attached_to().cloned();
    let mut ties = order.sticky_subagents.iter_mut().rev();
    if let Some(tie) = ties.find(|tie| Some(&tie.agent_path) == here.as_ref()) {
        tie.stuck_subagent_id = Some(subagent_id.clone());
    }
}

/// Whether the order is in such a block.
pub(crate) fn is_inside(order: &Order) -> bool {
    innermost(&order.position.parents).is_some() && !order.sticky_subagents.is_empty()
}

fn innermost(parents: &[PositionStep]) -> Option<usize> {
    parents
        .iter()
        .rposition(|step| step.branch == Branch::StickySubagent)
}
