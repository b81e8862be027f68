//! When the active member sends heartbeats.
//!
//! A pair is idle most of the time, and its heartbeats are most of what it costs then. So heartbeats are put off while every other data member
//! has answered promptly for a while.
//!
//! Always: pure, time is an argument. Safety does not depend on these times: the right to answer follows from the answers themselves, and so
//! does the patience of those who vote. Never here: the sending.

use std::time::Duration;

use crate::member::{Part, Timing};
use crate::rules::Other;

/// How many heartbeats in a row must be sent in time and answered promptly before the next one is put off. On a busy machine, or beside a slow
/// member, heartbeats are therefore sent as often as announced.
const CALM: u32 = 20;

/// The heartbeats of one active member. Times are counted from any one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Beats {
    previous: Option<Duration>,
    newest: Option<Duration>,
    /// How many heartbeats in a row before the newest one were sent in time and answered promptly.
    calm: u32,
    /// All other data members have answered the newest heartbeat promptly.
    is_answered: bool,
    /// The newest heartbeat came later than announced.
    was_put_off: bool,
    /// The next heartbeat comes later than announced.
    is_put_off: bool,
}

/// Returns the time between two heartbeats while all other data members answer promptly. A further heartbeat, sent when this one is not
/// answered promptly, still comes within the silence after which the right to answer ends.
pub fn put_off_beat(timing: &Timing) -> Duration {
    let latest = timing.silence_min.saturating_sub(timing.heartbeat);
    (timing.heartbeat * 2).min(latest).max(timing.heartbeat)
}

/// Returns how soon an answer to a heartbeat must come to be prompt.
pub fn prompt(timing: &Timing) -> Duration {
    timing.heartbeat / 2
}

impl Beats {
    /// Records that a heartbeat is sent at `now`.
    pub fn sent(&mut self, timing: &Timing, now: Duration) {
        let is_in_time = now <= self.next(timing) + prompt(timing);
        *self = Beats {
            previous: self.newest,
            newest: Some(now),
            calm: if is_in_time && self.is_answered {
                self.calm.saturating_add(1)
            } else {
                0
            },
            is_answered: false,
            was_put_off: self.is_put_off,
            is_put_off: false,
        };
    }

    /// Returns when the next heartbeat is due: at once if there was none.
    pub fn next(&self, timing: &Timing) -> Duration {
        let Some(newest) = self.newest else {
            return Duration::ZERO;
        };
        let wait = if self.is_put_off {
            put_off_beat(timing)
        } else if self.was_put_off && !self.is_answered {
            prompt(timing)
        } else {
            timing.heartbeat
        };
        newest + wait
    }

    /// Records an answer to the newest heartbeat or to an older request. `answered` contains one value for each other member that has a vote:
    /// what is known of it, and when the newest request that it has answered was sent. Returns whether the next heartbeat is due at another
    /// time than before.
    pub fn answered(
        &mut self,
        timing: &Timing,
        now: Duration,
        answered: impl IntoIterator<Item = (Other, Option<Duration>)>,
    ) -> bool {
        let Some(newest) = self.newest else {
            return false;
        };
        if self.is_answered || now.saturating_sub(newest) > prompt(timing) {
            return false;
        }
        let mut data = answered
            .into_iter()
            .filter(|(other, _)| other.part == Part::Data)
            .peekable();
        let due = self.next(timing);
        self.is_answered = data.peek().is_some()
            && data.all(|(other, sent)| !other.is_lost && sent.is_some_and(|sent| sent >= newest));
        self.is_put_off = self.is_answered && self.calm >= CALM;
        self.next(timing) != due
    }

    /// Returns whether a member has answered the heartbeat before the newest one. `sent` is when the newest request that it has answered was
    /// sent.
    pub fn has_answered_previous(&self, sent: Option<Duration>) -> bool {
        self.previous
            .is_some_and(|previous| sent.is_some_and(|sent| sent >= previous))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules;

    fn millis(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    fn standby(is_lost: bool) -> Other {
        Other {
            part: Part::Data,
            acknowledged: Some(1),
            is_lost,
        }
    }

    fn watch() -> Other {
        Other {
            part: Part::Watch,
            ..standby(false)
        }
    }

    /// Calm heartbeats. The newest one was sent at the returned time, and was answered after 1 ms.
    fn calm(timing: &Timing) -> (Beats, Duration) {
        let (mut beats, mut now) = (Beats::default(), Duration::ZERO);
        for _ in 0..=CALM {
            now = beats.next(timing);
            beats.sent(timing, now);
            let answers = [(standby(false), Some(now)), (watch(), None)];
            beats.answered(timing, now + millis(1), answers);
        }
        (beats, now)
    }

    #[test]
    fn heartbeats_are_rarer_after_a_while_in_which_all_data_members_answer_promptly() {
        let timing = Timing::default();
        let (beats, now) = calm(&timing);
        assert_eq!(now, millis(50) * CALM, "as often as announced until then");
        assert_eq!(beats.next(&timing), now + millis(100));
    }

    #[test]
    fn an_answer_that_is_late_or_missing_is_followed_by_heartbeats_as_announced() {
        let timing = Timing::default();
        let (mut beats, before) = calm(&timing);
        let mut now = before + millis(100);
        beats.sent(&timing, now);
        for (after, other, sent, why) in [
            (26, standby(false), now, "late"),
            (1, standby(true), now, "not relied upon"),
            (1, standby(false), before, "an older answer"),
            (1, watch(), now, "a watch is not enough"),
        ] {
            let is_changed = beats.answered(&timing, now + millis(after), [(other, Some(sent))]);
            assert!(!is_changed, "{why}");
        }
        assert_eq!(beats.next(&timing), now + millis(25), "soon once more");
        for _ in 0..3 {
            now = beats.next(&timing);
            beats.sent(&timing, now);
            beats.answered(&timing, now, [(standby(false), Some(now))]);
            assert_eq!(beats.next(&timing), now + millis(50));
        }
    }

    #[test]
    fn a_member_that_sends_late_keeps_to_what_is_announced() {
        let timing = Timing::default();
        let (mut beats, now) = calm(&timing);
        let late = now + millis(130);
        beats.sent(&timing, late);
        assert!(
            beats.answered(&timing, late, [(standby(false), Some(late))]),
            "not so soon again"
        );
        assert_eq!(beats.next(&timing), late + millis(50));
    }

    #[test]
    fn the_third_vote_is_asked_as_soon_as_one_heartbeat_is_not_answered() {
        let timing = Timing::default();
        let (mut beats, before) = calm(&timing);
        beats.sent(&timing, before + millis(100));
        assert!(beats.has_answered_previous(Some(before)));
        beats.sent(&timing, before + millis(125));
        assert!(!beats.has_answered_previous(Some(before)));
        assert!(!beats.has_answered_previous(None));
    }

    #[test]
    fn two_heartbeats_fit_into_the_right_to_answer_whatever_the_settings() {
        for (heartbeat, silence) in [
            (50, 150),
            (50, 100),
            (50, 60),
            (100, 300),
            (100, 1000),
            (20, 70),
        ] {
            let timing = Timing {
                heartbeat: millis(heartbeat),
                silence_min: millis(silence),
                silence_max: millis(silence * 2),
                hold: millis(silence),
            };
            let put_off = put_off_beat(&timing);
            assert!(put_off >= timing.heartbeat);
            let is_as_announced = put_off == timing.heartbeat;
            assert!(is_as_announced || put_off + prompt(&timing) < rules::lease(&timing));
            assert!(put_off < rules::patience(&timing));
            assert!(
                put_off * 3 < rules::campaign_after(&timing, timing.silence_min) || is_as_announced
            );
        }
    }
}
