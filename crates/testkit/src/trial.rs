//! The trial of an installation on hosts of its own: killed, stopped, cut off, handed over and restarted under load.
//!
//! Always: gaps between starts of jobs are read from what the jobs wrote themselves; what clients were told is compared with what
//! there is in the end. Never here: the network itself and the processes. See `world`.

mod capture;
mod courier;
mod fault;
mod installation;
mod judge;
mod load;
mod matrix;
mod reader;
mod report;
mod run;

pub use capture::{Capture, Dialling};
pub use courier::Courier;
pub use fault::{Cut, Kind};
pub use installation::{
    CLIENT, DIRECTORS, Directing, Installation, MEMBERS, Placement, SUBAGENTS, WATCH,
};
pub use matrix::{Cell, Extent, HOSTS, Loss, Matrix, hosts, placements, run as run_matrix};
pub use report::{Gaps, Report, Told};
pub use run::{Plan, run};
