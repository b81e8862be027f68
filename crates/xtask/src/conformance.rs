//! `cargo xtask conformance [case…]`: runs the conformance cases through the public API.
//! Never here: the proof itself. See `crates/testkit`.

use anyhow::Result;

use crate::proof::{Profile, Proof};

pub(crate) const SUMMARY: &str = "the cases of the conformance suite against real processes";

pub(crate) const PROOF: Proof = Proof {
    package: "testkit",
    binary: "conformance",
    drives_processes: true,
};

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    PROOF.run(Profile::Release, arguments)
}
