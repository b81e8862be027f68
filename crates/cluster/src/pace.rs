//! Whether a data member keeps pace: whether it is worth waiting for.
//!
//! Always: pure, time is an argument. One slow answer is nothing; a member that answers slowly for a second is not waited for any
//! more, and is again when it answers quickly, not before a while that doubles each time. Never here: who is silent altogether;
//! that is the hold rule's.

use std::time::Duration;

use crate::member::Timing;

/// The first while, in silences; it doubles up to [`DISTRUST_MAX`] of them.
const DISTRUST: u32 = 64;
const DISTRUST_MAX: u32 = 2048;

/// One member's pace, as the active one sees it. Times are counted from any one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// It has answered slowly only, since then.
    slow_since: Option<Duration>,
    /// When the last answer came.
    answered_at: Duration,
    was_slow: bool,
    /// Not waited for before then.
    distrusted_until: Option<Duration>,
    /// How long the last distrust was, in silences.
    distrust: u32,
}

/// An answer that takes longer is slow: entries wait for it, and so do those who wait for the entries.
fn slow(timing: &Timing) -> Duration {
    timing.hold / 3
}

/// Slow for so long, it is waited for no more.
fn slow_for(timing: &Timing) -> Duration {
    timing.silence_min * 7
}

fn silences(timing: &Timing, count: u32) -> Duration {
    timing.silence_min * count
}

impl Pace {
    /// Entries were confirmed at `now` after `took`.
    pub fn answered(&mut self, timing: &Timing, now: Duration, took: Duration) {
        let was_kept = self.is_kept(timing, now);
        let asked_at = now.saturating_sub(took);
        let idle_for = asked_at.saturating_sub(self.answered_at);
        self.answered_at = now;
        self.was_slow = took > slow(timing);
        if !self.was_slow {
            self.slow_since = None;
            let is_long_ago = self.distrusted_until.is_some_and(|until| {
                now > until + silences(timing, self.distrust) + silences(timing, self.distrust)
            });
            if is_long_ago {
                self.distrusted_until = None;
                self.distrust = 0;
            }
            return;
        }
        // Whoever was distrusted before gets no second while.
        if idle_for > slow_for(timing) && self.distrusted_until.is_none() {
            self.slow_since = None;
        }
        let since = *self.slow_since.get_or_insert(asked_at);
        if now.saturating_sub(since) >= slow_for(timing) && was_kept {
            self.distrust = (self.distrust * 2).clamp(DISTRUST, DISTRUST_MAX);
            self.distrusted_until = Some(now + silences(timing, self.distrust));
        }
    }

    /// Whether it is worth waiting for. A slow one is tried again also when there was nothing to answer for a while.
    pub fn is_kept(&self, timing: &Timing, now: Duration) -> bool {
        let Some(until) = self.distrusted_until else {
            return true;
        };
        let is_idle = now.saturating_sub(self.answered_at) >= silences(timing, DISTRUST);
        now >= until && (!self.was_slow || is_idle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Duration = Duration::from_millis(2);
    const SLOW: Duration = Duration::from_millis(100);

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Answers one after the other from `from` to `to`, each taking `took`.
    fn answers(pace: &mut Pace, from: u64, to: u64, took: Duration) {
        let timing = Timing::default();
        let mut now = at(from);
        while now < at(to) {
            now += took;
            pace.answered(&timing, now, took);
        }
    }

    #[test]
    fn r12_a_member_that_is_slow_for_a_second_is_not_waited_for() {
        let timing = Timing::default();
        let mut pace = Pace::default();
        answers(&mut pace, 0, 1000, QUICK);
        answers(&mut pace, 1000, 1900, SLOW);
        assert!(pace.is_kept(&timing, at(1900)), "that may be a hiccup");
        answers(&mut pace, 1900, 2200, SLOW);
        assert!(!pace.is_kept(&timing, at(2200)));
    }

    #[test]
    fn quick_answers_in_between_begin_the_count_anew() {
        let timing = Timing::default();
        let mut pace = Pace::default();
        for second in 0..20 {
            answers(&mut pace, second * 1000, second * 1000 + 800, SLOW);
            answers(&mut pace, second * 1000 + 800, second * 1000 + 810, QUICK);
        }
        assert!(pace.is_kept(&timing, at(20_000)));
    }

    #[test]
    fn it_is_waited_for_again_when_it_has_answered_quickly_and_after_a_while() {
        let timing = Timing::default();
        let mut pace = Pace::default();
        answers(&mut pace, 0, 1300, SLOW);
        answers(&mut pace, 1300, 5000, QUICK);
        assert!(!pace.is_kept(&timing, at(5000)), "too early");
        assert!(pace.is_kept(&timing, at(11_500)));
    }

    #[test]
    fn as_long_as_it_is_slow_it_stays_away() {
        let timing = Timing::default();
        let mut pace = Pace::default();
        answers(&mut pace, 0, 600_000, SLOW);
        assert!(!pace.is_kept(&timing, at(600_100)));
    }

    #[test]
    fn while_it_is_slow_it_is_not_waited_for_between_two_answers_either() {
        let timing = Timing::default();
        let mut pace = Pace::default();
        answers(&mut pace, 0, 1300, SLOW);
        for answer in 13..1000 {
            let now = at(answer * 100);
            assert!(!pace.is_kept(&timing, now + at(99)), "{now:?}");
            pace.answered(&timing, now + SLOW, SLOW);
        }
    }

    #[test]
    fn without_anything_to_answer_it_gets_another_chance_later_each_time() {
        let timing = Timing::default();
        let mut pace = Pace::default();
        answers(&mut pace, 0, 1300, SLOW);
        assert!(!pace.is_kept(&timing, at(9000)));
        assert!(pace.is_kept(&timing, at(12_000)));
        answers(&mut pace, 12_000, 13_300, SLOW);
        assert!(!pace.is_kept(&timing, at(30_000)), "twice as long");
        assert!(pace.is_kept(&timing, at(33_000)));
    }

    #[test]
    fn two_slow_answers_with_an_hour_in_between_are_nothing() {
        let timing = Timing::default();
        let mut pace = Pace::default();
        pace.answered(&timing, at(1000), SLOW);
        pace.answered(&timing, at(3_600_000), SLOW);
        assert!(pace.is_kept(&timing, at(3_600_000)));
    }

    #[test]
    fn an_answer_may_take_a_third_of_the_hold_time() {
        let timing = Timing::default();
        let mut pace = Pace::default();
        answers(&mut pace, 0, 10_000, at(50));
        assert!(pace.is_kept(&timing, at(10_000)));
        answers(&mut pace, 10_000, 20_000, at(51));
        assert!(!pace.is_kept(&timing, at(20_000)));
    }

    #[test]
    fn slow_answers_count_together_unless_there_was_nothing_to_answer_in_between() {
        let timing = Timing::default();
        for (pause, is_kept) in [(1049, false), (1050, false), (1051, true)] {
            let mut pace = Pace::default();
            pace.answered(&timing, at(1000), SLOW);
            let now = at(1000 + pause) + SLOW;
            pace.answered(&timing, now, SLOW);
            assert_eq!(pace.is_kept(&timing, now), is_kept, "{pause}");
        }
    }

    #[test]
    fn distrust_is_forgotten_when_the_good_time_was_twice_as_long() {
        let timing = Timing::default();
        for (millis, is_forgotten) in [(29_899, false), (29_900, false), (29_901, true)] {
            let mut pace = Pace::default();
            // Not waited for from 1100 to 10,700.
            answers(&mut pace, 0, 1100, SLOW);
            assert_eq!(pace.distrusted_until, Some(at(10_700)));
            pace.answered(&timing, at(millis), QUICK);
            assert_eq!(pace.distrusted_until.is_none(), is_forgotten, "{millis}");
        }
    }

    #[test]
    fn a_long_good_time_makes_good() {
        let mut pace = Pace::default();
        answers(&mut pace, 0, 1300, SLOW);
        answers(&mut pace, 1300, 60_000, QUICK);
        let fresh = Pace {
            answered_at: pace.answered_at,
            ..Pace::default()
        };
        assert_eq!(pace, fresh);
    }
}
