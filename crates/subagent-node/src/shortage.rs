//! Jobs that cannot be started because the machine is short of something: descriptors, processes, memory, space, inodes.
//!
//! Always: such a job waits and is tried again, because nothing is wrong with it; the log says so at the beginning, every minute, and
//! at the end, once for all jobs that wait. Never here: which causes are a shortage; see `process::StartError`.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Pauses between two tries: the first, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How often the log says that jobs still wait.
const REMINDER: Duration = Duration::from_mins(1);

/// Why a job has not been started.
#[derive(Debug)]
pub(crate) struct NotStarted {
    /// For the job's author or the operator.
    pub(crate) message: String,
    /// It can be tried again.
    pub(crate) is_shortage: bool,
}

impl NotStarted {
    /// The job's own fault.
    pub(crate) fn fault(message: impl Into<String>) -> NotStarted {
        NotStarted {
            message: message.into(),
            is_shortage: false,
        }
    }

    /// An error of the system while something was prepared for the job.
    pub(crate) fn of(what: &str, error: &std::io::Error) -> NotStarted {
        NotStarted {
            message: format!("{what}: {error}"),
            is_shortage: process::is_shortage(error),
        }
    }
}

/// The jobs that wait.
#[derive(Debug, Default)]
pub(crate) struct Shortage {
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: usize,
    since: Option<Instant>,
    told: Option<Instant>,
}

/// One job that waits. Counted until it is dropped.
#[derive(Debug)]
pub(crate) struct Waiting<'a> {
    shortage: &'a Shortage,
    pause: Duration,
}

impl Shortage {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A job has ended: one that waits may be tried at once.
    pub(crate) fn freed(&self) {
        if self.state().waiting > 0 {
            self.freed.notify_one();
        }
    }

    /// A job begins to wait.
    pub(crate) fn wait(&self) -> Waiting<'_> {
        self.state().waiting += 1;
        Waiting {
            shortage: self,
            pause: FIRST_PAUSE,
        }
    }

    /// Logs why jobs wait, unless that was logged lately.
    pub(crate) fn tell(&self, message: &str) {
        let now = Instant::now();
        let mut state = self.state();
        let since = *state.since.get_or_insert(now);
        if state.told.is_some_and(|told| now < told + REMINDER) {
            return;
        }
        state.told = Some(now);
        let (waiting, waited) = (state.waiting, now - since);
        drop(state);
        tracing::warn!(
            waiting,
            ?waited,
            reason = message,
            "jobs wait, because this machine is short of something they need; they are tried again"
        );
    }
}

impl Waiting<'_> {
    /// Waits for the next try.
    pub(crate) async fn pause(&mut self) {
        tokio::select! {
            () = tokio::time::sleep(self.pause) => {
                self.pause = (self.pause * 2).min(LONGEST_PAUSE);
            }
            () = self.shortage.freed.notified() => {}
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.shortage.state();
        state.waiting -= 1;
        if state.waiting == 0
            && let Some(since) = state.since.take()
        {
            state.told = None;
            let waited = since.elapsed();
            drop(state);
            tracing::info!(?waited, "no job waits for the machine any more");
        }
    }
}
