//! `mainspring`: one program for the parts (Controller, Agent, Subagent, or all as one) and for the operator's commands.
//!
//! Always: a part ends with the exit codes of `exit`, a command with those too; what a command knows of a Controller it was told
//! over HTTP, like everybody else. Never here: rules; what an order may do is decided by the Controller.
#![forbid(unsafe_code)]
#![expect(
    clippy::format_push_string,
    reason = "a few lines for a person per command"
)]

mod arguments;
mod exit;
mod help;
mod part;

mod call;
mod screen;

mod agents;
mod certificates;
mod completions;
mod deploy;
mod events;
mod items;
mod journals;
mod order;
mod pair;
mod status;
mod subagent;
mod users;

mod moment;
mod stage;
mod suggest;
mod table;
mod telling;

use std::process::ExitCode;

use clap::FromArgMatches as _;

use arguments::{AgentCommand, Arguments, Command, ConfigCommand, SubagentCommand};
use exit::Exit;
use screen::Screen;

fn main() -> ExitCode {
    let matches = help::command().get_matches();
    let arguments = Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let is_part = arguments.command.is_part();
    let screen = Screen::new(arguments.json);
    match run(arguments, &screen) {
        Ok(exit) => exit.into(),
        Err(error) if is_part => exit::tell_of_part(&error, &screen).into(),
        Err(error) => exit::tell(&error, &screen).into(),
    }
}

fn run(arguments: Arguments, screen: &Screen) -> anyhow::Result<Exit> {
    let access = arguments.access;
    match arguments.command {
        Command::Standalone(args) => part::standalone(&args, &access),
        Command::Controller(args) => part::controller(&args, &access),
        Command::Watch(args) => part::watch(&args, &access),
        Command::Agent(args) => match args.command {
            Some(AgentCommand::List) => call::talk(status::agents(&access, screen)),
            Some(AgentCommand::Reset(args)) => call::talk(agents::reset(args, &access, screen)),
            None => part::agent(&args, &access),
        },
        Command::Subagent(args) => match args.command {
            Some(SubagentCommand::Care(care)) => call::talk(subagent::run(care, &access, screen)),
            None => part::subagent(&args, &access),
        },
        Command::List => Err(exit::Misuse(
            "list what? mainspring order list, item list, agent list, subagent list, and mainspring status for all at a glance"
                .to_owned(),
        )
        .into()),
        Command::Guard(args) => part::guard(&args),
        Command::Deploy(args) => call::talk(deploy::deploy(args, &access, screen)),
        Command::Undeploy(args) => call::talk(deploy::undeploy(args, &access, screen)),
        Command::Order(command) => call::talk(order::run(command, &access, screen)),
        Command::Events(args) => call::talk(events::run(args, &access, screen)),
        Command::Item(command) => call::talk(items::run(command, &access, screen)),
        Command::Status => call::talk(status::status(&access, screen)),
        Command::Cluster(command) => call::talk(pair::run(command, &access, screen)),
        Command::Journal(command) => journals::run(command, screen),
        Command::Certs(command) => certificates::run(command, screen),
        Command::User(command) => users::run(&command, screen),
        Command::Config(ConfigCommand::Check(args)) => part::check(&args, &access, screen),
        Command::Completions { shell } => completions::run(shell),
        Command::Names { words } => call::talk(completions::names(&words, &access)),
        Command::Man { dir } => help::man(&dir, screen),
    }
}
