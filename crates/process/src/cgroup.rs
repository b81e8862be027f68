//! Control groups (version 2): the one place from which no process of a job can flee.
//! Always optional: a host without them, or without the right to make them, gets the walk through the process tree alone.
//! Never on the way of a start: moving a process takes the kernel 8 to 16 ms when it was not done shortly before, so
//! `keeper` does it for jobs that live longer than an instant.

use crate::procfs;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const MOUNTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
/// Holds what normally ended jobs have left running on purpose.
const DETACHED: &str = "detached";

/// The directory that holds one control group per job.
#[derive(Debug)]
pub(crate) struct CgroupRoot {
    dir: PathBuf,
}

/// The control group of one job.
#[derive(Debug)]
pub(crate) struct JobCgroup {
    dir: PathBuf,
    detached: PathBuf,
}

impl CgroupRoot {
    /// Makes the directory below our own control group, or says why there is none.
    pub(crate) fn make(name: &str) -> io::Result<Self> {
        let own = own_cgroup()
            .ok_or_else(|| io::Error::other("no control groups of version 2 are mounted"))?;
        let dir = own.join(name);
        make_dirs(&dir)?;
        if !dir.join("cgroup.kill").exists() {
            return Err(io::Error::other("the kernel has no cgroup.kill"));
        }
        Ok(Self { dir })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Refused by the kernel while somebody is in it, and that is right.
    pub(crate) fn remove(dir: &Path) {
        drop(fs::remove_dir(dir.join(DETACHED)));
        drop(fs::remove_dir(dir));
    }

    pub(crate) fn make_job(&self, number: u64) -> io::Result<JobCgroup> {
        let dir = self.dir.join(format!("job-{number}"));
        if fs::create_dir(&dir).is_err() {
            // A ward before us in this process may have cleared up only now.
            make_dirs(&self.dir)?;
            fs::create_dir(&dir)?;
        }
        Ok(JobCgroup {
            dir,
            detached: self.dir.join(DETACHED),
        })
    }

    /// The groups of jobs in a directory that a predecessor has made.
    pub(crate) fn jobs_in(dir: &Path) -> Vec<JobCgroup> {
        let Ok(entries) = fs::read_dir(dir) else {
            return vec![];
        };
        entries
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("job-"))
            .map(|entry| JobCgroup {
                dir: entry.path(),
                detached: dir.join(DETACHED),
            })
            .collect()
    }
}

impl Drop for CgroupRoot {
    fn drop(&mut self) {
        Self::remove(&self.dir);
    }
}

impl JobCgroup {
    pub(crate) fn enter(&self, pid: u32) -> io::Result<()> {
        fs::write(self.dir.join("cgroup.procs"), pid.to_string())
    }

    pub(crate) fn pids(&self) -> Vec<u32> {
        procfs::pids_in(&self.dir.join("cgroup.procs").to_string_lossy())
    }

    /// SIGKILL for everyone in it, and for who is just being forked.
    pub(crate) fn kill(&self) {
        if let Err(error) = fs::write(self.dir.join("cgroup.kill"), "1") {
            tracing::warn!(%error, cgroup = %self.dir.display(), "a control group cannot be killed as a whole");
        }
    }

    /// Lets go whoever is still in it. They keep running, but belong to no job any more.
    pub(crate) fn detach_all(&self) {
        for pid in self.pids() {
            self.detach(pid);
        }
    }

    pub(crate) fn detach(&self, pid: u32) {
        // An error means that it has just ended.
        drop(fs::write(
            self.detached.join("cgroup.procs"),
            pid.to_string(),
        ));
    }

    /// Tells whether it is gone; the kernel keeps it while a process lives in it.
    pub(crate) fn remove(&self) -> bool {
        match fs::remove_dir(&self.dir) {
            Ok(()) => true,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }
}

fn make_dirs(dir: &Path) -> io::Result<()> {
    make_dir(dir)?;
    make_dir(&dir.join(DETACHED))
}

fn make_dir(dir: &Path) -> io::Result<()> {
    match fs::create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The directory of the group we are in, also where the host uses both versions side by side.
fn own_cgroup() -> Option<PathBuf> {
    let mount = MOUNTS
        .iter()
        .map(Path::new)
        .find(|mount| mount.join("cgroup.procs").exists())?;
    let membership = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = membership
        .lines()
        .find_map(|line| line.strip_prefix("0::"))?;
    let dir = mount.join(own.trim_start_matches('/'));
    // In a container the path may be that of another namespace; then the mount itself is our group.
    Some(if dir.join("cgroup.procs").exists() {
        dir
    } else {
        mount.to_owned()
    })
}

/// Returns whether this host has control groups that we may make, without the help of the code above.
#[cfg(test)]
pub(crate) fn can_be_made_here() -> bool {
    static ANSWER: std::sync::LazyLock<bool> = std::sync::LazyLock::new(|| {
        MOUNTS.iter().any(|mount| {
            let has_groups = Path::new(mount).join("cgroup.procs").exists();
            let probe = Path::new(mount).join(unique_name());
            let can_be_made =
                has_groups && fs::create_dir(&probe).is_ok() && probe.join("cgroup.kill").exists();
            drop(fs::remove_dir(&probe));
            can_be_made
        })
    });
    *ANSWER
}

/// Pids are not enough for this: tests in several PID namespaces may share the control groups.
#[cfg(test)]
fn unique_name() -> String {
    let dir = tempfile::tempdir().expect("a directory");
    let name = dir.path().file_name().expect("it has a name");
    format!("mainspring-test-{}-{}", std::process::id(), name.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::{Child, Command};

    fn sleeper() -> Child {
        let child = Command::new("/bin/sleep").arg("1000").spawn();
        child.expect("sleep can be started")
    }

    fn await_removal(job: &JobCgroup) {
        // The kernel empties the group a moment after the end of its last process.
        while !job.remove() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_job_is_killed_with_its_group_and_what_was_let_go_survives() {
        if !can_be_made_here() {
            return;
        }
        let name = unique_name();
        let root = CgroupRoot::make(&name).expect("this host has control groups");
        let again = CgroupRoot::make(&name).expect("what a predecessor has made is used");
        assert_eq!(again.dir(), root.dir());
        let job = root.make_job(3).expect("a group");
        let (mut killed, mut detached) = (sleeper(), sleeper());
        for child in [&killed, &detached] {
            job.enter(child.id()).expect("moved");
        }
        let mut pids = job.pids();
        pids.sort_unstable();
        let mut expected = [killed.id(), detached.id()];
        expected.sort_unstable();
        assert_eq!(pids, expected);
        let found = CgroupRoot::jobs_in(root.dir());
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].pids(), job.pids(), "a successor finds the job");
        assert!(!job.remove(), "it is kept while a process lives in it");

        job.detach(detached.id());
        assert_eq!(job.pids(), [killed.id()]);
        job.kill();
        let status = killed.wait().expect("it is ours");
        assert_eq!(status.signal(), Some(9));
        await_removal(&job);
        assert!(job.remove(), "it is gone already");
        assert!(detached.try_wait().expect("it is ours").is_none());
        CgroupRoot::remove(root.dir());
        assert!(root.dir().exists(), "somebody is in it");

        detached.kill().expect("it is ours");
        detached.wait().expect("it is ours");
        while again.dir().exists() {
            CgroupRoot::remove(again.dir());
        }
        drop(again);
        let job = root.make_job(4).expect("the directory is made again");
        let mut child = sleeper();
        job.enter(child.id()).expect("moved");
        job.detach_all();
        assert_eq!(job.pids(), [0; 0]);
        child.kill().expect("it is ours");
        child.wait().expect("it is ours");
        await_removal(&job);
        let dir = root.dir().to_owned();
        assert!(dir.exists());
        drop(root);
        assert!(!dir.exists(), "nothing is left on the host");
    }

    #[test]
    fn groups_that_cannot_be_made_are_an_error() {
        let dir = tempfile::tempdir().expect("a directory");
        assert!(make_dirs(&dir.path().join("missing/below")).is_err());
        let file = dir.path().join("file");
        fs::write(&file, "").expect("written");
        assert!(make_dirs(&file).is_err(), "something else is there");
        assert!(CgroupRoot::jobs_in(&dir.path().join("missing")).is_empty());
    }
}
