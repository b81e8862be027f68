//! Wakes the loop at a time of the day.
//!
//! Always: to the fraction of a millisecond by the system's own clock, where the runtime's timers come one to two milliseconds late;
//! also at once when somebody sets that clock. Never here: what is due; the loop looks at its clock again in any case.

use std::io;
use std::os::fd::OwnedFd;

use model::Timestamp;
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

/// An alarm of the system.
#[derive(Debug)]
pub(crate) struct Alarm {
    timer: AsyncFd<OwnedFd>,
    at: Option<Timestamp>,
}

impl Alarm {
    #[expect(
        deprecated,
        reason = "deprecated for types whose descriptor may change; an owned one keeps it, and the other call is unsafe"
    )]
    pub(crate) fn new() -> io::Result<Alarm> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Realtime, flags)?;
        Ok(Alarm {
            timer: AsyncFd::with_interest(timer, Interest::READABLE)?,
            at: None,
        })
    }

    /// It is to ring once when it is `at`; what was wanted before is forgotten.
    pub(crate) fn set(&mut self, at: Option<Timestamp>) -> io::Result<()> {
        if self.at == at {
            return Ok(());
        }
        let value = at.map_or(NEVER, |at| {
            let millis = at.millis().max(0);
            Timespec {
                tv_sec: millis / 1000,
                // One nanosecond late, since a zero would mean never.
                tv_nsec: millis % 1000 * 1_000_000 + 1,
            }
        });
        let when = Itimerspec {
            it_interval: NEVER,
            it_value: value,
        };
        let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
        match timerfd_settime(self.timer.get_ref(), flags, &when) {
            // It says that the clock was set before, and is set all the same (timerfd_create(2)).
            Ok(_) | Err(Errno::CANCELED) => {}
            Err(other) => return Err(other.into()),
        }
        self.at = at;
        Ok(())
    }

    /// Comes when it rings.
    pub(crate) async fn rings(&self) {
        while let Ok(mut ready) = self.timer.readable().await {
            let rung = ready.try_io(|timer| {
                // The clock was set: nobody knows what is due now.
                match rustix::io::read(timer.get_ref(), &mut [0; 8]) {
                    Ok(_) | Err(Errno::CANCELED) => Ok(()),
                    Err(other) => Err(other.into()),
                }
            });
            match rung {
                Ok(Ok(())) => return,
                // Without it, the runtime's timers are there.
                Ok(Err(_)) => break,
                Err(_not_yet) => {}
            }
        }
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Clock as _, SystemClock};
    use std::time::Duration;

    #[tokio::test]
    async fn it_rings_once_and_not_before_its_time() {
        let mut alarm = Alarm::new().unwrap();
        let at = SystemClock.now() + Duration::from_millis(30);
        alarm.set(Some(at)).unwrap();
        alarm.rings().await;
        assert!(SystemClock.now() >= at);
        alarm.set(Some(at)).unwrap();
        let again = tokio::time::timeout(Duration::from_millis(50), alarm.rings());
        assert!(again.await.is_err(), "it has rung for that");
    }

    #[tokio::test]
    async fn what_is_past_rings_at_once_and_what_is_forgotten_never() {
        let mut alarm = Alarm::new().unwrap();
        alarm.set(Some(Timestamp::from_millis(0))).unwrap();
        alarm.rings().await;
        alarm
            .set(Some(SystemClock.now() + Duration::from_millis(20)))
            .unwrap();
        alarm.set(None).unwrap();
        let never = tokio::time::timeout(Duration::from_millis(60), alarm.rings());
        assert!(never.await.is_err());
    }
}
