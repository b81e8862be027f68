//! Token files that only their owner can read.
//!
//! Always: a token is written completely or not at all. A crash does not leave an empty file, which would prevent every later start.

use crate::{Secret, new_token};
use std::io;
use std::path::{Path, PathBuf};

/// Why a token file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the token file {}: {source}", path.display())]
pub struct TokenFileError {
    /// The file.
    pub path: PathBuf,
    /// The cause.
    pub source: io::Error,
}

/// Returns the token in `path`. A file that is missing or empty is an error.
pub fn token_in(path: &Path) -> Result<Secret, TokenFileError> {
    read(path).map_err(|source| TokenFileError {
        path: path.to_owned(),
        source,
    })
}

/// Returns the token in `path`. If the file does not exist, a random token is written to it.
pub fn token_of(path: &Path) -> Result<Secret, TokenFileError> {
    let failed = |source| TokenFileError {
        path: path.to_owned(),
        source,
    };
    match read(path) {
        Ok(token) => return Ok(token),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let token = new_token();
    let text = format!("{}\n", token.reveal());
    settings::replace_private_file(path, text.as_bytes()).map_err(failed)?;
    Ok(token)
}

fn read(path: &Path) -> io::Result<Secret> {
    let text = std::fs::read_to_string(path)?;
    match text.trim() {
        "" => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it is empty; remove it for a new token, or restore it",
        )),
        token => Ok(Secret::new(token)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_new_token_is_written_once_for_its_owner_only() {
        let dir = tempfile::TempDir::new().unwrap();
        let file = dir.path().join("private/token");
        assert!(token_in(&file).is_err());
        let token = token_of(&file).unwrap();
        assert_eq!(token_of(&file).unwrap().reveal(), token.reveal());
        assert_eq!(token_in(&file).unwrap().reveal(), token.reveal());
        for (path, mode) in [(file.as_path(), 0o600), (file.parent().unwrap(), 0o700)] {
            let found = std::fs::metadata(path).unwrap().permissions().mode();
            assert_eq!(found & 0o777, mode);
        }
    }

    #[test]
    fn a_kill_while_the_token_is_written_does_not_prevent_the_next_start() {
        let dir = tempfile::TempDir::new().unwrap();
        let file = dir.path().join("token");
        std::fs::write(dir.path().join("token.tmp"), "").unwrap();
        assert!(!token_of(&file).unwrap().reveal().is_empty());
        std::fs::write(&file, " \n").unwrap();
        let error = token_of(&file).unwrap_err().to_string();
        assert!(error.contains("token: it is empty"), "{error}");
    }
}
