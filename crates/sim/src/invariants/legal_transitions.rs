//! The orders of every log go only through legal states, and every index equals what a scan of all orders finds. An event that does
//! not fit is found by the nodes' own loops and by the observer's fold.

use super::{Checked, Violation};
use crate::world::World;

/// All indexes are right.
pub fn check(world: &World) -> Checked {
    let wrong =
        |place: String, why: String| Violation::new("legal_transitions", format!("{place}: {why}"));
    for controller in &world.controllers {
        if let Some(machine) = controller.node.machine() {
            let place = controller.node.place.to_string();
            machine
                .state
                .engine()
                .check()
                .map_err(|why| wrong(place, why))?;
        }
    }
    for agent in &world.agents {
        if let Some(machine) = agent.node.machine() {
            machine
                .state
                .engine
                .check()
                .map_err(|why| wrong(agent.node.place.to_string(), why))?;
        }
    }
    Ok(())
}
