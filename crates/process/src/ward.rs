//! The ward: one per Subagent process, under which all its jobs run.
//! Always: it holds the lock of its work directory, knows each running process in the ledger, has ended what a crashed
//! predecessor left before it starts the first job, and is the parent of every orphan of its jobs.
//! Never here: what a single job does; see `running`.

use crate::adoption::Starting;
use crate::cgroup::CgroupRoot;
use crate::inherited;
use crate::job::Job;
use crate::keeper::Keeper;
use crate::launch::{Launch, StartError};
use crate::ledger::{Entry, Ledger, LedgerError};
use crate::leftovers::{self, Leftovers};
use crate::output::OutputSettings;
use crate::procfs::{self, Born};
use crate::running::{Outputs, Running};
use crate::spawn;
use rustix::fd::{AsFd as _, BorrowedFd};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Whether jobs get control groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CgroupUse {
    /// Where the host has them and lets us.
    #[default]
    Auto,
    /// Nowhere; jobs are found by their tree and their mark only.
    Off,
}

/// What becomes of processes that a job has left running when it ended by itself and they hold none of its pipes.
/// A job that was asked or forced to end never leaves anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AfterEnd {
    /// A job may start a service: that is let alone.
    #[default]
    LeaveDaemons,
    /// They are killed.
    EndAll,
}

/// How the jobs of a ward are kept.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether jobs get control groups.
    pub cgroups: CgroupUse,
    /// No more processes than this run at a time.
    pub process_limit: usize,
    /// The time between SIGTERM and SIGKILL for leftovers of a crashed predecessor; zero is SIGKILL at once.
    pub leftover_delay: Duration,
    /// What becomes of a job's processes after its normal end.
    pub after_end: AfterEnd,
    /// After SIGKILL the outputs are read no longer than this, even if somebody still holds them.
    pub drain_after_kill: Duration,
    /// How long after the end of a job's main process it is logged and reported that other processes hold the outputs of the job.
    pub worry_after_exit: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cgroups: CgroupUse::Auto,
            process_limit: usize::MAX,
            leftover_delay: Duration::ZERO,
            after_end: AfterEnd::LeaveDaemons,
            drain_after_kill: Duration::from_millis(500),
            worry_after_exit: Duration::from_secs(1),
        }
    }
}

/// Why a work directory cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory is not there and cannot be made.
    #[error("the work directory {} cannot be made", dir.display())]
    Dir {
        /// The work directory.
        dir: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// The ledger of running processes is used by another process or cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A part of the ward other than the ledger's reading has failed: the ledger's new beginning, the keeper's thread, or
    /// becoming the parent of orphans.
    #[error("the ward of the work directory {} cannot begin", dir.display())]
    Begin {
        /// The work directory.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The keeper of all jobs of a work directory. May be cloned; jobs keep it alive.
#[derive(Clone, Debug)]
pub struct Ward {
    core: Arc<WardCore>,
}

#[derive(Debug)]
pub(crate) struct WardCore {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) keeper: Keeper,
    pub(crate) cgroups: Option<Arc<CgroupRoot>>,
    pub(crate) settings: Settings,
    /// The standard input of all jobs, opened once.
    null: File,
}

impl Ward {
    /// Takes the work directory and ends what a predecessor left. Blocks for as long as that takes.
    pub fn open(work_dir: &Path, settings: Settings) -> Result<(Self, Leftovers), OpenError> {
        leftovers::make_dir(work_dir).map_err(|source| OpenError::Dir {
            dir: work_dir.to_owned(),
            source,
        })?;
        // From now on the orphans of our jobs become our children, so that they can be found and reaped.
        let begin_failed = |source| OpenError::Begin {
            dir: work_dir.to_owned(),
            source,
        };
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
            .map_err(|errno| begin_failed(errno.into()))?;
        let (file, leftovers) = leftovers::take(work_dir, settings.leftover_delay)?;
        let ledger = Arc::new(Ledger::begin(file).map_err(begin_failed)?);
        let null = File::open("/dev/null").map_err(begin_failed)?;
        let cgroups = match settings.cgroups {
            CgroupUse::Auto => leftovers::make_cgroups(work_dir).map(Arc::new),
            CgroupUse::Off => None,
        };
        let keeper =
            Keeper::start(Arc::downgrade(&ledger), cgroups.clone()).map_err(begin_failed)?;
        Ok((
            Self {
                core: Arc::new(WardCore {
                    ledger,
                    keeper,
                    cgroups,
                    settings,
                    null,
                }),
            },
            leftovers,
        ))
    }

    /// Whether killed jobs are ended by control group, too.
    pub fn has_cgroups(&self) -> bool {
        self.core.cgroups.is_some()
    }

    /// How many jobs run.
    pub fn running_count(&self) -> usize {
        self.core.ledger.count()
    }

    /// Starts a process. Must be called in a tokio runtime with I/O and time.
    ///
    /// The kernel's part takes some 150 µs and is done on the caller's thread, which is cheaper than another one.
    pub async fn start(
        &self,
        launch: Launch,
        output: OutputSettings,
    ) -> Result<Running, StartError> {
        if !launch.program.is_absolute() {
            return Err(StartError::NotAbsolute {
                program: launch.program,
            });
        }
        let mut slot = self.take_slot(&launch)?;
        let mark = self.core.ledger.mark(slot.entry);
        // Everything that may fail is done before the process exists, so that no process is started only to be ended.
        let failed = |source| StartError::explain(&launch, source);
        let (out, err) = spawn::pipe()
            .and_then(|out| Ok((out, spawn::pipe()?)))
            .map_err(failed)?;
        let outputs = Outputs::new(out.read, err.read, output).map_err(failed)?;
        let streams = [self.core.null.as_fd(), out.write.as_fd(), err.write.as_fd()];
        let born = spawn_patiently(&launch, &mark, streams).await?;
        drop((out.write, err.write));
        inherited::give(born.pid);
        slot.is_used = true;
        let job = Arc::new(Job::new(
            born.pid,
            mark,
            slot.entry,
            launch.tag,
            Arc::clone(&self.core),
        ));
        let program = launch.program;
        // From here on a failure drops `running`, and that ends the process and frees the slot.
        let running = Running::new(Arc::clone(&job), outputs);
        self.core
            .ledger
            .running(job.entry, born, &job.tag)
            .map_err(|source| StartError::Ledger { program, source })?;
        self.core.keeper.started(&job);
        Ok(running)
    }

    fn take_slot(&self, launch: &Launch) -> Result<Slot<'_>, StartError> {
        let limit = self.core.settings.process_limit;
        let program = || launch.program.clone();
        match self.core.ledger.starting(&launch.tag, limit) {
            Ok(Some(entry)) => Ok(Slot {
                ward: &self.core,
                entry,
                is_used: false,
            }),
            Ok(None) => Err(StartError::LimitReached {
                program: program(),
                limit,
            }),
            Err(source) => Err(StartError::Ledger {
                program: program(),
                source,
            }),
        }
    }
}

/// A slot of the ledger, given back if the start fails or is not awaited.
struct Slot<'a> {
    ward: &'a WardCore,
    entry: Entry,
    is_used: bool,
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        if !self.is_used {
            self.ward.ledger.ended(self.entry);
        }
    }
}

/// Spawns, again for a while if the program "is being written": another thread that forks while a script is written holds
/// the script's descriptor until its own exec.
async fn spawn_patiently(
    launch: &Launch,
    mark: &str,
    streams: [BorrowedFd<'_>; 3],
) -> Result<Born, StartError> {
    let mut pause = Duration::from_millis(1);
    loop {
        let starting = Starting::begin();
        let after = procfs::tick();
        match spawn::spawn(launch, mark, streams) {
            Ok(pid) => {
                starting.became(pid);
                let until = procfs::tick();
                return Ok(Born { pid, after, until });
            }
            Err(error)
                if error.kind() == io::ErrorKind::ExecutableFileBusy && pause.as_millis() < 500 =>
            {
                drop(starting);
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            Err(error) => return Err(StartError::explain(launch, error)),
        }
    }
}
