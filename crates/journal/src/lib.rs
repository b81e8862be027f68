//! The journal of one node: segments of records on disk, snapshots beside them, one that writes at a time.
//!
//! Always: what a callback has confirmed is on the disk; damage is named and never served; a failed write or
//! sync poisons the journal and is never repeated as if nothing had been lost.
//! Never here: consensus, the meaning of a body, async. `docs/journal-format.md` has every byte.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod counters;
mod damaged;
mod directory;
mod fault;
mod hard_state;
pub mod inspect;
mod journal;
mod kept;
mod marker;
mod open;
mod pen;
mod reading;
mod record;
mod recover;
mod replay;
mod ring;
mod scrub;
mod seal;
mod segment;
mod shared;
mod snapshot;
mod storage;
mod walk;
mod writer;

pub use counters::Counts;
pub use directory::LOCK_FILE;
pub use fault::{Damage, Fault, OpenError, ReadError};
pub use hard_state::{HardState, Position, Vote};
pub use journal::{Journal, Standing};
pub use kept::OlderSnapshot;
pub use open::{Options, Recovered};
pub use record::{BODY_BYTES_MAX, HEADER_BYTES, Kind, Record};
pub use replay::Replay;
pub use scrub::Scrub;
pub use snapshot::{SnapshotError, SnapshotFile, SnapshotLines, SnapshotMeta};
pub use storage::{Disk, RealDisk};
