//! Starts processes by `posix_spawn`, called directly because the standard library cannot set everything that a job requires.
//! Always: the job is the leader of its own session, so it has no controlling terminal. Every signal has its default action and none is
//! blocked. The job has no descriptor of this process except its three standard streams.
//! Never: code between fork and exec, which would prevent the kernel's fast path (decision 5).
#![expect(
    unsafe_code,
    reason = "the interface of the C library; each block says why it holds"
)]

use crate::launch::{Environment, Launch};
use nix::libc;
use rustix::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt as _;
use std::ptr;
use std::sync::LazyLock;

/// The environment of this process as `NAME=VALUE`. It is read once, because it does not change later.
static OWN_ENVIRONMENT: LazyLock<BTreeMap<OsString, CString>> = LazyLock::new(|| {
    let variables = std::env::vars_os();
    variables
        .filter_map(|(name, value)| {
            let text = assignment(&name, &value).ok()?;
            Some((name, text))
        })
        .collect()
});

/// The two ends of the pipe for an output of a job.
pub(crate) struct Pipe {
    pub(crate) read: OwnedFd,
    pub(crate) write: OwnedFd,
}

/// The number of descriptors that jobs must leave free. They are needed to end jobs, to search for their processes and to read their return
/// values.
const RESERVE: u64 = 32;

/// Creates a pipe with a nonblocking reading end. Fails with `EMFILE` if only the reserve is left.
pub(crate) fn pipe() -> io::Result<Pipe> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    // A new descriptor gets the lowest free number, so a high one shows that most are taken.
    let number = u64::try_from(read.as_raw_fd().max(write.as_raw_fd())).unwrap_or(u64::MAX);
    if limit.is_some_and(|limit| is_in_reserve(number, limit)) {
        return Err(rustix::io::Errno::MFILE.into());
    }
    rustix::io::ioctl_fionbio(&read, true)?;
    Ok(Pipe { read, write })
}

/// Returns whether this descriptor belongs to the reserve. A low limit has a smaller reserve, so that jobs get most of it.
fn is_in_reserve(number: u64, limit: u64) -> bool {
    number + RESERVE.min(limit / 8) >= limit
}

/// Starts the process with these descriptors as its standard streams, and returns its pid.
pub(crate) fn spawn(launch: &Launch, mark: &str, streams: [BorrowedFd<'_>; 3]) -> io::Result<u32> {
    let program = text(launch.program.as_os_str())?;
    let dir = text(launch.dir.as_os_str())?;
    let mut arguments = vec![program.clone()];
    for argument in &launch.args {
        arguments.push(text(argument)?);
    }
    let environment = environment(&launch.env, mark)?;
    let argv = pointers(&arguments);
    let envp = pointers(&environment);

    let mut actions = Actions::new()?;
    actions.change_directory(&dir)?;
    for (stream, number) in streams.into_iter().zip(0..) {
        actions.duplicate(stream, number)?;
    }
    let attributes = Attributes::new()?;
    let mut pid = 0;
    // SAFETY: all pointers point to values that live until the call returns; both lists end with a null pointer. Before its exec, the new
    // process executes no code of this one except the actions and attributes.
    let error = unsafe {
        libc::posix_spawn(
            &raw mut pid,
            program.as_ptr(),
            &raw const actions.0,
            &raw const attributes.0,
            argv.as_ptr(),
            envp.as_ptr(),
        )
    };
    check(error)?;
    u32::try_from(pid).map_err(io::Error::other)
}

fn environment(wanted: &Environment, mark: &str) -> io::Result<Vec<CString>> {
    let mut changes: BTreeMap<&OsStr, Option<&OsStr>> = BTreeMap::new();
    match wanted {
        Environment::Only(variables) => {
            let set = |(name, value)| (OsString::as_os_str(name), Some(OsString::as_os_str(value)));
            changes.extend(variables.iter().map(|(name, value)| set((name, value))));
        }
        Environment::Inherited(variables) => {
            let set = variables.iter();
            changes.extend(set.map(|(name, value)| (name.as_os_str(), value.as_deref())));
        }
    }
    changes.insert(OsStr::new(crate::MARK_VARIABLE), Some(OsStr::new(mark)));
    let mut texts = vec![];
    if matches!(wanted, Environment::Inherited(_)) {
        let kept = OWN_ENVIRONMENT
            .iter()
            .filter(|(name, _)| !changes.contains_key(name.as_os_str()));
        texts.extend(kept.map(|(_, text)| text.clone()));
    }
    for (name, value) in changes {
        if let Some(value) = value {
            texts.push(assignment(name, value)?);
        }
    }
    Ok(texts)
}

/// Returns the names of the variables that a process gets, with the lengths that the kernel counts. Leaves out the job's mark.
pub(crate) fn lengths(wanted: &Environment) -> Vec<(String, usize)> {
    let texts = environment(wanted, "").unwrap_or_default();
    let length = |text: &CString| {
        let bytes = text.as_bytes_with_nul();
        let name = bytes.split(|byte| *byte == b'=').next().unwrap_or_default();
        (String::from_utf8_lossy(name).into_owned(), bytes.len())
    };
    texts.iter().map(length).collect()
}

fn assignment(name: &OsStr, value: &OsStr) -> io::Result<CString> {
    let mut bytes = Vec::with_capacity(name.len() + value.len() + 2);
    bytes.extend_from_slice(name.as_bytes());
    bytes.push(b'=');
    bytes.extend_from_slice(value.as_bytes());
    Ok(CString::new(bytes)?)
}

fn text(text: &OsStr) -> io::Result<CString> {
    Ok(CString::new(text.as_bytes())?)
}

/// Returns a pointer to each text, and a null pointer at the end, as the C library expects.
fn pointers(texts: &[CString]) -> Vec<*mut libc::c_char> {
    let mut pointers: Vec<_> = texts.iter().map(|text| text.as_ptr().cast_mut()).collect();
    pointers.push(ptr::null_mut());
    pointers
}

/// Converts the result of a call that returns an error number and does not set `errno`.
fn check(error: libc::c_int) -> io::Result<()> {
    match error {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Changes of descriptors and of the directory in the new process.
struct Actions(libc::posix_spawn_file_actions_t);

impl Actions {
    fn new() -> io::Result<Self> {
        let mut raw = MaybeUninit::uninit();
        // SAFETY: the call initializes the value, unless it fails.
        check(unsafe { libc::posix_spawn_file_actions_init(raw.as_mut_ptr()) })?;
        // SAFETY: initialized by the call above.
        Ok(Self(unsafe { raw.assume_init() }))
    }

    fn change_directory(&mut self, dir: &CString) -> io::Result<()> {
        // SAFETY: `new` has initialized the value; the path is copied.
        check(unsafe { libc::posix_spawn_file_actions_addchdir_np(&raw mut self.0, dir.as_ptr()) })
    }

    fn duplicate(&mut self, stream: BorrowedFd<'_>, number: libc::c_int) -> io::Result<()> {
        // SAFETY: `new` has initialized the value.
        check(unsafe {
            libc::posix_spawn_file_actions_adddup2(&raw mut self.0, stream.as_raw_fd(), number)
        })
    }
}

impl Drop for Actions {
    fn drop(&mut self) {
        // SAFETY: `new` has initialized the value, and it is not used afterwards. The call does not fail.
        unsafe { libc::posix_spawn_file_actions_destroy(&raw mut self.0) };
    }
}

/// Session and signals of the new process.
struct Attributes(libc::posix_spawnattr_t);

impl Attributes {
    fn new() -> io::Result<Self> {
        let mut raw = MaybeUninit::uninit();
        // SAFETY: the call initializes the value, unless it fails.
        check(unsafe { libc::posix_spawnattr_init(raw.as_mut_ptr()) })?;
        // SAFETY: initialized by the call above.
        let mut attributes = Self(unsafe { raw.assume_init() });
        let flags = libc::c_int::from(libc::POSIX_SPAWN_SETSID)
            | libc::POSIX_SPAWN_SETSIGMASK
            | libc::POSIX_SPAWN_SETSIGDEF;
        let flags = libc::c_short::try_from(flags).map_err(io::Error::other)?;
        let none = nix::sys::signal::SigSet::empty();
        let mut all = nix::sys::signal::SigSet::all();
        all.remove(nix::sys::signal::Signal::SIGKILL);
        all.remove(nix::sys::signal::Signal::SIGSTOP);
        // SAFETY: the value was initialized above; the sets are copied.
        unsafe {
            check(libc::posix_spawnattr_setflags(&raw mut attributes.0, flags))?;
            check(libc::posix_spawnattr_setsigmask(
                &raw mut attributes.0,
                none.as_ref(),
            ))?;
            check(libc::posix_spawnattr_setsigdefault(
                &raw mut attributes.0,
                all.as_ref(),
            ))?;
        }
        Ok(attributes)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: `new` has initialized the value, and it is not used afterwards. The call does not fail.
        unsafe { libc::posix_spawnattr_destroy(&raw mut self.0) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_descriptors_are_kept_for_ending_jobs() {
        // The limit, and the first descriptor of the reserve.
        for (limit, first) in [(80, 70), (256, 224), (1024, 992), (1_048_576, 1_048_544)] {
            assert!(!is_in_reserve(first - 1, limit), "{limit}");
            assert!(is_in_reserve(first, limit), "{limit}");
            assert!(is_in_reserve(limit, limit), "{limit}");
        }
    }

    #[test]
    fn the_memory_of_a_start_is_given_back() {
        let null = std::fs::File::open("/dev/null").expect("it is there");
        let resident_kib = || -> usize {
            let status = std::fs::read_to_string("/proc/self/status").expect("our own");
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            let digits = line.and_then(|line| line.trim().strip_suffix(" kB"));
            digits.and_then(|kib| kib.parse().ok()).expect("a number")
        };
        let before = resident_kib();
        for _ in 0..300_000 {
            let mut actions = Actions::new().expect("memory");
            let stream = rustix::fd::AsFd::as_fd(&null);
            actions.duplicate(stream, 1).expect("memory");
        }
        let after = resident_kib();
        assert!(after < before + 40 * 1024, "{before} KiB, {after} KiB");
    }
}
