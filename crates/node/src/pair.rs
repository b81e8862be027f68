//! Keeps the cluster's state true on the active member: takes members in, couples, notices who is lost, hands over.
//!
//! Always: what is written follows from what the members' votes and connections show; the votes decide, the events tell. Never
//! here: elections.

use crate::front::Front;
use crate::{Handle, Machine, Stopped};
use cluster::{Leadership, Log, Part, PeerStatus, Role};
use model::{ClusterEvent, ClusterState, NodeId, Problem};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// A machine whose log more than one member may keep.
pub trait Clustered: Machine {
    /// How the cluster stands.
    fn cluster(&self) -> &ClusterState;

    /// The input that takes note of what was seen of it. What does not fit is passed over.
    fn seen(event: ClusterEvent) -> Self::Input;
}

/// A look at least so often, should a change have been missed.
const LOOK: Duration = Duration::from_secs(1);
/// A look at most so often: members that catch up change with every entry.
const PAUSE: Duration = Duration::from_millis(20);
/// So long the other member has to take over by a command.
const SWITCH_WITHIN: Duration = Duration::from_secs(5);

/// Works as long as this member is active.
pub async fn keep<M: Clustered>(handle: Handle<M>, log: Log, front: Front) {
    if tell_how_it_began(&handle, &log).await.is_err() {
        return;
    }
    let mut peers = log.peers_changed();
    let mut committed = handle.committed();
    loop {
        peers.borrow_and_update();
        committed.borrow_and_update();
        let Ok(state) = handle.read(|machine| machine.cluster().clone()).await else {
            return;
        };
        front.tell(&state);
        let is_alone = state == ClusterState::Empty;
        match settle(&handle, &log, &state).await {
            Ok(true) => continue,
            Ok(false) => {}
            Err(Stopped) => return,
        }
        if is_alone {
            // Nobody is to be taken in before members are appointed: then an event tells.
            if committed.changed().await.is_err() {
                return;
            }
            sleep(PAUSE).await;
            continue;
        }
        sleep(PAUSE).await;
        tokio::select! {
            changed = peers.changed() => if changed.is_err() { return },
            () = sleep(LOOK) => {}
        }
    }
}

fn name_of(log: &Log) -> NodeId {
    log.me().name.as_str().into()
}

/// The first thing the active member says: whether it has followed another one.
async fn tell_how_it_began<M: Clustered>(handle: &Handle<M>, log: &Log) -> Result<(), Stopped> {
    let me = name_of(log);
    let state = handle.read(|machine| machine.cluster().clone()).await?;
    let Some(setting) = state.setting() else {
        return Ok(());
    };
    let event = if setting.active_id == me {
        if matches!(state, ClusterState::SwitchedOver { .. }) {
            // Told by the one that handed over.
            return Ok(());
        }
        ClusterEvent::ClusterActiveNodeRestarted
    } else {
        ClusterEvent::ClusterFailedOver {
            failed_active_id: setting.active_id.clone(),
            activated_id: me,
        }
    };
    handle.ask(M::seen(event)).await.map(drop)
}

/// One step towards a coupled pair, or the note that it is none any more. Answers whether something was done.
async fn settle<M: Clustered>(
    handle: &Handle<M>,
    log: &Log,
    state: &ClusterState,
) -> Result<bool, Stopped> {
    let Some(setting) = state.setting() else {
        return Ok(false);
    };
    let peers = log.peers();
    let Some(passive_id) = setting.passive_id().cloned() else {
        return Ok(false);
    };
    let passive = newest(&peers, |peer| {
        peer.hello.part == Part::Data && peer.hello.name == passive_id.as_str()
    });
    let is_passive_here = passive.is_some_and(|peer| peer.is_connected && !peer.is_lost);
    if matches!(
        state,
        ClusterState::Coupled { .. } | ClusterState::PreparedToBeCoupled { .. }
    ) {
        if is_passive_here {
            let (voters, _) = log.members();
            let has_vote = passive.is_some_and(|peer| voters.contains(&peer.hello.member));
            if has_vote && matches!(state, ClusterState::PreparedToBeCoupled { .. }) {
                let active_id = setting.active_id.clone();
                let coupled = ClusterEvent::ClusterCoupled { active_id };
                handle.ask(M::seen(coupled)).await?;
                return Ok(true);
            }
            if let Some(passive) = passive.filter(|_| has_vote) {
                return change_watch(handle, log, passive).await;
            }
        }
        let lost = ClusterEvent::ClusterPassiveLost { id: passive_id };
        handle.ask(M::seen(lost)).await?;
        return Ok(true);
    }
    let Some(passive) = passive.filter(|peer| peer.is_connected) else {
        return Ok(false);
    };
    let watch = newest(&peers, |peer| peer.hello.part == Part::Watch);
    let wanted: BTreeSet<u64> = [Some(log.me().member), Some(passive.hello.member)]
        .into_iter()
        .chain([watch.map(|watch| watch.hello.member)])
        .flatten()
        .collect();
    let (voters, learners) = log.members();
    for member in &wanted {
        if !voters.contains(member) && !learners.contains(member) {
            if let Err(error) = log.let_learn(*member).await {
                tracing::warn!(member, %error, "a member cannot be taken in yet");
                return Ok(false);
            }
            tracing::info!(member, "a member learns the log");
            return Ok(true);
        }
    }
    // The third vote comes first: a pair without it would stand still with the loss of either member.
    let Some(watch) = watch.filter(|watch| watch.is_connected && !watch.is_lost) else {
        return Ok(false);
    };
    if passive.is_lost {
        return Ok(false);
    }
    let watch_id: Arc<str> = watch.hello.name.as_str().into();
    if setting.cluster_watch_id.as_ref() != Some(&watch_id) {
        let registered = ClusterEvent::ClusterWatchRegistered {
            cluster_watch_id: watch_id,
        };
        handle.ask(M::seen(registered)).await?;
    }
    let active_id = setting.active_id.clone();
    let prepared = ClusterEvent::ClusterCouplingPrepared { active_id };
    handle.ask(M::seen(prepared)).await?;
    if voters != wanted
        && let Err(error) = log.set_voters(wanted).await
    {
        tracing::warn!(%error, "the members cannot be coupled yet");
    }
    Ok(true)
}

/// The third vote of a coupled pair goes to another watch when the one that has it is gone.
async fn change_watch<M: Clustered>(
    handle: &Handle<M>,
    log: &Log,
    passive: &PeerStatus,
) -> Result<bool, Stopped> {
    let peers = log.peers();
    let (voters, learners) = log.members();
    let is_watch = |peer: &PeerStatus| peer.hello.part == Part::Watch && peer.is_connected;
    if peers
        .iter()
        .any(|peer| is_watch(peer) && voters.contains(&peer.hello.member))
    {
        return Ok(false);
    }
    let Some(watch) = peers.iter().find(|peer| is_watch(peer)) else {
        return Ok(false);
    };
    let number = watch.hello.member;
    if !learners.contains(&number) {
        let taken = log.let_learn(number).await;
        return Ok(taken.is_ok());
    }
    if watch.is_lost {
        return Ok(false);
    }
    let voters = BTreeSet::from([log.me().member, passive.hello.member, number]);
    if let Err(error) = log.set_voters(voters).await {
        tracing::warn!(%error, "the third vote cannot be given to another watch yet");
        return Ok(false);
    }
    tracing::info!(watch = %watch.hello, "the third vote is another watch's");
    let cluster_watch_id = watch.hello.name.as_str().into();
    let registered = ClusterEvent::ClusterWatchRegistered { cluster_watch_id };
    handle.ask(M::seen(registered)).await?;
    Ok(true)
}

/// Of members with one name, the one that is connected, else the one heard last.
fn newest(peers: &[PeerStatus], is_meant: impl Fn(&PeerStatus) -> bool) -> Option<&PeerStatus> {
    peers
        .iter()
        .filter(|peer| is_meant(peer))
        .max_by_key(|peer| (peer.is_connected, std::cmp::Reverse(peer.silent_for)))
}

/// Makes the passive member the active one; resolves when it is.
pub async fn switch_over<M: Clustered>(handle: &Handle<M>, log: &Log) -> Result<(), Problem> {
    let gone = |Stopped| Problem::new("ClusterNodeIsShuttingDown", "this member is shutting down");
    let state = handle
        .read(|machine| machine.cluster().clone())
        .await
        .map_err(gone)?;
    let ClusterState::Coupled { setting } = &state else {
        return Err(Problem::new(
            "ClusterSwitchOverButNotCoupled",
            format!(
                "the members are not coupled but {}: the other one may lack events and cannot take over",
                state.type_name()
            ),
        ));
    };
    let peers = log.peers();
    let passive = setting.passive_id().and_then(|id| {
        newest(&peers, |peer| {
            peer.hello.part == Part::Data && peer.hello.name == id.as_str() && peer.is_connected
        })
    });
    let (Some(passive), Some(activated_id)) = (passive, setting.passive_id()) else {
        return Err(Problem::new(
            "ClusterSwitchOverButNotCoupled",
            "the other member is not connected",
        ));
    };
    let switched = ClusterEvent::ClusterSwitchedOver {
        activated_id: activated_id.clone(),
    };
    let mut leadership = log.leadership();
    handle.ask(M::seen(switched)).await.map_err(gone)?;
    log.hand_over_to(passive.hello.member)
        .await
        .map_err(|error| Problem::plain(error.to_string()))?;
    let switched = leadership.wait_for(|now| now.role != Role::Active);
    if timeout(SWITCH_WITHIN, switched).await.is_err() {
        return Err(Problem::new(
            "ClusterSwitchOverFailed",
            "the other member did not take over in time; this one goes on",
        ));
    }
    Ok(())
}

/// Without the other members for so long, an end is not waited for.
const ALONE: Duration = Duration::from_secs(3);
const ALONE_LOOK: Duration = Duration::from_millis(100);

/// Resolves when no majority has been heard for a while: then nothing can be committed, not even an end. Never for a single member.
pub async fn left_alone(log: &Log) {
    let mut silent = Duration::ZERO;
    while silent < ALONE {
        sleep(ALONE_LOOK).await;
        silent = if log.may_answer() {
            Duration::ZERO
        } else {
            silent + ALONE_LOOK
        };
    }
}

/// Resolves when this member is no longer the active one.
pub async fn deposed(mut leadership: watch::Receiver<Leadership>) {
    // A log that has stopped has a fault of its own, which the commit loop tells: then nobody else is active for sure.
    let is_over = |now: &Leadership| matches!(now.role, Role::Standby | Role::Electing);
    if leadership.wait_for(is_over).await.is_err() {
        std::future::pending::<()>().await;
    }
}
