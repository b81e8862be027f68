//! Files that live as long as one process: the return values it writes and the texts it is given.
//! Always: readable and writable by the owner only; removed when dropped; what a crash left is removed at the next opening.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The directory they are in.
#[derive(Clone, Debug)]
pub struct TempFiles {
    dir: PathBuf,
    next: Arc<AtomicU64>,
}

/// A file that is removed when this is dropped.
#[derive(Debug)]
pub struct TempFile {
    path: PathBuf,
}

impl TempFiles {
    /// Makes the directory and empties it.
    pub fn open(dir: &Path) -> io::Result<Self> {
        crate::leftovers::make_dir(dir)?;
        for entry in fs::read_dir(dir)?.flatten() {
            if entry.file_type()?.is_file() {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(Self {
            dir: dir.to_owned(),
            next: Arc::default(),
        })
    }

    /// A new empty file.
    pub fn create(&self) -> io::Result<TempFile> {
        Ok(self.make("", "")?.1)
    }

    /// A new file with this content. A `*` in the pattern stands for what makes the name unique; without one it comes first.
    pub fn create_with(&self, content: &str, pattern: &str) -> io::Result<TempFile> {
        if pattern.contains(['/', '\0']) {
            let message =
                format!("the pattern of a temporary file, {pattern:?}, must not contain a slash");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let (prefix, suffix) = pattern.split_once('*').unwrap_or(("", pattern));
        let (mut file, temp_file) = self.make(prefix, suffix)?;
        file.write_all(content.as_bytes())?;
        Ok(temp_file)
    }

    fn make(&self, prefix: &str, suffix: &str) -> io::Result<(File, TempFile)> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.dir.join(format!("{prefix}{number}{suffix}"));
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        Ok((file, TempFile { path }))
    }
}

impl TempFile {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        // The job may have removed it already.
        if let Err(error) = fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, path = %self.path.display(), "a temporary file cannot be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn only_the_owner_reads_it_and_it_goes_with_its_owner() {
        let dir = tempfile::tempdir().expect("a directory");
        let files = TempFiles::open(dir.path()).expect("opened");
        let empty = files.create().expect("created");
        let list = files.create_with("a\nb\n", "list-*.csv").expect("created");
        assert_eq!(
            fs::metadata(empty.path())
                .expect("it is there")
                .permissions()
                .mode()
                & 0o777,
            0o600
        );
        assert_eq!(fs::read(empty.path()).expect("readable"), b"");
        assert_eq!(fs::read(list.path()).expect("readable"), b"a\nb\n");
        assert!(list.path().to_string_lossy().ends_with(".csv"));
        let paths = [empty.path().to_owned(), list.path().to_owned()];
        drop((empty, list));
        assert!(paths.iter().all(|path| !path.exists()));
        assert!(files.create_with("", "../x").is_err());
    }

    #[test]
    fn what_a_crash_left_is_removed_at_the_next_opening() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("17"), "old").expect("written");
        let files = TempFiles::open(dir.path()).expect("opened");
        assert_eq!(fs::read_dir(dir.path()).expect("readable").count(), 0);
        drop(files);
    }
}
