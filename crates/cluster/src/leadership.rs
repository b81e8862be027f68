//! Who is active, as this member sees it.
//!
//! Always: this member says that it is active only after an entry of its own term is committed, and no longer than it leads.

use std::sync::Arc;

use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver as _;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::peers::Peers;
use crate::raft::{Raft, StateMachine, introduction};
use crate::rules;
use crate::status::Role;

/// Who is active.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leadership {
    /// What this member is.
    pub role: Role,
    /// The term: the epoch of the one who is active.
    pub term: u64,
    /// The number of the active member, if one is known.
    pub active: Option<u64>,
}

/// This member has asked another one to lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HandOver {
    /// In this term. In a later one it is over.
    pub(crate) term: u64,
    /// Then the other one has failed to.
    pub(crate) until: Instant,
}

pub(crate) fn leadership_of(
    raft: &Raft,
    machine: &StateMachine,
    hand_over: Option<HandOver>,
) -> Leadership {
    let metrics = raft.metrics();
    let metrics = metrics.borrow_watched();
    let role = match metrics.state {
        _ if metrics.running_state.is_err() => Role::Stopped,
        // Consensus takes nothing any more, but does not give up either: only beginning anew helps.
        ServerState::Leader
            if hand_over
                .is_some_and(|h| h.term == metrics.current_term && h.until <= Instant::now()) =>
        {
            Role::Electing
        }
        ServerState::Leader
            if rules::is_active(Some(metrics.current_term), *machine.term().borrow()) =>
        {
            Role::Active
        }
        // Elected, but what was there before is not yet known to be committed.
        ServerState::Leader | ServerState::Candidate => Role::Electing,
        ServerState::Follower | ServerState::Learner if metrics.current_leader.is_none() => {
            Role::Electing
        }
        ServerState::Follower | ServerState::Learner => Role::Standby,
        ServerState::Shutdown => Role::Stopped,
    };
    Leadership {
        role,
        term: metrics.current_term,
        active: metrics.current_leader,
    }
}

/// Follows it as long as consensus runs.
pub(crate) fn follow(
    raft: &Raft,
    machine: &StateMachine,
    peers: Arc<Peers>,
    mut hand_over: watch::Receiver<Option<HandOver>>,
) -> watch::Receiver<Leadership> {
    let (sender, receiver) = watch::channel(leadership_of(raft, machine, None));
    let (raft, machine) = (raft.clone(), machine.clone());
    tasks::spawn("leadership", async move {
        let mut metrics = raft.server_metrics();
        let mut term = machine.term();
        let mut members_since = None;
        loop {
            let voters = {
                let metrics = raft.metrics();
                let metrics = metrics.borrow_watched();
                metrics.membership_config.membership().voter_ids().collect()
            };
            peers.have_votes(voters);
            // Also who belongs to it no more learns so by this: the log does not reach him any more.
            let me = introduction(&raft, peers.me());
            if std::mem::replace(&mut members_since, me.members_since) != me.members_since {
                peers.tell_all(&me);
            }
            let handing_over = *hand_over.borrow_and_update();
            let now = leadership_of(&raft, &machine, handing_over);
            let given_up = async {
                match handing_over {
                    Some(HandOver { until, .. }) if until > Instant::now() => {
                        sleep_until(until).await;
                    }
                    Some(_) | None => std::future::pending().await,
                }
            };
            sender.send_if_modified(|known| std::mem::replace(known, now) != now);
            tokio::select! {
                changed = metrics.changed() => if changed.is_err() { return },
                changed = term.changed() => if changed.is_err() { return },
                changed = hand_over.changed() => if changed.is_err() { return },
                () = given_up => {}
                () = sender.closed() => return,
            }
        }
    });
    receiver
}
