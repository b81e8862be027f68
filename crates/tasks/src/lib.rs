//! Starts the tasks and threads of a part, and reports when one of them fails.
//!
//! Always: every task and thread of the product is started here and has a name. When a task panics, or ends although it must not, the
//! process ends at once with exit code 98 ([`failed`]), because a part that has lost a task must not appear to work. The exception is
//! [`contain`]ed work, which belongs to a single request, connection or job. If it panics, only this work fails, and the panic is counted
//! and logged. A panic in a task of a library ends the process, too.
//! Never here: what the tasks do, and how the process ends; `mainspring` waits for [`failed`].
//!
//! | | ends by itself | on a panic |
//! |---|---|---|
//! | [`spawn`] | when its work is done or no longer needed | ends the process |
//! | [`spawn_endless`] | never, as its type shows; the caller aborts it | ends the process |
//! | [`spawn_until`] | after its cancellation; earlier, it ends the process | ends the process |
//! | [`spawn_contained`] | when its work is done | its result is an error |
//! | [`catch`] (no task) | when its work is done | its result contains the reason |
//! | [`spawn_blocking`] | when its work is done | counts as a panic of the task that started it |
//! | [`spawn_thread`] | when its work is done or no longer needed | ends the process |
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod contained;
mod failure;
mod faults;
mod scope;
mod spawn;

pub use contained::{Panicked, catch, contain, panics, spawn_contained};
pub use failure::{failed, install_panic_hook};
pub use faults::{fault_at, fault_in_replay, fault_point};
pub use spawn::{spawn, spawn_blocking, spawn_endless, spawn_thread, spawn_until};
