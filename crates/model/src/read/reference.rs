//! What an item refers to: other items that must exist.

use super::node::{Node, Shape};
use super::reading::Reading;
use crate::{
    AgentPath, Block, ExecutableKind, Instruction, Item, ItemBody, ItemKey, ItemType, Job,
    JobReference, JobResourcePath, ParameterKind, Position, SubagentId, Workflow,
};
use expr::Expr;
use std::collections::BTreeSet;
use std::sync::Arc;

/// An item that must exist.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// Its type. A Subagent Cluster stands for a Subagent of that name, too.
    pub kind: ItemType,
    /// Its name.
    pub path: Arc<str>,
    /// Where it is mentioned: `job "backup"`, `instruction 0/then:1`.
    pub place: String,
}

impl Reference {
    /// The keys under which it may exist: one of them must.
    pub fn keys(&self) -> Vec<ItemKey> {
        let mut keys = vec![ItemKey::simple(self.kind, &self.path)];
        if self.kind == ItemType::SubagentBundle {
            keys.push(ItemKey::simple(ItemType::SubagentItem, &self.path));
        }
        keys
    }

    /// Whether this is a workflow, in any version.
    pub fn is_workflow(&self) -> bool {
        self.kind == ItemType::Workflow
    }
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{} ({})", self.kind.key_name(), self.path, self.place)
    }
}

/// What an item refers to.
pub fn references(item: &Item) -> BTreeSet<Reference> {
    let mut found = Found::default();
    match &item.body {
        ItemBody::Workflow(workflow) => found.workflow(workflow),
        ItemBody::Agent(agent) => {
            for director in &agent.directors {
                found.add(ItemType::SubagentItem, director.as_str(), "directors");
            }
        }
        ItemBody::Subagent(subagent) => found.agent(&subagent.agent_path, "agentPath"),
        ItemBody::Bundle(bundle) => {
            for subagent in bundle.subagent_to_priority.keys() {
                found.subagent(subagent, "subagentToPriority");
            }
        }
        ItemBody::Kept(ItemType::FileWatch) => found.file_watch(&item.text),
        ItemBody::JobResource(_) | ItemBody::Kept(_) => {}
    }
    found.0
}

#[derive(Default)]
struct Found(BTreeSet<Reference>);

impl Found {
    fn add(&mut self, kind: ItemType, path: &str, place: &str) {
        self.0.insert(Reference {
            kind,
            path: path.into(),
            place: place.to_owned(),
        });
    }

    fn agent(&mut self, path: &AgentPath, place: &str) {
        self.add(ItemType::AgentRef, path.as_str(), place);
    }

    fn subagent(&mut self, id: &SubagentId, place: &str) {
        self.add(ItemType::SubagentItem, id.as_str(), place);
    }

    fn job_resources(&mut self, paths: &[JobResourcePath], place: &str) {
        for path in paths {
            self.add(ItemType::JobResource, path.as_str(), place);
        }
    }

    fn expression(&mut self, expression: &Expr, place: &str) {
        for path in expression.job_resources() {
            self.add(ItemType::JobResource, &path, place);
        }
    }

    fn expressions<'a>(&mut self, expressions: impl IntoIterator<Item = &'a Expr>, place: &str) {
        for expression in expressions {
            self.expression(expression, place);
        }
    }

    fn workflow(&mut self, workflow: &Workflow) {
        self.job_resources(&workflow.job_resources, "the workflow");
        for (name, parameter) in workflow
            .order_preparation
            .iter()
            .flat_map(|preparation| &preparation.parameters)
        {
            if let ParameterKind::Default(value) | ParameterKind::Final(value) = &parameter.kind {
                self.expression(value, &format!("parameter {name:?}"));
            }
        }
        if let Some(calendar) = &workflow.calendar {
            self.add(ItemType::Calendar, calendar, "the workflow");
        }
        self.block(&workflow.block, &Position::top(0));
    }

    fn block(&mut self, block: &Block, first: &Position) {
        self.expressions(block.result.values(), "result");
        for (name, job) in &block.jobs {
            self.job(job, &format!("job {:?}", name.as_str()));
        }
        for (nr, step) in (0..).zip(&block.steps) {
            let position = Position {
                parents: first.parents.clone(),
                nr,
            };
            let place = format!("instruction {position}");
            match &step.instruction {
                Instruction::Execute(execute) => {
                    if let JobReference::Anonymous(job) = &execute.job {
                        self.job(job, &place);
                    }
                    self.expressions(execute.default_arguments.values(), &place);
                }
                Instruction::If { cases, .. } => {
                    self.expressions(cases.iter().map(|case| &case.predicate), &place);
                }
                Instruction::Fail { message, .. } | Instruction::Finish { message, .. } => {
                    self.expressions(message, &place);
                }
                Instruction::Fork(fork) => {
                    if let Some(agent) = &fork.agent {
                        self.agent(agent, &place);
                    }
                }
                Instruction::StickySubagent {
                    agent,
                    subagent_bundle,
                    ..
                } => {
                    self.agent(agent, &place);
                    self.subagent_bundle(subagent_bundle.as_ref(), &place);
                }
                Instruction::Sleep {
                    duration: expression,
                }
                | Instruction::Say { what: expression } => {
                    self.expression(expression, &place);
                }
                Instruction::Try(_)
                | Instruction::Retry
                | Instruction::Options { .. }
                | Instruction::Stop
                | Instruction::Empty
                | Instruction::ImplicitEnd => {}
            }
            for (branch, block) in step.instruction.branches() {
                self.block(block, &position.enter(branch));
            }
        }
    }

    fn job(&mut self, job: &Job, place: &str) {
        self.agent(&job.agent, place);
        self.expressions(
            job.default_arguments
                .values()
                .chain(job.executable.env.values()),
            place,
        );
        if let ExecutableKind::CommandLine(command) = &job.executable.kind {
            self.expressions(command.expressions(), place);
        }
        self.job_resources(&job.job_resources, place);
        self.subagent_bundle(job.subagent_bundle.as_ref(), place);
    }

    fn subagent_bundle(&mut self, bundle: Option<&Expr>, place: &str) {
        self.expressions(bundle, place);
        // A name that is only known when the job starts cannot be checked now; an empty one is the local Subagent.
        if let Some(Ok(value)) = bundle.and_then(Expr::as_constant)
            && let Some(name) = value.as_str()
            && !name.is_empty()
        {
            self.add(ItemType::SubagentBundle, name, place);
        }
    }

    /// Only the text of a file watch is kept.
    fn file_watch(&mut self, text: &str) {
        let mut reading = Reading::new(text);
        let Some(Node {
            shape: Shape::Object(entries),
            ..
        }) = super::json::parse(&mut reading)
        else {
            return;
        };
        for entry in &entries {
            let Shape::Text(path) = &entry.node.shape else {
                continue;
            };
            match &*entry.name {
                "workflowName" | "workflowPath" => self.add(ItemType::Workflow, path, &entry.name),
                "agentName" | "agentPath" | "agentId" => {
                    self.add(ItemType::AgentRef, path, &entry.name);
                }
                _ => {}
            }
        }
    }
}
