//! Durations in buckets, kept by whoever counts them and put on a page when somebody asks.

use std::time::Duration;

/// Upper bounds in seconds of what people and their jobs take: from a tenth of a second to a week.
const BOUNDS: [f64; 12] = [
    0.1, 0.5, 2.0, 10.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 43_200.0, 86_400.0, 604_800.0,
];

/// How many durations lie in which bucket.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Durations {
    /// Not yet summed up; the last one is for what is longer than all bounds.
    counts: [u64; BOUNDS.len() + 1],
    sum: Duration,
}

impl Durations {
    /// Counts one.
    pub fn add(&mut self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let bucket = BOUNDS.iter().position(|bound| seconds <= *bound);
        if let Some(count) = self.counts.get_mut(bucket.unwrap_or(BOUNDS.len())) {
            *count += 1;
        }
        self.sum = self.sum.saturating_add(duration);
    }

    /// Bounds in seconds, each with how many were not longer.
    pub(crate) fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        let sums = self.counts.iter().scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        });
        BOUNDS.into_iter().zip(sums)
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Of all of them, in seconds.
    pub(crate) fn sum(&self) -> f64 {
        self.sum.as_secs_f64()
    }
}
