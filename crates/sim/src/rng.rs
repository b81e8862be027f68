//! Chance from a seed: the `SplitMix64` generator, which fits on a page and gives the same numbers everywhere.

use std::time::Duration;

/// A stream of numbers that follows from a seed.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The stream of `seed`.
    pub fn new(seed: u64) -> Rng {
        Rng(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5DEE_CE66_D1CE_4E5B)
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which must not be 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound
    }

    /// An index of something that has `len` members.
    pub fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap_or(0)
    }

    /// A number from `low` to `high`, both possible.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True in so many of a thousand cases.
    pub fn per_mille(&mut self, share: u64) -> bool {
        self.below(1000) < share
    }

    /// True in so many of a million cases.
    pub fn per_million(&mut self, share: u64) -> bool {
        self.below(1_000_000) < share
    }

    /// One of them.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.index(of.len())]
    }

    /// A span from `low` to `high` microseconds; short ones are as likely as long ones at every scale.
    pub fn span(&mut self, low: u64, high: u64) -> Duration {
        let (low, high) = (low.max(1), high.max(2));
        let octaves = u64::from(high.ilog2().saturating_sub(low.ilog2()));
        let top = low << self.between(0, octaves);
        Duration::from_micros(self.between(low, top.saturating_mul(2).min(high).max(low)))
    }
}
