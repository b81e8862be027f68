//! Which of many repeated messages are logged.
//!
//! [`Repeats`] is for reasons that are found again at each attempt, [`Changes`] for a state that changes.
//!
//! Always: a message that was not logged lately is logged at once; who alternates between some messages logs each of them once in
//! [`AGAIN`], with the number of those that were left out; messages of which each is another one are bounded, too. Never here: logging.

use std::time::Duration;

use tokio::time::Instant;

/// A message that is repeated is logged again after this time.
const AGAIN: Duration = Duration::from_mins(10);
/// How many messages are known at a time.
const KNOWN_MAX: usize = 8;
/// While so many are known, another one is logged only if all of them are older than this.
const PAUSE: Duration = Duration::from_secs(30);

/// The messages that were logged lately.
#[derive(Debug, Default)]
pub struct Repeats {
    known: Vec<Logged>,
    /// How many messages were left out for which there was no room.
    others: u64,
}

#[derive(Debug)]
struct Logged {
    text: String,
    at: Instant,
    left_out: u64,
}

impl Repeats {
    /// Decides about a message. Returns `None` if it is to be left out; else how many were left out since a message like it was logged.
    pub fn note(&mut self, text: &str, now: Instant) -> Option<u64> {
        if let Some(known) = self.known.iter_mut().find(|known| known.text == text) {
            if now.duration_since(known.at) < AGAIN {
                known.left_out += 1;
                return None;
            }
            known.at = now;
            return Some(std::mem::take(&mut known.left_out));
        }
        let mut left_out = 0;
        if self.known.len() >= KNOWN_MAX {
            let is_over = |known: &Logged| now.duration_since(known.at) >= PAUSE;
            if !self.known.iter().all(is_over) {
                self.others += 1;
                return None;
            }
            let oldest = (0..self.known.len()).min_by_key(|index| self.known[*index].at)?;
            left_out = self.known.swap_remove(oldest).left_out + std::mem::take(&mut self.others);
        }
        self.known.push(Logged {
            text: text.to_owned(),
            at: now,
            left_out: 0,
        });
        Some(left_out)
    }

    /// Forgets all messages, because what they were about is over: the next one is news.
    pub fn clear(&mut self) {
        *self = Repeats::default();
    }
}

/// How many changes of a state are logged one after the other.
const BURST: u32 = 20;

/// The changes of a state that were logged lately. Each is logged, unless the state goes to and fro all the time.
#[derive(Debug, Default)]
pub struct Changes {
    /// How many of [`BURST`] are used up, and since when none has been given back.
    used: u32,
    since: Option<Instant>,
    left_out: u64,
}

impl Changes {
    /// Decides about a change. Returns `None` if it is to be left out; else how many were left out since the last one was logged.
    pub fn note(&mut self, now: Instant) -> Option<u64> {
        let since = *self.since.get_or_insert(now);
        let given_back = now.duration_since(since).as_secs() / PAUSE.as_secs();
        if given_back > 0 {
            let given_back = u32::try_from(given_back).unwrap_or(u32::MAX);
            self.used = self.used.saturating_sub(given_back);
            self.since = Some(now);
        }
        if self.used >= BURST {
            self.left_out += 1;
            return None;
        }
        self.used += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(100);

    #[test]
    fn who_alternates_between_two_reasons_logs_each_once_and_later_says_how_often() {
        let (mut repeats, begun) = (Repeats::default(), Instant::now());
        let mut logged = Vec::new();
        for tick in 0..6002_u32 {
            let text = ["old log", "wrong name"][tick as usize % 2];
            if let Some(left_out) = repeats.note(text, begun + tick * TICK) {
                logged.push((text, left_out));
            }
        }
        let expected = [
            ("old log", 0),
            ("wrong name", 0),
            ("old log", 2999),
            ("wrong name", 2999),
        ];
        assert_eq!(logged, expected);
        repeats.clear();
        assert_eq!(repeats.note("old log", begun + 6002 * TICK), Some(0));
    }

    #[test]
    fn a_state_that_goes_to_and_fro_all_the_time_is_logged_now_and_then_with_a_count() {
        let (mut changes, begun) = (Changes::default(), Instant::now());
        let logged: Vec<u64> = (0..6000_u32)
            .filter_map(|tick| changes.note(begun + tick * TICK))
            .collect();
        // Twenty at once, then one in 30 s for ten minutes.
        assert_eq!(logged.len(), 20 + 19, "{logged:?}");
        assert!(logged[..20].iter().all(|left_out| *left_out == 0));
        assert!(
            logged[20..].iter().all(|left_out| *left_out > 250),
            "{logged:?}"
        );
        // After a quiet time each one is logged again.
        let later = begun + 6000 * TICK + 30 * PAUSE;
        assert!(changes.note(later).is_some_and(|left_out| left_out > 0));
        assert_eq!(changes.note(later + TICK), Some(0));
    }

    #[test]
    fn messages_of_which_each_is_another_one_are_bounded() {
        let (mut repeats, begun) = (Repeats::default(), Instant::now());
        let (mut logged, mut left_out) = (0, 0);
        for tick in 0..6000_u32 {
            if let Some(count) = repeats.note(&format!("at {tick}"), begun + tick * TICK) {
                logged += 1;
                left_out += count;
            }
        }
        // Eight at first, and then one in 30 s.
        assert!((9..=8 + 20).contains(&logged), "{logged}");
        assert!(left_out + logged > 6000 - 301, "{left_out}");
    }
}
