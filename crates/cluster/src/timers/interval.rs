//! A periodic timer of the kernel.
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

/// A timer that fires at once and then once per period, until it is stopped.
pub(super) struct Interval {
    timer: AsyncFd<OwnedFd>,
    period: Duration,
    is_on: bool,
}

impl Interval {
    /// Creates a stopped timer. Must be called within the runtime.
    #[expect(
        deprecated,
        reason = "deprecated for types whose descriptor may change; an owned one keeps it, and the other call is unsafe"
    )]
    pub(super) fn new(period: Duration) -> io::Result<Interval> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        Ok(Interval {
            timer: AsyncFd::with_interest(timer, Interest::READABLE)?,
            period,
            is_on: false,
        })
    }

    /// Starts or stops the timer. A running timer keeps its rhythm.
    pub(super) fn set(&mut self, is_on: bool) -> io::Result<()> {
        if self.is_on == is_on {
            return Ok(());
        }
        let period = Timespec {
            tv_sec: i64::try_from(self.period.as_secs()).map_err(io::Error::other)?,
            tv_nsec: self.period.subsec_nanos().into(),
        };
        // A zero value would disarm the timer.
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 1,
        };
        let when = Itimerspec {
            it_interval: if is_on { period } else { NEVER },
            it_value: if is_on { at_once } else { NEVER },
        };
        timerfd_settime(self.timer.get_ref(), TimerfdTimerFlags::empty(), &when)?;
        self.is_on = is_on;
        Ok(())
    }

    /// Waits until the timer fires. Several elapsed periods count as one.
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
    async fn it_rings_in_each_period_and_not_when_it_is_off() {
        let period = Duration::from_millis(20);
        let mut interval = Interval::new(period).unwrap();
        let never = timeout(period * 3, interval.rings()).await;
        assert!(never.is_err(), "it is off");
        let begun = Instant::now();
        interval.set(true).unwrap();
        for _ in 0..3 {
            interval.rings().await.unwrap();
        }
        assert!(begun.elapsed() >= period * 2);
        interval.set(false).unwrap();
        let never = timeout(period * 3, interval.rings()).await;
        assert!(never.is_err(), "it is off again");
    }
}
