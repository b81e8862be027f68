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
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

/// The minimum time between the starts of two guards.
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
    input: Arc<Mutex<GuardInput>>,
}

/// The connection between this process and its guard.
#[derive(Debug, Default)]
struct GuardInput {
    /// The guard's standard input. `None` while no guard runs, and after this process has stopped guarding.
    stdin: Option<ChildStdin>,
    /// The last message, which is sent again to a guard that replaces another one.
    last: Option<GuardMessage>,
    is_closed: bool,
}

impl Guard {
    /// Starts the guard of `work_dir`, which must be absolute. If a guard ends, this is logged, and another guard replaces it at once.
    pub fn start(program: GuardProgram, work_dir: &Path) -> io::Result<Guard> {
        let work_dir = work_dir.to_owned();
        let input = Arc::new(Mutex::new(GuardInput::default()));
        let first = spawn(&program, &work_dir)?;
        let first = lock(&input).connect(first)?;
        let theirs = Arc::clone(&input);
        tasks::spawn_thread("guarded", 128 * 1024, move || {
            crate::spare_from_child_signals();
            replace_forever(&program, &work_dir, first, &theirs);
        })?;
        Ok(Guard { input })
    }

    /// Says that all is well until then, by [`steady_time`]; nothing means that only the process's end counts. Never blocks: a
    /// guard that is behind hears the next one.
    pub fn say(&self, well_until: Option<Duration>) {
        let mut input = lock(&self.input);
        input.last = Some(well_until.map_or(GuardMessage::Free, GuardMessage::Until));
        input.send_last();
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut input = lock(&self.input);
        input.is_closed = true;
        // The guard waits for the end of its input.
        input.stdin = None;
    }
}

fn lock(input: &Mutex<GuardInput>) -> MutexGuard<'_, GuardInput> {
    input.lock().unwrap_or_else(PoisonError::into_inner)
}

impl GuardInput {
    /// Sends all further messages to this guard.
    fn connect(&mut self, mut guard: Child) -> io::Result<Child> {
        let stdin = guard.stdin.take().filter(|_| !self.is_closed);
        if let Some(stdin) = &stdin {
            // A guard that is stopped must not block the process that it guards.
            rustix::io::ioctl_fionbio(stdin, true)?;
        }
        self.stdin = stdin;
        self.send_last();
        Ok(guard)
    }

    fn send_last(&mut self) {
        let (Some(stdin), Some(last)) = (&mut self.stdin, self.last) else {
            return;
        };
        let text = match last {
            GuardMessage::Until(at) => format!("until {}\n", at.as_millis()),
            GuardMessage::Free => "free\n".to_owned(),
        };
        // An error means that the guard does not read, or has ended. Its successor receives the message.
        if let Err(error) = stdin.write_all(text.as_bytes()) {
            tracing::debug!(%error, "the guard of the jobs does not hear");
        }
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

/// Waits for the end of the guard and starts another one, until there is nothing to guard.
fn replace_forever(
    program: &GuardProgram,
    work_dir: &Path,
    first: Child,
    input: &Mutex<GuardInput>,
) {
    let mut guard = first;
    loop {
        tasks::fault_point("guarded");
        let started = Instant::now();
        // This process may continue with another ward, so the guard must not remain as a zombie.
        let status = guard.wait();
        if lock(input).is_closed {
            return;
        }
        match status {
            Ok(status) => {
                tracing::error!(pid = guard.id(), %status, "the guard of the jobs has ended; another one is started");
            }
            Err(error) => {
                tracing::error!(%error, "the guard of the jobs cannot be waited for; another one is started");
            }
        }
        // The next guard starts at once, except after a guard that has ended right after its start.
        std::thread::sleep(PAUSE.saturating_sub(started.elapsed()));
        guard = loop {
            let next = spawn(program, work_dir).and_then(|next| lock(input).connect(next));
            match next {
                Ok(next) => break next,
                Err(error) => {
                    tracing::error!(%error, "the guard of the jobs cannot be started; trying again");
                    std::thread::sleep(PAUSE);
                }
            }
            if lock(input).is_closed {
                return;
            }
        };
        tracing::info!(pid = guard.id(), "the guard of the jobs has been replaced");
    }
}

/// A message to the guard.
#[derive(Clone, Copy, Debug)]
enum GuardMessage {
    /// The processes may run until this time.
    Until(Duration),
    /// The processes may run until the input ends.
    Free,
}

/// The life of a guard's process: reads `input` until its end. Answers what it has ended then.
pub fn guard(
    work_dir: &Path,
    input: impl BufRead + Send + 'static,
) -> Result<Leftovers, OpenError> {
    let (hears, heard) = mpsc::sync_channel(16);
    tasks::spawn_thread("guard-input", 128 * 1024, move || {
        for line in input.lines() {
            let Ok(line) = line else { return };
            let heard = match line.strip_prefix("until ").map(str::parse) {
                Some(Ok(millis)) => GuardMessage::Until(Duration::from_millis(millis)),
                Some(Err(_)) | None => GuardMessage::Free,
            };
            if hears.send(heard).is_err() {
                return;
            }
        }
    })
    .map_err(|source| OpenError::Begin {
        dir: work_dir.to_owned(),
        source,
    })?;
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
            Ok(GuardMessage::Until(at)) => well_until = Some(at),
            Ok(GuardMessage::Free) => well_until = None,
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
