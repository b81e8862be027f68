//! Time goes on: in a span of the world's time no more happens than a busy world needs. Whoever answers a timer or a message at once
//! with the next one would else keep the world where it is, and a run of many seeds would never end.

use super::{Checked, Violation};

const NAME: &str = "time_goes_on";
/// So many steps may be taken between two looks at the whole.
pub const STEPS_MAX: u64 = 200_000;

/// So many steps were taken since the whole was looked at last.
pub fn check(steps: u64) -> Checked {
    if steps <= STEPS_MAX {
        return Ok(());
    }
    Err(Violation::new(
        NAME,
        format!("does not end: {steps} steps since the last look at the whole"),
    ))
}
