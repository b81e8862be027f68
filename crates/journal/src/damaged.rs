//! The damaged files of an open journal. Each one is logged once, and recorded for as long as the file exists.
//!
//! Always: a file has one entry, with the first damaged place that was found. The entries are recorded beside the log, because a start does
//! not read what a snapshot covers. Never here: what is done about the damage.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use serde::{Deserialize, Serialize};

use crate::fault::Damage;

const DAMAGED_FILE: &str = "damaged";

/// A line of that file.
#[derive(Serialize, Deserialize)]
struct Line {
    file: PathBuf,
    offset: u64,
    record: Option<u64>,
    what: String,
}

/// Returns the damage that earlier runs found in files that still exist. Lines that cannot be read are skipped, because reading the log
/// finds that damage again.
pub(crate) fn remembered(dir: &Path) -> Vec<Damage> {
    let Ok(text) = std::fs::read_to_string(dir.join(DAMAGED_FILE)) else {
        return Vec::new();
    };
    let lines = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Line>(line).ok());
    let damages = lines.map(|line| Damage {
        path: dir.join(line.file),
        offset: line.offset,
        what: line.what,
        record: line.record,
    });
    damages.filter(|damage| damage.path.exists()).collect()
}

fn remember(dir: &Path, damage: &Damage) -> io::Result<()> {
    let line = Line {
        file: damage.path.file_name().unwrap_or_default().into(),
        offset: damage.offset,
        record: damage.record,
        what: damage.what.clone(),
    };
    let text = serde_json::to_string(&line).map_err(io::Error::other)?;
    let path = dir.join(DAMAGED_FILE);
    let mut file = File::options()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)?;
    writeln!(file, "{text}")
}

type Hook = Box<dyn Fn(&Damage) + Send + Sync>;

/// The damaged places of a file.
struct Places {
    first: Damage,
    offsets: BTreeSet<u64>,
}

pub(crate) struct Damaged {
    dir: PathBuf,
    found: Mutex<BTreeMap<PathBuf, Places>>,
    hook: OnceLock<Hook>,
}

impl Damaged {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            found: Mutex::default(),
            hook: OnceLock::new(),
        }
    }

    fn found(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Places>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn tell(&self, hook: Hook) {
        for places in self.found().values() {
            hook(&places.first);
        }
        // Only the first listener is kept.
        let _first = self.hook.set(hook);
    }

    /// Adds damage. Returns whether its place was not known before.
    pub(crate) fn add(&self, damage: &Damage) -> bool {
        let mut found = self.found();
        let is_new_file = !found.contains_key(&damage.path);
        let places = found.entry(damage.path.clone()).or_insert_with(|| Places {
            first: damage.clone(),
            offsets: BTreeSet::new(),
        });
        let is_new = places.offsets.insert(damage.offset);
        drop(found);
        if is_new_file {
            self.report(damage);
        }
        if is_new && let Some(hook) = self.hook.get() {
            hook(damage);
        }
        is_new
    }

    /// Logs and records the first damage of a file.
    fn report(&self, damage: &Damage) {
        tracing::error!(
            file = %damage.path.display(), offset = damage.offset, record = damage.record, what = damage.what,
            "a file of the journal is damaged: the damaged records are not served; look at the disk"
        );
        if !remembered(&self.dir)
            .iter()
            .any(|known| known.path == damage.path)
            && let Err(error) = remember(&self.dir, damage)
        {
            tracing::warn!(dir = %self.dir.display(), %error, "the damage cannot be recorded; the next start must find it again");
        }
    }

    /// Returns the damage of those files for which `is_there` returns `true`. The others are forgotten.
    pub(crate) fn all(&self, is_there: impl Fn(&Path) -> bool) -> Vec<Damage> {
        let mut found = self.found();
        found.retain(|path, _| is_there(path));
        found.values().map(|places| places.first.clone()).collect()
    }
}
