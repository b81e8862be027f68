//! A workflow: instructions and jobs.
//!
//! Always: expressions are parsed, labels are unique, named jobs exist; [`crate::read`] refuses anything else.

use crate::{
    AgentPath, JobName, JobResourcePath, Label, Outcome, Position, Problem, Seconds, WorkflowId,
    position::{Branch, Step as PositionStep},
};
use expr::{CommandLine, Expr, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A workflow version.
#[derive(Clone, Debug, PartialEq)]
pub struct Workflow {
    /// Its name and version.
    pub id: Arc<WorkflowId>,
    /// What orders must, may and must not bring along; nothing means that anything goes.
    pub order_preparation: Option<OrderPreparation>,
    /// The zone of its local times.
    pub time_zone: Arc<str>,
    /// Whose variables and environment all of its jobs get.
    pub job_resources: Vec<JobResourcePath>,
    /// The calendar that its cycles and admission times use.
    pub calendar: Option<Arc<str>>,
    /// The instructions, and the jobs of the workflow.
    pub block: Block,
    /// Every label, and where it stands.
    pub labels: BTreeMap<Label, Position>,
}

/// Instructions one after another.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Block {
    /// The instructions; behind the last one is an implicit end.
    pub steps: Vec<Step>,
    /// Jobs that are known in this block and below.
    pub jobs: BTreeMap<JobName, Arc<Job>>,
    /// What a fork's branch gives to its parent.
    pub result: BTreeMap<Arc<str>, Expr>,
}

/// An instruction, maybe with a label.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Its label.
    pub label: Option<Label>,
    /// The instruction.
    pub instruction: Instruction,
}

/// What a step does (`engine.md` 2.3).
#[derive(Clone, Debug, PartialEq)]
pub enum Instruction {
    /// Runs a job.
    Execute(Execute),
    /// The first case whose predicate is true. If and `CaseWhen` alike.
    If {
        /// The cases in order.
        cases: Vec<Case>,
        /// If none is true.
        otherwise: Option<Block>,
    },
    /// Handles failures.
    Try(Try),
    /// Goes back to the try block. Only in a catch block.
    Retry,
    /// Fails.
    Fail {
        /// The message.
        message: Option<Expr>,
        /// Values that the failure leaves behind.
        named_values: BTreeMap<Arc<str>, Value>,
        /// No catch block may hold it.
        uncatchable: bool,
    },
    /// Ends the order, in a fork the branch.
    Finish {
        /// How.
        outcome: Option<Outcome>,
        /// A message that becomes part of the outcome.
        message: Option<Expr>,
    },
    /// Goes on in several branches at once and joins them.
    Fork(Fork),
    /// Settings for a block.
    Options {
        /// A failure stops the order where it stands.
        stop_on_failure: Option<bool>,
        /// The block.
        block: Block,
    },
    /// Keeps the order at one Subagent of an Agent: the one that its first job in the block gets.
    StickySubagent {
        /// The Agent. Jobs elsewhere are not concerned.
        agent: AgentPath,
        /// The Subagent or Subagent Cluster to choose from; all Subagents of the Agent if left out.
        subagent_bundle: Option<Expr>,
        /// The block.
        block: Block,
    },
    /// Sleeps so many seconds.
    Sleep {
        /// How long.
        duration: Expr,
    },
    /// Stops the order until it is resumed behind.
    Stop,
    /// Writes down a value. For tests.
    Say {
        /// The value.
        what: Expr,
    },
    /// Does nothing; holds a label.
    Empty,
    /// The end of a block. Stands in no list of steps.
    ImplicitEnd,
}

/// A job to run.
#[derive(Clone, Debug, PartialEq)]
pub struct Execute {
    /// Which.
    pub job: JobReference,
    /// Arguments where the order has none.
    pub default_arguments: BTreeMap<Arc<str>, Expr>,
}

/// Which job.
#[derive(Clone, Debug, PartialEq)]
pub enum JobReference {
    /// A job of the workflow or of a block around.
    Named(JobName),
    /// A job of its own.
    Anonymous(Arc<Job>),
}

/// A case of an If.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// Whether it is taken.
    pub predicate: Expr,
    /// What is done then.
    pub then: Block,
}

/// Handles failures.
#[derive(Clone, Debug, PartialEq)]
pub struct Try {
    /// What may fail.
    pub attempt: Block,
    /// What is done then.
    pub catch: Block,
    /// How long to wait before the n-th retry; the last one counts for all further.
    pub retry_delays: Vec<Seconds>,
    /// How often the try block is run at most.
    pub max_tries: Option<u32>,
}

/// Branches that run side by side.
#[derive(Clone, Debug, PartialEq)]
pub struct Fork {
    /// The branches.
    pub branches: Vec<ForkBranch>,
    /// Fork there.
    pub agent: Option<AgentPath>,
    /// A failed child joins instead of waiting for an operator.
    pub join_if_failed: bool,
}

/// One branch of a fork.
#[derive(Clone, Debug, PartialEq)]
pub struct ForkBranch {
    /// Its name.
    pub id: Arc<str>,
    /// What is done in it.
    pub block: Block,
}

/// What a Subagent executes (`engine.md` 2.5).
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// At which Agent.
    pub agent: AgentPath,
    /// On which Subagent or Subagent Cluster; any Subagent of the Agent if left out.
    pub subagent_bundle: Option<Expr>,
    /// What is run.
    pub executable: Executable,
    /// Arguments where neither the order nor the instruction has any.
    pub default_arguments: BTreeMap<Arc<str>, Expr>,
    /// Whose variables and environment it gets.
    pub job_resources: Vec<JobResourcePath>,
    /// How many of it may run at once.
    pub parallelism: u32,
    /// SIGKILL so long after SIGTERM.
    pub grace_timeout: Option<Seconds>,
    /// Ended after this time.
    pub timeout: Option<Seconds>,
    /// Anything written to standard error is a failure.
    pub fail_on_err_written: bool,
    /// Not repeated after its process was lost.
    pub is_not_restartable: bool,
}

impl Job {
    /// Returns the outcome of the job when its process is lost, or ended from outside, because of `problem`. The job is
    /// repeated, unless it must not be repeated.
    pub fn lost(&self, problem: Problem) -> Outcome {
        if self.is_not_restartable {
            Outcome::disrupted(problem)
        } else {
            Outcome::process_lost(problem)
        }
    }
}

/// What is run.
#[derive(Clone, Debug, PartialEq)]
pub struct Executable {
    /// The program.
    pub kind: ExecutableKind,
    /// Environment; a missing value removes an inherited variable.
    pub env: BTreeMap<Arc<str>, Expr>,
    /// Which return codes are a success.
    pub return_code_meaning: ReturnCodeMeaning,
    /// All values also as `SCHEDULER_PARAM_…`.
    pub v1_compatible: bool,
}

/// Which program.
#[derive(Clone, Debug, PartialEq)]
pub enum ExecutableKind {
    /// A file, relative to the executables folder or absolute.
    Path(Arc<str>),
    /// A script, run by its shebang or by `/bin/sh`.
    Script(Arc<str>),
    /// A program with its arguments.
    CommandLine(Arc<CommandLine>),
}

/// Which return codes are a success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReturnCodeMeaning {
    /// These and no others.
    Success(Vec<(i64, i64)>),
    /// All but these.
    Failure(Vec<(i64, i64)>),
}

impl Default for ReturnCodeMeaning {
    fn default() -> Self {
        ReturnCodeMeaning::Success(vec![(0, 0)])
    }
}

impl ReturnCodeMeaning {
    /// Whether `code` is a success.
    pub fn is_success(&self, code: i64) -> bool {
        let within = |ranges: &[(i64, i64)]| {
            ranges
                .iter()
                .any(|(from, to)| (*from..=*to).contains(&code))
        };
        match self {
            ReturnCodeMeaning::Success(ranges) => within(ranges),
            ReturnCodeMeaning::Failure(ranges) => !within(ranges),
        }
    }
}

/// What orders bring along.
#[derive(Clone, Debug, PartialEq)]
pub struct OrderPreparation {
    /// The parameters by name.
    pub parameters: BTreeMap<Arc<str>, Parameter>,
    /// Arguments of other names are let in.
    pub allow_undeclared: bool,
}

/// One parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// The type its value must have; any if nothing is said.
    pub value_type: Option<ValueType>,
    /// Whether the order must, may or must not give it.
    pub kind: ParameterKind,
}

/// Whether an order gives a parameter.
#[derive(Clone, Debug, PartialEq)]
pub enum ParameterKind {
    /// It must.
    Required,
    /// It may.
    Default(Expr),
    /// It must not.
    Final(Expr),
}

/// The type of a value.
#[derive(Clone, Debug, PartialEq)]
pub enum ValueType {
    /// A text.
    String,
    /// A number.
    Number,
    /// True or false.
    Boolean,
    /// Whatever.
    Any,
    /// A list of one type.
    List(Box<ValueType>),
    /// An object with these fields.
    Object(BTreeMap<Arc<str>, ValueType>),
}

impl Workflow {
    /// The step at `position`; the implicit end behind the last step of a block; nothing for a place that does not exist.
    pub fn step(&self, position: &Position) -> Option<&Step> {
        const END: &Step = &Step {
            label: None,
            instruction: Instruction::ImplicitEnd,
        };
        let block = self.block_at(&position.parents)?;
        match block.steps.get(position.nr as usize) {
            Some(step) => Some(step),
            None if position.nr as usize == block.steps.len() => Some(END),
            None => None,
        }
    }

    /// The instruction at `position`.
    pub fn instruction(&self, position: &Position) -> Option<&Instruction> {
        self.step(position).map(|step| &step.instruction)
    }

    /// The block that is reached through `parents`.
    pub fn block_at(&self, parents: &[PositionStep]) -> Option<&Block> {
        let mut block = &self.block;
        for step in parents {
            block = block
                .steps
                .get(step.nr as usize)?
                .instruction
                .branch(&step.branch)?;
        }
        Some(block)
    }

    /// The job that the Execute instruction at `position` runs, with its name if it has one.
    pub fn job(&self, position: &Position) -> Option<(Option<&JobName>, &Arc<Job>)> {
        let Instruction::Execute(execute) = self.instruction(position)? else {
            return None;
        };
        match &execute.job {
            JobReference::Anonymous(job) => Some((None, job)),
            JobReference::Named(name) => {
                // The innermost block that defines the job wins.
                let depth = position.parents.len();
                (0..=depth)
                    .rev()
                    .filter_map(|level| self.block_at(&position.parents[..level]))
                    .find_map(|block| block.jobs.get_key_value(name))
                    .map(|(name, job)| (Some(name), job))
            }
        }
    }
}

impl Instruction {
    /// The block that is entered through `branch`.
    pub fn branch(&self, branch: &Branch) -> Option<&Block> {
        match (self, branch) {
            (Instruction::If { cases, .. }, Branch::Then(n)) => cases
                .get((*n as usize).checked_sub(1)?)
                .map(|case| &case.then),
            (Instruction::If { otherwise, .. }, Branch::Else) => otherwise.as_ref(),
            (Instruction::Try(Try { attempt, .. }), Branch::Try(_)) => Some(attempt),
            (Instruction::Try(Try { catch, .. }), Branch::Catch(_)) => Some(catch),
            (Instruction::Fork(fork), Branch::Fork(id)) => fork
                .branches
                .iter()
                .find(|branch| branch.id == *id)
                .map(|branch| &branch.block),
            (Instruction::Options { block, .. }, Branch::Options)
            | (Instruction::StickySubagent { block, .. }, Branch::StickySubagent) => Some(block),
            _ => None,
        }
    }

    /// All blocks inside, with the branch that leads to each.
    pub fn branches(&self) -> Vec<(Branch, &Block)> {
        match self {
            Instruction::If { cases, otherwise } => (1..)
                .zip(cases)
                .map(|(n, case)| (Branch::Then(n), &case.then))
                .chain(otherwise.iter().map(|block| (Branch::Else, block)))
                .collect(),
            Instruction::Try(Try { attempt, catch, .. }) => {
                vec![(Branch::Try(None), attempt), (Branch::Catch(None), catch)]
            }
            Instruction::Fork(fork) => fork
                .branches
                .iter()
                .map(|branch| (Branch::Fork(branch.id.clone()), &branch.block))
                .collect(),
            Instruction::Options { block, .. } => vec![(Branch::Options, block)],
            Instruction::StickySubagent { block, .. } => vec![(Branch::StickySubagent, block)],
            Instruction::Execute(_)
            | Instruction::Retry
            | Instruction::Fail { .. }
            | Instruction::Finish { .. }
            | Instruction::Sleep { .. }
            | Instruction::Stop
            | Instruction::Say { .. }
            | Instruction::Empty
            | Instruction::ImplicitEnd => Vec::new(),
        }
    }
}
