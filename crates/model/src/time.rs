//! Points in time and spans, as Mainspring writes them: milliseconds since the epoch, decimal seconds.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::num::NonZero;
use std::ops::{Add, Sub};
use std::time::Duration;

/// A point in time: milliseconds since 1970-01-01T00:00:00Z. Written as a number; an ISO 8601 text is read too.
///
/// The earliest representable point is 1 ms after `i64::MIN` milliseconds. Therefore an `Option<Timestamp>` is as small as a `Timestamp`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(NonZero<u64>);

/// What is added to the milliseconds so that they are never zero and keep their order.
const BIAS: u64 = 1 << 63;

impl Timestamp {
    /// The point `millis` milliseconds after the epoch.
    pub const fn from_millis(millis: i64) -> Timestamp {
        match NonZero::new(millis.cast_unsigned() ^ BIAS) {
            Some(biased) => Timestamp(biased),
            None => Timestamp(NonZero::<u64>::MIN),
        }
    }

    /// Milliseconds since the epoch.
    pub const fn millis(self) -> i64 {
        (self.0.get() ^ BIAS).cast_signed()
    }

    /// The time from `earlier` to this point, zero if it is not earlier.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(
            u64::try_from(self.millis().saturating_sub(earlier.millis())).unwrap_or(0),
        )
    }

    /// Reads an ISO 8601 text such as `2026-11-21T23:00:00Z`.
    pub fn parse_iso(text: &str) -> Option<Timestamp> {
        text.parse::<jiff::Timestamp>()
            .ok()
            .map(|at| Timestamp::from_millis(at.as_millisecond()))
    }
}

impl Default for Timestamp {
    fn default() -> Timestamp {
        Timestamp::from_millis(0)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Timestamp({})", self.millis())
    }
}

impl Add<Duration> for Timestamp {
    type Output = Timestamp;
    fn add(self, duration: Duration) -> Timestamp {
        Timestamp::from_millis(
            self.millis()
                .saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)),
        )
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Timestamp;
    fn sub(self, duration: Duration) -> Timestamp {
        Timestamp::from_millis(
            self.millis()
                .saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)),
        )
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.millis()) {
            Ok(at) => write!(f, "{at:.3}"),
            Err(_out_of_range) => write!(f, "{}ms", self.millis()),
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(self.millis())
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Timestamp;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time: milliseconds since the epoch or an ISO 8601 text")
            }
            fn visit_i64<E>(self, millis: i64) -> Result<Timestamp, E> {
                Ok(Timestamp::from_millis(millis))
            }
            fn visit_u64<E: de::Error>(self, millis: u64) -> Result<Timestamp, E> {
                i64::try_from(millis)
                    .map(Timestamp::from_millis)
                    .map_err(E::custom)
            }
            fn visit_f64<E: de::Error>(self, millis: f64) -> Result<Timestamp, E> {
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "whole milliseconds below 2^53"
                )]
                if millis.fract() == 0.0 && millis.abs() < 9e15 {
                    Ok(Timestamp::from_millis(millis as i64))
                } else {
                    Err(E::invalid_value(de::Unexpected::Float(millis), &self))
                }
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Timestamp, E> {
                Timestamp::parse_iso(text)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// A span of time, written as decimal seconds (`0.1`, `60`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seconds(pub Duration);

/// A hundred years, in seconds.
const SECONDS_MAX: f64 = 100.0 * 365.0 * 24.0 * 3600.0;

impl Seconds {
    /// A span of so many milliseconds.
    pub const fn from_millis(millis: u64) -> Seconds {
        Seconds(Duration::from_millis(millis))
    }
}

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.subsec_nanos() == 0 {
            serializer.serialize_u64(self.0.as_secs())
        } else {
            serializer.serialize_f64(self.0.as_secs_f64())
        }
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Seconds, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        // Clocks cannot add longer spans. Longer spans are shortened and not refused, since logs may contain them.
        let bounded = if seconds > SECONDS_MAX {
            SECONDS_MAX
        } else {
            seconds
        };
        Duration::try_from_secs_f64(bounded)
            .map(Seconds)
            .map_err(|_range| {
                de::Error::invalid_value(
                    de::Unexpected::Float(seconds),
                    &"a number of seconds, zero or more",
                )
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_have_a_maximum_that_clocks_can_add() {
        let read = |text: &str| serde_json::from_str::<Seconds>(text);
        let century = Duration::from_hours(100 * 365 * 24);
        for text in ["1.8e19", "1e300", "1e18"] {
            assert_eq!(read(text).unwrap().0, century, "{text}");
        }
        assert!(read("-1").is_err());
        assert_eq!(read("0.25").unwrap(), Seconds::from_millis(250));
        assert!(
            Timestamp::from_millis(i64::MAX) + read("1e300").unwrap().0
                == Timestamp::from_millis(i64::MAX)
        );
    }

    #[test]
    fn a_time_that_may_be_missing_takes_no_more_room_and_keeps_its_order() {
        assert_eq!(size_of::<Option<Timestamp>>(), size_of::<u64>());
        let millis = [i64::MIN + 1, -1, 0, 1, 1_767_225_600_000, i64::MAX];
        for (&earlier, &later) in millis.iter().zip(&millis[1..]) {
            assert!(Timestamp::from_millis(earlier) < Timestamp::from_millis(later));
        }
        for millis in millis {
            assert_eq!(Timestamp::from_millis(millis).millis(), millis);
        }
        assert_eq!(Timestamp::from_millis(i64::MIN).millis(), i64::MIN + 1);
        assert_eq!(Timestamp::default().millis(), 0);
    }
}
