//! Running a part: settings, log, signals, and how it ended.
//!
//! Always: the first SIGTERM or SIGINT ends the part in an orderly way, the second one at once. A task that fails ends the part at once.
//! Errors are reported with the action to take, and a stalled reader delays nothing.
//! Never here: what the parts do; each has a crate.

mod agent;
mod config;
mod controller;
mod guard;
mod service_manager;
mod signals;
mod standalone;
mod subagent;
mod watch;

use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::str::FromStr as _;
use std::time::Duration;

use anyhow::Context as _;
use serde::de::DeserializeOwned;
use telemetry::{LogFormat, LogTarget, Logging, Standard};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::arguments::{Access, PartArgs};
use crate::exit::{Emergency, Exit, LAST_WORDS, Misuse};

pub(crate) use agent::agent;
pub(crate) use config::check;
pub(crate) use controller::controller;
pub(crate) use guard::guard;
pub(crate) use standalone::standalone;
pub(crate) use subagent::subagent;
pub(crate) use watch::watch;

use signals::{Signals, Wish};

/// Settings that stand in flags, as dotted keys.
struct Flags(Vec<(String, String)>);

impl Flags {
    /// What all parts share.
    fn of(part: &PartArgs, access: &Access) -> Flags {
        let mut flags = Flags(Vec::new());
        flags.put("listen", part.listen);
        flags.put_path("data", access.data.as_deref());
        flags.put_path("tls.ca", access.ca.as_deref());
        flags.put_path("tls.certificate", access.certificate.as_deref());
        flags.put_path("tls.key", access.key.as_deref());
        flags
    }

    fn put(&mut self, key: &str, value: Option<impl ToString>) {
        self.0
            .extend(value.map(|value| (key.to_owned(), value.to_string())));
    }

    fn put_path(&mut self, key: &str, value: Option<&Path>) {
        self.put(key, value.map(Path::display));
    }

    /// File, environment and flags as one; `--set` has the last word.
    fn load<T: DeserializeOwned>(mut self, part: &PartArgs) -> anyhow::Result<T> {
        self.0.extend(part.settings.iter().cloned());
        let flags: Vec<(&str, String)> = self
            .0
            .iter()
            .map(|(key, value)| (key.as_str(), value.clone()))
            .collect();
        Ok(settings::load(
            part.config.as_deref(),
            "MAINSPRING_",
            &flags,
        )?)
    }
}

/// Sets up the log and runs a part until it ends, is stopped, or one of its tasks fails.
fn run<F>(part: &PartArgs, body: impl FnOnce(CancellationToken) -> F) -> anyhow::Result<Exit>
where
    F: Future<Output = anyhow::Result<Exit>> + Send + 'static,
{
    let inherited = subagent_node::settle_inherited();
    // No thread handles SIGCHLD, so no thread needs to be woken by it.
    subagent_node::spare_from_child_signals();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(worker_threads())
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    // Before anything that shows that this process runs, because whoever rotates the log may send SIGHUP from then on.
    let signals = {
        let _context = runtime.enter();
        Signals::listen()?
    };
    let logging = Logging {
        format: LogFormat::from_str(&part.log_format).map_err(Misuse)?,
        filter: log_filter(part.log_level.as_deref()),
        target: part
            .log_file
            .clone()
            .map_or(LogTarget::Stderr, LogTarget::File),
    };
    telemetry::init(&logging).map_err(|error| Misuse(format!("{error}")))?;
    for text in inherited.changed {
        tracing::info!(
            inherited = text,
            "the state that this process was started with has been changed"
        );
    }
    for text in inherited.doubtful {
        tracing::warn!(
            inherited = text,
            "the state that this process was started with may stop or hold up its work"
        );
    }
    tasks::install_panic_hook();
    let exit = runtime.block_on(async {
        let stop = CancellationToken::new();
        // Among its own tasks: a thread that only waits here would have to be woken for each piece of work, and wake others.
        let body = tasks::spawn("part", body(stop.clone()));
        tasks::spawn_endless("certificates", net::watch_certificates());
        to_the_end(body, signals, &stop).await
    });
    // Threads that wait for a disk or a process must not hold up an end that has been told.
    runtime.shutdown_background();
    if let (Err(error), LogTarget::File(_)) = (&exit, &logging.target) {
        // The error itself is written only to standard error.
        tracing::error!(error = format!("{error:#}"), "the part has ended");
    }
    telemetry::flush_log(LAST_WORDS);
    exit
}

/// Waits for the end of the part and handles signals meanwhile.
async fn to_the_end(
    mut body: JoinHandle<anyhow::Result<Exit>>,
    mut signals: Signals,
    stop: &CancellationToken,
) -> anyhow::Result<Exit> {
    let mut failed = pin!(tasks::failed());
    loop {
        tokio::select! {
            biased;
            // Checked first, because without this task the part does not do its work.
            reason = &mut failed => return Err(Emergency(anyhow::anyhow!(reason)).into()),
            exit = &mut body => {
                return exit.unwrap_or_else(|panic| Err(Emergency(panic.into()).into()));
            }
            wish = signals.next() => match wish {
                Wish::End(name) if stop.is_cancelled() => {
                    tracing::warn!(signal = name, "ending at once; the next start repairs what was left in the middle");
                    return Ok(Exit::Failed);
                }
                Wish::End(name) => {
                    tracing::info!(signal = name, "ending in order; the same signal again ends at once");
                    service_manager::notify(service_manager::STOPPING);
                    stop.cancel();
                }
                Wish::Reopen => {
                    telemetry::reopen_log();
                    // Reading files blocks.
                    tasks::spawn_blocking(net::reload_certificates);
                }
            }
        }
    }
}

/// Half of the processors, at most four: the jobs need the others, and threads that wake each other for little work cost more
/// than they bring. What blocks or takes long has threads of its own.
fn worker_threads() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    (processors / 2).clamp(1, 4)
}

/// The consensus library talks about its inner life, and of every heartbeat that misses a member that is away; and who still asks
/// it while it is being stopped hears that from us. Who wants that names it.
fn log_filter(wanted: Option<&str>) -> String {
    let wanted = wanted.unwrap_or("info");
    if wanted.contains("openraft") || wanted == "off" {
        return wanted.to_owned();
    }
    format!("{wanted},openraft=error,openraft::raft::raft_inner=off")
}

/// Creates the data directory of a part. If the directory exists, removes the permissions of other users.
fn take_data(data: &Path) -> anyhow::Result<()> {
    let changed = settings::take_private_dir(data)
        .with_context(|| format!("cannot use the data directory {}", data.display()))?;
    for dir in changed {
        tracing::warn!(dir = %dir.display(), "others could enter this directory; now only its owner can");
    }
    Ok(())
}

/// Notes the URL in the data directory, so that commands find the part.
fn note_url(data: &Path, url: &str) -> anyhow::Result<()> {
    let file = data.join(crate::call::URL_FILE);
    settings::replace_private_file(&file, format!("{url}\n").as_bytes())
        .with_context(|| format!("cannot write {}", file.display()))
}

/// The URL that the part has noted at its last start.
fn noted_url(data: &Path) -> Option<String> {
    fs::read_to_string(data.join(crate::call::URL_FILE))
        .ok()
        .map(|text| text.trim().to_owned())
}

/// Reports that the part is ready, to the service manager and on standard output. A stalled reader delays nothing.
fn announce(text: &str) {
    service_manager::notify(service_manager::READY);
    telemetry::print(Standard::Output, &format!("{text}\n"), Duration::ZERO);
}

/// Writes the URL to the data directory, where commands find it, and reports that the part is ready.
fn announce_at(data: &Path, url: &str, text: &str) {
    note_url_or_warn(data, url);
    announce(text);
}

fn note_url_or_warn(data: &Path, url: &str) {
    if let Err(error) = note_url(data, url) {
        let error = format!("{error:#}");
        tracing::warn!(
            error,
            "commands do not find this part by its directory: name its URL"
        );
    }
}

/// The data directory that a standalone uses if nothing is said.
fn default_data() -> PathBuf {
    PathBuf::from("data")
}
