//! What can go wrong with a journal, in words that say what, where, and what to do.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The disk refused an operation. After one in the writer the journal is poisoned.
#[derive(Clone, Debug, thiserror::Error)]
#[error("cannot {operation} {}: {source}{}", path.display(), advice(source))]
pub struct Fault {
    /// What was tried, as in "cannot …".
    pub operation: &'static str,
    /// The file it was tried on.
    pub path: PathBuf,
    /// The system's answer, errno included.
    source: Arc<io::Error>,
}

impl Fault {
    pub(crate) fn new(operation: &'static str, path: &Path, source: io::Error) -> Self {
        Self {
            operation,
            path: path.to_owned(),
            source: Arc::new(source),
        }
    }

    /// Whether the disk is full.
    pub fn is_disk_full(&self) -> bool {
        matches!(
            self.source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        )
    }

    pub(crate) fn is_not_found(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }

    /// The number the system gave, when it gave one.
    pub fn errno(&self) -> Option<i32> {
        self.source.raw_os_error()
    }
}

fn advice(source: &io::Error) -> &'static str {
    if source.kind() == io::ErrorKind::StorageFull {
        return "; make space on this file system, then start the node again";
    }
    if source.kind() == io::ErrorKind::QuotaExceeded {
        return "; raise the quota, then start the node again";
    }
    ""
}

/// Bytes on disk that are not what was written there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} is damaged at byte {offset}: {what}", path.display())]
pub struct Damage {
    /// The damaged file.
    pub path: PathBuf,
    /// First byte that is not as it should be.
    pub offset: u64,
    /// What was found.
    pub what: String,
    /// Index of the damaged record, if a record is damaged.
    pub record: Option<u64>,
}

impl Damage {
    pub(crate) fn new(path: &Path, offset: u64, what: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            offset,
            what: what.into(),
            record: None,
        }
    }

    pub(crate) fn of_record(self, index: u64) -> Self {
        Self {
            record: Some(index),
            ..self
        }
    }
}

/// Why a journal does not open.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process works on this directory.
    #[error("the journal directory {} is in use by {holder}; stop that process first", dir.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
        /// Process id and node, as the lock file has them.
        holder: String,
    },
    /// The directory is another node's.
    #[error("the journal directory {} belongs to {found}, but this node is {wanted}; use another directory, or start {found} on it", dir.display())]
    Foreign {
        /// The directory.
        dir: PathBuf,
        /// Whose it is.
        found: String,
        /// Who asked.
        wanted: String,
    },
    /// Something is damaged: nothing is skipped, nothing is guessed.
    #[error(
        "{0}. The journal is not opened, so that nothing is lost silently; keep a copy of the directory, look with `mainspring journal verify`, then restore the file from a backup or from the other member"
    )]
    Damaged(#[from] Damage),
    /// The disk refused.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Why a read gives nothing.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    /// The events asked for were released.
    #[error("events up to {torn_event_id} were released from the journal")]
    Torn {
        /// Last event that is gone.
        torn_event_id: u64,
    },
    /// The place asked for is damaged.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// The disk refused.
    #[error(transparent)]
    Fault(#[from] Fault),
}
