//! Who is active, as this member sees it.
//!
//! Always: this member says that it is active only after an entry of its own term is committed, and no longer than it leads.

use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver as _;
use tokio::sync::watch;

use crate::raft::{Raft, StateMachine};
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

pub(crate) fn leadership_of(raft: &Raft, machine: &StateMachine) -> Leadership {
    let metrics = raft.metrics();
    let metrics = metrics.borrow_watched();
    let role = match metrics.state {
        _ if metrics.running_state.is_err() => Role::Stopped,
        ServerState::Leader if *machine.term().borrow() == metrics.current_term => Role::Active,
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
pub(crate) fn follow(raft: &Raft, machine: &StateMachine) -> watch::Receiver<Leadership> {
    let (sender, receiver) = watch::channel(leadership_of(raft, machine));
    let (raft, machine) = (raft.clone(), machine.clone());
    tokio::spawn(async move {
        let mut metrics = raft.server_metrics();
        let mut term = machine.term();
        loop {
            let now = leadership_of(&raft, &machine);
            sender.send_if_modified(|known| std::mem::replace(known, now) != now);
            tokio::select! {
                changed = metrics.changed() => if changed.is_err() { return },
                changed = term.changed() => if changed.is_err() { return },
                () = sender.closed() => return,
            }
        }
    });
    receiver
}
