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
        match fs::create_dir(&dir) {
            // A ward before us in this process has cleared up only now.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_dirs(&self.dir)?;
                fs::create_dir(&dir)?;
            }
            result => result?,
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
