//! Names what a node is working on in a file, so that the next start knows it even if this process cannot record its own end: it is killed,
//! for example because memory runs out, or it crashes.
//!
//! Always: the file exists as long as the node runs. A node that ends by itself removes it. Only a run that finds the file of an earlier run
//! names its work there, so that a usual run pays nothing. The file is written without a sync: it outlives the process, and the end of the
//! whole machine says nothing about the work.
//! Never here: what follows from several such ends; see `crashes`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The name of the file, in the directory of the log.
const FILE: &str = "in-progress";
/// The prefix of a subject that is a part of the log, while the log is read at the start.
pub(crate) const REPLAY: &str = "Replay:";
/// The subject until the log has been read, unless the run names each event.
const READING: &str = "Replay:the log";
/// Longer subjects are cut, so that each write goes into one page.
const SUBJECT_BYTES_MAX: usize = 1000;

/// A run of the node. It exists as long as the node runs.
#[derive(Debug)]
pub struct Running {
    path: Option<PathBuf>,
    /// What the earlier run left behind.
    left: Option<Left>,
    work: Work,
    replay: Work,
}

/// What a run that was ended from outside left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Left {
    /// What the run was working on. `None` if it was idle, or did not name its work.
    pub(crate) subject: Option<String>,
}

/// Names the work in progress. Clones share the file.
#[derive(Clone, Debug, Default)]
pub struct Work(Option<Arc<File>>);

impl Running {
    /// Begins a run whose work is not named, such as one of a test.
    pub fn unnamed() -> Running {
        Running {
            path: None,
            left: None,
            work: Work::default(),
            replay: Work::default(),
        }
    }

    /// Begins a run with the log in this directory.
    pub(crate) fn begin(dir: &Path) -> Running {
        let path = dir.join(FILE);
        let left = left(&path);
        match create(&path) {
            Ok(file) => {
                let work = Work(Some(Arc::new(file)));
                work.on(READING);
                let is_suspicious = left.is_some();
                let was_replaying = left.as_ref().is_some_and(Left::is_of_replay);
                Running {
                    path: Some(path),
                    left,
                    replay: work.clone().only_if(was_replaying),
                    work: work.only_if(is_suspicious),
                }
            }
            Err(error) => {
                let file = path.display();
                tracing::warn!(%file, %error, "the work in progress cannot be named in this file");
                let mut running = Running::unnamed();
                running.left = left;
                running
            }
        }
    }

    /// Returns what an earlier run left behind because it was ended from outside.
    pub(crate) fn left(&self) -> Option<&Left> {
        self.left.as_ref()
    }

    /// Names the work of the node.
    pub(crate) fn work(&self) -> &Work {
        &self.work
    }

    /// Names the parts of the log while they are read.
    pub(crate) fn replay(&self) -> &Work {
        &self.replay
    }

    /// Records that the log has been read.
    pub(crate) fn has_read(&self) {
        if let Some(path) = &self.path
            && let Err(error) = create(path)
        {
            tracing::debug!(%error, "the work in progress is not cleared");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(path) = &self.path else { return };
        match fs::remove_file(path) {
            Ok(()) => {}
            // The log was set aside together with the file.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                let file = path.display();
                tracing::warn!(%file, %error, "this file cannot be removed: the next start takes this run for a killed one");
            }
        }
    }
}

impl Left {
    /// Returns whether the run was ended before it had read the log.
    pub(crate) fn is_of_replay(&self) -> bool {
        let subject = self.subject.as_deref();
        subject.is_some_and(|subject| subject.starts_with(REPLAY))
    }
}

impl Work {
    fn only_if(self, is_wanted: bool) -> Work {
        if is_wanted { self } else { Work::default() }
    }

    /// Returns whether the work is named in this run.
    pub fn is_named(&self) -> bool {
        self.0.is_some()
    }

    /// Names what the node begins to work on, as a type and a name: `Order:ID`.
    pub fn on(&self, subject: &str) {
        self.write(&subject[..subject.floor_char_boundary(SUBJECT_BYTES_MAX)]);
    }

    /// Records that the node does not work on anything.
    pub fn idle(&self) {
        self.write("");
    }

    fn write(&self, subject: &str) {
        let Some(file) = &self.0 else { return };
        // The line end tells this subject from the rest of a longer one before it. A name contains no line end.
        let line = format!("{subject}\n");
        // Without the file, the end of this run cannot be explained. Nothing else depends on it.
        let _unwritten = file.write_all_at(line.as_bytes(), 0);
    }
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}

fn left(path: &Path) -> Option<Left> {
    let bytes = fs::read(path).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let subject = text.lines().next().filter(|line| !line.is_empty());
    Some(Left {
        subject: subject.map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ends the run as if the process had been killed.
    fn kill(mut running: Running) {
        running.path = None;
    }

    fn left_in(dir: &Path) -> Option<Left> {
        let running = Running::begin(dir);
        let left = running.left().cloned();
        kill(running);
        left
    }

    fn named(subject: &str) -> Left {
        let subject = Some(subject.to_owned());
        Left { subject }
    }

    #[test]
    fn a_run_that_ends_by_itself_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        drop(Running::begin(dir.path()));
        assert_eq!(left_in(dir.path()), None);
    }

    #[test]
    fn only_a_run_after_a_killed_one_names_its_work() {
        let dir = tempfile::tempdir().unwrap();
        let first = Running::begin(dir.path());
        first.has_read();
        assert!(!first.work().is_named());
        first.work().on("Order:a");
        kill(first);

        let second = Running::begin(dir.path());
        assert_eq!(second.left(), Some(&Left { subject: None }));
        assert!(!second.replay().is_named(), "the log was read");
        second.has_read();
        second.work().on("Order:long");
        second.work().on("Order:a");
        kill(second);
        assert_eq!(left_in(dir.path()), Some(named("Order:a")));
    }

    #[test]
    fn an_idle_run_that_is_killed_has_no_subject() {
        let dir = tempfile::tempdir().unwrap();
        kill(Running::begin(dir.path()));
        let running = Running::begin(dir.path());
        running.has_read();
        running.work().on("Order:a");
        running.work().idle();
        kill(running);
        assert_eq!(left_in(dir.path()), Some(Left { subject: None }));
    }

    #[test]
    fn a_run_that_is_killed_while_it_reads_the_log_makes_the_next_one_name_each_event() {
        let dir = tempfile::tempdir().unwrap();
        kill(Running::begin(dir.path()));
        let second = Running::begin(dir.path());
        assert!(second.left().unwrap().is_of_replay());
        second.replay().on("Replay:event 7");
        kill(second);
        assert_eq!(left_in(dir.path()), Some(named("Replay:event 7")));
    }

    #[test]
    fn a_long_name_is_cut_between_two_letters() {
        let dir = tempfile::tempdir().unwrap();
        kill(Running::begin(dir.path()));
        let running = Running::begin(dir.path());
        running.work().on(&"ä".repeat(SUBJECT_BYTES_MAX));
        kill(running);
        let cut = "ä".repeat(SUBJECT_BYTES_MAX / 2);
        assert_eq!(left_in(dir.path()), Some(named(&cut)));
    }
}
