//! Keeps the cluster's state true on the active member: takes members in, couples, notices who is lost, hands over.
//!
//! Always: what is written follows from what the members' votes and connections show; the votes decide, the events tell. Never
//! here: elections.

use crate::front::{Front, MEMBERS, MEMBERS_PATH};
use crate::machine::{ControllerMachine, Input};
use cluster::{Log, Part, PeerStatus, Role};
use model::{ClusterEvent, ClusterState, NodeId, Problem};
use net::{Backoff, Client};
use node::{Handle, Stopped};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// A look at least so often, should a change have been missed.
const LOOK: Duration = Duration::from_secs(1);
/// A look at most so often: members that catch up change with every entry.
const PAUSE: Duration = Duration::from_millis(20);
/// So long the other member has to take over by a command.
const SWITCH_WITHIN: Duration = Duration::from_secs(5);

/// Dials another member and speaks with it, for ever.
pub(crate) async fn dial(log: Log, client: Client) {
    let begun = Instant::now();
    let mut backoff = Backoff::new();
    loop {
        match client.upgrade(MEMBERS_PATH, MEMBERS).await {
            Ok(stream) => {
                backoff.connected(begun.elapsed());
                let end = log.serve(stream).await;
                tracing::debug!(peer = client.peer(), %end, "the connection to a member has ended");
            }
            Err(error) => {
                tracing::debug!(peer = client.peer(), %error, "a member cannot be reached");
            }
        }
        // A member that is back is needed at once: the pause stays short.
        let pause = backoff.failed(begun.elapsed(), rand::random::<f64>());
        sleep(pause.min(Duration::from_millis(200))).await;
    }
}

/// Works as long as this member is active.
pub(crate) async fn keep(handle: Handle<ControllerMachine>, log: Log, front: Front) {
    if tell_how_it_began(&handle, &log).await.is_err() {
        return;
    }
    let mut peers = log.peers_changed();
    let mut committed = handle.committed();
    loop {
        peers.borrow_and_update();
        committed.borrow_and_update();
        let Ok(state) = handle.read(|machine| machine.state.cluster().clone()).await else {
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
async fn tell_how_it_began(handle: &Handle<ControllerMachine>, log: &Log) -> Result<(), Stopped> {
    let me = name_of(log);
    let state = handle
        .read(|machine| machine.state.cluster().clone())
        .await?;
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
    handle.ask(Input::Cluster(event)).await.map(drop)
}

/// One step towards a coupled pair, or the note that it is none any more. Answers whether something was done.
async fn settle(
    handle: &Handle<ControllerMachine>,
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
                handle.ask(Input::Cluster(coupled)).await?;
                return Ok(true);
            }
            if has_vote {
                return Ok(false);
            }
        }
        let lost = ClusterEvent::ClusterPassiveLost { id: passive_id };
        handle.ask(Input::Cluster(lost)).await?;
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
        handle.ask(Input::Cluster(registered)).await?;
    }
    let active_id = setting.active_id.clone();
    let prepared = ClusterEvent::ClusterCouplingPrepared { active_id };
    handle.ask(Input::Cluster(prepared)).await?;
    if voters != wanted
        && let Err(error) = log.set_voters(wanted).await
    {
        tracing::warn!(%error, "the members cannot be coupled yet");
    }
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
pub(crate) async fn switch_over(
    handle: &Handle<ControllerMachine>,
    log: &Log,
) -> Result<(), Problem> {
    let gone = |Stopped| {
        Problem::new(
            "ControllerIsShuttingDown",
            "the Controller is shutting down",
        )
    };
    let state = handle
        .read(|machine| machine.state.cluster().clone())
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
    handle.ask(Input::Cluster(switched)).await.map_err(gone)?;
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
