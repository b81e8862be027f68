//! What openraft needs from us: its types named once, a log store over the journal, a state machine that only
//! passes on, a network that knows who is connected.

mod log_store;
mod network;
mod state_machine;

use std::collections::BTreeSet;
use std::io;

use journal::{Kind, Position, Record};
use openraft::alias::{EntryOf, LogIdOf, StoredMembershipOf};
use openraft::async_runtime::WatchReceiver as _;
use openraft::entry::RaftEntry as _;
use openraft::{EntryPayload, Membership};
use serde::{Deserialize, Serialize};

pub(crate) use log_store::LogStore;
pub(crate) use network::{Network, SnapshotBody};
pub(crate) use state_machine::{Applied, StateMachine};

use crate::append::Batch;
use crate::member::Hello;

openraft::declare_raft_types!(
    /// Batches of events under raft's standard leader election.
    pub(crate) Types:
        D = Batch,
        R = (),
        NodeId = u64,
        Node = openraft::EmptyNode,
        LeaderId = openraft::impls::leader_id_std::LeaderId<u64, u64>,
        ErrorSource = openraft::AnyError
);

pub(crate) type Raft = openraft::Raft<Types, StateMachine>;
pub(crate) type LogId = LogIdOf<Types>;
type Entry = EntryOf<Types>;
type Members = Membership<u64, openraft::EmptyNode>;

/// A membership with the place where it was decided, as the journal keeps it.
#[derive(Serialize, Deserialize)]
struct Placed {
    log_id: Option<LogId>,
    members: Members,
}

pub(crate) fn membership_to_text(membership: &StoredMembershipOf<Types>) -> String {
    let placed = Placed {
        log_id: *membership.log_id(),
        members: membership.membership().clone(),
    };
    serde_json::to_string(&placed).expect("numbers and lists always serialise")
}

/// Who belongs to the log by now: those with a vote, and those that only learn it.
pub(crate) fn members_of(raft: &Raft) -> (BTreeSet<u64>, BTreeSet<u64>) {
    let metrics = raft.metrics();
    let metrics = metrics.borrow_watched();
    let membership = metrics.membership_config.membership();
    (
        membership.voter_ids().collect(),
        membership.learner_ids().collect(),
    )
}

/// Who this member is, and who belongs to its log by now.
pub(crate) fn introduction(raft: &Raft, me: &Hello) -> Hello {
    let metrics = raft.metrics();
    let metrics = metrics.borrow_watched();
    let config = &metrics.membership_config;
    let since = config.log_id().as_ref();
    Hello {
        members: config.membership().nodes().map(|(id, _)| *id).collect(),
        members_since: since.map(|id| (id.leader_id.term, id.index)),
        ..me.clone()
    }
}

/// The membership in force: the log's newest, else the one remembered when the log's beginning was purged.
pub(crate) fn membership_of(
    in_log: Option<&(Position, String)>,
    remembered: Option<&String>,
) -> io::Result<StoredMembershipOf<Types>> {
    if let Some((position, text)) = in_log {
        let members: Members = serde_json::from_str(text).map_err(io::Error::other)?;
        return Ok(StoredMembershipOf::<Types>::new(
            Some(log_id(position.term, position.index)),
            members,
        ));
    }
    let Some(text) = remembered else {
        return Ok(StoredMembershipOf::<Types>::default());
    };
    let placed: Placed = serde_json::from_str(text).map_err(io::Error::other)?;
    Ok(StoredMembershipOf::<Types>::new(
        placed.log_id,
        placed.members,
    ))
}

pub(crate) fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(term.into(), index)
}

fn record_of(entry: Entry) -> Record {
    let id = entry.log_id();
    let (index, term) = (id.index, id.leader_id.term);
    let (kind, key, body) = match entry.payload {
        EntryPayload::Blank => (Kind::Blank, 0, bytes::Bytes::new()),
        EntryPayload::Normal(batch) => (Kind::Events, batch.last_event_id, batch.body),
        EntryPayload::Membership(members) => {
            let text = serde_json::to_vec(&members).expect("numbers and lists always serialise");
            (Kind::Membership, 0, text.into())
        }
    };
    Record {
        index,
        term,
        key,
        kind,
        body,
    }
}

fn entry_of(record: Record) -> io::Result<Entry> {
    let payload = match record.kind {
        Kind::Blank => EntryPayload::Blank,
        Kind::Events => EntryPayload::Normal(Batch {
            last_event_id: record.key,
            body: record.body,
        }),
        Kind::Membership => EntryPayload::Membership(
            serde_json::from_slice(&record.body).map_err(io::Error::other)?,
        ),
    };
    Ok(Entry::new(log_id(record.term, record.index), payload))
}
