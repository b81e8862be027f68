//! What can be wrong with settings, told so that the person who wrote them finds the place.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::nearest::nearest;

/// Where a setting was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere: it is missing.
    Nowhere,
    /// A line of a file.
    File {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
    },
    /// An environment variable.
    Variable(String),
    /// A flag of the command line, as its dotted key.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Nowhere => f.write_str("settings"),
            Origin::File { path, line } => write!(f, "{}:{line}", path.display()),
            Origin::Variable(name) => write!(f, "environment variable {name}"),
            Origin::Flag(key) => write!(f, "flag for {key}"),
        }
    }
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("cannot read the settings in {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is no TOML.
    #[error("{}:{line}: {what}", path.display())]
    NotToml {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
        /// What the parser said.
        what: String,
    },
    /// A key that nobody knows.
    #[error("{origin}: unknown key {key}{}", hint(nearest.as_deref(), known))]
    UnknownKey {
        /// Where it is written.
        origin: Origin,
        /// The key with its tables, dotted.
        key: String,
        /// The most similar known key.
        nearest: Option<String>,
        /// All keys that are known at this place.
        known: Vec<String>,
    },
    /// A value that does not fit, or one that is missing.
    #[error("{origin}: {}{what}", before(key))]
    Unfit {
        /// Where it is written.
        origin: Origin,
        /// The key with its tables, dotted.
        key: String,
        /// What is wrong.
        what: String,
    },
}

fn before(key: &str) -> String {
    if key.is_empty() {
        String::new()
    } else {
        format!("{key}: ")
    }
}

fn hint(nearest: Option<&str>, known: &[String]) -> String {
    match nearest {
        Some(nearest) => format!("; did you mean {nearest}?"),
        None if known.is_empty() => "; no keys are known here".to_owned(),
        None => format!("; known here are {}", known.join(", ")),
    }
}

impl SettingsError {
    /// The same error with its place, unless it has one already: the innermost place is the right one.
    pub(crate) fn at(mut self, place: &Origin, parent: &str) -> SettingsError {
        match &mut self {
            SettingsError::UnknownKey { origin, key, .. }
            | SettingsError::Unfit { origin, key, .. } => {
                if *origin == Origin::Nowhere {
                    *origin = place.clone();
                }
                if !parent.is_empty() {
                    *key = if key.is_empty() {
                        parent.to_owned()
                    } else {
                        format!("{parent}.{key}")
                    };
                }
            }
            SettingsError::Unreadable { .. } | SettingsError::NotToml { .. } => {}
        }
        self
    }

    pub(crate) fn unfit(what: impl fmt::Display) -> SettingsError {
        SettingsError::Unfit {
            origin: Origin::Nowhere,
            key: String::new(),
            what: what.to_string(),
        }
    }

    pub(crate) fn unknown(key: &str, known: &[&str]) -> SettingsError {
        SettingsError::UnknownKey {
            origin: Origin::Nowhere,
            key: key.to_owned(),
            nearest: nearest(key, known).map(str::to_owned),
            known: known.iter().map(|&key| key.to_owned()).collect(),
        }
    }
}

impl serde::de::Error for SettingsError {
    fn custom<T: fmt::Display>(what: T) -> SettingsError {
        SettingsError::unfit(what)
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> SettingsError {
        SettingsError::unknown(field, expected)
    }

    fn missing_field(field: &'static str) -> SettingsError {
        SettingsError::Unfit {
            origin: Origin::Nowhere,
            key: field.to_owned(),
            what: "this setting is missing".to_owned(),
        }
    }
}
