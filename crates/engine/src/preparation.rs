//! What an order brings along, against what its workflow declares: nothing missing, nothing unknown, the right types.
//!
//! Always: all faults are told at once. A default or final value that is the same for every order stays in the workflow;
//! one that depends on anything is computed here, once, and stored with the order.

use crate::scope::{Surroundings, job_resource_value};
use expr::{Answer, EvalError, NamedValues, Scope, Symbol, Value};
use model::{
    FreshOrder, OrderPreparation, Parameter, ParameterKind, Problem, Timestamp, ValueType, Workflow,
};
use std::cell::RefCell;
use std::sync::Arc;

/// The arguments that the order is added with.
pub(crate) fn arguments(
    surroundings: &dyn Surroundings,
    workflow: &Workflow,
    fresh: &FreshOrder,
    now: Timestamp,
) -> Result<NamedValues, Problem> {
    let Some(preparation) = &workflow.order_preparation else {
        return Ok(fresh.arguments.clone());
    };
    let mut faults = Vec::new();
    for (name, value) in &fresh.arguments {
        match preparation.parameters.get(name) {
            None if preparation.allow_undeclared => {}
            None => faults.push(undeclared(workflow, name, preparation)),
            Some(Parameter {
                kind: ParameterKind::Final(_),
                ..
            }) => faults.push(
                Problem::new(
                    "FinalOrderArgument",
                    format!(
                        "Order argument '{name}' is final in Workflow:{} and cannot be given",
                        workflow.id
                    ),
                )
                .with("name", name)
                .with("workflowId", &workflow.id),
            ),
            Some(Parameter {
                value_type: Some(value_type),
                ..
            }) => {
                faults.extend(type_fault(name, value, value_type));
            }
            Some(_) => {}
        }
    }
    for (name, parameter) in &preparation.parameters {
        if parameter.kind == ParameterKind::Required && !fresh.arguments.contains_key(name) {
            let message = format!(
                "Order argument '{name}' is required by Workflow:{}",
                workflow.id
            );
            faults.push(
                Problem::new("MissingOrderArgument", message)
                    .with("name", name)
                    .with("workflowId", &workflow.id),
            );
        }
    }
    if let Some(problem) = combined(faults) {
        return Err(problem);
    }
    let scope = Preparing {
        surroundings,
        workflow,
        preparation,
        fresh,
        now,
        under_way: RefCell::default(),
    };
    let mut arguments = fresh.arguments.clone();
    let mut faults = Vec::new();
    for (name, parameter) in &preparation.parameters {
        let (ParameterKind::Default(expression) | ParameterKind::Final(expression)) =
            &parameter.kind
        else {
            continue;
        };
        if arguments.contains_key(name) || expression.is_constant() {
            continue;
        }
        match scope.computed(name, expression).and_then(Value::kept) {
            Ok(value) => {
                if let Some(value_type) = &parameter.value_type {
                    faults.extend(type_fault(name, &value, value_type));
                }
                arguments.insert(name.clone(), value);
            }
            Err(error) => faults.push(Problem::plain(format!(
                "Order argument '{name}': {}",
                error.message()
            ))),
        }
    }
    match combined(faults) {
        Some(problem) => Err(problem),
        None => Ok(arguments),
    }
}

/// What defaults and finals see: the other arguments, the order's id, the clock, job resources.
struct Preparing<'a> {
    surroundings: &'a dyn Surroundings,
    workflow: &'a Workflow,
    preparation: &'a OrderPreparation,
    fresh: &'a FreshOrder,
    now: Timestamp,
    /// The parameters that are being computed, outermost first.
    under_way: RefCell<Vec<Arc<str>>>,
}

impl Preparing<'_> {
    fn computed(&self, name: &Arc<str>, expression: &expr::Expr) -> Result<Value, EvalError> {
        if self.under_way.borrow().contains(name) {
            return Err(EvalError::new(format!("'{name}' depends on itself")));
        }
        self.under_way.borrow_mut().push(name.clone());
        let value = expression.eval(self);
        self.under_way.borrow_mut().pop();
        value
    }
}

impl Scope for Preparing<'_> {
    fn named_value(&self, name: &str) -> Answer {
        // Predefined words come first, as in a running order.
        Some(Ok(match name {
            "js7OrderId" => Value::from(self.fresh.id.shared()),
            "js7ControllerId" => Value::from(self.surroundings.controller_id().shared()),
            "js7WorkflowPath" => Value::from(self.workflow.id.path.shared()),
            "js7WorkflowTimezone" => Value::from(self.workflow.time_zone.clone()),
            "js7EpochMilli" => Value::from(self.now.millis()),
            "js7EpochSecond" => Value::from(self.now.millis().div_euclid(1000)),
            _ => return self.argument(name),
        }))
    }
    fn argument(&self, name: &str) -> Answer {
        if let Some(value) = self.fresh.arguments.get(name) {
            return Some(Ok(value.clone()));
        }
        let (name, parameter) = self.preparation.parameters.get_key_value(name)?;
        match &parameter.kind {
            ParameterKind::Required => None,
            ParameterKind::Default(expression) | ParameterKind::Final(expression) => {
                Some(self.computed(name, expression))
            }
        }
    }
    fn symbol(&self, symbol: Symbol) -> Answer {
        if symbol != Symbol::Workflow {
            return None;
        }
        let zone = Value::from(self.workflow.time_zone.clone());
        Some(Ok(Value::from(NamedValues::from([(
            Arc::from("timezone"),
            zone,
        )]))))
    }
    fn job_resource(&self, path: &str, variable: Option<&str>) -> Answer {
        Some(job_resource_value(self.surroundings, path, variable, self))
    }
    fn env(&self, name: &str) -> Option<Option<Arc<str>>> {
        self.surroundings.environment(name)
    }
    fn now(&self) -> Option<i64> {
        Some(self.now.millis())
    }
    fn scheduled_for(&self) -> Option<Option<i64>> {
        Some(self.fresh.scheduled_for.map(Timestamp::millis))
    }
    fn time_zone(&self) -> Option<Arc<str>> {
        Some(self.workflow.time_zone.clone())
    }
}

fn undeclared(workflow: &Workflow, name: &str, preparation: &OrderPreparation) -> Problem {
    let known: Vec<_> = preparation.parameters.keys().map(|name| &**name).collect();
    let known = if known.is_empty() {
        "none".to_owned()
    } else {
        known.join(", ")
    };
    let id = &workflow.id;
    Problem::new(
        "UndeclaredOrderArgument",
        format!("Order argument '{name}' is not declared in Workflow:{id}; declared are: {known}"),
    )
    .with("name", name)
    .with("workflowId", id)
}

fn type_fault(path: &str, value: &Value, expected: &ValueType) -> Option<Problem> {
    let wrong = |expected: &str| {
        let found = value.type_name();
        let message = format!("Order argument '{path}' is a {found}, but must be a {expected}");
        Some(
            Problem::new("WrongValueType", message)
                .with("name", path)
                .with("type", found)
                .with("expectedType", expected),
        )
    };
    match (expected, value) {
        (ValueType::Any, _)
        | (ValueType::String, Value::String(_))
        | (ValueType::Number, Value::Number(_))
        | (ValueType::Boolean, Value::Boolean(_)) => None,
        (ValueType::String, _) => wrong("String"),
        (ValueType::Number, _) => wrong("Number"),
        (ValueType::Boolean, _) => wrong("Boolean"),
        (ValueType::List(element), Value::List(elements)) => combined(
            (0..)
                .zip(&**elements)
                .filter_map(|(i, value): (usize, _)| {
                    type_fault(&format!("{path}({i})"), value, element)
                })
                .collect(),
        ),
        (ValueType::List(_), _) => wrong("List"),
        (ValueType::Object(fields), Value::Object(given)) => {
            let missing = fields
                .keys()
                .filter(|name| !given.contains_key(*name))
                .map(|name| {
                    Problem::new(
                        "MissingObjectFields",
                        format!("Order argument '{path}' lacks the field '{name}'"),
                    )
                    .with("name", path)
                    .with("fieldName", name)
                });
            let unknown = given
                .keys()
                .filter(|name| !fields.contains_key(*name))
                .map(|name| {
                    Problem::new(
                        "UndeclaredObjectFields",
                        format!("Order argument '{path}' has the undeclared field '{name}'"),
                    )
                    .with("name", path)
                    .with("fieldName", name)
                });
            let wrong = fields.iter().filter_map(|(name, expected)| {
                type_fault(&format!("{path}.{name}"), given.get(name)?, expected)
            });
            combined(missing.chain(unknown).chain(wrong).collect())
        }
        (ValueType::Object(_), _) => wrong("Object"),
    }
}

/// Several problems as one: the code of the first, all messages.
fn combined(problems: Vec<Problem>) -> Option<Problem> {
    let messages: Vec<_> = problems
        .iter()
        .map(|problem| problem.message.as_str())
        .collect();
    let message = messages.join(";\n");
    problems
        .into_iter()
        .next()
        .map(|first| Problem { message, ..first })
}
