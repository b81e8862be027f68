//! Writes a workflow in the author's dialect.
//!
//! Always: equal workflows are written alike, and what is written is read as the same workflow. Defaults are left out.
//! Never here: the text that somebody wrote; an item keeps it.

use super::value::is_meant;
use crate::{
    Block, Executable, ExecutableKind, Execute, Fork, Instruction, Job, JobReference,
    OrderPreparation, Outcome, Parameter, ParameterKind, ReturnCodeMeaning, Seconds, Step, Try,
    ValueType, Workflow,
};
use expr::{Expr, NamedValues};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The workflow as JSON. Numbers in constant values keep the precision of a double.
pub fn workflow(workflow: &Workflow) -> Value {
    let mut object = Map::new();
    put(&mut object, "TYPE", "Workflow");
    put(&mut object, "path", workflow.id.path.as_str());
    if !workflow.id.version_id.as_str().is_empty() {
        put(&mut object, "versionId", workflow.id.version_id.as_str());
    }
    if *workflow.time_zone != *"UTC" {
        put(&mut object, "timeZone", &*workflow.time_zone);
    }
    if let Some(preparation) = &workflow.order_preparation {
        put(
            &mut object,
            "orderPreparation",
            order_preparation(preparation),
        );
    }
    put_names(
        &mut object,
        "jobResourceNames",
        workflow
            .job_resources
            .iter()
            .map(crate::JobResourcePath::as_str),
    );
    if let Some(calendar) = &workflow.calendar {
        put(&mut object, "calendarName", &**calendar);
    }
    put_block(&mut object, &workflow.block);
    Value::Object(object)
}

fn put(object: &mut Map<String, Value>, name: &str, value: impl Into<Value>) {
    object.insert(name.to_owned(), value.into());
}

fn put_flag(object: &mut Map<String, Value>, name: &str, flag: bool) {
    if flag {
        put(object, name, true);
    }
}

fn put_names<'a>(
    object: &mut Map<String, Value>,
    name: &str,
    names: impl Iterator<Item = &'a str>,
) {
    let names: Vec<Value> = names.map(Value::from).collect();
    if !names.is_empty() {
        put(object, name, names);
    }
}

fn put_expressions(
    object: &mut Map<String, Value>,
    name: &str,
    expressions: &BTreeMap<Arc<str>, Expr>,
) {
    if !expressions.is_empty() {
        let expressions: Map<String, Value> = expressions
            .iter()
            .map(|(name, expr)| (name.to_string(), Value::from(expr.to_string())))
            .collect();
        put(object, name, expressions);
    }
}

fn put_block(object: &mut Map<String, Value>, block: &Block) {
    put(
        object,
        "instructions",
        block.steps.iter().map(step).collect::<Vec<_>>(),
    );
    if !block.jobs.is_empty() {
        let jobs: Map<String, Value> = block
            .jobs
            .iter()
            .map(|(name, value)| (name.to_string(), job(value)))
            .collect();
        put(object, "jobs", jobs);
    }
    put_expressions(object, "result", &block.result);
}

fn block(block: &Block) -> Value {
    let mut object = Map::new();
    put_block(&mut object, block);
    Value::Object(object)
}

fn step(step: &Step) -> Value {
    let mut object = instruction(&step.instruction);
    if let Some(label) = &step.label {
        put(&mut object, "label", label.as_str());
    }
    Value::Object(object)
}

fn instruction(instruction: &Instruction) -> Map<String, Value> {
    let mut object = Map::new();
    let mut tag = |name: &str| put(&mut object, "TYPE", name);
    match instruction {
        Instruction::Execute(Execute {
            job: reference,
            default_arguments,
        }) => {
            match reference {
                JobReference::Named(name) => {
                    tag("Execute.Named");
                    put(&mut object, "jobName", name.as_str());
                }
                JobReference::Anonymous(anonymous) => {
                    tag("Execute.Anonymous");
                    put(&mut object, "job", job(anonymous));
                }
            }
            put_expressions(&mut object, "defaultArguments", default_arguments);
        }
        Instruction::If { cases, otherwise } => {
            if let [only] = cases.as_slice() {
                tag("If");
                put(&mut object, "predicate", only.predicate.to_string());
                put(&mut object, "then", block(&only.then));
            } else {
                tag("CaseWhen");
                let cases: Vec<Value> = cases
                    .iter()
                    .map(|case| json!({"predicate": case.predicate.to_string(), "then": block(&case.then)}))
                    .collect();
                put(&mut object, "cases", cases);
            }
            if let Some(otherwise) = otherwise {
                put(&mut object, "else", block(otherwise));
            }
        }
        Instruction::Try(Try {
            attempt,
            catch,
            retry_delays,
            max_tries,
        }) => {
            tag("Try");
            put(&mut object, "try", block(attempt));
            put(&mut object, "catch", block(catch));
            if let Some(max_tries) = max_tries {
                put(&mut object, "maxTries", *max_tries);
            }
            if !retry_delays.is_empty() {
                put(
                    &mut object,
                    "retryDelays",
                    retry_delays.iter().map(seconds).collect::<Vec<_>>(),
                );
            }
        }
        Instruction::Retry => tag("Retry"),
        Instruction::Fail {
            message,
            named_values,
            uncatchable,
        } => {
            tag("Fail");
            put_message(&mut object, message.as_ref());
            if !named_values.is_empty() {
                put(&mut object, "outcome", values(named_values));
            }
            put_flag(&mut object, "uncatchable", *uncatchable);
        }
        Instruction::Finish { outcome, message } => {
            tag("Finish");
            put_message(&mut object, message.as_ref());
            if let Some(outcome) = outcome {
                put_outcome(&mut object, outcome);
            }
        }
        Instruction::Fork(Fork {
            branches,
            agent,
            join_if_failed,
        }) => {
            tag("Fork");
            let branches: Vec<Value> = branches
                .iter()
                .map(|branch| json!({"id": *branch.id, "workflow": block(&branch.block)}))
                .collect();
            put(&mut object, "branches", branches);
            if let Some(agent) = agent {
                put(&mut object, "agentName", agent.as_str());
            }
            put_flag(&mut object, "joinIfFailed", *join_if_failed);
        }
        Instruction::Options {
            stop_on_failure,
            block: inner,
        } => {
            tag("Options");
            if let Some(stop_on_failure) = stop_on_failure {
                put(&mut object, "stopOnFailure", *stop_on_failure);
            }
            put(&mut object, "block", block(inner));
        }
        Instruction::StickySubagent {
            agent,
            subagent_bundle,
            block: inner,
        } => {
            tag("StickySubagent");
            put(&mut object, "agentName", agent.as_str());
            put_bundle(&mut object, subagent_bundle.as_ref());
            put(&mut object, "subworkflow", block(inner));
        }
        Instruction::Sleep { duration } => {
            tag("Sleep");
            put(&mut object, "duration", duration.to_string());
        }
        Instruction::Stop => tag("Stop"),
        Instruction::Say { what } => {
            tag("Say");
            put(&mut object, "what", what.to_string());
        }
        Instruction::Empty => tag("EmptyInstruction"),
        Instruction::ImplicitEnd => tag("ImplicitEnd"),
    }
    object
}

/// A message stands where a plain text may stand too; parentheses show that an expression is meant.
fn put_message(object: &mut Map<String, Value>, message: Option<&Expr>) {
    if let Some(message) = message {
        put(object, "message", unmistakable(message));
    }
}

fn unmistakable(expression: &Expr) -> String {
    let text = expression.to_string();
    if is_meant(&text, expression) {
        text
    } else {
        format!("({text})")
    }
}

fn put_outcome(object: &mut Map<String, Value>, outcome: &Outcome) {
    let is_plain_failure = |values: &NamedValues| {
        values.len() == 1
            && values
                .get("returnCode")
                .is_some_and(|code| *code == expr::Value::from(1_i64))
    };
    if let Outcome::Failed {
        message: None,
        named_values,
        uncatchable: false,
    } = outcome
        && is_plain_failure(named_values)
    {
        put(object, "unsuccessful", true);
    } else {
        let outcome =
            serde_json::to_value(outcome).expect("the outcome of a Finish holds JSON values only");
        put(object, "outcome", outcome);
    }
}

fn values(values: &NamedValues) -> Value {
    serde_json::to_value(values).expect("constant values of a workflow were JSON")
}

fn seconds(seconds: &Seconds) -> Value {
    serde_json::to_value(seconds).expect("seconds have a JSON form")
}

fn job(job: &Job) -> Value {
    let mut object = Map::new();
    put(&mut object, "agentName", job.agent.as_str());
    put_bundle(&mut object, job.subagent_bundle.as_ref());
    put(&mut object, "executable", executable(&job.executable));
    put_expressions(&mut object, "defaultArguments", &job.default_arguments);
    put_names(
        &mut object,
        "jobResourceNames",
        job.job_resources.iter().map(crate::JobResourcePath::as_str),
    );
    if job.parallelism != 1 {
        put(&mut object, "parallelism", job.parallelism);
    }
    if let Some(timeout) = &job.timeout {
        put(&mut object, "timeout", seconds(timeout));
    }
    if let Some(grace_timeout) = &job.grace_timeout {
        put(&mut object, "graceTimeout", seconds(grace_timeout));
    }
    put_flag(&mut object, "failOnErrWritten", job.fail_on_err_written);
    put_flag(&mut object, "isNotRestartable", job.is_not_restartable);
    Value::Object(object)
}

fn put_bundle(object: &mut Map<String, Value>, bundle: Option<&Expr>) {
    let Some(bundle) = bundle else { return };
    match bundle.as_constant() {
        Some(Ok(expr::Value::String(name)))
            if !name.is_empty() && !name.contains(char::is_control) =>
        {
            put(object, "subagentClusterId", &*name);
        }
        _ => put(object, "subagentClusterIdExpr", bundle.to_string()),
    }
}

fn executable(executable: &Executable) -> Value {
    let mut object = Map::new();
    let (tag, field, text) = match &executable.kind {
        ExecutableKind::Path(path) => ("PathExecutable", "path", &**path),
        ExecutableKind::Script(script) => ("ShellScriptExecutable", "script", &**script),
        ExecutableKind::CommandLine(command) => {
            ("CommandLineExecutable", "command", command.source())
        }
    };
    put(&mut object, "TYPE", tag);
    put(&mut object, field, text);
    put_expressions(&mut object, "env", &executable.env);
    if executable.return_code_meaning != ReturnCodeMeaning::default() {
        let (name, codes) = match &executable.return_code_meaning {
            ReturnCodeMeaning::Success(codes) => ("success", codes),
            ReturnCodeMeaning::Failure(codes) => ("failure", codes),
        };
        put(
            &mut object,
            "returnCodeMeaning",
            json!({name: ranges(codes)}),
        );
    }
    put_flag(&mut object, "v1Compatible", executable.v1_compatible);
    Value::Object(object)
}

/// `0,4..6`
fn ranges(ranges: &[(i64, i64)]) -> String {
    let texts: Vec<String> = ranges
        .iter()
        .map(|(from, to)| {
            if from == to {
                from.to_string()
            } else {
                format!("{from}..{to}")
            }
        })
        .collect();
    texts.join(",")
}

fn order_preparation(preparation: &OrderPreparation) -> Value {
    let mut object = Map::new();
    if !preparation.parameters.is_empty() {
        let parameters: Map<String, Value> = preparation
            .parameters
            .iter()
            .map(|(name, value)| (name.to_string(), parameter(value)))
            .collect();
        put(&mut object, "parameters", parameters);
    }
    put_flag(&mut object, "allowUndeclared", preparation.allow_undeclared);
    Value::Object(object)
}

fn parameter(parameter: &Parameter) -> Value {
    let mut object = Map::new();
    match &parameter.value_type {
        None => {}
        Some(ValueType::List(element)) if **element == ValueType::Any => {
            put(&mut object, "type", "List");
        }
        Some(ValueType::List(element)) => {
            if let ValueType::Object(columns) = &**element {
                put_columns(&mut object, "List", columns);
            } else {
                put(
                    &mut object,
                    "type",
                    json!({"TYPE": "List", "elementType": value_type(element)}),
                );
            }
        }
        Some(ValueType::Object(columns)) => put_columns(&mut object, "Map", columns),
        Some(simple) => put(&mut object, "type", value_type(simple)),
    }
    match &parameter.kind {
        ParameterKind::Required => {}
        ParameterKind::Default(value) => put(&mut object, "default", unmistakable(value)),
        ParameterKind::Final(value) => put(&mut object, "final", unmistakable(value)),
    }
    Value::Object(object)
}

fn put_columns(
    object: &mut Map<String, Value>,
    name: &str,
    columns: &BTreeMap<Arc<str>, ValueType>,
) {
    let columns: Map<String, Value> = columns
        .iter()
        .map(|(name, column)| (name.to_string(), json!({"type": value_type(column)})))
        .collect();
    put(object, "type", name);
    put(object, "listParameters", columns);
}

fn value_type(value_type_: &ValueType) -> Value {
    match value_type_ {
        ValueType::String => "String".into(),
        ValueType::Number => "Number".into(),
        ValueType::Boolean => "Boolean".into(),
        ValueType::Any => "Any".into(),
        ValueType::List(element) => json!({"TYPE": "List", "elementType": value_type(element)}),
        ValueType::Object(columns) => {
            let mut object: Map<String, Value> = columns
                .iter()
                .map(|(name, column)| (name.to_string(), value_type(column)))
                .collect();
            put(&mut object, "TYPE", "Object");
            Value::Object(object)
        }
    }
}
