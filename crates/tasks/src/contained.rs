//! Work of a single request, connection or job. If it panics, only this work fails.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::FutureExt as _;
use tokio::task::JoinHandle;

use crate::faults;
use crate::scope::{Scope, Scoped};

/// The number of panics of contained work, by name.
static PANICS: Mutex<BTreeMap<String, u64>> = Mutex::new(BTreeMap::new());

/// The work has panicked. The panic hook has logged the message and the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Panicked;

fn panics_by_name() -> MutexGuard<'static, BTreeMap<String, u64>> {
    PANICS.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn count(name: &str) {
    let mut panics = panics_by_name();
    if let Some(count) = panics.get_mut(name) {
        *count += 1;
    } else {
        panics.insert(name.to_owned(), 1);
    }
}

/// The number of panics of contained work in this process, by name.
pub fn panics() -> BTreeMap<String, u64> {
    panics_by_name().clone()
}

/// Runs `work`. If it panics, only this work fails. The caller must report the failure to those that wait for the result.
pub async fn contain<F: Future>(name: &'static str, work: F) -> Result<F::Output, Panicked> {
    let scope = Scope {
        name,
        is_contained: true,
    };
    let work = Scoped::new(scope, faults::may_strike(name, work));
    // Everything that the work shares with others is behind locks that stay usable after a panic.
    let done = AssertUnwindSafe(work).catch_unwind().await;
    done.map_err(|_logged_by_the_hook| Panicked)
}

/// Runs `work` in a task of its own. If it panics, only this work fails.
pub fn spawn_contained<F>(name: &'static str, work: F) -> JoinHandle<Result<F::Output, Panicked>>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(contain(name, work))
}
