//! Which children of this process are jobs, and which are strangers: orphans of jobs that the kernel handed to us because
//! we are a subreaper.
//! Always: a stranger that died is reaped; a job is reaped only by the one who runs it, so its exit status is never lost.
//! Never: children that somebody else in this process started in our own process group are not touched.

use crate::procfs::{self, Identity, kernel_pid};
use rustix::process::{WaitId, WaitIdOptions, WaitIdStatus};
use std::collections::{BTreeSet, HashSet};
use std::io;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

/// One for the whole process, because children belong to the process and not to a `Ward`.
static REGISTRY: LazyLock<Mutex<Registry>> = LazyLock::new(Mutex::default);

#[derive(Default)]
struct Registry {
    jobs: HashSet<u32>,
    /// Killed jobs for which nobody waits.
    abandoned: Vec<u32>,
    /// Tickets of starts under way: their child exists in the kernel but is not yet in `jobs`.
    starting: BTreeSet<u64>,
    next_ticket: u64,
    /// Dead strangers seen at the last sweep, with the first ticket that was not yet given out then.
    seen: Vec<(Identity, u64)>,
}

fn registry() -> MutexGuard<'static, Registry> {
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The time between asking the kernel for a child and knowing its pid.
pub(crate) struct Starting(u64);

impl Starting {
    pub(crate) fn begin() -> Self {
        let mut registry = registry();
        let ticket = registry.next_ticket;
        registry.next_ticket += 1;
        registry.starting.insert(ticket);
        Self(ticket)
    }

    pub(crate) fn became(self, pid: u32) {
        let mut registry = registry();
        registry.jobs.insert(pid);
        registry.starting.remove(&self.0);
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        registry().starting.remove(&self.0);
    }
}

/// Takes the exit status of a job that has ended, or returns `None` while it runs.
pub(crate) fn reap(pid: u32) -> io::Result<Option<WaitIdStatus>> {
    // Under the lock, because after the reaping the kernel may give the same number to the next job at once.
    let mut registry = registry();
    let status = wait_for(pid, WaitIdOptions::EXITED | WaitIdOptions::NOHANG)?;
    if status.is_some() {
        registry.jobs.remove(&pid);
    }
    Ok(status)
}

/// Whether the job has ended. It stays a zombie, and so keeps its number and its group's, until `reap`.
pub(crate) fn has_ended(pid: u32) -> io::Result<bool> {
    Ok(wait_for(
        pid,
        WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT,
    )?
    .is_some())
}

fn wait_for(pid: u32, options: WaitIdOptions) -> io::Result<Option<WaitIdStatus>> {
    let pid = kernel_pid(pid).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(rustix::process::waitid(WaitId::Pid(pid), options)?)
}

/// Nobody waits for this job any more: it is reaped at a sweep.
pub(crate) fn abandon(pid: u32) {
    registry().abandoned.push(pid);
}

/// Our adopted children that are not jobs.
pub(crate) fn strangers() -> Vec<procfs::Stat> {
    // Zero where the leader of our group is outside our PID namespace, which getpgrp cannot express.
    let own_group = procfs::stat(std::process::id()).map_or(0, |own| own.group);
    let adopted = procfs::adopted();
    let known: Vec<u32> = {
        let registry = registry();
        adopted
            .into_iter()
            .filter(|pid| !registry.jobs.contains(pid))
            .collect()
    };
    known
        .into_iter()
        .filter_map(procfs::stat)
        .filter(|p| p.group != own_group)
        .collect()
}

/// Reaps abandoned jobs, and strangers that were dead at the last sweep already. Returns how many there still are, alive or dead.
///
/// The second look is needed because a dead child that is no job may be a job whose start is not yet registered: it is
/// taken for a stranger only when every start that was under way at the first look is over.
pub(crate) fn sweep() -> usize {
    let strangers = strangers();
    let mut registry = registry();
    let abandoned = std::mem::take(&mut registry.abandoned);
    for pid in abandoned {
        match wait_for(pid, WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
            Ok(None) => registry.abandoned.push(pid),
            Ok(Some(_)) | Err(_) => drop(registry.jobs.remove(&pid)),
        }
    }
    let mut remaining = registry.abandoned.len();
    let mut seen = vec![];
    for stranger in &strangers {
        if registry.jobs.contains(&stranger.id.pid) {
            continue;
        }
        if stranger.is_alive() {
            remaining += 1;
            continue;
        }
        let first_look = registry
            .seen
            .iter()
            .find(|(id, _)| *id == stranger.id)
            .map(|(_, ticket)| *ticket);
        let ticket = first_look.unwrap_or(registry.next_ticket);
        let is_settled = registry
            .starting
            .first()
            .is_none_or(|oldest| *oldest >= ticket);
        if first_look.is_some() && is_settled {
            // An error means that somebody else has taken it, which is as good.
            drop(wait_for(
                stranger.id.pid,
                WaitIdOptions::EXITED | WaitIdOptions::NOHANG,
            ));
        } else {
            remaining += 1;
            seen.push((stranger.id, ticket));
        }
    }
    registry.seen = seen;
    remaining
}
