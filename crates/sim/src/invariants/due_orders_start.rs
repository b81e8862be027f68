//! Every due order is started, or there is a reason why not, within a minute of the node's clock; none is started early (S22, S95).

use super::{Checked, Violation};
use crate::world::World;
use engine::State;
use model::{OrderId, OrderState, Timestamp};
use std::time::Duration;

const NAME: &str = "due_orders_start";
/// A node looks at its clock at least once a minute; a slow disk and a full queue take their time too.
const TOLERANCE: Duration = Duration::from_secs(75);

/// An order was started in a batch that was judged at this time of the node's clock.
pub fn check_not_early(id: &OrderId, due: Timestamp, judged_at: Option<Timestamp>) -> Checked {
    match judged_at {
        Some(at) if at < due => Err(Violation::new(
            NAME,
            format!("Order:{id} is due at {due} and was started at {at}"),
        )),
        _ => Ok(()),
    }
}

/// No node that has been well for a while has an order that should have been started.
pub fn check(world: &World) -> Checked {
    for agent in &world.agents {
        if let Some(machine) = agent
            .node
            .machine()
            .filter(|_| world.is_well(agent.node.place, TOLERANCE))
        {
            // An order starts with its first process, for which it may have to wait.
            let waits = |id: &OrderId| machine.state.waits_for_process(id);
            late(
                &machine.state.engine,
                agent.node.clock.at(world.k.now),
                &waits,
            )?;
        }
    }
    for controller in &world.controllers {
        let node = &controller.node;
        let machine = node
            .machine()
            .filter(|_| world.is_well(node.place, TOLERANCE));
        if let Some(machine) = machine {
            late(machine.state.engine(), node.clock.at(world.k.now), &|_| {
                false
            })?;
        }
    }
    Ok(())
}

fn late(state: &State, now: Timestamp, waits: &dyn Fn(&OrderId) -> bool) -> Checked {
    let is_here = |order: &model::Order| {
        if state.site().is_controller() {
            order.is_detached()
        } else {
            order.attached_to().is_some()
        }
    };
    let is_late = |order: &model::Order| {
        order.state == OrderState::Fresh
            && order.mark.is_none()
            && !order.is_suspended
            && order
                .scheduled_for
                .is_some_and(|due| now.since(due) > TOLERANCE)
    };
    match state
        .orders()
        .find(|order| is_here(order) && is_late(order) && !waits(&order.id))
    {
        Some(order) => {
            let text = format!(
                "Order:{} was due at {:?} and has not been started at {now}",
                order.id, order.scheduled_for
            );
            Err(Violation::new(NAME, text))
        }
        None => Ok(()),
    }
}
