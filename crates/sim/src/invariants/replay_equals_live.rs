//! Replay equals live: what a start reads from snapshot and log is what the fold of all durable events gives, line for line.

use super::{Checked, Violation};
use crate::place::Place;
use node::Machine;

/// A recovered machine against the fold that the observer keeps.
pub fn check<M: Machine>(place: Place, recovered: &M, shadow: &M) -> Checked {
    let (mut recovered, mut shadow) = (recovered.snapshot(), shadow.snapshot());
    loop {
        let (left, right) = (recovered.next(), shadow.next());
        if left.is_none() && right.is_none() {
            return Ok(());
        }
        if left != right {
            let text = format!("{place}: recovered {left:?}, folded {right:?}");
            return Err(Violation::new("replay_equals_live", text));
        }
    }
}
