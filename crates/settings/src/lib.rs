//! The settings of a program: defaults, a TOML file, the environment and flags, each laid over the one before.
//!
//! Always: a key that nobody knows, or a value that does not fit, is an error that names where it was written and the nearest
//! known key. Never here: the settings themselves. Each crate that needs some has its own struct, with `deny_unknown_fields`.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod byte_size;
mod duration;
mod layer;
mod nearest;
mod private;
mod reader;
mod trouble;

use std::path::Path;

use serde::de::DeserializeOwned;

pub use byte_size::ByteSize;
pub use duration::Duration;
pub use private::{make_private_dir, replace_private_file, take_private_dir};
pub use trouble::{Origin, SettingsError};

use layer::Node;

/// Reads the settings of this process: file, environment, flags.
///
/// `env_prefix` is such as `MAINSPRING_`: the variable `MAINSPRING_JOURNAL__SYNC_DELAY` sets `sync-delay` or `sync_delay` in the
/// table `journal`. Flags are pairs of dotted key and value, such as `("journal.sync-delay", "1ms")`.
pub fn load<T: DeserializeOwned>(
    file: Option<&Path>,
    env_prefix: &str,
    flags: &[(&str, String)],
) -> Result<T, SettingsError> {
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    load_from(file, env_prefix, environment, flags)
}

/// As `load`, from a given environment.
pub fn load_from<T: DeserializeOwned>(
    file: Option<&Path>,
    env_prefix: &str,
    environment: impl IntoIterator<Item = (String, String)>,
    flags: &[(&str, String)],
) -> Result<T, SettingsError> {
    let mut root = match file {
        Some(path) => layer::read_file(path)?,
        None => Node::empty_table(Origin::Nowhere),
    };
    let mut variables: Vec<_> = environment
        .into_iter()
        .filter(|(name, _)| name.starts_with(env_prefix))
        .collect();
    // The environment has no order of its own; sorting makes the first error the same one every time.
    variables.sort();
    for (name, value) in variables {
        let keys: Vec<String> = name[env_prefix.len()..]
            .split("__")
            .map(str::to_lowercase)
            .collect();
        root.set(&keys, value, &Origin::Variable(name))?;
    }
    for (key, value) in flags {
        let keys: Vec<String> = key.split('.').map(str::to_owned).collect();
        root.set(&keys, value.clone(), &Origin::Flag((*key).to_owned()))?;
    }
    T::deserialize(reader::Reader::root(&root))
}

#[cfg(test)]
mod tests;
