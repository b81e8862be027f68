//! An Agent's decisions: what it takes over from its Controller, which jobs run when and on which Subagent, what it reports.
//!
//! Always: everything that needs no other Agent and no common point is decided here, whether or not the Controller is
//! there. Never here: how an order walks through its workflow (see `engine`), processes, connections, the clock.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod attached;
mod choice;
mod cluster;
mod command;
mod controllers;
mod evolve;
mod priority;
mod processes;
mod queue;
mod renewal;
mod reset;
mod snapshot;
mod state;
mod step;
mod subagents;

pub use cluster::NODE_IDS;
pub use command::Standing;
pub use controllers::OtherController;
pub use evolve::NotApplicable;
pub use renewal::{Renewal, distance, wait};
pub use reset::Reset;
pub use state::{Coupling, Meta, State, SubagentState};
pub use subagents::{Loss, Work};
