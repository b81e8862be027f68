//! One running job as seen by those who signal it, keep it, or wait for it.
//! Always: signals are sent under the same lock under which the main process is reaped, so they never reach a stranger.

use crate::cgroup::JobCgroup;
use crate::ledger::Entry;
use crate::procfs::Identity;
use crate::tree::Tree;
use crate::ward::WardCore;
use crate::{adoption, procfs};
use rustix::process::Signal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use tokio::time::Instant;

#[derive(Debug)]
pub(crate) struct Job {
    /// The main process's pid. It is its own until the process is reaped, so nothing else is needed to know it by.
    pub(crate) main: u32,
    pub(crate) mark: String,
    pub(crate) entry: Entry,
    pub(crate) tag: String,
    pub(crate) ward: Arc<WardCore>,
    /// Wakes the one who waits for the job's events.
    pub(crate) changed: Notify,
    is_settled: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    is_reaped: bool,
    /// Asked or forced to end: then nothing of it may stay.
    is_asked: bool,
    killed_at: Option<Instant>,
    /// Its descendants just before SIGTERM; afterwards some may no longer be recognizable as such.
    remembered: Vec<Identity>,
    cgroup: Option<JobCgroup>,
    /// The keeper is moving it into a control group; until that is done its pid must stay its own.
    is_moving: bool,
}

/// What `Job::finish` has come to.
pub(crate) enum Finish {
    /// The keeper is at it, or killed processes are still on their way out.
    NotYet { is_moving: bool },
    /// Without a status if the system has lost it, which was told when it was noticed.
    Done(Option<rustix::process::WaitIdStatus>),
}

impl Job {
    pub(crate) fn new(
        main: u32,
        mark: String,
        entry: Entry,
        tag: String,
        ward: Arc<WardCore>,
    ) -> Self {
        Self {
            main,
            mark,
            entry,
            tag,
            ward,
            changed: Notify::new(),
            is_settled: AtomicBool::new(false),
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tree<'a>(&'a self, state: &'a State) -> Tree<'a> {
        Tree {
            main: self.main,
            mark: &self.mark,
            cgroup: state.cgroup.as_ref(),
            remembered: &state.remembered,
        }
    }

    pub(crate) fn terminate(&self) {
        let mut state = self.state();
        if state.is_reaped {
            return;
        }
        state.is_asked = true;
        let members = self.tree(&state).members();
        state
            .remembered
            .extend(members.into_iter().filter(|id| id.pid != self.main));
        if let Some(pid) = procfs::kernel_pid(self.main) {
            // An error means that it has ended by itself.
            let _ = rustix::process::kill_process(pid, Signal::TERM);
        }
    }

    pub(crate) fn kill(&self) {
        let mut state = self.state();
        if state.is_reaped {
            return;
        }
        state.is_asked = true;
        state.killed_at.get_or_insert_with(Instant::now);
        let count = self.tree(&state).end();
        tracing::debug!(
            job = self.tag,
            pid = self.main,
            count,
            "SIGKILL to the job's processes"
        );
        drop(state);
        self.changed.notify_one();
    }

    /// Returns at most `count` of the job's living processes, without the main one.
    pub(crate) fn others(&self, count: usize) -> Vec<u32> {
        let state = self.state();
        if state.is_reaped {
            return Vec::new();
        }
        let members = self.tree(&state).members().into_iter().map(|id| id.pid);
        members
            .filter(|pid| *pid != self.main)
            .take(count)
            .collect()
    }

    pub(crate) fn killed_at(&self) -> Option<Instant> {
        self.state().killed_at
    }

    /// Called when the main process is dead and the pipes are closed: ends what may not stay and takes the exit status.
    /// With `is_patient` it waits for killed processes to be gone.
    pub(crate) fn finish(&self, ends_all: bool, is_patient: bool) -> Finish {
        let mut state = self.state();
        if state.is_moving {
            return Finish::NotYet { is_moving: true };
        }
        let ends_all = ends_all || state.is_asked;
        if ends_all && self.tree(&state).end() > 0 && is_patient {
            return Finish::NotYet { is_moving: false };
        }
        let status = adoption::reap(self.main).ok().flatten();
        state.is_reaped = true;
        let cgroup = state.cgroup.take();
        drop(state);
        self.ward.ledger.ended(self.entry);
        self.ward.keeper.ended(cgroup, ends_all);
        Finish::Done(status)
    }

    /// Nobody waits for it any more.
    pub(crate) fn abandon(&self) {
        self.kill();
        let mut state = self.state();
        if state.is_reaped {
            return;
        }
        state.is_reaped = true;
        let cgroup = state.cgroup.take();
        adoption::abandon(self.main);
        drop(state);
        self.ward.ledger.ended(self.entry);
        self.ward.keeper.ended(cgroup, true);
    }

    /// It has lived longer than most: from now on it is worth more effort.
    pub(crate) fn settle(&self) {
        self.is_settled.store(true, Ordering::Relaxed);
        self.changed.notify_one();
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.is_settled.load(Ordering::Relaxed)
    }

    /// Moves the job with all it has forked into its control group. Takes 10 ms or more: only for the keeper, once per job.
    pub(crate) fn move_into_cgroup(&self) {
        let Some(root) = &self.ward.cgroups else {
            return;
        };
        {
            let mut state = self.state();
            if state.is_reaped {
                return;
            }
            state.is_moving = true;
        }
        let moved = root
            .make_job(self.entry.number)
            .inspect(|cgroup| self.enter_all(cgroup));
        let mut state = self.state();
        state.is_moving = false;
        match moved {
            Ok(cgroup) if state.is_reaped => self.ward.keeper.ended(Some(cgroup), state.is_asked),
            Ok(cgroup) => state.cgroup = Some(cgroup),
            Err(error) => tracing::warn!(%error, job = self.tag, "the job gets no control group"),
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Until nobody is found outside: whoever is inside forks inside.
    fn enter_all(&self, cgroup: &JobCgroup) {
        let mut tried: Vec<Identity> = vec![];
        for _ in 0..10 {
            let tree = Tree {
                main: self.main,
                mark: &self.mark,
                cgroup: Some(cgroup),
                remembered: &[],
            };
            let inside = cgroup.pids();
            let outside: Vec<_> = tree
                .members()
                .into_iter()
                .filter(|id| !inside.contains(&id.pid) && !tried.contains(id))
                .collect();
            if outside.is_empty() {
                return;
            }
            for id in &outside {
                // An error means that it has just ended.
                drop(cgroup.enter(id.pid));
                if procfs::stat(id.pid).is_none_or(|p| p.id != *id) {
                    // The number went to somebody else in that instant, or to nobody.
                    cgroup.detach(id.pid);
                }
            }
            tried.extend(outside);
        }
    }
}
