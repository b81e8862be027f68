//! Whose directory it is: a lock against a second process, a name against the wrong node.
//!
//! Always: the lock file is never deleted (a deleted one could be locked twice); the lock ends with the process.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::fault::{Fault, OpenError};
use crate::storage::{Disk, write_all_at};

/// Name of the lock file.
pub const LOCK_FILE: &str = "lock";
const IDENTITY_FILE: &str = "identity";

/// Held as long as the journal is open.
#[derive(Debug)]
pub(crate) struct DirectoryLock {
    _file: File,
}

/// Takes the directory, making it when it is missing.
pub(crate) fn take(
    disk: &dyn Disk,
    dir: &Path,
    identity: &str,
) -> Result<DirectoryLock, OpenError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|e| Fault::new("make the directory", dir, e))?;
    let lock = lock(dir, identity)?;
    check_identity(disk, dir, identity)?;
    Ok(lock)
}

fn lock(dir: &Path, identity: &str) -> Result<DirectoryLock, OpenError> {
    let path = dir.join(LOCK_FILE);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|e| Fault::new("open", &path, e))?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            // What the lock file says is only a help for the reader of the message.
            if file.read_to_string(&mut holder).is_err() || holder.trim().is_empty() {
                "another process".clone_into(&mut holder);
            }
            return Err(OpenError::InUse {
                dir: dir.to_owned(),
                holder: holder.trim().to_owned(),
            });
        }
        Err(errno) => return Err(Fault::new("lock", &path, errno.into()).into()),
    }
    let text = format!("process {}, {identity}\n", std::process::id());
    file.set_len(0)
        .and_then(|()| std::os::unix::fs::FileExt::write_all_at(&file, text.as_bytes(), 0))
        .map_err(|e| Fault::new("write", &path, e))?;
    Ok(DirectoryLock { _file: file })
}

fn check_identity(disk: &dyn Disk, dir: &Path, identity: &str) -> Result<(), OpenError> {
    let path = dir.join(IDENTITY_FILE);
    match std::fs::read_to_string(&path) {
        Ok(found) if found.trim_end() == identity => Ok(()),
        Ok(found) => Err(OpenError::Foreign {
            dir: dir.to_owned(),
            found: found.trim_end().to_owned(),
            wanted: identity.to_owned(),
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            replace_file(disk, dir, IDENTITY_FILE, format!("{identity}\n").as_bytes())?;
            Ok(())
        }
        Err(error) => Err(Fault::new("read", &path, error).into()),
    }
}

/// Whose directory it is, if anybody's.
pub(crate) fn identity_of(dir: &Path) -> Option<String> {
    let text = std::fs::read_to_string(dir.join(IDENTITY_FILE)).ok()?;
    Some(text.trim_end().to_owned())
}

/// Replaces a small file as a whole: temporary file, sync, rename, sync of the directory.
pub(crate) fn replace_file(
    disk: &dyn Disk,
    dir: &Path,
    name: &str,
    content: &[u8],
) -> Result<(), Fault> {
    let path = dir.join(name);
    let temporary = temporary_of(&path);
    let file = disk
        .create(&temporary)
        .map_err(|e| Fault::new("create", &temporary, e))?;
    write_all_at(disk, &file, content, 0).map_err(|e| Fault::new("write", &temporary, e))?;
    disk.sync(&file)
        .map_err(|e| Fault::new("sync", &temporary, e))?;
    disk.rename(&temporary, &path)
        .map_err(|e| Fault::new("rename", &temporary, e))?;
    disk.sync_directory(dir)
        .map_err(|e| Fault::new("sync the directory", dir, e))
}

/// Where a file stands while it is being written.
pub(crate) fn temporary_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    PathBuf::from(name)
}
