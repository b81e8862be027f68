//! What is run for an attempt: the program, its environment and its limits, evaluated from job and order.
//!
//! Always: an expression that fails makes the plan fail with the message the operator sees; nothing has been started then.

use engine::scope::{OrderScope, job_resource_value};
use expr::{Answer, Chain, EvalError, Expr, Scope, Symbol, Value};
use model::bounds::too_large;
use model::{
    Attempt, ControllerId, Executable, ExecutableKind, Job, JobResource, JobResourcePath, Order,
    Problem, Timestamp, Workflow,
};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What the job is run in.
#[derive(Clone, Debug)]
pub struct Surroundings<'a> {
    /// The present.
    pub now: Timestamp,
    /// The Subagent's own environment, which jobs inherit.
    pub env: &'a BTreeMap<String, String>,
    /// Where `toFile` puts its files.
    pub temp_dir: PathBuf,
    /// The job resources known here.
    pub job_resources: &'a BTreeMap<JobResourcePath, Arc<JobResource>>,
    /// SIGKILL so long after SIGTERM where the job does not say.
    pub grace_default: Duration,
}

/// What is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlannedProgram {
    /// This script.
    Script(Arc<str>),
    /// This file; a relative one in the executables folder.
    File(PathBuf),
    /// This program with these arguments.
    Command(Vec<String>),
}

/// Everything a shell needs to start a job and to judge its end.
#[derive(Clone, Debug)]
pub struct JobPlan {
    /// The program.
    pub program: PlannedProgram,
    /// Changes of the inherited environment; `None` removes.
    pub env: BTreeMap<String, Option<String>>,
    /// Files to be written before the start and removed after the end.
    pub files: Vec<(PathBuf, String)>,
    /// The variables that get the path of the file for return values.
    pub return_values_variables: &'static [&'static str],
    /// Ended after this time.
    pub timeout: Option<Duration>,
    /// SIGKILL so long after SIGTERM.
    pub grace: Duration,
    /// The job.
    pub job: Arc<Job>,
}

/// What the Subagent knows besides the order.
struct Known<'a> {
    controller_id: &'a ControllerId,
    around: &'a Surroundings<'a>,
}

impl engine::scope::Surroundings for Known<'_> {
    fn controller_id(&self) -> &ControllerId {
        self.controller_id
    }
    fn job_resource(&self, path: &str) -> Option<&Arc<JobResource>> {
        self.around.job_resources.get(path)
    }
    fn environment(&self, name: &str) -> Option<Option<Arc<str>>> {
        Some(self.around.env.get(name).map(|value| value.as_str().into()))
    }
}

/// The budget of all expressions of one job, as a multiple of the budget of a single evaluation.
const PLAN_BUDGETS: u32 = 5;
/// Maximum size in bytes of one variable with its name: the system starts no process with a longer one.
const VARIABLE_BYTES_MAX: usize = (128 << 10) - 2;
/// Maximum size in bytes of all variables of a job together: more than the system accepts.
const ENVIRONMENT_BYTES_MAX: usize = 4 << 20;

/// The plan for the job at the order's position.
pub fn plan(
    attempt: &Attempt,
    order: &Order,
    workflow: &Workflow,
    controller_id: &ControllerId,
    around: &Surroundings<'_>,
) -> Result<JobPlan, Problem> {
    expr::in_one_budget(PLAN_BUDGETS, || {
        planned(attempt, order, workflow, controller_id, around)
    })
}

fn planned(
    attempt: &Attempt,
    order: &Order,
    workflow: &Workflow,
    controller_id: &ControllerId,
    around: &Surroundings<'_>,
) -> Result<JobPlan, Problem> {
    let Some((_, job)) = workflow.job(&order.position) else {
        let message = format!("there is no job at {}:{}", workflow.id, order.position);
        return Err(Problem::new("UnknownPosition", message));
    };
    let known = Known {
        controller_id,
        around,
    };
    let files = Files {
        dir: &around.temp_dir,
        attempt,
        written: RefCell::default(),
    };
    let order_scope = OrderScope::new(&known, workflow, order, around.now).in_job();
    let resource_scope = ResourceScope {
        order: &order_scope,
        files: &files,
    };
    let place = Place {
        known: &known,
        files: &files,
        resources: &resource_scope,
    };
    let scope = Chain(&[&place, &order_scope]);

    let mut env = BTreeMap::new();
    if job.executable.v1_compatible {
        // As JobScheduler 1 passed them; what has no text form is left out.
        for (name, value) in order_scope.all_values().map_err(problem)? {
            if let Ok(Some(text)) = text_of(&name, &value) {
                env.insert(
                    format!("SCHEDULER_PARAM_{}", name.to_uppercase()),
                    Some(text),
                );
            }
        }
    }
    evaluate_env(&job.executable.env, &scope, &mut env)?;
    let mut resources = Vec::new();
    for path in job.job_resources.iter().chain(&workflow.job_resources) {
        let Some(resource) = around.job_resources.get(path) else {
            return Err(Problem::new(
                "UnknownKey",
                format!("unknown key JobResource:{path}"),
            ));
        };
        resources.push(resource);
    }
    // The left-most wins, so it comes last.
    for resource in resources.iter().rev() {
        let own = OwnVariables {
            resource,
            scope: &resource_scope,
        };
        evaluate_env(&resource.env, &Chain(&[&own, &resource_scope]), &mut env)?;
    }
    let program = program(&job.executable, &scope)?;
    Ok(JobPlan {
        program,
        env,
        files: files.written.into_inner(),
        return_values_variables: if job.executable.v1_compatible {
            &[
                "MAINSPRING_RETURN_VALUES",
                "JS7_RETURN_VALUES",
                "SCHEDULER_RETURN_VALUES",
            ]
        } else {
            &["MAINSPRING_RETURN_VALUES", "JS7_RETURN_VALUES"]
        },
        timeout: job.timeout.map(|timeout| timeout.0),
        grace: job
            .grace_timeout
            .map_or(around.grace_default, |grace| grace.0),
        job: job.clone(),
    })
}

fn program(executable: &Executable, scope: &dyn Scope) -> Result<PlannedProgram, Problem> {
    Ok(match &executable.kind {
        ExecutableKind::Script(script) => PlannedProgram::Script(script.clone()),
        ExecutableKind::Path(path) => PlannedProgram::File(PathBuf::from(&**path)),
        ExecutableKind::CommandLine(line) => {
            PlannedProgram::Command(line.words(scope).map_err(problem)?)
        }
    })
}

#[expect(clippy::needless_pass_by_value, reason = "a conversion for map_err")]
fn problem(error: EvalError) -> Problem {
    Problem::plain(error.to_string())
}

fn evaluate_env(
    env: &BTreeMap<Arc<str>, Expr>,
    scope: &dyn Scope,
    into: &mut BTreeMap<String, Option<String>>,
) -> Result<(), Problem> {
    let mut all = 0;
    for (name, expression) in env {
        let value = expression.eval(scope).map_err(problem)?;
        let text = text_of(name, &value)?;
        let bytes = text.as_ref().map_or(0, |text| name.len() + text.len());
        if bytes > VARIABLE_BYTES_MAX {
            let what = format!("the environment variable {name}");
            return Err(too_large(&what, bytes, VARIABLE_BYTES_MAX));
        }
        into.insert(name.to_string(), text);
        all += bytes;
        if all > ENVIRONMENT_BYTES_MAX {
            let what = "the environment of the job";
            return Err(too_large(what, all, ENVIRONMENT_BYTES_MAX));
        }
    }
    Ok(())
}

fn text_of(name: &str, value: &Value) -> Result<Option<String>, Problem> {
    match value {
        Value::Missing => Ok(None),
        Value::String(text) if text.contains('\0') => Err(Problem::plain(format!(
            "the environment variable {name} must not contain a NUL character"
        ))),
        Value::String(text) => Ok(Some(text.to_string())),
        Value::Number(number) => Ok(Some(number.to_string())),
        Value::Boolean(flag) => Ok(Some(flag.to_string())),
        Value::List(_) | Value::Object(_) | Value::Function(_) => Err(Problem::plain(format!(
            "the environment variable {name} needs a String, Number or Boolean, not {}",
            value.type_name()
        ))),
    }
}

/// Files that expressions ask for: named here, written by the shell before the start.
struct Files<'a> {
    dir: &'a PathBuf,
    attempt: &'a Attempt,
    written: RefCell<Vec<(PathBuf, String)>>,
}

impl Files<'_> {
    fn add(&self, content: &str, pattern: &str) -> Result<Value, EvalError> {
        if pattern.contains('/') || pattern.contains('\0') || !pattern.contains('*') {
            let message =
                format!("toFile needs a file name with a '*' and without '/', not {pattern:?}");
            return Err(EvalError::new(message));
        }
        let mut written = self.written.borrow_mut();
        let id = self.attempt.order_id.as_str();
        let readable: String = id
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
            .take(40)
            .collect();
        // What is readable of two ids may be the same.
        let mut whole = DefaultHasher::new();
        id.hash(&mut whole);
        let unique = format!(
            "{readable}-{:016x}-{}-{}",
            whole.finish(),
            self.attempt.number,
            written.len()
        );
        let path = self.dir.join(pattern.replacen('*', &unique, 1));
        let text = Value::String(path.to_string_lossy().as_ref().into());
        written.push((path, content.to_owned()));
        Ok(text)
    }
}

/// What the place where the job runs adds to what the order sees.
struct Place<'a> {
    known: &'a Known<'a>,
    files: &'a Files<'a>,
    resources: &'a dyn Scope,
}

impl Scope for Place<'_> {
    fn to_file(&self, content: &str, pattern: &str) -> Answer {
        Some(self.files.add(content, pattern))
    }
    fn job_resource(&self, path: &str, variable: Option<&str>) -> Answer {
        Some(job_resource_value(
            self.known,
            path,
            variable,
            self.resources,
        ))
    }
}

/// The variables of a job resource, as its own `env` sees them. The expression of a variable does not see other
/// variables.
struct OwnVariables<'a> {
    resource: &'a JobResource,
    scope: &'a dyn Scope,
}

impl Scope for OwnVariables<'_> {
    fn named_value(&self, name: &str) -> Answer {
        let variable = self.resource.variables.get(name)?;
        Some(variable.eval(self.scope))
    }
}

/// What a job resource's own expressions see: the predefined words and the machine, never what the order carries.
struct ResourceScope<'a> {
    order: &'a OrderScope<'a>,
    files: &'a Files<'a>,
}

impl Scope for ResourceScope<'_> {
    fn named_value(&self, name: &str) -> Answer {
        self.order.predefined(name).map(Ok)
    }
    fn symbol(&self, symbol: Symbol) -> Answer {
        self.order.symbol(symbol)
    }
    fn env(&self, name: &str) -> Option<Option<Arc<str>>> {
        self.order.env(name)
    }
    fn now(&self) -> Option<i64> {
        self.order.now()
    }
    fn scheduled_for(&self) -> Option<Option<i64>> {
        self.order.scheduled_for()
    }
    fn time_zone(&self) -> Option<Arc<str>> {
        self.order.time_zone()
    }
    fn to_file(&self, content: &str, pattern: &str) -> Answer {
        Some(self.files.add(content, pattern))
    }
}
