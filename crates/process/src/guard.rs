//! The guard: a small process beside a Subagent's that ends the jobs when the Subagent cannot: it was killed, or stands still.
//! Always: as long as the guarded process lives and says in time that it is well, nothing is ended. When it is gone, its jobs
//! are ended at once; when it has been silent for longer than it said, they are ended then.
//! Never here: which jobs there are; the ledger of the work directory says that.
//!
//! ```text
//!  Subagent ──"until 81234\n" (steady milliseconds), "free\n"──▶ guard's standard input; its end is the Subagent's end
//! ```

use crate::ledger::LedgerError;
use crate::leftovers::{self, Leftovers};
use crate::ward::OpenError;
use std::ffi::OsString;
use std::io::{self, BufRead, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// Pause before a guard that has ended is replaced.
const PAUSE: Duration = Duration::from_secs(1);
/// How often the clock is looked at.
const LOOK: Duration = Duration::from_secs(5);

/// The time since the machine was started, sleep included: it never jumps, and all processes of the machine see the same.
pub fn steady_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// How the guard's process is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuardProgram {
    /// The program.
    pub program: PathBuf,
    /// Its arguments; the work directory follows.
    pub arguments: Vec<OsString>,
}

/// The guarded side. When it is dropped, or its process ends, the guard ends what still runs.
#[derive(Debug)]
pub struct Guard {
    sayings: mpsc::SyncSender<Option<Duration>>,
}

impl Guard {
    /// Starts the guard of `work_dir`, which must be absolute. One that ends is replaced.
    pub fn start(program: GuardProgram, work_dir: &Path) -> io::Result<Guard> {
        let work_dir = work_dir.to_owned();
        let first = spawn(&program, &work_dir)?;
        let (sayings, said) = mpsc::sync_channel(1);
        std::thread::Builder::new()
            .name("guarded".to_owned())
            .stack_size(128 * 1024)
            .spawn(move || {
                crate::spare_from_child_signals();
                talk(&program, &work_dir, first, &said);
            })?;
        Ok(Guard { sayings })
    }

    /// Says that all is well until then, by [`steady_time`]; nothing means that only the process's end counts. Never blocks: a
    /// guard that is behind hears the next one.
    pub fn say(&self, well_until: Option<Duration>) {
        // Full: the thread is still busy with the last one.
        let _heard = self.sayings.try_send(well_until);
    }
}

/// In our own process group, so that the ward does not take it for somebody's orphan.
fn spawn(program: &GuardProgram, work_dir: &Path) -> io::Result<Child> {
    Command::new(&program.program)
        .args(&program.arguments)
        .arg(work_dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .env_remove(crate::MARK_VARIABLE)
        .spawn()
}

fn tell(guard: &mut Child, line: &str) -> io::Result<()> {
    let Some(input) = &mut guard.stdin else {
        return Err(io::ErrorKind::BrokenPipe.into());
    };
    input.write_all(line.as_bytes())
}

/// Passes on what is said until nobody can say anything any more.
fn talk(
    program: &GuardProgram,
    work_dir: &Path,
    first: Child,
    said: &mpsc::Receiver<Option<Duration>>,
) {
    let mut guard = first;
    while let Ok(well_until) = said.recv() {
        let line = match well_until {
            Some(at) => format!("until {}\n", at.as_millis()),
            None => "free\n".to_owned(),
        };
        while let Err(error) = tell(&mut guard, &line) {
            tracing::error!(%error, "the guard of the jobs has ended; another one is started");
            if let Err(error) = guard.kill().and_then(|()| guard.wait()) {
                tracing::warn!(%error, "the ended guard cannot be waited for");
            }
            std::thread::sleep(PAUSE);
            match spawn(program, work_dir) {
                Ok(next) => guard = next,
                Err(error) => tracing::error!(%error, "the guard of the jobs cannot be started"),
            }
        }
    }
    // This process may go on with another ward: the guard must not stay behind as a zombie.
    drop(guard.stdin.take());
    if let Err(error) = guard.wait() {
        tracing::warn!(%error, "the ended guard cannot be waited for");
    }
}

/// What a guard has heard.
enum Heard {
    Until(Duration),
    Free,
}

/// The life of a guard's process: reads `input` until its end. Answers what it has ended then.
pub fn guard(
    work_dir: &Path,
    input: impl BufRead + Send + 'static,
) -> Result<Leftovers, OpenError> {
    let (hears, heard) = mpsc::sync_channel(16);
    std::thread::spawn(move || {
        for line in input.lines() {
            let Ok(line) = line else { return };
            let heard = match line.strip_prefix("until ").map(str::parse) {
                Some(Ok(millis)) => Heard::Until(Duration::from_millis(millis)),
                Some(Err(_)) | None => Heard::Free,
            };
            if hears.send(heard).is_err() {
                return;
            }
        }
    });
    let mut well_until: Option<Duration> = None;
    loop {
        let next = match well_until {
            None => heard
                .recv()
                .map_err(|_closed| mpsc::RecvTimeoutError::Disconnected),
            // The timer may stand still while the machine sleeps; the steady time does not.
            Some(at) => heard.recv_timeout(at.saturating_sub(steady_time()).min(LOOK)),
        };
        match next {
            Ok(Heard::Until(at)) => well_until = Some(at),
            Ok(Heard::Free) => well_until = None,
            Err(mpsc::RecvTimeoutError::Timeout)
                if well_until.is_some_and(|at| at > steady_time()) => {}
            Err(mpsc::RecvTimeoutError::Timeout) => {
                // It stands still, or it would have ended them itself.
                well_until = None;
                match leftovers::end_in_use(work_dir) {
                    Ok(ended) if ended.jobs.is_empty() => {}
                    Ok(ended) => {
                        tracing::warn!(jobs = ended.jobs.len(), survivors = ?ended.survivors, "the Subagent stands still; its jobs were ended");
                    }
                    Err(error) => {
                        tracing::error!(%error, "the Subagent stands still, and its jobs cannot be found");
                    }
                }
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
        }
    }
    match leftovers::end_leftovers(work_dir, Duration::ZERO) {
        // A successor has come already and has ended them.
        Err(OpenError::Ledger(LedgerError::InUse { .. })) => Ok(Leftovers::default()),
        ended => ended,
    }
}
