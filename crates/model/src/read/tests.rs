//! What people write, and what they are told about it.

mod bad_input;
mod dialects;
mod hostile;
mod items;
mod laws;
mod samples;

use super::{Faults, Format, Origin, item};
use crate::{Instruction, ItemBody, Job, Workflow};
use std::sync::Arc;

/// The workflow that a JSON text is.
fn workflow(text: &str) -> Arc<Workflow> {
    match item(text, Format::Json, &Origin::default()) {
        Ok(crate::Item {
            body: ItemBody::Workflow(workflow),
            ..
        }) => workflow,
        Ok(other) => panic!("no workflow: {other:?}"),
        Err(faults) => panic!("{}", faults.draw(text, "test")),
    }
}

/// The instructions of a workflow, given as JSON between brackets.
fn instructions(text: &str) -> Vec<Instruction> {
    let workflow = workflow(&around(text));
    workflow
        .block
        .steps
        .iter()
        .map(|step| step.instruction.clone())
        .collect()
}

/// A workflow of these instructions, in one line.
fn around(instructions: &str) -> String {
    format!(r#"{{"TYPE":"Workflow","path":"w","instructions":[{instructions}]}}"#)
}

/// A job with these fields besides its Agent and script.
fn job(fields: &str) -> Job {
    let text = around(&format!(
        r#"{{"TYPE":"Execute.Anonymous","job":{{"agentName":"A","executable":{{"TYPE":"ShellScriptExecutable","script":":"}}{fields}}}}}"#
    ));
    let workflow = workflow(&text);
    let (_, job) = workflow
        .job(&crate::Position::top(0))
        .expect("the first instruction runs a job");
    Job::clone(job)
}

fn faults_of(text: &str) -> Faults {
    item(text, Format::Json, &Origin::default()).expect_err("the text is faulty")
}

/// What is told about a faulty text, a line per fault, without the lines and columns.
fn told(text: &str) -> String {
    let faults = faults_of(text);
    let lines = faults.iter().map(|fault| {
        let hint = fault
            .hint
            .as_ref()
            .map(|hint| format!("; {hint}"))
            .unwrap_or_default();
        format!("{}: {}{hint}", fault.path, fault.message)
    });
    lines.collect::<Vec<_>>().join("\n")
}
