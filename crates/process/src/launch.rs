//! What is to be started, and why it could not be.
//! Always: the program is absolute and not looked for in a PATH, so that the start takes the kernel's short way
//! (`posix_spawn`), which does not get slower with the memory of this process.
//! Never: code between fork and exec, another user or group; that would cost the short way.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A process that is to be started.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The path of the program or script; absolute.
    pub program: PathBuf,
    /// The arguments without the program's own name.
    pub args: Vec<OsString>,
    /// The environment; only the job's mark is added to it.
    pub env: Environment,
    /// The working directory.
    pub dir: PathBuf,
    /// Shown in the ledger: which attempt this is.
    pub tag: String,
}

/// The environment of a process that is to be started.
#[derive(Clone, Debug)]
pub enum Environment {
    /// These variables and no other.
    Only(Vec<(OsString, OsString)>),
    /// Those of this process with changes: a value sets a variable, none removes it. With many variables this is the cheaper way.
    Inherited(Vec<(OsString, Option<OsString>)>),
}

/// Why a process could not be started. Its text tells the job's author what to change.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The program's path is relative.
    #[error("{} cannot be started: the path is not absolute", program.display())]
    NotAbsolute {
        /// The program of the launch.
        program: PathBuf,
    },
    /// Nothing is at the program's path.
    #[error("{} cannot be started: there is no such file", program.display())]
    NotFound {
        /// The program of the launch.
        program: PathBuf,
    },
    /// The program's path leads to a directory.
    #[error("{} cannot be started: it is a directory", program.display())]
    IsDirectory {
        /// The program of the launch.
        program: PathBuf,
    },
    /// The file lacks the permission to be executed.
    #[error("{} cannot be started: it is not executable; give it the permission with chmod +x", program.display())]
    NotExecutable {
        /// The program of the launch.
        program: PathBuf,
    },
    /// The file is executable, but a directory above it or its file system forbids it.
    #[error("{} cannot be started: permission denied (check its directories, and that its file system is not mounted noexec)", program.display())]
    PermissionDenied {
        /// The program of the launch.
        program: PathBuf,
    },
    /// The script's first line names an interpreter that is not there or cannot be executed.
    #[error("{} cannot be started: its interpreter {interpreter} (first line, after #!) cannot be executed", program.display())]
    NoInterpreter {
        /// The program of the launch.
        program: PathBuf,
        /// The interpreter, as the script's first line names it.
        interpreter: String,
    },
    /// The kernel does not know the file's format.
    #[error("{} cannot be started: it is neither a program for this machine nor a script with a first line like #!/bin/sh", program.display())]
    NotAProgram {
        /// The program of the launch.
        program: PathBuf,
    },
    /// The working directory cannot be entered.
    #[error("{} cannot be started: the working directory {} is not there or not accessible", program.display(), dir.display())]
    NoWorkingDirectory {
        /// The program of the launch.
        program: PathBuf,
        /// The working directory of the launch.
        dir: PathBuf,
    },
    /// Arguments and environment together exceed what the kernel takes.
    #[error("{} cannot be started: its arguments and environment are longer than the system allows", program.display())]
    TooLong {
        /// The program of the launch.
        program: PathBuf,
    },
    /// A text for the kernel contains the character that ends such texts.
    #[error("{} cannot be started: an argument, a path or a variable contains a NUL character", program.display())]
    ContainsNul {
        /// The program of the launch.
        program: PathBuf,
    },
    /// As many processes run as [`Settings::process_limit`](crate::Settings::process_limit) allows.
    #[error("{} cannot be started: {limit} processes are running, more are not allowed here", program.display())]
    LimitReached {
        /// The program of the launch.
        program: PathBuf,
        /// The limit, in processes.
        limit: usize,
    },
    /// The kernel refuses a further process for this user or this machine.
    #[error("{} cannot be started: the system allows no more processes (see ulimit -u and kernel.pid_max)", program.display())]
    TooManyProcesses {
        /// The program of the launch.
        program: PathBuf,
    },
    /// There is no descriptor left for the output pipes.
    #[error("{} cannot be started: too many files are open (see ulimit -n)", program.display())]
    TooManyFiles {
        /// The program of the launch.
        program: PathBuf,
    },
    /// The kernel has no memory for the process.
    #[error("{} cannot be started: not enough memory", program.display())]
    NoMemory {
        /// The program of the launch.
        program: PathBuf,
    },
    /// Somebody has the file open for writing, and half a second of waiting has not changed it.
    #[error("{} cannot be started: it is being written at this moment", program.display())]
    IsBeingWritten {
        /// The program of the launch.
        program: PathBuf,
    },
    /// The process could not be noted, so that a successor would not find it; it is ended again if it had been started.
    #[error("{} cannot be started: the ledger of running processes cannot be written", program.display())]
    Ledger {
        /// The program of the launch.
        program: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// The kernel gave a cause that has no name here.
    #[error("{} cannot be started", program.display())]
    Other {
        /// The program of the launch.
        program: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Starts the process with both outputs on pipes and `null` as its input.
pub(crate) fn spawn(launch: &Launch, mark: &str, null: &File) -> io::Result<Child> {
    debug_assert!(
        !crate::signals::is_spared(),
        "the job would not hear of its children"
    );
    let mut command = Command::new(&launch.program);
    match &launch.env {
        Environment::Only(variables) => {
            command.env_clear();
            command.envs(variables.iter().map(|(name, value)| (name, value)));
        }
        Environment::Inherited(changes) => {
            for (name, value) in changes {
                match value {
                    Some(value) => command.env(name, value),
                    None => command.env_remove(name),
                };
            }
        }
    }
    command
        .args(&launch.args)
        .env(crate::MARK_VARIABLE, mark)
        .current_dir(&launch.dir)
        .stdin(null.try_clone()?)
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
    File::open(program)
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
