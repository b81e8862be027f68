//! From a directory to a log that can be written: lock, recover, elect, commit the first entry.

use std::sync::Arc;
use std::time::Duration;

use journal::{Journal, Recovered, SnapshotFile};
use openraft::{Config, SnapshotPolicy};
use tokio::sync::watch;

use crate::append::Batch;
use crate::log::Log;
use crate::options::Options;
use crate::raft::{Applied, LogStore, Nobody, Raft, StateMachine, log_id, membership_of};

/// Why a log does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The journal cannot be opened.
    #[error(transparent)]
    Journal(#[from] journal::OpenError),
    /// The members named in the log do not include this one.
    #[error(
        "the log in {dir} is of a cluster with the members {members:?}, but this is member {node_id}"
    )]
    NotAMember {
        /// The directory.
        dir: String,
        /// Who belongs to it.
        members: Vec<u64>,
        /// Who asked.
        node_id: u64,
    },
    /// Consensus gave up.
    #[error("the log cannot be led: {0}")]
    Consensus(String),
    /// The election took too long.
    #[error("this member did not become the active one within {0:?}")]
    TimedOut(Duration),
}

/// An open log with what the node needs to rebuild its state.
pub struct Opened {
    /// The log.
    pub log: Log,
    /// The newest snapshot.
    pub snapshot: Option<SnapshotFile>,
    /// The committed batches after it.
    pub replay: Replay,
}

/// Committed batches after a snapshot, in order, read from disk as they are asked for.
#[derive(Debug)]
pub struct Replay(journal::Replay);

impl Iterator for Replay {
    type Item = Result<Batch, journal::ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.0.next()?.map(|record| Batch {
            last_event_id: record.key,
            body: record.body,
        }))
    }
}

pub(crate) async fn open(options: Options) -> Result<Opened, OpenError> {
    let (fault_sender, fault) = watch::channel(None);
    let journal_options = journal::Options {
        dir: options.dir.clone(),
        identity: options.identity.clone(),
        segment_bytes: options.segment_bytes,
        ring_bytes: options.ring_bytes as u64,
    };
    let disk = Arc::clone(&options.disk);
    let opening = tokio::task::spawn_blocking(move || {
        Journal::open_on(disk, journal_options, move |fault| {
            tracing::error!(%fault, "the journal has stopped; the node must end");
            fault_sender.send_replace(Some(fault.to_string()));
        })
    });
    let (journal, recovered) = opening
        .await
        .map_err(|e| OpenError::Consensus(e.to_string()))??;
    let journal = Arc::new(journal);

    let applied = applied_of(&recovered, options.node_id)?;
    check_membership(&applied, &options)?;
    if let Some(last) = applied.last {
        journal.commit(last.index + 1);
    }
    let is_new = applied.membership.log_id().is_none();
    let machine = StateMachine::new(Arc::clone(&journal), applied);
    let raft = start(&options, &journal, &machine).await?;
    let led = lead(
        &raft,
        &machine,
        options.node_id,
        is_new,
        options.open_timeout,
    )
    .await;
    let log = Log::new(Arc::clone(&journal), raft, machine, fault, &options);
    if let Err(error) = led {
        log.shutdown().await;
        return Err(error);
    }
    let snapshot = recovered.snapshot;
    let replay = Replay(journal.replay(snapshot.as_ref().map_or(0, SnapshotFile::event_id)));
    Ok(Opened {
        log,
        snapshot,
        replay,
    })
}

/// With one voter, everything in its log is committed: it alone is the majority that made it durable.
fn applied_of(recovered: &Recovered, node_id: u64) -> Result<Applied, OpenError> {
    let remembered = recovered.hard_state.membership.as_ref();
    let membership = membership_of(recovered.membership.as_ref(), remembered)
        .map_err(|e| OpenError::Consensus(format!("the membership is not readable: {e}")))?;
    let is_alone = membership
        .membership()
        .voter_ids()
        .all(|voter| voter == node_id);
    let known = if is_alone {
        recovered.last
    } else {
        recovered.hard_state.purged
    };
    Ok(Applied {
        last: known.map(|p| log_id(p.term, p.index)),
        membership,
    })
}

fn check_membership(applied: &Applied, options: &Options) -> Result<(), OpenError> {
    let members: Vec<u64> = applied.membership.membership().voter_ids().collect();
    if members.is_empty() || members.contains(&options.node_id) {
        return Ok(());
    }
    Err(OpenError::NotAMember {
        dir: options.dir.display().to_string(),
        members,
        node_id: options.node_id,
    })
}

async fn start(
    options: &Options,
    journal: &Arc<Journal>,
    machine: &StateMachine,
) -> Result<Raft, OpenError> {
    let config = Config {
        cluster_name: options.identity.clone(),
        // A single voter has nobody to beat for: without ticks an idle log wakes nobody.
        enable_tick: false,
        enable_heartbeat: false,
        enable_leader_restore: Some(false),
        snapshot_policy: SnapshotPolicy::Never,
        // Only `release` purges: openraft must not conclude from a snapshot that the log before it may go.
        max_in_snapshot_log_to_keep: u64::MAX,
        purge_batch_size: 1,
        ..Config::default()
    };
    let config = config
        .validate()
        .map_err(|e| OpenError::Consensus(e.to_string()))?;
    let store = LogStore::new(Arc::clone(journal), machine.clone());
    Raft::new(
        options.node_id,
        Arc::new(config),
        Nobody,
        store,
        machine.clone(),
    )
    .await
    .map_err(|e| OpenError::Consensus(e.to_string()))
}

/// Elects this member and waits until an entry of its own term is committed: only then is it the active one.
async fn lead(
    raft: &Raft,
    machine: &StateMachine,
    node_id: u64,
    is_new: bool,
    within: Duration,
) -> Result<(), OpenError> {
    let before = machine.applied().last.map_or(0, |id| id.leader_id.term);
    if is_new {
        let members = std::collections::BTreeSet::from([node_id]);
        raft.initialize(members)
            .await
            .map_err(|e| OpenError::Consensus(e.to_string()))?;
    } else {
        raft.trigger()
            .elect(false)
            .await
            .map_err(|e| OpenError::Consensus(e.to_string()))?;
    }
    let mut term = machine.term();
    let waited = tokio::time::timeout(within, term.wait_for(|applied| *applied > before)).await;
    match waited {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(closed)) => Err(OpenError::Consensus(closed.to_string())),
        Err(_elapsed) => Err(OpenError::TimedOut(within)),
    }
}
