//! What must hold in every world. One file each; a check answers what is wrong.

pub mod acknowledged_is_durable;
pub mod acknowledged_survives_failover;
pub mod agent_events_arrive_once_in_order;
pub mod due_orders_start;
pub mod effect_after_commit;
pub mod legal_transitions;
pub mod marks_take_effect;
pub mod no_job_on_two_subagents;
pub mod no_order_lost;
pub mod one_active_per_epoch;
pub mod one_is_enough;
pub mod one_start_per_attempt;
pub mod order_in_one_place;
pub mod progress;
pub mod reads_are_fresh;
pub mod released_only_confirmed;
pub mod replay_equals_live;
pub mod time_goes_on;

use std::fmt;

/// An invariant that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub invariant: &'static str,
    /// What was found.
    pub text: String,
}

impl Violation {
    /// With what was found.
    pub fn new(invariant: &'static str, text: impl Into<String>) -> Violation {
        Violation {
            invariant,
            text: text.into(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.text)
    }
}

/// What a check answers.
pub type Checked = Result<(), Violation>;
