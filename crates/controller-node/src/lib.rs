//! A Controller as a running thing: its log, its connections to Agents, its answers over HTTP.
//!
//! Always: what it decides is decided by `controller`; nothing is answered before it is committed; whoever asks has shown who
//! he is and has the named permission. Never here: rules. See [`run`].
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod api;
mod directors;
mod driver;
mod drivers;
mod front;
mod machine;
mod metrics;
mod permission;
mod run;
mod sessions;
mod settings;
mod users;
mod watch;

pub use directors::{from_model, to_model};
pub use machine::{ControllerMachine, Input, Reply};
pub use permission::Permission;
pub use run::{Exit, RunError, check, run};
pub use settings::{ControllerSettings, UserSettings};
pub use watch::{WatchSettings, check_watch, watch};
