//! What an Agent did while cut off arrives at the Controller exactly once and in order (S17, S42, S98): the Controller's log has the
//! same steps as the Agent's, with the Agent's times, and rejects nothing.

use super::{Checked, Violation};
use crate::history::{History, Step, index_of};
use crate::world::World;
use model::AgentPath;

const NAME: &str = "agent_events_arrive_once_in_order";

/// The Controller's log has the step of an order that is at `agent`.
pub fn check_step(history: &mut History, agent: Option<usize>, step: &Step) -> Checked {
    let Some(agent) = agent.and_then(|index| history.agents.get_mut(index)) else {
        return Err(Violation::new(NAME, format!("{step:?} came from no Agent")));
    };
    if agent.was_wiped {
        return Ok(());
    }
    let expected = agent.steps.get(agent.mirrored);
    if expected != Some(step) {
        return Err(Violation::new(
            NAME,
            format!("the Controller has {step:?}, the Agent's next is {expected:?}"),
        ));
    }
    agent.mirrored += 1;
    Ok(())
}

/// The Controller has rejected an Agent's event.
pub fn check_rejected(history: &History, path: &AgentPath, text: &str) -> Checked {
    let was_wiped = index_of(path)
        .and_then(|index| history.agents.get(index))
        .is_some_and(|agent| agent.was_wiped);
    if was_wiped {
        Ok(())
    } else {
        Err(Violation::new(NAME, text))
    }
}

/// At the end nothing is missing.
pub fn check_complete(world: &World) -> Checked {
    for (index, agent) in world.history.agents.iter().enumerate() {
        if !agent.was_wiped && agent.mirrored != agent.steps.len() {
            let missing = agent.steps.get(agent.mirrored);
            let text = format!(
                "agent-{index}: {} of {} steps have arrived; missing {missing:?}",
                agent.mirrored,
                agent.steps.len()
            );
            return Err(Violation::new(NAME, text));
        }
    }
    Ok(())
}
