//! `cargo xtask verify`: everything that must hold before someone is asked to read.
//! Always: it writes nothing but build results; cheap steps come first; each step tells its name and its duration; the last line
//! sums up all tests and all other steps.
//! Never here: repairs. See `fix`.

mod clippy_files;
mod guests;
mod layers;
mod licences;
mod porches;
mod tests;
mod texts;
mod unused;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::AlreadyTold;
use crate::cargo::{cargo, run as run_to_end};
use crate::metadata::Metadata;
use crate::proof::{Profile, Proof};

pub(crate) const SUMMARY: &str = "all checks; [--list] [--keep-going] [step…]";

/// What a check found wrong, one sentence each: what, where, what to do.
type Faults = Vec<String>;

/// One step: its name, what it holds, and how it is run.
struct Step {
    name: &'static str,
    holds: &'static str,
    run: Kind,
}

enum Kind {
    /// Judges the metadata.
    Graph(fn(&Metadata) -> Faults),
    /// Judges files.
    Files(fn(&Metadata) -> Result<Faults>),
    /// Runs a tool to its end.
    Tool(fn() -> Result<()>),
    /// Runs the tests and counts them.
    Tests,
    /// A short run of a proof.
    Proof(&'static Proof, &'static [&'static str]),
}

const STEPS: &[Step] = &[
    Step {
        name: "format",
        holds: "rustfmt has nothing to say",
        run: Kind::Tool(format),
    },
    Step {
        name: "layers",
        holds: "crates use lower layers only; absences hold",
        run: Kind::Graph(layers::check),
    },
    Step {
        name: "porches",
        holds: "each crate forbids unsafe code and asks for docs",
        run: Kind::Files(porches::check),
    },
    Step {
        name: "clippy-files",
        holds: "copies of clippy.toml agree",
        run: Kind::Files(clippy_files::check),
    },
    Step {
        name: "licences",
        holds: "every licence is one we accept",
        run: Kind::Graph(licences::check),
    },
    Step {
        name: "guests",
        holds: "sources, banned crates, duplicate versions",
        run: Kind::Graph(guests::check),
    },
    Step {
        name: "unused",
        holds: "every dependency is used",
        run: Kind::Files(unused::check),
    },
    Step {
        name: "texts",
        holds: "headers, file names, links, ignored tests",
        run: Kind::Files(texts::check),
    },
    Step {
        name: "clippy",
        holds: "the workspace's lints, as errors",
        run: Kind::Tool(clippy),
    },
    Step {
        name: "tests",
        holds: "every test of the workspace",
        run: Kind::Tests,
    },
    Step {
        name: "mutants",
        holds: "a sample of planted faults is noticed by the tests",
        run: Kind::Tool(crate::mutants::sample),
    },
    Step {
        name: "docs",
        holds: "the documentation builds without a warning",
        run: Kind::Tool(docs),
    },
    Step {
        name: "sim",
        holds: "the simulated world, 300 seeds of an hour",
        run: Kind::Proof(&crate::sim::PROOF, &["--seeds", "300", "--hours", "1"]),
    },
    Step {
        name: "sim-clusters",
        holds: "simulated pairs of Controllers and Directors, 60 seeds of half an hour",
        run: Kind::Proof(
            &crate::sim::PROOF,
            &[
                "--clusters",
                "--seeds",
                "60",
                "--hours",
                "0.5",
                "--threads",
                "2",
            ],
        ),
    },
    Step {
        name: "conformance",
        holds: "the conformance cases",
        run: Kind::Proof(&crate::conformance::PROOF, &[]),
    },
    Step {
        name: "chaos",
        holds: "the kill test, 2 minutes",
        run: Kind::Proof(&crate::chaos::PROOF, &["--minutes", "2"]),
    },
    Step {
        name: "trial",
        holds: "fail-overs on hosts of their own, two of each kind",
        run: Kind::Proof(&crate::trial::PROOF, &["--short"]),
    },
    Step {
        name: "matrix",
        holds: "everything that is on one host is lost at once: three placements of the matrix of hosts",
        run: Kind::Proof(&crate::trial::PROOF, &["--matrix", "--sample", "3"]),
    },
];

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let mut keeps_going = false;
    let mut names = Vec::new();
    for argument in arguments {
        match argument.as_str() {
            "--keep-going" => keeps_going = true,
            "--list" => {
                list();
                return Ok(());
            }
            name if STEPS.iter().any(|step| step.name == name) => names.push(name),
            other => {
                bail!("there is no step “{other}”; `cargo xtask verify --list` shows the steps")
            }
        }
    }
    let metadata = Metadata::read()?;
    let mut tally = tests::Tally::default();
    let mut failed = Vec::new();
    for step in STEPS
        .iter()
        .filter(|step| names.is_empty() || names.contains(&step.name))
    {
        if let Kind::Proof(proof, _) = step.run
            && !proof.exists(&metadata)
        {
            println!(
                "── {} · there is no such program in crates/{} yet",
                step.name, proof.package
            );
            continue;
        }
        println!("── {} · {}", step.name, step.holds);
        let start = Instant::now();
        let passed = run_step(step, &metadata, &mut tally);
        let took = in_words(start.elapsed());
        // The test step counts each test by itself.
        if !matches!(step.run, Kind::Tests) {
            tally.add_step(passed);
        }
        if passed {
            println!("── {} passed in {took}", step.name);
            continue;
        }
        println!("── {} FAILED after {took}", step.name);
        failed.push(step.name);
        if !keeps_going {
            break;
        }
    }
    if failed.is_empty() {
        println!("verify: all steps passed; tests and other steps together:");
    } else {
        println!("verify: FAILED: {}", failed.join(", "));
        for name in &failed {
            println!(
                "  Look above after “── {name} ·” for what failed and where it has left its traces. Repeat it alone: ./verify {name}"
            );
        }
    }
    // The very last line, for whoever reads no other.
    println!("{tally}");
    if failed.is_empty() {
        Ok(())
    } else {
        Err(AlreadyTold.into())
    }
}

fn list() {
    for step in STEPS {
        println!("{:13} {}", step.name, step.holds);
    }
}

fn run_step(step: &Step, metadata: &Metadata, tally: &mut tests::Tally) -> bool {
    let outcome = match step.run {
        Kind::Graph(check) => none_of(&check(metadata)),
        Kind::Files(check) => check(metadata).and_then(|faults| none_of(&faults)),
        Kind::Tool(tool) => tool(),
        Kind::Tests => tests::run().and_then(|counted| {
            let outcome = counted.verdict();
            tally.add(&counted);
            outcome
        }),
        Kind::Proof(proof, arguments) => {
            let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
            proof.run(Profile::Dev, &arguments)
        }
    };
    if let Err(error) = &outcome {
        println!("{error:#}");
    }
    outcome.is_ok()
}

fn none_of(faults: &Faults) -> Result<()> {
    for fault in faults {
        println!("  ✗ {fault}");
    }
    match faults.len() {
        0 => Ok(()),
        1 => bail!("1 fault"),
        count => bail!("{count} faults"),
    }
}

fn format() -> Result<()> {
    run_to_end(cargo(["fmt", "--all", "--check"]))
}

fn clippy() -> Result<()> {
    run_to_end(cargo([
        "clippy",
        "--locked",
        "--workspace",
        "--all-targets",
        "--quiet",
        "--",
        "-D",
        "warnings",
    ]))
}

fn docs() -> Result<()> {
    let mut command = cargo(["doc", "--locked", "--workspace", "--no-deps", "--quiet"]);
    command.env("RUSTDOCFLAGS", "-D warnings");
    run_to_end(command)
}

fn in_words(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds < 60 {
        return format!("{:.1} s", duration.as_secs_f64());
    }
    format!("{} min {} s", seconds / 60, seconds % 60)
}
