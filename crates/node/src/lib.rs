//! The commit loop that a Controller and an Agent share: inputs in, one batch of events out, replies after the commit.
//!
//! Always: what has been answered, streamed or acted upon is in the log; one batch is in flight while the next one gathers; a
//! fault of the log ends the node ([`Fault`], exit code 98), because nobody may act on events that might be lost.
//! Never here: what an input means. See [`Machine`], which each node implements for its own machine.
//!
//! ```text
//! Handle::ask ─► inbox ─► Machine::take, advance (evolve each event) ─► log.append ─► replies
//!                                                                              ├─► event streams
//!                                                                              └─► Outside::release (drivers)
//! ```
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod active;
mod address;
mod alarm;
mod clock;
mod commit;
mod crashes;
pub mod events;
mod facts;
mod fault;
mod figures;
mod front;
mod handle;
mod in_progress;
mod kept;
mod machine;
pub mod members;
pub mod pair;
mod progress;
mod recovery;
mod repair;
mod snapshots;
mod standby;
mod standing;
mod surroundings;
mod vote;

pub use active::{Active, LateHandle, Over};
pub use address::announced_address;
pub use clock::{Clock, SystemClock};
pub use commit::{Limits, Node};
pub use events::unreadable;
pub use facts::Facts;
pub use fault::{Fault, Stopped};
pub use figures::{journal_figures, page_response};
pub use front::{Front, process_advice};
pub use handle::{End, Handle};
pub use in_progress::{Running, Work};
pub use kept::Kept;
pub use machine::{Aside, Machine, NotApplicable, Outside};
pub use members::{ClusterSettings, Trusted};
pub use pair::Clustered;
pub use repair::{is_confirmed_by_caller, is_damaged, open_log, set_aside};
pub use standby::{Ready, follow};
pub use standing::Standing;
pub use surroundings::environment;
pub use vote::Vote;
