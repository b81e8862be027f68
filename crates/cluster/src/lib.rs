//! The log of one component: append batches of events, hear when they are committed, read them from any `EventId`.
//!
//! Always: order is kept, what `append` has confirmed is on a majority's disks, readers see committed batches only.
//! A cluster has one member, or two and a watch, or more; a single one becomes a pair without a migration. Only this crate knows `openraft`, and none
//! of its types leaves it. Never here: what an event means, and when to take a snapshot.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod append;
mod aside;
pub mod beats;
mod begin;
mod cluster;
mod leadership;
mod link;
mod log;
mod member;
mod open;
mod options;
pub mod pace;
mod peers;
mod raft;
mod reader;
mod repeats;
mod respond;
pub mod rules;
mod scrub;
mod status;
mod stuck;
mod timers;
mod witness;

pub use append::{AppendError, Batch};
pub use aside::set_aside;
pub use begin::{caller_has, join_if_begun, others_have};
pub use cluster::MembershipError;
pub use journal::{
    Damage, Disk, Fault, OpenError as JournalError, ReadError, RealDisk, SnapshotError,
    SnapshotFile,
};
pub use leadership::Leadership;
pub use link::LinkEnd;
pub use log::Log;
pub use member::{Hello, Part, ProcessRun, Timing, draw_number};
pub use open::{OpenError, Opened, Replay};
pub use options::Options;
pub use peers::PeerStatus;
pub use reader::{Reader, Torn};
pub use repeats::{Changes, Repeats};
pub use scrub::ScrubPace;
pub use status::{Role, Status};
pub use witness::{
    Candidate, EntryId, MembersAt, Outdated, Witness, WitnessEnd, WitnessState, WitnessStore,
};
