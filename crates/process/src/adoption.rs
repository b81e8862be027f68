//! Which children of this process are jobs, and which are strangers: orphans of jobs that the kernel handed to us because
//! we are a subreaper.
//! Always: a stranger that died is reaped; a job is reaped only by the one who runs it, so its exit status is never lost.
//! Never: children that somebody else in this process started in our own process group are not touched.

use crate::procfs::{self, Identity, kernel_pid};
use rustix::process::{WaitId, WaitIdOptions, WaitIdStatus};
use std::collections::{BTreeSet, HashSet};
use std::io;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

/// Takes the exit status of a child that has ended, without waiting for it.
const TAKE: WaitIdOptions = WaitIdOptions::EXITED.union(WaitIdOptions::NOHANG);
/// Looks whether a child has ended, and leaves its exit status where it is.
const LOOK: WaitIdOptions = TAKE.union(WaitIdOptions::NOWAIT);

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

impl Registry {
    /// A start begins. Returns its ticket, which no other start has.
    fn begin(&mut self) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.starting.insert(ticket);
        ticket
    }

    /// Takes one look at children that were no jobs a moment ago. Returns those that are to be reaped now, and the number of the others.
    ///
    /// The second look is needed because a dead child that is no job may be a job whose start is not yet registered: it is
    /// taken for an orphan only when every start that was under way at the first look is over.
    fn look_at(&mut self, orphans: &[procfs::Stat]) -> (Vec<u32>, usize) {
        let (mut reapable, mut remaining, mut seen) = (vec![], 0, vec![]);
        for orphan in orphans {
            if self.jobs.contains(&orphan.id.pid) {
                continue;
            }
            if orphan.is_alive() {
                remaining += 1;
                continue;
            }
            let mut looks = self.seen.iter();
            let first_look = looks.find(|(id, _)| *id == orphan.id);
            let ticket = first_look.map_or(self.next_ticket, |(_, ticket)| *ticket);
            let is_settled = self.starting.first().is_none_or(|oldest| *oldest >= ticket);
            if first_look.is_some() && is_settled {
                reapable.push(orphan.id.pid);
            } else {
                remaining += 1;
                seen.push((orphan.id, ticket));
            }
        }
        self.seen = seen;
        (reapable, remaining)
    }
}

fn registry() -> MutexGuard<'static, Registry> {
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The time between asking the kernel for a child and knowing its pid.
pub(crate) struct Starting(u64);

impl Starting {
    pub(crate) fn begin() -> Self {
        Self(registry().begin())
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
    let status = wait_for(pid, TAKE)?;
    if status.is_some() {
        registry.jobs.remove(&pid);
    }
    Ok(status)
}

/// Whether the job has ended. It stays a zombie, and so keeps its number and its group's, until `reap`.
pub(crate) fn has_ended(pid: u32) -> io::Result<bool> {
    Ok(wait_for(pid, LOOK)?.is_some())
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
pub(crate) fn sweep() -> usize {
    let strangers = strangers();
    let mut registry = registry();
    let abandoned = std::mem::take(&mut registry.abandoned);
    for pid in abandoned {
        match wait_for(pid, TAKE) {
            Ok(None) => registry.abandoned.push(pid),
            Ok(Some(_)) | Err(_) => drop(registry.jobs.remove(&pid)),
        }
    }
    let (reapable, remaining) = registry.look_at(&strangers);
    for pid in reapable {
        // An error means that somebody else has taken it, which is as good.
        drop(wait_for(pid, TAKE));
    }
    registry.abandoned.len() + remaining
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orphan(pid: u32, start: u64, state: u8) -> procfs::Stat {
        procfs::Stat {
            id: Identity { pid, start },
            state,
            parent: 1,
            group: pid,
            session: pid,
        }
    }

    #[test]
    fn a_dead_orphan_is_reaped_at_the_second_look_when_it_cannot_be_a_job_that_is_starting() {
        let mut registry = Registry::default();
        let dead = [orphan(7, 100, b'Z')];
        assert_eq!(registry.look_at(&dead), (vec![], 1), "the first look");
        assert_eq!(registry.look_at(&dead), (vec![7], 0), "the second look");
        assert_eq!(registry.look_at(&[]), (vec![], 0));
        assert_eq!(registry.look_at(&dead), (vec![], 1), "it is new again");

        let [first, second] = [registry.begin(), registry.begin()];
        let same_pid = [orphan(7, 101, b'Z')];
        assert_eq!(registry.look_at(&same_pid), (vec![], 1), "another process");
        let later = registry.begin();
        registry.starting.remove(&first);
        assert_eq!(
            registry.look_at(&same_pid),
            (vec![], 1),
            "the second start was under way at the first look and may have become it"
        );
        registry.starting.remove(&second);
        assert_eq!(
            registry.look_at(&same_pid),
            (vec![7], 0),
            "a start that began after the first look did not become it"
        );
        registry.starting.remove(&later);
    }

    #[test]
    fn an_orphan_that_lives_and_a_job_are_not_reaped() {
        let mut registry = Registry::default();
        registry.jobs.insert(8);
        let children = [
            orphan(7, 100, b'S'),
            orphan(8, 100, b'Z'),
            orphan(9, 100, b'S'),
        ];
        for _ in 0..3 {
            assert_eq!(registry.look_at(&children), (vec![], 2));
        }
    }

    #[test]
    fn the_exit_status_of_a_job_stays_until_it_is_taken() {
        let starting = Starting::begin();
        let ticket = starting.0;
        let mut child = std::process::Command::new("/bin/sh")
            .args(["-c", "read line; exit 3"])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .expect("a shell can be started");
        let pid = child.id();
        starting.became(pid);
        assert!(registry().jobs.contains(&pid), "it is known as a job");
        assert!(!registry().starting.contains(&ticket));
        assert!(!has_ended(pid).expect("it is ours"), "it waits for a line");
        assert!(reap(pid).expect("it is ours").is_none());
        assert!(registry().jobs.contains(&pid), "it still runs");
        drop(child.stdin.take());
        while !has_ended(pid).expect("it is ours") {
            std::thread::yield_now();
        }
        let status = reap(pid).expect("still there").expect("it has ended");
        assert_eq!(status.exit_status(), Some(3));
        assert!(!registry().jobs.contains(&pid));
        assert!(
            has_ended(pid).is_err() && child.wait().is_err(),
            "taken once"
        );
    }
}
