//! A running job as its owner sees it: a sequence of output and at last its end.
//! Always: each stream's text comes whole and in order, then exactly one `Ended`. The owner pulls: what is not pulled stays
//! in the pipe, so a flooding job blocks and memory is bounded. A job whose `Running` is dropped is killed.
//!
//! The end: the main process is dead and both outputs are closed by all who hold them. After SIGKILL the outputs are not
//! waited for longer than a set time. A dead main process is kept as a zombie until then, because that reserves its
//! number and its group's number, so that a kill of what it left behind cannot hit a stranger.

use crate::adoption;
use crate::job::{Finish, Job};
use crate::output::{Chunker, OutputSettings, Stream};
use crate::procfs;
use crate::ward::AfterEnd;
use rustix::fd::OwnedFd;
use rustix::process::{PidfdFlags, WaitIdStatus};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe::Receiver;
use tokio::time::{Instant, sleep_until};

/// How often to look where the kernel has no descriptor for it.
const POLL_EXIT: Duration = Duration::from_millis(20);
/// Processes that got SIGKILL are waited for so long before the job is reported as ended without them.
const MAX_DYING: Duration = Duration::from_secs(2);
const READ_SIZE: usize = 64 * 1024;
/// The maximum number of processes that are named of those that hold an output open.
const PROCESSES_NAMED: usize = 3;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_SIZE]);
}

/// What a job's owner hears of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A piece of what the job has written.
    Output {
        /// Where it was written to.
        stream: Stream,
        /// The piece; it ends wherever it was cut, not only at line ends.
        text: String,
    },
    /// The main process has ended, but other processes have held an output open for [`worry_after_exit`] since then.
    ///
    /// [`worry_after_exit`]: crate::Settings::worry_after_exit
    OutputHeld {
        /// The first of the job's processes that are still running.
        processes: Vec<u32>,
    },
    /// The job is over; nothing comes after this.
    Ended(ExitStatus),
}

/// How the main process ended. Exactly one is known, unless the system has lost the status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitStatus {
    /// The exit code, 0 to 255, of a process that ended by itself.
    pub code: Option<i32>,
    /// The number of the signal that ended it.
    pub signal: Option<i32>,
}

impl ExitStatus {
    /// As a shell says it: 128 + n for signal n.
    pub fn return_code(&self) -> Option<i32> {
        self.code.or_else(|| self.signal.map(|signal| 128 + signal))
    }
}

/// A job that has been started; whoever has it pulls its events. Dropped before the end, the job is killed.
#[derive(Debug)]
pub struct Running {
    job: Arc<Job>,
    lanes: [Lane; 2],
    ready: VecDeque<Event>,
    exit: ExitWatch,
    exited_at: Option<Instant>,
    has_worried: bool,
    glances: u8,
    dying_since: Option<Instant>,
    is_over: bool,
}

/// Both output pipes of a job that is to be started.
#[derive(Debug)]
pub(crate) struct Outputs([Lane; 2]);

impl Outputs {
    /// Takes the reading ends of the pipes, which must be nonblocking. Must be called in a tokio runtime with I/O.
    pub(crate) fn new(out: OwnedFd, err: OwnedFd, output: OutputSettings) -> io::Result<Self> {
        Ok(Self([
            Lane::new(Stream::Stdout, out, output)?,
            Lane::new(Stream::Stderr, err, output)?,
        ]))
    }
}

/// One output of the job.
#[derive(Debug)]
struct Lane {
    stream: Stream,
    pipe: Option<Receiver>,
    chunker: Chunker,
    max_delay: Duration,
    /// When the text that has been collected is to be given out.
    flush_at: Option<Instant>,
}

/// How we learn that the main process has ended.
#[derive(Debug)]
enum ExitWatch {
    NotYet,
    Pidfd(AsyncFd<OwnedFd>),
    Poll(Instant),
}

impl Running {
    pub(crate) fn new(job: Arc<Job>, outputs: Outputs) -> Self {
        Self {
            job,
            lanes: outputs.0,
            ready: VecDeque::new(),
            exit: ExitWatch::NotYet,
            exited_at: None,
            has_worried: false,
            glances: 0,
            dying_since: None,
            is_over: false,
        }
    }

    /// The pid of the main process, which is also the number of the job's process group.
    pub fn pid(&self) -> u32 {
        self.job.main
    }

    /// SIGTERM to the main process only. Its descendants are remembered, so that a later `kill` finds them.
    pub fn terminate(&self) {
        self.job.terminate();
    }

    /// SIGSTOP and SIGKILL to the main process and everything that descends from it.
    pub fn kill(&self) {
        self.job.kill();
    }

    /// Returns whether the main process has ended. After that, no process is left that could react to SIGTERM; others only hold the outputs
    /// open.
    pub fn has_main_ended(&self) -> bool {
        // An error means that the exit status of the main process is lost, which implies that the process has ended.
        self.exited_at.is_some() || adoption::has_ended(self.job.main).unwrap_or(true)
    }

    /// The next event; `None` after `Ended`. May be dropped and called again at any time without losing anything.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if self.is_over {
                return None;
            }
            let killed_at = self.job.killed_at();
            self.keep_times(killed_at);
            if !self.ready.is_empty() {
                continue;
            }
            if self.lanes.iter().all(Lane::is_closed) && self.exited_at.is_none() {
                self.look_for_exit();
                if self.exited_at.is_none() && self.glances < 4 {
                    // The kernel closes the pipes a few microseconds before the process is dead.
                    self.glances += 1;
                    tokio::task::yield_now().await;
                    continue;
                }
            }
            if self.exited_at.is_some() && self.lanes.iter().all(Lane::is_closed) {
                self.finish().await;
                continue;
            }
            // Jobs that end before they settle never pay for a descriptor, nor for a timer: their closed pipes tell it.
            if killed_at.is_some()
                || self.job.is_settled()
                || self.lanes.iter().all(Lane::is_closed)
            {
                self.watch_exit();
            }
            self.wait(killed_at).await;
        }
    }

    /// Does what is due by now.
    fn keep_times(&mut self, killed_at: Option<Instant>) {
        let now = Instant::now();
        for lane in &mut self.lanes {
            lane.flush_if_due(now, &mut self.ready);
        }
        let drain = self.job.ward.settings.drain_after_kill;
        let worry = self.job.ward.settings.worry_after_exit;
        if killed_at.is_some_and(|at| now >= at + drain) {
            for lane in &mut self.lanes {
                lane.close(&mut self.ready);
            }
        }
        if matches!(self.exit, ExitWatch::Poll(at) if now >= at) {
            self.exit = ExitWatch::Poll(now + POLL_EXIT);
            self.look_for_exit();
        }
        if !self.has_worried && self.exited_at.is_some_and(|at| now >= at + worry) {
            self.has_worried = true;
            tracing::info!(
                job = self.job.tag,
                pid = self.job.main,
                "the main process has ended, but other processes hold its output open; the job goes on until they close it"
            );
            if !self.lanes.iter().all(Lane::is_closed) {
                let processes = self.job.others(PROCESSES_NAMED);
                self.ready.push_back(Event::OutputHeld { processes });
            }
        }
    }

    fn look_for_exit(&mut self) {
        match adoption::has_ended(self.job.main) {
            Ok(false) => {}
            Ok(true) => self.exited_at = Some(Instant::now()),
            Err(error) => {
                tracing::error!(%error, job = self.job.tag, pid = self.job.main, "the job's exit status is lost");
                self.exited_at = Some(Instant::now());
            }
        }
    }

    fn watch_exit(&mut self) {
        if !matches!(self.exit, ExitWatch::NotYet) {
            return;
        }
        self.exit = match exit_descriptor(self.job.main) {
            Ok(pidfd) => ExitWatch::Pidfd(pidfd),
            Err(error) => {
                tracing::debug!(%error, "no descriptor for a process; its end is polled for");
                ExitWatch::Poll(Instant::now())
            }
        };
    }

    /// Waits for a source and takes what it has.
    async fn wait(&mut self, killed_at: Option<Instant>) {
        let wake_at = self.wake_at(killed_at);
        let has_exited = self.exited_at.is_some();
        let [out, err] = &mut self.lanes;
        tokio::select! {
            biased;
            () = self.job.changed.notified() => {}
            () = exited(&self.exit), if !has_exited => self.exited_at = Some(Instant::now()),
            () = readable(out.pipe.as_ref()) => {
                out.read(&mut self.ready);
                // Also the other one, so that a flood on one does not starve it; without data this costs nothing.
                err.read(&mut self.ready);
            }
            () = readable(err.pipe.as_ref()) => err.read(&mut self.ready),
            () = at(wake_at) => {}
        }
    }

    fn wake_at(&self, killed_at: Option<Instant>) -> Option<Instant> {
        let settings = &self.job.ward.settings;
        let exit = match self.exit {
            ExitWatch::NotYet | ExitWatch::Pidfd(_) => None,
            ExitWatch::Poll(at) => self.exited_at.is_none().then_some(at),
        };
        let has_pipes = !self.lanes.iter().all(Lane::is_closed);
        let drain = killed_at
            .filter(|_| has_pipes)
            .map(|at| at + settings.drain_after_kill);
        let worry = self
            .exited_at
            .filter(|_| !self.has_worried)
            .map(|at| at + settings.worry_after_exit);
        let flushes = self.lanes.iter().filter_map(|lane| lane.flush_at).min();
        [exit, drain, worry, flushes].into_iter().flatten().min()
    }

    async fn finish(&mut self) {
        let ends_all = self.job.ward.settings.after_end == AfterEnd::EndAll;
        loop {
            let dying_since = *self.dying_since.get_or_insert_with(Instant::now);
            let is_patient = dying_since.elapsed() < MAX_DYING;
            match self.job.finish(ends_all, is_patient) {
                Finish::NotYet { is_moving: true } => self.job.changed.notified().await,
                Finish::NotYet { is_moving: false } => {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                Finish::Done(status) => {
                    self.is_over = true;
                    self.ready.push_back(Event::Ended(exit_status(status)));
                    return;
                }
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.is_over {
            tracing::debug!(
                job = self.job.tag,
                pid = self.job.main,
                "nobody waits for the job any more: it is killed"
            );
            self.job.abandon();
        }
    }
}

impl Lane {
    fn new(stream: Stream, pipe: OwnedFd, output: OutputSettings) -> io::Result<Self> {
        // tokio removes a descriptor from epoll before it closes it. This matters: right after a spawn a child may still hold copies of
        // our descriptors, and a closed one would still report events under a reused number.
        let pipe = Receiver::from_owned_fd_unchecked(pipe)?;
        Ok(Self {
            stream,
            pipe: Some(pipe),
            chunker: Chunker::new(output.max_characters),
            max_delay: output.max_delay,
            flush_at: None,
        })
    }

    fn is_closed(&self) -> bool {
        self.pipe.is_none()
    }

    /// One read, so that memory stays bounded.
    fn read(&mut self, ready: &mut VecDeque<Event>) {
        let Some(pipe) = &self.pipe else { return };
        let mut full = VecDeque::new();
        let read = SCRATCH.with_borrow_mut(|scratch| {
            let length = pipe.try_read(scratch)?;
            self.chunker.feed(&scratch[..length], &mut full);
            io::Result::Ok(length)
        });
        match read {
            Ok(0) => self.close(ready),
            Ok(_) => {
                if self.chunker.is_empty() {
                    self.flush_at = None;
                } else if self.flush_at.is_none() || !full.is_empty() {
                    self.flush_at = Some(Instant::now() + self.max_delay);
                }
                self.give(full, ready);
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) => {}
            Err(error) => {
                tracing::error!(%error, stream = ?self.stream, "an output of a job cannot be read");
                self.close(ready);
            }
        }
    }

    fn flush_if_due(&mut self, now: Instant, ready: &mut VecDeque<Event>) {
        if self.flush_at.is_some_and(|at| now >= at) {
            self.flush_at = None;
            let text = self.chunker.flush();
            self.give(text.into_iter().collect(), ready);
        }
    }

    /// Gives out the rest.
    fn close(&mut self, ready: &mut VecDeque<Event>) {
        self.pipe = None;
        self.flush_at = None;
        let mut full = VecDeque::new();
        self.chunker.finish(&mut full);
        self.give(full, ready);
    }

    fn give(&self, texts: VecDeque<String>, ready: &mut VecDeque<Event>) {
        ready.extend(texts.into_iter().map(|text| Event::Output {
            stream: self.stream,
            text,
        }));
    }
}

/// A descriptor that becomes readable when the process is dead.
fn exit_descriptor(pid: u32) -> io::Result<AsyncFd<OwnedFd>> {
    let pid = procfs::kernel_pid(pid).ok_or(io::ErrorKind::InvalidInput)?;
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    #[expect(
        deprecated,
        reason = "unsound only with types that may change their descriptor; an OwnedFd does not"
    )]
    AsyncFd::with_interest(pidfd, Interest::READABLE)
}

async fn readable(pipe: Option<&Receiver>) {
    let Some(pipe) = pipe else {
        return std::future::pending().await;
    };
    // An error shows itself again in the read that follows.
    drop(pipe.readable().await);
}

async fn exited(watch: &ExitWatch) {
    let ExitWatch::Pidfd(pidfd) = watch else {
        return std::future::pending().await;
    };
    drop(pidfd.readable().await);
}

async fn at(instant: Option<Instant>) {
    let Some(instant) = instant else {
        return std::future::pending().await;
    };
    sleep_until(instant).await;
}

fn exit_status(status: Option<WaitIdStatus>) -> ExitStatus {
    ExitStatus {
        code: status.as_ref().and_then(WaitIdStatus::exit_status),
        signal: status.as_ref().and_then(WaitIdStatus::terminating_signal),
    }
}
