//! Tasks and threads of a part, and what becomes of the part when one of them fails.
//!
//! Always: every task and thread of the product is started here and has a name. When one panics, or one that must not end by itself
//! ends, the process ends at once with exit code 98 ([`failed`]): a part that has lost one of its tasks must not look alive. The
//! exception is named: what is [`contain`]ed belongs to a single request, connection or job; only that one fails, it is counted and
//! logged. A panic in the task of a library, too, ends the process.
//! Never here: what the tasks do, and how the process ends; `mainspring` waits for [`failed`].
//!
//! | | ends by itself | on a panic |
//! |---|---|---|
//! | [`spawn`] | when its work is done or whoever it works for is gone | ends the process |
//! | [`spawn_endless`] | never, which its type says; it is aborted | ends the process |
//! | [`spawn_until`] | not before it is told to, else it ends the process | ends the process |
//! | [`spawn_contained`] | when its work is done | its result says so |
//! | [`spawn_blocking`] | when its work is done | as in the task that waits for it |
//! | [`spawn_thread`] | when its work is done or whoever it works for is gone | ends the process |
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod contained;
mod failure;
mod faults;
mod scope;
mod spawn;

pub use contained::{Panicked, contain, panics, spawn_contained};
pub use failure::{failed, install_panic_hook};
pub use faults::fault_point;
pub use spawn::{spawn, spawn_blocking, spawn_endless, spawn_thread, spawn_until};
