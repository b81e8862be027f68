//! What the kernel counts about a process.
//!
//! Always: CPU counts with the children that have been waited for, because a Subagent's jobs are its children.

use std::collections::BTreeMap;
use std::fs;
use std::ops::{Add, Sub};
use std::time::Duration;

use anyhow::{Context as _, Result};

/// CPU time of a process.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cpu {
    pub(crate) own: Duration,
    /// Children that have ended and been waited for.
    pub(crate) children: Duration,
}

impl Cpu {
    /// Of a process.
    pub(crate) fn of(pid: u32) -> Result<Cpu> {
        let path = format!("/proc/{pid}/stat");
        let text = fs::read_to_string(&path)
            .with_context(|| format!("cannot read {path}: has the process ended?"))?;
        // The name of the program stands in brackets and may hold anything.
        let fields: Vec<&str> = text
            .rsplit_once(')')
            .map_or("", |(_, rest)| rest)
            .split_whitespace()
            .collect();
        let ticks = |at: usize| -> Result<Duration> {
            let ticks: u64 = fields
                .get(at)
                .with_context(|| format!("{path} is too short"))?
                .parse()?;
            Ok(Duration::from_millis(
                ticks * 1000 / rustix::param::clock_ticks_per_second(),
            ))
        };
        Ok(Cpu {
            own: ticks(11)? + ticks(12)?,
            children: ticks(13)? + ticks(14)?,
        })
    }

    /// Of this process.
    pub(crate) fn of_self() -> Result<Cpu> {
        Cpu::of(std::process::id())
    }

    pub(crate) fn all(self) -> Duration {
        self.own + self.children
    }
}

impl Sub for Cpu {
    type Output = Cpu;

    fn sub(self, before: Cpu) -> Cpu {
        Cpu {
            own: self.own.saturating_sub(before.own),
            children: self.children.saturating_sub(before.children),
        }
    }
}

impl Add for Cpu {
    type Output = Cpu;

    fn add(self, other: Cpu) -> Cpu {
        Cpu {
            own: self.own + other.own,
            children: self.children + other.children,
        }
    }
}

/// CPU time of all threads of this process, to the nanosecond. Threads that have ended are not in it.
pub(crate) fn own_cpu() -> Result<Duration> {
    let mut nanoseconds = 0;
    for task in fs::read_dir("/proc/self/task")? {
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else {
            continue;
        };
        nanoseconds += text.split(' ').next().unwrap_or("0").parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// Proportional set size in bytes.
pub(crate) fn proportional_set_size(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Pss:"))
        .with_context(|| format!("no Pss in {path}"))?;
    let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse()?;
    Ok(kib * 1024)
}

/// How often each thread of a process has gone to sleep and been woken since it began.
pub(crate) fn wake_ups(pid: u32) -> Result<BTreeMap<String, u64>> {
    let mut counts = BTreeMap::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let task = task?;
        let Ok(text) = fs::read_to_string(task.path().join("status")) else {
            continue;
        };
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        let count = line.unwrap_or("0").trim().parse()?;
        counts.insert(task.file_name().to_string_lossy().into_owned(), count);
    }
    Ok(counts)
}

/// The guard that a Subagent or an Agent has started beside its jobs.
pub(crate) fn guard_of(pid: u32) -> Result<Option<u32>> {
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let Ok(children) = fs::read_to_string(task?.path().join("children")) else {
            continue;
        };
        for child in children.split_whitespace() {
            // A job may have ended meanwhile.
            let command = fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
            if command.split(|byte| *byte == 0).nth(1) == Some(b"guard") {
                return Ok(Some(child.parse()?));
            }
        }
    }
    Ok(None)
}

/// How often all of them have been woken between two looks; a thread that has ended in between is left out.
pub(crate) fn wake_ups_between(
    before: &BTreeMap<String, u64>,
    after: &BTreeMap<String, u64>,
) -> u64 {
    let since = |(thread, count): (&String, &u64)| {
        count.saturating_sub(before.get(thread).copied().unwrap_or(0))
    };
    after.iter().map(since).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_about_ourselves() {
        let pid = std::process::id();
        assert!(proportional_set_size(pid).expect("there") > 100_000);
        assert!(wake_ups(pid).is_ok());
        assert!(Cpu::of(pid).is_ok());
        assert!(own_cpu().expect("there") > Duration::ZERO);
    }
}
