//! Sets up the log: lines for people or JSON for machines, to standard error or a file.
//! Always: colours only on a terminal and never against `NO_COLOR`. A file is appended to in whole lines, so that it can be rotated by
//! copying and truncating, or by renaming it and calling [`reopen_log`]. Logging never fails and never blocks, see [`crate::outlet`].

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::OnceLock;
use std::time::Duration;

use tracing_subscriber::filter::{EnvFilter, ParseError};
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::line::Line;
use crate::outlet::{Destination, Outlet, open};

/// The outlet of this process's log.
static OUTLET: OnceLock<Outlet> = OnceLock::new();

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Time, level, message, fields.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(name: &str) -> Result<LogFormat, String> {
        match name {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err(format!(
                "no such log format: {name}; known are text and json"
            )),
        }
    }
}

/// Where log lines go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard error.
    #[default]
    Stderr,
    /// The end of this file.
    File(PathBuf),
}

/// The log as the settings want it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logging {
    /// How a line looks.
    pub format: LogFormat,
    /// Which lines, such as `info` or `info,net=debug`.
    pub filter: String,
    /// Where they go.
    pub target: LogTarget,
}

impl Default for Logging {
    fn default() -> Logging {
        Logging {
            format: LogFormat::Text,
            filter: "info".to_owned(),
            target: LogTarget::Stderr,
        }
    }
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter makes no sense.
    #[error("cannot use the log filter {filter:?}; write such as info or info,net=debug")]
    BadFilter {
        /// The filter.
        filter: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// The file cannot be written.
    #[error("cannot write the log file {}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The thread that writes the log could not be started.
    #[error("cannot start the thread that writes the log")]
    NoThread(#[source] io::Error),
    /// There is a log already.
    #[error("cannot set up the log twice")]
    Again(#[from] TryInitError),
}

/// Sets up the log of this process, once.
pub fn init(logging: &Logging) -> Result<(), TelemetryError> {
    let filter = filter_of(logging)?;
    let (destination, colours) = match &logging.target {
        LogTarget::Stderr => {
            let stream = Box::new(io::stderr());
            (Destination::Stream(stream), colours_are_wanted())
        }
        LogTarget::File(path) => {
            let file = open(path).map_err(|source| TelemetryError::Unwritable {
                path: path.clone(),
                source,
            })?;
            (Destination::File(path.clone(), file), false)
        }
    };
    let outlet = Outlet::start(destination).map_err(TelemetryError::NoThread)?;
    subscriber(logging.format, filter, outlet.clone(), colours).try_init()?;
    // `try_init` has succeeded, so this is the first log.
    let _first = OUTLET.set(outlet);
    Ok(())
}

/// Reopens the log file under its name, for rotation. Lines that were logged before this call are still written to the old file.
pub fn reopen_log() {
    if let Some(outlet) = OUTLET.get() {
        outlet.reopen();
    }
}

/// Waits until everything that was logged is written, but no longer than `patience`. Used at the end of a process.
pub fn flush_log(patience: Duration) {
    if let Some(outlet) = OUTLET.get() {
        outlet.flush(patience);
    }
}

/// Returns the reason why log lines are currently dropped, if they are.
pub fn log_trouble() -> Option<String> {
    OUTLET.get()?.trouble()
}

fn colours_are_wanted() -> bool {
    let is_forbidden = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
    !is_forbidden && !is_dumb && io::stderr().is_terminal()
}

fn filter_of(logging: &Logging) -> Result<EnvFilter, TelemetryError> {
    let filter = EnvFilter::builder().parse(&logging.filter);
    filter.map_err(|source| TelemetryError::BadFilter {
        filter: logging.filter.clone(),
        source,
    })
}

fn subscriber(
    format: LogFormat,
    filter: EnvFilter,
    outlet: Outlet,
    colours: bool,
) -> Box<dyn tracing::Subscriber + Send + Sync> {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(outlet)
        .with_ansi(colours)
        // Internal errors would be written to standard error, with a panic if that fails.
        .log_internal_errors(false);
    match format {
        LogFormat::Text => Box::new(builder.event_format(Line).finish()),
        LogFormat::Json => Box::new(builder.json().flatten_event(true).finish()),
    }
}

#[cfg(test)]
mod tests {
    use tracing::{debug, info, info_span, warn};

    use super::*;

    fn logged(format: LogFormat, filter: &str, talk: impl FnOnce()) -> String {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("log");
        let logging = Logging {
            format,
            filter: filter.to_owned(),
            target: LogTarget::File(path.clone()),
        };
        let file = open(&path).unwrap();
        let outlet = Outlet::start(Destination::File(path.clone(), file)).unwrap();
        let filter = filter_of(&logging).unwrap();
        let subscriber = subscriber(format, filter, outlet.clone(), false);
        tracing::subscriber::with_default(subscriber, talk);
        outlet.flush(Duration::from_mins(1));
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_line_shows_time_level_message_fields_and_the_spans_fields() {
        let text = logged(LogFormat::Text, "info", || {
            let _node = info_span!("node", id = "controller").entered();
            let _peer = info_span!("peer", agent = "A").entered();
            warn!(attempts = 3, "agent is away");
        });
        let (time, rest) = text.split_once(' ').unwrap();
        assert!(time.ends_with('Z') && time.starts_with("20"), "{time}");
        assert_eq!(
            rest,
            " WARN agent is away attempts=3 id=\"controller\" agent=\"A\"\n"
        );
    }

    #[test]
    fn the_filter_decides_by_level_and_part() {
        let talk = || {
            debug!("decided");
            debug!(target: "net", "connected");
            info!("started");
        };
        let lines = |filter| logged(LogFormat::Text, filter, talk).lines().count();
        assert_eq!(lines("info"), 1);
        assert_eq!(lines("info,net=debug"), 2);
        assert_eq!(lines("off"), 0);
    }

    #[test]
    fn json_lines_carry_the_fields_at_the_top() {
        let text = logged(LogFormat::Json, "info", || info!(port = 4444, "listening"));
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (
                line["level"].as_str(),
                line["message"].as_str(),
                line["port"].as_i64()
            ),
            (Some("INFO"), Some("listening"), Some(4444))
        );
    }

    #[test]
    fn a_bad_filter_and_an_unwritable_file_are_named() {
        let logging = Logging {
            filter: "info,net=lots".to_owned(),
            ..Logging::default()
        };
        assert!(
            init(&logging)
                .unwrap_err()
                .to_string()
                .contains("info,net=lots")
        );
        let logging = Logging {
            target: LogTarget::File("/nowhere/log".into()),
            ..Logging::default()
        };
        assert!(
            init(&logging)
                .unwrap_err()
                .to_string()
                .contains("/nowhere/log")
        );
    }
}
