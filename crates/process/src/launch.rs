//! What is to be started, and why it could not be.
//! Always: the program is an absolute path and not searched in PATH. Each cause of a failure shows whether a later attempt may succeed.
//! Never here: the start itself; see `spawn`.

use crate::spawn;
use rustix::process::{Resource, getrlimit};
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
            limit: longest_sum(getrlimit(Resource::Stack).current),
            longest,
        }
    }
}

/// Returns a quarter of the stack limit, at most 6 MiB.
fn longest_sum(stack: Option<u64>) -> usize {
    const MOST: u64 = 6 * 1024 * 1024;
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

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    const MIB: usize = 1024 * 1024;

    fn launch(variables: &[(&str, usize)], arguments: &[usize]) -> Launch {
        let variables = variables.iter();
        Launch {
            program: "/bin/true".into(),
            args: arguments.iter().map(|n| "x".repeat(*n).into()).collect(),
            env: Environment::Only(
                variables
                    .map(|(name, length)| (OsString::from(name), "x".repeat(*length).into()))
                    .collect(),
            ),
            dir: "/".into(),
            tag: "A#1".to_owned(),
        }
    }

    #[test]
    fn the_text_that_is_too_long_is_named_from_the_first_byte_on_that_the_kernel_refuses() {
        let limit = 32 * rustix::param::page_size();
        let variable = |bytes| Excess::Variable {
            name: "V".to_owned(),
            bytes,
            limit,
        };
        let argument = |bytes| Excess::Argument {
            number: 2,
            bytes,
            limit,
        };
        let is_sum = |excess: &Excess| matches!(excess, Excess::Sum { .. });
        // "V=" and the terminating NUL belong to the variable.
        assert!(is_sum(&Excess::of(&launch(&[("V", limit - 3)], &[]))));
        let of = Excess::of(&launch(&[("V", limit - 2)], &[]));
        assert_eq!(of, variable(limit + 1));
        assert!(is_sum(&Excess::of(&launch(&[], &[9, limit - 1]))));
        let of = Excess::of(&launch(&[], &[9, limit]));
        assert_eq!(of, argument(limit + 1));
    }

    #[test]
    fn a_sum_that_is_too_long_is_told_with_the_longest_text() {
        let mark = crate::MARK_VARIABLE.len() + "=\0".len();
        let program = "/bin/true".len();
        let pointer = size_of::<usize>();
        // Variables, arguments, their bytes without the mark and the program, the number of these texts, the longest.
        let rows = [
            (vec![], vec![100], 101, 1, "argument 1 with 101"),
            (vec![], vec![100, 200, 50], 353, 3, "argument 2 with 201"),
            (
                vec![("VAR", 100)],
                vec![],
                105,
                1,
                "the environment variable VAR with 105",
            ),
            (
                vec![("VAR", 100), ("W", 7)],
                vec![103, 9],
                229,
                4,
                "the environment variable VAR with 105",
            ),
            (vec![("VAR", 100)], vec![104], 210, 2, "argument 1 with 105"),
        ];
        for (variables, arguments, texts, count, named) in rows {
            let Excess::Sum { bytes, longest, .. } = Excess::of(&launch(&variables, &arguments))
            else {
                panic!("each of them is short")
            };
            // The mark and the program are texts, too.
            assert_eq!(bytes, texts + mark + program + (count + 2) * pointer);
            assert_eq!(longest, named);
        }
    }

    #[test]
    fn the_sum_of_arguments_and_environment_depends_on_the_stack() {
        let table = [
            (Some(8 * MIB), 2 * MIB),
            (Some(4 * MIB + 4), MIB + 1),
            (Some(24 * MIB), 6 * MIB),
            (Some(24 * MIB + 4), 6 * MIB),
            (None, 6 * MIB),
        ];
        for (stack, sum) in table {
            assert_eq!(longest_sum(stack.map(|bytes| bytes as u64)), sum);
        }
    }

    fn file(dir: &Path, name: &str, mode: u32, text: &str) -> PathBuf {
        let path = dir.join(name);
        fs::write(&path, text).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("it is ours");
        path
    }

    #[test]
    fn the_cause_of_a_refused_start_is_what_is_found_at_the_path() {
        let dir = tempfile::tempdir().expect("a directory");
        let dir = dir.path();
        let plain = file(dir, "plain", 0o644, "#!/bin/sh\n");
        let good = file(dir, "good", 0o755, "#!/bin/sh\n");
        let binary = file(dir, "binary", 0o755, "\u{7f}ELF");
        let by_plain = format!("#!{} -x\n", plain.display());
        let by_plain = file(dir, "by_plain", 0o755, &by_plain);
        let explain = |program: &Path, dir: &Path, source: io::Error| {
            let launch = Launch {
                program: program.to_owned(),
                dir: dir.to_owned(),
                ..launch(&[], &[])
            };
            StartError::explain(&launch, source)
        };
        let of = |program: &Path, errno: Errno| explain(program, dir, errno.into());
        let error = of(&plain, Errno::ACCESS);
        assert!(matches!(error, StartError::NotExecutable { .. }), "{error}");
        for program in [&good, &binary] {
            for errno in [Errno::ACCESS, Errno::PERM] {
                let error = of(program, errno);
                assert!(
                    matches!(error, StartError::PermissionDenied { .. }),
                    "the file system may be mounted noexec: {error}"
                );
            }
        }
        let error = of(&by_plain, Errno::ACCESS);
        assert!(
            matches!(&error, StartError::NoInterpreter { interpreter, .. } if *interpreter == plain.to_string_lossy()),
            "{error}"
        );
        // An executable file is no directory.
        let error = explain(&good, &good, Errno::NOTDIR.into());
        assert!(
            matches!(error, StartError::NoWorkingDirectory { .. }),
            "{error}"
        );
        let error = explain(&good, dir, io::Error::other("something new"));
        assert!(matches!(error, StartError::Other { .. }), "{error}");
        let error = explain(&good, dir, io::ErrorKind::InvalidInput.into());
        assert!(matches!(error, StartError::ContainsNul { .. }), "{error}");
    }

    #[test]
    fn a_carriage_return_is_blamed_only_where_it_becomes_part_of_the_interpreters_name() {
        let dir = tempfile::tempdir().expect("a directory");
        let table = [
            ("#!/no/shell\n", Some(("/no/shell", false))),
            ("#!/no/shell -x\n", Some(("/no/shell", false))),
            ("#!/no/shell\r\n", Some(("/no/shell", true))),
            ("#! /no/shell\r\necho\n", Some(("/no/shell", true))),
            ("#!/no/shell -x\r\n", Some(("/no/shell", false))),
            ("#!/no/shell", Some(("/no/shell", false))),
            ("#!\n", None),
            ("echo\n", None),
            ("", None),
        ];
        for (text, expected) in table {
            let program = file(dir.path(), "script", 0o755, text);
            let found = interpreter(&program).map(|found| (found.name, found.is_cut));
            let expected = expected.map(|(name, is_cut)| (name.to_owned(), is_cut));
            assert_eq!(found, expected, "{text:?}");
        }
    }
}
