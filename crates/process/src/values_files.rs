//! Where jobs write their return values: a path for each, at which nothing is until the job itself writes there.
//! Always: in a directory that this process has made and only its user can enter, so that nobody else puts a file or a link
//! there; no path is given out twice, in this life or a later one, so that what a background process of an earlier job writes
//! late is never read; a written file goes with its owner, and what a crash left with the next opening.
//! Why nothing is made beforehand: most jobs return nothing, and making and removing a file cost as much as a third of a start.

use crate::return_values::{self, BadReturnValues, MAX_RETURN_VALUES_BYTES};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// The job may have put anything there. A link is not followed, and a pipe without a writer must not hold us up.
const FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK);

/// The directory they are in.
#[derive(Debug)]
pub struct ValuesFiles {
    dir: PathBuf,
    /// Different for each opening since the machine was started, and for each process.
    life: String,
    next: AtomicU64,
}

/// A path for one job. What is there is removed when this is dropped.
#[derive(Debug)]
pub struct ValuesFile {
    path: PathBuf,
    is_absent: bool,
}

impl ValuesFiles {
    /// Makes the directory anew, with nothing in it.
    pub fn open(dir: &Path) -> io::Result<Self> {
        if let Some(parent) = dir.parent() {
            crate::leftovers::make_dir(parent)?;
        }
        match fs::remove_dir_all(dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        // Fails if somebody else has put something there meanwhile.
        fs::DirBuilder::new().mode(0o700).create(dir)?;
        let opened_at = crate::steady_time().as_nanos();
        Ok(Self {
            // Absolute, because jobs run in other directories.
            dir: fs::canonicalize(dir)?,
            life: format!("{}-{opened_at}", std::process::id()),
            next: AtomicU64::new(0),
        })
    }

    /// A path that nobody has had before.
    pub fn next(&self) -> ValuesFile {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        ValuesFile {
            path: self.dir.join(format!("{}-{number}", self.life)),
            is_absent: false,
        }
    }
}

impl ValuesFile {
    /// What the job is told.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the values that the job has written. A job that has written nothing has no return values. This method may be called again
    /// after a shortage.
    pub fn read_values(&mut self) -> Result<BTreeMap<String, String>, BadReturnValues> {
        let Some(bytes) = self.read()? else {
            self.is_absent = true;
            return Ok(BTreeMap::new());
        };
        return_values::parse_return_values(&bytes)
    }

    fn read(&self) -> Result<Option<Vec<u8>>, BadReturnValues> {
        let unreadable = |source| BadReturnValues::Unreadable {
            path: self.path.clone(),
            source,
        };
        let file = match rustix::fs::open(&self.path, FLAGS, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP | Errno::NXIO) => return Err(self.no_file()),
            Err(errno) => return Err(unreadable(errno.into())),
        };
        if !file.metadata().map_err(unreadable)?.is_file() {
            return Err(self.no_file());
        }
        let mut bytes = vec![];
        file.take(MAX_RETURN_VALUES_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(unreadable)?;
        Ok(Some(bytes))
    }

    fn no_file(&self) -> BadReturnValues {
        BadReturnValues::NoRegularFile {
            path: self.path.clone(),
        }
    }
}

impl Drop for ValuesFile {
    fn drop(&mut self) {
        if self.is_absent {
            return;
        }
        // The job may have written nothing, or have removed it already.
        if let Err(error) = fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, path = %self.path.display(), "a file with return values cannot be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::fs::symlink;

    fn opened() -> (tempfile::TempDir, ValuesFiles) {
        let dir = tempfile::tempdir().expect("a directory");
        let files = ValuesFiles::open(&dir.path().join("work/values")).expect("opened");
        (dir, files)
    }

    fn is_empty(dir: &Path) -> bool {
        fs::read_dir(dir).expect("readable").next().is_none()
    }

    #[test]
    fn nothing_is_there_until_the_job_writes_and_nothing_stays() {
        let (dir, files) = opened();
        let values = dir.path().join("work/values");
        let (silent, told, dropped) = (files.next(), files.next(), files.next());
        assert!(is_empty(&values));
        fs::write(told.path(), "a = 1\n").expect("written");
        fs::write(dropped.path(), "b=2\n").expect("written");
        assert_eq!({ silent }.read_values().expect("good"), BTreeMap::new());
        let expected = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
        assert_eq!({ told }.read_values().expect("good"), expected);
        drop(dropped);
        assert!(is_empty(&values));
    }

    #[test]
    fn only_its_user_enters_the_directory_whoever_has_made_one_there_before() {
        let dir = tempfile::tempdir().expect("a directory");
        let values = dir.path().join("values");
        let elsewhere = dir.path().join("elsewhere");
        fs::create_dir(&elsewhere).expect("made");
        fs::write(elsewhere.join("x"), "theirs").expect("written");
        symlink(&elsewhere, &values).expect("linked");
        for _ in 0..2 {
            drop(ValuesFiles::open(&values).expect("opened"));
            let meta = fs::symlink_metadata(&values).expect("it is there");
            assert!(meta.is_dir(), "no link");
            assert_eq!(meta.permissions().mode() & 0o777, 0o700);
            assert!(elsewhere.join("x").exists());
            fs::set_permissions(&values, fs::Permissions::from_mode(0o777)).expect("ours");
            fs::write(values.join("left"), "by a crash").expect("written");
        }
        drop(ValuesFiles::open(&values).expect("opened"));
        assert!(is_empty(&values));
    }

    #[test]
    fn what_cannot_be_emptied_is_an_error_that_names_the_cause() {
        let dir = tempfile::tempdir().expect("a directory");
        let values = dir.path().join("values");
        fs::write(&values, "theirs").expect("written");
        let error = ValuesFiles::open(&values).expect_err("it is no directory");
        assert_eq!(error.kind(), io::ErrorKind::NotADirectory, "{error}");
    }

    #[test]
    fn what_is_written_late_under_a_path_of_an_earlier_life_is_never_read() {
        let (dir, files) = opened();
        let late = files.next().path().to_owned();
        let files = ValuesFiles::open(&dir.path().join("work/values")).expect("opened");
        fs::write(&late, "a=1\n").expect("written by a background process");
        let mine = files.next();
        assert!(mine.path().is_absolute());
        assert_ne!(mine.path(), late);
        assert_eq!({ mine }.read_values().expect("good"), BTreeMap::new());
    }

    #[test]
    fn a_link_or_a_pipe_in_place_of_the_file_is_refused_at_once() {
        let (dir, files) = opened();
        let secret = dir.path().join("secret");
        fs::write(&secret, "password=x\n").expect("written");
        let link = files.next();
        symlink(&secret, link.path()).expect("linked");
        assert!(matches!(
            { link }.read_values(),
            Err(BadReturnValues::NoRegularFile { .. })
        ));
        let pipe = files.next();
        let made = std::process::Command::new("mkfifo")
            .arg(pipe.path())
            .status()
            .expect("mkfifo can be started");
        assert!(made.success());
        assert!(matches!(
            { pipe }.read_values(),
            Err(BadReturnValues::NoRegularFile { .. })
        ));
        assert!(is_empty(&dir.path().join("work/values")));
        assert!(secret.exists());
    }

    #[test]
    fn a_huge_file_is_refused_without_being_read_whole() {
        let (_dir, files) = opened();
        let values = files.next();
        File::create(values.path())
            .and_then(|file| file.set_len(1 << 40))
            .expect("a sparse file");
        assert!(matches!(
            { values }.read_values(),
            Err(BadReturnValues::TooLong)
        ));
    }
}
