//! When to try again after a peer was lost: at once, soon, and then every ten seconds for as long as it takes.
//! Always: pure. Time and jitter are arguments. Never here: giving up.

use std::time::Duration;

const LADDER_MS: [u64; 8] = [0, 100, 200, 500, 1000, 2000, 5000, 10_000];
/// A connection must have held this long to count as a success: a peer that accepts and hangs up is not courted at full speed.
const STEADY: Duration = Duration::from_secs(2);

/// The memory of one link.
#[derive(Clone, Debug, Default)]
pub struct Backoff {
    step: usize,
    connected_at: Option<Duration>,
}

impl Backoff {
    /// A link that has never failed.
    pub fn new() -> Backoff {
        Backoff::default()
    }

    /// A connection came about. `now` is counted from any fixed moment.
    pub fn connected(&mut self, now: Duration) {
        self.connected_at = Some(now);
    }

    /// An attempt failed or a connection broke: how long to wait before the next attempt. Jitter of 0 to 1 adds up to a tenth.
    pub fn failed(&mut self, now: Duration, jitter: f64) -> Duration {
        if let Some(since) = self.connected_at.take()
            && now.saturating_sub(since) >= STEADY
        {
            self.step = 0;
        }
        let delay = Duration::from_millis(LADDER_MS[self.step]);
        self.step = (self.step + 1).min(LADDER_MS.len() - 1);
        delay.mul_f64(1.0 + jitter.clamp(0.0, 1.0) / 10.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Duration = Duration::from_secs(1000);

    fn delays(backoff: &mut Backoff, now: Duration, count: usize) -> Vec<u128> {
        (0..count)
            .map(|_| backoff.failed(now, 0.0).as_millis())
            .collect()
    }

    #[test]
    fn s33_the_first_retry_comes_at_once_and_the_later_ones_every_ten_seconds() {
        let mut backoff = Backoff::new();
        assert_eq!(
            delays(&mut backoff, T0, 10),
            [0, 100, 200, 500, 1000, 2000, 5000, 10_000, 10_000, 10_000]
        );
    }

    #[test]
    fn s34_after_three_days_the_retries_still_come() {
        let mut backoff = Backoff::new();
        let mut now = T0;
        let mut retries = 0;
        while now < T0 + Duration::from_hours(72) {
            now += backoff.failed(now, 1.0) + Duration::from_millis(1);
            retries += 1;
        }
        assert!(retries > 3 * 24 * 3600 / 12, "{retries} retries");
    }

    #[test]
    fn a_connection_that_held_starts_the_ladder_anew() {
        let mut backoff = Backoff::new();
        delays(&mut backoff, T0, 8);
        backoff.connected(T0);
        assert_eq!(
            delays(&mut backoff, T0 + Duration::from_mins(1), 2),
            [0, 100]
        );
    }

    #[test]
    fn a_peer_that_hangs_up_at_once_is_asked_less_and_less_often() {
        let mut backoff = Backoff::new();
        let mut seen = vec![];
        for _ in 0..4 {
            backoff.connected(T0);
            seen.extend(delays(&mut backoff, T0 + Duration::from_millis(5), 1));
        }
        assert_eq!(seen, [0, 100, 200, 500]);
    }

    #[test]
    fn jitter_adds_at_most_a_tenth() {
        let mut backoff = Backoff {
            step: 7,
            connected_at: None,
        };
        assert_eq!(backoff.failed(T0, 1.0), Duration::from_secs(11));
        assert_eq!(backoff.failed(T0, 0.5), Duration::from_millis(10_500));
        assert_eq!(backoff.failed(T0, -3.0), Duration::from_secs(10));
    }
}
