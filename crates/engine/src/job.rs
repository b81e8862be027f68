//! A job that an order stands ready for, and by what it is told apart from other jobs when slots are counted.

use model::{Job, JobName, Position, Workflow, WorkflowId};
use std::fmt;
use std::sync::Arc;

/// An order stands ready at a job of this Agent. The owner queues it and writes `OrderProcessingStarted` when it may run.
#[derive(Clone, Debug, PartialEq)]
pub struct JobCall {
    /// Where the job and its default arguments stand.
    pub workflow: Arc<Workflow>,
    /// The job.
    pub job: Arc<Job>,
    /// Whose slots it takes.
    pub key: JobKey,
}

/// A job within its workflow version: the block that defines it and its name, or where the nameless job stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobKey {
    /// The workflow version.
    pub workflow_id: Arc<WorkflowId>,
    /// A named job: the first place of the block that defines it. A nameless one: its own place. Without counters.
    pub place: Position,
    /// Its name.
    pub name: Option<JobName>,
}

impl JobKey {
    /// The key of the job at `position`, with the job; nothing if there is no job.
    pub fn at<'w>(workflow: &'w Workflow, position: &Position) -> Option<(JobKey, &'w Arc<Job>)> {
        let (name, job) = workflow.job(position)?;
        let workflow_id = workflow.id.clone();
        let Some(name) = name else {
            return Some((
                JobKey {
                    workflow_id,
                    place: position.normalized(),
                    name: None,
                },
                job,
            ));
        };
        let depth = (0..=position.parents.len()).rev().find(|depth| {
            workflow
                .block_at(&position.parents[..*depth])
                .is_some_and(|block| block.jobs.contains_key(name))
        })?;
        let block = Position {
            parents: position.parents[..depth].to_vec(),
            nr: 0,
        };
        Some((
            JobKey {
                workflow_id,
                place: block.normalized(),
                name: Some(name.clone()),
            },
            job,
        ))
    }
}

impl fmt::Display for JobKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) if self.place.parents.is_empty() => write!(f, "{}:{name}", self.workflow_id),
            Some(name) => write!(f, "{}:{}:{name}", self.workflow_id, self.place),
            None => write!(f, "{}:{}", self.workflow_id, self.place),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::read::{self, Format, Origin};

    #[test]
    fn a_job_is_told_by_the_block_that_defines_it_op_13() {
        let text = "
TYPE: Workflow
path: w
instructions:
- {TYPE: Execute.Named, jobName: a}
- TYPE: Try
  try:
    instructions: [{TYPE: Execute.Named, jobName: a}, {TYPE: Execute.Named, jobName: b}]
    jobs: {a: {agentPath: ALFA, executable: {TYPE: ShellScriptExecutable, script: inner}}}
  catch: {instructions: [{TYPE: Execute.Anonymous, job: {agentPath: ALFA, executable: {TYPE: ShellScriptExecutable, script: c}}}]}
jobs:
  a: {agentPath: ALFA, executable: {TYPE: ShellScriptExecutable, script: outer}}
  b: {agentPath: ALFA, executable: {TYPE: ShellScriptExecutable, script: b}}
";
        let version = model::VersionId::from("1");
        let origin = Origin {
            name: None,
            version: Some(&version),
        };
        let item = read::item(text, Format::Yaml, &origin).expect("a workflow");
        let model::ItemBody::Workflow(workflow) = item.body else {
            panic!("a workflow")
        };
        let key = |position: &str| {
            let position = position.parse().expect("a position");
            JobKey::at(&workflow, &position).map(|(key, _)| key.to_string())
        };
        assert_eq!(key("0").as_deref(), Some("w~1:a"));
        assert_eq!(key("1/try+0:0").as_deref(), Some("w~1:1/try:0:a"));
        assert_eq!(
            key("1/try+3:0"),
            key("1/try+0:0"),
            "a retried job is the same job"
        );
        assert_eq!(key("1/try+0:1").as_deref(), Some("w~1:b"));
        assert_eq!(key("1/catch+0:0").as_deref(), Some("w~1:1/catch:0"));
        assert_eq!(key("1"), None);
    }
}
