//! Nothing is done outside before the reason for it is on the disk: a process is started only for a start in the Agent's log.

use super::{Checked, Violation};
use crate::history::History;
use model::Attempt;

/// A Subagent starts a process.
pub fn check_start(history: &History, agent: usize, attempt: &Attempt) -> Checked {
    if history.agents[agent].starts.contains(attempt) {
        return Ok(());
    }
    let text = format!("{attempt} is started, and the log of agent-{agent} does not say so");
    Err(Violation::new("effect_after_commit", text))
}
