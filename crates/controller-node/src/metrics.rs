//! The figures of a Controller as Prometheus text, computed when somebody asks.

use crate::machine::ControllerMachine;
use controller::Coupling;
use std::fmt::Write as _;

/// The figures of state and log.
pub(crate) fn render(
    machine: &ControllerMachine,
    status: &cluster::Status,
    failed_logins: u64,
) -> String {
    use telemetry::names;
    let state = &machine.state;
    let node = state.controller_id();
    let mut text = String::new();
    let mut line = |name: &str, labels: &str, value: &dyn std::fmt::Display| {
        // Writing to a String does not fail.
        let _infallible = writeln!(text, "{name}{{node=\"{node}\"{labels}}} {value}");
    };
    for (name, count) in state.engine().counts_by_state() {
        line(names::ORDERS, &format!(",state=\"{name}\""), count);
    }
    for (path, agent) in state.agents() {
        let is_up = u8::from(agent.coupling_state == Coupling::Coupled && agent.problem.is_none());
        line(names::LINKS_UP, &format!(",peer=\"Agent:{path}\""), &is_up);
        line(
            names::QUEUE_DEPTH,
            &format!(",queue=\"Agent:{path}\""),
            &state.outbox_len(path),
        );
    }
    line(names::LAST_EVENT_ID, "", &machine.last_event_id);
    line(names::JOURNAL_BYTES, "", &status.bytes);
    line(names::LOGINS_FAILED, "", &failed_logins);
    text
}
