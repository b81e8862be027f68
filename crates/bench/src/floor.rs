//! The physical floors: what the machine can do if nothing but the unavoidable is done.

mod group_log;
mod mirror;
mod program;
mod reading;
mod spawner;
mod timer;

pub(crate) use mirror::Mirror;
pub(crate) use program::{Appender, clock_program};
pub(crate) use reading::{Reading, read_lines};
pub(crate) use spawner::{Spawned, Spawner};
pub(crate) use timer::start_on_time;
