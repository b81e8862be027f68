//! `completions`: what a shell needs to complete our commands, and the names of orders and items in them.
//!
//! Always: a Controller that does not answer soon is left out; completing a line never waits for long and never fails.

use std::ffi::OsString;
use std::time::Duration;

use clap::{CommandFactory as _, FromArgMatches as _};
use clap_complete::Shell;

use crate::arguments::{Access, Arguments};
use crate::call::Controller;
use crate::exit::Exit;
use crate::help;
use crate::screen::unwritten;
use crate::suggest::{self, Kind};

/// How long somebody waits who has pressed the tab key.
const PATIENCE: Duration = Duration::from_secs(2);
/// More names than this are no help.
const NAMES_MAX: usize = 500;

/// Adds the names to what the script of clap completes. It puts `<ID>` and the like among the words; those are no words to complete.
const BASH: &str = r#"
_mainspring_with_names() {
    _mainspring "$@"
    local cur="${COMP_WORDS[COMP_CWORD]}" word words=() names
    for word in "${COMPREPLY[@]}"; do
        [[ $word == \<* || $word == \[* ]] || words+=("$word")
    done
    COMPREPLY=("${words[@]}")
    [[ $cur == -* ]] && return 0
    names=$("${COMP_WORDS[0]}" names -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null) || return 0
    [[ -n $names ]] && COMPREPLY=()
    local IFS=$'\n'
    for word in $names; do
        COMPREPLY+=("$(printf %q "$word")")
    done
}
complete -F _mainspring_with_names -o bashdefault -o default mainspring
"#;
const FISH: &str = r"
complete -c mainspring -f -a '(mainspring names -- (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null)'
";

pub(crate) fn run(shell: Shell) -> anyhow::Result<Exit> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "mainspring", &mut text);
    let names = if shell == Shell::Bash {
        BASH
    } else if shell == Shell::Fish {
        FISH
    } else {
        ""
    };
    text.extend_from_slice(names.as_bytes());
    std::io::Write::write_all(&mut std::io::stdout().lock(), &text).map_err(unwritten)?;
    Ok(Exit::Done)
}

/// Prints the names that complete the last word, one a line.
pub(crate) async fn names(words: &[String], outer: &Access) -> anyhow::Result<Exit> {
    let Some(kind) = wanted(words) else {
        return Ok(Exit::Done);
    };
    let prefix = words.last().map_or("", String::as_str);
    let found = async {
        let of_line = access(words);
        let names_one = of_line.data.is_some() || !of_line.controller.is_empty();
        let controller = Controller::of(if names_one { &of_line } else { outer })?;
        suggest::names(kind, prefix, &controller).await
    };
    let Ok(Ok(names)) = tokio::time::timeout(PATIENCE, found).await else {
        return Ok(Exit::Done);
    };
    let mut text = String::new();
    // A line break in a name would make two of it.
    for name in names
        .iter()
        .filter(|name| !name.contains('\n'))
        .take(NAMES_MAX)
    {
        text += name;
        text.push('\n');
    }
    std::io::Write::write_all(&mut std::io::stdout().lock(), text.as_bytes()).map_err(unwritten)?;
    Ok(Exit::Done)
}

/// Returns what the last word is the name of, if it is one.
fn wanted(words: &[String]) -> Option<Kind> {
    let (_, before) = words.split_last()?;
    let mut command = help::command();
    let mut path = Vec::new();
    let mut option = None;
    for word in before {
        if option.take().is_some() {
            continue;
        }
        if let Some(long) = word.strip_prefix("--") {
            let known = command
                .get_arguments()
                .find(|arg| arg.get_long() == Some(long));
            option = known
                .filter(|arg| arg.get_action().takes_values())
                .map(|arg| arg.get_id().to_string());
        } else if let Some(next) = command.find_subcommand(word) {
            path.push(next.get_name().to_owned());
            command = next.clone();
        }
    }
    if let Some(option) = option {
        return (option == "workflow").then_some(Kind::Workflow);
    }
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match path.as_slice() {
        ["order", "add"] => Some(Kind::Workflow),
        [
            "order",
            "show" | "cancel" | "suspend" | "resume" | "delete" | "log" | "watch",
        ] => Some(Kind::Order),
        ["agent", "reset"] => Some(Kind::Agent),
        [
            "subagent",
            "show" | "enable" | "disable" | "drain" | "reset" | "confirm-lost",
        ] => Some(Kind::Subagent),
        ["item", "show"] | ["undeploy"] => Some(Kind::Item),
        _ => None,
    }
}

/// Returns what an unfinished command line says about the Controller.
fn access(words: &[String]) -> Access {
    let line =
        std::iter::once(OsString::from("mainspring")).chain(words.iter().map(OsString::from));
    let matches = help::command()
        .ignore_errors(true)
        .try_get_matches_from(line);
    let found = matches.and_then(|matches| Access::from_arg_matches(&matches));
    found.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_for_a_name_asks_for_names_of_its_kind() {
        let of = |line: &str| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            wanted(&words)
        };
        for (line, kind) in [
            ("order add ni", Some(Kind::Workflow)),
            ("order add --at 18:00 ni", Some(Kind::Workflow)),
            ("order show ", Some(Kind::Order)),
            ("--data D order cancel A B", Some(Kind::Order)),
            ("order cancel --kill A", Some(Kind::Order)),
            ("order cancel --workflow n", Some(Kind::Workflow)),
            ("order list --workflow n", Some(Kind::Workflow)),
            ("order list n", None),
            ("order show --token-file t", None),
            ("agent reset A", Some(Kind::Agent)),
            ("subagent drain S", Some(Kind::Subagent)),
            ("item show W", Some(Kind::Item)),
            ("undeploy W", Some(Kind::Item)),
            ("journal cat d", None),
            ("order", None),
        ] {
            assert_eq!(of(line), kind, "{line}");
        }
    }

    #[test]
    fn the_controller_is_the_one_that_the_unfinished_line_names() {
        let words = ["order", "--data", "D", "cancel", "--kill", "x"].map(str::to_owned);
        assert_eq!(access(&words).data, Some("D".into()));
    }
}
