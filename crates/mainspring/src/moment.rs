//! Times as people read and write them: local zone, to the millisecond where it matters.

use std::str::FromStr as _;
use std::time::Duration;

use jiff::civil;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Zoned};
use model::Timestamp;

/// The time now.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_millis(jiff::Timestamp::now().as_millisecond())
}

/// `2026-11-21 23:56:49.123+01:00`
pub(crate) fn full(at: Timestamp) -> String {
    shown(at, "%Y-%m-%d %H:%M:%S%.3f%:z")
}

/// `23:56:49.123`, for lines of today.
pub(crate) fn clock(at: Timestamp) -> String {
    shown(at, "%H:%M:%S%.3f")
}

fn shown(at: Timestamp, format: &str) -> String {
    let Ok(instant) = jiff::Timestamp::from_millisecond(at.millis()) else {
        return at.to_string();
    };
    instant
        .to_zoned(TimeZone::system())
        .strftime(format)
        .to_string()
}

/// `350 ms`, `12.3 s`, `4 min 05 s`, `3 h 07 min`, `2 d 03 h`
pub(crate) fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{} ms", duration.as_millis()),
        1..60 => format!("{:.1} s", duration.as_secs_f64()),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {:02} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// Reads `+90s`, `2027-01-31T18:00`, `2027-01-31T18:00:00Z`, `18:00` (the next one).
pub(crate) fn parse(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let wrong = || {
        format!(
            "cannot read the time {text:?}; write such as 2027-01-31T18:00, 2027-01-31T17:00:00Z, 18:00, +90s, +5m or +2h"
        )
    };
    if let Some(delay) = text.strip_prefix('+') {
        let delay = settings::Duration::from_str(delay).map_err(|_what| wrong())?;
        return Ok(now + Duration::from(delay));
    }
    let here = jiff::Timestamp::from_millisecond(now.millis())
        .map_err(|_range| wrong())?
        .to_zoned(TimeZone::system());
    if let Ok(instant) = text.parse::<jiff::Timestamp>() {
        return Ok(Timestamp::from_millis(instant.as_millisecond()));
    }
    let local = |local: civil::DateTime| local.to_zoned(TimeZone::system()).ok();
    if let Ok(date_time) = text.replace(' ', "T").parse::<civil::DateTime>() {
        return local(date_time)
            .map(|zoned| at_of(&zoned))
            .ok_or_else(wrong);
    }
    let time: civil::Time = text.parse().map_err(|_what| wrong())?;
    let today = local(here.date().to_datetime(time)).ok_or_else(wrong)?;
    if today >= here {
        return Ok(at_of(&today));
    }
    let tomorrow = here
        .date()
        .checked_add(SignedDuration::from_hours(24))
        .map_err(|_range| wrong())?;
    local(tomorrow.to_datetime(time))
        .map(|zoned| at_of(&zoned))
        .ok_or_else(wrong)
}

fn at_of(zoned: &Zoned) -> Timestamp {
    Timestamp::from_millis(zoned.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    #[test]
    fn spans_are_told_in_the_unit_that_people_would_use() {
        let told: Vec<String> = [0.35, 12.34, 245.0, 11_220.0, 183_600.0]
            .map(|s| span(Duration::from_secs_f64(s)))
            .to_vec();
        assert_eq!(
            told,
            ["350 ms", "12.3 s", "4 min 05 s", "3 h 07 min", "2 d 03 h"]
        );
    }

    #[test]
    fn a_start_time_can_be_a_delay_an_instant_or_a_local_time() {
        assert_eq!(
            parse("+90s", NOON).unwrap().since(NOON),
            Duration::from_secs(90)
        );
        assert_eq!(
            parse("+2h", NOON).unwrap().since(NOON),
            Duration::from_hours(2)
        );
        assert_eq!(
            parse("2027-01-15T08:00:01Z", NOON).unwrap().millis(),
            1_800_000_001_000
        );
        let local = parse("2027-01-31T18:00", NOON).unwrap();
        assert!(
            full(local).starts_with("2027-01-31 18:00:00.000"),
            "{}",
            full(local)
        );
        let next = parse("18:00", NOON).unwrap();
        assert!(next >= NOON && next.since(NOON) <= Duration::from_hours(24));
        assert!(clock(next).starts_with("18:00:00"));
        for wrong in ["soon", "+", "+5 parsecs", "25:00", ""] {
            assert!(
                parse(wrong, NOON)
                    .unwrap_err()
                    .contains("cannot read the time"),
                "{wrong}"
            );
        }
    }
}
