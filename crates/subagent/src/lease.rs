//! How long a Director's word holds: without a new one the Subagent ends its jobs.
//!
//! Always: the time is counted from a moment that was before the Director sent its last request, so that a request that has
//! travelled for long prolongs nothing that the Director does not know of. That moment is the answer to the request before: the
//! Director sends one at a time. A lease that has ended stays ended. Never here: clocks; times are given, from any fixed
//! beginning, of a clock that never jumps.

use std::time::Duration;

/// A coupling's lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    length: Duration,
    begins: Duration,
    /// When the newest request was answered, and its number.
    answered: (Duration, u64),
    is_over: bool,
}

impl Lease {
    /// A lease of this length that counts from `begins`. It is given at `now`.
    pub(crate) fn new(length: Duration, begins: Duration, now: Duration) -> Lease {
        let mut lease = Lease {
            length,
            begins,
            answered: (now, 0),
            is_over: false,
        };
        lease.look(now);
        lease
    }

    /// A request of this number has come. One that comes a second time prolongs nothing.
    pub(crate) fn renew(&mut self, number: u64, now: Duration) {
        let (answered, newest) = self.answered;
        if self.is_over || number <= newest {
            return;
        }
        self.begins = answered;
        self.answered = (now, number);
    }

    /// It is `now`; answers whether the lease has just ended.
    pub(crate) fn look(&mut self, now: Duration) -> bool {
        let ends = !self.is_over && now >= self.ends();
        self.is_over |= ends;
        ends
    }

    /// Whether it has ended.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// When it ends or has ended.
    pub fn ends(&self) -> Duration {
        self.begins + self.length
    }

    /// When the Director was heard last.
    pub fn heard(&self) -> Duration {
        self.answered.0
    }

    /// What was agreed.
    pub fn length(&self) -> Duration {
        self.length
    }

    /// How long a job of a lost Director may take to end after SIGTERM, whatever its own grace time is.
    pub fn grace(&self) -> Duration {
        model::lease_grace(self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn s142_a_request_that_travelled_for_long_prolongs_only_to_what_its_sender_reckons_with() {
        let mut lease = Lease::new(s(60), s(0), s(1));
        lease.renew(1, s(10));
        assert_eq!(lease.ends(), s(61), "from the answer to the coupling");
        // Sent at 11 at the earliest, it comes at 55.
        lease.renew(2, s(55));
        assert_eq!(lease.ends(), s(70), "from the answer to the first request");
        lease.renew(2, s(65));
        assert_eq!(lease.ends(), s(70), "a repetition prolongs nothing");
        assert!(!lease.look(s(69)) && lease.look(s(70)) && !lease.look(s(71)));
        lease.renew(3, s(71));
        assert!(lease.is_over(), "an ended lease stays ended");
    }

    #[test]
    fn a_coupling_that_comes_too_late_gives_nothing() {
        assert!(Lease::new(s(60), s(0), s(60)).is_over());
        assert!(!Lease::new(s(60), s(0), s(59)).is_over());
    }
}
