//! What is to be started, and why it could not be.
//! Always: the program is an absolute path and not searched in PATH. Each cause of a failure shows whether a later attempt may succeed.
//! Never here: the start itself; see `spawn`.

use crate::spawn;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

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
    /// The script's first line ends with a carriage return, which the kernel treats as part of the interpreter's name.
    #[error("{} cannot be started: its first line ends with a carriage return, which becomes part of the interpreter's name {interpreter}; save it with line feeds only", program.display())]
    CarriageReturn {
        /// The program of the launch.
        program: PathBuf,
        /// The interpreter's name without the carriage return.
        interpreter: String,
    },
    /// The script begins with a byte order mark, which hides its first line from the kernel.
    #[error("{} cannot be started: it begins with a byte order mark; save it as UTF-8 without one", program.display())]
    ByteOrderMark {
        /// The program of the launch.
        program: PathBuf,
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
    #[error("{} cannot be started: {excess}", program.display())]
    TooLong {
        /// The program of the launch.
        program: PathBuf,
        /// What is too long, with its limit.
        excess: Excess,
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

/// What exceeds a limit of the kernel. Lengths are in bytes, including the name of a variable and the terminating NUL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Excess {
    /// A single variable is too long.
    #[error(
        "the environment variable {name} has {bytes} bytes, and the system allows {limit}; pass a file instead"
    )]
    Variable {
        /// Its name.
        name: String,
        /// Its length.
        bytes: usize,
        /// The maximum length.
        limit: usize,
    },
    /// A single argument is too long.
    #[error(
        "argument {number} has {bytes} bytes, and the system allows {limit}; pass a file instead"
    )]
    Argument {
        /// Its number, counted from 1.
        number: usize,
        /// Its length.
        bytes: usize,
        /// The maximum length.
        limit: usize,
    },
    /// All arguments and variables together are too long.
    #[error(
        "its arguments and environment have {bytes} bytes together, and the system allows about {limit}; the longest is {longest}"
    )]
    Sum {
        /// The length of all, including the pointers to them.
        bytes: usize,
        /// The maximum length.
        limit: usize,
        /// The longest variable or argument, with its length.
        longest: String,
    },
}

impl Excess {
    fn of(launch: &Launch) -> Self {
        // The kernel's MAX_ARG_STRLEN.
        let limit = 32 * rustix::param::page_size();
        let variables = spawn::lengths(&launch.env);
        let arguments: Vec<_> = launch.args.iter().map(|text| text.len() + 1).collect();
        let longest_argument = (1..).zip(&arguments).max_by_key(|(_, bytes)| **bytes);
        let longest_variable = variables.iter().max_by_key(|(_, bytes)| *bytes);
        if let Some((name, bytes)) = longest_variable.filter(|(_, bytes)| *bytes > limit) {
            return Self::Variable {
                name: name.clone(),
                bytes: *bytes,
                limit,
            };
        }
        if let Some((number, bytes)) = longest_argument.filter(|(_, bytes)| **bytes > limit) {
            return Self::Argument {
                number,
                bytes: *bytes,
                limit,
            };
        }
        let texts = variables.len() + arguments.len() + 1;
        let bytes: usize = variables.iter().map(|(_, bytes)| bytes).sum::<usize>()
            + arguments.iter().sum::<usize>()
            + launch.program.as_os_str().len()
            + texts * size_of::<usize>();
        let longest = match (longest_variable, longest_argument) {
            (Some((name, bytes)), argument) if argument.is_none_or(|(_, a)| a < bytes) => {
                format!("the environment variable {name} with {bytes}")
            }
            (_, Some((number, bytes))) => format!("argument {number} with {bytes}"),
            (_, None) => "none".to_owned(),
        };
        Self::Sum {
            bytes,
            limit: longest_sum(),
            longest,
        }
    }
}

/// Returns a quarter of the stack limit, at most 6 MiB.
fn longest_sum() -> usize {
    const MOST: u64 = 6 * 1024 * 1024;
    let stack = rustix::process::getrlimit(rustix::process::Resource::Stack).current;
    let sum = stack.map_or(MOST, |bytes| (bytes / 4).min(MOST));
    usize::try_from(sum).unwrap_or(usize::MAX)
}

impl StartError {
    /// Returns whether the cause is a temporary shortage of the machine. In that case the job is not at fault, and a later start may
    /// succeed.
    pub fn is_shortage(&self) -> bool {
        match self {
            Self::LimitReached { .. }
            | Self::TooManyProcesses { .. }
            | Self::TooManyFiles { .. }
            | Self::NoMemory { .. } => true,
            Self::Ledger { source, .. } | Self::Other { source, .. } => is_shortage(source),
            Self::NotAbsolute { .. }
            | Self::NotFound { .. }
            | Self::IsDirectory { .. }
            | Self::NotExecutable { .. }
            | Self::PermissionDenied { .. }
            | Self::NoInterpreter { .. }
            | Self::CarriageReturn { .. }
            | Self::ByteOrderMark { .. }
            | Self::NotAProgram { .. }
            | Self::NoWorkingDirectory { .. }
            | Self::TooLong { .. }
            | Self::ContainsNul { .. }
            | Self::IsBeingWritten { .. } => false,
        }
    }

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
                Some(interpreter) if interpreter.is_cut => Self::CarriageReturn {
                    program,
                    interpreter: interpreter.name,
                },
                Some(interpreter) => Self::NoInterpreter {
                    program,
                    interpreter: interpreter.name,
                },
                None => Self::NotFound { program },
            },
            Some(Errno::ACCESS | Errno::PERM) => match fs::metadata(&program) {
                Ok(meta) if meta.is_dir() => Self::IsDirectory { program },
                Ok(meta) if meta.permissions().mode() & 0o111 == 0 => {
                    Self::NotExecutable { program }
                }
                Ok(_) | Err(_) => match interpreter(&program) {
                    Some(interpreter) if !is_executable(Path::new(&interpreter.name)) => {
                        Self::NoInterpreter {
                            program,
                            interpreter: interpreter.name,
                        }
                    }
                    Some(_) | None => Self::PermissionDenied { program },
                },
            },
            Some(Errno::NOEXEC) if head(&program).starts_with(b"\xEF\xBB\xBF") => {
                Self::ByteOrderMark { program }
            }
            Some(Errno::NOEXEC | Errno::LIBBAD) => Self::NotAProgram { program },
            Some(Errno::AGAIN) => Self::TooManyProcesses { program },
            Some(Errno::MFILE | Errno::NFILE) => Self::TooManyFiles { program },
            Some(Errno::NOMEM) => Self::NoMemory { program },
            Some(Errno::TOOBIG) => Self::TooLong {
                program,
                excess: Excess::of(launch),
            },
            Some(Errno::TXTBSY) => Self::IsBeingWritten { program },
            // The library finds a NUL before it asks the kernel.
            None if source.kind() == io::ErrorKind::InvalidInput => Self::ContainsNul { program },
            Some(_) | None => Self::Other { program, source },
        }
    }
}

/// Returns whether the error is a shortage that may be temporary: of descriptors, processes, memory, space or inodes.
pub fn is_shortage(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(
        errno,
        Some(
            Errno::AGAIN
                | Errno::MFILE
                | Errno::NFILE
                | Errno::NOMEM
                | Errno::NOSPC
                | Errno::DQUOT
                | Errno::NOBUFS
        )
    )
}

fn is_enterable(dir: &Path) -> bool {
    fs::metadata(dir).is_ok_and(|meta| meta.is_dir())
        && rustix::fs::access(dir, rustix::fs::Access::EXEC_OK).is_ok()
}

fn is_executable(program: &Path) -> bool {
    rustix::fs::access(program, rustix::fs::Access::EXEC_OK).is_ok()
}

/// The program that the first line of a script names.
struct Interpreter {
    name: String,
    /// Whether the name ends with a carriage return in the file, which the kernel treats as part of the name.
    is_cut: bool,
}

fn interpreter(program: &Path) -> Option<Interpreter> {
    let head = head(program);
    let line = head
        .strip_prefix(b"#!")?
        .split(|byte| *byte == b'\n')
        .next()?;
    let line = String::from_utf8_lossy(line);
    let mut words = line.split_whitespace();
    let name = words.next()?.to_owned();
    Some(Interpreter {
        name,
        is_cut: line.ends_with('\r') && words.next().is_none(),
    })
}

/// Returns the beginning of the file, as far as the kernel reads it.
fn head(program: &Path) -> Vec<u8> {
    use std::io::Read as _;
    let mut head = vec![];
    // A file that cannot be read counts as empty.
    let _read = File::open(program).and_then(|file| file.take(256).read_to_end(&mut head));
    head
}
