//! Larger pieces where much flows, and no delay where little does.

use std::time::Duration;
use tokio::time::Instant;

/// Over about so long the flow is measured.
const MEMORY: Duration = Duration::from_millis(50);
/// The runtime's timers are no finer: a shorter wait would become this one.
const LEAST: Duration = Duration::from_millis(1);

/// Events must not wait longer than this.
const DISTANCE_MAX: Duration = Duration::from_mins(1);
const LEAST_FLOW: f64 = 1e-3;

/// When the next chunk of a stream may go. Each chunk costs its receiver a commit, which is a flush; what comes while a chunk
/// waits goes with it. So the chunks of a strong flow keep a distance, and those of a weak one go at once.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    distance_max: Duration,
    /// Events per second at which the distance is the greatest; with fewer it is shorter in proportion.
    full_flow: f64,
    sent_at: Instant,
    /// Events sent lately; older ones count less and less.
    recent: f64,
}

impl Pace {
    /// Creates a pace whose chunks are `distance_max` apart when `full_flow` or more events occur in a second. Values without a meaning are
    /// clamped.
    pub fn new(distance_max: Duration, full_flow: f64) -> Pace {
        Pace {
            distance_max: distance_max.min(DISTANCE_MAX),
            // NaN becomes the least flow.
            full_flow: full_flow.max(LEAST_FLOW),
            sent_at: Instant::now(),
            recent: 0.0,
        }
    }

    /// When the next chunk may go; often in the past.
    pub fn next(&self) -> Instant {
        let flow = self.recent / MEMORY.as_secs_f64();
        let distance = self
            .distance_max
            .mul_f64((flow / self.full_flow).clamp(0.0, 1.0));
        if distance < LEAST {
            return self.sent_at;
        }
        self.sent_at + distance
    }

    /// A chunk with so many events goes now.
    pub fn sent(&mut self, events: usize, now: Instant) {
        let since = now.saturating_duration_since(self.sent_at);
        #[expect(clippy::cast_precision_loss, reason = "no chunk has so many events")]
        let events = events as f64;
        self.recent = self.recent * (-since.as_secs_f64() / MEMORY.as_secs_f64()).exp() + events;
        self.sent_at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An event each `every`, sent with others as the pace allows; answers the sizes of the chunks.
    fn chunks(every: Duration, lasting: Duration) -> Vec<usize> {
        let mut pace = Pace::new(Duration::from_millis(8), 8000.0);
        let begun = Instant::now();
        let mut now = begun;
        let mut sent = 0;
        let mut sizes = Vec::new();
        while now - begun < lasting {
            now = now.max(pace.next());
            let there = usize::try_from((now - begun).as_micros() / every.as_micros());
            let there = there.expect("few");
            if there > sent {
                pace.sent(there - sent, now);
                sizes.push(there - sent);
                sent = there;
            } else {
                now += every;
            }
        }
        sizes
    }

    #[test]
    fn the_wait_of_every_pace_is_bounded() {
        let odd = [
            0.0,
            -1.0,
            1e-300,
            1e300,
            f64::INFINITY,
            f64::NAN,
            f64::NEG_INFINITY,
        ];
        for flow in odd {
            for distance in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
                let now = Instant::now();
                let mut pace = Pace::new(distance, flow);
                pace.sent(usize::MAX, now);
                pace.sent(0, now);
                assert!(pace.next() <= now + DISTANCE_MAX, "{distance:?} {flow}");
            }
        }
    }

    #[test]
    fn events_that_are_rare_go_one_by_one() {
        let sizes = chunks(Duration::from_millis(5), Duration::from_secs(1));
        assert!(sizes.iter().all(|size| *size == 1), "{sizes:?}");
    }

    #[test]
    fn a_strong_flow_goes_in_large_pieces_after_a_moment() {
        let sizes = chunks(Duration::from_micros(100), Duration::from_secs(1));
        let later = &sizes[sizes.len() - 50..];
        assert!(
            later.iter().all(|size| (70..=90).contains(size)),
            "{sizes:?}"
        );
    }
}
