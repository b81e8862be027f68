//! Jobs and what they run.
//!
//! Always: the author's names come first (`agentName`, `parallelism`, `graceTimeout`), the engine's are aliases. What only a
//! Cockpit uses (warnings, notifications, titles) is let in. A setting that would change how a job runs and that this
//! version does not follow is a fault, never silently dropped.

use super::fields::Fields;
use super::node::{Entry, Node, Shape};
use super::reading::Reading;
use super::return_code::return_code_meaning;
use super::value::{
    boolean, checked, expression, expressions, list, map, name, seconds, text, whole,
};
use crate::{AgentPath, Executable, ExecutableKind, Job, JobName, JobResourcePath};
use expr::{CommandLine, Expr, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub(super) const AGENT: &[&str] = &["agentName", "agentPath", "agentId"];
const BUNDLE: &[&str] = &[
    "subagentClusterId",
    "subagentBundleId",
    "subagentSelectionId",
];
const BUNDLE_EXPR: &[&str] = &[
    "subagentClusterIdExpr",
    "subagentBundleIdExpr",
    "subagentSelectionIdExpr",
];

/// The jobs of a block.
pub(super) fn jobs<'t>(
    reading: &mut Reading<'t>,
    node: &Node<'t>,
) -> Option<BTreeMap<JobName, Arc<Job>>> {
    let jobs = map(
        reading,
        node,
        "an object of jobs",
        |reading, Entry { node, .. }| job(reading, node),
    )?;
    Some(
        jobs.into_iter()
            .map(|(name, job)| (JobName::new(name), Arc::new(job)))
            .collect(),
    )
}

/// A job.
pub(super) fn job<'t>(reading: &mut Reading<'t>, node: &Node<'t>) -> Option<Job> {
    let mut fields = Fields::of(reading, node, "a job")?;
    let agent = fields.required(reading, AGENT, checked(AgentPath::checked));
    let subagent_bundle = subagent_bundle(reading, &mut fields);
    let executable = fields.required(reading, &["executable"], executable);
    let default_arguments = fields.optional(reading, &["defaultArguments"], expressions);
    let job_resources = job_resources(reading, &mut fields);
    let parallelism = fields.optional(
        reading,
        &["parallelism", "processLimit", "taskLimit", "paralellism"],
        whole(0..=u32::MAX),
    );
    let grace_timeout = fields.optional(reading, &["graceTimeout", "sigkillDelay"], seconds);
    let timeout = fields.optional(reading, &["timeout"], seconds);
    let fail_on_err_written = fields
        .optional(reading, &["failOnErrWritten"], boolean)
        .unwrap_or_default();
    let is_not_restartable = fields
        .optional(reading, &["isNotRestartable"], boolean)
        .unwrap_or_default();
    unsupported(reading, &mut fields, "admissionTimeScheme");
    // Without admission times these two have nothing to act on.
    fields.optional(
        reading,
        &[
            "skipIfNoAdmissionForOrderDay",
            "skipIfNoAdmissionStartForOrderDay",
        ],
        boolean,
    );
    fields.optional(reading, &["killAtEndOfAdmissionPeriod"], boolean);
    fields.optional(reading, &["warnOnErrWritten"], boolean);
    fields.keep(&[
        "title",
        "documentationName",
        "criticality",
        "warnIfLonger",
        "warnIfShorter",
        "notification",
        "jobTemplate",
        "tags",
        "version",
    ]);
    fields.finish(reading);
    Some(Job {
        agent: agent?,
        subagent_bundle,
        executable: executable?,
        default_arguments: default_arguments.unwrap_or_default(),
        job_resources,
        parallelism: parallelism.unwrap_or(1),
        grace_timeout,
        timeout,
        fail_on_err_written,
        is_not_restartable,
    })
}

/// A name, or an expression that yields one. Where both are given, `withSubagentClusterIdExpr` chooses.
pub(super) fn subagent_bundle<'t>(
    reading: &mut Reading<'t>,
    fields: &mut Fields<'_, 't>,
) -> Option<Expr> {
    let chosen = fields.optional(reading, &["withSubagentClusterIdExpr"], boolean);
    let (by_name, by_expression) = (fields.has(BUNDLE), fields.has(BUNDLE_EXPR));
    let named = fields.optional(reading, BUNDLE, |reading, node| {
        name(reading, node).map(|name| Expr::constant(Value::from(name)))
    });
    let expression = fields.optional(reading, BUNDLE_EXPR, expression);
    if by_name && by_expression && chosen.is_none() {
        let span = fields.span().clone();
        let hint = Some(
            "give only one of them, or say with \"withSubagentClusterIdExpr\" which counts"
                .to_owned(),
        );
        reading.fault_with_hint(
            &span,
            "both \"subagentClusterId\" and \"subagentClusterIdExpr\" are given",
            hint,
        );
    }
    if by_expression && (!by_name || chosen == Some(true)) {
        expression
    } else {
        named
    }
}

/// The names of job resources, each once.
pub(super) fn job_resources<'t>(
    reading: &mut Reading<'t>,
    fields: &mut Fields<'_, 't>,
) -> Vec<JobResourcePath> {
    const NAMES: &[&str] = &["jobResourceNames", "jobResourcePaths"];
    let read = fields.optional(reading, NAMES, |reading, node| {
        let mut seen = BTreeSet::new();
        list(reading, node, "a list of names", |reading, node| {
            let path = checked(JobResourcePath::checked)(reading, node)?;
            if !seen.insert(path.clone()) {
                reading.fault(
                    &node.span,
                    format!(
                        "the job resource {:?} stands twice in this list",
                        path.as_str()
                    ),
                );
                return None;
            }
            Some(path)
        })
    });
    read.unwrap_or_default()
}

/// A known setting that this version does not follow.
fn unsupported(reading: &mut Reading<'_>, fields: &mut Fields<'_, '_>, name: &'static str) {
    if let Some(entry) = fields.find(reading, &[name]) {
        reading.at(&name, |reading| {
            reading.fault(
                &entry.name_span,
                format!("{name} is not supported by this version yet"),
            );
        });
    }
}

fn executable<'t>(reading: &mut Reading<'t>, node: &Node<'t>) -> Option<Executable> {
    const TYPES: &[&str] = &[
        "ShellScriptExecutable",
        "PathExecutable",
        "CommandLineExecutable",
        "InternalExecutable",
    ];
    let mut fields = Fields::of(reading, node, "an executable")?;
    let tag = fields.tag(reading, |reading, node| {
        let tag = text(reading, node)?;
        let known = match tag {
            "ScriptExecutable" | "ExecutableScript" => "ShellScriptExecutable",
            "ExecutablePath" => "PathExecutable",
            known => TYPES
                .iter()
                .copied()
                .find(|name| *name == known)
                .unwrap_or_default(),
        };
        if known == "InternalExecutable" {
            reading.fault(
                &node.span,
                format!("{known} is not supported by this version yet"),
            );
            return None;
        }
        if known.is_empty() {
            let hint = super::names::nearest(tag, TYPES.iter().copied())
                .map(|name| format!("did you mean {name:?}?"));
            let hint = hint.or_else(|| Some(format!("known are {}", TYPES.join(", "))));
            reading.fault_with_hint(
                &node.span,
                format!("unknown executable TYPE {:?}", super::node::glimpse(tag)),
                hint,
            );
            return None;
        }
        Some(known)
    })?;
    let kind = match tag {
        "PathExecutable" => fields
            .required(reading, &["path"], path)
            .map(ExecutableKind::Path),
        "CommandLineExecutable" => fields
            .required(reading, &["command"], command_line)
            .map(ExecutableKind::CommandLine),
        _script => fields
            .required(reading, &["script"], |reading, node| {
                text(reading, node).map(runnable)
            })
            .map(ExecutableKind::Script),
    };
    let env = fields.optional(reading, &["env"], env);
    let meaning = fields.optional(reading, &["returnCodeMeaning"], return_code_meaning);
    let v1_compatible = fields
        .optional(reading, &["v1Compatible"], boolean)
        .unwrap_or_default();
    unsupported(reading, &mut fields, "login");
    fields.finish(reading);
    Some(Executable {
        kind: kind?,
        env: env.unwrap_or_default(),
        return_code_meaning: meaning.unwrap_or_default(),
        v1_compatible,
    })
}

/// Returns the script in the form that its interpreter requires, whichever editor has written it. A byte order mark is
/// removed, since it would hide the first line. Carriage returns are removed if every line ends with one. A first line
/// that begins with `#!` always loses its carriage return, which would become part of the interpreter's name.
fn runnable(script: &str) -> Arc<str> {
    let script = script.strip_prefix('\u{FEFF}').unwrap_or(script);
    let Some((first, rest)) = script.split_once('\n') else {
        return script.trim_end_matches('\r').into();
    };
    let Some(first) = first.strip_suffix('\r') else {
        return script.into();
    };
    let is_foreign = rest.split_inclusive('\n').all(|line| {
        line.strip_suffix('\n')
            .is_none_or(|line| line.ends_with('\r'))
    });
    if is_foreign {
        format!(
            "{first}\n{}",
            rest.replace("\r\n", "\n").trim_end_matches('\r')
        )
        .into()
    } else if first.starts_with("#!") {
        format!("{first}\n{rest}").into()
    } else {
        script.into()
    }
}

/// Environment variables: expressions under names that an environment can hold.
pub(super) fn env<'t>(
    reading: &mut Reading<'t>,
    node: &Node<'t>,
) -> Option<BTreeMap<Arc<str>, Expr>> {
    map(
        reading,
        node,
        "an object of expressions",
        |reading, entry| {
            if entry.name.contains(['=', '\0']) {
                reading.fault(
                    &entry.name_span,
                    "the name of an environment variable must not contain \"=\"",
                );
            }
            expression(reading, &entry.node)
        },
    )
}

/// Absolute, or below the executables folder and nowhere else.
fn path<'t>(reading: &mut Reading<'t>, node: &Node<'t>) -> Option<Arc<str>> {
    let path = name(reading, node)?;
    let is_windows_drive =
        path.as_bytes().get(1) == Some(&b':') && path.as_bytes()[0].is_ascii_alphabetic();
    let is_absolute = path.starts_with(['/', '\\']) || is_windows_drive;
    let is_plain = |part: &str| !part.is_empty() && !part.starts_with('.');
    if !is_absolute && (path.trim() != path || !path.split(['/', '\\']).all(is_plain)) {
        let hint = "a relative path has no blanks around it and no part that is empty or begins with \".\"";
        reading.fault_with_hint(
            &node.span,
            "the path must stay in the executables folder",
            Some(hint.to_owned()),
        );
        return None;
    }
    Some(Arc::from(path))
}

fn command_line<'t>(reading: &mut Reading<'t>, node: &Node<'t>) -> Option<Arc<CommandLine>> {
    let Shape::Text(text) = &node.shape else {
        super::value::mismatch(reading, node, "a text");
        return None;
    };
    CommandLine::parse(text)
        .map(Arc::new)
        .map_err(|error| {
            reading.fault_inside(
                node,
                text,
                &error.span,
                format!("not a command line: {}", error.message),
            );
        })
        .ok()
}

#[cfg(test)]
mod tests {
    use super::runnable;

    #[test]
    fn foreign_line_ends_and_byte_order_marks_are_removed_from_scripts() {
        for (written, run) in [
            ("\u{FEFF}#!/bin/bash\necho a\n", "#!/bin/bash\necho a\n"),
            ("#!/bin/sh\r\necho a\r\n", "#!/bin/sh\necho a\n"),
            ("\u{FEFF}echo a\r\necho b\r\n", "echo a\necho b\n"),
            ("echo a\r\necho b", "echo a\necho b"),
            ("echo a\r", "echo a"),
            // The carriage return is removed only from the first line, where it would prevent the start.
            ("#!/bin/sh\r\necho a\n", "#!/bin/sh\necho a\n"),
        ] {
            assert_eq!(&*runnable(written), run, "{written:?}");
        }
    }

    #[test]
    fn a_script_that_means_its_carriage_returns_is_unchanged() {
        for script in [
            "",
            "\n",
            "echo a\nprintf 'GET / HTTP/1.1\r\n'\n",
            "cat <<X\nHost: a\r\n\r\nX\n",
            "echo a\r\necho b\n",
            "echo '\u{FEFF}'\n",
        ] {
            assert_eq!(&*runnable(script), script);
        }
    }
}
