//! How others speak to the commit loop.
//!
//! Always: cheap to clone; everything that waits here has a bound. Never here: the state itself, which only the loop touches.

use crate::progress::Progress;
use crate::{Machine, Stopped};
use model::EventId;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use telemetry::Page;
use tokio::sync::{Notify, mpsc, oneshot, watch};

/// How the loop has ended in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// The process is to be started again (exit code 97).
    pub restart: bool,
    /// No snapshot was written.
    pub suppress_snapshot: bool,
}

/// Asks the state something.
pub(crate) type Question<M> = Box<dyn FnOnce(&M) + Send>;

pub(crate) enum Entry<M: Machine> {
    Inputs {
        inputs: Vec<M::Input>,
        replies: oneshot::Sender<Vec<M::Reply>>,
    },
    Question(Question<M>),
    TakeSnapshot(oneshot::Sender<Result<(), String>>),
    ShutDown(End),
}

/// Speaks to the commit loop.
pub struct Handle<M: Machine> {
    pub(crate) inbox: mpsc::Sender<Entry<M>>,
    pub(crate) nudge: Arc<Notify>,
    pub(crate) committed: watch::Receiver<EventId>,
    /// Another member is active: that is why nothing is taken any more.
    pub(crate) is_deposed: Arc<AtomicBool>,
    pub(crate) progress: Progress,
}

impl<M: Machine> Clone for Handle<M> {
    fn clone(&self) -> Self {
        Handle {
            inbox: self.inbox.clone(),
            nudge: Arc::clone(&self.nudge),
            committed: self.committed.clone(),
            is_deposed: Arc::clone(&self.is_deposed),
            progress: self.progress.clone(),
        }
    }
}

impl<M: Machine> Handle<M> {
    /// Has `input` judged; answers after what followed has been committed. Waits while the inbox is full.
    pub async fn ask(&self, input: M::Input) -> Result<M::Reply, Stopped> {
        let mut replies = self.ask_all(vec![input]).await?;
        replies.pop().ok_or_else(|| self.stopped())
    }

    /// The same for several inputs, one after another, in one commit.
    pub async fn ask_all(&self, inputs: Vec<M::Input>) -> Result<Vec<M::Reply>, Stopped> {
        let (replies, answer) = oneshot::channel();
        self.send(Entry::Inputs { inputs, replies }).await?;
        answer.await.map_err(|_closed| self.stopped())
    }

    /// Looks at the committed state. The loop stands still meanwhile: for long work take a clone (`read(M::clone)`).
    pub async fn read<R: Send + 'static>(
        &self,
        look: impl FnOnce(&M) -> R + Send + 'static,
    ) -> Result<R, Stopped> {
        let (reply, answer) = oneshot::channel();
        let question = Box::new(move |machine: &M| {
            // Whoever asked may be gone.
            let _unheard = reply.send(look(machine));
        });
        self.send(Entry::Question(question)).await?;
        answer.await.map_err(|_closed| self.stopped())
    }

    /// Lets [`crate::Outside::release`] look at the state again soon. Never waits; several nudges may become one.
    pub fn nudge(&self) {
        self.nudge.notify_one();
    }

    /// Writes a snapshot and answers when it is on the disk.
    pub async fn take_snapshot(&self) -> Result<Result<(), String>, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.send(Entry::TakeSnapshot(reply)).await?;
        answer.await.map_err(|_closed| self.stopped())
    }

    /// Ends the loop in order: what has been taken is committed, then a snapshot is written. Does not wait for the end.
    pub async fn shut_down(&self, end: End) -> Result<(), Stopped> {
        self.send(Entry::ShutDown(end)).await
    }

    /// Adds to the page how many orders and jobs have ended since this member became active. Does not wait for the commit loop.
    pub fn put_progress(&self, page: &mut Page) {
        self.progress.put(page);
    }

    /// The newest committed event; changes with each commit.
    pub fn committed(&self) -> watch::Receiver<EventId> {
        self.committed.clone()
    }

    async fn send(&self, entry: Entry<M>) -> Result<(), Stopped> {
        let sent = self.inbox.send(entry).await;
        sent.map_err(|_closed| self.stopped())
    }

    /// Whoever waits is told from now on that another member is active.
    pub(crate) fn depose(&self) {
        self.is_deposed.store(true, Ordering::Release);
    }

    fn stopped(&self) -> Stopped {
        if self.is_deposed.load(Ordering::Acquire) {
            Stopped::Deposed
        } else {
            Stopped::ShutDown
        }
    }
}
