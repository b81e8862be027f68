//! A refusal or failure as the caller sees it.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// A coded message: `{"code"?, "message", "arguments"?}`. The code is stable; each has its place in `docs/operating.md`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// A stable name such as `UnknownKey`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// A sentence for people.
    pub message: String,
    /// What the sentence speaks of.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub arguments: BTreeMap<String, String>,
}

impl Problem {
    /// A problem with a code.
    pub fn new(code: &str, message: impl Into<String>) -> Problem {
        Problem {
            code: Some(code.to_owned()),
            message: message.into(),
            arguments: BTreeMap::new(),
        }
    }

    /// A problem without a code.
    pub fn plain(message: impl Into<String>) -> Problem {
        Problem {
            code: None,
            message: message.into(),
            arguments: BTreeMap::new(),
        }
    }

    /// Returns the problem that something named by a caller does not exist. `kind` is the type of the name, such as
    /// `OrderId`.
    pub fn unknown_key(kind: &str, key: impl fmt::Display, message: impl Into<String>) -> Problem {
        Problem::new("UnknownKey", message)
            .with("type", kind)
            .with("key", key)
    }

    /// There is no such order.
    pub fn unknown_order(id: &str) -> Problem {
        let key = format!("Order:{id}");
        let message = format!("There is no {key}");
        Problem::unknown_key("OrderId", key, message)
    }

    /// Returns whether the problem means that an order does not exist. Older members use the code `UnknownOrder`.
    pub fn is_unknown_order(&self) -> bool {
        let is_order = self
            .arguments
            .get("type")
            .is_some_and(|kind| kind == "OrderId");
        self.is("UnknownOrder") || (self.is("UnknownKey") && is_order)
    }

    /// Returns the problem that there is no such item. `key` consists of the type and path of the item.
    pub fn unknown_item(key: impl fmt::Display) -> Problem {
        let message = format!("There is no {key}");
        Problem::new("UnknownItemPath", message).with("path", key)
    }

    /// The same, with an argument.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl fmt::Display) -> Problem {
        self.arguments.insert(name.to_owned(), value.to_string());
        self
    }

    /// Whether this is the problem called `code`.
    pub fn is(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.code {
            Some(code) => write!(f, "{code}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for Problem {}
