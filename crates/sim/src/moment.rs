//! Virtual time: microseconds since the world began, and what a node's clock shows of it.
//!
//! Always: the world's time only goes forward; a node's clock may be wrong and may jump.

use model::Timestamp;
use std::fmt;
use std::time::Duration;

/// 2026-01-05T00:00:00Z, when every world begins.
const BEGIN_MILLIS: i64 = 1_767_571_200_000;

/// A point in the world's time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

impl Moment {
    /// The moment `after` this one.
    #[must_use]
    pub fn plus(self, after: Duration) -> Moment {
        Moment(
            self.0
                .saturating_add(u64::try_from(after.as_micros()).unwrap_or(u64::MAX)),
        )
    }

    /// The time from `earlier` to this moment; zero if it is not earlier.
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// What a right clock shows.
    pub fn timestamp(self) -> Timestamp {
        Timestamp::from_millis(BEGIN_MILLIS + i64::try_from(self.0 / 1000).unwrap_or(i64::MAX / 2))
    }
}

impl fmt::Display for Moment {
    /// Days, hours, minutes and seconds: `1d02:03:04.567890`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0 / 1_000_000;
        let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
        write!(
            f,
            "{days}d{hours:02}:{minutes:02}:{:02}.{:06}",
            seconds % 60,
            self.0 % 1_000_000
        )
    }
}

/// The clock of a node.
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalClock {
    /// How many milliseconds it is ahead of the world.
    pub ahead: i64,
}

impl LocalClock {
    /// What it shows.
    pub fn at(self, now: Moment) -> Timestamp {
        Timestamp::from_millis(now.timestamp().millis().saturating_add(self.ahead))
    }
}
