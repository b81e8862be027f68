//! The metrics of a Controller, computed on request.

use crate::machine::ControllerMachine;
use controller::Connection;
use model::OrderState;
use node::Front;
use telemetry::{Page, names};

/// The figures of state and log.
pub(crate) fn page(machine: &ControllerMachine, front: &Front, failed_logins: u64) -> Page {
    let state = &machine.state;
    let mut page = Page::new(state.controller_id().as_str());
    let counts = state.engine().counts_by_state();
    // A state in which no order is has 0: a value that is not there raises no alarm and ends none.
    for name in OrderState::TYPES {
        let count = counts.get(name).copied().unwrap_or(0);
        page.put(names::ORDERS, &[("state", name)], count);
    }
    let running = counts.get("Processing").copied().unwrap_or(0);
    page.put(names::PROCESSES, &[], running);
    for (path, agent) in state.agents() {
        let peer = format!("Agent:{path}");
        let is_up = agent.connection() == Connection::Connected;
        page.put(names::LINKS_UP, &[("peer", &peer)], u8::from(is_up));
        let waiting = state.outbox_len(path);
        page.put(names::QUEUE_DEPTH, &[("queue", &peer)], waiting);
    }
    for (id, _) in state.subagents() {
        let peer = format!("Subagent:{id}");
        let is_up = state.subagent_connection(id).0 == Connection::Connected;
        page.put(names::LINKS_UP, &[("peer", &peer)], u8::from(is_up));
    }
    page.put(names::LOGINS_FAILED, &[], failed_logins);
    front.put_figures(&mut page);
    page
}
