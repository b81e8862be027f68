//! How openraft reaches the other members: over the connection that is there, or not at all. Nothing here dials.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, Stream, StreamExt as _};
use journal::Journal;
use openraft::alias::{SnapshotOf, VoteOf};
use openraft::entry::RaftEntry;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{AnyError, EmptyNode, EntryPayload, OptionalSend};
use tokio::time::{Instant, sleep, timeout_at};

use super::{LogId, Types};
use crate::link::{Answer, Ask, Question};
use crate::peers::Peers;
use crate::rules;

/// A piece of a snapshot on its way.
const PIECE_BYTES: usize = 512 << 10;
/// So many requests are on their way to a member at once.
const SENT_AHEAD: usize = 4;
/// A disk may be slow; a silent member is noticed by the missing heartbeats.
const APPEND_WITHIN: Duration = Duration::from_secs(2);
/// Pause between two attempts to ask a member to take over.
const TRANSFER_PAUSE: Duration = Duration::from_millis(20);
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
            is_for_heartbeats: false,
            answered_at: Arc::default(),
        }
    }

    async fn new_heartbeat_client(&mut self, member: u64, node: &EmptyNode) -> Target {
        Target {
            is_for_heartbeats: true,
            ..self.new_client(member, node).await
        }
    }
}

/// One other member.
#[derive(Clone)]
pub(crate) struct Target {
    network: Network,
    member: u64,
    is_for_heartbeats: bool,
    /// When it last confirmed entries.
    answered_at: Arc<Mutex<Option<Instant>>>,
}

/// Entries on their way.
struct Sent {
    previous: Option<LogId>,
    last: Option<LogId>,
    at: Instant,
    until: Instant,
    question: Question,
}

/// What openraft hears of each request.
type Appended = Result<StreamAppendResult<Types>, RPCError<Types>>;

fn index_of(id: LogId) -> u64 {
    id.index
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

    /// Sends entries; they are taken in the order in which they were sent.
    async fn send(
        &self,
        mut request: AppendEntriesRequest<Types>,
        within: Duration,
    ) -> Result<Sent, Unreachable<Types>> {
        let peers = &self.network.peers;
        peers.leads(request.vote.leader_id.term);
        let last = request.entries.last().map(RaftEntry::log_id);
        if peers.part(self.member).is_third_vote() {
            for entry in &mut request.entries {
                if matches!(entry.payload, EntryPayload::Normal(_)) {
                    entry.payload = EntryPayload::Blank;
                }
            }
            if let Some(last) = last {
                peers.may_go_to_watch(last.index).await;
            }
        }
        let previous = request.prev_log_id;
        let within = if last.is_none() {
            within
        } else {
            APPEND_WITHIN
        };
        let link = peers.link(self.member).ok_or_else(unreachable)?;
        let at = Instant::now();
        let question = timeout_at(at + within, link.put(Ask::Append(request))).await;
        Ok(Sent {
            previous,
            last,
            at,
            until: at + within,
            question: question.ok().flatten().ok_or_else(unreachable)?,
        })
    }

    /// Waits for the answer and notes what it tells.
    async fn settle(&self, sent: Sent) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let answer = timeout_at(sent.until, sent.question.answer()).await;
        let response = match answer.ok().flatten() {
            Some(Answer::Append(response)) => response,
            Some(Answer::Refused(reason)) => {
                let refused = Unreachable::new(&AnyError::error(reason));
                return Err(RPCError::Unreachable(refused));
            }
            Some(Answer::Vote(_) | Answer::Snapshot(_) | Answer::Done) | None => {
                if sent.last.is_some() {
                    self.network.peers.lose(self.member);
                }
                return Err(RPCError::Unreachable(unreachable()));
            }
        };
        let peers = &self.network.peers;
        let newest = self.network.journal.bounds().1.saturating_sub(1);
        let (last, previous) = (sent.last.map(index_of), sent.previous.map(index_of));
        match &response {
            AppendEntriesResponse::Success => {
                if last.is_some() {
                    peers.answered(self.member, self.took(sent.at));
                }
                peers.acknowledged(self.member, last.or(previous), newest, sent.at);
            }
            AppendEntriesResponse::PartialSuccess(id) => {
                peers.acknowledged(self.member, id.map(index_of), newest, sent.at);
            }
            AppendEntriesResponse::Conflict | AppendEntriesResponse::HigherVote(_) => {
                peers.heard(self.member);
            }
        }
        Ok(response)
    }

    /// How long an answer took on its own, without the time in which the one before it was still awaited.
    fn took(&self, sent_at: Instant) -> Duration {
        let now = Instant::now();
        let mut answered_at = self
            .answered_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let begun = answered_at.map_or(sent_at, |answered_at| answered_at.max(sent_at));
        *answered_at = Some(now);
        now.saturating_duration_since(begun)
    }

    async fn send_file(&self, path: PathBuf) -> Result<(), Unreachable<Types>> {
        let failed = |error: std::io::Error| Unreachable::new(&error);
        let file = Arc::new(File::open(&path).map_err(failed)?);
        let mut offset = 0;
        loop {
            let file = Arc::clone(&file);
            let read = tasks::spawn_blocking(move || {
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
        request: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let sent = self.send(request, option.hard_ttl()).await;
        self.settle(sent.map_err(RPCError::Unreachable)?).await
    }

    /// Sends on before the answer is there: what is committed is told to the other member again and again, and new entries
    /// must not wait for the answer to that.
    fn stream_append<S>(
        &mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'_, Result<BoxStream<'_, Appended>, RPCError<Types>>>
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
    {
        if self.is_for_heartbeats && !self.network.peers.needs_heartbeat(self.member) {
            let spared = AnyError::error("this member needs no heartbeat now");
            return Box::pin(async move { Err(RPCError::Unreachable(Unreachable::new(&spared))) });
        }
        // The futures own what they need: openraft's bounds are too general for borrowed ones.
        let this = self.clone();
        let is_watch = this.network.peers.part(this.member).is_third_vote();
        let ahead = if is_watch { 1 } else { SENT_AHEAD };
        let mut has_entries = false;
        let sender = self.clone();
        let peers = Arc::clone(&self.network.peers);
        let unhurried = stream::unfold((input, None), move |(mut input, sent_upto)| {
            let peers = Arc::clone(&peers);
            async move {
                // A watch rests for longer, when it has answered.
                if let (false, Some(upto)) = (is_watch, sent_upto) {
                    peers.commit_may_rest(upto).await;
                }
                let request: AppendEntriesRequest<Types> = input.next().await?;
                let upto = request.entries.last().map(RaftEntry::log_id);
                Some((request, (input, upto.map(index_of))))
            }
        });
        let sent = unhurried.then(move |request| {
            has_entries |= !request.entries.is_empty();
            // Behind entries, an answer waits for the other member's disk.
            let within = if has_entries {
                APPEND_WITHIN
            } else {
                option.hard_ttl()
            };
            let sender = sender.clone();
            async move { (has_entries, sender.send(request, within).await) }
        });
        let answers = sent.map(move |(has_entries, sent)| {
            let this = this.clone();
            async move {
                let sent = sent.map_err(RPCError::Unreachable)?;
                let superseded = this.network.journal.superseded();
                if superseded.is_some_and(|place| {
                    sent.last
                        .or(sent.previous)
                        .is_none_or(|id| id.index < place.index)
                }) {
                    // The next entries are damaged. The error makes consensus start again, with a snapshot.
                    return Err(RPCError::Unreachable(Unreachable::new(&AnyError::error(
                        "the log is damaged behind this place: a snapshot is sent instead",
                    ))));
                }
                let range = (sent.previous, sent.last);
                let response = this.settle(sent).await?;
                if is_watch && has_entries {
                    this.network.peers.let_watch_rest(this.member).await;
                }
                Ok((range, response))
            }
        });
        let answers = answers.buffered(ahead);
        let appended = stream::unfold(Some(Box::pin(answers)), |answers| async move {
            let mut answers = answers?;
            match answers.next().await? {
                Ok(((previous, last), response)) => {
                    let is_whole = response.is_success();
                    let result = response.into_stream_result(previous, last.or(previous));
                    // Whatever was sent behind it begins anew from there.
                    Some((Ok(result), is_whole.then_some(answers)))
                }
                Err(error) => Some((Err(error), None)),
            }
        });
        Box::pin(async move { Ok(appended.boxed()) })
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
        let is_watch = self.network.peers.part(self.member).is_third_vote();
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
        // A third vote never takes over, and refuses this.
        if self.network.peers.part(self.member).is_third_vote() {
            return Ok(Ok(()));
        }
        // The other member may have just been restarted. No member leads in the meantime, so the request is repeated until it arrives.
        let asking = self.clone();
        tasks::spawn("hand-over", async move {
            let until = Instant::now() + rules::hand_over_within(&asking.network.peers.me().timing);
            while Instant::now() < until {
                let asked = asking.ask(Ask::Transfer(request.clone()), option.hard_ttl());
                if matches!(asked.await, Ok(Answer::Done)) {
                    return;
                }
                sleep(TRANSFER_PAUSE).await;
            }
        });
        Ok(Ok(()))
    }
}
