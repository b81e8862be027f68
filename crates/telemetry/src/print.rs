//! What a part says on its standard output and error besides the log: where it listens, and why it has ended.
//!
//! Always: whoever reads there cannot hold the part up, by reading nothing or by being gone.

use std::io::{self, Write as _};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use crate::outlet::stay_alive;

/// One of the outputs of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standard {
    /// Standard output.
    Output,
    /// Standard error.
    Error,
}

/// Writes `text` there. Waits no longer than `patience` for whoever takes it; what cannot be written is given up.
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
        // Nobody waits any more when it took too long.
        let _late = done.send(written.is_ok());
    };
    let thread = thread::Builder::new().name("print".to_owned()).spawn(write);
    if thread.is_ok() {
        // Whether it was written or not: nobody else could be told.
        let _written = is_done.recv_timeout(patience);
    }
}
