//! `cargo xtask sim --seeds N [--seed S] [--clusters]`: runs the real machines in the simulated world, from seeds; with pairs of
//! Controllers and Directors.
//! Never here: the proof itself. See `crates/sim`.

use anyhow::Result;

use crate::proof::{Profile, Proof};

pub(crate) const SUMMARY: &str = "the simulated world: --seeds N [--seed S] [--clusters]";

pub(crate) const PROOF: Proof = Proof {
    package: "sim",
    binary: "sim",
    drives_processes: false,
};

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    PROOF.run(Profile::Release, arguments)
}
