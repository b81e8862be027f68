//! What a node reports about itself: log lines for the operator, metrics for the graphs.
//!
//! Always: the log describes the health of the node, never what happened to orders, which is in the journal; every metric's name is in
//! `names`; logging and counting never fail and never block the caller. Never here: who writes or reads which of them.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod histogram;
mod line;
mod log;
pub mod names;
mod outlet;
mod page;
mod print;
mod process;
mod watchdog;

pub use histogram::Durations;
pub use log::{
    LogFormat, LogTarget, Logging, TelemetryError, flush_log, init, log_trouble, reopen_log,
};
pub use outlet::dropped_log_lines;
pub use page::{CONTENT_TYPE, Page};
pub use print::{Standard, print};
pub use watchdog::panic_on_error;
