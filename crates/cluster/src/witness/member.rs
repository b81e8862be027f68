//! A witness as a member of the cluster: it answers the requests of the members, and another cluster records its state.
//!
//! Always: a state is recorded before an answer depends on it. While a vote is being recorded, no leader of an earlier term is confirmed.
//! The right of the store to answer is checked after a request has arrived, so a store that another one has replaced extends no lease.
//! Never here: where the store keeps the state, and which process dials.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use openraft::EntryPayload;
use openraft::alias::VoteOf;
use openraft::entry::RaftEntry as _;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::vote::RaftVote as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::{Candidate, EntryId, MembersAt, Outdated, WitnessState};
use crate::link::{Answer, Answering, Ask, LinkEnd, speak};
use crate::member::{Hello, Part, Timing};
use crate::raft::{LogId, Types, log_id};
use crate::repeats::Repeats;
use crate::rules::{self, Ballot, Voting};

/// How long a store may lack the right to answer before its witness ends. Another process may have that right by then.
const GIVES_UP_AFTER: Duration = Duration::from_millis(500);

/// Records a witness's state.
pub trait WitnessStore: Send + Sync + 'static {
    /// Makes the state durable wherever the witness may be continued. Returns `true` if the state is durable. With `false` this is unknown.
    fn record(&self, state: &WitnessState) -> impl Future<Output = bool> + Send;

    /// Returns whether no other process can have continued the witness, so that no later state than those recorded here exists.
    fn may_answer(&self) -> bool;
}

/// Why a witness has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WitnessEnd {
    /// A state could not be recorded, or it is not known whether it was.
    NotRecorded,
    /// The store has lacked the right to answer for a while.
    NotInCharge,
}

/// A running witness. After it has ended, a new one is opened with the recorded state.
pub struct Witness<S> {
    identity: String,
    name: String,
    store: S,
    opened_at: Instant,
    inner: Mutex<Inner>,
    /// Held while a state is recorded, so that only one is recorded at a time.
    turn: tokio::sync::Mutex<()>,
    leader: watch::Sender<Option<u64>>,
    ended: watch::Sender<Option<WitnessEnd>>,
}

struct Inner {
    recorded: WitnessState,
    /// The state that is being recorded.
    pending: Option<WitnessState>,
    /// When the elected member was last heard.
    heard_at: Option<Instant>,
    patience: Duration,
    silenced_since: Option<Instant>,
    /// The reason of the last refusal that was logged.
    refused: Repeats,
}

/// The result of a request that may change the state.
enum Decided {
    Yes,
    Outdated(WitnessState),
    Not(String),
}

fn entry_id(id: LogId) -> EntryId {
    (id.leader_id.term, id.index)
}

fn candidate_of(vote: &VoteOf<Types>) -> Candidate {
    Candidate {
        term: vote.leader_id.term,
        member: vote.leader_id.voted_for,
    }
}

fn vote_of(state: &WitnessState) -> VoteOf<Types> {
    let leader = openraft::impls::leader_id_std::LeaderId {
        term: state.term,
        voted_for: state.voted_for.unwrap_or_default(),
    };
    VoteOf::<Types>::from_leader_id(leader, state.is_elected)
}

fn last_of(state: &WitnessState) -> Option<LogId> {
    state.newest.map(|(term, index)| log_id(term, index))
}

impl<S: WitnessStore> Witness<S> {
    /// Opens a witness in the cluster `identity` under this name, with the last recorded state.
    pub fn open(identity: &str, name: &str, recorded: WitnessState, store: S) -> Arc<Self> {
        let leader = recorded.voted_for.filter(|_| recorded.is_elected);
        Arc::new(Self {
            identity: identity.to_owned(),
            name: name.to_owned(),
            store,
            opened_at: Instant::now(),
            inner: Mutex::new(Inner {
                recorded,
                pending: None,
                heard_at: None,
                patience: rules::patience(&Timing::default()),
                silenced_since: None,
                refused: Repeats::default(),
            }),
            turn: tokio::sync::Mutex::new(()),
            leader: watch::Sender::new(leader),
            ended: watch::Sender::new(None),
        })
    }

    /// Returns the number of the member that was elected last, as far as this witness knows.
    pub fn leader(&self) -> watch::Receiver<Option<u64>> {
        self.leader.subscribe()
    }

    /// Waits until the witness has ended, and returns the reason.
    pub async fn ended(&self) -> WitnessEnd {
        let mut ended = self.ended.subscribe();
        // The sender lives as long as this does.
        let end = ended.wait_for(Option::is_some).await;
        end.ok()
            .and_then(|end| *end)
            .unwrap_or(WitnessEnd::NotInCharge)
    }

    /// Serves a member over a connection that is already trusted, until the connection breaks or this witness ends. `part` is the role in
    /// which this witness introduces itself: a member of an earlier version knows watches only.
    pub async fn serve(
        self: &Arc<Self>,
        io: impl AsyncRead + AsyncWrite + Send + 'static,
        part: Part,
    ) -> LinkEnd {
        let me = self.introduction(part);
        let opened = |hello: &Hello, _: &Arc<crate::link::Link>| {
            tracing::info!(peer = %hello, "a member is connected with its witness");
        };
        tokio::select! {
            (other, end) = speak(io, &me, Arc::clone(self), opened) => {
                if let Some(other) = other {
                    tracing::info!(peer = %other, %end, "a member is no longer connected with its witness");
                }
                end
            }
            _ended = self.ended() => LinkEnd::Refused("this witness has ended".to_owned()),
        }
    }

    fn introduction(&self, part: Part) -> Hello {
        let inner = self.inner();
        Hello {
            cluster: self.identity.clone(),
            member: inner.recorded.member,
            name: self.name.clone(),
            part,
            timing: Timing::default(),
            members: inner.recorded.members.clone(),
            members_since: inner.recorded.members_since,
            url: None,
            // Another process may continue a witness while its predecessor is still connected.
            run: None,
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether the store has the right to answer. After a while without it, the witness ends.
    fn is_in_charge(&self) -> bool {
        let is_in_charge = self.store.may_answer();
        let mut inner = self.inner();
        if is_in_charge {
            inner.silenced_since = None;
        } else {
            let since = *inner.silenced_since.get_or_insert_with(Instant::now);
            if since.elapsed() > GIVES_UP_AFTER {
                self.ended.send_replace(Some(WitnessEnd::NotInCharge));
            }
        }
        is_in_charge && self.ended.borrow().is_none()
    }

    /// Handles a request of the elected member. A change of the state is recorded before the answer.
    async fn obey(
        &self,
        leader: Candidate,
        change: impl Fn(&WitnessState) -> Result<WitnessState, Outdated>,
    ) -> Decided {
        {
            let mut inner = self.inner();
            let is_of_same = |pending: &WitnessState| {
                pending.is_elected
                    && pending.term == leader.term
                    && pending.voted_for == Some(leader.member)
            };
            // A heartbeat does not wait for entries that are being recorded. It does wait for a vote that is being recorded, because the
            // vote may make it outdated.
            if inner.pending.as_ref().is_none_or(is_of_same) {
                match change(&inner.recorded) {
                    Err(Outdated) => return Decided::Outdated(inner.recorded.clone()),
                    Ok(next) if next == inner.recorded => {
                        inner.heard_at = Some(Instant::now());
                        return Decided::Yes;
                    }
                    Ok(_) => {}
                }
            }
        }
        let _turn = self.turn.lock().await;
        let next = {
            let mut inner = self.inner();
            let next = match change(&inner.recorded) {
                Err(Outdated) => return Decided::Outdated(inner.recorded.clone()),
                Ok(next) => next,
            };
            inner.heard_at = Some(Instant::now());
            if next == inner.recorded {
                return Decided::Yes;
            }
            inner.pending = Some(next.clone());
            next
        };
        self.record(next).await
    }

    /// Gives the vote if the term, the candidate's entries and the silence of the leader allow it.
    async fn vote(&self, request: &VoteRequest<Types>) -> VoteResponse<Types> {
        let candidate = candidate_of(&request.vote);
        let newest = request.last_log_id.map(entry_id);
        let refusal =
            |state: &WitnessState| VoteResponse::new(vote_of(state), last_of(state), false);
        self.wait_until_voting(request.leadership_transfer).await;
        let _turn = self.turn.lock().await;
        let next = {
            let mut inner = self.inner();
            let voted = inner.recorded.voted(candidate, newest);
            let voted = voted.filter(|_| {
                inner.voting(self.opened_at, request.leadership_transfer) == Voting::Open
            });
            let Some(next) = voted else {
                return refusal(&inner.recorded);
            };
            if next != inner.recorded {
                inner.pending = Some(next.clone());
            }
            next
        };
        let granted =
            |state: &WitnessState| VoteResponse::new(vote_of(state), last_of(state), true);
        if self.inner().pending.is_none() {
            return granted(&next);
        }
        match self.record(next.clone()).await {
            Decided::Yes => granted(&next),
            Decided::Outdated(_) | Decided::Not(_) => refusal(&self.inner().recorded),
        }
    }

    /// Determines whether the vote would be given. Records nothing.
    async fn pre_vote(&self, request: &VoteRequest<Types>) -> VoteResponse<Types> {
        self.wait_until_voting(false).await;
        let inner = self.inner();
        let newest = request.last_log_id.map(entry_id);
        let is_given = inner.voting(self.opened_at, false) == Voting::Open
            && inner
                .recorded
                .voted(candidate_of(&request.vote), newest)
                .is_some();
        let state = &inner.recorded;
        VoteResponse::new(vote_of(state), last_of(state), is_given)
    }

    /// Waits until this witness may decide about a vote. Before it was opened, it may have heard a leader that is no longer known to it.
    async fn wait_until_voting(&self, is_handed_over: bool) {
        loop {
            let voting = self.inner().voting(self.opened_at, is_handed_over);
            match voting {
                Voting::Later(rest) => sleep(rest).await,
                Voting::Open | Voting::Refused => return,
            }
        }
    }

    /// Records a state. The caller holds `turn`.
    async fn record(&self, next: WitnessState) -> Decided {
        let is_recorded = self.store.record(&next).await;
        let mut inner = self.inner();
        inner.pending = None;
        if !is_recorded {
            self.ended.send_replace(Some(WitnessEnd::NotRecorded));
            return Decided::Not("the witness's state could not be recorded".to_owned());
        }
        let leader = next.voted_for.filter(|_| next.is_elected);
        inner.recorded = next;
        drop(inner);
        self.leader
            .send_if_modified(|known| std::mem::replace(known, leader) != leader);
        Decided::Yes
    }

    async fn append(&self, request: AppendEntriesRequest<Types>) -> Answer {
        let leader = candidate_of(&request.vote);
        let newest = request.entries.last().map(|entry| entry_id(entry.log_id()));
        let members = request.entries.iter().rev().find_map(|entry| {
            let EntryPayload::Membership(members) = &entry.payload else {
                return None;
            };
            Some((
                members.nodes().map(|(id, _)| *id).collect::<Vec<_>>(),
                entry_id(entry.log_id()),
            ))
        });
        let change = |state: &WitnessState| {
            let members = members.clone();
            let members = members.map(|(members, since)| MembersAt { members, since });
            state.appended(leader, newest, members)
        };
        match self.obey(leader, change).await {
            Decided::Yes => Answer::Append(AppendEntriesResponse::Success),
            Decided::Outdated(state) => {
                Answer::Append(AppendEntriesResponse::HigherVote(vote_of(&state)))
            }
            Decided::Not(reason) => Answer::Refused(reason),
        }
    }
}

impl Inner {
    fn voting(&self, opened_at: Instant, is_handed_over: bool) -> Voting {
        rules::voting(&Ballot {
            is_handed_over,
            opened_for: opened_at.elapsed(),
            heard_for: self.heard_at.map(|at| at.elapsed()),
            patience: self.patience,
        })
    }
}

impl<S: WitnessStore> Answering for Witness<S> {
    fn hello(&self, hello: &Hello) -> Result<(), String> {
        let me = self.introduction(Part::Witness);
        let mut inner = self.inner();
        if let Err(disagreement) = rules::agree(&me, hello) {
            let told = disagreement.to_string();
            // The member dials again and again, maybe at two addresses for two reasons.
            if let Some(left_out) = inner.refused.note(&told, Instant::now()) {
                tracing::error!(
                    left_out = (left_out > 0).then_some(left_out),
                    "the witness refuses a member: {told}"
                );
            }
            return Err(told);
        }
        inner.patience = rules::patience_with(inner.patience, hello);
        Ok(())
    }

    fn renewed(&self, hello: &Hello) -> Result<(), String> {
        self.hello(hello)
    }

    fn lives(&self, _: u64) {}

    async fn answer(self: Arc<Self>, _: u64, ask: Ask) -> Answer {
        // Checked after the request has arrived: a lease that the answer extends began before this moment.
        if !self.is_in_charge() {
            return Answer::Refused("this witness may not answer now".to_owned());
        }
        match ask {
            Ask::Append(request) => self.append(request).await,
            Ask::Vote(request) => Answer::Vote(self.vote(&request).await),
            Ask::PreVote(request) => Answer::Vote(self.pre_vote(&request).await),
            Ask::Snapshot { vote, meta, .. } => {
                let leader = candidate_of(&vote);
                let newest = meta.last_log_id.map(entry_id);
                let stored = &meta.last_membership;
                let members: Vec<u64> = stored.membership().nodes().map(|(id, _)| *id).collect();
                let since = stored.log_id().as_ref().map(|id| entry_id(*id));
                let change = |state: &WitnessState| {
                    let members = since.map(|since| MembersAt {
                        members: members.clone(),
                        since,
                    });
                    state.appended(leader, newest, members)
                };
                match self.obey(leader, change).await {
                    Decided::Yes => Answer::Snapshot(SnapshotResponse::new(vote)),
                    Decided::Outdated(state) => {
                        Answer::Snapshot(SnapshotResponse::new(vote_of(&state)))
                    }
                    Decided::Not(reason) => Answer::Refused(reason),
                }
            }
            Ask::Transfer(_) | Ask::Piece { .. } => {
                Answer::Refused("a witness has no entries and never leads".to_owned())
            }
        }
    }
}
