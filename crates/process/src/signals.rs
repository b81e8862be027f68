//! Which threads hear of the end of a child.
//! Why at all: nobody acts on SIGCHLD, and its default is to do nothing; but when a child ends while another one is being started,
//! the kernel finds the signal blocked there for a moment and wakes any other thread of the process with it, only for that
//! one to go back to sleep. In a busy Subagent that took a twelfth of its time.

use nix::sys::signal::{SigSet, Signal};

/// Blocks SIGCHLD in this thread and the threads that it starts. Jobs do not inherit the block (see `spawn`).
pub fn spare_from_child_signals() {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGCHLD);
    if let Err(error) = signals.thread_block() {
        tracing::debug!(%error, "a thread is going to be woken for nothing by ending jobs");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_spared() -> bool {
        SigSet::thread_get_mask().is_ok_and(|mask| mask.contains(Signal::SIGCHLD))
    }

    #[test]
    fn a_thread_is_spared_with_those_it_starts_and_no_other() {
        let nested = std::thread::spawn(|| {
            assert!(!is_spared());
            spare_from_child_signals();
            assert!(is_spared());
            std::thread::spawn(is_spared).join().expect("no panic")
        });
        assert!(nested.join().expect("no panic"));
        assert!(!is_spared());
    }
}
