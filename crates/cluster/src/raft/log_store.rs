//! The journal in the form openraft asks for.
//!
//! Always: the callback of an append comes after the sync. Blocking calls leave the runtime's threads alone: appends only hand
//! over, reads from disk go to the blocking pool. But one who follows flushes what is little itself as long as its disk is quick.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds, RangeInclusive};
use std::sync::Arc;
use std::time::Duration;

use journal::{Fault, Journal, ReadError, Vote};
use openraft::OptionalSend;
use openraft::alias::{LogIdOf, VoteOf};
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use openraft::vote::RaftVote as _;
use tokio::sync::oneshot;

use crate::peers::Peers;

use super::{Entry, StateMachine, Types, entry_of, log_id, membership_to_text, record_of};

/// So much goes to another member at once, and a record more.
const SENT_BYTES: usize = 1 << 20;

/// How long replication waits before it reads damaged records again.
const DAMAGED_PAUSE: Duration = Duration::from_millis(50);

#[derive(Clone)]
pub(crate) struct LogStore {
    journal: Arc<Journal>,
    machine: StateMachine,
    peers: Arc<Peers>,
}

impl LogStore {
    pub(crate) fn new(journal: Arc<Journal>, machine: StateMachine, peers: Arc<Peers>) -> Self {
        Self {
            journal,
            machine,
            peers,
        }
    }

    /// Whether what is appended comes from another member.
    fn follows(&self) -> bool {
        let me = self.peers.me().member;
        self.journal.vote().is_some_and(|vote| vote.node != me)
    }

    async fn entries(&self, start: u64, end: u64, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let journal = Arc::clone(&self.journal);
        let records = if journal.holds_in_memory(start) {
            journal
                .read_some(start, end, bytes_max)
                .map_err(io::Error::other)?
        } else {
            let read = tasks::spawn_blocking(move || journal.read_some(start, end, bytes_max));
            read.await
                .map_err(io::Error::other)?
                .map_err(io::Error::other)?
        };
        records.into_iter().map(entry_of).collect()
    }
}

/// Waits for the journal's word.
async fn told(order: impl FnOnce(Box<dyn FnOnce(Result<(), Fault>) + Send>)) -> io::Result<()> {
    let (sender, receiver) = oneshot::channel();
    order(Box::new(move |told| {
        // Nobody waits any more when openraft is being shut down.
        drop(sender.send(told));
    }));
    receiver
        .await
        .map_err(io::Error::other)?
        .map_err(io::Error::other)
}

fn vote_of(vote: Vote) -> VoteOf<Types> {
    let leader = openraft::impls::leader_id_std::LeaderId {
        term: vote.term,
        voted_for: vote.node,
    };
    VoteOf::<Types>::from_leader_id(leader, vote.committed)
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<Entry>> {
        let start = match range.start_bound() {
            Bound::Included(index) => *index,
            Bound::Excluded(index) => index + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(index) => index + 1,
            Bound::Excluded(index) => *index,
            Bound::Unbounded => u64::MAX,
        };
        if start >= end {
            return Ok(Vec::new());
        }
        self.entries(start, end, usize::MAX).await
    }

    /// What goes to another member at once: a heartbeat behind it must not come late, and a frame is bounded.
    /// Where the log is damaged, this returns nothing, after a pause: a snapshot will supersede the damaged part, and the other member
    /// begins with that snapshot. An error here would end this node.
    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        let journal = Arc::clone(&self.journal);
        if journal.holds_in_memory(start) {
            return self.entries(start, end, SENT_BYTES).await;
        }
        let reading =
            tasks::spawn_blocking(move || journal.read_before_damage(start, end, SENT_BYTES));
        match reading.await.map_err(io::Error::other)? {
            Ok(records) => records.into_iter().map(entry_of).collect(),
            Err(ReadError::Damaged(_)) => {
                tokio::time::sleep(DAMAGED_PAUSE).await;
                Ok(Vec::new())
            }
            Err(error) => Err(io::Error::other(error)),
        }
    }

    async fn read_vote(&mut self) -> io::Result<Option<VoteOf<Types>>> {
        Ok(self.journal.hard_state().vote.map(vote_of))
    }

    /// The last entry of each term. The journal knows where each term begins: no search on disk at the start.
    async fn get_key_log_ids(
        &mut self,
        range: RangeInclusive<LogIdOf<Types>>,
    ) -> io::Result<Vec<LogIdOf<Types>>> {
        let (first, last) = range.into_inner();
        let terms = self.journal.terms();
        let ends = terms.iter().zip(terms.iter().skip(1));
        let mut ids: Vec<_> = ends
            .map(|((term, _), (_, next_first))| log_id(*term, next_first.saturating_sub(1)))
            .filter(|id| id.index >= first.index && id.index < last.index)
            .collect();
        ids.push(last);
        Ok(ids)
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let purged = self.journal.hard_state().purged;
        let superseded = self.journal.superseded();
        let purged = purged.map(|p| log_id(p.term, p.index));
        let purged = purged.max(superseded.map(|p| log_id(p.term, p.index)));
        let (_, next_index) = self.journal.bounds();
        let last = self
            .journal
            .terms()
            .last()
            .map(|(term, _)| log_id(*term, next_index - 1));
        Ok(LogState {
            last_purged_log_id: purged,
            last_log_id: last.max(purged),
        })
    }

    async fn save_vote(&mut self, vote: &VoteOf<Types>) -> io::Result<()> {
        let vote = Vote {
            term: vote.leader_id.term,
            node: vote.leader_id.voted_for,
            committed: vote.is_committed(),
        };
        told(|done| self.journal.save_vote(vote, done)).await
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let records: Vec<_> = entries.into_iter().map(record_of).collect();
        let next_index = records.last().map(|record| record.index + 1);
        let peers = Arc::clone(&self.peers);
        let told = move |told: Result<(), Fault>| {
            if let (Ok(()), Some(next_index)) = (&told, next_index) {
                peers.on_disk(next_index);
            }
            callback.io_completed(told.map_err(io::Error::other));
        };
        if self.follows() {
            // Nothing else is to be done before the answer, and the active member waits for it.
            self.journal.append_here(records, told);
        } else if self.peers.has_other_data() {
            // The way to the other member's disk is longer than that to the own one: first it is sent.
            self.journal.append_deferred(records, told);
            let journal = Arc::clone(&self.journal);
            tasks::spawn("deferred-write", async move {
                // Whatever is ready to run comes before this, the connections among it.
                tokio::task::yield_now().await;
                journal.write_deferred();
            });
        } else {
            self.journal.append(records, told);
        }
        if let Some(next_index) = next_index {
            self.peers.appended(next_index);
        }
        Ok(())
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogIdOf<Types>>) -> io::Result<()> {
        let index = last_log_id.map_or(0, |id| id.index + 1);
        told(|done| self.journal.truncate(index, done)).await?;
        // Only now has the journal told of all that was appended before.
        self.peers.taken_back(index);
        Ok(())
    }

    async fn purge(&mut self, id: LogIdOf<Types>) -> io::Result<()> {
        let membership = membership_to_text(&self.machine.applied().membership);
        told(|done| {
            self.journal
                .purge(id.index, id.leader_id.term, Some(membership), done);
        })
        .await
    }
}
