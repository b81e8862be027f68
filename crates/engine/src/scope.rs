//! What an expression of an order sees (`engine.md` 3.5): its arguments with the workflow's defaults, the values of its
//! outcomes from the newest to the oldest, results by label or job, and the predefined words.
//!
//! Always: a predefined word takes precedence over everything of the same name, and an argument over a result. A job
//! resource's own expressions see no variable of the order. Defaults of jobs are evaluated only when they are used.
//! Never here: files and the process environment of a Subagent, which adds its own scope in front of this one.

use expr::{Answer, At, EvalError, Expr, NamedValues, Scope, Symbol, Value};
use model::{
    Branch, ControllerId, Execute, Instruction, Job, JobName, JobReference, JobResource, Order,
    Outcome, ParameterKind, Position, Timestamp, Try, Workflow,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What surrounds all orders of a place.
pub trait Surroundings {
    /// The Controller's id.
    fn controller_id(&self) -> &ControllerId;
    /// A job resource by its path.
    fn job_resource(&self, path: &str) -> Option<&Arc<JobResource>>;
    /// A variable of the environment of the process that evaluates: `None` if there is no environment here.
    fn environment(&self, name: &str) -> Option<Option<Arc<str>>>;
}

/// The scope of one order at one position.
#[derive(Clone, Copy)]
pub struct OrderScope<'a> {
    /// What surrounds all orders.
    pub surroundings: &'a dyn Surroundings,
    /// The order's workflow.
    pub workflow: &'a Workflow,
    /// The order.
    pub order: &'a Order,
    /// Where it is looked at: its position, or one that it will come to at once.
    pub position: &'a Position,
    /// The present time.
    pub now: Timestamp,
    /// The job whose start the expression is part of.
    pub job: Option<JobScope<'a>>,
}

/// The job whose start an expression is part of.
#[derive(Clone, Copy)]
pub struct JobScope<'a> {
    /// Its name; nothing for a nameless one.
    pub name: Option<&'a JobName>,
    /// The job.
    pub job: &'a Job,
    /// Arguments given by the instruction.
    pub default_arguments: &'a BTreeMap<Arc<str>, Expr>,
}

impl<'a> OrderScope<'a> {
    /// The scope of `order` where it stands.
    pub fn new(
        surroundings: &'a dyn Surroundings,
        workflow: &'a Workflow,
        order: &'a Order,
        now: Timestamp,
    ) -> Self {
        OrderScope {
            surroundings,
            workflow,
            order,
            position: &order.position,
            now,
            job: None,
        }
    }

    /// The same as seen from a place the order will come to.
    #[must_use]
    pub fn at(self, position: &'a Position) -> Self {
        OrderScope { position, ..self }
    }

    /// The same with the variables of the job that the order stands at, and the defaults of its arguments.
    #[must_use]
    pub fn in_job(self) -> Self {
        let Some(Instruction::Execute(Execute {
            default_arguments, ..
        })) = self.workflow.instruction(self.position)
        else {
            return self;
        };
        let job = self
            .workflow
            .job(self.position)
            .map(|(name, job)| JobScope {
                name,
                job,
                default_arguments,
            });
        OrderScope { job, ..self }
    }

    /// How often the order has come to the job where it stands, this time included.
    pub fn job_execution_count(&self) -> usize {
        let name = self.job.and_then(|job| job.name);
        let here = self.position.normalized();
        let is_here = |position: &Position| match name {
            Some(name) => self.executes(position, name.as_str()),
            None => position.normalized() == here,
        };
        let kept = self.order.historic_outcomes.iter();
        let omitted = self.order.omitted_outcomes.iter();
        let omitted = omitted.filter(|omitted| is_here(&omitted.position));
        let omitted: u64 = omitted.map(|omitted| omitted.count).sum();
        let kept = kept.filter(|entry| is_here(&entry.position)).count();
        usize::try_from(omitted)
            .unwrap_or(usize::MAX)
            .saturating_add(kept + 1)
    }

    /// All values that `$name` finds, by name: for jobs that get every value in their environment. A result wins over an
    /// argument here, the newest over the oldest.
    pub fn all_values(&self) -> Result<NamedValues, EvalError> {
        let mut all = NamedValues::new();
        if let Some(job) = self.job {
            for (name, default) in job
                .job
                .default_arguments
                .iter()
                .chain(job.default_arguments)
            {
                all.insert(name.clone(), default.eval(self)?);
            }
        }
        for (name, parameter) in self
            .workflow
            .order_preparation
            .iter()
            .flat_map(|preparation| &preparation.parameters)
        {
            if let ParameterKind::Default(value) | ParameterKind::Final(value) = &parameter.kind
                && let Some(value) = value.as_constant()
            {
                all.insert(name.clone(), value?);
            }
        }
        all.extend(
            self.order
                .arguments
                .iter()
                .map(|(name, value)| (name.clone(), value.clone())),
        );
        for entry in &self.order.historic_outcomes {
            all.extend(
                entry
                    .outcome
                    .named_values()
                    .iter()
                    .map(|(name, value)| (name.clone(), value.clone())),
            );
        }
        Ok(all)
    }

    fn parameter_value(&self, name: &str) -> Answer {
        let parameter = self
            .workflow
            .order_preparation
            .as_ref()?
            .parameters
            .get(name)?;
        match &parameter.kind {
            ParameterKind::Required => None,
            // A value that depends on anything was computed when the order was added, and is one of its arguments.
            ParameterKind::Default(value) | ParameterKind::Final(value) => value.as_constant(),
        }
    }

    fn result(&self, name: &str) -> Answer {
        let mut entries = self.order.historic_outcomes.iter().rev();
        entries
            .find_map(|entry| entry.outcome.named_values().get(name))
            .cloned()
            .map(Ok)
    }

    fn executes(&self, position: &Position, job: &str) -> bool {
        matches!(
            self.workflow.instruction(position),
            Some(Instruction::Execute(Execute { job: JobReference::Named(name), .. })) if name.as_str() == job
        )
    }

    /// The try that `position` is in, and which try it is, counted from 1.
    fn tries(&self) -> Option<(&'a Try, u32)> {
        let depth = self
            .position
            .parents
            .iter()
            .rposition(|step| matches!(step.branch, Branch::Try(_) | Branch::Catch(_)))?;
        let step = &self.position.parents[depth];
        let (Branch::Try(n) | Branch::Catch(n)) = &step.branch else {
            return None;
        };
        let block = self.workflow.block_at(&self.position.parents[..depth])?;
        let Instruction::Try(instruction) = &block.steps.get(step.nr as usize)?.instruction else {
            return None;
        };
        Some((instruction, n.unwrap_or(0).saturating_add(1)))
    }

    fn try_count(&self) -> Value {
        Value::from(self.tries().map_or(0, |(_, count)| i64::from(count)))
    }

    /// Returns a missing value if the number of tries is not limited, and `None` outside of a Try.
    fn max_tries(&self) -> Option<Value> {
        let (instruction, _) = self.tries()?;
        Some(Value::from(instruction.max_tries.map(i64::from)))
    }

    fn label(&self) -> Value {
        let label = self
            .workflow
            .step(self.position)
            .and_then(|step| step.label.as_ref());
        label.map_or_else(|| Value::from(""), |label| Value::from(label.shared()))
    }

    fn job_name(&self) -> Option<Value> {
        let name = match self.job {
            Some(job) => job.name,
            None => self.workflow.job(self.position)?.0,
        };
        Some(name.map_or_else(|| Value::from(""), |name| Value::from(name.shared())))
    }

    fn job_object(&self) -> Option<Value> {
        let JobScope { job, .. } = self.job?;
        let millis = |seconds: Option<model::Seconds>| match seconds {
            Some(model::Seconds(duration)) => {
                Value::from(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
            }
            None => Value::Missing,
        };
        let fields: NamedValues = [
            ("name", self.job_name()?),
            ("sigkillDelayMillis", millis(job.grace_timeout)),
            ("timeoutMillis", millis(job.timeout)),
            ("processLimit", Value::from(i64::from(job.parallelism))),
            ("executionCount", self.execution_count()),
        ]
        .into_iter()
        .map(|(name, value)| (Arc::from(name), value))
        .collect();
        Some(Value::from(fields))
    }

    fn execution_count(&self) -> Value {
        Value::from(i64::try_from(self.job_execution_count()).unwrap_or(i64::MAX))
    }

    /// Returns the value of a predefined word. Returns `None` if `name` is not such a word, or if it has no value where
    /// the order stands.
    pub fn predefined(&self, name: &str) -> Option<Value> {
        let word = name.strip_prefix("js7").unwrap_or_default();
        Some(match word {
            "OrderId" => Value::from(self.order.id.shared()),
            "ControllerId" => Value::from(self.surroundings.controller_id().shared()),
            "WorkflowPath" => Value::from(self.workflow.id.path.shared()),
            "WorkflowPosition" => Value::from(format!("{}:{}", self.workflow.id, self.position)),
            "WorkflowTimezone" => Value::from(self.workflow.time_zone.clone()),
            "Label" => self.label(),
            "TryCount" => self.try_count(),
            "MaxTries" => self.max_tries()?,
            "EpochMilli" => Value::from(self.now.millis()),
            "EpochSecond" => Value::from(self.now.millis().div_euclid(1000)),
            "JobName" => self.job_name()?,
            "JobExecutionCount" => {
                self.job?;
                self.execution_count()
            }
            "Job" => self.job_object()?,
            _ => return None,
        })
    }
}

impl Scope for OrderScope<'_> {
    fn named_value(&self, name: &str) -> Answer {
        // Predefined words come first, so that no argument can replace the identity of the order.
        self.predefined(name)
            .map(Ok)
            .or_else(|| self.argument(name))
            .or_else(|| self.result(name))
            .or_else(|| {
                self.job?
                    .default_arguments
                    .get(name)
                    .map(|default| default.eval(self))
            })
            .or_else(|| {
                self.job?
                    .job
                    .default_arguments
                    .get(name)
                    .map(|default| default.eval(self))
            })
    }

    fn argument(&self, name: &str) -> Answer {
        self.order
            .arguments
            .get(name)
            .cloned()
            .map(Ok)
            .or_else(|| self.parameter_value(name))
    }

    fn variable_at(&self, name: &str, at: At<'_>) -> Answer {
        let label = match at {
            At::Label(label) => match self.workflow.labels.get(label) {
                Some(position) => Some(position.normalized()),
                None => return Some(Err(EvalError::new(format!("Unknown label: {label}")))),
            },
            At::Job(_) => None,
        };
        let entry = self.order.historic_outcomes.iter().rev().find(|entry| {
            let matches = match at {
                At::Label(_) => label.as_ref() == Some(&entry.position.normalized()),
                At::Job(job) => self.executes(&entry.position, job),
            };
            matches && entry.outcome.named_values().contains_key(name)
        })?;
        entry.outcome.named_values().get(name).cloned().map(Ok)
    }

    fn symbol(&self, symbol: Symbol) -> Answer {
        Some(Ok(match symbol {
            Symbol::TimedOut => {
                let mut entries = self.order.historic_outcomes.iter().rev();
                let latest = entries.find(|entry| entry.outcome != Outcome::Caught);
                Value::from(
                    matches!(latest, Some(entry) if matches!(entry.outcome, Outcome::TimedOut { .. })),
                )
            }
            Symbol::Workflow => {
                let zone = Value::from(self.workflow.time_zone.clone());
                Value::from(NamedValues::from([(Arc::from("timezone"), zone)]))
            }
            Symbol::OrderId
            | Symbol::ControllerId
            | Symbol::WorkflowPath
            | Symbol::WorkflowPosition
            | Symbol::Label
            | Symbol::Job
            | Symbol::TryCount
            | Symbol::MaxTries => self.predefined(symbol.variable()?)?,
        }))
    }

    fn job_resource(&self, path: &str, variable: Option<&str>) -> Answer {
        Some(job_resource_value(
            self.surroundings,
            path,
            variable,
            &Predefined(self),
        ))
    }

    fn env(&self, name: &str) -> Option<Option<Arc<str>>> {
        self.surroundings.environment(name)
    }

    fn now(&self) -> Option<i64> {
        Some(self.now.millis())
    }

    fn scheduled_for(&self) -> Option<Option<i64>> {
        Some(self.order.scheduled_for.map(Timestamp::millis))
    }

    fn time_zone(&self) -> Option<Arc<str>> {
        Some(self.workflow.time_zone.clone())
    }
}

/// What the expressions of a job resource see of the order that asks: the predefined words and the clock.
struct Predefined<'a, 's>(&'s OrderScope<'a>);

impl Scope for Predefined<'_, '_> {
    fn named_value(&self, name: &str) -> Answer {
        self.0.predefined(name).map(Ok)
    }
    fn symbol(&self, symbol: Symbol) -> Answer {
        self.0.symbol(symbol)
    }
    fn env(&self, name: &str) -> Option<Option<Arc<str>>> {
        self.0.env(name)
    }
    fn now(&self) -> Option<i64> {
        self.0.now()
    }
    fn scheduled_for(&self) -> Option<Option<i64>> {
        self.0.scheduled_for()
    }
    fn time_zone(&self) -> Option<Arc<str>> {
        self.0.time_zone()
    }
}

/// A variable of a job resource, or all as an object, evaluated in `scope`.
pub fn job_resource_value(
    surroundings: &dyn Surroundings,
    path: &str,
    variable: Option<&str>,
    scope: &dyn Scope,
) -> Result<Value, EvalError> {
    let unknown = |what: &str| EvalError::new(format!("unknown name JobResource:{what}"));
    let Some(resource) = surroundings.job_resource(path) else {
        return Err(unknown(path));
    };
    let Some(name) = variable else {
        let fields: Result<NamedValues, EvalError> = resource
            .variables
            .iter()
            .map(|(name, value)| Ok((name.clone(), value.eval(scope)?)))
            .collect();
        return fields.map(Value::from);
    };
    match resource.variables.get(name) {
        Some(value) => value.eval(scope),
        None => Err(unknown(&format!("{path}:{name}"))),
    }
}
