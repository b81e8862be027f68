//! What P2 is made of, free of the noise of the machine: how often each part calls the kernel per job, and is switched to.
//!
//! Always: `perf stat` counts in the kernel and hardly slows anything down; jobs are not counted, because they are other programs.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::throughput::through;
use crate::arguments::Extent;
use crate::figure::{Figure, number};
use crate::stack::{Placement, Stack};

const TRACEPOINTS: &str = "/sys/kernel/tracing/events/syscalls";
const ALL_CALLS: &str = "raw_syscalls:sys_enter";
const SWITCHES: &str = "context-switches";
/// Those that are told by name; the sum is of all.
const CALLS: [&str; 32] = [
    "brk",
    "clone",
    "clone3",
    "close",
    "dup3",
    "epoll_ctl",
    "epoll_wait",
    "fcntl",
    "fdatasync",
    "ftruncate",
    "futex",
    "getpid",
    "ioctl",
    "madvise",
    "mmap",
    "mprotect",
    "munmap",
    "newstat",
    "open",
    "openat",
    "pidfd_open",
    "pipe2",
    "pread64",
    "prlimit64",
    "pwrite64",
    "read",
    "recvfrom",
    "rt_sigprocmask",
    "statx",
    "unlink",
    "waitid",
    "write",
];
/// Told when there are so many per job.
const TOLD: f64 = 0.05;
/// Until `perf` counts.
const SETTLE: Duration = Duration::from_secs(2);

pub(crate) fn run(extent: &Extent) -> Result<Vec<Figure>> {
    let mut stack = Stack::start(Placement::Remote, &[])?;
    let jobs = extent.of(5000, 1000);
    through(&mut stack, "noop", "warm", jobs / 5)?;
    let mut counters = Vec::new();
    for part in stack.parts() {
        for (pid, name) in part.processes()?.into_iter().zip(["", "'s guard"]) {
            let name = format!("{}{name}", part.name);
            counters.push(Counter::start(name, pid, stack.dir.path())?);
        }
    }
    std::thread::sleep(SETTLE);
    through(&mut stack, "noop", "counted", jobs)?;
    let figures = counters.into_iter().map(|counter| counter.end(jobs));
    figures.collect()
}

/// Counts for one process.
struct Counter {
    name: String,
    perf: Child,
    file: PathBuf,
}

impl Counter {
    fn start(name: String, pid: u32, dir: &Path) -> Result<Counter> {
        let known = |call: &&&str| {
            Path::new(TRACEPOINTS)
                .join(format!("sys_enter_{call}"))
                .exists()
        };
        let mut events = format!("{ALL_CALLS},{SWITCHES}");
        for call in CALLS.iter().filter(known) {
            events.push_str(",syscalls:sys_enter_");
            events.push_str(call);
        }
        let file = dir.join(format!("{pid}.counts"));
        let perf = Command::new("perf")
            .args([
                "stat",
                "--no-inherit",
                "-x",
                ";",
                "-e",
                &events,
                "-p",
                &pid.to_string(),
                "-o",
            ])
            .arg(&file)
            .stdin(Stdio::null())
            .spawn()
            .context("perf cannot be started; it counts the system calls")?;
        Ok(Counter { name, perf, file })
    }

    fn end(mut self, jobs: usize) -> Result<Figure> {
        let pid = i32::try_from(self.perf.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.context("a pid")?, Signal::INT)?;
        self.perf.wait()?;
        let text = std::fs::read_to_string(&self.file)
            .with_context(|| format!("perf has counted nothing for {}", self.name))?;
        figure(&self.name, &text, jobs)
    }
}

fn figure(name: &str, text: &str, jobs: usize) -> Result<Figure> {
    let mut counts = counts(text, jobs);
    let mut take = |event: &str| {
        let at = counts.iter().position(|(counted, _)| *counted == event)?;
        Some(counts.swap_remove(at).1)
    };
    let (Some(all), Some(switches)) = (take(ALL_CALLS), take(SWITCHES)) else {
        bail!(
            "perf may not count system calls here; it needs root, or kernel.perf_event_paranoid=-1"
        );
    };
    counts.retain(|(_, count)| *count >= TOLD);
    counts.sort_by(|a, b| b.1.total_cmp(&a.1));
    let mut told = vec![format!("switches {}", number(switches, ""))];
    told.extend(counts.iter().map(|(event, count)| {
        let call = event.rsplit("sys_enter_").next().unwrap_or(event);
        format!("{call} {}", number(*count, ""))
    }));
    let what = format!("system calls per job, {name}");
    Ok(Figure::told("P2", &what, all, "").with(told.join(", ")))
}

/// Per job. A line begins with the count, its unit, and the event; what could not be counted has no number.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts of a measurement are small"
)]
fn counts(text: &str, jobs: usize) -> Vec<(&str, f64)> {
    let count = |line: &'_ str| line.split(';').next()?.parse::<u64>().ok();
    let event = |line| str::split(line, ';').nth(2);
    let lines = text.lines();
    lines
        .filter_map(|line| Some((event(line)?, count(line)? as f64 / jobs as f64)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_of_perf_are_told_per_job_the_most_frequent_first() {
        let text = "# started on a day\n\n50;;raw_syscalls:sys_enter;1;100.00;;\n\
            12;;context-switches;1;100.00;;\n20;;syscalls:sys_enter_read;1;100.00;;\n\
            25;;syscalls:sys_enter_close;1;100.00;;\n0;;syscalls:sys_enter_mmap;1;100.00;;\n";
        let figure = figure("subagent", text, 10).expect("all is there");
        assert_eq!(
            (
                figure.what.as_str(),
                figure.measured.as_str(),
                figure.spread.as_str()
            ),
            (
                "system calls per job, subagent",
                "5.00",
                "switches 1.20, close 2.50, read 2.00"
            )
        );
        let refused = "<not supported>;;raw_syscalls:sys_enter;0;100.00;;\n";
        assert!(super::figure("subagent", refused, 10).is_err());
    }
}
