//! Processes that a crashed predecessor has left running.
//! Always: found by the ledger, the marks and the control groups; a pid that went to somebody else since is not touched;
//! when `Ward::open` returns they are gone, or told as survivors. What normally ended jobs left on purpose stays.

use crate::cgroup::{CgroupRoot, JobCgroup};
use crate::ledger::{self, LedgerError, Record};
use crate::procfs::{self, Identity, Stat};
use crate::ward::OpenError;
use rustix::process::Signal;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// SIGKILL works at once, except on a process in an uninterruptible system call.
const MAX_DYING: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(5);

/// A job that the predecessor was running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// The tag of its launch, which says which attempt it was.
    pub tag: String,
    /// All its processes that were still there.
    pub pids: Vec<u32>,
}

/// What was found, and with `survivors` what could not be ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// The predecessor's jobs of which processes were still there.
    pub jobs: Vec<Leftover>,
    /// Pids that SIGKILL has not ended within five seconds.
    pub survivors: Vec<u32>,
}

/// Only tells what is left over in a work directory that nobody uses.
pub fn find_leftovers(work_dir: &Path) -> Result<Leftovers, OpenError> {
    let (_file, records) = ledger::open(work_dir)?;
    Ok(Leftovers {
        jobs: Search::new(work_dir, records).jobs(),
        survivors: vec![],
    })
}

/// Ends what is left over in a work directory that nobody uses: SIGTERM to the main processes, after the delay SIGKILL to
/// all; with a delay of zero SIGKILL at once.
pub fn end_leftovers(work_dir: &Path, delay: Duration) -> Result<Leftovers, OpenError> {
    let (file, leftovers) = take(work_dir, delay)?;
    if let Ok(dir) = fs::read_to_string(cgroup_file(work_dir)) {
        CgroupRoot::remove(Path::new(&dir));
    }
    file.set_len(0).map_err(|source| OpenError::Begin {
        dir: work_dir.to_owned(),
        source,
    })?;
    Ok(leftovers)
}

pub(crate) fn take(work_dir: &Path, delay: Duration) -> Result<(File, Leftovers), LedgerError> {
    let (file, records) = ledger::open(work_dir)?;
    let mut search = Search::new(work_dir, records);
    let jobs = search.jobs();
    let survivors = if search.found.is_empty() {
        vec![]
    } else {
        search.end(delay)
    };
    for cgroup in &search.cgroups {
        // Whoever is still in it is a survivor, and is told.
        cgroup.remove();
    }
    if !jobs.is_empty() {
        tracing::warn!(
            jobs = jobs.len(),
            ?survivors,
            "processes of a crashed predecessor were ended"
        );
    }
    Ok((file, Leftovers { jobs, survivors }))
}

/// Ends what runs in a work directory whose owner stands still. Its lock is not asked for.
pub(crate) fn end_in_use(work_dir: &Path) -> Result<Leftovers, LedgerError> {
    let mut search = Search::new(work_dir, ledger::peek(work_dir)?);
    let jobs = search.jobs();
    let survivors = search.end(Duration::ZERO);
    Ok(Leftovers { jobs, survivors })
}

struct Search {
    records: Vec<Record>,
    cgroups: Vec<JobCgroup>,
    /// Once found, a process stays in it, even when its ancestors are gone and nothing else would lead to it.
    found: BTreeSet<Identity>,
}

impl Search {
    fn new(work_dir: &Path, records: Vec<Record>) -> Self {
        let cgroups = fs::read_to_string(cgroup_file(work_dir))
            .map(|dir| CgroupRoot::jobs_in(Path::new(&dir)));
        Self {
            records,
            cgroups: cgroups.unwrap_or_default(),
            found: BTreeSet::new(),
        }
    }

    /// One entry per record that has living processes; processes that only a control group leads to come last.
    fn jobs(&mut self) -> Vec<Leftover> {
        if self.records.is_empty() && self.cgroups.is_empty() {
            return vec![];
        }
        let table = Table::read();
        let mut taken = BTreeSet::new();
        let mut jobs = vec![];
        for record in &self.records {
            let roots = table
                .processes
                .values()
                .filter(|p| table.is_root(record, p))
                .map(|p| p.id.pid);
            let new: Vec<_> = table
                .closure(roots.collect())
                .into_iter()
                .filter(|id| taken.insert(*id))
                .collect();
            if !new.is_empty() {
                jobs.push(Leftover {
                    tag: record.tag.clone(),
                    pids: new.iter().map(|id| id.pid).collect(),
                });
            }
        }
        let grouped = self.cgroups.iter().flat_map(JobCgroup::pids).collect();
        let rest: Vec<_> = table
            .closure(grouped)
            .into_iter()
            .filter(|id| taken.insert(*id))
            .collect();
        if !rest.is_empty() {
            jobs.push(Leftover {
                tag: String::new(),
                pids: rest.iter().map(|id| id.pid).collect(),
            });
        }
        self.found.extend(taken);
        jobs
    }

    fn end(&mut self, delay: Duration) -> Vec<u32> {
        if !delay.is_zero() {
            for born in self.records.iter().filter_map(|record| record.process) {
                if let Some(main) = self.found.iter().find(|id| born.is(**id)) {
                    procfs::signal(*main, Signal::TERM);
                }
            }
            let deadline = Instant::now() + delay;
            while Instant::now() < deadline && !self.living().is_empty() {
                std::thread::sleep(PAUSE);
            }
        }
        let deadline = Instant::now() + MAX_DYING;
        loop {
            // Again and again, for those that were forked before their parent was stopped.
            self.jobs();
            let living = self.living();
            if living.is_empty() || Instant::now() >= deadline {
                return living.iter().map(|id| id.pid).collect();
            }
            for signal in [Signal::STOP, Signal::KILL] {
                for id in &living {
                    procfs::signal(*id, signal);
                }
            }
            for cgroup in &self.cgroups {
                cgroup.kill();
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn living(&self) -> Vec<Identity> {
        let is_living =
            |id: &&Identity| procfs::stat(id.pid).is_some_and(|p| p.id == **id && p.is_alive());
        self.found.iter().filter(is_living).copied().collect()
    }
}

/// All processes of the machine at one instant.
struct Table {
    processes: BTreeMap<u32, Stat>,
    children: BTreeMap<u32, Vec<u32>>,
    marks: BTreeMap<u32, String>,
}

impl Table {
    fn read() -> Self {
        let processes: BTreeMap<u32, Stat> = procfs::all()
            .into_iter()
            .filter(Stat::is_alive)
            .map(|p| (p.id.pid, p))
            .collect();
        let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for process in processes.values() {
            children
                .entry(process.parent)
                .or_default()
                .push(process.id.pid);
        }
        let marks = processes
            .keys()
            .filter_map(|pid| Some((*pid, procfs::mark_of(*pid)?)))
            .collect();
        Self {
            processes,
            children,
            marks,
        }
    }

    /// Returns whether the process belongs to the job, regardless of its parents. Session and group count only while the main process
    /// exists. After that, the number may belong to other processes.
    fn is_root(&self, record: &Record, process: &Stat) -> bool {
        let is_marked = self.marks.get(&process.id.pid) == Some(&record.mark);
        let is_by_pid = record.process.is_some_and(|main| {
            let has_main = |p: &Stat| main.is(p.id);
            has_main(process)
                || ((process.session == main.pid || process.group == main.pid)
                    && self.processes.get(&main.pid).is_some_and(has_main))
        });
        is_marked || is_by_pid
    }

    /// These and all their descendants.
    fn closure(&self, mut queue: Vec<u32>) -> BTreeSet<Identity> {
        let me = std::process::id();
        let mut found = BTreeSet::new();
        while let Some(pid) = queue.pop() {
            // Never us: a Subagent may itself have been started by a job.
            if pid != me
                && let Some(process) = self.processes.get(&pid)
                && found.insert(process.id)
            {
                queue.extend(self.children.get(&pid).into_iter().flatten());
            }
        }
        found
    }
}

pub(crate) fn make_dir(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
}

/// Makes the directory of control groups and writes down where it is, for the successor.
pub(crate) fn make_cgroups(work_dir: &Path) -> Option<CgroupRoot> {
    let made = fs::canonicalize(work_dir)
        .and_then(|dir| CgroupRoot::make(&format!("mainspring-{:016x}", fingerprint(&dir))))
        .and_then(|root| {
            fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(cgroup_file(work_dir))?
                .write_all(root.dir().as_os_str().as_encoded_bytes())?;
            Ok(root)
        });
    match made {
        Ok(root) => {
            tracing::info!(dir = %root.dir().display(), "long-running jobs get control groups");
            Some(root)
        }
        Err(error) => {
            tracing::info!(%error, "jobs get no control groups; a killed job's processes are found by walking the tree");
            None
        }
    }
}

fn cgroup_file(work_dir: &Path) -> PathBuf {
    work_dir.join("running.cgroup")
}

/// FNV-1a: the same name for the same directory in every version.
fn fingerprint(path: &Path) -> u64 {
    path.as_os_str()
        .as_encoded_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subagent_that_a_job_has_started_does_not_end_itself_nor_what_it_runs() {
        let mut ours = std::process::Command::new("/bin/sleep")
            .arg("1000")
            .spawn()
            .expect("sleep can be started");
        let me = procfs::stat(std::process::id()).expect("we are running");
        let table = Table::read();
        let found = table.closure(vec![me.parent]);
        ours.kill().and_then(|()| ours.wait()).expect("it is ours");
        let has = |pid: u32| found.iter().any(|id| id.pid == pid);
        assert!(has(me.parent), "the job that we are a child of");
        assert!(!has(me.id.pid) && !has(ours.id()), "{found:?}");
    }

    #[test]
    fn a_job_is_recognized_by_mark_pid_session_or_group_as_long_as_its_main_process_is_there() {
        let process = |pid, start, group, session| Stat {
            id: Identity { pid, start },
            state: b'S',
            parent: 1,
            group,
            session,
        };
        let born = |pid| ledger::Record {
            process: Some(procfs::Born {
                pid,
                after: 100,
                until: 110,
            }),
            mark: "mine".to_owned(),
            tag: "A#1".to_owned(),
        };
        let table = |main: Stat| Table {
            processes: [(main.id.pid, main)].into(),
            children: BTreeMap::new(),
            marks: [(20, "mine".to_owned()), (21, "other".to_owned())].into(),
        };
        let main = process(10, 105, 10, 10);
        let is_root = |at_main_pid, of: Stat| table(at_main_pid).is_root(&born(10), &of);
        assert!(is_root(main, main));
        for start in [99, 111] {
            let successor = process(10, start, 10, 10);
            assert!(!is_root(successor, successor), "another process {start}");
        }
        // Process; whether it belongs to the job while the main process exists; when another process has its number.
        let rows = [
            (process(15, 200, 10, 15), true, false),
            (process(15, 200, 15, 10), true, false),
            (process(15, 200, 10, 10), true, false),
            (process(15, 105, 15, 15), false, false),
            (process(20, 200, 20, 20), true, true),
            (process(21, 200, 21, 21), false, false),
        ];
        for (of, while_main, after_main) in rows {
            assert_eq!(is_root(main, of), while_main, "{of:?}");
            assert_eq!(is_root(process(10, 111, 10, 10), of), after_main, "{of:?}");
        }
        let starting = ledger::Record {
            process: None,
            ..born(10)
        };
        assert!(!table(main).is_root(&starting, &main));
        assert!(table(main).is_root(&starting, &process(20, 200, 20, 20)));
    }

    #[test]
    fn the_name_of_the_control_groups_is_the_published_hash_of_the_work_directory() {
        // Test vectors of FNV-1a with 64 bits. Another name would hide the groups of an earlier version.
        let vectors = [
            ("", 0xcbf2_9ce4_8422_2325),
            ("a", 0xaf63_dc4c_8601_ec8c),
            ("foobar", 0x8594_4171_f739_67e8),
        ];
        for (text, hash) in vectors {
            assert_eq!(fingerprint(Path::new(text)), hash, "{text}");
        }
    }

    #[test]
    fn the_successor_learns_where_the_control_groups_are() {
        if !crate::cgroup::can_be_made_here() {
            return;
        }
        let dir = tempfile::tempdir().expect("a directory");
        let groups = make_cgroups(dir.path()).expect("this host has control groups");
        let job = groups.make_job(1).expect("a group");
        let mut child = std::process::Command::new("/bin/sleep")
            .arg("1000")
            .spawn()
            .expect("sleep can be started");
        job.enter(child.id()).expect("moved");
        // As after a crash: nothing but the group leads to the process.
        let mut search = Search::new(dir.path(), vec![]);
        let expected = Leftover {
            tag: String::new(),
            pids: vec![child.id()],
        };
        assert_eq!(search.jobs(), [expected]);
        let waiting = std::thread::spawn(move || child.wait());
        assert_eq!(search.end(Duration::ZERO), [0; 0], "nobody survives");
        let status = waiting.join().expect("no panic").expect("it is ours");
        assert!(!status.success());
        while !job.remove() {
            std::thread::yield_now();
        }
    }
}
