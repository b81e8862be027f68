//! How a part handles signals.
//!
//! Always: SIGTERM and SIGINT end the part. SIGHUP reopens the log file and reloads certificates. A signal that is sent by mistake or by a
//! timer does not end a part and its jobs. Children start with the default actions, because handlers are not inherited. Never here: how a
//! part ends.

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Signals that have no meaning for a part and end a process by default. SIGQUIT is not among them, because it creates a core dump.
const WITHOUT_MEANING: [(&str, i32); 10] = [
    ("SIGUSR1", 10),
    ("SIGUSR2", 12),
    ("SIGALRM", 14),
    ("SIGSTKFLT", 16),
    ("SIGXCPU", 24),
    ("SIGXFSZ", 25),
    ("SIGVTALRM", 26),
    ("SIGPROF", 27),
    ("SIGIO", 29),
    ("SIGPWR", 30),
];
/// The real-time signals. glibc reserves the two before them.
const REAL_TIME: std::ops::RangeInclusive<i32> = 34..=64;

/// What a signal requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// End the part. The name is that of the signal.
    End(&'static str),
    /// Reopen the log file and reload certificates.
    Reopen,
}

/// The signals that this process listens to.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    /// With a listener, these signals do not end the process. The listeners are never read.
    _without_meaning: Vec<Signal>,
}

impl Signals {
    /// Installs the listeners. Must be called within the tokio runtime.
    pub(super) fn listen() -> anyhow::Result<Signals> {
        let listen = |kind, name| signal(kind).with_context(|| format!("cannot listen to {name}"));
        let signals = Signals {
            terminate: listen(SignalKind::terminate(), "SIGTERM")?,
            interrupt: listen(SignalKind::interrupt(), "SIGINT")?,
            hangup: listen(SignalKind::hangup(), "SIGHUP")?,
            _without_meaning: without_meaning(),
        };
        Ok(signals)
    }

    /// Waits for the next request. This method is cancel safe.
    pub(super) async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.terminate.recv() => Wish::End("SIGTERM"),
            _ = self.interrupt.recv() => Wish::End("SIGINT"),
            _ = self.hangup.recv() => Wish::Reopen,
        }
    }
}

fn without_meaning() -> Vec<Signal> {
    let mut listened_to = Vec::new();
    let real_time = REAL_TIME.map(|number| ("a real-time signal", number));
    for (name, number) in WITHOUT_MEANING.into_iter().chain(real_time) {
        match signal(SignalKind::from_raw(number)) {
            Ok(signal) => listened_to.push(signal),
            Err(error) => {
                tracing::debug!(name, number, %error, "this signal keeps its default, which is to end the process");
            }
        }
    }
    listened_to
}
