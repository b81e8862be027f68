//! An Agent as a running thing: its log, its own Subagent, its connections to other Subagents, its answers to the Controller.
//!
//! Always: what it decides is decided by `agent`; it waits for its Controller and never dials it. Never here: rules.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod api;
mod driver;
mod drivers;
mod forgetting;
mod machine;
mod metrics;
pub mod outgoing;
mod reset;
mod run;
mod settings;
mod streams;

pub use machine::{AgentMachine, Input, Reply};
pub use run::{Exit, RunError, check, run};
pub use settings::AgentSettings;
