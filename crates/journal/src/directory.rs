//! Whose directory it is: a lock against a second process, a name against the wrong node.
//!
//! Always: the lock file is never deleted (a deleted one could be locked twice); the lock ends with the process.

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::fault::{Fault, OpenError};
use crate::storage::{Disk, write_all_at};

/// How long to wait for the lock of a process that is ending. The kernel may take a while to end a large process.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(5);
/// The kernel's flag for a process that is exiting.
const PF_EXITING: u64 = 0x4;

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
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|e| Fault::new("open", &path, e))?;
    let begin = Instant::now();
    loop {
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => break,
            Err(rustix::io::Errno::WOULDBLOCK) => {}
            Err(errno) => return Err(Fault::new("lock", &path, errno.into()).into()),
        }
        let holder = std::fs::read_to_string(&path).unwrap_or_default();
        let holder = holder.trim();
        if !is_ending(holder) || begin.elapsed() >= PATIENCE {
            return Err(OpenError::InUse {
                dir: dir.to_owned(),
                holder: if holder.is_empty() {
                    "another process".to_owned()
                } else {
                    holder.to_owned()
                },
            });
        }
        std::thread::sleep(PAUSE);
    }
    let text = format!("process {}, {identity}\n", std::process::id());
    file.set_len(0)
        .and_then(|()| std::os::unix::fs::FileExt::write_all_at(&file, text.as_bytes(), 0))
        .map_err(|e| Fault::new("write", &path, e))?;
    Ok(DirectoryLock { _file: file })
}

/// Returns whether the process that the lock file names has ended or is being killed, so that the lock will soon be free. Even after a
/// process has ended, another one that it was just starting keeps the lock until its exec.
fn is_ending(holder: &str) -> bool {
    let number = |text: &str| text.parse::<u32>().ok();
    let words = holder.strip_prefix("process ");
    let Some(pid) = words.and_then(|words| number(words.split(',').next()?)) else {
        return false;
    };
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return true;
    };
    // The fields after the name, which may contain any characters: the state, five numbers, the flags.
    let mut fields = stat
        .rsplit_once(") ")
        .map_or("", |(_, rest)| rest)
        .split(' ');
    let state = fields.next().unwrap_or_default();
    let flags: u64 = fields
        .nth(5)
        .and_then(|flags| flags.parse().ok())
        .unwrap_or(0);
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let is_being_killed = status.lines().any(|line| {
        let mask = line
            .strip_prefix("SigPnd:")
            .or(line.strip_prefix("ShdPnd:"));
        // The lowest bit is signal 1, and SIGKILL is 9.
        mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
            .is_some_and(|mask| mask & (1 << 8) != 0)
    });
    matches!(state, "Z" | "X") || flags & PF_EXITING != 0 || is_being_killed
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_outlives_its_process_is_waited_for_and_one_of_a_living_process_is_not() {
        let dir = tempfile::TempDir::new().unwrap();
        let held = lock(dir.path(), "Primary").unwrap();
        let refused = lock(dir.path(), "Primary");
        assert!(
            matches!(refused, Err(OpenError::InUse { .. })),
            "we are alive"
        );
        // Stands for a process that a dead one was just starting: it holds the lock, and the file names the dead process.
        // The number is greater than any process id.
        let text = "process 4194305, Primary\n";
        std::fs::write(dir.path().join(LOCK_FILE), text).unwrap();
        let theirs = dir.path().to_owned();
        let successor = std::thread::spawn(move || lock(&theirs, "Primary").map(drop));
        std::thread::sleep(PAUSE * 20);
        assert!(!successor.is_finished(), "it neither fails nor goes on");
        drop(held);
        successor.join().unwrap().unwrap();
    }
}
