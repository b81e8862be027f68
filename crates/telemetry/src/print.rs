//! Output of a part on its standard output and standard error besides the log: the address on which the part listens, and why it has ended.
//!
//! Always: a reader that stalls or is gone does not block the part.

use std::io::{self, Write as _};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use crate::outlet::stay_alive;

/// One of the standard outputs of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standard {
    /// Standard output.
    Output,
    /// Standard error.
    Error,
}

/// Writes `text`. Returns after `patience` at the latest. Text that cannot be written by then is dropped.
pub fn print(to: Standard, text: &str, patience: Duration) {
    let text = text.to_owned();
    let (done, is_done) = sync_channel(1);
    let write = move || {
        stay_alive();
        let written = match to {
            Standard::Output => {
                let mut out = io::stdout().lock();
                out.write_all(text.as_bytes()).and_then(|()| out.flush())
            }
            Standard::Error => io::stderr().lock().write_all(text.as_bytes()),
        };
        // The receiver no longer exists if the write took too long.
        let _late = done.send(written.is_ok());
    };
    let thread = thread::Builder::new().name("print".to_owned()).spawn(write);
    if thread.is_ok() {
        // The result is ignored: there is no other place to report a failure.
        let _written = is_done.recv_timeout(patience);
    }
}
