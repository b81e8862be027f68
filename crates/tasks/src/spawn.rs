//! Starts tasks and threads.

use std::convert::Infallible;
use std::io;
use std::thread;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::failure::fail;
use crate::faults;
use crate::scope::{self, OnPanic, Scope, Scoped};

fn of_the_part(name: &'static str) -> Scope {
    Scope {
        name,
        on_panic: OnPanic::End,
    }
}

/// Starts a task that may end by itself, when its work is done or no longer needed.
pub fn spawn<F>(name: &'static str, work: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let work = faults::may_strike(name, work);
    tokio::spawn(Scoped::new(of_the_part(name), work))
}

/// Starts a task that never ends by itself. The caller aborts it.
pub fn spawn_endless<F>(name: &'static str, work: F) -> JoinHandle<Infallible>
where
    F: Future<Output = Infallible> + Send + 'static,
{
    spawn(name, work)
}

/// Starts a task that must not end before `stop` is cancelled. If the task ends earlier, the process fails.
pub fn spawn_until<F>(
    name: &'static str,
    stop: CancellationToken,
    work: F,
) -> JoinHandle<Option<F::Output>>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    spawn(name, async move {
        let result = faults::may_end(name, work).await;
        if !stop.is_cancelled() {
            tracing::error!(
                task = name,
                "a task has ended by itself, which is a fault of the program: the process ends and must be restarted"
            );
            fail(format!("the task {name} has ended without being told to"));
        }
        result
    })
}

/// Runs blocking work on a thread for such work. A panic counts as a panic of the calling task. The caller must handle the error of the
/// handle.
pub fn spawn_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    let scope = scope::current().unwrap_or(of_the_part("blocking"));
    tokio::task::spawn_blocking(move || scope::within(scope, work))
}

/// Starts a thread. Its loop should call [`crate::fault_point`], so that tests can make it panic.
pub fn spawn_thread(
    name: &'static str,
    stack_bytes: usize,
    work: impl FnOnce() + Send + 'static,
) -> io::Result<thread::JoinHandle<()>> {
    let builder = thread::Builder::new()
        .name(name.to_owned())
        .stack_size(stack_bytes);
    faults::note(name);
    builder.spawn(move || {
        scope::within(of_the_part(name), || {
            faults::fault_point(name);
            work();
        });
    })
}
