//! `mainspring guard`: the guard of a Subagent's jobs. Parts that run jobs start it themselves; nobody else needs it.

use std::io::{self, BufReader};

use anyhow::Context as _;
use subagent_node::GuardProgram;
use telemetry::{LogFormat, LogTarget, Logging};
use tokio::signal::unix::{SignalKind, signal};

use crate::arguments::GuardArgs;
use crate::exit::{Exit, Misuse};

/// How this program starts as a guard.
pub(super) fn program() -> anyhow::Result<GuardProgram> {
    let program = std::env::current_exe().context("this program's own file is not known")?;
    Ok(GuardProgram {
        program,
        arguments: vec!["guard".into()],
    })
}

pub(crate) fn guard(args: &GuardArgs) -> anyhow::Result<Exit> {
    let logging = Logging {
        format: LogFormat::default(),
        filter: "warn".to_owned(),
        target: LogTarget::Stderr,
    };
    telemetry::init(&logging).map_err(|error| Misuse(format!("{error}")))?;
    tasks::install_panic_hook();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    // A signal for all must not end it before the one it guards: that one may still want to end in order. Once listened to, a
    // signal ends nobody, also when nobody hears it.
    let _listening = runtime.block_on(async {
        [
            SignalKind::terminate(),
            SignalKind::interrupt(),
            SignalKind::hangup(),
        ]
        .map(signal)
    });
    let ended = subagent_node::guard(&args.work_dir, BufReader::new(io::stdin()))?;
    if !ended.survivors.is_empty() {
        tracing::error!(pids = ?ended.survivors, "processes of jobs cannot be ended; end them by hand");
    }
    telemetry::flush_log(crate::exit::LAST_WORDS);
    Ok(Exit::Done)
}
