//! When everything is well again, every acknowledged order ends, or waits for an operator as its workflow says; its end is the one
//! that the workflow's model foretells.

use super::{Checked, Violation};
use crate::workload::Expected;
use crate::world::World;
use model::{OrderId, OrderState};
use std::time::Duration;

const NAME: &str = "no_order_lost";

/// Why an order is not where it should be; nothing if it is.
pub fn unsettled(world: &World, id: &OrderId) -> Option<String> {
    let history = &world.history;
    if history.deleted.contains(id) || history.ended.contains_key(id) {
        return None;
    }
    let Some(machine) = world.controller().and_then(|node| node.machine()) else {
        return Some("the Controller is down".to_owned());
    };
    let Some(order) = machine.state.engine().order(id) else {
        return Some("it is unknown".to_owned());
    };
    let waits_for_operator = order.is_suspended
        || matches!(
            order.state,
            OrderState::Failed
                | OrderState::FailedWhileFresh
                | OrderState::Stopped
                | OrderState::StoppedWhileFresh
        );
    if waits_for_operator && order.is_detached() {
        return None;
    }
    if is_far_off(world, &order.state) {
        return None;
    }
    let children = if let OrderState::Forked { children } = &order.state {
        let reasons: Vec<String> = children
            .iter()
            .filter_map(|child| unsettled(world, &child.order_id))
            .collect();
        // A child that waits for an operator keeps its parent waiting.
        if order.is_detached() && reasons.is_empty() && waits_below(world, children) {
            return None;
        }
        reasons
    } else {
        Vec::new()
    };
    // It has come to its join and waits there with those that wait for an operator.
    let is_at_join = order.parent.is_some() && order.is_detached();
    let obstacles = machine
        .state
        .engine()
        .obstacles(id, world.k.now.timestamp());
    if is_at_join
        && matches!(
            obstacles.as_slice(),
            [model::Obstacle::WaitingForSiblings { .. }]
        )
    {
        return None;
    }
    Some(format!(
        "state {:?} at {} attached {:?} mark {:?}, obstacles {obstacles:?}, children {children:?}",
        order.state, order.position, order.attached_state, order.mark
    ))
}

/// A clock was wrong when it began to wait, and it waits as long as it was told.
fn is_far_off(world: &World, state: &OrderState) -> bool {
    let (OrderState::DelayingRetry { until } | OrderState::Sleeping { until, .. }) = state else {
        return false;
    };
    until.since(world.k.now.timestamp()) > Duration::from_hours(2)
}

fn waits_below(world: &World, children: &[model::ForkChild]) -> bool {
    let Some(machine) = world.controller().and_then(|node| node.machine()) else {
        return false;
    };
    children.iter().any(|child| {
        machine.state.engine().order(&child.order_id).is_some_and(|order| {
            order.is_suspended
                || matches!(order.state, OrderState::Failed | OrderState::Stopped | OrderState::FailedWhileFresh)
                || is_far_off(world, &order.state)
                || matches!(&order.state, OrderState::Forked { children } if waits_below(world, children))
        })
    })
}

/// The first acknowledged order that is still under way.
pub fn check(world: &World) -> Checked {
    for id in &world.history.acknowledged {
        if let Some(why) = unsettled(world, id) {
            return Err(Violation::new(
                NAME,
                format!("Order:{id} does not come to its end: {why}"),
            ));
        }
    }
    Ok(())
}

/// Every order that nobody has touched ended as its workflow says.
pub fn check_ends(world: &World) -> Checked {
    let Some(machine) = world.controller().and_then(|node| node.machine()) else {
        return Ok(());
    };
    for (id, expected) in world.client.expected() {
        let ended = world.history.ended.get(id).map(String::as_str);
        let state = machine
            .state
            .engine()
            .order(id)
            .map(|order| order.state.clone());
        if state
            .as_ref()
            .is_some_and(|state| is_far_off(world, state) || below_is_far_off(world, state))
        {
            continue;
        }
        let fits = match expected {
            Expected::Finished => ended == Some("Finished"),
            Expected::Failed => {
                matches!(state, Some(OrderState::Failed | OrderState::Forked { .. }))
            }
            Expected::Stopped => {
                matches!(state, Some(OrderState::Stopped | OrderState::Forked { .. }))
            }
        };
        if !fits {
            let text =
                format!("Order:{id} should be {expected:?}, but ended {ended:?}, state {state:?}");
            return Err(Violation::new(NAME, text));
        }
    }
    Ok(())
}

fn below_is_far_off(world: &World, state: &OrderState) -> bool {
    let Some(machine) = world.controller().and_then(|node| node.machine()) else {
        return false;
    };
    let OrderState::Forked { children } = state else {
        return false;
    };
    children
        .iter()
        .filter_map(|child| machine.state.engine().order(&child.order_id))
        .any(|child| is_far_off(world, &child.state) || below_is_far_off(world, &child.state))
}
