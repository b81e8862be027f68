//! All processes of one job, and their end.
//! Always: processes are found in every possible way (children of children, orphans of the session that were handed to this process, the
//! mark in the environment, the control group, what was remembered earlier). All processes are stopped before they are killed, so that none
//! forks during the search. A pid that was reused is never signalled.
//! Never here: when.

use crate::adoption;
use crate::cgroup::JobCgroup;
use crate::procfs::{self, Identity, Stat};
use rustix::process::Signal;
use std::collections::BTreeMap;

/// More rounds than a tree needs that does not fork faster than we look.
const MAX_ROUNDS: usize = 50;

/// Where to look. Only for a job whose main process has not been reaped: until then its number, also as the number of its
/// group, cannot belong to anybody else.
pub(crate) struct Tree<'a> {
    pub(crate) main: u32,
    pub(crate) mark: &'a str,
    pub(crate) cgroup: Option<&'a JobCgroup>,
    pub(crate) remembered: &'a [Identity],
}

impl Tree<'_> {
    /// Those who are alive now, the main process included.
    pub(crate) fn members(&self) -> Vec<Identity> {
        let mut queue = vec![self.main];
        queue.extend(
            self.remembered
                .iter()
                .filter(|id| procfs::stat(id.pid).is_some_and(|p| p.id == **id))
                .map(|id| id.pid),
        );
        queue.extend(self.cgroup.map(JobCgroup::pids).unwrap_or_default());
        queue.extend(
            adoption::strangers()
                .iter()
                .filter(|p| self.owns(p))
                .map(|p| p.id.pid),
        );
        let mut found = BTreeMap::new();
        while let Some(pid) = queue.pop() {
            if found.contains_key(&pid) {
                continue;
            }
            let Some(process) = procfs::stat(pid) else {
                continue;
            };
            queue.extend(procfs::children(pid));
            found.insert(pid, process);
        }
        found
            .into_values()
            .filter(Stat::is_alive)
            .map(|p| p.id)
            .collect()
    }

    fn owns(&self, stranger: &Stat) -> bool {
        stranger.is_alive()
            && (stranger.session == self.main
                || procfs::mark_of(stranger.id.pid).is_some_and(|mark| mark == self.mark))
    }

    /// Stops and kills everyone. Returns how many were alive.
    pub(crate) fn end(&self) -> usize {
        self.end_by(&mut |id, signal| {
            procfs::signal(id, signal);
        })
    }

    fn end_by(&self, send: &mut dyn FnMut(Identity, Signal)) -> usize {
        let mut stopped: Vec<Identity> = vec![];
        for _ in 0..MAX_ROUNDS {
            let new: Vec<_> = self
                .members()
                .into_iter()
                .filter(|id| !stopped.contains(id))
                .collect();
            if new.is_empty() {
                break;
            }
            for id in &new {
                send(*id, Signal::STOP);
            }
            stopped.extend(new);
        }
        if let Some(cgroup) = self.cgroup {
            cgroup.kill();
        }
        if let Some(group) = procfs::kernel_pid(self.main) {
            // An error means that nobody is left in it.
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
        for id in &stopped {
            send(*id, Signal::KILL);
        }
        stopped.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn all_processes_are_stopped_before_any_is_killed_and_a_fork_in_between_is_found() {
        // The second process is forked when the first one is to be stopped, like a fork that is faster than the signal.
        let mut job = Command::new("/bin/sh")
            .args(["-c", "read line; sleep 1000 & wait"])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .expect("a shell can be started");
        let mut input = job.stdin.take();
        let main = job.id();
        let tree = Tree {
            main,
            mark: "none",
            cgroup: None,
            remembered: &[],
        };
        let mut sent = vec![];
        let count = tree.end_by(&mut |id, signal| {
            sent.push((id.pid, signal));
            if let Some(input) = input.take() {
                std::io::Write::write_all(&mut { input }, b"go\n").expect("it reads");
                while procfs::children(main).is_empty() {
                    std::thread::yield_now();
                }
            }
        });
        let child = procfs::children(main);
        let _count = tree.end();
        job.wait().expect("it is ours");
        let expected = [
            (main, Signal::STOP),
            (child[0], Signal::STOP),
            (main, Signal::KILL),
            (child[0], Signal::KILL),
        ];
        sent.sort_by_key(|(_, signal)| *signal != Signal::STOP);
        assert_eq!((count, sent.as_slice()), (2, &expected[..]));
    }
}
