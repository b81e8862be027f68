//! The log among others: connections, membership, who is active, switching over.
//!
//! Always: membership changes one step at a time and only on the active member.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::errors::{ClientWriteError, RaftError};
use openraft::{EmptyNode, Instant as _, ServerState};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::leadership::{HandOver, Leadership};
use crate::link::{LinkEnd, speak};
use crate::log::Log;
use crate::member::Hello;
use crate::peers::PeerStatus;
use crate::raft::{Types, introduction, members_of};
use crate::rules::{self, Claim};
use crate::status::Role;

/// How often a member that has lost its connection to the active one asks whether it may follow it.
const HINT_PERIOD: Duration = Duration::from_millis(10);
const HINTS_MAX: usize = 200;
/// A watch lets go when it has more.
const WATCH_ENTRIES_KEPT: u64 = 20_000;

/// Why the membership is as it was.
#[derive(Clone, Debug, thiserror::Error)]
pub enum MembershipError {
    /// Another member is active.
    #[error("this member is not the active one")]
    NotActive,
    /// Consensus refuses.
    #[error("the members cannot be changed: {0}")]
    Refused(String),
}

impl From<RaftError<Types, ClientWriteError<Types>>> for MembershipError {
    fn from(error: RaftError<Types, ClientWriteError<Types>>) -> Self {
        match error {
            RaftError::APIError(ClientWriteError::ForwardToLeader(_)) => Self::NotActive,
            other @ (RaftError::APIError(_) | RaftError::Fatal(_)) => {
                Self::Refused(other.to_string())
            }
        }
    }
}

impl Log {
    /// Who this member is.
    pub fn me(&self) -> &Hello {
        self.shared().peers.me()
    }

    /// Speaks with another member over a connection that is trusted already, until it breaks.
    pub async fn serve(&self, io: impl AsyncRead + AsyncWrite + Send + 'static) -> LinkEnd {
        let shared = self.shared();
        let mut mine = None;
        let opened = |hello: &Hello, link: &Arc<crate::link::Link>| {
            shared.peers.connected(hello, link);
            mine = Some(Arc::clone(link));
            if let Some(left_out) = shared.peers.note_change() {
                tracing::info!(peer = %hello, left_out = (left_out > 0).then_some(left_out), "a member is connected");
            }
            let (raft, member) = (shared.raft.clone(), hello.member);
            tasks::spawn("reset-backoff", async move {
                // A stopped one sends nothing anyway.
                let _stopped = raft.trigger().reset_backoff([member]).await;
            });
        };
        let me = self.introduction();
        let mut closed = shared.closed.subscribe();
        let speaking = speak(io, &me, Arc::clone(&shared.responder), opened);
        let (other, end) = tokio::select! {
            spoken = speaking => spoken,
            _ = closed.wait_for(|closed| *closed) => {
                (None, LinkEnd::Refused("this member is shutting down".to_owned()))
            }
        };
        if let (Some(other), Some(link)) = (other, mine) {
            if let LinkEnd::Double(told) = &end {
                if let Some(left_out) = shared.peers.note_double(told) {
                    tracing::error!(peer = %other, left_out = (left_out > 0).then_some(left_out), "this member is refused: {told}");
                }
            } else if *self.shared().closed.borrow() {
                tracing::info!(peer = %other, "a member is no longer connected: this one shuts down");
            } else if let Some(left_out) = shared.peers.note_change() {
                tracing::warn!(peer = %other, %end, left_out = (left_out > 0).then_some(left_out), "a member is no longer connected");
            }
            shared.peers.disconnected(other.member, &link);
            self.hint(other.member);
        }
        end
    }

    /// Describes two processes of the same member that were noticed in the last minute: this process and another one, or two others.
    pub fn double(&self) -> Option<String> {
        self.shared().peers.double()
    }

    /// Who this member is and who belongs to its log by now.
    fn introduction(&self) -> Hello {
        introduction(&self.shared().raft, self.me())
    }

    /// Whether this member has belonged to the cluster and another one knows that it does no more. It has no vote that counts then.
    pub fn was_removed(&self) -> bool {
        let tells = |peer: &PeerStatus| peer.is_connected && self.is_left_out_by(peer);
        self.leadership().borrow().role != Role::Active && self.peers().iter().any(tells)
    }

    /// Whether, by the last word of another member, this one belongs to the cluster no more. The word of one that has not heard yet
    /// that this one was taken in does not count.
    pub fn is_left_out_by(&self, peer: &PeerStatus) -> bool {
        rules::has_removed(&peer.hello, &self.introduction())
    }

    /// The newest entry of the log on this member's disk: what the others have confirmed is counted up to it.
    pub fn newest_entry(&self) -> Option<u64> {
        self.shared().raft.metrics().borrow_watched().last_log_index
    }

    /// A broken connection to the active member is a strong sign: this one asks to follow it as soon as that is allowed.
    fn hint(&self, gone: u64) {
        let shared = self.shared();
        if !rules::may_lead(shared.peers.me().part)
            || shared.raft.metrics().borrow_watched().current_leader != Some(gone)
        {
            return;
        }
        let (raft, peers) = (shared.raft.clone(), Arc::clone(&shared.peers));
        let vote_within = shared.timing.silence_min;
        tasks::spawn("hint", async move {
            let mut asked = None;
            for _ in 0..HINTS_MAX {
                let (is_settled, asking) = {
                    let metrics = raft.metrics();
                    let metrics = metrics.borrow_watched();
                    let is_settled = metrics.state == ServerState::Leader
                        || metrics.current_leader.is_some_and(|leader| leader != gone)
                        || metrics.running_state.is_err();
                    let is_asking = metrics.state == ServerState::Candidate;
                    (is_settled, is_asking.then_some(metrics.current_term))
                };
                if is_settled || peers.link(gone).is_some() {
                    return;
                }
                // A vote may take a while to be recorded. A member that starts a new election before the vote arrives never wins one.
                let is_under_way = asking.is_some_and(|term| {
                    let (asked_in, since) = *asked.get_or_insert((term, Instant::now()));
                    asked_in == term && since.elapsed() < vote_within
                });
                if !is_under_way {
                    asked = None;
                    if raft.trigger().elect(true).await.is_err() {
                        return;
                    }
                }
                tokio::time::sleep(HINT_PERIOD).await;
            }
        });
    }

    /// Who is active, as it changes.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.shared().leadership.clone()
    }

    /// Whether this member is active and a majority has confirmed so within the time in which nobody can have followed it:
    /// only then may it answer as the active one.
    pub fn may_answer(&self) -> bool {
        let shared = self.shared();
        // A journal that has just failed is not known to everybody yet.
        let is_active =
            shared.leadership.borrow().role == Role::Active && shared.fault.borrow().is_none();
        let hand_over = *shared.hand_over.borrow();
        let metrics = shared.raft.metrics();
        let metrics = metrics.borrow_watched();
        let claim = Claim {
            is_active,
            has_handed_over: hand_over.is_some_and(|h| h.term == metrics.current_term),
            voters: metrics.membership_config.membership().voter_ids().count(),
            heard_for: metrics
                .last_quorum_acked
                .map(|at| at.into_inner().elapsed()),
            lease: rules::lease(&shared.timing),
        };
        rules::may_answer(&claim)
    }

    /// Returns whether this member became active because the previous active member handed over to it. Otherwise it took over from a lost
    /// member, or was restarted.
    pub fn was_handed_over(&self) -> bool {
        let term = self.leadership().borrow().term;
        rules::was_handed_over(term, self.shared().peers.handed_in())
    }

    /// Waits until another member is active, the log is shut down, or `within` has elapsed. Returns whether another member is active.
    pub async fn another_is_active(&self, within: Duration) -> bool {
        let me = self.me().member;
        let is_decided = |now: &Leadership| {
            now.role == Role::Stopped || now.active.is_some_and(|active| active != me)
        };
        let mut leadership = self.leadership();
        // After a timeout or a shutdown, the last known state decides.
        drop(tokio::time::timeout(within, leadership.wait_for(is_decided)).await);
        let known = leadership.borrow().active;
        known.is_some_and(|active| active != me)
    }

    /// Waits until a hand-over from this member, if one is under way, has succeeded or failed.
    pub async fn hand_over_settled(&self) {
        let shared = self.shared();
        let Some(under_way) = *shared.hand_over.borrow() else {
            return;
        };
        let me = self.me().member;
        let mut leadership = self.leadership();
        let is_other = |now: &Leadership| now.active.is_some_and(|active| active != me);
        drop(tokio::time::timeout_at(under_way.until, leadership.wait_for(is_other)).await);
        let known = *leadership.borrow();
        if is_other(&known) || known.term == under_way.term {
            return;
        }
        // Another member has been elected and will be heard soon.
        let heard_at = under_way.until + rules::hand_over_within(&shared.timing);
        drop(tokio::time::timeout_at(heard_at, leadership.wait_for(is_other)).await);
    }

    /// The other members, connected now or before.
    pub fn peers(&self) -> Vec<PeerStatus> {
        self.shared().peers.status()
    }

    /// Rises when another member comes, goes, is lost or has caught up.
    pub fn peers_changed(&self) -> watch::Receiver<u64> {
        self.shared().peers.changed()
    }

    /// The members that have a vote, and those that only learn.
    pub fn members(&self) -> (BTreeSet<u64>, BTreeSet<u64>) {
        members_of(&self.shared().raft)
    }

    /// Lets a member learn the log; it has no vote yet.
    pub async fn let_learn(&self, member: u64) -> Result<(), MembershipError> {
        let raft = &self.shared().raft;
        raft.add_learner(member, EmptyNode {}, false).await?;
        Ok(())
    }

    /// Gives these members, and no others, a vote. New ones must have learnt the log before.
    pub async fn set_voters(&self, voters: BTreeSet<u64>) -> Result<(), MembershipError> {
        let raft = &self.shared().raft;
        raft.change_membership(voters.clone(), false).await?;
        for peer in self.peers() {
            if !voters.contains(&peer.hello.member) && !peer.is_connected {
                self.shared().peers.forget(peer.hello.member);
            }
        }
        Ok(())
    }

    /// Lets a watch forget which events there were long ago.
    pub async fn tidy_watch(&self) {
        let shared = self.shared();
        let Some(applied) = shared.raft.metrics().borrow_watched().last_applied else {
            return;
        };
        let (first, _) = shared.journal.bounds();
        if applied.index.saturating_sub(first) < WATCH_ENTRIES_KEPT {
            return;
        }
        let trigger = shared.raft.trigger();
        // A stopped one keeps what it has.
        let _stopped = trigger.snapshot().await;
        let _stopped = trigger
            .purge_log(applied.index - WATCH_ENTRIES_KEPT / 2)
            .await;
    }

    /// Makes another member the active one. It must have everything; watch [`Self::leadership`] for the result: another one is
    /// active, or, after a while, this one is electing and has to be opened anew.
    pub async fn hand_over_to(&self, member: u64) -> Result<(), MembershipError> {
        let shared = self.shared();
        let is_able = shared.peers.status().into_iter().any(|peer| {
            peer.hello.member == member
                && peer.is_connected
                && !peer.is_lost
                && rules::may_lead(peer.hello.part)
        });
        if !is_able {
            return Err(MembershipError::Refused(format!(
                "member {member} is not connected, lacks events or never leads"
            )));
        }
        // A member that was just started knows which entries it has only after it has received an entry. So one is sent to it.
        let (voters, _) = self.members();
        let again = shared.raft.change_membership(voters, false);
        match tokio::time::timeout(rules::hand_over_within(&shared.timing), again).await {
            Ok(written) => drop(written?),
            Err(_elapsed) => {
                let told = "no majority confirms anything at the moment".to_owned();
                return Err(MembershipError::Refused(told));
            }
        }
        // Before the other one hears of it: from then on it may be the active one.
        let term = shared.raft.metrics().borrow_watched().current_term;
        let until = Instant::now() + rules::hand_over_within(&shared.timing);
        shared
            .hand_over
            .send_replace(Some(HandOver { term, until }));
        let trigger = shared.raft.trigger();
        trigger
            .transfer_leader(member)
            .await
            .map_err(|fatal| MembershipError::Refused(fatal.to_string()))
    }
}
