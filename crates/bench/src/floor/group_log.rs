//! A file of records with group flush: whoever comes while a flush is under way shares the next one.
//!
//! Always: `append` returns after the record is on the disk. Never here: checksums, reading, anything a journal needs besides.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Condvar, Mutex, PoisonError};

use anyhow::Result;

/// The smallest durable log.
pub(crate) struct GroupLog {
    file: File,
    state: Mutex<State>,
    flushed: Condvar,
}

#[derive(Default)]
struct State {
    pending: Vec<u8>,
    /// Groups that were begun; the pending one is the next.
    begun: u64,
    durable: u64,
    is_flushing: bool,
}

impl GroupLog {
    pub(crate) fn create(path: &Path) -> Result<GroupLog> {
        let file = File::create(path)?;
        Ok(GroupLog {
            file,
            state: Mutex::default(),
            flushed: Condvar::new(),
        })
    }

    /// Makes a record durable, together with those of other threads.
    pub(crate) fn append(&self, record: &[u8]) -> Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.pending.extend_from_slice(record);
        let group = state.begun + 1;
        while state.durable < group {
            if state.is_flushing {
                state = self
                    .flushed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.is_flushing = true;
            state.begun += 1;
            let flushing = state.begun;
            let bytes = std::mem::take(&mut state.pending);
            drop(state);
            (&self.file).write_all(&bytes)?;
            self.file.sync_data()?;
            state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.is_flushing = false;
            state.durable = flushing;
            self.flushed.notify_all();
        }
        Ok(())
    }

    /// How many flushes there were.
    pub(crate) fn flushes(&self) -> u64 {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .durable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_many_threads_are_all_there_and_share_flushes() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("log");
        let log = GroupLog::create(&path).expect("created");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..50).for_each(|_| log.append(&[7; 300]).expect("appended")));
            }
        });
        assert_eq!(std::fs::metadata(&path).expect("there").len(), 8 * 50 * 300);
        assert!(log.flushes() <= 400);
    }
}
