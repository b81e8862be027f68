//! Files that only their owner can read.

use net::Secret;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Why a file with a secret cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the token file {}: {source}", path.display())]
pub struct PrivateFileError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// The token in `path`.
pub(crate) fn token_in(path: &Path) -> Result<Secret, PrivateFileError> {
    read(path).map_err(|source| PrivateFileError {
        path: path.to_owned(),
        source,
    })
}

fn read(path: &Path) -> io::Result<Secret> {
    let text = std::fs::read_to_string(path)?;
    match text.trim() {
        "" => Err(io::Error::new(io::ErrorKind::InvalidData, "it is empty")),
        token => Ok(Secret::new(token)),
    }
}

/// The token in `path`; a new one is written where there is none.
pub(crate) fn token_of(path: &Path) -> Result<Secret, PrivateFileError> {
    let failed = |source| PrivateFileError {
        path: path.to_owned(),
        source,
    };
    match read(path) {
        Ok(token) => return Ok(token),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let token = net::new_token();
    write(path, &token).map_err(failed)?;
    Ok(token)
}

fn write(path: &Path, token: &Secret) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)?;
    }
    // Whole or not at all: a crash must not leave an empty token.
    let temporary = path.with_extension("tmp");
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(format!("{}\n", token.reveal()).as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)
}
