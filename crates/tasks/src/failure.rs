//! The failure of a task, which is a failure of the process.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::RefCell;
use std::panic::PanicHookInfo;
use std::sync::LazyLock;
use std::thread;

use tokio::sync::watch;

use crate::contained;
use crate::scope::{self, OnPanic};

/// The first failure of this process.
static FAILURE: LazyLock<watch::Sender<Option<String>>> =
    LazyLock::new(|| watch::Sender::new(None));

thread_local! {
    /// The reason of the newest panic of this thread that is returned to the caller of the work.
    static LAST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

pub(crate) fn take_last_panic() -> Option<String> {
    LAST_PANIC.take()
}

/// Resolves with the reason when a task of this process has failed. The process must end at once.
pub async fn failed() -> String {
    let mut failure = FAILURE.subscribe();
    match failure.wait_for(Option::is_some).await {
        Ok(reason) => reason.clone().unwrap_or_default(),
        // The sender is never dropped.
        Err(_closed) => std::future::pending().await,
    }
}

/// Records a failure. Only the first failure is kept.
pub(crate) fn fail(reason: String) {
    FAILURE.send_if_modified(|known| {
        let is_first = known.is_none();
        known.get_or_insert(reason);
        is_first
    });
}

/// Installs a hook that logs panics instead of writing them to standard error, where the write could block. A panic of work that is not
/// contained becomes a failure of the process. For processes that run a part.
pub fn install_panic_hook() {
    std::panic::set_hook(Box::new(on_panic));
}

fn on_panic(info: &PanicHookInfo<'_>) {
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let what = info.payload_as_str().unwrap_or("(no message)");
    let scope = scope::current();
    let thread = thread::current();
    let task = scope.map_or_else(|| thread.name().unwrap_or("unnamed"), |scope| scope.name);
    // The backtrace is captured only if RUST_BACKTRACE requests it.
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then_some(backtrace);
    let backtrace = backtrace.as_ref().map(tracing::field::display);
    match scope.map_or(OnPanic::End, |scope| scope.on_panic) {
        OnPanic::Contain => {
            contained::count(task);
            tracing::error!(
                task,
                place,
                what,
                backtrace,
                "a panic, which is a fault of the program: this work has failed, everything else continues"
            );
        }
        OnPanic::Return => {
            tracing::error!(
                task,
                place,
                what,
                backtrace,
                "a panic, which is a fault of the program"
            );
            LAST_PANIC.set(Some(format!("a panic at {place}: {what}")));
        }
        OnPanic::End => {
            tracing::error!(
                task,
                place,
                what,
                backtrace,
                "a panic, which is a fault of the program: the process ends and must be restarted"
            );
            fail(format!("the task {task} has panicked at {place}: {what}"));
        }
    }
}
