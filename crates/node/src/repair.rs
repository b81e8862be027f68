//! Opens the log of a member. If the log is damaged and another member has it, it is set aside and learnt again.
//!
//! Always: a log is set aside only after another member has confirmed that it has this log. Nothing is removed but the oldest of the logs
//! that were set aside before. Never here: the damaged log of a single node, which has no other member to learn from.

use crate::members::{MEMBERS, join_if_begun};
use cluster::{JournalError, Log, OpenError, Options};
use net::Client;
use std::path::Path;

/// Opens the log of this member. `others` are the members that it dials, at `path`.
pub async fn open_log(
    mut options: Options,
    others: &[Client],
    path: &'static str,
) -> Result<Log, OpenError> {
    join_if_begun(&mut options, others, path).await;
    let damage = match Log::open(options.clone()).await {
        Err(OpenError::Journal(JournalError::Damaged(damage))) => damage,
        other => return Ok(other?.log),
    };
    let dial = |client: &Client| {
        let client = client.clone();
        async move { client.upgrade(path, MEMBERS).await.ok() }
    };
    if !cluster::others_have(&options, others, dial).await {
        return Err(OpenError::Journal(JournalError::Damaged(damage)));
    }
    tracing::error!(%damage, "the log of this member is damaged; another member has it");
    set_aside(&options.dir);
    Ok(Log::open(options).await?.log)
}

/// Sets aside the log that this member has closed. The next opening joins with an empty directory. Errors are only logged.
pub fn set_aside(dir: &Path) {
    match cluster::set_aside(dir) {
        Ok(aside) => tracing::warn!(
            aside = %aside.display(),
            "the damaged log is set aside for inspection; this member learns the log again from the others. Look at the disk"
        ),
        Err(error) => tracing::error!(
            dir = %dir.display(), %error,
            "the damaged log cannot be set aside: give this member an empty directory and let it join"
        ),
    }
}
