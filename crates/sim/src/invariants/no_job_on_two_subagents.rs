//! No order has live processes on two Subagents at once, whatever is cut, stands still or is reckoned with a wrong clock (S142).

use super::{Checked, Violation};
use crate::process::Processes;

const NAME: &str = "no_job_on_two_subagents";

/// Looks at all live processes; only a start can add one.
pub fn check(processes: &Processes) -> Checked {
    let mut places = std::collections::BTreeMap::new();
    for process in processes.alive() {
        let earlier = places.insert(&process.attempt.order_id, process);
        if let Some(other) = earlier.filter(|other| other.place != process.place) {
            let text = format!(
                "{} runs on {} while {} runs on {}",
                process.attempt, process.place, other.attempt, other.place
            );
            return Err(Violation::new(NAME, text));
        }
    }
    Ok(())
}
