//! How the program ends, and what it says when it does not end well.
//!
//! Always: the numbers are a promise to scripts and service managers; `docs/operating.md` lists them.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use net::{ClientError, Outage};
use telemetry::Standard;

use crate::screen::{Screen, Unwritten};

/// How long a stalled reader of the log or of standard error may delay the end of a part.
pub(crate) const LAST_WORDS: Duration = Duration::from_secs(1);

/// The same table as in `docs/operating.md`.
pub(crate) const HELP: &str = "\
Exit codes of the parts (standalone, controller, agent, subagent):
   0  ended in order                 2  wrong usage or settings
  97  asked to be started again     98  the log or a task failed, or another emergency:
                                        start it again
   1  could not start, or ended by anything else

Exit codes of the commands:
   0  done                           2  wrong usage
   1  refused or failed              3  the Controller cannot be reached, or
                                        nobody knows whether it was done
   4  with --wait or --until-ended: an order has not ended well, or not in time;
      subagent drain --timeout: not idle in time
   5  order log: some or all of the output is no longer kept

Times are shown in the local zone. Colours obey NO_COLOR.";

/// An exit code with its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Done,
    Failed,
    Usage,
    Unreachable,
    OrderFailed,
    NoLongerKept,
    Restart,
    Emergency,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Unreachable => 3,
            Exit::OrderFailed => 4,
            Exit::NoLongerKept => 5,
            Exit::Restart => 97,
            Exit::Emergency => 98,
        })
    }
}

/// The command line or the settings are wrong; what they say cannot be meant.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Misuse(pub(crate) String);

/// The faults of files: with the faulty lines for people, as a list for programs.
#[derive(Debug, Default, thiserror::Error)]
#[error("{}", .drawn.join("\n\n"))]
pub(crate) struct Faulty {
    pub(crate) drawn: Vec<String>,
    faults: Vec<serde_json::Value>,
}

impl Faulty {
    /// Adds the faults of `text`, which is the content of `file`.
    pub(crate) fn add(&mut self, faults: &model::read::Faults, text: &str, file: &str) {
        self.drawn.push(faults.draw(text, file));
        self.faults.extend(faults.iter().map(|fault| {
            serde_json::json!({
                "file": file,
                "line": fault.line,
                "column": fault.column,
                "path": fault.path,
                "message": fault.message,
                "hint": fault.hint,
            })
        }));
    }

    /// Adds that an item does not exist to which the item in `file` refers, with its line if that can be found.
    pub(crate) fn add_missing(
        &mut self,
        file: &std::path::Path,
        reference: &model::read::Reference,
        near: Option<&str>,
    ) {
        let message = format!("{reference} is neither deployed nor among the files");
        let hint = near.map(|near| format!("did you mean {near:?}?"));
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let line = line_of_value(&text, &reference.path);
        let file = file.display().to_string();
        self.drawn
            .push(drawn(&message, &file, line, hint.as_deref()));
        self.faults.push(serde_json::json!({
            "file": file,
            "line": line.map(|(number, _)| number),
            "message": message,
            "hint": hint,
        }));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.faults.is_empty()
    }

    /// Adds a fault that has no place in a text.
    pub(crate) fn add_text(&mut self, message: String) {
        let text = message.strip_prefix("error: ").unwrap_or(&message);
        self.faults.push(serde_json::json!({ "message": text }));
        self.drawn.push(message);
    }

    /// Returns the problem for programs, with all faults.
    pub(crate) fn as_json(&self) -> serde_json::Value {
        let (count, first) = (self.faults.len(), self.faults.first());
        let first = first.and_then(|fault| fault["message"].as_str());
        let message = format!("{count} faults; the first: {}", first.unwrap_or_default());
        serde_json::json!({"code": "InvalidItem", "message": message, "faults": self.faults})
    }
}

/// Returns the first line on which this is the whole value of a field or a key, with its number.
fn line_of_value<'t>(text: &'t str, value: &str) -> Option<(usize, &'t str)> {
    let is_part = |c: char| c.is_alphanumeric() || "-_./".contains(c);
    let mut lines = text.lines().enumerate();
    let (index, line) = lines.find(|(_, line)| {
        let mut found = line.match_indices(value);
        found.any(|(at, _)| {
            let (before, after) = (&line[..at], &line[at + value.len()..]);
            // Not the key of a field, such as `agent` in `agent: A`.
            !before.ends_with(is_part) && !after.starts_with(is_part) && !before.trim().is_empty()
        })
    })?;
    Some((index + 1, line))
}

fn drawn(message: &str, file: &str, line: Option<(usize, &str)>, hint: Option<&str>) -> String {
    let Some((number, line)) = line else {
        let hint = hint.map_or_else(String::new, |hint| format!("\nhelp: {hint}"));
        return format!("error: {file}: {message}{hint}");
    };
    let width = number.to_string().len();
    let margin = " ".repeat(width);
    let hint = hint.map_or_else(String::new, |hint| format!("\n{margin} = help: {hint}"));
    format!(
        "error: {message}\n{margin}--> {file}:{number}\n{margin} |\n{number} | {line}\n{margin} |{hint}"
    )
}

/// The answer to a request is lost, and it is not given again, or nobody is there to give it to.
#[derive(Debug, thiserror::Error)]
#[error(
    "nobody knows whether this was carried out, and it is not repeated by itself any more; look before you give it again"
)]
pub(crate) struct Unknown;

/// What a part could not survive; the code tells the service manager what to do.
#[derive(Debug, thiserror::Error)]
#[error("emergency: {}", with_causes(.0))]
pub(crate) struct Emergency(pub(crate) anyhow::Error);

/// Returns whether a command may have failed because a name in it does not exist.
pub(crate) fn may_be_misspelt(error: &anyhow::Error) -> bool {
    exit_of(error) == Exit::Failed
}

/// Says what went wrong, once, and which code follows from it.
pub(crate) fn tell(error: &anyhow::Error, screen: &Screen) -> Exit {
    // Whoever reads us has seen enough: `mainspring events | head`.
    if error.chain().any(is_broken_pipe) {
        return Exit::Done;
    }
    let exit = exit_of(error);
    screen.error(&with_causes(error), hint_of(error), problem_of(error));
    exit
}

/// Reports the error with which a part ends. A stalled reader of standard error delays the end by [`LAST_WORDS`] at most.
pub(crate) fn tell_of_part(error: &anyhow::Error, screen: &Screen) -> Exit {
    let text = screen.error_text(&with_causes(error), hint_of(error), problem_of(error));
    telemetry::print(Standard::Error, &text, LAST_WORDS);
    exit_of(error)
}

fn exit_of(error: &anyhow::Error) -> Exit {
    // Whatever the last word of the one that was asked.
    if error.is::<Unknown>() {
        return Exit::Unreachable;
    }
    for cause in error.chain() {
        if is_misuse(cause) {
            return Exit::Usage;
        }
        if cause.is::<Emergency>() {
            return Exit::Emergency;
        }
        match cause.downcast_ref::<ClientError>() {
            Some(ClientError::Unreachable { .. } | ClientError::Untrusted { .. }) => {
                return Exit::Unreachable;
            }
            Some(ClientError::Misused { .. }) => return Exit::Usage,
            Some(ClientError::Refused { .. } | ClientError::Broken { .. }) | None => {}
        }
    }
    Exit::Failed
}

/// Returns whether the command line or the settings are wrong, so that a restart does not help.
fn is_misuse(cause: &(dyn std::error::Error + 'static)) -> bool {
    let controller = cause.downcast_ref::<controller_node::RunError>();
    let agent = cause.downcast_ref::<agent_node::RunError>();
    let subagent = cause.downcast_ref::<subagent_node::RunError>();
    cause.is::<Misuse>()
        || cause.is::<settings::SettingsError>()
        || controller.is_some_and(controller_node::RunError::is_misuse)
        || agent.is_some_and(agent_node::RunError::is_misuse)
        || subagent.is_some_and(subagent_node::RunError::is_misuse)
}

fn is_broken_pipe(cause: &(dyn std::error::Error + 'static)) -> bool {
    cause
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// The message with its causes, each once: some errors repeat their source in their own text.
fn with_causes(error: &anyhow::Error) -> String {
    let first: &(dyn std::error::Error + 'static) = error.as_ref();
    let mut text = match first.downcast_ref::<ClientError>() {
        // Who refused and where stands in the command line; the reason is what counts.
        Some(ClientError::Refused { problem, .. }) => problem.to_string(),
        _ => error.to_string(),
    };
    let mut source = first.source();
    while let Some(cause) = source {
        let told = cause.to_string();
        if !text.contains(&told) {
            text = format!("{text}: {told}");
        }
        source = cause.source();
    }
    text
}

/// The Controller's own words, for programs.
fn problem_of(error: &anyhow::Error) -> Option<serde_json::Value> {
    if let Some(problem) = error.downcast_ref::<model::Problem>() {
        return serde_json::to_value(problem).ok();
    }
    if let Some(faulty) = error.downcast_ref::<Faulty>() {
        return Some(faulty.as_json());
    }
    serde_json::to_value(error.downcast_ref::<ClientError>()?.problem()?).ok()
}

/// The default, or what a data directory tells of a Controller that ran here.
fn is_on_this_machine(url: &str) -> bool {
    let host = url.split_once("://").map_or(url, |(_, host)| host);
    ["127.0.0.1", "localhost", "[::1]"].iter().any(|here| {
        host.strip_prefix(here)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/']))
    })
}

fn hint_of(error: &anyhow::Error) -> Option<&'static str> {
    for cause in error.chain() {
        match cause.downcast_ref::<ClientError>() {
            Some(ClientError::Unreachable {
                peer,
                outage: Outage::Connect(_),
            }) => {
                return Some(if is_on_this_machine(peer) {
                    "is the Controller running? Start one with: mainspring standalone"
                } else {
                    "is the Controller running there, and is this its address?"
                });
            }
            Some(ClientError::Misused { what, .. }) if what.contains("CA's certificate") => {
                return Some("tell it with --ca FILE, such as certs/ca.pem");
            }
            Some(ClientError::Refused { status, .. }) if status.as_u16() == 401 => {
                return Some(
                    "show a token: --token-file FILE, MAINSPRING_TOKEN, or --data DIR of the Controller instead of --controller",
                );
            }
            _ => {}
        }
        let Some(error) = cause.downcast_ref::<io::Error>() else {
            continue;
        };
        if error
            .get_ref()
            .is_some_and(<dyn std::error::Error + Send + Sync>::is::<Unwritten>)
        {
            return (error.kind() == io::ErrorKind::StorageFull)
                .then_some("where the output goes there is no room: it is not complete");
        }
        if let Some(hint) = hint_of_disk(error.kind()) {
            return Some(hint);
        }
    }
    None
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "of all that a system can say, these have an advice"
)]
fn hint_of_disk(kind: io::ErrorKind) -> Option<&'static str> {
    match kind {
        io::ErrorKind::ReadOnlyFilesystem => {
            Some("the file system is mounted read-only; choose another --data DIR or remount it")
        }
        io::ErrorKind::PermissionDenied => {
            Some("this user may not write there; choose another --data DIR or change its owner")
        }
        io::ErrorKind::FileTooLarge => Some(
            "the limit of a file's size is below what is needed; raise it where this is started (ulimit -f, LimitFSIZE=)",
        ),
        io::ErrorKind::StorageFull => {
            Some("the disk is full; make room and start again: nothing is lost")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_settings_are_usage_an_absent_controller_is_unreachable_the_rest_is_failure() {
        assert_eq!(
            exit_of(&anyhow::Error::new(Misuse("x".to_owned()))),
            Exit::Usage
        );
        let unreachable = ClientError::Unreachable {
            peer: "http://127.0.0.1:1".into(),
            outage: Outage::RequestTimeout(std::time::Duration::from_secs(1)),
        };
        assert_eq!(
            exit_of(&anyhow::Error::new(unreachable).context("asking")),
            Exit::Unreachable
        );
        assert_eq!(exit_of(&anyhow::anyhow!("something else")), Exit::Failed);
        assert_eq!(
            exit_of(&anyhow::Error::new(Emergency(anyhow::anyhow!("log")))),
            Exit::Emergency
        );
    }

    #[test]
    fn an_emergency_says_what_has_happened_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("the log failed: {0}")]
        struct Fault(#[from] io::Error);
        let fault = Fault(io::Error::other("cannot sync log-0"));
        let told = with_causes(&Emergency(fault.into()).into());
        assert_eq!(told.matches("cannot sync").count(), 1, "{told}");
    }

    #[test]
    fn a_full_output_is_not_taken_for_the_disk_of_a_part_and_a_closed_one_is_no_failure() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let of_output = anyhow::Error::new(crate::screen::unwritten(full()));
        let hint = hint_of(&of_output).unwrap();
        assert!(
            hint.contains("output") && !hint.contains("start again"),
            "{hint}"
        );
        assert!(with_causes(&of_output).starts_with("the output cannot be written"));
        let of_disk = anyhow::Error::new(full());
        assert!(hint_of(&of_disk).unwrap().contains("start again"));
        let closed = io::Error::from(io::ErrorKind::BrokenPipe);
        let closed = anyhow::Error::new(crate::screen::unwritten(closed));
        assert!(closed.chain().any(is_broken_pipe));
    }

    fn refused(code: &'static str) -> ClientError {
        let problem = net::Problem::new(code, "not active any more");
        ClientError::Refused {
            peer: "http://127.0.0.1:1".into(),
            path: "/controller/api/command".to_owned(),
            status: problem.default_status(),
            problem,
        }
    }

    #[test]
    fn what_nobody_knows_of_ends_with_3_whoever_said_so() {
        let deposed = || anyhow::Error::new(refused("ClusterNodeIsNoLongerActive"));
        assert_eq!(exit_of(&deposed()), Exit::Failed, "a plain refusal");
        assert_eq!(exit_of(&deposed().context(Unknown)), Exit::Unreachable);
        let told = deposed().context(Unknown).context("after 500 orders");
        assert_eq!(exit_of(&told), Exit::Unreachable);
    }

    #[test]
    fn only_who_looked_for_a_controller_on_this_machine_is_told_to_start_one() {
        let away = |url: &str| {
            hint_of(&anyhow::Error::new(ClientError::Unreachable {
                peer: url.into(),
                outage: Outage::Connect(io::ErrorKind::ConnectionRefused.into()),
            }))
        };
        for here in ["http://127.0.0.1:4444", "https://localhost"] {
            assert!(away(here).unwrap().contains("mainspring standalone"));
        }
        for there in [
            "https://one.example.com:4444",
            "http://localhost.example.com",
        ] {
            let hint = away(there).unwrap();
            assert!(!hint.contains("standalone"), "{hint}");
        }
    }

    #[test]
    fn a_cause_that_is_told_already_is_not_told_twice() {
        let disk = io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "read-only file system");
        let error = anyhow::Error::new(disk).context("cannot write /x: read-only file system");
        assert_eq!(
            with_causes(&error),
            "cannot write /x: read-only file system"
        );
        assert!(hint_of(&error).unwrap().contains("read-only"));
    }
}
