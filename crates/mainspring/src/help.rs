//! The help of each command: what it takes, examples, and the manual pages made of both.
//!
//! Always: each command has an example that the command line takes as it stands. Where the Controller is, who asks and which certificate
//! they have is told once, in the help of the program; a command says in one line how it is told.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;
use clap::{Arg, Command, CommandFactory as _};

use crate::arguments::Arguments;
use crate::exit::Exit;
use crate::screen::Screen;

/// Options that say where the Controller is, who asks, and where things are on disk.
const ACCESS: [&str; 7] = [
    "controller",
    "data",
    "token_file",
    "ca",
    "certificate",
    "key",
    "reason",
];
/// Those of them that are settings of a part.
const OF_PARTS: [&str; 5] = ["data", "token_file", "ca", "certificate", "key"];
/// The commands that run a part.
const PARTS: [&str; 5] = ["standalone", "controller", "agent", "subagent", "watch"];
/// The commands that ask no Controller.
const OFFLINE: [&str; 6] = ["journal", "certs", "user", "config", "completions", "man"];
const HOW_TO_ASK: &str = "Access: --data DIR or --controller URL say which Controller; --token-file or --certificate who asks; --reason why (see: mainspring --help)";

/// Examples, each under the command that it begins with.
const EXAMPLES: [&str; 49] = [
    "mainspring standalone --data /var/lib/mainspring",
    "mainspring controller --config /etc/mainspring/controller.toml",
    "mainspring watch --id watch --member Primary=https://a:4444 --member Backup=https://b:4444 --token-file token",
    "mainspring agent --name A --listen 127.0.0.1:4445 --token-file token",
    "mainspring agent list",
    "mainspring agent reset A",
    "mainspring subagent --listen 127.0.0.1:4446 --token-file token",
    "mainspring subagent list",
    "mainspring subagent show S",
    "mainspring subagent enable S",
    "mainspring subagent disable S",
    "mainspring subagent drain S --timeout 1h",
    "mainspring subagent reset S",
    "mainspring subagent confirm-lost S",
    "mainspring deploy workflows/ agents.yaml --dry-run",
    "mainspring deploy nightly.workflow.yaml --reason 'CHG-4711'",
    "mainspring undeploy nightly Agent:A",
    "mainspring order add nightly --arg region=emea --at 18:00 --wait",
    "mainspring order add nightly --id load --count 100",
    "mainspring order list --state failed --since -2h",
    "mainspring order list --sort changed --reverse --limit 20",
    "mainspring order show nightly-1",
    "mainspring order cancel nightly-1 --kill",
    "mainspring order cancel --workflow nightly --state open --dry-run",
    "mainspring order suspend nightly-1",
    "mainspring order resume nightly-1 --position 2",
    "mainspring order delete --state ended --until -7d --yes",
    "mainspring order log nightly-1 --follow",
    "mainspring order watch nightly-1 --until-ended --summary",
    "mainspring events --return OrderFailed,AgentCouplingFailed",
    "mainspring events --after 0 --no-follow --json",
    "mainspring status",
    "mainspring item list --type Workflow",
    "mainspring item show nightly",
    "mainspring item show Agent:A",
    "mainspring cluster status",
    "mainspring cluster appoint --member Primary=https://a:4444 --member Backup=https://b:4444",
    "mainspring cluster switch-over",
    "mainspring cluster remove watch",
    "mainspring config check controller --config /etc/mainspring/controller.toml",
    "mainspring journal cat data/controller/state",
    "mainspring journal verify data/controller/state",
    "mainspring journal info data/controller/state",
    "mainspring certs ca ca",
    "mainspring certs issue ca agent-a --role agent --for a.example.org,10.0.0.7",
    "mainspring user hash-password",
    "mainspring user new-token",
    "mainspring completions bash",
    "mainspring man /usr/local/share/man/man1",
];

/// The command line with its help.
pub(crate) fn command() -> Command {
    let mut command = Arguments::command();
    // Options of all commands get into each of them here; afterwards they can be hidden.
    command.build();
    let names: Vec<String> = command
        .get_subcommands()
        .map(|sub| sub.get_name().to_owned())
        .collect();
    for name in names {
        command = command.mut_subcommand(&name, |sub| with_help(sub, &[&name]));
    }
    command
}

/// `path` are the names of the command and those above it, without that of the program.
fn with_help(command: Command, path: &[&str]) -> Command {
    let is_part = path.len() == 1 && PARTS.contains(&path[0]);
    let is_offline = OFFLINE.contains(&path[0]);
    let mut command = command.mut_args(|arg| {
        let id = arg.get_id().as_str();
        let is_shown = is_part && OF_PARTS.contains(&id);
        if ACCESS.contains(&id) && !is_shown {
            arg.hide(true)
        } else {
            arg
        }
    });
    let names: Vec<String> = command
        .get_subcommands()
        .map(|sub| sub.get_name().to_owned())
        .collect();
    for name in &names {
        let path: Vec<&str> = path.iter().copied().chain([name.as_str()]).collect();
        command = command.mut_subcommand(name, |sub| with_help(sub, &path));
    }
    let mut more = String::new();
    let examples: Vec<&str> = examples_of(path, &names).collect();
    if !examples.is_empty() {
        more += "Examples:\n";
        for example in examples {
            more += &format!("  {example}\n");
        }
    }
    if !is_part && !is_offline {
        more += &format!("{}{HOW_TO_ASK}", if more.is_empty() { "" } else { "\n" });
    }
    if more.is_empty() {
        return command;
    }
    command.after_help(more.trim_end().to_owned())
}

/// Returns the examples of this command, without those of commands below it.
fn examples_of(path: &[&str], below: &[String]) -> impl Iterator<Item = &'static str> {
    let begin = format!("mainspring {}", path.join(" "));
    EXAMPLES.into_iter().filter(move |example| {
        example.strip_prefix(begin.as_str()).is_some_and(|rest| {
            let next = rest.split_whitespace().next();
            (rest.is_empty() || rest.starts_with(' '))
                && next.is_none_or(|next| !below.iter().any(|name| name == next))
        })
    })
}

/// Writes a manual page for each command into a folder.
pub(crate) fn man(dir: &Path, screen: &Screen) -> anyhow::Result<Exit> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let mut pages = Vec::new();
    collect(&command(), "mainspring", &mut pages);
    for (name, page) in &pages {
        let file = dir.join(format!("{name}.1"));
        std::fs::write(&file, page).with_context(|| format!("cannot write {}", file.display()))?;
    }
    screen.remark(&format!(
        "{} pages, such as mainspring-order-add.1",
        pages.len()
    ));
    Ok(Exit::Done)
}

fn collect(command: &Command, name: &str, pages: &mut Vec<(String, String)>) {
    pages.push((name.to_owned(), page(command, name)));
    let below = command
        .get_subcommands()
        .filter(|sub| !sub.is_hide_set() && sub.get_name() != "help");
    for sub in below {
        collect(sub, &format!("{name}-{}", sub.get_name()), pages);
    }
}

/// Returns a page in the language of `man`.
fn page(command: &Command, name: &str) -> String {
    let about = command
        .get_about()
        .map(ToString::to_string)
        .unwrap_or_default();
    let mut page = format!(
        ".TH {} 1 \"\" \"mainspring {}\"\n.SH NAME\n{} \\- {}\n.SH SYNOPSIS\n{}\n",
        name.to_uppercase().replace('-', "\\-"),
        env!("CARGO_PKG_VERSION"),
        roff(name),
        roff(&about),
        roff(
            command
                .clone()
                .render_usage()
                .to_string()
                .trim_start_matches("Usage: ")
        ),
    );
    let shown: Vec<&Arg> = command
        .get_arguments()
        .filter(|arg| !arg.is_hide_set())
        .collect();
    if !shown.is_empty() {
        page += ".SH OPTIONS\n";
    }
    for arg in shown {
        let mut title = String::new();
        if let Some(short) = arg.get_short() {
            let _infallible = write!(title, "-{short}, ");
        }
        if let Some(long) = arg.get_long() {
            let _infallible = write!(title, "--{long}");
        }
        if arg.is_positional() || arg.get_action().takes_values() {
            let names = arg.get_value_names().unwrap_or_default().iter();
            for name in names {
                let gap = if title.is_empty() { "" } else { " " };
                let _infallible = write!(title, "{gap}<{name}>");
            }
        }
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let _infallible = write!(page, ".TP\n{}\n{}\n", roff(&title), roff(&help));
    }
    let below: Vec<&Command> = command
        .get_subcommands()
        .filter(|sub| !sub.is_hide_set() && sub.get_name() != "help")
        .collect();
    if !below.is_empty() {
        page += ".SH COMMANDS\n";
    }
    for sub in below {
        let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
        let title = format!("{name}-{}(1)", sub.get_name());
        let _infallible = write!(page, ".TP\n{}\n{}\n", roff(&title), roff(&about));
    }
    if let Some(more) = command.get_after_help() {
        let _infallible = write!(page, ".SH NOTES\n.nf\n{}\n.fi\n", roff(&more.to_string()));
    }
    page
}

/// Returns a text as it stands in a manual page: what would be a command or a special character there is none.
fn roff(text: &str) -> String {
    let escaped = text.replace('\\', "\\e").replace('-', "\\-");
    let lines = escaped.lines().map(|line| {
        if line.starts_with('.') || line.starts_with('\'') {
            format!("\\&{line}")
        } else {
            line.to_owned()
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Splits a line at blanks outside of single quotes.
    fn words(line: &str) -> Vec<String> {
        let parts = line.split('\'').enumerate();
        parts
            .flat_map(|(index, part)| match index % 2 {
                0 => part.split_whitespace().map(str::to_owned).collect(),
                _ => vec![part.to_owned()],
            })
            .collect()
    }

    fn leaves(command: &Command, path: &str, found: &mut Vec<(String, String)>) {
        let mut command = command.clone();
        let below: Vec<Command> = command
            .get_subcommands()
            .filter(|sub| !sub.is_hide_set() && sub.get_name() != "help")
            .cloned()
            .collect();
        if below.is_empty() {
            found.push((path.to_owned(), command.render_long_help().to_string()));
        }
        for sub in below {
            leaves(&sub, &format!("{path} {}", sub.get_name()), found);
        }
    }

    #[test]
    fn each_example_is_taken_and_each_command_has_one() {
        for example in EXAMPLES {
            let taken = command().try_get_matches_from(words(example));
            assert!(taken.is_ok(), "{example}: {:?}", taken.err());
        }
        let mut found = Vec::new();
        leaves(&command(), "mainspring", &mut found);
        assert!(found.len() > 30, "{}", found.len());
        for (path, help) in found {
            assert!(help.contains(&format!("  {path}")), "{path}: {help}");
        }
    }

    #[test]
    fn access_is_told_where_it_means_something() {
        let help = |path: &[&str]| {
            let mut at = command();
            for name in path {
                at = at.find_subcommand(name).expect(name).clone();
            }
            at.render_long_help().to_string()
        };
        let of_order = help(&["order", "show"]);
        assert!(!of_order.contains("--certificate <FILE>"), "{of_order}");
        assert!(
            of_order.contains("--data DIR or --controller URL") && of_order.contains("--json"),
            "{of_order}"
        );
        let offline = help(&["journal", "info"]);
        assert!(
            !offline.contains("--token-file") && !offline.contains("--controller"),
            "{offline}"
        );
        let part = help(&["agent"]);
        assert!(
            part.contains("--token-file") && !part.contains("--controller"),
            "{part}"
        );
        assert!(help(&[]).contains("--controller <URL>"));
    }

    #[test]
    fn a_manual_page_names_what_the_command_takes_and_hides_nothing_behind_a_dot() {
        let mut pages = Vec::new();
        collect(&command(), "mainspring", &mut pages);
        let page = |name: &str| &pages.iter().find(|(known, _)| known == name).expect(name).1;
        let add = page("mainspring-order-add");
        assert!(
            add.contains(".SH OPTIONS") && add.contains("\\-\\-count <N>"),
            "{add}"
        );
        assert!(page("mainspring-order").contains("mainspring\\-order\\-add(1)"));
        assert_eq!(roff(".x\n'y\\z"), "\\&.x\n\\&'y\\ez");
    }
}
