//! Work of a single request, connection or job, whose panic is only its own.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::FutureExt as _;
use tokio::task::JoinHandle;

use crate::faults;
use crate::scope::{Scope, Scoped};

/// How often contained work has panicked, by name.
static PANICS: Mutex<BTreeMap<String, u64>> = Mutex::new(BTreeMap::new());

/// The work has panicked. What and where stands in the log.
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

/// How often contained work of this process has panicked, by name.
pub fn panics() -> BTreeMap<String, u64> {
    panics_by_name().clone()
}

/// Does `work`; if it panics, only this has failed. The caller owes it to whoever waits that he hears of it.
pub async fn contain<F: Future>(name: &'static str, work: F) -> Result<F::Output, Panicked> {
    let scope = Scope {
        name,
        is_contained: true,
    };
    let work = Scoped::new(scope, faults::may_strike(name, work));
    // Whatever the work shares with others is behind locks that outlive a panic.
    let done = AssertUnwindSafe(work).catch_unwind().await;
    done.map_err(|_logged_by_the_hook| Panicked)
}

/// Does `work` in a task of its own; if it panics, only this has failed.
pub fn spawn_contained<F>(name: &'static str, work: F) -> JoinHandle<Result<F::Output, Panicked>>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(contain(name, work))
}
