//! The programs that prove something about Mainspring: simulation, chaos, conformance, bench.
//! Always: a proof that drives real processes finds the `mainspring` binary, built with the same profile, in `MAINSPRING_BIN`.
//! Never here: what a proof does with its arguments. They are passed on as they are.

use anyhow::Result;

use crate::cargo::{cargo, run};
use crate::metadata::{Metadata, Target};

/// A program of this workspace.
pub(crate) struct Proof {
    pub(crate) package: &'static str,
    pub(crate) binary: &'static str,
    /// Whether it starts `mainspring` processes.
    pub(crate) drives_processes: bool,
}

/// How a proof is built.
#[derive(Clone, Copy)]
pub(crate) enum Profile {
    /// What the tests have built already: right for a short run in `verify`.
    Dev,
    /// Optimised: right for everything that counts or lasts.
    Release,
}

impl Proof {
    /// Whether the workspace has the program.
    pub(crate) fn exists(&self, metadata: &Metadata) -> bool {
        let has_it = |target: &Target| {
            target.name == self.binary && target.kind.iter().any(|kind| kind == "bin")
        };
        metadata
            .member(self.package)
            .is_some_and(|package| package.targets.iter().any(has_it))
    }

    /// Builds what is needed and runs the program to its end.
    pub(crate) fn run(&self, profile: Profile, arguments: &[String]) -> Result<()> {
        let (flags, folder): (&[&str], _) = match profile {
            Profile::Dev => (&[], "debug"),
            Profile::Release => (&["--release"], "release"),
        };
        let mut command = cargo([
            "run",
            "--quiet",
            "--package",
            self.package,
            "--bin",
            self.binary,
        ]);
        command.args(flags).arg("--").args(arguments);
        if self.drives_processes {
            let mut build = cargo(["build", "--quiet", "--package", "mainspring"]);
            build.args(flags);
            run(build)?;
            command.env(
                "MAINSPRING_BIN",
                Metadata::read()?
                    .target_directory
                    .join(folder)
                    .join("mainspring"),
            );
        }
        run(command)
    }
}
