//! Reads the journal's files again in the background, a little at a time, so that damage is found before the data is needed.
//!
//! Always: an idle node is woken a few times a minute during a pass, and not at all between two passes.

use std::sync::{Arc, Weak};
use std::time::Duration;

use journal::{Journal, Scrub};

/// How often and how fast a journal's files are read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScrubPace {
    /// Time from the start of the node, or from the end of a pass, to the next pass.
    pub every: Duration,
    /// Pause between two pieces of a pass.
    pub pause: Duration,
    /// How many bytes are read at once.
    pub piece_bytes: u64,
}

impl Default for ScrubPace {
    /// One pass every four hours, which reads up to 200 MB a minute.
    fn default() -> Self {
        Self {
            every: Duration::from_hours(4),
            pause: Duration::from_secs(5),
            piece_bytes: 16 << 20,
        }
    }
}

/// Starts the task. It ends when the journal is dropped.
pub(crate) fn begin(journal: &Arc<Journal>, pace: ScrubPace) {
    let journal: Weak<Journal> = Arc::downgrade(journal);
    tasks::spawn("scrub", async move {
        let mut pass = Scrub::default();
        let mut pause = pace.every;
        loop {
            tokio::time::sleep(pause).await;
            let Some(journal) = journal.upgrade() else {
                return;
            };
            let piece = tasks::spawn_blocking(move || {
                let is_over = journal.scrub(&mut pass, pace.piece_bytes);
                (pass, is_over)
            });
            let Ok((gone_on, is_over)) = piece.await else {
                return;
            };
            pass = gone_on;
            pause = match is_over {
                Ok(true) => pace.every,
                Ok(false) => pace.pause,
                Err(fault) => {
                    tracing::warn!(%fault, "the journal's files cannot be checked for damage; this is retried later");
                    pace.every
                }
            };
        }
    });
}
