//! What a member must never forget besides its log: its vote, and where the log begins.
//!
//! Always: replaced as a whole (temporary file, sync, rename), one JSON line and its checksum on the next.
//! Rarely written: at elections and at purges, never by an append.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::directory::replace_file;
use crate::fault::{Damage, Fault, OpenError};
use crate::storage::Disk;

pub(crate) const STATE_FILE: &str = "state";

/// A vote given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Vote {
    /// In this term,
    pub term: u64,
    /// for this member,
    pub node: u64,
    /// and a majority agreed.
    pub committed: bool,
}

/// A place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Position {
    /// Index of the record.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// Last `EventId` up to and including it.
    pub key: u64,
}

/// Returns the later of two positions.
pub(crate) fn latest(one: Option<Position>, other: Option<Position>) -> Option<Position> {
    [one, other].into_iter().flatten().max_by_key(|p| p.index)
}

/// What must survive besides the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HardState {
    /// The vote, once one was given.
    pub vote: Option<Vote>,
    /// Everything up to here is gone from the log.
    pub purged: Option<Position>,
    /// The cluster's membership as of `purged`, in the words of the layer above.
    pub membership: Option<String>,
}

impl HardState {
    pub(crate) fn write(&self, disk: &dyn Disk, dir: &Path) -> Result<(), Fault> {
        replace_file(disk, dir, STATE_FILE, self.to_text().as_bytes())
    }

    fn to_text(&self) -> String {
        let line = serde_json::to_string(self).expect("strings and numbers always serialise");
        format!("{line}\n{:08x}\n", crc32fast::hash(line.as_bytes()))
    }

    /// `None` when there is no such file.
    pub(crate) fn read(dir: &Path) -> Result<Option<Self>, OpenError> {
        let path = dir.join(STATE_FILE);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Fault::new("read", &path, error).into()),
        };
        let damaged = |what: &str| OpenError::from(Damage::new(&path, 0, what));
        let Ok(text) = std::str::from_utf8(&bytes) else {
            return Err(damaged("not text"));
        };
        let Some((line, rest)) = text.split_once('\n') else {
            return Err(damaged("cut off"));
        };
        if rest != format!("{:08x}\n", crc32fast::hash(line.as_bytes())) {
            return Err(damaged("the checksum does not fit"));
        }
        match serde_json::from_str(line) {
            Ok(state) => Ok(Some(state)),
            Err(error) => Err(damaged(&format!("not readable ({error})"))),
        }
    }
}
