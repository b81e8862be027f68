//! `cargo xtask failover`: kills, stops and hands over a Controller pair under load, and tells how long no job started.
//! Never here: the proof itself. See `crates/testkit`.

use anyhow::Result;

use crate::proof::{Profile, Proof};

pub(crate) const SUMMARY: &str =
    "fail-overs of a Controller pair under load: --kills N --stops N …";

pub(crate) const PROOF: Proof = Proof {
    package: "testkit",
    binary: "failover",
    drives_processes: true,
};

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    PROOF.run(Profile::Release, arguments)
}
