//! The task that a thread currently runs: its name, and whether its panics are contained.

use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The task to which the current work belongs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope {
    pub(crate) name: &'static str,
    pub(crate) on_panic: OnPanic,
}

/// The effect of a panic of the current work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnPanic {
    /// The panic ends the process.
    End,
    /// The panic fails only this work.
    Contain,
    /// The caller of the work gets the reason and decides.
    Return,
}

thread_local! {
    static CURRENT: Cell<Option<Scope>> = const { Cell::new(None) };
}

/// Returns the scope of this thread, if there is one.
pub(crate) fn current() -> Option<Scope> {
    CURRENT.get()
}

/// Runs `work` in this scope.
pub(crate) fn within<T>(scope: Scope, work: impl FnOnce() -> T) -> T {
    /// Restores the previous scope, even if the work panics.
    struct Restore(Option<Scope>);
    impl Drop for Restore {
        fn drop(&mut self) {
            CURRENT.set(self.0);
        }
    }
    let _restore = Restore(CURRENT.replace(Some(scope)));
    work()
}

/// A future that is polled in a scope.
pub(crate) struct Scoped<F> {
    scope: Scope,
    // Boxed, so that it can be polled without unsafe code.
    work: Pin<Box<F>>,
}

impl<F> Scoped<F> {
    pub(crate) fn new(scope: Scope, work: F) -> Scoped<F> {
        Scoped {
            scope,
            work: Box::pin(work),
        }
    }
}

impl<F: Future> Future for Scoped<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let scope = self.scope;
        let work = self.work.as_mut();
        within(scope, || work.poll(context))
    }
}
