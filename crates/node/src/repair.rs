//! Opens the log of a member; a damaged one is set aside when another member has it, and learnt anew.
//!
//! Always: nothing is removed but old logs that were set aside long ago, and nothing is set aside before another member has said that it
//! has this log. Never here: a single node, which has nobody to learn from.

use crate::members::{MEMBERS, join_if_begun};
use cluster::{JournalError, Log, OpenError, Options};
use net::Client;
use std::path::Path;

/// Opens the log of this member. `others` are those that it dials, at `path`.
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

/// Sets the log aside that this member has closed. The next opening joins with an empty directory.
pub fn set_aside(dir: &Path) {
    match cluster::set_aside(dir) {
        Ok(aside) => tracing::warn!(
            aside = %aside.display(),
            "the damaged log is set aside for inspection; this member learns the log anew from the others. Look at the disk"
        ),
        Err(error) => tracing::error!(
            dir = %dir.display(), %error,
            "the damaged log cannot be set aside: give this member an empty directory and let it join"
        ),
    }
}
