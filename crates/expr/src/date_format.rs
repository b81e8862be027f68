//! Times as text, with the patterns of Java's `DateTimeFormatter` and English names.
//! Always: time zone data comes with the program, so that each node gives the same answer.
//! Never: letters that depend on a locale's week (`w`, `e`) other than by ISO, paddings (`p`), optional parts (`[ ]`).

use std::fmt::Write;
use std::sync::LazyLock;

use jiff::tz::{Offset, TimeZone, TimeZoneDatabase};
use jiff::{Timestamp, Zoned};

use crate::error::EvalError;

static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

const DAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const PATTERN_LENGTH_MAX: usize = 1000;

/// Formats a time given in milliseconds since the epoch.
pub(crate) fn format(epoch_milli: i64, pattern: &str, zone: &str) -> Result<String, EvalError> {
    let timestamp = Timestamp::from_millisecond(epoch_milli)
        .map_err(|_out_of_range| EvalError::new(format!("Time is out of range: {epoch_milli}")))?;
    if pattern.len() > PATTERN_LENGTH_MAX {
        return Err(EvalError::new("Date format is too long"));
    }
    let time = timestamp.to_zoned(time_zone(zone)?);
    let mut out = String::new();
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        if c == '\'' {
            rest = quoted(rest, pattern, &mut out)?;
        } else if c.is_ascii_alphabetic() {
            let count = rest.chars().take_while(|other| *other == c).count();
            let known = field(&time, c, count, &mut out);
            known.ok_or_else(|| {
                EvalError::new(format!(
                    "Unknown pattern letters {} in date format: {pattern}",
                    &rest[..count]
                ))
            })?;
            rest = &rest[count..];
        } else if "[]{}#".contains(c) {
            return Err(EvalError::new(format!(
                "Pattern includes reserved character {c} in date format: {pattern}"
            )));
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    Ok(out)
}

/// Takes literal text in quotes; two quotes are one. Returns what stands behind.
fn quoted<'a>(rest: &'a str, pattern: &str, out: &mut String) -> Result<&'a str, EvalError> {
    if let Some(behind) = rest.strip_prefix("''") {
        out.push('\'');
        return Ok(behind);
    }
    let mut inside = &rest[1..];
    loop {
        let Some((text, behind)) = inside.split_once('\'') else {
            return Err(EvalError::new(format!(
                "A quote is not closed in date format: {pattern}"
            )));
        };
        out.push_str(text);
        let Some(more) = behind.strip_prefix('\'') else {
            return Ok(behind);
        };
        out.push('\'');
        inside = more;
    }
}

/// Writes a field given by a letter and how often it stands there. None if there is no such field.
fn field(time: &Zoned, letter: char, count: usize, out: &mut String) -> Option<()> {
    let number = |value: i64, out: &mut String| write!(out, "{value:0count$}").ok();
    let week_date = time.date().iso_week_date();
    let hour = i64::from(time.hour());
    let quarter = i64::from((time.month() - 1) / 3 + 1);
    match (letter, count) {
        ('y' | 'u' | 'Y', 1..=9) => {
            let year = i64::from(if letter == 'Y' {
                week_date.year()
            } else {
                time.year()
            });
            if count == 2 {
                write!(out, "{:02}", year.rem_euclid(100)).ok()
            } else {
                number(year, out)
            }
        }
        ('M' | 'L', 1 | 2) => number(i64::from(time.month()), out),
        ('M' | 'L', 3..=5) => name(&MONTHS, time.month(), count, out),
        ('d', 1 | 2) => number(i64::from(time.day()), out),
        ('D', 1..=3) => number(i64::from(time.day_of_year()), out),
        ('E', 1..=3) => name(&DAYS, time.weekday().to_monday_one_offset(), 3, out),
        ('E', 4 | 5) | ('e' | 'c', 3..=5) => {
            name(&DAYS, time.weekday().to_monday_one_offset(), count, out)
        }
        ('e' | 'c', 1 | 2) => number(i64::from(time.weekday().to_monday_one_offset()), out),
        ('w', 1 | 2) => number(i64::from(week_date.week()), out),
        ('Q' | 'q', 1 | 2) => number(quarter, out),
        ('Q' | 'q', 3) => write!(out, "Q{quarter}").ok(),
        ('G', 1..=3) => write!(out, "{}", if time.year() > 0 { "AD" } else { "BC" }).ok(),
        ('a', 1) => write!(out, "{}", if hour < 12 { "AM" } else { "PM" }).ok(),
        ('H', 1 | 2) => number(hour, out),
        ('k', 1 | 2) => number(if hour == 0 { 24 } else { hour }, out),
        ('K', 1 | 2) => number(hour % 12, out),
        ('h', 1 | 2) => number((hour + 11) % 12 + 1, out),
        ('m', 1 | 2) => number(i64::from(time.minute()), out),
        ('s', 1 | 2) => number(i64::from(time.second()), out),
        ('S', 1..=9) => write!(
            out,
            "{}",
            &format!("{:09}", time.subsec_nanosecond())[..count]
        )
        .ok(),
        ('n', 1..=19) => number(i64::from(time.subsec_nanosecond()), out),
        ('A', 1..=19) => number(milli_of_day(time), out),
        ('N', 1..=19) => number(milli_of_day(time) * 1_000_000, out),
        ('V', 2) => write!(
            out,
            "{}",
            time.time_zone()
                .iana_name()
                .map_or_else(|| offset(time, ':', "Z", 5), str::to_owned)
        )
        .ok(),
        ('z', 1..=4) => write!(out, "{}", time.strftime("%Z")).ok(),
        ('Z', 1..=3) => out.write_str(&offset(time, '\0', "+0000", 4)).ok(),
        ('Z' | 'O', 4) => write!(out, "GMT{}", offset(time, ':', "", 5)).ok(),
        ('Z', 5) => out.write_str(&offset(time, ':', "Z", 5)).ok(),
        ('X', 1) => out.write_str(&offset(time, '\0', "Z", 2)).ok(),
        ('x', 1) => out.write_str(&offset(time, '\0', "+00", 2)).ok(),
        ('X', 2 | 4) => out.write_str(&offset(time, '\0', "Z", 4)).ok(),
        ('x', 2 | 4) => out.write_str(&offset(time, '\0', "+0000", 4)).ok(),
        ('X', 3 | 5) => out.write_str(&offset(time, ':', "Z", 5)).ok(),
        ('x', 3 | 5) => out.write_str(&offset(time, ':', "+00:00", 5)).ok(),
        _ => None,
    }
}

fn milli_of_day(time: &Zoned) -> i64 {
    let seconds =
        (i64::from(time.hour()) * 60 + i64::from(time.minute())) * 60 + i64::from(time.second());
    seconds * 1000 + i64::from(time.subsec_nanosecond()) / 1_000_000
}

/// Three letters, the whole name, or, for five pattern letters, one.
fn name(names: &[&str], number_from_1: i8, count: usize, out: &mut String) -> Option<()> {
    let name = *names.get(usize::try_from(number_from_1).ok()?.checked_sub(1)?)?;
    out.push_str(match count {
        4 => name,
        5 => &name[..1],
        _ => &name[..3],
    });
    Some(())
}

/// The offset from UTC as `+01`, `+0100` or `+01:00`. A length of 2 shows minutes only where there are some.
fn offset(time: &Zoned, separator: char, zero: &str, length: usize) -> String {
    let seconds = time.offset().seconds();
    if seconds == 0 {
        return zero.to_owned();
    }
    let sign = if seconds < 0 { '-' } else { '+' };
    let (hours, minutes) = (seconds.abs() / 3600, seconds.abs() / 60 % 60);
    match (separator, length, minutes) {
        (_, 2, 0) => format!("{sign}{hours:02}"),
        ('\0', ..) => format!("{sign}{hours:02}{minutes:02}"),
        _ => format!("{sign}{hours:02}{separator}{minutes:02}"),
    }
}

/// A zone by its name (Europe/Berlin), or as offset: `+02:00`, `UTC+2`, `Z`.
fn time_zone(name: &str) -> Result<TimeZone, EvalError> {
    if let Ok(zone) = ZONES.get(name) {
        return Ok(zone);
    }
    if name == "Z" {
        return Ok(TimeZone::UTC);
    }
    let offset = ["UTC", "GMT", "UT"]
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))
        .unwrap_or(name);
    offset_seconds(offset)
        .and_then(|seconds| Offset::from_seconds(seconds).ok())
        .map(TimeZone::fixed)
        .ok_or_else(|| {
            EvalError::new(format!(
                "Unknown time zone: {}",
                name.chars().take(100).collect::<String>()
            ))
        })
}

fn offset_seconds(text: &str) -> Option<i32> {
    let (sign, digits) = match text.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let (hours, minutes) = match (digits.split_once(':'), digits.len()) {
        (Some(parts), _) => parts,
        (None, 4) => digits.split_at_checked(2)?,
        (None, 1 | 2) => (digits, "0"),
        (None, _) => return None,
    };
    let [hours, minutes] = [hours, minutes].map(|part| part.parse::<u8>().ok());
    let (hours, minutes) = (hours.filter(|h| *h <= 18)?, minutes.filter(|m| *m < 60)?);
    Some(sign * (i32::from(hours) * 3600 + i32::from(minutes) * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-03-05T14:07:09.042Z, a Thursday.
    const TIME: i64 = 1_772_719_629_042;

    fn text(pattern: &str, zone: &str) -> String {
        format(TIME, pattern, zone).unwrap()
    }

    #[test]
    fn times_are_formatted_with_java_patterns() {
        for (pattern, expected) in [
            ("yyyy-MM-dd", "2026-03-05"),
            ("yyyy-MM-dd'T'HH:mm:ss.SSSX", "2026-03-05T14:07:09.042Z"),
            ("d.M.yy H:m:s", "5.3.26 14:7:9"),
            ("EEE, dd MMM uuuu hh:mm a", "Thu, 05 Mar 2026 02:07 PM"),
            ("EEEE MMMM", "Thursday March"),
            ("DDD D", "064 64"),
            ("YYYY-'W'ww-e", "2026-W10-4"),
            ("QQQ", "Q1"),
            ("kk KK S SSSSSS", "14 02 0 042000"),
            ("''yyyy'' 'o''clock' ä", "'2026' o'clock ä"),
            ("A", "50829042"),
            ("Z xx x XXX", "+0000 +0000 +00 Z"),
        ] {
            assert_eq!(text(pattern, "UTC"), expected, "{pattern}");
        }
    }

    #[test]
    fn time_zones_are_known_by_name_and_offset() {
        assert_eq!(
            text("HH:mm Z z VV", "Europe/Berlin"),
            "15:07 +0100 CET Europe/Berlin"
        );
        assert_eq!(text("HH:mm XXX", "Asia/Kolkata"), "19:37 +05:30");
        assert_eq!(text("HH:mm x", "-03:30"), "10:37 -0330");
        assert_eq!(text("HH:mm x", "UTC+2"), "16:07 +02");
        assert_eq!(text("HH:mm", "GMT"), "14:07");
        for unknown in ["Mars/Olympus", "", "+99", "UTC+", "+ä1"] {
            assert!(format(TIME, "HH", unknown).is_err(), "{unknown}");
        }
    }

    #[test]
    fn bad_patterns_are_refused() {
        for pattern in ["b", "'open", "[HH]", "HHH", "yyyyyyyyyy"] {
            assert!(format(TIME, pattern, "UTC").is_err(), "{pattern}");
        }
        assert!(format(i64::MAX, "yyyy", "UTC").is_err());
    }
}
