//! Rounds of a measurement: median and spread, and the ratio of two that took turns.

use crate::figure::number;

/// The values of some rounds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample(Vec<f64>);

impl Sample {
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    pub(crate) fn median(&self) -> f64 {
        self.percentile(0.5)
    }

    pub(crate) fn min(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    pub(crate) fn max(&self) -> f64 {
        self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }

    /// The value below or at which this share of all lies (nearest rank); for a share of one half of an even number of
    /// values, the mean of the two in the middle.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a sample is small and a share lies between 0 and 1"
    )]
    pub(crate) fn percentile(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let count = sorted.len();
        if count == 0 {
            return f64::NAN;
        }
        let middle = count / 2;
        if (share - 0.5).abs() < f64::EPSILON && count.is_multiple_of(2) {
            return f64::midpoint(sorted[middle - 1], sorted[middle]);
        }
        let rank = (share * count as f64).ceil() as usize;
        sorted[rank.clamp(1, count) - 1]
    }

    /// Median, and the smallest and greatest in brackets.
    pub(crate) fn told(&self, unit: &str) -> String {
        format!(
            "{} ({} to {})",
            number(self.median(), unit),
            number(self.min(), ""),
            number(self.max(), "")
        )
    }
}

/// How this one's median stands to that of `floor`.
pub(crate) fn ratio(sample: &Sample, floor: &Sample) -> f64 {
    sample.median() / floor.median()
}

/// The smallest and greatest ratio of two values of the same round.
pub(crate) fn spread_of_ratio(sample: &Sample, floor: &Sample) -> String {
    let ratios = Sample(
        sample
            .0
            .iter()
            .zip(&floor.0)
            .map(|(value, floor)| value / floor)
            .collect(),
    );
    format!(
        "{} to {}",
        number(ratios.min(), ""),
        number(ratios.max(), "")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(values: &[f64]) -> Sample {
        Sample(values.to_vec())
    }

    #[test]
    fn the_median_is_the_middle_whatever_the_order() {
        assert!((sample(&[3.0, 1.0, 2.0]).median() - 2.0).abs() < 1e-9);
        assert!((sample(&[4.0, 1.0, 2.0, 3.0]).median() - 2.5).abs() < 1e-9);
    }

    #[test]
    fn the_99th_percentile_of_few_values_is_the_greatest() {
        assert!((sample(&[1.0, 9.0, 2.0]).percentile(0.99) - 9.0).abs() < 1e-9);
        let hundred = Sample((1..=200).map(f64::from).collect());
        assert!((hundred.percentile(0.99) - 198.0).abs() < 1e-9);
    }
}
