//! Instructions.
//!
//! Always: each is known by its `TYPE` under the author's and the engine's name; one that this version cannot carry out is
//! told as such, once, whatever stands in it. A Segment only groups: its instructions become those of the block around.

use super::block::{Around, steps};
use super::fields::Fields;
use super::job::{AGENT, job, subagent_bundle};
use super::names::nearest;
use super::node::{Node, Shape};
use super::reading::Reading;
use super::value::{
    self, boolean, checked, constant, expression, expressions, list, map, name, seconds, text,
    text_or_expression, whole,
};
use crate::{
    AgentPath, Case, Execute, Fork, ForkBranch, Instruction, JobName, JobReference, Outcome, Step,
    Try,
};
use expr::{Expr, NamedValues, Value};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What can be carried out.
const SUPPORTED: [&str; 18] = [
    "Execute.Named",
    "Execute.Anonymous",
    "If",
    "CaseWhen",
    "Try",
    "Retry",
    "Fail",
    "Finish",
    "Fork",
    "Options",
    "StickySubagent",
    "Sleep",
    "Stop",
    "Say",
    "EmptyInstruction",
    "Segment",
    "ImplicitEnd",
    "End",
];

/// What JS7 knows besides.
const UNSUPPORTED: [&str; 16] = [
    "Lock",
    "Prompt",
    "PostNotices",
    "PostNotice",
    "ExpectNotices",
    "ExpectNotice",
    "ReadNotice",
    "ConsumeNotices",
    "AddOrder",
    "Cycle",
    "Break",
    "ForkList",
    "AdmissionTime",
    "BreakOrder",
    "Gap",
    "Job",
];

/// The signs by which a message shows that an expression was meant.
const MESSAGE_MARKS: &[char] = &['$', '"', '`'];

/// Reads one instruction and appends it to `steps`. Nothing if it is faulty.
pub(super) fn instruction<'n, 't>(
    reading: &mut Reading<'t>,
    around: &mut Around<'n>,
    node: &'n Node<'t>,
    is_last: bool,
    into: &mut Vec<Step>,
) -> Option<()> {
    let mut fields = Fields::of(reading, node, "an instruction")?;
    let tag = fields.tag(reading, |reading, node| {
        let tag = text(reading, node)?;
        if SUPPORTED.contains(&tag) {
            return Some(tag);
        }
        if reading.only_counts() {
            return None;
        }
        if UNSUPPORTED.contains(&tag) {
            reading.fault(
                &node.span,
                format!("{tag} is not supported by this version yet"),
            );
        } else {
            let hint = match tag {
                "Execute" | "Job" => Some(
                    "did you mean \"Execute.Named\", with jobName, or \"Execute.Anonymous\", with job?"
                        .to_owned(),
                ),
                "Shell" | "Script" | "ShellScriptExecutable" => Some(
                    "a script is the executable of a job: {TYPE: Execute.Anonymous, job: {agentName: …, executable: {TYPE: ShellScriptExecutable, script: …}}}"
                        .to_owned(),
                ),
                _ => nearest(tag, SUPPORTED.into_iter().chain(UNSUPPORTED))
                    .map(|name| format!("did you mean {name:?}?")),
            };
            let message = format!("unknown instruction TYPE {:?}", super::node::glimpse(tag));
            reading.fault_with_hint(
                &node.span,
                message,
                hint.or_else(|| Some(format!("known are {}", SUPPORTED.join(", ")))),
            );
        }
        None
    })?;
    // `position` and `sourcePos` come with instructions that were asked from a Controller.
    fields.keep(&["position", "sourcePos"]);
    let label = fields.optional(reading, &["label"], |reading, node| {
        let label = name(reading, node)?;
        around.label(reading, label, &node.span)
    });
    match tag {
        "Segment" => {
            // The label of a segment needs an instruction to hold it.
            if let Some(label) = label {
                into.push(Step {
                    label: Some(label),
                    instruction: Instruction::Empty,
                });
            }
            let inner = segment(reading, around, &mut fields, into);
            fields.finish(reading);
            inner?;
        }
        // Answers of a Controller show the end of a block; behind it nothing can be reached.
        "ImplicitEnd" | "End" => {
            if !is_last {
                let span = node.span.start..(node.span.start + 1).min(node.span.end);
                reading.fault(&span, format!("{tag} may stand at the end of a block only"));
            }
            fields.finish(reading);
        }
        _ => {
            let instruction = body(reading, around, &mut fields, node, tag);
            fields.finish(reading);
            into.push(Step {
                label,
                instruction: instruction?,
            });
        }
    }
    Some(())
}

/// What the instruction does. Nothing if it is faulty.
fn body<'n, 't>(
    reading: &mut Reading<'t>,
    around: &mut Around<'n>,
    fields: &mut Fields<'n, 't>,
    node: &'n Node<'t>,
    tag: &str,
) -> Option<Instruction> {
    match tag {
        "Execute.Named" => {
            let job = fields.required(reading, &["jobName"], |reading, node| {
                let name = name(reading, node)?;
                around.check_job(reading, name, &node.span);
                Some(JobReference::Named(JobName::new(name)))
            });
            execute(reading, fields, job)
        }
        "Execute.Anonymous" => {
            let job = fields.required(reading, &["job"], job);
            execute(
                reading,
                fields,
                job.map(|job| JobReference::Anonymous(Arc::new(job))),
            )
        }
        "If" | "CaseWhen" => conditional(reading, around, fields),
        "Try" => handler(reading, around, fields),
        "Retry" => {
            if !around.in_catch() {
                let span = node.span.start..(node.span.start + 1).min(node.span.end);
                let hint = Some("put it into the catch block of a Try".to_owned());
                reading.fault_with_hint(&span, "Retry may stand in a catch block only", hint);
            }
            Some(Instruction::Retry)
        }
        "Fail" => Some(fail(reading, fields)),
        "Finish" => Some(finish(reading, fields)),
        "Fork" => fork(reading, around, fields),
        "Options" => {
            let stop_on_failure = fields.optional(reading, &["stopOnFailure"], boolean);
            let in_catch = around.in_catch();
            fields
                .required(reading, &["block"], |reading, node| {
                    around.nested(reading, node, in_catch)
                })
                .map(|block| Instruction::Options {
                    stop_on_failure,
                    block,
                })
        }
        "StickySubagent" => sticky_subagent(reading, around, fields, node),
        "Sleep" => fields
            .required(reading, &["duration"], duration)
            .map(|duration| Instruction::Sleep { duration }),
        "Stop" => Some(Instruction::Stop),
        "Say" => fields
            .required(reading, &["what"], expression)
            .map(|what| Instruction::Say { what }),
        _empty => Some(Instruction::Empty),
    }
}

fn execute<'t>(
    reading: &mut Reading<'t>,
    fields: &mut Fields<'_, 't>,
    job: Option<JobReference>,
) -> Option<Instruction> {
    let default_arguments = fields.optional(reading, &["defaultArguments"], expressions);
    Some(Instruction::Execute(Execute {
        job: job?,
        default_arguments: default_arguments.unwrap_or_default(),
    }))
}

/// `ifThens` or `cases`, or a single `predicate` and `then`, and `else`.
fn conditional<'n, 't>(
    reading: &mut Reading<'t>,
    around: &mut Around<'n>,
    fields: &mut Fields<'n, 't>,
) -> Option<Instruction> {
    let in_catch = around.in_catch();
    let cases = if fields.has(&["cases", "ifThens"]) {
        fields.optional(reading, &["cases", "ifThens"], |reading, node| {
            let cases = list(reading, node, "a list of cases", |reading, node| {
                let mut fields = Fields::of(reading, node, "a case")?;
                let case = case(reading, around, &mut fields);
                fields.finish(reading);
                case
            })?;
            if cases.is_empty() {
                reading.fault(&node.span, "at least one case is needed");
            }
            Some(cases)
        })
    } else {
        case(reading, around, fields).map(|case| vec![case])
    };
    let otherwise = fields.optional(reading, &["else"], |reading, node| {
        around.nested(reading, node, in_catch)
    });
    Some(Instruction::If {
        cases: cases?,
        otherwise,
    })
}

fn case<'n, 't>(
    reading: &mut Reading<'t>,
    around: &mut Around<'n>,
    fields: &mut Fields<'n, 't>,
) -> Option<Case> {
    let in_catch = around.in_catch();
    let predicate = fields.required(reading, &["predicate"], expression);
    let then = fields.required(reading, &["then"], |reading, node| {
        around.nested(reading, node, in_catch)
    });
    Some(Case {
        predicate: predicate?,
        then: then?,
    })
}

fn handler<'n, 't>(
    reading: &mut Reading<'t>,
    around: &mut Around<'n>,
    fields: &mut Fields<'n, 't>,
) -> Option<Instruction> {
    let in_catch = around.in_catch();
    let attempt = fields.required(reading, &["try"], |reading, node| {
        around.nested(reading, node, in_catch)
    });
    let catch = fields.required(reading, &["catch"], |reading, node| {
        around.nested(reading, node, true)
    });
    let retry_delays = fields.optional(reading, &["retryDelays"], |reading, node| {
        list(reading, node, "a list of seconds", seconds)
    });
    let max_tries = fields.optional(reading, &["maxTries"], whole(1..=u32::MAX));
    Some(Instruction::Try(Try {
        attempt: attempt?,
        catch: catch?,
        retry_delays: retry_delays.unwrap_or_default(),
        max_tries,
    }))
}

fn fail<'t>(reading: &mut Reading<'t>, fields: &mut Fields<'_, 't>) -> Instruction {
    let message = fields.optional(reading, &["message"], text_or_expression(MESSAGE_MARKS));
    let named_values = fields
        .optional(reading, &["outcome", "namedValues"], named_values)
        .unwrap_or_default();
    let uncatchable = fields
        .optional(reading, &["uncatchable"], boolean)
        .unwrap_or_default();
    Instruction::Fail {
        message,
        named_values,
        uncatchable,
    }
}

fn named_values<'t>(reading: &mut Reading<'t>, node: &Node<'t>) -> Option<NamedValues> {
    map(reading, node, "an object of values", |reading, entry| {
        constant(reading, &entry.node)
    })
}

/// `unsuccessful` is the author's word; a whole `outcome` the engine's.
fn finish<'t>(reading: &mut Reading<'t>, fields: &mut Fields<'_, 't>) -> Instruction {
    let message = fields.optional(reading, &["message"], text_or_expression(MESSAGE_MARKS));
    let unsuccessful = fields.optional(reading, &["unsuccessful"], |reading, node| {
        let unsuccessful = boolean(reading, node)?;
        let named_values = NamedValues::from([(Arc::from("returnCode"), Value::from(1_i64))]);
        Some(unsuccessful.then_some(Outcome::Failed {
            message: None,
            named_values,
            uncatchable: false,
        }))
    });
    let outcome = fields.optional(reading, &["outcome"], |reading, node| {
        let outcome = outcome(reading, node);
        if unsuccessful.is_some() {
            let hint = Some("give only one of \"unsuccessful\" and \"outcome\"".to_owned());
            reading.fault_with_hint(&node.span, "both say how the order ends", hint);
        }
        outcome
    });
    Instruction::Finish {
        outcome: outcome.or(unsuccessful.flatten()),
        message,
    }
}

fn outcome<'t>(reading: &mut Reading<'t>, node: &Node<'t>) -> Option<Outcome> {
    let mut fields = Fields::of(reading, node, "an outcome")?;
    let failed = fields.required(reading, &["TYPE"], |reading, node| {
        match text(reading, node)? {
            "Succeeded" => Some(false),
            "Failed" => Some(true),
            _ => {
                value::mismatch(reading, node, "\"Succeeded\" or \"Failed\"");
                None
            }
        }
    });
    let named_values = fields
        .optional(reading, &["namedValues"], named_values)
        .unwrap_or_default();
    let outcome = if failed == Some(true) {
        let message = fields.optional(reading, &["message"], |reading, node| {
            text(reading, node).map(Arc::from)
        });
        let uncatchable = fields
            .optional(reading, &["uncatchable"], boolean)
            .unwrap_or_default();
        Outcome::Failed {
            message,
            named_values,
            uncatchable,
        }
    } else {
        Outcome::Succeeded { named_values }
    };
    fields.finish(reading);
    failed.map(|_| outcome)
}

fn fork<'n, 't>(
    reading: &mut Reading<'t>,
    around: &mut Around<'n>,
    fields: &mut Fields<'n, 't>,
) -> Option<Instruction> {
    let branches = fields.required(reading, &["branches"], |reading, node| {
        let mut ids = BTreeSet::new();
        let branches = list(reading, node, "a list of branches", |reading, node| {
            let mut fields = Fields::of(reading, node, "a branch")?;
            let id = fields.required(reading, &["id"], |reading, node| {
                let id = name(reading, node)?;
                if id.contains('|') {
                    reading.fault(&node.span, "the id of a branch must not contain \"|\", because it becomes a part of order ids");
                    return None;
                }
                if !ids.insert(id) {
                    reading.fault(&node.span, format!("the branch {id:?} stands twice in this fork"));
                    return None;
                }
                Some(Arc::from(id))
            });
            // A child order cannot retry what its parent has tried.
            let block = fields.required(reading, &["workflow"], |reading, node| around.nested(reading, node, false));
            fields.finish(reading);
            Some(ForkBranch { id: id?, block: block? })
        })?;
        if branches.is_empty() {
            reading.fault(&node.span, "at least one branch is needed");
        }
        Some(branches)
    });
    let agent = fields.optional(
        reading,
        &["agentName", "agentPath", "agentId"],
        checked(AgentPath::checked),
    );
    let join_if_failed = fields
        .optional(reading, &["joinIfFailed"], boolean)
        .unwrap_or_default();
    Some(Instruction::Fork(Fork {
        branches: branches?,
        agent,
        join_if_failed,
    }))
}

fn sticky_subagent<'n, 't>(
    reading: &mut Reading<'t>,
    around: &mut Around<'n>,
    fields: &mut Fields<'n, 't>,
    node: &'n Node<'t>,
) -> Option<Instruction> {
    let agent = fields.required(reading, AGENT, checked(AgentPath::checked));
    let subagent_bundle = subagent_bundle(reading, fields);
    let in_catch = around.in_catch();
    let is_nested = around.is_sticky();
    if is_nested {
        let span = node.span.start..(node.span.start + 1).min(node.span.end);
        let hint = Some("end the outer block before, or leave the inner one out".to_owned());
        let message = "StickySubagent may not stand in another StickySubagent";
        reading.fault_with_hint(&span, message, hint);
    }
    let block = fields.required(
        reading,
        &["subworkflow", "block", "workflow"],
        |reading, node| around.sticky(reading, node, in_catch),
    );
    Some(Instruction::StickySubagent {
        agent: agent?,
        subagent_bundle,
        block: block?,
    })
    .filter(|_| !is_nested)
}

/// An expression that yields seconds, `HH:MM:SS`, or a number of seconds.
fn duration<'t>(reading: &mut Reading<'t>, node: &Node<'t>) -> Option<Expr> {
    if let Shape::Text(text) = &node.shape
        && let Some(seconds) = clock_seconds(text)
    {
        return Some(Expr::constant(Value::from(seconds)));
    }
    if matches!(node.shape, Shape::Number(_)) {
        seconds(reading, node)?;
    }
    expression(reading, node)
}

/// The seconds of `HH:MM:SS`.
fn clock_seconds(text: &str) -> Option<i64> {
    let mut parts = text.split(':').map(|part| {
        let is_number =
            (1..=4).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| part.parse::<i64>().ok())?
    });
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    (parts.next().is_none() && minutes < 60 && seconds < 60)
        .then_some(hours * 3600 + minutes * 60 + seconds)
}

/// The instructions of a segment go into the block around it.
fn segment<'n, 't>(
    reading: &mut Reading<'t>,
    around: &mut Around<'n>,
    fields: &mut Fields<'n, 't>,
    into: &mut Vec<Step>,
) -> Option<()> {
    let inner = fields.required(reading, &["block"], |reading, node| {
        let mut fields = Fields::of(reading, node, "a block")?;
        let inner = fields.required(reading, &["instructions"], |reading, node| {
            steps(reading, around, node)
        });
        fields.finish(reading);
        inner
    })?;
    into.extend(inner);
    Some(())
}
