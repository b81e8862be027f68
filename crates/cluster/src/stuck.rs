//! A disk that does not come back from a write: nothing fails, so somebody has to say it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use journal::Journal;

/// From then on it is not slow any more.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// Rarely: it wakes an idle node.
const LOOK: Duration = Duration::from_secs(10);

/// For how long the disk has been at the write under way, when that is longer than a disk may take.
pub(crate) fn stuck_for(journal: &Journal) -> Option<Duration> {
    let writing = Duration::from_micros(journal.standing().counts.writing_micros);
    (writing >= PATIENCE).then_some(writing)
}

/// Says so once, and when it is over, for as long as there is the journal.
pub(crate) fn tell(journal: &Arc<Journal>, dir: std::path::PathBuf) {
    let journal: Weak<Journal> = Arc::downgrade(journal);
    tasks::spawn("disk-watch", async move {
        let mut is_told = false;
        loop {
            tokio::time::sleep(LOOK).await;
            let Some(journal) = journal.upgrade() else {
                return;
            };
            let stuck = stuck_for(&journal);
            match stuck {
                Some(stuck) if !is_told => tracing::error!(
                    dir = %dir.display(), ?stuck,
                    "a write has not come back from the disk: what needs this disk waits for it; look at the disk and what is between"
                ),
                None if is_told => tracing::info!(dir = %dir.display(), "the disk is well again"),
                Some(_) | None => {}
            }
            is_told = stuck.is_some();
        }
    });
}
