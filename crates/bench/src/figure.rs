//! One measured figure with what it should be.

use serde::{Deserialize, Serialize};

/// A bound from one side.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            Bound::AtLeast(bound) => value >= bound,
            Bound::AtMost(bound) => value <= bound,
        }
    }

    fn told(self, unit: &str) -> String {
        match self {
            Bound::AtLeast(bound) => format!("≥ {}", number(bound, unit)),
            Bound::AtMost(bound) => format!("≤ {}", number(bound, unit)),
        }
    }
}

/// How far a figure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Reached {
    Goal,
    Half,
    No,
    /// There is no bound: told for information.
    Told,
}

impl Reached {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Reached::Goal => "goal",
            Reached::Half => "half",
            Reached::No => "**no**",
            Reached::Told => "–",
        }
    }
}

/// A line of the table.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Figure {
    pub(crate) metric: String,
    pub(crate) what: String,
    pub(crate) goal: String,
    pub(crate) half: String,
    pub(crate) value: f64,
    pub(crate) measured: String,
    pub(crate) spread: String,
    pub(crate) reached: Reached,
}

impl Figure {
    /// A figure with the goal and what must be reached of it.
    pub(crate) fn bound(
        metric: &str,
        what: &str,
        value: f64,
        unit: &str,
        goal: Bound,
        half: Bound,
    ) -> Figure {
        let reached = match (goal.holds(value), half.holds(value)) {
            (true, _) => Reached::Goal,
            (false, true) => Reached::Half,
            (false, false) => Reached::No,
        };
        Figure {
            goal: goal.told(unit),
            half: half.told(unit),
            reached,
            ..Figure::told(metric, what, value, unit)
        }
    }

    /// A figure for information.
    pub(crate) fn told(metric: &str, what: &str, value: f64, unit: &str) -> Figure {
        Figure {
            metric: metric.to_owned(),
            what: what.to_owned(),
            goal: String::new(),
            half: String::new(),
            value,
            measured: number(value, unit),
            spread: String::new(),
            reached: Reached::Told,
        }
    }

    /// With how far the rounds lie apart, or what else belongs to it.
    pub(crate) fn with(mut self, spread: impl Into<String>) -> Figure {
        self.spread = spread.into();
        self
    }
}

/// A number in as many digits as mean something.
pub(crate) fn number(value: f64, unit: &str) -> String {
    let size = value.abs();
    let text = if size >= 10_000.0 {
        grouped(value)
    } else if size >= 100.0 || (value.fract() == 0.0 && size >= 10.0) {
        format!("{value:.0}")
    } else if size >= 10.0 {
        format!("{value:.1}")
    } else if value == 0.0 {
        "0".to_owned()
    } else {
        format!("{value:.2}")
    };
    if unit.is_empty() {
        text
    } else {
        format!("{text} {unit}")
    }
}

fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_says_whether_it_is_at_its_goal_at_half_of_it_or_at_neither() {
        let reached = |value| {
            Figure::bound("P3", "", value, "C", Bound::AtMost(2.0), Bound::AtMost(4.0)).reached
        };
        assert_eq!(
            [reached(2.0), reached(3.9), reached(4.1)],
            [Reached::Goal, Reached::Half, Reached::No]
        );
        let reached = |value| {
            Figure::bound(
                "P1",
                "",
                value,
                "F",
                Bound::AtLeast(0.6),
                Bound::AtLeast(0.3),
            )
            .reached
        };
        assert_eq!(
            [reached(0.6), reached(0.31), reached(0.2)],
            [Reached::Goal, Reached::Half, Reached::No]
        );
    }

    #[test]
    fn numbers_are_told_in_digits_that_mean_something() {
        let told = [1_234_567.0, 4_321.4, 123.4, 12.34, 1.234, 0.0].map(|value| number(value, ""));
        assert_eq!(told, ["1 234 567", "4321", "123", "12.3", "1.23", "0"]);
    }
}
