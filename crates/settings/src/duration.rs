//! A length of time in settings: `10s`, `1h30m`, `250ms`, or plain seconds.

use std::fmt;
use std::str::FromStr;

use serde::de::{Deserializer, Error, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// A length of time as people write it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(pub std::time::Duration);

/// Longest unit first, since it is printed in this order. Nanoseconds per unit.
const UNITS: [(&str, u64); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1000),
    ("ns", 1),
];

impl Duration {
    /// This many seconds.
    pub const fn from_secs(seconds: u64) -> Duration {
        Duration(std::time::Duration::from_secs(seconds))
    }

    /// This many milliseconds.
    pub const fn from_millis(millis: u64) -> Duration {
        Duration(std::time::Duration::from_millis(millis))
    }
}

impl From<Duration> for std::time::Duration {
    fn from(duration: Duration) -> std::time::Duration {
        duration.0
    }
}

impl From<std::time::Duration> for Duration {
    fn from(duration: std::time::Duration) -> Duration {
        Duration(duration)
    }
}

impl FromStr for Duration {
    type Err = String;

    fn from_str(text: &str) -> Result<Duration, String> {
        let wrong =
            || format!("{text:?} is no duration; write such as 10s, 1h30m, 250ms or plain seconds");
        let mut rest = text.trim();
        if let Ok(seconds) = rest.parse::<f64>() {
            return std::time::Duration::try_from_secs_f64(seconds)
                .map_err(|_range| wrong())
                .and_then(bounded);
        }
        let mut nanos: u64 = 0;
        while !rest.is_empty() {
            let (number, tail) = split_at_first(rest, |c| !c.is_ascii_digit());
            let (unit, tail) = split_at_first(tail.trim_start(), |c| !c.is_alphabetic());
            let number: u64 = number.parse().map_err(|_digits| wrong())?;
            let unit = if unit == "µs" { "us" } else { unit };
            let (_, size) = UNITS
                .iter()
                .find(|(name, _)| *name == unit)
                .ok_or_else(wrong)?;
            nanos = number
                .checked_mul(*size)
                .and_then(|part| nanos.checked_add(part))
                .ok_or_else(wrong)?;
            rest = tail.trim_start();
        }
        if text.trim().is_empty() {
            Err(wrong())
        } else {
            bounded(std::time::Duration::from_nanos(nanos))
        }
    }
}

/// The longest duration: a hundred years. Longer ones are mistakes, and adding them to a time may overflow.
const MAX: std::time::Duration = std::time::Duration::from_hours(100 * 365 * 24);

fn bounded(duration: std::time::Duration) -> Result<Duration, String> {
    if duration > MAX {
        return Err("a duration has at most a hundred years (36500d)".to_owned());
    }
    Ok(Duration(duration))
}

fn split_at_first(text: &str, is_end: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(is_end).unwrap_or(text.len()))
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_zero() {
            return f.write_str("0s");
        }
        let mut rest = self.0.as_nanos();
        for (name, size) in UNITS {
            let size = u128::from(size);
            if rest >= size {
                write!(f, "{}{name}", rest / size)?;
                rest %= size;
            }
        }
        Ok(())
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        deserializer.deserialize_any(DurationVisitor)
    }
}

struct DurationVisitor;

impl Visitor<'_> for DurationVisitor {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as 10s, 1h30m, 250ms or a number of seconds")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, seconds: i64) -> Result<Duration, E> {
        let seconds = u64::try_from(seconds)
            .map_err(|_range| E::custom(format!("{seconds} seconds are less than none")))?;
        self.visit_u64(seconds)
    }

    fn visit_u64<E: Error>(self, seconds: u64) -> Result<Duration, E> {
        bounded(std::time::Duration::from_secs(seconds)).map_err(E::custom)
    }

    fn visit_f64<E: Error>(self, seconds: f64) -> Result<Duration, E> {
        let duration = std::time::Duration::try_from_secs_f64(seconds);
        duration
            .map_err(|error| E::custom(format!("{seconds} seconds: {error}")))
            .and_then(|duration| bounded(duration).map_err(E::custom))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_duration_of_more_than_a_hundred_years_is_refused() {
        for text in ["1.8e19", "1e300", "36501d", "NaN", "-1", "inf"] {
            assert!(text.parse::<Duration>().is_err(), "{text}");
        }
        assert!("36500d".parse::<Duration>().is_ok());
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, millis) in [
            ("10s", 10_000),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            ("2 d", 172_800_000),
            ("250ms", 250),
            ("10", 10_000),
            ("0.25", 250),
            ("0", 0),
            ("1500000us", 1500),
            ("1500µs", 1),
        ] {
            assert_eq!(
                text.parse::<Duration>()
                    .map(|duration| duration.0.as_millis()),
                Ok(millis),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_duration_is_refused_with_examples() {
        for text in [
            "",
            " ",
            "s",
            "10 seconds",
            "-1s",
            "-1",
            "1h-30m",
            "1e400",
            "NaN",
            "99999999999999d",
            "1.5h",
        ] {
            let error = text.parse::<Duration>().unwrap_err();
            assert!(error.contains("1h30m"), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn a_printed_duration_reads_back(nanos in 0..=100 * 365 * 86_400_000_000_000_u64) {
            let duration = Duration(std::time::Duration::from_nanos(nanos));
            prop_assert_eq!(duration.to_string().parse(), Ok(duration));
        }
    }
}
