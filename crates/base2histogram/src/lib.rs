//! Counts of values by power of two, with the interface that the consensus library expects of a crate of this name.
//!
//! Always: a few hundred bytes a histogram. The published crate fills lookup tables for every precision at its first use: 27 MB in
//! each process, more than everything else that an idle Agent needs. `[patch.crates-io]` in the workspace puts this one in its place;
//! only the library's own statistics, which nobody reads, go through it.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

use std::fmt;
use std::marker::PhantomData;

/// How many values fell between two powers of two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram<T = ()> {
    counts: [u64; 65],
    slots: PhantomData<T>,
}

impl<T> Default for Histogram<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Histogram<T> {
    /// Nothing counted yet.
    pub fn new() -> Self {
        Histogram {
            counts: [0; 65],
            slots: PhantomData,
        }
    }

    /// Counts a value.
    pub fn record(&mut self, value: u64) {
        self.record_n(value, 1);
    }

    /// Counts a value so many times.
    pub fn record_n(&mut self, value: u64, times: u64) {
        // 0 is a bucket of its own, then each holds the values with the same highest bit.
        let bucket = 64 - value.leading_zeros() as usize;
        self.counts[bucket] += times;
    }

    /// How many values have been counted.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The lower end of the bucket below which the share `p` (0 to 1) of all values lies.
    pub fn percentile(&self, p: f64) -> u64 {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a count, rounded up"
        )]
        let wanted = ((self.total() as f64 * p).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return if bucket == 0 { 0 } else { 1 << (bucket - 1) };
            }
        }
        0
    }

    /// The usual percentiles.
    pub fn percentile_stats(&self) -> PercentileStats {
        PercentileStats {
            samples: self.total(),
            p0_1: self.percentile(0.001),
            p1: self.percentile(0.01),
            p5: self.percentile(0.05),
            p10: self.percentile(0.10),
            p50: self.percentile(0.50),
            p90: self.percentile(0.90),
            p99: self.percentile(0.99),
            p99_9: self.percentile(0.999),
        }
    }
}

/// The usual percentiles of a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PercentileStats {
    /// How many values there are.
    pub samples: u64,
    /// 0.1 % of the values are not above this.
    pub p0_1: u64,
    /// 1 %.
    pub p1: u64,
    /// 5 %.
    pub p5: u64,
    /// 10 %.
    pub p10: u64,
    /// The median.
    pub p50: u64,
    /// 90 %.
    pub p90: u64,
    /// 99 %.
    pub p99: u64,
    /// 99.9 %.
    pub p99_9: u64,
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "[samples: {}, P50: {}, P90: {}, P99: {}]",
            self.samples, self.p50, self.p90, self.p99
        )
    }
}

/// A drawing of histograms. Nothing is drawn.
#[derive(Clone, Copy, Debug, Default)]
pub struct AsciiChart;

impl AsciiChart {
    /// An empty drawing.
    pub fn new() -> AsciiChart {
        AsciiChart
    }

    /// Adds a histogram.
    #[must_use]
    pub fn add<T>(self, _name: &str, _histogram: Histogram<T>) -> AsciiChart {
        self
    }
}

impl fmt::Display for AsciiChart {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Histogram;

    #[test]
    fn percentiles_are_lower_ends_of_powers_of_two() {
        let mut histogram = Histogram::<()>::new();
        histogram.record(0);
        histogram.record_n(5, 98);
        histogram.record(1000);
        let stats = histogram.percentile_stats();
        assert_eq!(
            (stats.samples, stats.p0_1, stats.p50, stats.p99, stats.p99_9),
            (100, 0, 4, 4, 512)
        );
    }

    #[test]
    fn a_histogram_takes_less_than_a_kilobyte() {
        assert!(size_of::<Histogram>() < 1024);
    }
}
