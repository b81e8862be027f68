//! Computes the value of a tree.
//! Always: lazy where the language is (`&&`, `||`, `?`, `if`, defaults), left to right elsewhere. An operator that meets
//! a missing operand yields missing instead of a type error, and so does an `if` with a missing condition.
//! Nothing here knows where a name's value comes from; that is the scope's business.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::budget;
use crate::error::EvalError;
use crate::function::Function;
use crate::functions;
use crate::java_regex::JavaRegex;
use crate::node::{Lambda, Lookup, Node, Operator, Piece, Place};
use crate::number::{Number, NumberError};
use crate::scope::{At, Scope};
use crate::symbol::Symbol;
use crate::value::{NamedValues, Value};

type Evaluated = Result<Value, EvalError>;

pub(crate) fn eval(node: &Node, scope: &dyn Scope) -> Evaluated {
    budget::charge(1)?;
    match node {
        Node::Missing => Ok(Value::Missing),
        Node::Boolean(truth) => Ok(Value::Boolean(*truth)),
        Node::Number(number) => Ok(Value::Number(number.clone())),
        Node::Text(text) => Ok(Value::String(text.clone())),
        Node::Interpolated(pieces) => interpolated(pieces, scope),
        Node::List(nodes) => list(nodes, scope),
        Node::Object(fields) => object(fields, scope),
        Node::Function(lambda) => Ok(function(lambda, scope)),
        Node::Name(name) => named_value(name, scope),
        Node::JobResource { path, variable } => job_resource(path, variable.as_deref(), scope),
        Node::Lookup(found) => lookup(found, scope),
        Node::Symbol(word) => symbol(*word, scope),
        Node::Call(builtin, arguments) => functions::call(*builtin, arguments, scope),
        Node::Field(node, name) => field(&eval(node, scope)?, name),
        Node::Apply(node, arguments) => apply(&eval(node, scope)?, arguments, scope),
        Node::Not(node) => not(&eval(node, scope)?),
        Node::Negative(node) => negative(&eval(node, scope)?),
        Node::OrMissing(node) => Ok(eval(node, scope).unwrap_or(Value::Missing)),
        Node::Binary(operator, operands) => binary(*operator, operands, scope),
        Node::If(parts) => {
            let condition = eval(&parts.0, scope)?;
            if condition.is_missing() {
                return Ok(Value::Missing);
            }
            let branch = if truth_of(&condition)? {
                &parts.1
            } else {
                &parts.2
            };
            eval(branch, scope)
        }
    }
}

/// The syntax of a value.
pub(crate) fn node_of(value: &Value) -> Node {
    match value {
        Value::Missing => Node::Missing,
        Value::Boolean(truth) => Node::Boolean(*truth),
        Value::Number(number) => Node::Number(number.clone()),
        Value::String(text) => Node::Text(text.clone()),
        Value::List(elements) => Node::List(elements.iter().map(node_of).collect()),
        Value::Object(fields) => Node::Object(
            fields
                .iter()
                .map(|(k, v)| (k.clone(), node_of(v)))
                .collect(),
        ),
        Value::Function(function) => function.to_node(),
    }
}

// ---- What a value must be

pub(crate) fn truth_of(value: &Value) -> Result<bool, EvalError> {
    value
        .as_bool()
        .ok_or_else(|| EvalError::mismatch("boolean", value))
}

pub(crate) fn number_of(value: &Value) -> Result<&Number, EvalError> {
    value
        .as_number()
        .ok_or_else(|| EvalError::mismatch("number", value))
}

/// Returns the text of a value. Charges for printing a long number.
pub(crate) fn paid_text(value: &Value) -> Result<Arc<str>, EvalError> {
    if let Value::Number(number) = value {
        budget::charge_numbers(number.words(), number.words())?;
    }
    value.to_text()
}

pub(crate) fn text_of(value: &Value) -> Result<&Arc<str>, EvalError> {
    if let Value::String(text) = value {
        Ok(text)
    } else {
        Err(EvalError::mismatch("string", value))
    }
}

// ---- Names

fn named_value(name: &str, scope: &dyn Scope) -> Evaluated {
    scope
        .named_value(name)
        .unwrap_or_else(|| Err(EvalError::unknown_name(name)))
}

pub(crate) fn job_resource(path: &str, variable: Option<&str>, scope: &dyn Scope) -> Evaluated {
    scope.job_resource(path, variable).unwrap_or_else(|| {
        let variable = variable
            .map(|variable| format!(":{variable}"))
            .unwrap_or_default();
        Err(EvalError::unknown_name(&format!(
            "JobResource:{path}{variable}"
        )))
    })
}

fn symbol(symbol: Symbol, scope: &dyn Scope) -> Evaluated {
    scope
        .symbol(symbol)
        .or_else(|| scope.named_value(symbol.variable()?))
        .unwrap_or_else(|| Err(EvalError::not_available(symbol.name())))
}

fn lookup(lookup: &Lookup, scope: &dyn Scope) -> Evaluated {
    let key = eval(&lookup.key, scope)?;
    if key.is_missing() {
        return Ok(Value::Missing);
    }
    let key = text_of(&key)?;
    let answer = match &lookup.place {
        Place::Arguments => scope.argument(key),
        Place::Everywhere => scope.named_value(key),
        Place::Label(label) => scope.variable_at(key, At::Label(label)),
        Place::Job(job) => scope.variable_at(key, At::Job(job)),
    };
    match (answer, &lookup.default) {
        (Some(answer), _) => answer,
        (None, Some(default)) => eval(default, scope),
        (None, None) => Err(EvalError::unknown_name(key)),
    }
}

// ---- Composed values

fn interpolated(pieces: &[Piece], scope: &dyn Scope) -> Evaluated {
    let mut result = String::new();
    for piece in pieces {
        let text = match piece {
            Piece::Text(text) => text.clone(),
            Piece::Node(node) => paid_text(&eval(node, scope)?)?,
        };
        budget::append(&mut result, &text)?;
    }
    Ok(Value::from(result))
}

fn list(nodes: &[Node], scope: &dyn Scope) -> Evaluated {
    let elements = nodes
        .iter()
        .map(|node| eval(node, scope))
        .collect::<Result<Vec<_>, _>>()?;
    let list = Value::from(elements);
    weigh(&list, 0)?;
    Ok(list)
}

fn object(fields: &[(Arc<str>, Node)], scope: &dyn Scope) -> Evaluated {
    let fields = fields
        .iter()
        .map(|(name, node)| Ok((name.clone(), eval(node, scope)?)))
        .collect::<Result<BTreeMap<_, _>, EvalError>>()?;
    let object = Value::from(fields);
    weigh(&object, 0)?;
    Ok(object)
}

/// Pays for a composed value as if all it consists of had been written out, and bounds its nesting, so that values
/// can always be printed, compared, stored and read again.
fn weigh(value: &Value, nesting: usize) -> Result<(), EvalError> {
    if nesting > Value::NESTING_MAX {
        return Err(EvalError::new(format!(
            "The value is nested deeper than {} levels",
            Value::NESTING_MAX
        )));
    }
    budget::charge(1)?;
    match value {
        Value::List(elements) => elements
            .iter()
            .try_for_each(|element| weigh(element, nesting + 1)),
        Value::Object(fields) => fields
            .values()
            .try_for_each(|field| weigh(field, nesting + 1)),
        Value::Function(function) => function
            .captured
            .values()
            .try_for_each(|value| weigh(value, nesting + 1)),
        Value::Missing | Value::Boolean(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

fn function(lambda: &Arc<Lambda>, scope: &dyn Scope) -> Value {
    let mut names = BTreeSet::new();
    lambda
        .body
        .free_names(&mut lambda.parameters.to_vec(), &mut names);
    let captured: NamedValues = names
        .into_iter()
        .filter_map(|name| scope.parameter(&name).map(|value| (name, value)))
        .collect();
    Value::Function(Arc::new(Function {
        lambda: lambda.clone(),
        captured,
    }))
}

fn field(value: &Value, name: &str) -> Evaluated {
    if value.is_missing() {
        return Ok(Value::Missing);
    }
    let Value::Object(fields) = value else {
        return Err(EvalError::mismatch("object", value));
    };
    let field = fields.get(name).cloned();
    field.ok_or_else(|| EvalError::new(format!("Unknown field name: {name}")))
}

fn apply(value: &Value, arguments: &[Node], scope: &dyn Scope) -> Evaluated {
    if value.is_missing() {
        return Ok(Value::Missing);
    }
    match (value, arguments) {
        (Value::List(elements), [index]) => element(elements, &eval(index, scope)?),
        (Value::List(_), _) => Err(EvalError::new("A list wants one index in the parentheses")),
        (Value::Function(function), _) => {
            let arguments = arguments
                .iter()
                .map(|node| eval(node, scope))
                .collect::<Result<Vec<_>, _>>()?;
            function.apply(&arguments, scope)
        }
        _ => Err(EvalError::mismatch("list or function", value)),
    }
}

fn element(elements: &[Value], index: &Value) -> Evaluated {
    if index.is_missing() {
        return Ok(Value::Missing);
    }
    let index = number_of(index)?;
    if !index.is_integer() {
        return Err(EvalError::new("Rounding necessary"));
    }
    let found = index
        .to_i64()
        .and_then(|i| usize::try_from(i).ok())
        .and_then(|i| elements.get(i));
    found.cloned().ok_or_else(|| {
        let last = Number::from(elements.len()).to_i64().unwrap_or(i64::MAX) - 1;
        EvalError::new(format!("Index {index} out of range 0...{last}"))
    })
}

// ---- Operators

fn not(value: &Value) -> Evaluated {
    if value.is_missing() {
        Ok(Value::Missing)
    } else {
        Ok(Value::Boolean(!truth_of(value)?))
    }
}

fn negative(value: &Value) -> Evaluated {
    if value.is_missing() {
        Ok(Value::Missing)
    } else {
        Ok(Value::Number(number_of(value)?.negated()?))
    }
}

fn binary(operator: Operator, operands: &(Node, Node), scope: &dyn Scope) -> Evaluated {
    let (left, right) = operands;
    let combine: fn(&Value, &Value) -> Evaluated = match operator {
        Operator::And => return logical(&eval(left, scope)?, false, right, scope),
        Operator::Or => return logical(&eval(left, scope)?, true, right, scope),
        Operator::OrElse => {
            return match eval(left, scope) {
                Ok(Value::Missing) | Err(_) => eval(right, scope),
                Ok(value) => Ok(value),
            };
        }
        Operator::Equal => |a, b| equal(a, b).map(Value::Boolean),
        Operator::NotEqual => |a, b| equal(a, b).map(|equal| Value::Boolean(!equal)),
        Operator::In => is_in,
        Operator::Matches => matches,
        Operator::Less => |a, b| ordered(a, b, Ordering::is_lt),
        Operator::LessOrEqual => |a, b| ordered(a, b, Ordering::is_le),
        Operator::Greater => |a, b| ordered(a, b, Ordering::is_gt),
        Operator::GreaterOrEqual => |a, b| ordered(a, b, Ordering::is_ge),
        Operator::Plus => |a, b| computed(a, b, Number::plus),
        Operator::Minus => |a, b| computed(a, b, Number::minus),
        Operator::Times => |a, b| computed(a, b, Number::times),
        Operator::Divide => |a, b| computed(a, b, Number::divided_by),
        Operator::Concat => concat,
    };
    combine(&eval(left, scope)?, &eval(right, scope)?)
}

/// `&&` and `||`: `decisive` is the left side that makes the right one irrelevant. Missing on the left decides too.
fn logical(left: &Value, decisive: bool, right: &Node, scope: &dyn Scope) -> Evaluated {
    if left.is_missing() {
        return Ok(Value::Missing);
    }
    if truth_of(left)? == decisive {
        return Ok(Value::Boolean(decisive));
    }
    let right = eval(right, scope)?;
    if right.is_missing() {
        Ok(Value::Missing)
    } else {
        truth_of(&right).map(Value::Boolean)
    }
}

fn ordered(left: &Value, right: &Value, holds: fn(Ordering) -> bool) -> Evaluated {
    if left.is_missing() || right.is_missing() {
        return Ok(Value::Missing);
    }
    order(left, right).map(|order| Value::Boolean(holds(order)))
}

fn computed(
    left: &Value,
    right: &Value,
    compute: fn(&Number, &Number) -> Result<Number, NumberError>,
) -> Evaluated {
    if left.is_missing() || right.is_missing() {
        return Ok(Value::Missing);
    }
    let (left, right) = (number_of(left)?, number_of(right)?);
    budget::charge_numbers(left.words(), right.words())?;
    Ok(Value::Number(compute(left, right)?))
}

/// Equality that pays for each element compared.
fn equal(left: &Value, right: &Value) -> Result<bool, EvalError> {
    budget::charge(1)?;
    match (left, right) {
        (Value::List(a), Value::List(b)) if Arc::ptr_eq(a, b) => Ok(true),
        (Value::List(a), Value::List(b)) => {
            if a.len() != b.len() {
                return Ok(false);
            }
            for (a, b) in a.iter().zip(&**b) {
                if !equal(a, b)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        (Value::Object(a), Value::Object(b)) if Arc::ptr_eq(a, b) => Ok(true),
        (Value::Object(a), Value::Object(b)) => {
            if a.len() != b.len() {
                return Ok(false);
            }
            for ((a_name, a), (b_name, b)) in a.iter().zip(&**b) {
                if a_name != b_name || !equal(a, b)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        (Value::String(a), Value::String(b)) if a.len() == b.len() => {
            budget::charge_text(a.len())?;
            Ok(a == b)
        }
        (Value::Number(a), Value::Number(b)) => {
            budget::charge_numbers(a.words(), b.words())?;
            Ok(a == b)
        }
        _ => Ok(left == right),
    }
}

fn order(left: &Value, right: &Value) -> Result<Ordering, EvalError> {
    match (left, right) {
        (Value::Number(a), Value::Number(b)) => {
            budget::charge_numbers(a.words(), b.words())?;
            Ok(a.cmp(b))
        }
        (Value::String(a), Value::String(b)) => {
            budget::charge_text(a.len().min(b.len()))?;
            Ok(a.cmp(b))
        }
        (Value::Number(_), other) => Err(EvalError::mismatch("number", other)),
        (Value::String(_), other) => Err(EvalError::mismatch("string", other)),
        (other, _) => Err(EvalError::mismatch("number or string", other)),
    }
}

fn is_in(element: &Value, list: &Value) -> Evaluated {
    let Value::List(elements) = list else {
        return if list.is_missing() {
            Ok(Value::Missing)
        } else {
            Err(EvalError::mismatch("list", list))
        };
    };
    for other in &**elements {
        if equal(element, other)? {
            return Ok(Value::Boolean(true));
        }
    }
    Ok(Value::Boolean(false))
}

/// Returns whether the text matches the pattern. A number is matched by its text.
fn matches(text: &Value, pattern: &Value) -> Evaluated {
    if pattern.is_missing() {
        return Ok(Value::Missing);
    }
    let text = if matches!(text, Value::Missing | Value::Number(_)) {
        paid_text(text)?
    } else {
        text_of(text)?.clone()
    };
    let regex = JavaRegex::compile_whole(text_of(pattern)?)?;
    regex.is_match(&text).map(Value::Boolean)
}

fn concat(left: &Value, right: &Value) -> Evaluated {
    if left.is_missing() || right.is_missing() {
        return Ok(Value::Missing);
    }
    if let (Value::List(a), Value::List(b)) = (left, right) {
        budget::charge(a.len() + b.len())?;
        return Ok(a.iter().chain(&**b).cloned().collect());
    }
    let text = |value: &Value| {
        let has_text = matches!(
            value,
            Value::String(_) | Value::Number(_) | Value::Boolean(_)
        );
        if has_text {
            paid_text(value)
        } else {
            Err(EvalError::mismatch("string", value))
        }
    };
    let (left, right) = (text(left)?, text(right)?);
    budget::charge_text(left.len() + right.len())?;
    Ok(Value::from(format!("{left}{right}")))
}
