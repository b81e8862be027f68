//! Work of a single request, connection or job. If it panics, only this work fails.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::FutureExt as _;
use tokio::task::JoinHandle;

use crate::failure;
use crate::faults;
use crate::scope::{self, OnPanic, Scope, Scoped};

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

/// Returns the number of panics of contained work in this process, by name.
pub fn panics() -> BTreeMap<String, u64> {
    panics_by_name().clone()
}

/// Runs `work`. If it panics, only this work fails. The caller must report the failure to all that wait for the result.
pub async fn contain<F: Future>(name: &'static str, work: F) -> Result<F::Output, Panicked> {
    let scope = Scope {
        name,
        on_panic: OnPanic::Contain,
    };
    let work = Scoped::new(scope, faults::may_strike(name, work));
    // Everything that the work shares with other tasks is behind locks that stay usable after a panic.
    let done = AssertUnwindSafe(work).catch_unwind().await;
    done.map_err(|_logged_by_the_hook| Panicked)
}

/// Runs `work`, which does not wait. If `work` panics, the error contains the place and the reason. The caller must not use anything that
/// `work` may have changed only in part.
pub fn catch<T>(name: &'static str, work: impl FnOnce() -> T) -> Result<T, String> {
    let scope = Scope {
        name,
        on_panic: OnPanic::Return,
    };
    std::panic::catch_unwind(AssertUnwindSafe(|| scope::within(scope, work))).map_err(|panic| {
        failure::take_last_panic().unwrap_or_else(|| {
            // Without the panic hook, the place is unknown.
            let text = panic.downcast_ref::<&str>().copied();
            let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
            text.unwrap_or("a panic without a message").to_owned()
        })
    })
}

/// Runs `work` in a task of its own. If it panics, only this work fails.
pub fn spawn_contained<F>(name: &'static str, work: F) -> JoinHandle<Result<F::Output, Panicked>>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(contain(name, work))
}
