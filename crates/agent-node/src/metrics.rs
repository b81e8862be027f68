//! The metrics of an Agent, computed on request.

use crate::machine::AgentMachine;
use agent::Coupling;
use model::OrderState;
use telemetry::{Page, names};

/// The figures of state and log of the Agent with this name.
pub(crate) fn page(name: &str, machine: &AgentMachine) -> Page {
    let state = &machine.state;
    let mut page = Page::new(name);
    let counts = state.engine.counts_by_state();
    // A state in which no order is has 0: a value that is not there raises no alarm and ends none.
    for name in OrderState::TYPES {
        let count = counts.get(name).copied().unwrap_or(0);
        page.put(names::ORDERS, &[("state", name)], count);
    }
    page.put(
        names::QUEUE_DEPTH,
        &[("queue", "processes")],
        state.waiting(),
    );
    for (id, subagent) in state.subagents() {
        page.put(
            names::PROCESSES,
            &[("subagent", id.as_str())],
            subagent.orders.len(),
        );
        let peer = format!("Subagent:{id}");
        let is_up = subagent.coupling == Coupling::Coupled;
        page.put(names::LINKS_UP, &[("peer", &peer)], u8::from(is_up));
    }
    page
}
