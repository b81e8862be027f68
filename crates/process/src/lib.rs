//! Jobs as operating-system processes on Linux: the only crate that spawns.
//! Always: each job has its own process group; what it writes arrives whole and in order; what is killed is killed with
//! its whole tree; nothing is left as a zombie; a crashed predecessor's processes are found and ended at the next start.
//! Never here: orders, outcomes, JSON, or the decision when to kill (see `ending` for the order of the steps).
//! The design note is `docs/processes.md`.
#![deny(unsafe_code)]
#![warn(missing_docs)]

mod adoption;
mod cgroup;
mod ending;
mod guard;
mod inherited;
mod job;
mod keeper;
mod launch;
mod ledger;
mod leftovers;
mod output;
mod procfs;
mod return_values;
mod running;
mod scripts;
mod signals;
mod spawn;
mod tree;
mod values_files;
mod ward;

pub use crate::ending::{Cause, Effect, Ending, Input};
pub use crate::guard::{Guard, GuardProgram, guard, steady_time};
pub use crate::inherited::{Inherited, settle_inherited};
pub use crate::launch::{Environment, Excess, Launch, StartError, is_shortage};
pub use crate::leftovers::{Leftover, Leftovers, end_leftovers, find_leftovers};
pub use crate::output::{OutputSettings, Stream};
pub use crate::return_values::{BadReturnValues, MAX_RETURN_VALUES_BYTES, parse_return_values};
pub use crate::running::{Event, ExitStatus, Running};
pub use crate::scripts::{ScriptCommand, ScriptFiles};
pub use crate::signals::spare_from_child_signals;
pub use crate::values_files::{ValuesFile, ValuesFiles};
pub use crate::ward::{AfterEnd, CgroupUse, OpenError, Settings, Ward};

/// The environment variable by which a process is recognized as part of a job, wherever it has fled to.
pub const MARK_VARIABLE: &str = "MAINSPRING_JOB_MARK";
