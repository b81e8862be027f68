//! What an expression yields, and what variables hold.
//! Always: cheap to clone. `Missing` is a value of its own: JSON's null, "nothing given".
//! Equality asks for the same type and the same content; `1` and `'1'` differ.
//! Never here: conversion between types on behalf of an operator. Only `to_text` turns a value into text on demand.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::error::EvalError;
use crate::function::Function;
use crate::number::Number;
use crate::printer;

/// Variables by name.
pub type NamedValues = BTreeMap<Arc<str>, Value>;

/// A value of the expression language.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Value {
    /// Nothing given; JSON null.
    #[default]
    Missing,
    /// True or false.
    Boolean(bool),
    /// A decimal number of any precision.
    Number(Number),
    /// Text.
    String(Arc<str>),
    /// Values in a row, counted from 0.
    List(Arc<[Value]>),
    /// Values by field name.
    Object(Arc<BTreeMap<Arc<str>, Value>>),
    /// A function; it has no JSON form.
    Function(Arc<Function>),
}

impl Value {
    /// How deep lists and objects may be nested: shallower than JSON readers allow, so that what is written can be
    /// read again.
    pub const NESTING_MAX: usize = 100;

    /// The type as users know it.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Missing => "Missing",
            Value::Boolean(_) => "Boolean",
            Value::Number(_) => "Number",
            Value::String(_) => "String",
            Value::List(_) => "List",
            Value::Object(_) => "Object",
            Value::Function(_) => "Function",
        }
    }

    /// Whether this is the missing value.
    pub fn is_missing(&self) -> bool {
        matches!(self, Value::Missing)
    }

    /// The value as one that can be written down, for an event. A function, also one in a list or an object, lives only as long as
    /// the expression is computed: it is an error here.
    pub fn kept(self) -> Result<Value, EvalError> {
        if self.holds_function() {
            return Err(EvalError::new("A Function cannot be kept as a value"));
        }
        Ok(self)
    }

    fn holds_function(&self) -> bool {
        match self {
            Value::Function(_) => true,
            Value::List(elements) => elements.iter().any(Value::holds_function),
            Value::Object(fields) => fields.values().any(Value::holds_function),
            Value::Missing | Value::Boolean(_) | Value::Number(_) | Value::String(_) => false,
        }
    }

    /// The truth, if it is a Boolean.
    pub fn as_bool(&self) -> Option<bool> {
        if let Value::Boolean(truth) = self {
            Some(*truth)
        } else {
            None
        }
    }

    /// The number, if it is one.
    pub fn as_number(&self) -> Option<&Number> {
        if let Value::Number(number) = self {
            Some(number)
        } else {
            None
        }
    }

    /// The number, if it is a whole one that fits.
    pub fn as_i64(&self) -> Option<i64> {
        self.as_number().and_then(Number::to_i64)
    }

    /// The text, if it is a String.
    pub fn as_str(&self) -> Option<&str> {
        if let Value::String(text) = self {
            Some(text)
        } else {
            None
        }
    }

    /// The elements, if it is a List.
    pub fn as_list(&self) -> Option<&[Value]> {
        if let Value::List(elements) = self {
            Some(elements)
        } else {
            None
        }
    }

    /// The fields, if it is an Object.
    pub fn as_object(&self) -> Option<&BTreeMap<Arc<str>, Value>> {
        if let Value::Object(fields) = self {
            Some(fields)
        } else {
            None
        }
    }

    /// The function, if it is one.
    pub fn as_function(&self) -> Option<&Arc<Function>> {
        if let Value::Function(function) = self {
            Some(function)
        } else {
            None
        }
    }

    /// The value as plain text, as `++`, "$x" and process environments want it: a string as it is, a missing value
    /// as nothing, lists and objects in the notation of the language. A function has no text.
    pub fn to_text(&self) -> Result<Arc<str>, EvalError> {
        match self {
            Value::Missing => Ok(Arc::from("")),
            Value::Boolean(truth) => Ok(Arc::from(truth.to_string())),
            Value::Number(number) => Ok(Arc::from(number.to_text())),
            Value::String(text) => Ok(text.clone()),
            Value::List(_) | Value::Object(_) => printer::bounded_text_of(self).map(Arc::from),
            Value::Function(_) => Err(EvalError::mismatch("string", self)),
        }
    }
}

impl fmt::Display for Value {
    /// Prints the value as expression.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        printer::write_value(f, self)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::String(Arc::from(text))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::String(Arc::from(text))
    }
}

impl From<Arc<str>> for Value {
    fn from(text: Arc<str>) -> Value {
        Value::String(text)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Value {
        Value::Boolean(truth)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Value {
        Value::Number(Number::from(number))
    }
}

impl From<i32> for Value {
    fn from(number: i32) -> Value {
        Value::Number(Number::from(number))
    }
}

impl From<Number> for Value {
    fn from(number: Number) -> Value {
        Value::Number(number)
    }
}

impl From<Vec<Value>> for Value {
    fn from(elements: Vec<Value>) -> Value {
        Value::List(Arc::from(elements))
    }
}

impl FromIterator<Value> for Value {
    fn from_iter<I: IntoIterator<Item = Value>>(elements: I) -> Value {
        Value::List(elements.into_iter().collect())
    }
}

impl From<NamedValues> for Value {
    fn from(fields: NamedValues) -> Value {
        Value::Object(Arc::new(fields))
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Value {
        value.map_or(Value::Missing, Into::into)
    }
}
