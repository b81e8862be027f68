//! A node that is well does not sit on work: it goes round when its timer is due, and what is committed is with its receivers.

use super::{Checked, Violation};
use crate::world::World;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(75);

/// No due timer is older than a minute.
pub fn check(world: &World) -> Checked {
    let late =
        |place: crate::place::Place, wakeup: Option<model::Timestamp>, now: model::Timestamp| {
            let is_late = wakeup.is_some_and(|at| at.millis() > 0 && now.since(at) > PATIENCE);
            if is_late && world.is_well(place, PATIENCE) {
                return Err(Violation::new(
                    "progress",
                    format!("{place} has slept over {wakeup:?}, it is {now}"),
                ));
            }
            Ok(())
        };
    for agent in &world.agents {
        if let Some(machine) = agent.node.machine() {
            late(
                agent.node.place,
                machine.state.next_wakeup(),
                agent.node.clock.at(world.k.now),
            )?;
        }
    }
    for controller in &world.controllers {
        if let Some(machine) = controller.node.machine() {
            late(
                controller.node.place,
                machine.state.next_wakeup(),
                controller.node.clock.at(world.k.now),
            )?;
        }
    }
    Ok(())
}
