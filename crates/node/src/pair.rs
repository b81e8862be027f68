//! Keeps the cluster's state true on the active member: takes members in, couples, notices who is lost, hands over.
//!
//! Always: what is written follows from what the members' votes and connections show; the votes decide, the events tell. Never
//! here: elections.

use crate::front::Front;
use crate::{Handle, Machine, Stopped};
use cluster::{Leadership, Log, Part, PeerStatus, Role};
use model::{ClusterEvent, ClusterSetting, ClusterState, NodeId, Problem};
use std::cmp::Reverse;
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
    let mut is_unfit = false;
    loop {
        peers.borrow_and_update();
        committed.borrow_and_update();
        let Ok(state) = handle.read(|machine| machine.cluster().clone()).await else {
            return;
        };
        front.tell(&state);
        let is_alone = state == ClusterState::Empty && log.members().0.len() < 2;
        match settle(&handle, &log, &state).await {
            Ok(true) => continue,
            Ok(false) => {}
            Err(_stopped) => return,
        }
        let reason = reason_to_hand_over(&log);
        let reason = reason.filter(|_| matches!(state, ClusterState::Coupled { .. }));
        if let Some(reason) = &reason {
            // The attempt is repeated until another member takes over. It is logged once.
            if !is_unfit {
                tracing::warn!(
                    reason,
                    "another member should be active: this one hands over"
                );
            }
            if let Err(problem) = switch_over(&handle, &log).await
                && !is_unfit
            {
                tracing::warn!(%problem, "no other member takes over");
            }
        }
        is_unfit = reason.is_some();
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

/// Returns why another member should be active instead of this one, if another one has all events.
fn reason_to_hand_over(log: &Log) -> Option<String> {
    if let Some(stuck) = log.disk_is_stuck() {
        let seconds = stuck.as_secs();
        return Some(format!(
            "a write has not come back from the disk for {seconds} s"
        ));
    }
    let damage = log.damages().into_iter().next()?;
    Some(format!(
        "part of the log of this member is damaged, and it learns the log again from the other member: {damage}"
    ))
}

fn name_of(log: &Log) -> NodeId {
    log.me().name.as_str().into()
}

/// Records how this member became active: by a restart, by a switch-over or by a fail-over. None of these is complete before this record.
async fn tell_how_it_began<M: Clustered>(handle: &Handle<M>, log: &Log) -> Result<(), Stopped> {
    let me = name_of(log);
    let state = handle.read(|machine| machine.cluster().clone()).await?;
    match how_it_began(&state, me, log.was_handed_over()) {
        Some(event) => note(handle, event).await,
        None => Ok(()),
    }
}

/// Returns the first event that the active member `me` records, given the previous state of the cluster.
fn how_it_began(state: &ClusterState, me: NodeId, was_handed_over: bool) -> Option<ClusterEvent> {
    let setting = state.setting()?;
    if setting.active_id == me {
        // A member of an earlier version records a switch-over before it hands over.
        let is_recorded = matches!(state, ClusterState::SwitchedOver { .. });
        return (!is_recorded).then_some(ClusterEvent::ClusterActiveNodeRestarted);
    }
    let switched = ClusterEvent::ClusterSwitchedOver {
        activated_id: me.clone(),
    };
    if was_handed_over && state.after(&switched).is_ok() {
        return Some(switched);
    }
    Some(ClusterEvent::ClusterFailedOver {
        failed_active_id: setting.active_id.clone(),
        activated_id: me,
    })
}

/// Writes into the log of events, and into that for operators, how the cluster stands from now on.
async fn note<M: Clustered>(handle: &Handle<M>, event: ClusterEvent) -> Result<(), Stopped> {
    handle.ask(M::seen(event.clone())).await?;
    match event {
        ClusterEvent::ClusterPassiveLost { id } => {
            tracing::warn!(member = %id, "a member is lost: it is not waited for, and nobody becomes active who lacks events");
        }
        ClusterEvent::ClusterFailedOver {
            failed_active_id, ..
        } => tracing::warn!(failed = %failed_active_id, "this member has followed the active one"),
        ClusterEvent::ClusterCoupled { .. } => {
            tracing::info!("the members are coupled: all have every event");
        }
        ClusterEvent::ClusterSwitchedOver { activated_id } => {
            tracing::info!(member = %activated_id, "this member is active now: the other one has handed over to it");
        }
        ClusterEvent::ClusterNodesAppointed { .. }
        | ClusterEvent::ClusterCouplingPrepared { .. }
        | ClusterEvent::ClusterActiveNodeShutDown
        | ClusterEvent::ClusterActiveNodeRestarted
        | ClusterEvent::ClusterWatchRegistered { .. }
        | ClusterEvent::ClusterSettingUpdated { .. }
        | ClusterEvent::ClusterNodeRemoved { .. } => {}
    }
    Ok(())
}

/// What is seen of one passive member.
struct Passive<'a> {
    id: &'a NodeId,
    /// It, or the one that has taken its place with an empty disk; none if it has not been seen.
    peer: Option<&'a PeerStatus>,
}

impl Passive<'_> {
    /// It has everything and a vote.
    fn is_coupled(&self, voters: &BTreeSet<u64>) -> bool {
        self.peer.is_some_and(|peer| {
            peer.is_connected && !peer.is_lost && voters.contains(&peer.hello.member)
        })
    }
}

/// One step towards coupled members, or the note that they are so no more. Answers whether something was done.
async fn settle<M: Clustered>(
    handle: &Handle<M>,
    log: &Log,
    state: &ClusterState,
) -> Result<bool, Stopped> {
    let (voters, _) = log.members();
    let Some(setting) = state.setting() else {
        if voters.len() > 1 {
            go_alone(log).await;
        }
        return Ok(false);
    };
    let peers = log.peers();
    let passive: Vec<Passive<'_>> = setting
        .passive_ids()
        .map(|id| Passive {
            id,
            peer: newest(&peers, |peer| {
                peer.hello.part == Part::Data && peer.hello.name == id.as_str()
            }),
        })
        .collect();
    if state.is_decoupled() {
        return couple(handle, log, setting, &passive, &peers).await;
    }
    if let Some(lost) = passive.iter().find(|passive| !passive.is_coupled(&voters)) {
        let id = lost.id.clone();
        note(handle, ClusterEvent::ClusterPassiveLost { id }).await?;
        return Ok(true);
    }
    if matches!(state, ClusterState::PreparedToBeCoupled { .. }) {
        let active_id = setting.active_id.clone();
        let coupled = ClusterEvent::ClusterCoupled { active_id };
        note(handle, coupled).await?;
        return Ok(true);
    }
    if setting.needs_watch() {
        return change_watch(handle, log, &passive).await;
    }
    Ok(false)
}

/// Takes all members in that are appointed, one step at a time, and gives them their votes when all have everything.
async fn couple<M: Clustered>(
    handle: &Handle<M>,
    log: &Log,
    setting: &ClusterSetting,
    passive: &[Passive<'_>],
    peers: &[PeerStatus],
) -> Result<bool, Stopped> {
    let passive_peers: Option<Vec<&PeerStatus>> = passive
        .iter()
        .map(|passive| passive.peer.filter(|peer| peer.is_connected))
        .collect();
    let Some(passive_peers) = passive_peers else {
        return Ok(false);
    };
    if note_addresses(handle, log, setting, passive).await? {
        return Ok(true);
    }
    let watch =
        newest(peers, |peer| peer.hello.part.is_third_vote()).filter(|_| setting.needs_watch());
    let wanted: BTreeSet<u64> = passive_peers
        .iter()
        .copied()
        .chain(watch)
        .map(|peer| peer.hello.member)
        .chain([log.me().member])
        .collect();
    let (voters, learners) = log.members();
    for member in &wanted {
        if !voters.contains(member) && !learners.contains(member) {
            let hello = peers.iter().map(|peer| &peer.hello);
            let name = hello.clone().find(|hello| hello.member == *member);
            let name = name.map_or_else(String::new, ToString::to_string);
            if let Err(error) = log.let_learn(*member).await {
                tracing::warn!(member = name, %error, "a member cannot be taken in yet");
                return Ok(false);
            }
            tracing::info!(member = name, "a member learns the log");
            return Ok(true);
        }
    }
    // The third vote comes first: a pair without it would stand still with the loss of either member.
    let watch = watch.filter(|watch| watch.is_connected && !watch.is_lost);
    if setting.needs_watch() && watch.is_none() || passive_peers.iter().any(|peer| peer.is_lost) {
        return Ok(false);
    }
    if let Some(watch) = watch {
        let watch_id: Arc<str> = watch.hello.name.as_str().into();
        if setting.cluster_watch_id.as_ref() != Some(&watch_id) {
            let registered = ClusterEvent::ClusterWatchRegistered {
                cluster_watch_id: watch_id,
            };
            note(handle, registered).await?;
        }
    }
    let active_id = setting.active_id.clone();
    let prepared = ClusterEvent::ClusterCouplingPrepared { active_id };
    note(handle, prepared).await?;
    if voters != wanted
        && let Err(error) = log.set_voters(wanted).await
    {
        tracing::warn!(%error, "the members cannot be coupled yet");
    }
    Ok(true)
}

/// Members that say where they are reached are believed: one that has moved tells so when it is back.
async fn note_addresses<M: Clustered>(
    handle: &Handle<M>,
    log: &Log,
    setting: &ClusterSetting,
    passive: &[Passive<'_>],
) -> Result<bool, Stopped> {
    let told = passive
        .iter()
        .map(|passive| (passive.id, passive.peer.map(|peer| &peer.hello)))
        .chain([(&setting.active_id, Some(log.me()))]);
    for (id, hello) in told {
        let url = hello.and_then(|hello| hello.url.as_deref());
        let known = setting.id_to_uri.get(id).map(AsRef::as_ref);
        if let Some(url) = url.filter(|url| known != Some(*url)) {
            tracing::info!(member = %id, url, "a member has moved");
            let updated = ClusterEvent::ClusterSettingUpdated {
                passive_uri: url.into(),
                id: Some(id.clone()),
            };
            note(handle, updated).await?;
            return Ok(true);
        }
    }
    Ok(false)
}

/// So long the others have to hear of the event that removes them, before the log reaches them no more.
const NOTICE: Duration = Duration::from_millis(150);

/// The active member is the cluster from now on; the others have no vote any more.
async fn go_alone(log: &Log) {
    sleep(NOTICE).await;
    match log.set_voters(BTreeSet::from([log.me().member])).await {
        Ok(()) => tracing::info!("this member goes on alone: the others have no vote any more"),
        Err(error) => {
            tracing::warn!(%error, "the other members cannot be removed yet");
            sleep(LOOK).await;
        }
    }
}

/// The third vote of a coupled pair goes to another watch when the one that has it is gone.
async fn change_watch<M: Clustered>(
    handle: &Handle<M>,
    log: &Log,
    passive: &[Passive<'_>],
) -> Result<bool, Stopped> {
    let peers = log.peers();
    let (voters, learners) = log.members();
    let is_watch = |peer: &PeerStatus| peer.hello.part.is_third_vote() && peer.is_connected;
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
    let data = passive.iter().filter_map(|passive| passive.peer);
    let data = data.map(|peer| peer.hello.member);
    let voters = data.chain([log.me().member, number]).collect();
    if let Err(error) = log.set_voters(voters).await {
        tracing::warn!(%error, "the third vote cannot be given to another watch yet");
        return Ok(false);
    }
    tracing::info!(watch = %watch.hello, "the third vote is another watch's");
    let cluster_watch_id = watch.hello.name.as_str().into();
    let registered = ClusterEvent::ClusterWatchRegistered { cluster_watch_id };
    note(handle, registered).await?;
    Ok(true)
}

/// Of members with one name, the one that is connected, else the one heard last.
fn newest(peers: &[PeerStatus], is_meant: impl Fn(&PeerStatus) -> bool) -> Option<&PeerStatus> {
    peers
        .iter()
        .filter(|peer| is_meant(peer))
        .max_by_key(|peer| (peer.is_connected, Reverse(peer.silent_for)))
}

/// Who is to take over by a command: of those that have everything, the one that has confirmed most of what is under way, so that it has
/// the least left to learn; of equals the first by name.
fn successor<'a>(
    setting: &'a ClusterSetting,
    peers: &'a [PeerStatus],
) -> Option<(&'a NodeId, &'a PeerStatus)> {
    let able = setting.passive_ids().filter_map(|id| {
        let is_able = |peer: &PeerStatus| {
            peer.hello.part == Part::Data
                && peer.hello.name == id.as_str()
                && peer.is_connected
                && !peer.is_lost
        };
        Some((id, newest(peers, is_able)?))
    });
    // Of equals, the least is the first one.
    able.min_by_key(|(_, peer)| Reverse(peer.acknowledged))
}

/// Hands over to a passive member and waits until another member is active. That member records the switch-over.
pub async fn switch_over<M: Clustered>(handle: &Handle<M>, log: &Log) -> Result<(), Problem> {
    let state = match handle.read(|machine| machine.cluster().clone()).await {
        Ok(state) => state,
        // Another command or a fail-over has switched over in the meantime.
        Err(Stopped::Deposed) if log.another_is_active(SWITCH_WITHIN).await => return Ok(()),
        Err(stopped) => return Err(stopped.into()),
    };
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
    let Some((activated_id, passive)) = successor(setting, &peers) else {
        return Err(Problem::new(
            "ClusterSwitchOverButNotCoupled",
            "no other member is connected and has every event",
        ));
    };
    log.hand_over_to(passive.hello.member)
        .await
        .map_err(|error| Problem::plain(error.to_string()))?;
    if !log.another_is_active(SWITCH_WITHIN).await {
        return Err(Problem::new(
            "ClusterSwitchOverFailed",
            format!(
                "{activated_id} did not take over in time; the members elect one of them by themselves: see `mainspring cluster status`"
            ),
        ));
    }
    tracing::info!(member = %activated_id, "this member has handed over: another one is active now");
    Ok(())
}

/// So long the members have to agree that one of them belongs to the cluster no more.
const REMOVE_WITHIN: Duration = Duration::from_secs(5);

/// Removes a passive member, or all of them: then the active one goes on as the whole cluster, and needs nobody's vote.
/// Resolves when that is so; where other members stay, it becomes so when they are coupled again.
pub async fn remove<M: Clustered>(
    handle: &Handle<M>,
    log: &Log,
    id: Option<&NodeId>,
) -> Result<(), Problem> {
    let read = || handle.read(|machine| machine.cluster().clone());
    let state = read().await?;
    let removed: Vec<NodeId> = match (state.setting(), id) {
        (Some(setting), Some(id)) if setting.active_id == *id => {
            return Err(Problem::new(
                "ClusterNodeIsActive",
                format!("{id} is the active member: switch over first, then remove it"),
            ));
        }
        (Some(setting), Some(id)) if setting.id_to_uri.contains_key(id) => vec![id.clone()],
        (Some(setting), None) => setting.passive_ids().cloned().collect(),
        (None, None) => Vec::new(), // already so
        (_, Some(id)) => {
            return Err(Problem::new(
                "UnknownKey",
                format!("{id} is no member of this cluster"),
            ));
        }
    };
    for id in removed {
        tracing::info!(member = %id, "a member is removed by command");
        let event = ClusterEvent::ClusterNodeRemoved { id };
        note(handle, event).await?;
    }
    if read().await? != ClusterState::Empty {
        return Ok(());
    }
    let mut peers = log.peers_changed();
    let alone = async {
        while log.members().0.len() > 1 {
            // The votes change together with what is known of the peers.
            drop(timeout(PAUSE, peers.changed()).await);
        }
    };
    timeout(REMOVE_WITHIN, alone).await.map_err(|_elapsed| {
        Problem::new(
            "ClusterRemoveNotConfirmed",
            "it is noted, but the members have not confirmed it yet: it takes a majority of those that are to go; it is tried again by itself",
        )
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use cluster::{Hello, Timing};

    fn state_of(active: &str, make: impl FnOnce(ClusterSetting) -> ClusterState) -> ClusterState {
        make(ClusterSetting {
            id_to_uri: ["One", "Two"]
                .map(|name| (name.into(), Arc::from("http://127.0.0.1:1")))
                .into(),
            active_id: active.into(),
            cluster_watch_id: None,
        })
    }

    #[test]
    fn a_switch_over_is_recorded_by_the_one_that_has_become_active_by_it() {
        let coupled = |active| state_of(active, |setting| ClusterState::Coupled { setting });
        let lost = state_of("One", |setting| ClusterState::PassiveLost { setting });
        let old = state_of("Two", |setting| ClusterState::SwitchedOver { setting });
        let two = || NodeId::from("Two");
        let switched = ClusterEvent::ClusterSwitchedOver {
            activated_id: two(),
        };
        let followed = ClusterEvent::ClusterFailedOver {
            failed_active_id: "One".into(),
            activated_id: two(),
        };
        let restarted = ClusterEvent::ClusterActiveNodeRestarted;
        assert_eq!(how_it_began(&coupled("One"), two(), true), Some(switched));
        assert_eq!(
            how_it_began(&coupled("One"), two(), false),
            Some(followed.clone()),
            "it was asked to take over, and did so only when the other one was lost"
        );
        assert_eq!(
            how_it_began(&lost, two(), true),
            Some(followed),
            "what does not fit would be passed over"
        );
        assert_eq!(how_it_began(&coupled("Two"), two(), false), Some(restarted));
        assert_eq!(
            how_it_began(&old, two(), true),
            None,
            "an earlier version has recorded it"
        );
        assert_eq!(how_it_began(&ClusterState::Empty, two(), true), None);
    }

    fn peer(name: &str, acknowledged: u64) -> PeerStatus {
        PeerStatus {
            hello: Hello {
                cluster: "controller:Controller".to_owned(),
                member: 7,
                name: name.to_owned(),
                part: Part::Data,
                timing: Timing::default(),
                members: Vec::new(),
                members_since: None,
                url: None,
                run: None,
            },
            is_connected: true,
            acknowledged: Some(acknowledged),
            silent_for: Duration::ZERO,
            is_lost: false,
            is_slow: false,
        }
    }

    fn chosen(peers: &[PeerStatus]) -> Option<String> {
        let names = ["One", "Two", "Three", "Four", "Five"];
        let setting = ClusterSetting {
            id_to_uri: names
                .map(|name| (name.into(), Arc::from("http://127.0.0.1:1")))
                .into(),
            active_id: "One".into(),
            cluster_watch_id: None,
        };
        let successor = successor(&setting, peers)?;
        Some(successor.0.to_string())
    }

    #[test]
    fn a_switch_over_goes_to_the_one_that_has_confirmed_most_and_among_equals_to_the_first_by_name()
    {
        let equals = [peer("Two", 9), peer("Three", 9), peer("Four", 8)];
        assert_eq!(chosen(&equals).as_deref(), Some("Three"));
        let ahead = [peer("Two", 10), peer("Three", 9), peer("Four", 10)];
        assert_eq!(chosen(&ahead).as_deref(), Some("Four"));
    }

    #[test]
    fn a_switch_over_never_goes_to_one_that_lacks_events_or_is_away() {
        let lost = PeerStatus {
            is_lost: true,
            ..peer("Four", 99)
        };
        let away = PeerStatus {
            is_connected: false,
            ..peer("Three", 99)
        };
        let unheard = PeerStatus {
            acknowledged: None,
            ..peer("Five", 0)
        };
        let all = [lost.clone(), away.clone(), unheard, peer("Two", 5)];
        assert_eq!(chosen(&all).as_deref(), Some("Two"));
        assert_eq!(chosen(&[lost, away]), None);
    }
}
