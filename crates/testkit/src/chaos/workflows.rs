//! The workflows of the load. All of their orders can end well, whatever is killed.

use std::path::Path;

use rand::Rng as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::markers::{end_command, start_command};

/// Lines that a job of `output` writes.
pub(crate) const OUTPUT_LINES: usize = 3000;

/// The workflows by name.
pub(crate) const NAMES: [&str; 6] = ["chain", "fork", "retry", "timeout", "output", "once"];

/// One of the workflows.
pub(crate) fn any(rng: &mut StdRng) -> &'static str {
    NAMES[rng.random_range(0..NAMES.len())]
}

/// The items: workflows over the Agents `A` and `B`.
pub(crate) fn items(markers: &Path) -> Vec<Value> {
    let job = |agent: &str, work: &str| {
        json!({
            "agentPath": agent,
            "processLimit": 20,
            "executable": {
                "TYPE": "ShellScriptExecutable",
                "script": format!("{}\n{work}\n{}\n", start_command(markers), end_command(markers)),
            },
        })
    };
    let run = |job: Value| json!({"TYPE": "Execute.Anonymous", "job": job});
    let quick = |agent: &str| run(job(agent, "sleep 0.2; echo done"));
    let attempt = |job: Value, catch: Value, more: Value| {
        let mut instruction = json!({
            "TYPE": "Try", "try": {"instructions": [run(job)]}, "catch": {"instructions": catch},
        });
        merge(&mut instruction, &more);
        instruction
    };
    let mut tried = job(
        "A",
        r#"[ "$TRY" -ge 3 ] || { echo "E $MAINSPRING_ATTEMPT $$" >>"$MARKERS"; exit 7; }"#,
    );
    tried["executable"]["env"] = json!({
        "TRY": "$js7TryCount", "MARKERS": format!("'{}'", markers.display()),
    });
    let mut endless = job("B", "sleep 60");
    endless["timeout"] = json!(0.4);
    endless["sigkillDelay"] = json!(0.2);
    let lines = format!(
        "i=0; while [ $i -lt {OUTPUT_LINES} ]; do echo \"line $i of the output\"; i=$((i+1)); done"
    );
    let mut once = job("A", "sleep 0.2");
    once["isNotRestartable"] = json!(true);
    [
        ("chain", json!([quick("A"), quick("B"), quick("A"), quick("B")])),
        (
            "fork",
            json!([
                {"TYPE": "Fork", "branches": [
                    {"id": "a", "workflow": {"instructions": [quick("A"), quick("A")]}},
                    {"id": "b", "workflow": {"instructions": [quick("B")]}},
                    {"id": "ab", "workflow": {"instructions": [quick("A"), quick("B")]}},
                ]},
                quick("B"),
            ]),
        ),
        (
            "retry",
            json!([
                attempt(tried, json!([{"TYPE": "Retry"}]), json!({"retryDelays": [0, 0.3], "maxTries": 5})),
                quick("B"),
            ]),
        ),
        ("timeout", json!([attempt(endless, json!([quick("A")]), json!({}))])),
        ("output", json!([run(job("B", &lines))])),
        ("once", json!([attempt(once, json!([]), json!({}))])),
    ]
    .into_iter()
    .map(|(name, instructions)| json!({"TYPE": "Workflow", "path": name, "instructions": instructions}))
    .collect()
}

fn merge(into: &mut Value, more: &Value) {
    for (name, value) in more.as_object().into_iter().flatten() {
        into[name] = value.clone();
    }
}
