//! Sets the damaged log of a member aside, so that the member learns the log again from the others.
//!
//! Always: the newest two damaged logs are kept. A crash at any point leaves a directory that never begins a log of its own.

use std::fs::{File, rename};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::member::make_to_join;

/// How many damaged logs are kept for inspection.
const KEPT: usize = 2;

/// Returns the path at which the replacement of a damaged directory is prepared.
fn anew(dir: &Path) -> PathBuf {
    dir.with_extension("anew")
}

/// Renames the directory of a log that is not open, and replaces it with an empty directory that is marked to join the log of the other
/// members. Returns the new path of the damaged directory.
pub fn set_aside(dir: &Path) -> io::Result<PathBuf> {
    let anew = anew(dir);
    make_to_join(&anew)?;
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let mut seconds = since.map_err(io::Error::other)?.as_secs();
    let aside = loop {
        let aside = dir.with_extension(format!("damaged-{seconds}"));
        if !aside.exists() {
            break aside;
        }
        seconds += 1;
    };
    rename(dir, &aside)?;
    finish(dir)?;
    tidy(dir)?;
    Ok(aside)
}

/// Removes all but the newest [`KEPT`] damaged logs, so that repeated damage does not fill the disk.
fn tidy(dir: &Path) -> io::Result<()> {
    let prefix = dir.with_extension("damaged-");
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(parent.unwrap_or(Path::new(".")))? {
        let path = entry?.path();
        let is_aside = path
            .file_name()
            .zip(prefix.file_name())
            .is_some_and(|(name, prefix)| {
                name.as_encoded_bytes()
                    .starts_with(prefix.as_encoded_bytes())
            });
        if is_aside {
            found.push(path);
        }
    }
    // Sorts by time: the number of seconds at the end of each name keeps its length for centuries.
    found.sort();
    let old = found.len().saturating_sub(KEPT);
    for path in found.drain(..old) {
        std::fs::remove_dir_all(path)?;
    }
    Ok(())
}

/// Completes a replacement that a crash has interrupted.
pub(crate) fn finish(dir: &Path) -> io::Result<()> {
    let anew = anew(dir);
    if dir.exists() || !anew.exists() {
        return Ok(());
    }
    rename(&anew, dir)?;
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}
