//! The simulated world: the real machines of Controller, Agent and Subagent with simulated network, disks, clocks and processes,
//! from a seed.
//!
//! Always: the same seed gives the same world, down to the hash of its trace; every fault is counted where it takes effect; the
//! invariants are files of their own. Never here: what a node decides. See `docs/testing.md`.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod agent;
pub mod client;
pub mod controller;
pub mod disk;
pub mod fault;
pub mod faults;
pub mod history;
pub mod invariants;
pub mod kept;
pub mod kernel;
pub mod ledger;
pub mod line;
pub mod moment;
pub mod net;
pub mod node;
pub mod pair;
pub mod place;
pub mod process;
pub mod rng;
pub mod seat;
pub mod seeds;
pub mod subagent;
pub mod sweep;
pub mod trace;
pub mod witness;
pub mod workload;
pub mod world;

pub use fault::{Counts, Fault};
pub use moment::Moment;
pub use place::Place;
pub use world::{Failure, Setting, World};
