//! What is deployed for the measurements.

use serde_json::{Value, json};

use super::{Placement, Stack};

/// The Agent.
pub(crate) const AGENT: &str = "agent";
/// Jobs that may run at a time.
pub(crate) const JOB_SLOTS: usize = 8;
/// The workflow whose job prints the clock.
pub(crate) const CLOCK: &str = "clock";

/// Agent, Subagents and the workflow `noop`.
pub(super) fn operations(stack: &Stack, placement: Placement) -> Vec<Value> {
    let own = format!("{AGENT}-0");
    let subagent = |id: &str, uri: String, is_disabled: bool| {
        simple(
            &json!({"TYPE": "SubagentItem", "id": id, "agentPath": AGENT, "uri": uri, "disabled": is_disabled}),
        )
    };
    let mut operations = vec![
        simple(&json!({"TYPE": "AgentRef", "path": AGENT, "directors": [own]})),
        subagent(&own, stack.agent.url(), placement == Placement::Remote),
    ];
    if let Some(part) = &stack.subagent {
        operations.push(subagent("remote", part.url(), false));
    }
    operations.push(noop());
    operations
}

/// One shell job that does nothing.
fn noop() -> Value {
    workflow("noop", 1, JOB_SLOTS, &shell())
}

/// The same with one slot.
pub(crate) fn one_slot() -> Value {
    workflow("one-slot", 1, 1, &shell())
}

/// Ten of them, one after another.
pub(crate) fn chain() -> Value {
    workflow("chain", 10, JOB_SLOTS, &shell())
}

/// A job that prints the clock.
pub(crate) fn clock(program: &std::path::Path) -> Value {
    workflow(
        CLOCK,
        1,
        JOB_SLOTS,
        &json!({"TYPE": "PathExecutable", "path": program}),
    )
}

fn shell() -> Value {
    json!({"TYPE": "ShellScriptExecutable", "script": ":"})
}

fn workflow(path: &str, steps: usize, slots: usize, executable: &Value) -> Value {
    let step = json!({"TYPE": "Execute.Named", "jobName": "JOB"});
    simple(&json!({
        "TYPE": "Workflow",
        "path": path,
        "instructions": vec![step; steps],
        "jobs": {"JOB": {"agentPath": AGENT, "processLimit": slots, "executable": executable}},
    }))
}

fn simple(item: &Value) -> Value {
    json!({"TYPE": "AddOrChangeSimple", "item": item})
}
