//! The floors F and C: a bare durable spawner, and its chain of ten steps.
//!
//! Always: `sh -c :` in its own process group, both pipes read to their ends, a record of 300 bytes on the disk before the start
//! and another after the end.

use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::group_log::GroupLog;
use crate::procfs::Cpu;

const RECORD: [u8; 300] = [b'x'; 300];

/// What a run of the spawner took.
pub(crate) struct Spawned {
    pub(crate) elapsed: Duration,
    pub(crate) cpu: Cpu,
    pub(crate) flushes: u64,
}

/// The bare durable spawner.
pub(crate) struct Spawner {
    log: GroupLog,
}

impl Spawner {
    pub(crate) fn new(dir: &Path) -> Result<Spawner> {
        Ok(Spawner {
            log: GroupLog::create(&dir.join("floor.log"))?,
        })
    }

    /// Runs so many jobs in so many slots.
    pub(crate) fn run(&self, jobs: usize, slots: usize) -> Result<Spawned> {
        let (begin, cpu, flushes) = (Instant::now(), Cpu::of_self()?, self.log.flushes());
        let share = |slot: usize| jobs / slots + usize::from(slot < jobs % slots);
        let mut ends = Vec::new();
        std::thread::scope(|scope| {
            let slots: Vec<_> = (0..slots)
                .map(|slot| scope.spawn(move || (0..share(slot)).try_for_each(|_| self.job())))
                .collect();
            ends.extend(slots.into_iter().map(std::thread::ScopedJoinHandle::join));
        });
        for end in ends {
            let Ok(end) = end else {
                bail!("a slot of the floor has panicked")
            };
            end?;
        }
        Ok(Spawned {
            elapsed: begin.elapsed(),
            cpu: Cpu::of_self()? - cpu,
            flushes: self.log.flushes() - flushes,
        })
    }

    /// So many jobs one after another.
    pub(crate) fn chain(&self, steps: usize) -> Result<Duration> {
        let begin = Instant::now();
        for _ in 0..steps {
            self.job()?;
        }
        Ok(begin.elapsed())
    }

    fn job(&self) -> Result<()> {
        self.log.append(&RECORD)?;
        let mut command = Command::new("/bin/sh");
        command.args(["-c", ":"]).process_group(0);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let mut output = Vec::new();
        if let Some(mut pipe) = child.stdout.take() {
            pipe.read_to_end(&mut output)?;
        }
        if let Some(mut pipe) = child.stderr.take() {
            pipe.read_to_end(&mut output)?;
        }
        let status = child.wait()?;
        if !status.success() {
            bail!("sh -c : has ended with {status}");
        }
        self.log.append(&RECORD)
    }
}
