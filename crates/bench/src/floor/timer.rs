//! The floor of a start on time: a timer of the kernel, then a spawn.

use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

/// Waits until the moment `at_millis` and starts the clock program; the answer is what it reads, in nanoseconds.
pub(crate) fn start_on_time(at_millis: i64, program: &Path) -> Result<i64> {
    let timer = timerfd_create(TimerfdClockId::Realtime, TimerfdFlags::CLOEXEC)?;
    let at = Timespec {
        tv_sec: at_millis / 1000,
        tv_nsec: at_millis % 1000 * 1_000_000,
    };
    let once = Itimerspec {
        it_interval: Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        },
        it_value: at,
    };
    timerfd_settime(&timer, TimerfdTimerFlags::ABSTIME, &once)?;
    // Waits for the expiry; what is read is how often it has been.
    rustix::io::read(&timer, &mut [0; 8])?;
    let mut child = Command::new(program)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut text = String::new();
    child
        .stdout
        .take()
        .context("it was asked for")?
        .read_to_string(&mut text)?;
    child.wait()?;
    Ok(text.trim().parse()?)
}
