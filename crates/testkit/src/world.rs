//! A Controller, Agents and Subagents as real processes on this machine, with proxies in between if wanted.
//!
//! Always: all of it lives in one temporary directory; dropping the world ends every process that came out of it, jobs included,
//! and removes the directory, unless the test is failing: then it stays and its place is told.
//! Never here: what a test expects.

mod binary;
mod certificates;
mod client;
mod follower;
mod history;
pub mod http;
mod network;
mod node;
mod pair;
mod plan;
mod ports;
mod proxy;
mod skipped;
mod stage;
mod volume;
mod wreckage;

pub use binary::mainspring;
pub use certificates::{certified, make_certificates, make_certificates_of_hosts};
pub use client::{Answer, Api, Refused};
pub use follower::Follower;
pub use history::{History, Seen};
pub use network::Network;
pub use node::{Node, Part};
pub use pair::{MEMBERS, Pair, PairPlan, is_coupled};
pub use plan::{AgentPlan, Plan, second_director};
pub use ports::free_port;
pub use proxy::{Mode, Proxy};
pub use skipped::{SKIPPED, skip};
pub use stage::{World, copy_dir, drawn_token, make_private};
pub use volume::{Trouble, Volume};
pub(crate) use wreckage::clear;
pub use wreckage::{WORLD_VARIABLE, processes_of};
