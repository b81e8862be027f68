//! A process is started at most once for an attempt, and an order never has two live processes.

use super::{Checked, Violation};
use crate::history::History;
use crate::moment::Moment;
use crate::place::Place;
use crate::process::Processes;
use model::Attempt;

const NAME: &str = "one_start_per_attempt";

/// A process is about to be started.
pub fn check(
    history: &History,
    processes: &Processes,
    attempt: &Attempt,
    now: Moment,
    place: Place,
) -> Checked {
    if let Some((earlier, at)) = history.started.get(attempt) {
        let text = format!(
            "{attempt} is started at {now} on {place}, but was started at {at} on {earlier} before"
        );
        return Err(Violation::new(NAME, text));
    }
    match processes
        .alive()
        .find(|process| process.attempt.order_id == attempt.order_id)
    {
        Some(other) => {
            let text = format!(
                "{attempt} is started on {place} while {} still runs on {}",
                other.attempt, other.place
            );
            Err(Violation::new(NAME, text))
        }
        None => Ok(()),
    }
}
