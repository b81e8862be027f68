//! `cargo xtask`: the chores of this house, each a sub-command in a file of its own.
//! Always: `verify` and the checks it consists of only read; `fix` is the only sub-command that changes sources.
//! Never here: anything that Mainspring needs at run time, and anything that needs the network.
//!
//! A new sub-command is a file with a `SUMMARY` and a `run`, and one line in [`COMMANDS`].

#![forbid(unsafe_code)]
#![expect(
    clippy::print_stdout,
    reason = "a command-line tool talks on standard output"
)]

mod verify;

mod fix;

mod bench;
mod chaos;
mod conformance;
mod fuzz;
mod mutants;
mod promises;
mod sim;
mod trial;

mod cargo;
mod metadata;
mod proof;

use std::process::ExitCode;

/// A sub-command: its name, what it does in one line, and the function that does it.
struct Command {
    name: &'static str,
    summary: &'static str,
    run: fn(&[String]) -> anyhow::Result<()>,
}

/// A failure that the sub-command has told itself.
#[derive(Debug)]
struct AlreadyTold;

impl std::fmt::Display for AlreadyTold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("see above")
    }
}

impl std::error::Error for AlreadyTold {}

/// In the order in which a newcomer meets them.
const COMMANDS: &[Command] = &[
    Command {
        name: "verify",
        summary: verify::SUMMARY,
        run: verify::run,
    },
    Command {
        name: "fix",
        summary: fix::SUMMARY,
        run: fix::run,
    },
    Command {
        name: "sim",
        summary: sim::SUMMARY,
        run: sim::run,
    },
    Command {
        name: "chaos",
        summary: chaos::SUMMARY,
        run: chaos::run,
    },
    Command {
        name: "trial",
        summary: trial::SUMMARY,
        run: trial::run,
    },
    Command {
        name: "conformance",
        summary: conformance::SUMMARY,
        run: conformance::run,
    },
    Command {
        name: "mutants",
        summary: mutants::SUMMARY,
        run: mutants::run,
    },
    Command {
        name: "fuzz",
        summary: fuzz::SUMMARY,
        run: fuzz::run,
    },
    Command {
        name: "bench",
        summary: bench::SUMMARY,
        run: bench::run,
    },
    Command {
        name: "promises",
        summary: promises::SUMMARY,
        run: promises::run,
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, rest)) = arguments.split_first() else {
        print_usage();
        return ExitCode::from(2);
    };
    if matches!(name.as_str(), "help" | "--help" | "-h") {
        print_usage();
        return ExitCode::SUCCESS;
    }
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        println!("there is no sub-command “{name}”\n");
        print_usage();
        return ExitCode::from(2);
    };
    match (command.run)(rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<AlreadyTold>() => ExitCode::FAILURE,
        Err(error) => {
            println!("xtask {name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn print_usage() {
    println!("Usage: cargo xtask <sub-command> [arguments]\n");
    for command in COMMANDS {
        println!("  {:12} {}", command.name, command.summary);
    }
}
