//! Files and directories that only their owner can read, whatever the umask is.
//!
//! Always: a file is replaced as a whole, even if a crash interrupts it. Never here: what is in it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Creates the directory, and its missing parents, with permissions for the owner only. An existing directory is not changed.
pub fn make_private_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// As [`make_private_dir`], and removes the permissions of group and others from the directory and from the directories in it. Returns those
/// that were changed. A directory in it whose permissions cannot be changed is skipped, such as one that belongs to another user.
pub fn take_private_dir(dir: &Path) -> io::Result<Vec<PathBuf>> {
    make_private_dir(dir)?;
    let mut changed = Vec::new();
    if tighten(dir)? {
        changed.push(dir.to_owned());
    }
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() && tighten(&entry.path()).unwrap_or(false) {
            changed.push(entry.path());
        }
    }
    Ok(changed)
}

fn tighten(dir: &Path) -> io::Result<bool> {
    let mode = fs::metadata(dir)?.permissions().mode() & 0o7777;
    let private = mode & 0o7700;
    if private == mode {
        return Ok(false);
    }
    fs::set_permissions(dir, fs::Permissions::from_mode(private))?;
    Ok(true)
}

/// Replaces the file, with permissions for the owner only. Writes a temporary file, syncs it and renames it. Creates the directory if it is
/// missing.
pub fn replace_private_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    if let Some(dir) = dir {
        make_private_dir(dir)?;
    }
    let mut aside = path.as_os_str().to_owned();
    aside.push(".tmp");
    let aside = PathBuf::from(aside);
    // A file that a crash has left may have other permissions.
    match fs::remove_file(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&aside)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&aside, path)?;
    File::open(dir.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_directory_that_others_could_enter_is_taken_from_them() {
        let dir = tempfile::TempDir::new().unwrap();
        let data = dir.path().join("a/data");
        assert!(take_private_dir(&data).unwrap().is_empty());
        assert_eq!((mode(&data), mode(&dir.path().join("a"))), (0o700, 0o700));
        fs::create_dir(data.join("state")).unwrap();
        for dir in [&data, &data.join("state")] {
            fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let changed = take_private_dir(&data).unwrap();
        assert_eq!(changed, [data.clone(), data.join("state")]);
        assert_eq!((mode(&data), mode(&data.join("state"))), (0o700, 0o700));
        assert!(take_private_dir(&data).unwrap().is_empty(), "already so");
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_whatever_a_crash_has_left_beside_it() {
        let dir = tempfile::TempDir::new().unwrap();
        let file = dir.path().join("private/token");
        replace_private_file(&file, b"one").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(dir.path().join("private/token.tmp"), "half").unwrap();
        replace_private_file(&file, b"two").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"two");
        assert_eq!(mode(&file), 0o600);
        assert_eq!(fs::read_dir(dir.path().join("private")).unwrap().count(), 1);
    }
}
