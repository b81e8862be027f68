//! The log of one component: append batches of events, hear when they are committed, read them from any `EventId`.
//!
//! Always: order is kept, what `append` has confirmed is on a majority's disks, readers see committed batches only.
//! Today a cluster has one member; the interface is the one of a pair. Only this crate knows `openraft`, and none
//! of its types leaves it. Never here: what an event means, and when to take a snapshot.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod append;
mod log;
mod open;
mod options;
mod raft;
mod reader;
mod status;

pub use append::{AppendError, Batch};
pub use journal::{
    Disk, Fault, OpenError as JournalError, ReadError, RealDisk, SnapshotError, SnapshotFile,
};
pub use log::Log;
pub use open::{OpenError, Opened, Replay};
pub use options::Options;
pub use reader::{Reader, Torn};
pub use status::{Role, Status};
