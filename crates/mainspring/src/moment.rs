//! Times as people read and write them: local zone, to the millisecond where it matters.

use std::str::FromStr as _;
use std::time::Duration;

use jiff::tz::{Offset, TimeZone};
use jiff::{Zoned, civil};
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

/// `2026-11-21 23:56:49`, for tables whose heading names the zone.
pub(crate) fn in_table(at: Timestamp) -> String {
    shown(at, "%Y-%m-%d %H:%M:%S")
}

/// Returns the name of the zone in which times are shown: `Europe/Berlin`, or `+01:00` if the zone has no name.
pub(crate) fn zone() -> String {
    let zone = TimeZone::system();
    match zone.iana_name() {
        Some(name) => name.to_owned(),
        None => jiff::Timestamp::now()
            .to_zoned(zone)
            .strftime("%:z")
            .to_string(),
    }
}

/// Replaces the instants in a text, as the Controller writes them (`2026-11-21T22:56:49.123Z`), with times in the local zone.
pub(crate) fn with_local_times(text: &str) -> String {
    let is_of_instant = |c: char| c.is_ascii_digit() || matches!(c, '-' | ':' | '.' | 'T' | 'Z');
    let mut told = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(begin) = rest.find(is_of_instant) {
        let (before, from) = rest.split_at(begin);
        let length = from.find(|c| !is_of_instant(c)).unwrap_or(from.len());
        // A colon or full stop after an instant is punctuation.
        let length = from[..length].trim_end_matches([':', '.']).len().max(1);
        let (word, behind) = from.split_at(length);
        told += before;
        match word.parse::<jiff::Timestamp>() {
            Ok(instant) => told += &full(Timestamp::from_millis(instant.as_millisecond())),
            Err(_other) => told += word,
        }
        rest = behind;
    }
    told + rest
}

/// Reads `+90s`, `-2h`, `2027-01-31T18:00`, `18:00` (the next one), and both with a zone: `Z`, `+09:00`, `[Asia/Tokyo]`.
pub(crate) fn parse(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let wrong = |why: &str| {
        format!(
            "cannot read the time {text:?}{why}; write such as 2027-01-31T18:00, 2027-01-31T17:00:00Z, 2027-01-31T18:00[Europe/Berlin], 18:00, 18:00+09:00, +90s, +5m or +2h"
        )
    };
    if let Some(delay) = text.strip_prefix('+') {
        let delay = settings::Duration::from_str(delay).map_err(|_what| wrong(""))?;
        return Ok(now + Duration::from(delay));
    }
    if let Some(Ok(ago)) = text.strip_prefix('-').map(settings::Duration::from_str) {
        let ago = i64::try_from(Duration::from(ago).as_millis()).unwrap_or(i64::MAX);
        return Ok(Timestamp::from_millis(now.millis().saturating_sub(ago)));
    }
    let (local, zone) = zone_of(text).map_err(|why| wrong(&format!(": {why}")))?;
    // Only a local date and time may remain, because the parser would skip some other characters.
    let is_plain = |c: char| c.is_ascii_digit() || matches!(c, '-' | ':' | '.' | 'T' | 't' | ' ');
    if !local.chars().all(is_plain) {
        return Err(wrong(""));
    }
    let at =
        |local: civil::DateTime| instant(local, &zone).map_err(|why| wrong(&format!(": {why}")));
    if let Ok(date_time) = local.replace(' ', "T").parse::<civil::DateTime>() {
        return at(date_time);
    }
    let time: civil::Time = local.parse().map_err(|_what| wrong(""))?;
    let here = jiff::Timestamp::from_millisecond(now.millis())
        .map_err(|_range| wrong(""))?
        .to_zoned(zone.clone());
    let today = at(here.date().to_datetime(time))?;
    if today >= now {
        return Ok(today);
    }
    let tomorrow = here.date().tomorrow().map_err(|_range| wrong(""))?;
    at(tomorrow.to_datetime(time))
}

/// Like [`parse`], but for a time in the past: `18:00` is the most recent one.
pub(crate) fn parse_past(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let read = parse(text, now)?;
    let is_of_day = !text.starts_with(['+', '-']) && text.find(':').is_some_and(|colon| colon <= 2);
    if !is_of_day || read <= now {
        return Ok(read);
    }
    let day = i64::try_from(Duration::from_hours(24).as_millis()).unwrap_or(0);
    parse(text, Timestamp::from_millis(now.millis() - day))
}

/// Splits a text into the local time and its zone. Without a zone in the text, the zone is that of the system.
fn zone_of(text: &str) -> Result<(&str, TimeZone), String> {
    let (text, named) = match text
        .strip_suffix(']')
        .and_then(|text| text.rsplit_once('['))
    {
        Some((text, name)) => {
            let zone =
                TimeZone::get(name).map_err(|_what| format!("there is no time zone {name:?}"))?;
            (text, Some(zone))
        }
        None => (text, None),
    };
    let (local, offset) = if let Some(local) = text.strip_suffix(['Z', 'z']) {
        (local, Some(Offset::UTC))
    } else {
        // A minus before the first colon belongs to the date.
        let sign = text
            .find(':')
            .and_then(|colon| Some(colon + text[colon..].rfind(['+', '-'])?));
        match sign {
            Some(sign) => {
                let (local, written) = text.split_at(sign);
                (local, Some(offset_of(written)?))
            }
            None => (text, None),
        }
    };
    let zone = match (named, offset) {
        (Some(_), Some(_)) => return Err("give an offset or a zone, not both".to_owned()),
        (Some(named), None) => named,
        (None, Some(offset)) => TimeZone::fixed(offset),
        (None, None) => TimeZone::system(),
    };
    Ok((local.trim_end(), zone))
}

/// Reads `+09:00`, `-0330`, `+9`.
fn offset_of(written: &str) -> Result<Offset, String> {
    let wrong = || format!("{written:?} is no offset from UTC such as +09:00");
    let (sign, digits) = written.split_at(1);
    let (hours, minutes) = match digits.split_once(':') {
        Some(parts) => parts,
        None if digits.len() == 4 => digits.split_at(2),
        None => (digits, "0"),
    };
    let number = |digits: &str, max: i32| {
        let is_number =
            (1..=2).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        let number = digits.parse().ok().filter(|n: &i32| is_number && *n <= max);
        number.ok_or_else(wrong)
    };
    let seconds = number(hours, 25)? * 3600 + number(minutes, 59)? * 60;
    let seconds = if sign == "-" { -seconds } else { seconds };
    Offset::from_seconds(seconds).map_err(|_range| wrong())
}

/// Returns the instant of a local time. Fails for a time that is skipped when clocks are set forward. For a time that occurs twice because
/// clocks are set back, returns the first instant.
fn instant(local: civil::DateTime, zone: &TimeZone) -> Result<Timestamp, String> {
    let ambiguous = zone.to_ambiguous_zoned(local);
    if matches!(ambiguous.offset(), jiff::tz::AmbiguousOffset::Gap { .. }) {
        return Err("clocks are set forward then, and pass over this time".to_owned());
    }
    match ambiguous.earlier() {
        Ok(zoned) => Ok(at_of(&zoned)),
        Err(_range) => Err("it is too far away".to_owned()),
    }
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
        let last = parse_past("18:00", NOON).unwrap();
        assert!(last <= NOON && NOON.since(last) <= Duration::from_hours(24));
        let next = parse("18:00", NOON).unwrap();
        assert!(next >= NOON && next.since(NOON) <= Duration::from_hours(24));
        assert!(clock(next).starts_with("18:00:00"));
        assert_eq!(
            NOON.since(parse("-90s", NOON).unwrap()),
            Duration::from_secs(90)
        );
        for wrong in ["soon", "+", "+5 parsecs", "25:00", ""] {
            assert!(
                parse(wrong, NOON)
                    .unwrap_err()
                    .contains("cannot read the time"),
                "{wrong}"
            );
        }
    }

    #[test]
    fn a_zone_or_an_offset_counts_wherever_it_stands() {
        for (written, meant) in [
            ("2027-06-01T12:00[Asia/Tokyo]", "2027-06-01T03:00:00Z"),
            ("2027-06-01 12:00[Asia/Tokyo]", "2027-06-01T03:00:00Z"),
            ("2027-06-01T12:00+09:00", "2027-06-01T03:00:00Z"),
            ("2027-06-01 12:00 +09:00", "2027-06-01T03:00:00Z"),
            ("2027-06-01T12:00:30.5-03:30", "2027-06-01T15:30:30.5Z"),
            ("2027-06-01T12:00+0900", "2027-06-01T03:00:00Z"),
            ("2027-06-01T12:00-5", "2027-06-01T17:00:00Z"),
            ("2027-06-01T12:00z", "2027-06-01T12:00:00Z"),
            // NOON is 08:00 UTC, 17:00 in Tokyo.
            ("18:00+09:00", "2027-01-15T09:00:00Z"),
            ("18:00[Asia/Tokyo]", "2027-01-15T09:00:00Z"),
            ("16:59[Asia/Tokyo]", "2027-01-16T07:59:00Z"),
            ("07:59Z", "2027-01-16T07:59:00Z"),
            // Clocks are set back: the first of two.
            ("2027-10-31T02:30[Europe/Berlin]", "2027-10-31T00:30:00Z"),
        ] {
            let expected: jiff::Timestamp = meant.parse().unwrap();
            let read = parse(written, NOON).unwrap();
            assert_eq!(read.millis(), expected.as_millisecond(), "{written}");
        }
        for (wrong, why) in [
            ("2027-06-01T12:00[Nowhere/Bad]", "there is no time zone"),
            ("2027-06-01T12:00+09:00[Asia/Tokyo]", "not both"),
            ("2027-06-01T12:00+99:00", "is no offset"),
            ("2027-06-01T12:00+9:0x", "is no offset"),
            ("2027-06-01T12:00 CET", "cannot read"),
            ("2027-06-01T12:00[Asia/Tokyo", "cannot read"),
            ("2027-06-01[Asia/Tokyo]12:00", "cannot read"),
            ("2027-03-28T02:30[Europe/Berlin]", "set forward"),
        ] {
            let refused = parse(wrong, NOON).unwrap_err();
            assert!(refused.contains(why), "{wrong}: {refused}");
        }
    }

    #[test]
    fn instants_in_a_sentence_are_shown_in_the_local_zone() {
        let at = Timestamp::from_millis(1_800_000_001_000);
        assert_eq!(
            with_local_times("waits until 2027-01-15T08:00:01Z, then runs 3 T-Zs..."),
            format!("waits until {}, then runs 3 T-Zs...", full(at))
        );
        assert_eq!(
            with_local_times(
                "is unreachable since 2027-01-15T08:00:01Z: refused. At 2027-01-15T08:00:01Z."
            ),
            format!("is unreachable since {0}: refused. At {0}.", full(at))
        );
        assert!(!zone().is_empty());
    }
}
