//! Job scripts as files that can be executed.
//! Always: one file per content, owner only, complete under its name (written aside, closed, renamed). No sync: after a
//! crash the directory is emptied.
//! Never: the file is not open for writing when it is executed, or the kernel would refuse ("text file busy").

use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The directory of scripts that are to be run: each text is one file.
#[derive(Debug)]
pub struct ScriptFiles {
    dir: PathBuf,
    /// By the digest of the content.
    written: Mutex<HashMap<[u8; 32], PathBuf>>,
}

/// How to run a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptCommand {
    /// The script itself if its first line names an interpreter, otherwise `/bin/sh`.
    pub program: PathBuf,
    /// Nothing, or the script's path for the shell.
    pub args: Vec<OsString>,
}

impl ScriptFiles {
    /// Makes the directory and empties it.
    pub fn open(dir: &Path) -> io::Result<Self> {
        crate::leftovers::make_dir(dir)?;
        for entry in fs::read_dir(dir)?.flatten() {
            if entry.file_type()?.is_file() {
                fs::remove_file(entry.path())?;
            }
        }
        // Absolute, because jobs run in other directories.
        Ok(Self {
            dir: fs::canonicalize(dir)?,
            written: Mutex::default(),
        })
    }

    /// Writes the script unless it is there, and tells how to run it.
    pub fn command(&self, script: &str) -> io::Result<ScriptCommand> {
        let path = self.path_of(script)?;
        Ok(if script.starts_with("#!") {
            ScriptCommand {
                program: path,
                args: vec![],
            }
        } else {
            ScriptCommand {
                program: "/bin/sh".into(),
                args: vec![path.into_os_string()],
            }
        })
    }

    fn path_of(&self, script: &str) -> io::Result<PathBuf> {
        let digest: [u8; 32] = Sha256::digest(script).into();
        // Two jobs with the same new script: the second waits for the first one's file.
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(path) = written.get(&digest)
            && path.exists()
        {
            return Ok(path.clone());
        }
        let mut name = String::with_capacity(67);
        for byte in digest {
            // Writing to a string does not fail.
            let _ = write!(name, "{byte:02x}");
        }
        let path = self.dir.join(format!("{name}.sh"));
        let aside = self.dir.join(format!("{name}.new"));
        let made = write_closed(&aside, script.as_bytes()).and_then(|()| fs::rename(&aside, &path));
        if let Err(error) = made {
            drop(fs::remove_file(&aside));
            return Err(error);
        }
        written.insert(digest, path.clone());
        Ok(path)
    }
}

fn write_closed(path: &Path, content: &[u8]) -> io::Result<()> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o700)
        .open(path)?
        .write_all(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn one_file_per_content_for_the_owner_only() {
        let dir = tempfile::tempdir().expect("a directory");
        let scripts = ScriptFiles::open(&dir.path().join("scripts")).expect("opened");
        let bash = scripts.command("#!/bin/bash\necho hi").expect("written");
        assert_eq!(
            scripts.command("#!/bin/bash\necho hi").expect("there"),
            bash
        );
        assert!(bash.args.is_empty());
        assert_eq!(
            fs::metadata(&bash.program)
                .expect("it is there")
                .permissions()
                .mode()
                & 0o777,
            0o700
        );

        let plain = scripts.command("echo hi").expect("written");
        assert_eq!(plain.program, Path::new("/bin/sh"));
        assert_eq!(
            fs::read_to_string(&plain.args[0]).expect("readable"),
            "echo hi"
        );
        assert_eq!(
            fs::read_dir(dir.path().join("scripts"))
                .expect("readable")
                .count(),
            2
        );

        fs::remove_file(&bash.program).expect("somebody cleaned up");
        scripts
            .command("#!/bin/bash\necho hi")
            .expect("written again");
        assert!(bash.program.exists());
    }

    #[test]
    fn the_scripts_of_an_earlier_run_are_gone() {
        let dir = tempfile::tempdir().expect("a directory");
        drop(
            ScriptFiles::open(dir.path())
                .and_then(|scripts| scripts.command("a"))
                .expect("written"),
        );
        drop(ScriptFiles::open(dir.path()).expect("opened"));
        assert_eq!(fs::read_dir(dir.path()).expect("readable").count(), 0);
    }
}
