//! State that a process inherits from its parent unintentionally: ignored and blocked signals, open descriptors, limits, a umask.
//! Always: this process has the state that a service requires, whichever process has started it. Its jobs get the limits that this process
//! was given. Their signals, descriptors and terminal are like those of a freshly started service (see `spawn`).
//! Never here: handlers for signals that are sent to this process; the program has them.
#![expect(
    unsafe_code,
    reason = "signals and descriptors of the whole process; each block says why it holds"
)]

use nix::libc;
use nix::sys::signal::{SigHandler, SigSet, Signal};
use rustix::fs::Mode;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};
use std::fs;
use std::sync::OnceLock;

/// Limits that stop or starve a service, with the option of `ulimit` that shows them.
const LIMITS: [(Resource, &str, &str); 6] = [
    (Resource::Nofile, "open files", "-n"),
    (Resource::Nproc, "processes of this user", "-u"),
    (Resource::Fsize, "the size of a file", "-f"),
    (Resource::Cpu, "processor time", "-t"),
    (Resource::As, "memory", "-v"),
    (Resource::Data, "data memory", "-d"),
];

/// With fewer descriptors than this, some hundred jobs at a time are not possible. Each job needs two, in addition to those of connections
/// and files.
const FEW_DESCRIPTORS: u64 = 4096;

/// The state that each job gets after its start.
static OF_JOBS: OnceLock<OfJobs> = OnceLock::new();

#[derive(Debug, Default)]
struct OfJobs {
    /// The former limits of this process, for those limits that the process has raised for itself.
    limits: Vec<(Resource, Rlimit)>,
    /// Whether the kernel prefers to spare this process when memory is short. Its jobs must not be spared.
    loses_protection: bool,
}

/// What was found and changed, as sentences for the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inherited {
    /// What has been changed to meet the needs of a service.
    pub changed: Vec<String>,
    /// What may still stop or delay the service, with the action that it requires.
    pub doubtful: Vec<String>,
}

/// Prepares this process for running a service, and records the state that its jobs are to get. Must be called once, at the start, while
/// there is only one thread.
pub fn settle_inherited() -> Inherited {
    let mut found = Inherited::default();
    settle_signals(&mut found);
    settle_descriptors(&mut found);
    settle_umask(&mut found);
    let limits = raise_limits(&mut found);
    let of_jobs = OfJobs {
        limits,
        loses_protection: is_protected(),
    };
    // A second call changes nothing, because only the first one sees the limits that this process was given.
    OF_JOBS.get_or_init(|| of_jobs);
    found
}

/// Gives a job that has just been started the limits of this process as they were at its start. The job already runs and may see the
/// raised limits for the first microseconds.
pub(crate) fn give(pid: u32) {
    let Some(of_jobs) = OF_JOBS.get() else { return };
    for (resource, limit) in &of_jobs.limits {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        // An error means that the process has ended, or now runs as another user.
        if let Err(error) = prlimit(pid, *resource, *limit) {
            tracing::debug!(%error, ?resource, "a job keeps a limit of its Subagent");
        }
    }
    if of_jobs.loses_protection {
        // An error has the same causes here.
        if let Err(error) = fs::write(format!("/proc/{pid}/oom_score_adj"), "0") {
            tracing::debug!(%error, "a job keeps the protection of its Subagent from the lack of memory");
        }
    }
}

fn settle_signals(found: &mut Inherited) {
    // While SIGCHLD is ignored, the kernel drops the exit status of every job.
    if let Ok(SigHandler::SigIgn) = treat(Signal::SIGCHLD, SigHandler::SigDfl) {
        found.changed.push("SIGCHLD was ignored".to_owned());
    }
    // A write beyond the file size limit must fail and must not end the process without a message.
    if let Err(error) = treat(Signal::SIGXFSZ, SigHandler::SigIgn) {
        found
            .doubtful
            .push(format!("SIGXFSZ cannot be ignored: {error}"));
    }
    let mut before = SigSet::empty();
    let unblocked = nix::sys::signal::pthread_sigmask(
        nix::sys::signal::SigmaskHow::SIG_SETMASK,
        Some(&SigSet::empty()),
        Some(&mut before),
    );
    match unblocked {
        Ok(()) => {
            let names: Vec<_> = before.iter().map(Signal::as_str).collect();
            if !names.is_empty() {
                let text = format!("signals were blocked: {}", names.join(", "));
                found.changed.push(text);
            }
        }
        Err(error) => found
            .doubtful
            .push(format!("signals may be blocked: {error}")),
    }
}

/// Sets the disposition of the signal and returns the former one.
fn treat(signal: Signal, handler: SigHandler) -> nix::Result<SigHandler> {
    debug_assert!(!matches!(
        handler,
        SigHandler::Handler(_) | SigHandler::SigAction(_)
    ));
    // SAFETY: no handler is installed, only one of the kernel's own dispositions.
    unsafe { nix::sys::signal::signal(signal, handler) }
}

/// Keeps descriptors from being inherited by jobs, except the standard streams. They stay open, because an argument may name one
/// (`/dev/fd/5`).
fn settle_descriptors(found: &mut Inherited) {
    let Ok(entries) = fs::read_dir("/proc/self/fd") else {
        return;
    };
    let numbers: Vec<libc::c_int> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|number| *number > 2)
        .collect();
    let mut open = vec![];
    for number in numbers {
        // SAFETY: flags are read and set by number; a number that is not open gives an error.
        let is_inherited = unsafe {
            let flags = libc::fcntl(number, libc::F_GETFD);
            flags >= 0
                && flags & libc::FD_CLOEXEC == 0
                && libc::fcntl(number, libc::F_SETFD, flags | libc::FD_CLOEXEC) == 0
        };
        if is_inherited {
            open.push(number.to_string());
        }
    }
    if !open.is_empty() {
        let text = format!("descriptors were open: {}", open.join(", "));
        found.changed.push(text);
    }
}

/// Grants all permissions to the owner, so that this process can open its own files again. The permissions of others are set for each file.
fn settle_umask(found: &mut Inherited) {
    let inherited = rustix::process::umask(Mode::from_raw_mode(0o077));
    let own = Mode::RWXU;
    rustix::process::umask(inherited - own);
    if inherited.intersects(own) {
        let text = format!(
            "the umask {:03o} took permissions from the owner",
            inherited.as_raw_mode()
        );
        found.changed.push(text);
    }
}

fn raise_limits(found: &mut Inherited) -> Vec<(Resource, Rlimit)> {
    let mut given = vec![];
    for (resource, name, option) in LIMITS {
        let limit = getrlimit(resource);
        if limit.current != limit.maximum {
            let raised = Rlimit {
                current: limit.maximum,
                maximum: limit.maximum,
            };
            match setrlimit(resource, raised) {
                Ok(()) => {
                    found.changed.push(format!(
                        "the limit of {name} was {} and is {} now; jobs keep the former",
                        shown(limit.current),
                        shown(limit.maximum)
                    ));
                    given.push((resource, limit));
                }
                Err(error) => found.doubtful.push(format!(
                    "the limit of {name} (ulimit {option}) is {} and cannot be raised to {}: {error}",
                    shown(limit.current),
                    shown(limit.maximum)
                )),
            }
        }
        let is_low = if resource == Resource::Nofile {
            limit.maximum.is_some_and(|most| most < FEW_DESCRIPTORS)
        } else {
            // Every user has a limit of processes that depends on the memory.
            resource != Resource::Nproc && limit.maximum.is_some()
        };
        if is_low {
            found.doubtful.push(format!(
                "{name} is limited to {} (ulimit -H {option}); raise it where this service is started",
                shown(limit.maximum)
            ));
        }
    }
    given
}

fn shown(limit: Option<u64>) -> String {
    limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string())
}

fn is_protected() -> bool {
    fs::read_to_string("/proc/self/oom_score_adj").is_ok_and(|text| text.trim().starts_with('-'))
}
