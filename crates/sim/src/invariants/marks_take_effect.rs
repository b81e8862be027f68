//! A mark of an order takes effect, or becomes void, in bounded time while Controller and Agent are connected. The Agent knows the mark,
//! and the mark is executed as soon as the order allows it.

use super::{Checked, Violation};
use crate::history::index_of;
use crate::moment::Moment;
use crate::world::World;
use model::{AttachedState, Mark, Order, OrderId};
use std::collections::BTreeMap;
use std::time::Duration;

const NAME: &str = "marks_take_effect";
/// How long a mark may be pending. A broken connection returns after some ten seconds, and a refused thing is sent again after ten seconds.
/// Both may happen several times.
const PATIENCE: Duration = Duration::from_mins(3);

/// A pending mark, the place of its order, and the time since which both are unchanged.
#[derive(Clone, Debug)]
pub struct PendingMark {
    mark: Mark,
    attached_state: Option<AttachedState>,
    since: Moment,
}

/// Collects the pending marks.
pub fn observe(world: &World) -> BTreeMap<OrderId, PendingMark> {
    let Some(machine) = world.controller().and_then(|node| node.machine()) else {
        return BTreeMap::new();
    };
    let orders = machine.state.engine().orders();
    let pending = orders.filter_map(|order| {
        let mark = order.mark.as_deref()?;
        let before = world.history.pending_marks.get(&order.id);
        let same = before
            .filter(|before| before.mark == *mark && before.attached_state == order.attached_state);
        let pending = same.cloned().unwrap_or_else(|| PendingMark {
            mark: mark.clone(),
            attached_state: order.attached_state.clone(),
            since: world.k.now,
        });
        Some((order.id.clone(), pending))
    });
    pending.collect()
}

/// Checks that no mark that could take effect is pending for too long.
pub fn check(world: &World) -> Checked {
    let Some(controller) = world
        .controller()
        .filter(|node| world.is_well(node.place, PATIENCE))
    else {
        return Ok(());
    };
    let Some(machine) = controller.machine() else {
        return Ok(());
    };
    let engine = machine.state.engine();
    for (id, pending) in &world.history.pending_marks {
        if world.k.now.since(pending.since) <= PATIENCE {
            continue;
        }
        let Some(order) = engine.order(id) else {
            continue;
        };
        let why = match &order.attached_state {
            None => engine
                .would_follow_mark(id)
                .then(|| "the Controller does not follow it".to_owned()),
            Some(attached) => missed_at_agent(world, controller.place, order, attached),
        };
        if let Some(why) = why {
            let text = format!(
                "Order:{id} ({}) has had {:?} since {}: {why}",
                order.state.type_name(),
                pending.mark,
                pending.since
            );
            return Err(Violation::new(NAME, text));
        }
    }
    Ok(())
}

/// Returns why the mark of an order at an Agent has no effect, although nothing prevents it. Returns `None` if something prevents it, or if
/// the mark has reached the Agent.
fn missed_at_agent(
    world: &World,
    controller: crate::place::Place,
    order: &Order,
    attached: &AttachedState,
) -> Option<String> {
    let index = index_of(attached.agent_path())?;
    let node = world.agent(index)?;
    let is_reached = !world.history.agents[index].was_wiped
        && world.is_well(node.place, PATIENCE)
        && world.has_been_joined(controller, node.place, PATIENCE);
    if !is_reached {
        return None;
    }
    if !matches!(attached, AttachedState::Attached { .. }) {
        return Some(format!("it stays on its way: {attached:?}"));
    }
    let there = node.machine()?.state.engine.order(&order.id)?;
    (there.mark != order.mark).then(|| format!("its Agent knows only {:?}", there.mark))
}
