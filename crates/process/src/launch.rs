//! What is to be started, and why it could not be.
//! Always: the program is absolute and the environment complete, so that the start takes the kernel's short way
//! (`posix_spawn`), which does not get slower with the memory of this process.
//! Never: code between fork and exec, another user or group; that would cost the short way.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

#[derive(Clone, Debug)]
pub struct Launch {
    /// Absolute.
    pub program: PathBuf,
    pub args: Vec<OsString>,
    /// The complete environment; only the job's mark is added to it.
    pub env: Vec<(OsString, OsString)>,
    /// The working directory.
    pub dir: PathBuf,
    /// Shown in the ledger: which attempt this is.
    pub tag: String,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{} cannot be started: the path is not absolute", program.display())]
    NotAbsolute { program: PathBuf },
    #[error("{} cannot be started: there is no such file", program.display())]
    NotFound { program: PathBuf },
    #[error("{} cannot be started: it is a directory", program.display())]
    IsDirectory { program: PathBuf },
    #[error("{} cannot be started: it is not executable; give it the permission with chmod +x", program.display())]
    NotExecutable { program: PathBuf },
    #[error("{} cannot be started: permission denied (check its directories, and that its file system is not mounted noexec)", program.display())]
    PermissionDenied { program: PathBuf },
    #[error("{} cannot be started: its interpreter {interpreter} (first line, after #!) cannot be executed", program.display())]
    NoInterpreter {
        program: PathBuf,
        interpreter: String,
    },
    #[error("{} cannot be started: it is neither a program for this machine nor a script with a first line like #!/bin/sh", program.display())]
    NotAProgram { program: PathBuf },
    #[error("{} cannot be started: the working directory {} is not there or not accessible", program.display(), dir.display())]
    NoWorkingDirectory { program: PathBuf, dir: PathBuf },
    #[error("{} cannot be started: its arguments and environment are longer than the system allows", program.display())]
    TooLong { program: PathBuf },
    #[error("{} cannot be started: an argument, a path or a variable contains a NUL character", program.display())]
    ContainsNul { program: PathBuf },
    #[error("{} cannot be started: {limit} processes are running, more are not allowed here", program.display())]
    LimitReached { program: PathBuf, limit: usize },
    #[error("{} cannot be started: the system allows no more processes (see ulimit -u and kernel.pid_max)", program.display())]
    TooManyProcesses { program: PathBuf },
    #[error("{} cannot be started: too many files are open (see ulimit -n)", program.display())]
    TooManyFiles { program: PathBuf },
    #[error("{} cannot be started: not enough memory", program.display())]
    NoMemory { program: PathBuf },
    #[error("{} cannot be started: it is being written at this moment", program.display())]
    IsBeingWritten { program: PathBuf },
    #[error("{} cannot be started: the ledger of running processes cannot be written", program.display())]
    Ledger { program: PathBuf, source: io::Error },
    #[error("{} cannot be started", program.display())]
    Other { program: PathBuf, source: io::Error },
}

/// Starts the process with both outputs on pipes.
pub(crate) fn spawn(launch: &Launch, mark: &str) -> io::Result<Child> {
    let mut command = Command::new(&launch.program);
    command
        .args(&launch.args)
        .env_clear()
        .envs(launch.env.iter().map(|(name, value)| (name, value)))
        .env(crate::MARK_VARIABLE, mark)
        .current_dir(&launch.dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
}

impl StartError {
    /// The kernel gives one number for many causes, so we look what is there.
    pub(crate) fn explain(launch: &Launch, source: io::Error) -> Self {
        use rustix::io::Errno;
        let program = launch.program.clone();
        match source.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) if !is_enterable(&launch.dir) => {
                Self::NoWorkingDirectory {
                    program,
                    dir: launch.dir.clone(),
                }
            }
            Some(Errno::NOENT | Errno::NOTDIR) => match interpreter(&program) {
                Some(interpreter) => Self::NoInterpreter {
                    program,
                    interpreter,
                },
                None => Self::NotFound { program },
            },
            Some(Errno::ACCESS | Errno::PERM) => match fs::metadata(&program) {
                Ok(meta) if meta.is_dir() => Self::IsDirectory { program },
                Ok(meta) if meta.permissions().mode() & 0o111 == 0 => {
                    Self::NotExecutable { program }
                }
                Ok(_) | Err(_) => match interpreter(&program) {
                    Some(interpreter) if !is_executable(Path::new(&interpreter)) => {
                        Self::NoInterpreter {
                            program,
                            interpreter,
                        }
                    }
                    Some(_) | None => Self::PermissionDenied { program },
                },
            },
            Some(Errno::NOEXEC | Errno::LIBBAD) => Self::NotAProgram { program },
            Some(Errno::AGAIN) => Self::TooManyProcesses { program },
            Some(Errno::MFILE | Errno::NFILE) => Self::TooManyFiles { program },
            Some(Errno::NOMEM) => Self::NoMemory { program },
            Some(Errno::TOOBIG) => Self::TooLong { program },
            Some(Errno::TXTBSY) => Self::IsBeingWritten { program },
            // The library finds a NUL before it asks the kernel.
            None if source.kind() == io::ErrorKind::InvalidInput => Self::ContainsNul { program },
            Some(_) | None => Self::Other { program, source },
        }
    }
}

fn is_enterable(dir: &Path) -> bool {
    fs::metadata(dir).is_ok_and(|meta| meta.is_dir())
        && rustix::fs::access(dir, rustix::fs::Access::EXEC_OK).is_ok()
}

fn is_executable(program: &Path) -> bool {
    rustix::fs::access(program, rustix::fs::Access::EXEC_OK).is_ok()
}

/// The program that the first line of a script names.
fn interpreter(program: &Path) -> Option<String> {
    use std::io::Read as _;
    let mut head = vec![];
    fs::File::open(program)
        .ok()?
        .take(256)
        .read_to_end(&mut head)
        .ok()?;
    let line = head
        .strip_prefix(b"#!")?
        .split(|byte| *byte == b'\n')
        .next()?;
    Some(
        String::from_utf8_lossy(line)
            .split_whitespace()
            .next()?
            .to_owned(),
    )
}
