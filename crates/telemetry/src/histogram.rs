//! A histogram of durations. The crate that records the durations owns the histogram and adds it to the page when metrics are requested.

use std::time::Duration;

/// The upper bounds of the buckets in seconds, for the durations of orders and jobs: from a tenth of a second to a week.
const BOUNDS: [f64; 12] = [
    0.1, 0.5, 2.0, 10.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 43_200.0, 86_400.0, 604_800.0,
];

/// The number of durations in each bucket.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Durations {
    /// The count of each bucket, not cumulative. The last bucket is for durations longer than all bounds.
    counts: [u64; BOUNDS.len() + 1],
    sum: Duration,
}

impl Durations {
    /// Adds a duration.
    pub fn add(&mut self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let bucket = BOUNDS.iter().position(|bound| seconds <= *bound);
        if let Some(count) = self.counts.get_mut(bucket.unwrap_or(BOUNDS.len())) {
            *count += 1;
        }
        self.sum = self.sum.saturating_add(duration);
    }

    /// Returns the bounds in seconds, each with the number of durations up to the bound.
    pub(crate) fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        let sums = self.counts.iter().scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        });
        BOUNDS.into_iter().zip(sums)
    }

    /// Returns the number of durations.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Returns the sum of all durations, in seconds.
    pub(crate) fn sum(&self) -> f64 {
        self.sum.as_secs_f64()
    }
}
