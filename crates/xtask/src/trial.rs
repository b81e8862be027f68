//! `cargo xtask trial`: a Controller pair with its Agents on hosts of its own, disturbed in every way under load.
//! Never here: the proof itself. See `crates/testkit`.

use anyhow::Result;

use crate::proof::{Profile, Proof};

pub(crate) const SUMMARY: &str = "fail-overs of a Controller pair under load, on hosts of its own: [--short] [--only KIND] [--matrix [--in-turn]] …";

pub(crate) const PROOF: Proof = Proof {
    package: "testkit",
    binary: "trial",
    drives_processes: true,
};

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    PROOF.run(Profile::Release, arguments)
}
