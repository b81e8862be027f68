//! A Subagent's decisions: which attempts run, what they report, how a job's end becomes an outcome.
//!
//! Always: a process is started at most once for an attempt; what has happened is kept until the Director has confirmed it;
//! an older connection of a Director can order nothing once a newer one is coupled; jobs do not outlive their Director's lease. Never here: processes, files, sockets,
//! the clock.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod attempts;
mod directors;
mod job_end;
mod lease;
mod plan;
mod report;

pub use attempts::{Effect, State};
pub use job_end::{EndCause, JobEnd};
pub use lease::Lease;
pub use plan::{JobPlan, PlannedProgram, Surroundings, plan};
pub use report::Report;
