//! Names of things. Each kind has its own type, so that one cannot be taken for another.

use crate::bounds::NAME_BYTES_MAX;
use serde::{Deserialize, Serialize};
use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// Why a text is not a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("{kind} must not be empty")]
    Empty {
        /// Which kind of name was read.
        kind: &'static str,
    },
    /// It is too long.
    #[error(
        "{kind} has {bytes} bytes, more than the {NAME_BYTES_MAX} allowed; it begins with {begin:?}"
    )]
    TooLong {
        /// Which kind of name was read.
        kind: &'static str,
        /// How long it is.
        bytes: usize,
        /// Its first characters.
        begin: Arc<str>,
    },
    /// `|` separates a forked order from its parent.
    #[error("{kind} must not contain reserved characters: |")]
    Reserved {
        /// Which kind of name was read.
        kind: &'static str,
    },
    /// The text breaks a rule of names.
    #[error("{kind} {name:?} is not a valid name: {rule}")]
    Invalid {
        /// Which kind of name was read.
        kind: &'static str,
        /// The text.
        name: Arc<str>,
        /// The rule in words.
        rule: &'static str,
    },
}

macro_rules! names {
    ($( $(#[$meta:meta])* $name:ident ),* $(,)?) => { $(
        $(#[$meta])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes the text as it is; where the kind has rules, `checked` looks at it first.
            pub fn new(name: impl Into<Arc<str>>) -> Self { Self(name.into()) }
            /// The text.
            pub fn as_str(&self) -> &str { &self.0 }
            /// The text, shared.
            pub fn shared(&self) -> Arc<str> { self.0.clone() }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.0) }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { write!(f, "{}:{}", stringify!($name), self.0) }
        }
        impl Borrow<str> for $name { fn borrow(&self) -> &str { &self.0 } }
        impl From<&str> for $name { fn from(name: &str) -> Self { Self(name.into()) } }
        impl From<String> for $name { fn from(name: String) -> Self { Self(name.into()) } }
    )* };
}

names! {
    /// The name of an order. A forked order is called `parent|child`.
    OrderId,
    /// The name of a workflow, without its version.
    WorkflowPath,
    /// A version of a workflow: any text.
    VersionId,
    /// The name of an Agent.
    AgentPath,
    /// The name of a Subagent.
    SubagentId,
    /// The name of a Subagent Cluster (JS7: bundle).
    BundleId,
    /// The name of a job within its workflow.
    JobName,
    /// The name of a place in a workflow.
    Label,
    /// The name of a job resource.
    JobResourcePath,
    /// The name of a Controller.
    ControllerId,
    /// Who asks.
    UserId,
    /// The name of a member of a cluster: `Primary`, `Backup`.
    NodeId,
    /// One life of a journal or of a Subagent process: a random text.
    RunId,
}

/// Checks that a name given by a user is not longer than [`NAME_BYTES_MAX`].
pub fn check_length(kind: &'static str, name: &str) -> Result<(), NameError> {
    if name.len() <= NAME_BYTES_MAX {
        return Ok(());
    }
    let begin = &name[..name.floor_char_boundary(40)];
    Err(NameError::TooLong {
        kind,
        bytes: name.len(),
        begin: begin.into(),
    })
}

const PATH_RULE: &str = "it begins with a letter or digit and goes on with letters, digits, '_', '-' or '.'; '/' separates parts; no part is empty or ends with '.'";

fn is_path(text: &str) -> bool {
    text.split('/').all(|part| {
        let mut chars = part.chars();
        let starts = chars
            .next()
            .is_some_and(|c| c.is_alphanumeric() || c == '_');
        starts
            && chars.all(|c| {
                c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '$' | '#' | ':' | '!')
            })
            && !part.ends_with('.')
    })
}

macro_rules! checked_paths {
    ($($name:ident),*) => { $(
        impl $name {
            /// The name if it keeps the rules for item names.
            pub fn checked(name: &str) -> Result<Self, NameError> {
                let kind = stringify!($name);
                if name.is_empty() { return Err(NameError::Empty { kind }) }
                if !is_path(name) { return Err(NameError::Invalid { kind, name: name.into(), rule: PATH_RULE }) }
                Ok(Self::new(name))
            }
        }
    )* };
}
checked_paths!(
    WorkflowPath,
    AgentPath,
    SubagentId,
    BundleId,
    JobResourcePath,
    UserId,
    ControllerId
);

impl OrderId {
    /// The id if an order may be added under it from outside: not empty, no `|`.
    pub fn checked(id: &str) -> Result<OrderId, NameError> {
        if id.is_empty() {
            return Err(NameError::Empty { kind: "OrderId" });
        }
        check_length("OrderId", id)?;
        if id.contains('|') {
            return Err(NameError::Reserved { kind: "OrderId" });
        }
        if id.chars().any(char::is_control) {
            let rule = "no control characters";
            return Err(NameError::Invalid {
                kind: "OrderId",
                name: id.into(),
                rule,
            });
        }
        Ok(OrderId::new(id))
    }

    /// The id of the child that is forked as `child`.
    #[must_use]
    pub fn child(&self, child: &str) -> OrderId {
        OrderId::new(format!("{}|{child}", self.0))
    }

    /// The order that was added from outside: the text before the first `|`.
    pub fn root(&self) -> &str {
        self.0.split('|').next().unwrap_or(&self.0)
    }
}

/// A version of a workflow.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkflowId {
    /// Its name.
    pub path: WorkflowPath,
    /// Its version.
    pub version_id: VersionId,
}

impl WorkflowId {
    /// Returns the version that the text of an [`ItemKey`] names, if it names one.
    pub fn of_key(key: &str) -> Option<WorkflowId> {
        let (path, version) = key.strip_prefix("Workflow:")?.split_once('~')?;
        Some(WorkflowId {
            path: WorkflowPath::new(path),
            version_id: VersionId::new(version),
        })
    }
}

impl fmt::Display for WorkflowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}~{}", self.path, self.version_id)
    }
}

/// What an item is called among all items: `Type:path`, for a workflow `Workflow:path~version`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ItemKey(Arc<str>);

impl ItemKey {
    /// The key of the simple item `path` of type `kind` (its JSON name, `Lock` or `AgentRef`).
    pub fn simple(kind: crate::ItemType, path: &str) -> ItemKey {
        ItemKey(format!("{}:{path}", kind.key_name()).into())
    }

    /// The key of a workflow version.
    pub fn workflow(id: &WorkflowId) -> ItemKey {
        ItemKey(format!("Workflow:{id}").into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The type name before the colon, and the rest.
    pub fn split(&self) -> (&str, &str) {
        self.0.split_once(':').unwrap_or((&self.0, ""))
    }

    /// The workflow version this key names, if it names one.
    pub fn as_workflow(&self) -> Option<WorkflowId> {
        WorkflowId::of_key(&self.0)
    }
}

impl fmt::Display for ItemKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ItemKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
