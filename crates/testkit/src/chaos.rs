//! The kill test: real processes under a load of orders get killed, stopped and cut off, one after another; then everything is healed
//! and must drain, and all traces must fit together.
//!
//! Always: what happened is judged by traces that Mainspring did not write itself (the jobs' markers, the load's own list of
//! acknowledged orders) against the Controller's events. The seed decides which faults come when; the machine decides the rest.
//! Never here: faults that no operating system produces. See `sim`.

mod faults;
mod history_check;
mod life_check;
mod load;
pub mod markers;
mod run;
mod workflows;

pub use run::{Chaos, Settings};
