//! From a directory to a log that can be written: lock, recover, elect, commit the first entry.

use std::sync::Arc;
use std::time::Duration;

use journal::{Journal, Recovered, SnapshotFile};
use openraft::alias::StoredMembershipOf;
use openraft::{Config, SnapshotPolicy};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::append::Batch;
use crate::aside;
use crate::log::{Log, Parts};
use crate::member::{
    Hello, Part, ProcessRun, damaged_number, has_number, is_made_to_join, make_to_join, number_of,
};
use crate::options::Options;
use crate::peers::Peers;
use crate::raft::{Applied, LogStore, Network, Raft, StateMachine, Types, log_id, membership_of};
use crate::respond::Responder;
use crate::rules;
use crate::timers;

/// Why a log does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The journal cannot be opened.
    #[error(transparent)]
    Journal(#[from] journal::OpenError),
    /// The members named in the log do not include this one.
    #[error(
        "the log in {dir} is of a cluster with the members {members:?}, but this is member {node_id}: either it was removed, or the directory is a copy; give it an empty directory to let it join (again)"
    )]
    NotAMember {
        /// The directory.
        dir: String,
        /// Who belongs to it.
        members: Vec<u64>,
        /// Who asked.
        node_id: u64,
    },
    /// Nobody knows which of the members this was.
    #[error(
        "the log in {dir} is of a cluster with the members {members:?}, but the file `member` is missing, which says which of them this is: restore it; if there is one member only, write its number into that file"
    )]
    NoNumber {
        /// The directory.
        dir: String,
        /// Who belongs to it.
        members: Vec<u64>,
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
pub struct Replay {
    pub(crate) journal: Arc<Journal>,
    pub(crate) records: journal::Replay,
}

impl std::fmt::Debug for Replay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.records.fmt(f)
    }
}

impl Iterator for Replay {
    type Item = Result<Batch, journal::ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let record = self.records.next()?;
        Some(
            record
                .inspect_err(|error| self.journal.take_note(error))
                .map(|record| Batch {
                    last_event_id: record.key,
                    body: record.body,
                }),
        )
    }
}

pub(crate) async fn open(options: Options) -> Result<Opened, OpenError> {
    aside::finish(&options.dir)
        .map_err(|e| OpenError::Consensus(format!("the member's directory: {e}")))?;
    let (fault_sender, fault) = watch::channel(None);
    let journal_options = journal::Options {
        dir: options.dir.clone(),
        identity: options.identity.clone(),
        segment_bytes: options.segment_bytes,
        ring_bytes: options.ring_bytes as u64,
        has_state: options.part == Part::Data,
    };
    let disk = Arc::clone(&options.disk);
    let opening = tasks::spawn_blocking(move || {
        Journal::open_on(disk, journal_options, move |fault| {
            tracing::error!(%fault, "the journal has stopped; the node must end");
            fault_sender.send_replace(Some(fault.to_string()));
        })
    });
    let (journal, recovered) = opening
        .await
        .map_err(|e| OpenError::Consensus(e.to_string()))??;
    let journal = Arc::new(journal);

    let newest = newest_membership(&recovered)?;
    let is_new = newest.log_id().is_none();
    let joins = options.joins || is_made_to_join(&options.dir);
    if is_new && joins {
        make_to_join(&options.dir)
            .map_err(|e| OpenError::Consensus(format!("the member's directory: {e}")))?;
    }
    let number = match number_of(&options.dir, !is_new) {
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            let damage = damaged_number(&options.dir);
            return Err(journal::OpenError::Damaged(damage).into());
        }
        number => number.map_err(|e| OpenError::Consensus(format!("the member's number: {e}")))?,
    };
    let me = Hello {
        cluster: options.identity.clone(),
        member: number,
        name: options.name.clone(),
        part: options.part,
        timing: options.timing,
        members: Vec::new(),
        members_since: None,
        url: options.url.clone(),
        run: Some(
            options
                .run
                .clone()
                .unwrap_or_else(|| ProcessRun::of_this_process(options.address.as_deref())),
        ),
    };
    check_membership(&newest, number, joins, &options)?;
    let is_alone =
        newest.membership().voter_ids().all(|voter| voter == number) && !(is_new && joins);
    let applied = if is_alone {
        let applied = applied_alone(&recovered, newest);
        if let Some(last) = applied.last {
            journal.commit(last.index + 1);
        }
        applied
    } else {
        let applied = applied_among_others(&recovered)?;
        if let (Some(last), Some(snapshot)) = (applied.last, &recovered.snapshot) {
            journal.commit_record(last.index, snapshot.event_id());
        }
        applied
    };
    let machine = StateMachine::new(Arc::clone(&journal), options.part, applied);
    let peers = Arc::new(Peers::new(me, journal.bounds().1));
    let responder = Arc::new(Responder::new(Arc::clone(&peers), options.dir.clone()));
    let raft = start(&options, number, &journal, &machine, &peers).await?;
    responder.serve(raft.clone());
    if rules::may_lead(options.part) {
        // Before its restart this member may have promised not to vote against the active member for a while. It waits as long before it
        // votes for itself as before it votes for others.
        let not_before = Instant::now() + rules::patience(&options.timing);
        let responder = Arc::clone(&responder);
        timers::begin(
            raft.clone(),
            Arc::clone(&peers),
            responder,
            options.timing,
            not_before,
        )
        .map_err(|e| OpenError::Consensus(format!("the timer of the heartbeats: {e}")))?;
    }
    let led = if is_alone {
        lead(&raft, &machine, number, is_new, options.open_timeout).await
    } else {
        Ok(())
    };
    let log = Log::new(
        Parts {
            journal: Arc::clone(&journal),
            raft,
            machine,
            fault,
            peers,
            responder,
        },
        &options,
    );
    if let Err(error) = led {
        log.shutdown().await;
        return Err(error);
    }
    Ok(log.opened())
}

/// The membership that the log ends with, committed or not.
pub(crate) fn newest_membership(
    recovered: &Recovered,
) -> Result<StoredMembershipOf<Types>, OpenError> {
    let remembered = recovered.hard_state.membership.as_ref();
    membership_of(recovered.membership.as_ref(), remembered)
        .map_err(|e| OpenError::Consensus(format!("the membership is not readable: {e}")))
}

/// With one voter, everything in its log is committed: it alone is the majority that made it durable.
fn applied_alone(recovered: &Recovered, membership: StoredMembershipOf<Types>) -> Applied {
    Applied {
        last: recovered.last.map(|p| log_id(p.term, p.index)),
        membership,
    }
}

/// Among others, only what a snapshot covers or was purged is known to be committed; the rest is learnt from the active one.
fn applied_among_others(recovered: &Recovered) -> Result<Applied, OpenError> {
    let purged = recovered.hard_state.purged;
    let snapshot = recovered.snapshot.as_ref().map(|file| &file.meta);
    let (last, remembered) = match snapshot {
        Some(meta) if purged.is_none_or(|purged| purged.index <= meta.index) => (
            Some(log_id(meta.term, meta.index)),
            meta.membership.as_ref(),
        ),
        _ => (
            purged.map(|p| log_id(p.term, p.index)),
            recovered.hard_state.membership.as_ref(),
        ),
    };
    let membership = membership_of(None, remembered)
        .map_err(|e| OpenError::Consensus(format!("the membership is not readable: {e}")))?;
    Ok(Applied { last, membership })
}

/// Checks that the member with this `number` may open this log.
///
/// A member that joins may have stopped learning before it was taken in, or may have been removed meanwhile. It has no vote, so it may
/// open the log, and the active member decides. Any other member must belong to the log; else the directory is not its own.
fn check_membership(
    newest: &StoredMembershipOf<Types>,
    number: u64,
    joins: bool,
    options: &Options,
) -> Result<(), OpenError> {
    let members: Vec<u64> = newest.membership().nodes().map(|(id, _)| *id).collect();
    if members.is_empty() || members.contains(&number) {
        return Ok(());
    }
    let dir = options.dir.display().to_string();
    if !has_number(&options.dir) {
        return Err(OpenError::NoNumber { dir, members });
    }
    if joins {
        return Ok(());
    }
    Err(OpenError::NotAMember {
        dir,
        members,
        node_id: number,
    })
}

async fn start(
    options: &Options,
    number: u64,
    journal: &Arc<Journal>,
    machine: &StateMachine,
    peers: &Arc<Peers>,
) -> Result<Raft, OpenError> {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let config = Config {
        cluster_name: options.identity.clone(),
        election_timeout_min: millis(options.timing.silence_min),
        election_timeout_max: millis(options.timing.silence_max),
        heartbeat_interval: millis(options.timing.heartbeat),
        // Instead of these, see `timers`.
        enable_tick: false,
        enable_heartbeat: false,
        enable_elect: false,
        enable_pre_vote: Some(true),
        // One that is heard but hears nobody must not keep the others from following it.
        quorum_loss_probe_interval: Some(millis(options.timing.silence_max) * 2),
        backoff: "10ms 20ms 50ms ...200ms".to_owned(),
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
    let store = LogStore::new(Arc::clone(journal), machine.clone(), Arc::clone(peers));
    let raft = Raft::new(
        number,
        Arc::new(config),
        Network {
            peers: Arc::clone(peers),
            journal: Arc::clone(journal),
        },
        store,
        machine.clone(),
    )
    .await
    .map_err(|e| OpenError::Consensus(e.to_string()))?;
    machine.is_started();
    Ok(raft)
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
