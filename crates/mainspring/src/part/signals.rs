//! What a part makes of signals.
//!
//! Always: SIGTERM and SIGINT end it, SIGHUP opens the log file anew and reads certificates again; no other signal that anybody may send by a wrong number or that a
//! timer sends ends a part with its jobs. Children begin with the defaults: a handler is not inherited. Never here: how a part ends.

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Signals without a meaning for a part, whose default is to end the process. SIGQUIT keeps it: whoever wants a core dump asks for it.
const WITHOUT_MEANING: [(&str, i32); 9] = [
    ("SIGUSR1", 10),
    ("SIGUSR2", 12),
    ("SIGALRM", 14),
    ("SIGXCPU", 24),
    ("SIGXFSZ", 25),
    ("SIGVTALRM", 26),
    ("SIGPROF", 27),
    ("SIGIO", 29),
    ("SIGPWR", 30),
];
/// Signals for programs among themselves. The two before them are glibc's own.
const REAL_TIME: std::ops::RangeInclusive<i32> = 34..=64;

/// What somebody wants by a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// To end, by the signal of this name.
    End(&'static str),
    /// Files that were replaced meanwhile are to be opened anew.
    Reopen,
}

/// The signals that this process listens to.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    /// Once listened to, a signal ends nobody, also when nobody hears it.
    _without_meaning: Vec<Signal>,
}

impl Signals {
    /// Listens from now on. Must be called within the runtime.
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

    /// The next wish. May be dropped.
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
    let named = WITHOUT_MEANING.map(|(name, number)| (name, number));
    let real_time = REAL_TIME.map(|number| ("a real-time signal", number));
    for (name, number) in named.into_iter().chain(real_time) {
        match signal(SignalKind::from_raw(number)) {
            Ok(signal) => listened_to.push(signal),
            Err(error) => {
                tracing::debug!(name, number, %error, "this signal keeps its default, which is to end the process");
            }
        }
    }
    listened_to
}
