//! A Subagent as a running thing: its processes, its answers, its report, in the Director's own process or over HTTP.
//!
//! Always: what it decides is decided by `subagent`; a job's output is bounded by the Director's pace. Never here: a log on
//! disk; what a Subagent does not get confirmed is lost with its process, and the Director learns that it is lost.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod api;
mod gate;
mod job;
mod lease;
mod link;
mod meter;
mod metrics;
mod place;
mod program;
mod run;
mod service;
mod settings;
mod shortage;

pub use api::router;
pub use gate::Gate;
pub use lease::DirectorSeen;
pub use link::{Events, LinkError, Linked, LocalLink, RemoteLink, SubagentLink, Taken};
pub use meter::{METERING_PERIOD, Meter};
pub use place::placed;
pub use process::{GuardProgram, Inherited, guard, settle_inherited, spare_from_child_signals};
pub use run::{Exit, RunError, check, run, warn_of};
pub use service::{OpenError, Subagent, platform_info};
pub use settings::{JobSettings, SubagentSettings};
