//! The thread that changes the log, in the order of its queue.
//!
//! Always: one order for everything (appends, votes, truncations, purges); a group is what lay in the queue, then its callbacks run.
//! After a fault every task is refused.

use std::sync::mpsc::{Receiver, TryRecvError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::fault::Fault;
use crate::hard_state::{HardState, Position};
use crate::pen::Pen;
use crate::record::Record;
use crate::shared::Shared;

/// What a task's sender hears, on the writer's thread: it should only pass the word on.
pub(crate) type Done = Box<dyn FnOnce(Result<(), Fault>) + Send>;

/// A group takes no further record once it has this many bytes.
const GROUP_BYTES_MAX: usize = 4 << 20;

pub(crate) enum Task {
    Append {
        records: Vec<Record>,
        done: Done,
    },
    Remember {
        change: Box<dyn FnOnce(&mut HardState) + Send>,
        done: Done,
    },
    Truncate {
        from_index: u64,
        done: Done,
    },
    Purge {
        upto: Position,
        membership: Option<String>,
        done: Done,
    },
    /// Everything goes; the log begins anew behind a place.
    Restart {
        place: Position,
        membership: Option<String>,
        done: Done,
    },
    Stop,
}

impl Task {
    pub(crate) fn refuse(self, fault: &Fault) {
        match self {
            Self::Append { done, .. }
            | Self::Remember { done, .. }
            | Self::Truncate { done, .. }
            | Self::Purge { done, .. }
            | Self::Restart { done, .. } => done(Err(fault.clone())),
            Self::Stop => {}
        }
    }
}

pub(crate) struct Writer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) tasks: Receiver<Task>,
    pub(crate) pen: Arc<Mutex<Pen>>,
}

impl Writer {
    pub(crate) fn run(self) {
        let mut following = None;
        while let Some(task) = following.take().or_else(|| self.tasks.recv().ok()) {
            if let Some(fault) = self.shared.fault() {
                if matches!(task, Task::Stop) {
                    return;
                }
                task.refuse(&fault);
                self.shared.finished(1);
                continue;
            }
            tasks::fault_point("journal");
            let _writing = self.shared.counters.writing();
            match task {
                Task::Append { records, done } => following = self.append(records, done),
                Task::Remember { change, done } => {
                    let told = self.pen().remember(change);
                    self.settle(vec![done], &told);
                }
                Task::Truncate { from_index, done } => {
                    let told = self.pen().truncate(from_index);
                    self.settle(vec![done], &told);
                }
                Task::Purge {
                    upto,
                    membership,
                    done,
                } => {
                    let told = self.pen().purge(upto, membership);
                    self.settle(vec![done], &told);
                }
                Task::Restart {
                    place,
                    membership,
                    done,
                } => {
                    let told = self.pen().restart(place, membership);
                    self.settle(vec![done], &told);
                }
                Task::Stop => return,
            }
        }
    }

    fn pen(&self) -> MutexGuard<'_, Pen> {
        // Whoever panicked with it has ended the process, or poisoned the journal.
        self.pen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settle(&self, waiting: Vec<Done>, told: &Result<(), Fault>) {
        if let Err(fault) = told {
            self.shared.poison(fault);
        }
        let count = waiting.len();
        for done in waiting {
            done(told.clone());
        }
        // Behind the callbacks: until then nobody else writes, so that they come in the order of the log.
        self.shared.finished(count);
    }

    /// Appends a group; returns a task that was met while gathering it and is not part of it.
    fn append(&self, first: Vec<Record>, done: Done) -> Option<Task> {
        let mut following = None;
        let mut bytes: usize = first.iter().map(|r| r.body.len()).sum();
        let mut group = first;
        let mut waiting = vec![done];
        while bytes < GROUP_BYTES_MAX {
            match self.tasks.try_recv() {
                Ok(Task::Append { records, done }) => {
                    bytes += records.iter().map(|r| r.body.len()).sum::<usize>();
                    group.extend(records);
                    waiting.push(done);
                }
                Ok(other) => {
                    following = Some(other);
                    break;
                }
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }
        let told = self.pen().write_group(&group);
        self.settle(waiting, &told);
        following
    }
}
