//! How openraft reaches the other members: over the connection that is there, or not at all. Nothing here dials.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use journal::Journal;
use openraft::alias::{SnapshotOf, VoteOf};
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{AnyError, EmptyNode, EntryPayload, OptionalSend};

use super::Types;
use crate::link::{Answer, Ask};
use crate::member::Part;
use crate::peers::Peers;

/// A piece of a snapshot on its way.
const PIECE_BYTES: usize = 512 << 10;
/// A disk may be slow; a silent member is noticed by the missing heartbeats.
const APPEND_WITHIN: Duration = Duration::from_secs(2);
const PIECE_WITHIN: Duration = Duration::from_secs(10);
/// Checking a great snapshot takes its time.
const SNAPSHOT_WITHIN: Duration = Duration::from_mins(2);

/// The file of a snapshot, to be sent or received; a watch has none.
pub(crate) type SnapshotBody = Option<PathBuf>;

#[derive(Clone)]
pub(crate) struct Network {
    pub(crate) peers: Arc<Peers>,
    pub(crate) journal: Arc<Journal>,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Target;

    async fn new_client(&mut self, member: u64, _: &EmptyNode) -> Target {
        Target {
            network: self.clone(),
            member,
        }
    }
}

/// One other member.
pub(crate) struct Target {
    network: Network,
    member: u64,
}

fn unreachable() -> Unreachable<Types> {
    Unreachable::new(&AnyError::error("there is no connection to this member"))
}

impl Target {
    async fn ask(&self, ask: Ask, within: Duration) -> Result<Answer, Unreachable<Types>> {
        let link = self
            .network
            .peers
            .link(self.member)
            .ok_or_else(unreachable)?;
        match link.ask(ask, within).await {
            Some(Answer::Refused(reason)) => Err(Unreachable::new(&AnyError::error(reason))),
            Some(answer) => Ok(answer),
            None => Err(unreachable()),
        }
    }

    async fn send_file(&self, path: PathBuf) -> Result<(), Unreachable<Types>> {
        let failed = |error: std::io::Error| Unreachable::new(&error);
        let file = Arc::new(File::open(&path).map_err(failed)?);
        let mut offset = 0;
        loop {
            let file = Arc::clone(&file);
            let read = tokio::task::spawn_blocking(move || {
                let mut bytes = vec![0; PIECE_BYTES];
                let count = file.read_at(&mut bytes, offset)?;
                bytes.truncate(count);
                Ok(bytes)
            });
            let bytes = read
                .await
                .map_err(std::io::Error::other)
                .and_then(|read| read);
            let bytes = bytes.map_err(failed)?;
            if bytes.is_empty() {
                return Ok(());
            }
            let count = bytes.len() as u64;
            let piece = Ask::Piece {
                offset,
                bytes: bytes.into(),
            };
            self.ask(piece, PIECE_WITHIN).await?;
            offset += count;
        }
    }
}

impl RaftNetworkV2<Types> for Target {
    type SnapshotData = SnapshotBody;

    async fn append_entries(
        &mut self,
        mut request: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let peers = Arc::clone(&self.network.peers);
        peers.leads(request.vote.leader_id.term);
        let last = request
            .entries
            .last()
            .map(openraft::entry::RaftEntry::index);
        if peers.part(self.member) == Part::Watch {
            for entry in &mut request.entries {
                if matches!(entry.payload, EntryPayload::Normal(_)) {
                    entry.payload = EntryPayload::Blank;
                }
            }
            if let Some(last) = last {
                peers.may_go_to_watch(last).await;
            }
        }
        let previous = request.prev_log_id.map(|id| id.index);
        let within = if last.is_none() {
            option.hard_ttl()
        } else {
            APPEND_WITHIN
        };
        let asked_at = tokio::time::Instant::now();
        let answer = self.ask(Ask::Append(request), within).await;
        let answer = answer.map_err(RPCError::Unreachable)?;
        let Answer::Append(response) = answer else {
            return Err(RPCError::Unreachable(unreachable()));
        };
        let newest = self.network.journal.bounds().1.saturating_sub(1);
        match &response {
            AppendEntriesResponse::Success => {
                if last.is_some() {
                    peers.answered(self.member, asked_at.elapsed());
                }
                peers.acknowledged(self.member, last.or(previous), newest);
            }
            AppendEntriesResponse::PartialSuccess(id) => {
                peers.acknowledged(self.member, id.map(|id| id.index), newest);
            }
            AppendEntriesResponse::Conflict | AppendEntriesResponse::HigherVote(_) => {
                peers.heard(self.member);
            }
        }
        Ok(response)
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let answer = self.ask(Ask::Vote(request), option.hard_ttl()).await;
        match answer.map_err(RPCError::Unreachable)? {
            Answer::Vote(response) => Ok(response),
            Answer::Append(_) | Answer::Snapshot(_) | Answer::Done | Answer::Refused(_) => {
                Err(RPCError::Unreachable(unreachable()))
            }
        }
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let answer = self.ask(Ask::PreVote(request), option.hard_ttl()).await;
        match answer.map_err(RPCError::Unreachable)? {
            Answer::Vote(response) => Ok(response),
            Answer::Append(_) | Answer::Snapshot(_) | Answer::Done | Answer::Refused(_) => {
                Err(RPCError::Unreachable(unreachable()))
            }
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<Types>,
        snapshot: SnapshotOf<Types, SnapshotBody>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let is_watch = self.network.peers.part(self.member) == Part::Watch;
        let file = snapshot.snapshot.filter(|_| !is_watch);
        let sending = async {
            let has_file = file.is_some();
            if let Some(path) = file {
                self.send_file(path).await?;
            }
            let ask = Ask::Snapshot {
                vote,
                meta: snapshot.meta,
                has_file,
            };
            match self.ask(ask, SNAPSHOT_WITHIN).await? {
                Answer::Snapshot(response) => Ok(response),
                Answer::Append(_) | Answer::Vote(_) | Answer::Done | Answer::Refused(_) => {
                    Err(unreachable())
                }
            }
        };
        tokio::select! {
            sent = sending => sent.map_err(StreamingError::Unreachable),
            closed = cancel => Err(StreamingError::Closed(closed)),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        let answer = self.ask(Ask::Transfer(request), option.hard_ttl()).await;
        answer.map_err(RPCError::Unreachable)?;
        Ok(Ok(()))
    }
}
