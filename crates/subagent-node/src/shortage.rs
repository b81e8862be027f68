//! Jobs that cannot be started because the machine is short of something: descriptors, processes, memory, space, inodes.
//!
//! Always: such a job waits and is retried, because nothing is wrong with it. One log line describes all waiting jobs: when the first
//! begins to wait, every minute, and at the end. Never here: which causes are a shortage; see `process::StartError`.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// The first and the longest pause between two attempts.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How often the log repeats that jobs still wait.
const REMINDER: Duration = Duration::from_mins(1);

/// Why a job has not been started.
#[derive(Debug)]
pub(crate) struct NotStarted {
    /// The cause, for the job's author or the operator.
    pub(crate) message: String,
    /// Whether a later attempt may succeed.
    pub(crate) is_shortage: bool,
}

impl NotStarted {
    /// Returns an error of the job itself.
    pub(crate) fn fault(message: impl Into<String>) -> NotStarted {
        NotStarted {
            message: message.into(),
            is_shortage: false,
        }
    }

    /// Returns an error of the system that occurred while the job was prepared.
    pub(crate) fn of(what: &str, error: &std::io::Error) -> NotStarted {
        NotStarted {
            message: format!("{what}: {error}"),
            is_shortage: process::is_shortage(error),
        }
    }
}

/// Counts the jobs that wait.
#[derive(Debug, Default)]
pub(crate) struct WaitingJobs {
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: usize,
    since: Option<Instant>,
    told: Option<Instant>,
}

/// A job that waits. It is counted until this is dropped.
#[derive(Debug)]
pub(crate) struct WaitingJob<'a> {
    jobs: &'a WaitingJobs,
    pause: Duration,
}

impl WaitingJobs {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the waiting jobs: a job has ended, so its resources may be enough for one of them.
    pub(crate) fn freed(&self) {
        if self.state().waiting > 0 {
            self.freed.notify_one();
        }
    }

    /// Registers a job that begins to wait.
    pub(crate) fn wait(&self) -> WaitingJob<'_> {
        self.state().waiting += 1;
        WaitingJob {
            jobs: self,
            pause: FIRST_PAUSE,
        }
    }

    /// Logs why jobs wait, unless this was logged recently.
    pub(crate) fn log(&self, message: &str) {
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

impl WaitingJob<'_> {
    /// Waits until the next attempt.
    pub(crate) async fn pause(&mut self) {
        tokio::select! {
            () = tokio::time::sleep(self.pause) => {
                self.pause = (self.pause * 2).min(LONGEST_PAUSE);
            }
            () = self.jobs.freed.notified() => {}
        }
    }
}

impl Drop for WaitingJob<'_> {
    fn drop(&mut self) {
        let mut state = self.jobs.state();
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
