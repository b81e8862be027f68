//! `cargo xtask bench [figure…]`: measures Mainspring against floors taken in the same run.
//! Never here: the proof itself. See `crates/bench`.

use anyhow::Result;

use crate::proof::{Profile, Proof};

pub(crate) const SUMMARY: &str = "floors and ratios: speed, memory, cost";

pub(crate) const PROOF: Proof = Proof {
    package: "bench",
    binary: "bench",
    drives_processes: true,
};

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    PROOF.run(Profile::Release, arguments)
}
