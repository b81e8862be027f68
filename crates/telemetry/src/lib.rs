//! What a node tells about itself: log lines for the operator, metrics for the graphs.
//!
//! Always: the log tells how the node fares, never what happened to orders, which is the journal's business; every metric's name is in
//! `names`. Never here: who writes or reads which of them.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod line;
mod log;
mod metrics;
pub mod names;
mod page;
mod watchdog;

pub use log::{LogFormat, LogTarget, Logging, TelemetryError, init};
pub use metrics::{Metrics, MetricsError, install_metrics};
pub use page::{CONTENT_TYPE, Page};
pub use watchdog::panic_on_error;
