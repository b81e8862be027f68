//! Openraft's state machine: it has no state but where it stands. It tells the journal what is committed, wakes the
//! readers and answers the appenders; the node evolves its own state from the batches.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures::{Stream, TryStreamExt as _};
use journal::{Fault, Journal, Position, SnapshotMeta};
use openraft::alias::{SnapshotMetaOf, SnapshotOf, StoredMembershipOf};
use openraft::entry::RaftEntry as _;
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend};
use tokio::sync::{oneshot, watch};

use super::network::SnapshotBody;
use super::{LogId, Types, log_id, membership_of, membership_to_text};
use crate::member::Part;

/// How far the log is applied.
#[derive(Clone, Debug, Default)]
pub(crate) struct Applied {
    pub(crate) last: Option<LogId>,
    pub(crate) membership: StoredMembershipOf<Types>,
}

#[derive(Clone)]
pub(crate) struct StateMachine {
    journal: Arc<Journal>,
    part: Part,
    applied: Arc<Mutex<Applied>>,
    /// Last applied term: `open` waits until it is its own.
    term: Arc<watch::Sender<u64>>,
    committed: Arc<watch::Sender<u64>>,
    /// At its start openraft asks for the newest snapshot to know how far the log may be purged.
    is_started: Arc<AtomicBool>,
}

impl StateMachine {
    pub(crate) fn new(journal: Arc<Journal>, part: Part, applied: Applied) -> Self {
        let committed = journal.committed_key();
        Self {
            journal,
            part,
            applied: Arc::new(Mutex::new(applied)),
            term: Arc::new(watch::Sender::new(0)),
            committed: Arc::new(watch::Sender::new(committed)),
            is_started: Arc::default(),
        }
    }

    pub(crate) fn applied(&self) -> Applied {
        self.applied
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Term of the last entry applied in this run.
    pub(crate) fn term(&self) -> watch::Receiver<u64> {
        self.term.subscribe()
    }

    /// Last committed event.
    pub(crate) fn committed(&self) -> watch::Receiver<u64> {
        self.committed.subscribe()
    }

    fn current_snapshot(&self) -> io::Result<Option<SnapshotOf<Types, SnapshotBody>>> {
        if self.part == Part::Watch {
            // A watch has no state but its place.
            let applied = Self::applied(self);
            return Ok(Some(SnapshotOf::<Types, SnapshotBody> {
                meta: SnapshotMetaOf::<Types> {
                    last_log_id: applied.last,
                    last_membership: applied.membership,
                },
                snapshot: None,
            }));
        }
        let newest = self.journal.snapshot();
        newest
            .map(|file| to_send(&file.meta, file.path))
            .transpose()
    }

    /// From now on openraft asks for a snapshot in order to send it.
    pub(crate) fn is_started(&self) {
        self.is_started.store(true, Ordering::Release);
    }

    fn begin_at(&self, last: Option<LogId>, membership: StoredMembershipOf<Types>) {
        *self.applied.lock().unwrap_or_else(PoisonError::into_inner) = Applied { last, membership };
        let key = self.journal.committed_key();
        self.committed
            .send_if_modified(|committed| std::mem::replace(committed, key) != key);
    }
}

impl RaftStateMachine<Types> for StateMachine {
    /// Snapshots are files the node writes itself; openraft only has to know up to where.
    type SnapshotData = SnapshotBody;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembershipOf<Types>)> {
        let applied = Self::applied(self);
        Ok((applied.last, applied.membership))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let id = entry.log_id();
            {
                let mut applied = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
                applied.last = Some(id);
                if let EntryPayload::Membership(members) = &entry.payload {
                    applied.membership =
                        StoredMembershipOf::<Types>::new(Some(id), members.clone());
                }
            }
            let event_id = match &entry.payload {
                EntryPayload::Normal(batch) => batch.last_event_id,
                EntryPayload::Blank | EntryPayload::Membership(_) => 0,
            };
            let key = self.journal.commit_record(id.index, event_id);
            self.committed
                .send_if_modified(|committed| std::mem::replace(committed, key) != key);
            let term = id.leader_id.term;
            self.term
                .send_if_modified(|applied| std::mem::replace(applied, term) != term);
            if let Some(responder) = responder {
                responder.send(());
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMetaOf<Types>,
        body: SnapshotBody,
    ) -> io::Result<()> {
        let (sender, durable) = oneshot::channel();
        let done = move |told: Result<(), Fault>| {
            // Nobody waits any more when openraft is being shut down.
            drop(sender.send(told));
        };
        let journal = Arc::clone(&self.journal);
        let last = meta.last_log_id;
        let membership = membership_to_text(&meta.last_membership);
        let installing = tasks::spawn_blocking(move || match (body, last) {
            (Some(path), _) => journal.install(&path, done).map(|_file| ()),
            (None, Some(last)) => {
                let place = Position {
                    index: last.index,
                    term: last.leader_id.term,
                    key: journal.committed_key(),
                };
                journal.restart_behind(place, Some(membership), None, done);
                Ok(())
            }
            (None, None) => Ok(()),
        });
        installing
            .await
            .map_err(io::Error::other)?
            .map_err(io::Error::other)?;
        durable
            .await
            .map_err(io::Error::other)?
            .map_err(io::Error::other)?;
        self.begin_at(last, meta.last_membership.clone());
        Ok(())
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> io::Result<Option<SnapshotOf<Types, SnapshotBody>>> {
        if self.part == Part::Watch || !self.is_started.load(Ordering::Acquire) {
            return self.current_snapshot();
        }
        // Not the newest: the other member must have the events that readers still wait for, too.
        let base = self.journal.snapshot_to_begin_with();
        base.map(|file| to_send(&file.meta, file.path)).transpose()
    }
}

fn to_send(meta: &SnapshotMeta, path: PathBuf) -> io::Result<SnapshotOf<Types, SnapshotBody>> {
    Ok(SnapshotOf::<Types, SnapshotBody> {
        meta: SnapshotMetaOf::<Types> {
            last_log_id: Some(log_id(meta.term, meta.index)),
            last_membership: membership_of(None, meta.membership.as_ref())?,
        },
        snapshot: Some(path),
    })
}

impl RaftSnapshotBuilder<Types> for StateMachine {
    type SnapshotData = SnapshotBody;

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<Types, SnapshotBody>> {
        self.current_snapshot()?
            .ok_or_else(|| io::Error::other("the node has not written a snapshot yet"))
    }
}
