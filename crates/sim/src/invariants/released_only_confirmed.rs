//! Events stay with their originator until the receiver has them on its own disk (S43, S44): released ≤ confirmed at all times.

use super::{Checked, Violation};
use crate::history::History;
use model::EventId;

const NAME: &str = "released_only_confirmed";

/// An Agent's log against the Controller's.
pub fn check_agent(index: usize, released: EventId, torn: u64, observed: EventId) -> Checked {
    if released > observed || torn > observed.0 {
        let text = format!(
            "agent-{index} has released {released} and torn {torn}, the Controller has {observed}"
        );
        return Err(Violation::new(NAME, text));
    }
    Ok(())
}

/// A Subagent's memory against its Agent's log.
pub fn check_subagent(state: &subagent::State, history: &History) -> Checked {
    let torn = state.report().torn();
    let observed = history
        .agents
        .iter()
        .find_map(|agent| agent.subagents.get(state.run_id()))
        .copied();
    if torn > observed.unwrap_or_default() {
        let text = format!(
            "{:?} has forgotten {torn}, its Agent has {observed:?}",
            state.run_id()
        );
        return Err(Violation::new(NAME, text));
    }
    Ok(())
}
