//! When a Director renews its lease at a Subagent, and from when on it may be sure that nothing runs there any more.
//!
//! Always: reckoned from the moment at which the last request was sent, whether or not it arrived; the Subagent counts from an
//! earlier one. The clocks of both run at about the right speed; what they show does not matter. Never here: clocks; times are
//! given, from any fixed beginning, of a clock that never jumps. After a restart of the Director the beginning of its process
//! counts as the last request: nothing of the earlier one can have been sent later.

use std::time::Duration;

/// The greatest distance between two requests: as the heartbeat.
const DISTANCE_MAX: Duration = Duration::from_secs(3);
/// For what neither clock shows: a Subagent's timer comes late, a process takes a moment to die.
const SLACK: Duration = Duration::from_secs(1);

/// How a Director stands to the lease it has given to one Subagent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewal {
    sent: Duration,
}

impl Renewal {
    /// The Director's process has begun at `begun`, or has begun to look after this Subagent then.
    pub fn new(begun: Duration) -> Renewal {
        Renewal { sent: begun }
    }

    /// A request is being sent that may renew the lease.
    pub fn sends(&mut self, now: Duration) {
        self.sent = self.sent.max(now);
    }

    /// When something must be sent again.
    pub fn due(&self, lease: Duration) -> Duration {
        self.sent + distance(lease)
    }

    /// From then on no process of this Director runs at a Subagent that has got no lease longer than this.
    pub fn over(&self, lease: Duration) -> Duration {
        self.sent + wait(lease)
    }
}

/// The distance between two requests.
pub fn distance(lease: Duration) -> Duration {
    (lease / 6).min(DISTANCE_MAX)
}

/// How long after the last request the last process is dead: the lease, the grace of its jobs, two percent of both because each
/// clock may be wrong by one, and a moment.
pub fn wait(lease: Duration) -> Duration {
    let span = lease + model::lease_grace(lease);
    span + span / 50 + SLACK
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn s142_the_director_waits_longer_than_the_subagent_takes_with_both_clocks_one_percent_wrong() {
        for lease in [s(1), s(10), s(60), s(3600)] {
            let slow = 1.01;
            let fast = 0.99;
            let all_dead = (lease + model::lease_grace(lease)).as_secs_f64() * slow;
            assert!(wait(lease).as_secs_f64() * fast > all_dead, "{lease:?}");
        }
    }

    #[test]
    fn a_request_is_due_often_enough_to_lose_a_few() {
        let mut renewal = Renewal::new(s(5));
        renewal.sends(s(9));
        renewal.sends(s(8));
        assert_eq!(renewal.due(s(60)), s(12));
        assert_eq!(renewal.due(s(6)), s(10));
        assert_eq!(renewal.over(s(60)), s(9) + Duration::from_millis(77_500));
    }
}
