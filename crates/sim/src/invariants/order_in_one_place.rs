//! An order is at one place: at one Agent at most, and then the Controller knows it there or on its way.

use super::{Checked, Violation};
use crate::history::index_of;
use crate::world::World;
use model::OrderId;
use std::collections::BTreeMap;

const NAME: &str = "order_in_one_place";

/// By the durable state of all logs.
pub fn check(world: &World) -> Checked {
    let mut places: BTreeMap<&OrderId, usize> = BTreeMap::new();
    let controller = world.controller_ledger.shadow.state.engine();
    for (index, agent) in world.agent_ledgers.iter().enumerate() {
        if world.history.agents[index].was_wiped {
            continue;
        }
        for order in agent.shadow.state.engine.orders() {
            if let Some(other) = places.insert(&order.id, index) {
                let text = format!(
                    "Order:{} is at agent-{other} and at agent-{index}",
                    order.id
                );
                return Err(Violation::new(NAME, text));
            }
            let Some(known) = controller.order(&order.id) else {
                // Children that an Agent has forked are not known yet.
                if order.parent.is_some() {
                    continue;
                }
                return Err(Violation::new(
                    NAME,
                    format!("Order:{} is at agent-{index} and unknown", order.id),
                ));
            };
            let there = known
                .attached_state
                .as_ref()
                .map(model::AttachedState::agent_path)
                .and_then(index_of);
            if there != Some(index) {
                let text = format!(
                    "Order:{} is at agent-{index}, the Controller has it at {:?}",
                    order.id, known.attached_state
                );
                return Err(Violation::new(NAME, text));
            }
        }
    }
    Ok(())
}
