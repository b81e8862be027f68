//! Sets the damaged log of a member aside, so that it learns the log anew from the others.
//!
//! Always: the newest two that were set aside are kept; a crash at any point leaves a directory that never begins a log of its own.

use std::fs::{File, create_dir_all, rename};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::member::make_to_join;

/// So many damaged logs are kept for inspection.
const KEPT: usize = 2;

/// Where the directory waits that takes the place of a damaged one.
fn anew(dir: &Path) -> PathBuf {
    dir.with_extension("anew")
}

/// Renames the directory of a log that is not open, and puts an empty one in its place that joins. Answers where the old one is.
pub fn set_aside(dir: &Path) -> io::Result<PathBuf> {
    let anew = anew(dir);
    create_dir_all(&anew)?;
    make_to_join(&anew)?;
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let seconds = since.map_err(io::Error::other)?.as_secs();
    let aside = dir.with_extension(format!("damaged-{seconds}"));
    rename(dir, &aside)?;
    finish(dir)?;
    tidy(dir)?;
    Ok(aside)
}

/// Removes what was set aside long ago: a disk that damages again and again must not become full.
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
    // The numbers at their ends have the same length for the next centuries.
    found.sort();
    let old = found.len().saturating_sub(KEPT);
    for path in found.drain(..old) {
        std::fs::remove_dir_all(path)?;
    }
    Ok(())
}

/// Does what a crash has left undone.
pub(crate) fn finish(dir: &Path) -> io::Result<()> {
    let anew = anew(dir);
    if dir.exists() || !anew.exists() {
        return Ok(());
    }
    rename(&anew, dir)?;
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}
