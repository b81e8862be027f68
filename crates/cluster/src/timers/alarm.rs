//! A timer of the kernel.
//!
//! The runtime's timers wake a thread twice for most waits of more than about 64 ms: once to sort the timer anew, and once when it is due.
//! A member waits so for every heartbeat, so it uses a timer that wakes it only once.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

const NEVER: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// A timer that fires once each time it is set.
pub(crate) struct Alarm {
    timer: AsyncFd<OwnedFd>,
}

impl Alarm {
    /// Creates a timer that is not set. Must be called within the runtime.
    #[expect(
        deprecated,
        reason = "deprecated for types whose descriptor may change; an owned one keeps it, and the other call is unsafe"
    )]
    pub(super) fn new() -> io::Result<Alarm> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        Ok(Alarm {
            timer: AsyncFd::with_interest(timer, Interest::READABLE)?,
        })
    }

    /// Lets the timer fire after this time instead of the time for which it was set before. Wakes nobody.
    pub(crate) fn ring_after(&self, wait: Duration) -> io::Result<()> {
        // A zero value would stop the timer.
        let wait = wait.max(Duration::from_nanos(1));
        self.set(Timespec {
            tv_sec: i64::try_from(wait.as_secs()).map_err(io::Error::other)?,
            tv_nsec: wait.subsec_nanos().into(),
        })
    }

    /// Stops the timer.
    pub(super) fn stop(&self) -> io::Result<()> {
        self.set(NEVER)
    }

    fn set(&self, wait: Timespec) -> io::Result<()> {
        let when = Itimerspec {
            it_interval: NEVER,
            it_value: wait,
        };
        timerfd_settime(self.timer.get_ref(), TimerfdTimerFlags::empty(), &when)?;
        Ok(())
    }

    /// Waits until the timer fires.
    pub(super) async fn rings(&self) -> io::Result<()> {
        loop {
            let mut ready = self.timer.readable().await?;
            let rung = ready.try_io(
                |timer| match rustix::io::read(timer.get_ref(), &mut [0; 8]) {
                    Ok(_) => Ok(()),
                    Err(Errno::AGAIN) => Err(io::ErrorKind::WouldBlock.into()),
                    Err(other) => Err(other.into()),
                },
            );
            if let Ok(rung) = rung {
                return rung;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;
    use tokio::time::timeout;

    #[tokio::test]
    async fn it_rings_once_after_the_time_that_was_set_last() {
        let wait = Duration::from_millis(20);
        let alarm = Alarm::new().unwrap();
        let never = timeout(wait * 3, alarm.rings()).await;
        assert!(never.is_err(), "it is not set");
        let begun = Instant::now();
        alarm.ring_after(wait).unwrap();
        alarm.ring_after(wait * 2).unwrap();
        alarm.rings().await.unwrap();
        assert!(begun.elapsed() >= wait * 2);
        let never = timeout(wait * 3, alarm.rings()).await;
        assert!(never.is_err(), "it rings once");
        alarm.ring_after(wait).unwrap();
        alarm.stop().unwrap();
        let never = timeout(wait * 3, alarm.rings()).await;
        assert!(never.is_err(), "it is stopped");
    }
}
