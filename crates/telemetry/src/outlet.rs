//! The queue of formatted log lines, and the thread that writes them.
//!
//! Always: queueing a line never fails and never waits for the reader of the log. The queue is bounded, and a line that does not fit is
//! dropped and counted. Lines are written whole and in order. The number of dropped lines is logged as soon as a line can be written again.
//! Never here: the format of a line.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tracing_subscriber::fmt::MakeWriter;

/// The maximum number of bytes of lines in the queue.
const QUEUE_BYTES: usize = 4 << 20;
/// The number of bytes from which a write takes no further line.
const PIECE_BYTES: usize = 64 << 10;
/// How long to wait before a write is retried on a descriptor that was not ready.
const LOOK: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

/// The number of log lines that this process has dropped.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Returns the number of log lines that this process has dropped because the queue was full or they could not be written.
pub fn dropped_log_lines() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// The queue and its thread. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Outlet(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    /// Signalled when there is something to write, or the file must be reopened.
    filled: Condvar,
    /// Signalled when everything is written.
    idle: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    lines: VecDeque<Box<[u8]>>,
    /// Bytes of the queued lines and of those that are being written.
    bytes: usize,
    is_writing: bool,
    wants_reopening: bool,
    /// The number of dropped lines that has not been logged yet.
    untold: u64,
    /// Why the last lines could not be written. Cleared when a line is written.
    trouble: Option<String>,
}

/// Where lines are written.
pub(crate) enum Destination {
    /// Standard error, or a stream of a test.
    Stream(Box<dyn Stream>),
    /// A file that is reopened on request.
    File(PathBuf, File),
}

/// A descriptor that can be written to.
pub(crate) trait Stream: Write + Send {
    /// Returns the descriptor to poll when a write would block.
    fn descriptor(&self) -> BorrowedFd<'_>;
}

impl Stream for io::Stderr {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }
}

impl Stream for File {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }
}

impl Destination {
    fn stream(&mut self) -> &mut dyn Stream {
        match self {
            Destination::Stream(stream) => stream.as_mut(),
            Destination::File(_, file) => file,
        }
    }
}

impl Outlet {
    /// Starts the thread.
    pub(crate) fn start(destination: Destination) -> io::Result<Outlet> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            filled: Condvar::new(),
            idle: Condvar::new(),
        });
        let theirs = Arc::clone(&shared);
        thread::Builder::new()
            .name("log".to_owned())
            .stack_size(256 << 10)
            .spawn(move || {
                stay_alive();
                Writer {
                    shared: theirs,
                    destination,
                    is_torn: false,
                }
                .run();
            })?;
        Ok(Outlet(shared))
    }

    /// Queues a line, or drops it if the queue is full. Never waits for a write.
    fn push(&self, line: &[u8]) {
        let mut queue = self.0.queue();
        if queue.bytes + line.len() > QUEUE_BYTES {
            queue
                .trouble
                .get_or_insert_with(|| "nobody took them".to_owned());
            queue.untold += 1;
            DROPPED.fetch_add(1, Ordering::Relaxed);
            return;
        }
        queue.bytes += line.len();
        queue.lines.push_back(line.into());
        if !queue.is_writing {
            self.0.filled.notify_one();
        }
    }

    /// Waits until everything that was logged is written, but no longer than `patience`.
    pub(crate) fn flush(&self, patience: Duration) {
        let until = Instant::now() + patience;
        let mut queue = self.0.queue();
        while queue.is_writing || !queue.lines.is_empty() || queue.wants_reopening {
            let Some(rest) = until.checked_duration_since(Instant::now()) else {
                return;
            };
            let waited = self.0.idle.wait_timeout(queue, rest);
            (queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Reopens the log file under its name, once the lines that were logged before are written.
    pub(crate) fn reopen(&self) {
        self.0.queue().wants_reopening = true;
        self.0.filled.notify_one();
    }

    /// Returns the reason why lines are currently dropped, if they are.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.0.queue().trouble.clone()
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Blocks two signals in this thread that a write may cause. If the process is in the background of a terminal, a write causes SIGTTOU,
/// which would stop the process. With the signal blocked, the write succeeds. If the file is at its size limit, a write causes SIGXFSZ,
/// which would end the process. With the signal blocked, the write fails.
pub(crate) fn stay_alive() {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTTOU);
    signals.add(Signal::SIGXFSZ);
    // If this fails, only these two cases are not handled.
    let _unblocked = signals.thread_block();
}

struct Writer {
    shared: Arc<Shared>,
    destination: Destination,
    /// Whether the last line was written only in part. If so, the next one begins with a line end.
    is_torn: bool,
}

impl Writer {
    fn run(mut self) {
        loop {
            let (lines, wants_reopening) = self.next();
            if !lines.is_empty() {
                let bytes = lines.iter().map(|line| line.len()).sum::<usize>();
                let written = self.write_all(&lines);
                let mut queue = self.shared.queue();
                queue.bytes -= bytes;
                queue.trouble = match &written {
                    Ok(()) => None,
                    Err((_, error)) => Some(error.to_string()),
                };
                if let Err((lost, _)) = &written {
                    queue.untold += lost;
                    DROPPED.fetch_add(*lost, Ordering::Relaxed);
                }
                let untold = if written.is_ok() {
                    std::mem::take(&mut queue.untold)
                } else {
                    0
                };
                drop(queue);
                if untold > 0 {
                    tracing::warn!(
                        lines = untold,
                        "log lines were dropped here: the queue was full, or they could not be written"
                    );
                }
            }
            if wants_reopening {
                self.reopen();
            }
        }
    }

    /// Waits for lines to write, or for a request to reopen the file.
    fn next(&self) -> (Vec<Box<[u8]>>, bool) {
        let mut queue = self.shared.queue();
        queue.is_writing = false;
        while queue.lines.is_empty() && !queue.wants_reopening {
            self.shared.idle.notify_all();
            let waited = self.shared.filled.wait(queue);
            queue = waited.unwrap_or_else(PoisonError::into_inner);
        }
        queue.is_writing = true;
        let mut bytes = 0;
        let mut lines = Vec::new();
        while bytes < PIECE_BYTES
            && let Some(line) = queue.lines.pop_front()
        {
            bytes += line.len();
            lines.push(line);
        }
        let is_last = queue.lines.is_empty();
        let wants_reopening = is_last && std::mem::take(&mut queue.wants_reopening);
        (lines, wants_reopening)
    }

    /// Writes these lines. The error contains the number of lines that were lost.
    fn write_all(&mut self, lines: &[Box<[u8]>]) -> Result<(), (u64, io::Error)> {
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        if self.is_torn {
            piece.push(b'\n');
        }
        piece.extend(lines.iter().flat_map(|line| line.iter()));
        let mut done = 0;
        while done < piece.len() {
            match self.destination.stream().write(&piece[done..]) {
                Ok(0) => return Err(self.lost(lines, done, io::ErrorKind::WriteZero.into())),
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Another process that shares the descriptor has made it non-blocking.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait(),
                Err(error) => return Err(self.lost(lines, done, error)),
            }
        }
        self.is_torn = false;
        Ok(())
    }

    fn lost(&mut self, lines: &[Box<[u8]>], written: usize, error: io::Error) -> (u64, io::Error) {
        let mut end = usize::from(self.is_torn);
        self.is_torn |= written > 0;
        let mut whole = 0;
        for line in lines {
            end += line.len();
            if end > written {
                break;
            }
            whole += 1;
        }
        if end == written {
            self.is_torn = false;
        }
        let lost = lines.len() - whole;
        (u64::try_from(lost).unwrap_or(u64::MAX), error)
    }

    fn wait(&mut self) {
        let stream = self.destination.stream();
        let descriptor = stream.descriptor();
        // The next write shows whether the descriptor is ready.
        let _ready = poll(&mut [PollFd::new(&descriptor, PollFlags::OUT)], Some(&LOOK));
    }

    fn reopen(&mut self) {
        let Destination::File(path, file) = &mut self.destination else {
            return;
        };
        match open(path) {
            Ok(anew) => {
                *file = anew;
                self.is_torn = false;
                tracing::info!(file = %path.display(), "the log file was reopened");
            }
            Err(error) => {
                tracing::error!(file = %path.display(), %error, "the log file cannot be reopened: lines still go to the file that is open");
            }
        }
    }
}

pub(crate) fn open(path: &Path) -> io::Result<File> {
    File::options()
        .append(true)
        .create(true)
        // Only the owner may read the file, whatever the umask is, because lines name orders and users. The operator may change the
        // permissions later.
        .mode(0o600)
        .open(path)
}

/// Queues one line. The subscriber formats a whole line and writes it in one call.
pub(crate) struct Line<'a>(&'a Outlet);

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Outlet {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::fd::OwnedFd;

    use super::*;

    const PATIENCE: Duration = Duration::from_mins(1);

    fn outlet_to(descriptor: OwnedFd) -> Outlet {
        Outlet::start(Destination::Stream(Box::new(File::from(descriptor)))).unwrap()
    }

    fn pipe() -> (File, OwnedFd) {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        (reader.into(), writer)
    }

    #[test]
    fn lines_come_whole_and_in_order() {
        let (mut reader, writer) = pipe();
        let outlet = outlet_to(writer);
        let lines: Vec<_> = (0..1000).map(|number| format!("line {number}\n")).collect();
        for line in &lines {
            outlet.push(line.as_bytes());
        }
        let expected = lines.concat();
        let mut got = vec![0; expected.len()];
        reader.read_exact(&mut got).unwrap();
        assert_eq!(String::from_utf8(got).unwrap(), expected);
    }

    #[test]
    fn a_reader_that_stalls_costs_lines_and_no_time() {
        let (mut reader, writer) = pipe();
        let outlet = outlet_to(writer);
        let line = [b'x'; 1023]
            .iter()
            .chain(b"\n")
            .copied()
            .collect::<Vec<_>>();
        let dropped_before = dropped_log_lines();
        // More than the pipe and the queue can hold. If `push` waited for the reader, this loop would never end.
        for _ in 0..2 * QUEUE_BYTES / line.len() {
            outlet.push(&line);
        }
        assert!(dropped_log_lines() > dropped_before);
        assert_eq!(outlet.trouble().as_deref(), Some("nobody took them"));
        let mut got = vec![0; QUEUE_BYTES - QUEUE_BYTES / 4];
        reader.read_exact(&mut got).unwrap();
        assert!(
            got.chunks_exact(line.len()).all(|got| got == line),
            "those that were taken are whole"
        );
    }

    #[test]
    fn a_reader_that_is_gone_costs_lines_only() {
        let (reader, writer) = pipe();
        drop(reader);
        let outlet = outlet_to(writer);
        let before = dropped_log_lines();
        outlet.push(b"nobody hears this\n");
        outlet.flush(PATIENCE);
        assert!(dropped_log_lines() > before);
        assert!(outlet.trouble().unwrap().contains("Broken pipe"));
    }

    #[test]
    fn a_descriptor_that_does_not_block_is_waited_for() {
        let (mut reader, writer) = pipe();
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        let outlet = outlet_to(writer);
        let line = [b'y'; 4095]
            .iter()
            .chain(b"\n")
            .copied()
            .collect::<Vec<_>>();
        for _ in 0..64 {
            outlet.push(&line);
        }
        let mut got = vec![0; 64 * line.len()];
        reader.read_exact(&mut got).unwrap();
        assert_eq!(outlet.trouble(), None);
    }

    #[test]
    fn after_a_part_of_a_line_the_next_one_begins_on_its_own() {
        struct Narrow {
            written: Arc<Mutex<Vec<u8>>>,
            room: usize,
            file: File,
        }
        impl Write for Narrow {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                if self.room == 0 {
                    self.room = usize::MAX;
                    return Err(io::ErrorKind::StorageFull.into());
                }
                let count = bytes.len().min(self.room);
                self.room -= count;
                let written = self.written.lock();
                let mut written = written.unwrap_or_else(PoisonError::into_inner);
                written.extend(&bytes[..count]);
                Ok(count)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        impl Stream for Narrow {
            fn descriptor(&self) -> BorrowedFd<'_> {
                self.file.as_fd()
            }
        }
        let written = Arc::new(Mutex::new(Vec::new()));
        let narrow = Narrow {
            written: Arc::clone(&written),
            room: 8,
            file: File::open("/dev/null").unwrap(),
        };
        let outlet = Outlet::start(Destination::Stream(Box::new(narrow))).unwrap();
        outlet.push(b"first\n");
        outlet.flush(PATIENCE);
        outlet.push(b"second\n");
        outlet.flush(PATIENCE);
        outlet.push(b"third\n");
        outlet.flush(PATIENCE);
        let written = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        assert_eq!(written, "first\nse\nthird\n");
    }

    #[test]
    fn a_file_that_was_moved_away_is_made_anew_when_that_is_wanted() {
        let dir = tempfile::TempDir::new().unwrap();
        let (path, old) = (dir.path().join("log"), dir.path().join("log.1"));
        let file = open(&path).unwrap();
        let outlet = Outlet::start(Destination::File(path.clone(), file)).unwrap();
        outlet.push(b"before\n");
        outlet.flush(PATIENCE);
        std::fs::rename(&path, &old).unwrap();
        outlet.push(b"still there\n");
        outlet.reopen();
        outlet.flush(PATIENCE);
        outlet.push(b"after\n");
        outlet.flush(PATIENCE);
        let text = |path| std::fs::read_to_string(path).unwrap();
        assert_eq!(text(old), "before\nstill there\n");
        assert_eq!(text(path), "after\n");
    }

    #[test]
    fn a_full_disk_costs_lines_only() {
        let Ok(full) = File::options().append(true).open("/dev/full") else {
            return;
        };
        let outlet = Outlet::start(Destination::File("/dev/full".into(), full)).unwrap();
        let before = dropped_log_lines();
        outlet.push(b"no room\n");
        outlet.flush(PATIENCE);
        assert!(dropped_log_lines() > before);
        assert!(outlet.trouble().unwrap().contains("No space"));
    }
}
