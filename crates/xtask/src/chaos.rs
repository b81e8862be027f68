//! `cargo xtask chaos --minutes N`: kills, stops and cuts off real processes under a load of orders.
//! Never here: the proof itself. See `crates/testkit`.

use anyhow::Result;

use crate::proof::{Profile, Proof};

pub(crate) const SUMMARY: &str = "the kill test with real processes: --minutes N";

pub(crate) const PROOF: Proof = Proof {
    package: "testkit",
    binary: "chaos",
    drives_processes: true,
};

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    PROOF.run(Profile::Release, arguments)
}
