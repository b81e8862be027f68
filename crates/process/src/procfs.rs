//! What `/proc` tells about processes.
//! Always: a process is named by pid *and* start time, because the kernel hands out a pid again.
//! Never here: signals; see `tree`.

use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, Signal};
use std::fs;
use std::io::Read;
use std::sync::OnceLock;

/// One process for as long as the machine is up: a reused pid has another start time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Identity {
    pub(crate) pid: u32,
    /// In clock ticks since boot, field 22 of `/proc/<pid>/stat`.
    pub(crate) start: u64,
}

/// A process that was started at some time between two moments. Nobody else fits: while it was there the pid was its own, and
/// whoever has got the pid after it was started later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Born {
    pub(crate) pid: u32,
    /// The clock tick of a moment before its start, counted as in [`Identity`].
    pub(crate) after: u64,
    /// The clock tick of a moment at which it was there.
    pub(crate) until: u64,
}

impl Born {
    pub(crate) fn is(&self, id: Identity) -> bool {
        id.pid == self.pid && (self.after..=self.until).contains(&id.start)
    }
}

/// The present in clock ticks since boot, by the clock from which the kernel takes the start times of processes.
pub(crate) fn tick() -> u64 {
    let millis = crate::steady_time().as_millis();
    let ticks = millis * u128::from(rustix::param::clock_ticks_per_second()) / 1000;
    u64::try_from(ticks).unwrap_or(u64::MAX)
}

/// The fields of `/proc/<pid>/stat` that matter here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stat {
    pub(crate) id: Identity,
    pub(crate) state: u8,
    pub(crate) parent: u32,
    pub(crate) group: u32,
    pub(crate) session: u32,
}

impl Stat {
    /// A zombie holds its number but does nothing any more.
    pub(crate) fn is_alive(&self) -> bool {
        !matches!(self.state, b'Z' | b'X' | b'x')
    }
}

/// Returns whether the process exists and is not about to end. A killed process exists until the kernel has released its resources.
pub(crate) fn is_well(id: Identity) -> bool {
    let Some(line) = fs::read(format!("/proc/{}/stat", id.pid)).ok() else {
        return false;
    };
    let is_here = parse_stat(&line).is_some_and(|stat| stat.id == id && stat.is_alive());
    let status = fs::read_to_string(format!("/proc/{}/status", id.pid)).unwrap_or_default();
    is_here && !is_exiting(&line) && !is_being_killed(&status)
}

/// Returns whether the kernel's flag `PF_EXITING` is set, in field 9.
fn is_exiting(line: &[u8]) -> bool {
    const PF_EXITING: u64 = 0x4;
    let line = String::from_utf8_lossy(line);
    let rest = line.rfind(')').and_then(|at| line.get(at + 2..));
    let flags = rest.and_then(|rest| rest.split(' ').nth(6)?.parse::<u64>().ok());
    flags.is_some_and(|flags| flags & PF_EXITING != 0)
}

/// Returns whether SIGKILL is pending, according to the text of `/proc/<pid>/status`.
fn is_being_killed(status: &str) -> bool {
    // Signal n is bit n - 1.
    const KILL: u64 = 0x100;
    status.lines().any(|line| {
        let pending = line.split_once(':').and_then(|(name, mask)| {
            let mask = matches!(name, "SigPnd" | "ShdPnd").then(|| mask.trim())?;
            u64::from_str_radix(mask, 16).ok()
        });
        pending.is_some_and(|mask| mask & KILL != 0)
    })
}

pub(crate) fn kernel_pid(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

pub(crate) fn stat(pid: u32) -> Option<Stat> {
    // One read: the line has at most 52 numbers and a name of at most 64 bytes.
    let mut line = [0; 1536];
    let length = fs::File::open(format!("/proc/{pid}/stat"))
        .ok()?
        .read(&mut line)
        .ok()?;
    parse_stat(line.get(..length)?)
}

fn parse_stat(line: &[u8]) -> Option<Stat> {
    let line = String::from_utf8_lossy(line);
    let pid = line.split(' ').next()?.parse().ok()?;
    // The name stands in parentheses and may itself contain blanks and parentheses.
    let rest = line.get(line.rfind(')')? + 2..)?;
    let mut fields = rest.split(' ');
    let state = *fields.next()?.as_bytes().first()?;
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    let session = fields.next()?.parse().ok()?;
    let start = fields.nth(15)?.parse().ok()?;
    Some(Stat {
        id: Identity { pid, start },
        state,
        parent,
        group,
        session,
    })
}

/// Every process of the machine that we may see.
pub(crate) fn all() -> Vec<Stat> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return vec![];
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(stat)
        .collect()
}

/// The direct children of a process.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    if !has_children_files() {
        return children_in(&all(), pid);
    }
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return vec![];
    };
    threads
        .flatten()
        .flat_map(|thread| pids_in(&thread.path().join("children").to_string_lossy()))
        .collect()
}

fn children_in(table: &[Stat], pid: u32) -> Vec<u32> {
    let children = table.iter().filter(|process| process.parent == pid);
    children.map(|process| process.id.pid).collect()
}

/// Our children that nobody here started: the kernel hands orphans of our descendants to our first thread.
/// (That list also holds the jobs which the first thread has started itself.)
pub(crate) fn adopted() -> Vec<u32> {
    let me = std::process::id();
    if !has_children_files() {
        return children(me);
    }
    pids_in(&format!("/proc/self/task/{me}/children"))
}

pub(crate) fn pids_in(path: &str) -> Vec<u32> {
    let Ok(text) = fs::read_to_string(path) else {
        return vec![];
    };
    text.split_ascii_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect()
}

/// Kernels without `CONFIG_PROC_CHILDREN` are rare, but then the whole table must be read.
fn has_children_files() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        fs::exists(format!("/proc/self/task/{}/children", std::process::id())).unwrap_or(false)
    })
}

/// The mark that the process, or an ancestor of it, was started with.
pub(crate) fn mark_of(pid: u32) -> Option<String> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let mark = environment.split(|byte| *byte == 0).find_map(|entry| {
        entry
            .strip_prefix(crate::MARK_VARIABLE.as_bytes())?
            .strip_prefix(b"=")
    })?;
    String::from_utf8(mark.to_vec()).ok()
}

/// Opens the process if it is still the same one. Holding the descriptor first and comparing afterwards leaves no gap in
/// which the pid could go to somebody else.
fn open(id: Identity) -> Option<OwnedFd> {
    let handle = rustix::process::pidfd_open(kernel_pid(id.pid)?, PidfdFlags::empty()).ok()?;
    (stat(id.pid)?.id == id).then_some(handle)
}

/// Sends a signal to exactly this process. Tells whether it was there.
pub(crate) fn signal(id: Identity, signal: Signal) -> bool {
    open(id).is_some_and(|handle| rustix::process::pidfd_send_signal(handle, signal).is_ok())
}

pub(crate) fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .unwrap_or_default()
        .trim()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_and_parentheses_does_not_confuse_the_fields() {
        let line = b"77 (a) b) c) S 1 70 60 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 5000 200 0";
        let stat = parse_stat(line).expect("the line is complete");
        assert_eq!(
            stat.id,
            Identity {
                pid: 77,
                start: 4711
            }
        );
        assert_eq!(
            (stat.parent, stat.group, stat.session, stat.state),
            (1, 70, 60, b'S')
        );
    }

    #[test]
    fn a_process_that_is_exiting_is_recognized_by_its_flags() {
        let of = |flags: u64| format!("77 (a) b) c) S 1 70 60 0 -1 {flags} 1 0 0 0 0 0 0 0 20 0");
        assert!(is_exiting(of(0x0040_0004).as_bytes()));
        assert!(!is_exiting(of(0x0040_0040).as_bytes()));
    }

    #[test]
    fn a_process_that_is_being_killed_is_recognized_by_its_pending_signals() {
        // SIGKILL is 9, so its bit is the ninth. It may be pending for a thread or for the process.
        let table = [
            ("0000000000000000", "0000000000000000", false),
            ("0000000000000100", "0000000000000000", true),
            ("0000000000000000", "0000000000000100", true),
            ("0000000000000100", "0000000000000100", true),
            ("0000000000004200", "0000000000000301", true),
            ("fffffffffffffeff", "0000000000000080", false),
            ("", "?", false),
        ];
        for (thread, process, expected) in table {
            let status = format!(
                "Name:\tx\nSigPnd:\t{thread}\nShdPnd:\t{process}\nSigBlk:\t0000000000000100\nSigCgt:\t0000000000000100\n"
            );
            assert_eq!(is_being_killed(&status), expected, "{status}");
        }
        assert!(!is_being_killed(""));
    }

    #[test]
    fn the_children_of_a_process_are_found_without_the_help_of_the_kernel() {
        let me = std::process::id();
        let mut ours = std::process::Command::new("/bin/sleep")
            .arg("1000")
            .spawn()
            .expect("sleep can be started");
        let (found, helped) = (children_in(&all(), me), children(me));
        let of_child = children_in(&all(), ours.id());
        ours.kill().and_then(|()| ours.wait()).expect("it is ours");
        assert!(found.contains(&ours.id()) && helped.contains(&ours.id()));
        assert!(!found.contains(&me), "{found:?}");
        assert_eq!(of_child, [0; 0]);
    }

    #[test]
    fn this_process_is_found_and_alive() {
        let me = stat(std::process::id()).expect("we are running");
        assert!(me.is_alive());
        assert!(is_well(me.id) && !is_well(Identity { start: 1, ..me.id }));
        assert!(all().iter().any(|p| p.id == me.id));
    }

    #[test]
    fn a_process_is_known_by_the_moments_around_its_start() {
        let after = tick();
        let mut child = std::process::Command::new("/bin/sleep")
            .arg("1000")
            .spawn()
            .expect("sleep can be started");
        let born = Born {
            pid: child.id(),
            after,
            until: tick(),
        };
        let id = stat(child.id()).expect("it is ours").id;
        child
            .kill()
            .and_then(|()| child.wait())
            .expect("it is ours");
        assert!(born.is(id), "{born:?} {id:?}");
        let others = [
            Identity {
                start: born.until + 1,
                ..id
            },
            Identity {
                start: born.after - 1,
                ..id
            },
            Identity {
                pid: id.pid + 1,
                ..id
            },
        ];
        assert!(!others.iter().any(|other| born.is(*other)), "{born:?}");
    }

    #[test]
    fn a_signal_does_not_reach_a_process_whose_pid_was_reused() {
        let me = stat(std::process::id()).expect("we are running").id;
        let former = Identity {
            start: me.start - 1,
            ..me
        };
        assert!(
            !signal(former, Signal::KILL),
            "or this test would not have come so far"
        );
        assert!(open(me).is_some());
    }
}
