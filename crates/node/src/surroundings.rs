//! What a process finds around it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::Arc;

/// The environment of this process, for `env('NAME')`; what is no text is left out.
pub fn environment() -> Arc<BTreeMap<Arc<str>, Arc<str>>> {
    let text = |(name, value): (OsString, OsString)| {
        let (name, value) = (name.into_string().ok()?, value.into_string().ok()?);
        Some((name.into(), value.into()))
    };
    Arc::new(std::env::vars_os().filter_map(text).collect())
}
