//! The machine as two: each half of its processors for what would stand on a machine of its own.
//!
//! Always: of the processors that this program may use at all. Whatever a thread starts later stays in the same half.

use std::fs;

use anyhow::{Context as _, Result};
use rustix::thread::{CpuSet, Pid, sched_getaffinity, sched_setaffinity};

#[derive(Clone, Copy)]
pub(crate) struct Halves {
    /// For this program and what it talks to.
    pub(crate) here: CpuSet,
    /// For the other machine.
    pub(crate) there: CpuSet,
    whole: CpuSet,
}

impl Halves {
    /// Nothing on a machine with one processor.
    pub(crate) fn of_this_machine() -> Result<Option<Halves>> {
        let whole = sched_getaffinity(None)?;
        let (mut here, mut there) = (CpuSet::new(), CpuSet::new());
        let usable = (0..CpuSet::MAX_CPU).filter(|&at| whole.is_set(at));
        let half = whole.count() as usize / 2;
        for (count, at) in usable.enumerate() {
            if count < half {
                here.set(at);
            } else {
                there.set(at);
            }
        }
        Ok((half > 0).then_some(Halves { here, there, whole }))
    }

    /// Puts this program here.
    pub(crate) fn begin(&self) -> Result<()> {
        put(std::process::id(), &self.here)
    }

    /// This program anywhere again.
    pub(crate) fn end(&self) -> Result<()> {
        put(std::process::id(), &self.whole)
    }
}

/// Puts all threads of a process there, and what they start from now on.
pub(crate) fn put(pid: u32, processors: &CpuSet) -> Result<()> {
    let path = format!("/proc/{pid}/task");
    for entry in fs::read_dir(&path).with_context(|| format!("cannot read {path}"))? {
        let thread: i32 = entry?.file_name().to_string_lossy().parse()?;
        match sched_setaffinity(Pid::from_raw(thread), processors) {
            // It has just ended.
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => {
                return Err(error).with_context(|| format!("cannot move thread {thread}"));
            }
        }
    }
    Ok(())
}

/// Puts the thread that calls there.
pub(crate) fn put_this_thread(processors: &CpuSet) -> Result<()> {
    Ok(sched_setaffinity(None, processors)?)
}
