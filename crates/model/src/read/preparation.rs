//! What orders bring along: parameters with their types, defaults and fixed values.
//!
//! Always: a constant default has the type that its parameter declares. Columns (`listParameters`) make a List a list of
//! objects and a Map an object.

use super::fields::Fields;
use super::node::{Entry, Node, Shape, glimpse};
use super::reading::Reading;
use super::value::{
    boolean, constant_expression, expression, map, mismatch, text, text_or_expression,
};
use crate::{OrderPreparation, Parameter, ParameterKind, ValueType};
use expr::{Expr, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The signs by which a default shows that an expression was meant.
const DEFAULT_MARKS: &[char] = &['$', '\'', '"', '`', '('];

const SIMPLE: [&str; 4] = ["String", "Number", "Boolean", "Any"];
const ALL: [&str; 7] = [
    "String", "Number", "Boolean", "List", "Map", "Object", "Any",
];

pub(super) fn order_preparation<'t>(
    reading: &mut Reading<'t>,
    node: &Node<'t>,
) -> Option<OrderPreparation> {
    let mut fields = Fields::of(reading, node, "an order preparation")?;
    let parameters = fields.optional(reading, &["parameters"], |reading, node| {
        map(
            reading,
            node,
            "an object of parameters",
            |reading, Entry { node, .. }| parameter(reading, node),
        )
    });
    let allow_undeclared = fields
        .optional(reading, &["allowUndeclared"], boolean)
        .unwrap_or_default();
    fields.finish(reading);
    Some(OrderPreparation {
        parameters: parameters.unwrap_or_default(),
        allow_undeclared,
    })
}

fn parameter<'t>(reading: &mut Reading<'t>, node: &Node<'t>) -> Option<Parameter> {
    let mut fields = Fields::of(reading, node, "a parameter")?;
    let columns = fields.optional(reading, &["listParameters"], columns);
    let value_type = fields.optional(reading, &["type"], |reading, node| {
        value_type(reading, node, columns.as_ref())
    });
    let declared = value_type.clone();
    let (has_default, has_final) = (fields.has(&["default"]), fields.has(&["final"]));
    let default = fields.optional(reading, &["default"], |reading, node| {
        prepared(reading, node, declared.as_ref())
    });
    let fixed = fields.optional(reading, &["final"], |reading, node| {
        prepared(reading, node, declared.as_ref())
    });
    if has_default && has_final {
        let hint = Some("give only one of them".to_owned());
        reading.fault_with_hint(
            &fields.span().clone(),
            "a parameter has either a \"default\" or a \"final\" value",
            hint,
        );
    }
    // Checks and texts that a Cockpit's forms use.
    fields.keep(&[
        "facet",
        "list",
        "message",
        "title",
        "description",
        "documentationName",
        "required",
    ]);
    fields.finish(reading);
    let kind = if has_final {
        ParameterKind::Final(fixed?)
    } else if has_default {
        ParameterKind::Default(default?)
    } else {
        ParameterKind::Required
    };
    Some(Parameter { value_type, kind })
}

type Columns = BTreeMap<Arc<str>, ValueType>;

fn columns<'t>(reading: &mut Reading<'t>, node: &Node<'t>) -> Option<Columns> {
    map(
        reading,
        node,
        "an object of columns",
        |reading, Entry { node, .. }| {
            let mut fields = Fields::of(reading, node, "a column")?;
            let value_type = fields.required(reading, &["type"], |reading, node| {
                value_type(reading, node, None)
            });
            // A Cockpit fills them in before it adds an order.
            fields.keep(&[
                "default",
                "facet",
                "list",
                "message",
                "title",
                "description",
            ]);
            fields.finish(reading);
            value_type
        },
    )
}

/// A type: its name, or `{TYPE: "List", elementType}` and `{TYPE: "Object", …fields}`.
fn value_type<'t>(
    reading: &mut Reading<'t>,
    node: &Node<'t>,
    columns: Option<&Columns>,
) -> Option<ValueType> {
    match &node.shape {
        Shape::Text(name) => match &**name {
            "String" => Some(ValueType::String),
            "Number" => Some(ValueType::Number),
            "Boolean" => Some(ValueType::Boolean),
            "Any" => Some(ValueType::Any),
            "List" => {
                let element =
                    columns.map_or(ValueType::Any, |columns| ValueType::Object(columns.clone()));
                Some(ValueType::List(Box::new(element)))
            }
            "Map" | "Object" => {
                Some(columns.map_or(ValueType::Any, |columns| ValueType::Object(columns.clone())))
            }
            other => {
                let hint =
                    super::names::nearest(other, ALL).map(|name| format!("did you mean {name:?}?"));
                let hint = hint.or_else(|| Some(format!("known are {}", ALL.join(", "))));
                reading.fault_with_hint(
                    &node.span,
                    format!("unknown type {:?}", glimpse(other)),
                    hint,
                );
                None
            }
        },
        Shape::Object(entries) => composed(reading, node, entries),
        Shape::Null | Shape::Boolean(_) | Shape::Number(_) | Shape::List(_) => {
            mismatch(reading, node, "a type");
            None
        }
    }
}

fn composed<'t>(
    reading: &mut Reading<'t>,
    node: &Node<'t>,
    entries: &[Entry<'t>],
) -> Option<ValueType> {
    let Some(tag) = entries.iter().find(|entry| entry.name == "TYPE") else {
        let span = node.span.start..(node.span.start + 1).min(node.span.end);
        reading.fault(&span, "the field \"TYPE\" is missing");
        return None;
    };
    let name = reading.at(&"TYPE", |reading| text(reading, &tag.node))?;
    match name {
        "List" => {
            let mut fields = Fields::of(reading, node, "a type")?;
            fields.keep(&["TYPE"]);
            let element = fields.required(reading, &["elementType"], |reading, node| {
                value_type(reading, node, None)
            });
            fields.finish(reading);
            element.map(|element| ValueType::List(Box::new(element)))
        }
        "Object" | "Map" => {
            let mut columns = Some(BTreeMap::new());
            for entry in entries.iter().filter(|entry| entry.name != "TYPE") {
                let column = reading.at(&entry.name, |reading| {
                    value_type(reading, &entry.node, None)
                });
                match (&mut columns, column) {
                    (Some(columns), Some(column)) => {
                        columns.insert(Arc::from(&*entry.name), column);
                    }
                    (columns, _) => *columns = None,
                }
            }
            columns.map(ValueType::Object)
        }
        simple if SIMPLE.contains(&simple) => {
            let mut fields = Fields::of(reading, node, "a type")?;
            fields.keep(&["TYPE"]);
            fields.finish(reading);
            value_type(reading, &tag.node, None)
        }
        _ => {
            reading.at(&"TYPE", |reading| {
                mismatch(reading, &tag.node, "\"List\" or \"Object\"");
            });
            None
        }
    }
}

/// A default or final value. People write texts plainly where a text is wanted; elsewhere a text is an expression.
fn prepared<'t>(
    reading: &mut Reading<'t>,
    node: &Node<'t>,
    declared: Option<&ValueType>,
) -> Option<Expr> {
    let expression = match (&node.shape, declared) {
        (Shape::Text(_), Some(ValueType::String)) => {
            text_or_expression(DEFAULT_MARKS)(reading, node)
        }
        (Shape::Text(_), None | Some(ValueType::Any)) => plain_or_expression(reading, node),
        (Shape::Text(_), Some(_)) => expression(reading, node),
        _ => constant_expression(reading, node),
    }?;
    if let (Some(declared), Some(Ok(value))) = (declared, expression.as_constant())
        && !fits(&value, declared)
    {
        let message = format!(
            "the value is a {}, but the parameter is a {}",
            value.type_name(),
            type_name(declared)
        );
        reading.fault(&node.span, message);
        return None;
    }
    Some(expression)
}

/// Without a type, whatever can be read as an expression is one.
fn plain_or_expression<'t>(reading: &mut Reading<'t>, node: &Node<'t>) -> Option<Expr> {
    if node.as_text().is_some_and(|text| Expr::parse(text).is_ok()) {
        expression(reading, node)
    } else {
        text_or_expression(DEFAULT_MARKS)(reading, node)
    }
}

fn fits(value: &Value, declared: &ValueType) -> bool {
    match declared {
        ValueType::Any => true,
        ValueType::String => value.as_str().is_some(),
        ValueType::Number => value.as_number().is_some(),
        ValueType::Boolean => value.as_bool().is_some(),
        ValueType::List(element) => value
            .as_list()
            .is_some_and(|elements| elements.iter().all(|value| fits(value, element))),
        ValueType::Object(columns) => value.as_object().is_some_and(|fields| {
            fields.keys().all(|name| columns.contains_key(name))
                && columns
                    .iter()
                    .all(|(name, column)| fields.get(name).is_some_and(|value| fits(value, column)))
        }),
    }
}

fn type_name(declared: &ValueType) -> &'static str {
    match declared {
        ValueType::String => "String",
        ValueType::Number => "Number",
        ValueType::Boolean => "Boolean",
        ValueType::Any => "Any",
        ValueType::List(_) => "List",
        ValueType::Object(_) => "Object",
    }
}
