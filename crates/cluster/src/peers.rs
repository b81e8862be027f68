//! The other members as this one knows them: their connections, how far they are, and who counts as lost.
//!
//! Always: the *hold rule* of [`crate::rules`]: an entry goes to a watch only after another data member has it, or after all of them
//! count as lost and this member's own disk has it. Without it, a watch could know of an entry that no surviving data member has, and
//! nobody could lead (see `docs/failure-model.md`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use crate::beats::Beats;
use crate::link::Link;
use crate::member::{Hello, Part, Timing};
use crate::pace::Pace;
use crate::repeats::{Changes, Repeats};
use crate::rules::{self, Other};
use crate::timers::Alarm;

/// How long two processes of the same member count as present after they were noticed. The refused process retries more often.
const DOUBLE_KEPT: Duration = Duration::from_mins(1);

/// One other member.
#[derive(Clone)]
struct Peer {
    hello: Hello,
    /// Its connections, oldest first. The newest one is used. An older one is used when the newest breaks: another process may continue a
    /// witness, and the replaced process may keep its connection for a while.
    links: Vec<Arc<Link>>,
    /// The newest entry it has confirmed to us.
    acknowledged: Option<u64>,
    heard_at: Instant,
    /// When the newest request that it has confirmed was sent.
    confirmed_at: Option<Instant>,
    /// When the last heartbeat was sent to it.
    beat_at: Option<Instant>,
    is_lost: bool,
    pace: Pace,
}

impl Peer {
    fn other(&self) -> Other {
        Other {
            part: self.hello.part,
            acknowledged: self.acknowledged,
            is_lost: self.is_lost,
        }
    }
}

/// What people see of another member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// Who it is.
    pub hello: Hello,
    /// Whether there is a connection.
    pub is_connected: bool,
    /// The newest entry of the log that it has confirmed to this member.
    pub acknowledged: Option<u64>,
    /// How long ago it was heard.
    pub silent_for: Duration,
    /// It is not waited for: the active member goes on without it.
    pub is_lost: bool,
    /// That is because it answers slowly: its disk, its machine or the link.
    pub is_slow: bool,
}

/// Two processes of the same member.
#[derive(Default)]
struct Doubles {
    /// When they were last noticed, and a description of them.
    newest: Option<(Instant, String)>,
    logged: Repeats,
}

/// All others.
pub(crate) struct Peers {
    me: Hello,
    timing: Timing,
    /// Paces and heartbeats are counted from here.
    begun: Instant,
    beats: Mutex<Beats>,
    /// Fires when the next heartbeat is due. A third vote has none.
    beat_alarm: OnceLock<Arc<Alarm>>,
    known: Mutex<BTreeMap<u64, Peer>>,
    /// Who has a vote, as the log has it by now.
    voters: Mutex<BTreeSet<u64>>,
    /// The term in which this member has led last.
    term: AtomicU64,
    /// The newest term whose active member has asked this one to take over; 0 if none has.
    handed_in: AtomicU64,
    /// Rises with each change that somebody may wait for.
    changed: watch::Sender<u64>,
    /// Index after the last entry on this member's own disk.
    on_disk: watch::Sender<u64>,
    /// Index after the last entry of this member's log.
    appended: watch::Sender<u64>,
    double: Mutex<Doubles>,
    /// Connections that were made and lost, as far as they were logged.
    changes: Mutex<Changes>,
}

impl Peers {
    pub(crate) fn new(me: Hello, on_disk: u64) -> Self {
        Self {
            timing: me.timing,
            begun: Instant::now(),
            beats: Mutex::default(),
            beat_alarm: OnceLock::new(),
            me,
            known: Mutex::default(),
            voters: Mutex::default(),
            term: AtomicU64::new(0),
            handed_in: AtomicU64::new(0),
            changed: watch::Sender::new(0),
            on_disk: watch::Sender::new(on_disk),
            appended: watch::Sender::new(on_disk),
            double: Mutex::default(),
            changes: Mutex::default(),
        }
    }

    /// This member leads in `term`. What it knew of the others as the leader of an earlier one counts no more.
    pub(crate) fn leads(&self, term: u64) {
        if self.term.fetch_max(term, Ordering::AcqRel) >= term {
            return;
        }
        for peer in self.known().values_mut() {
            peer.acknowledged = None;
            peer.is_lost = true;
        }
        self.tell();
    }

    /// The active member of `term` has asked this member to take over.
    pub(crate) fn is_handed(&self, term: u64) {
        self.handed_in.fetch_max(term, Ordering::AcqRel);
    }

    /// Records that this member could not take over from the active member of `term`.
    pub(crate) fn is_not_handed(&self, term: u64) {
        let (set, fetched) = (Ordering::AcqRel, Ordering::Acquire);
        // A newer request is kept.
        let _newer = self.handed_in.compare_exchange(term, 0, set, fetched);
    }

    /// The newest term whose active member has asked this one to take over; 0 if none has.
    pub(crate) fn handed_in(&self) -> u64 {
        self.handed_in.load(Ordering::Acquire)
    }

    /// These have a vote.
    pub(crate) fn have_votes(&self, voters: BTreeSet<u64>) {
        let mut known = self.voters.lock().unwrap_or_else(PoisonError::into_inner);
        if *known != voters {
            *known = voters;
            drop(known);
            self.tell();
        }
    }

    /// The others that could lead with what they have. One that only learns the log could not, whatever it has.
    fn others_with_vote(&self) -> Vec<Other> {
        let voters = self.voters.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.known();
        let others = known.iter().filter(|(member, _)| voters.contains(member));
        others.map(|(_, peer)| peer.other()).collect()
    }

    /// The entries before this index are on the own disk.
    pub(crate) fn on_disk(&self, next_index: u64) {
        self.on_disk
            .send_if_modified(|known| std::mem::replace(known, (*known).max(next_index)) < *known);
    }

    /// The log has grown up to before this index.
    pub(crate) fn appended(&self, next_index: u64) {
        self.appended.send_replace(next_index);
    }

    /// Waits a moment before a member that was sent everything up to `upto` is told that this is committed: what is appended meanwhile
    /// takes the news along.
    pub(crate) async fn commit_may_rest(&self, upto: u64) {
        let mut appended = self.appended.subscribe();
        let grown = appended.wait_for(|next_index| *next_index != upto + 1);
        // However it ends, the time for the news has come.
        drop(timeout(rules::commit_rest(&self.timing), grown).await);
    }

    /// The entries from this index on are taken back.
    pub(crate) fn taken_back(&self, from_index: u64) {
        self.on_disk
            .send_modify(|known| *known = (*known).min(from_index));
    }

    /// Whether another data member is connected, which is sent what this one appends as the active one.
    pub(crate) fn has_other_data(&self) -> bool {
        let known = self.known();
        let mut connected = known.values().filter(|peer| !peer.links.is_empty());
        connected.any(|peer| peer.hello.part == Part::Data)
    }

    pub(crate) fn me(&self) -> &Hello {
        &self.me
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<u64, Peer>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        self.changed.send_modify(|version| *version += 1);
    }

    /// Rises when a member comes, goes, is lost or has caught up.
    pub(crate) fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Returns the reason of a refusal if a process that introduces itself is the second one of a connected member.
    pub(crate) fn double_of(&self, hello: &Hello) -> Option<String> {
        let known = self.known();
        let peer = known.get(&hello.member)?;
        let is_connected = peer.links.iter().any(|link| !link.is_closed());
        let connected = peer.hello.run.as_ref().filter(|_| is_connected);
        rules::double(hello, connected)
    }

    /// Records two processes of the same member. Returns how many times it was left out since, if it is to be logged.
    pub(crate) fn note_double(&self, told: &str) -> Option<u64> {
        let mut double = self.double.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        double.newest = Some((now, told.to_owned()));
        double.logged.note(told, now)
    }

    /// Decides whether a connection that was made or lost is logged. Returns how many were left out since.
    pub(crate) fn note_change(&self) -> Option<u64> {
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        changes.note(Instant::now())
    }

    /// Describes the two processes of the same member that were noticed recently.
    pub(crate) fn double(&self) -> Option<String> {
        let double = self.double.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = double.newest.as_ref();
        let lately = newest.filter(|(at, _)| at.elapsed() < DOUBLE_KEPT);
        lately.map(|(_, told)| told.clone())
    }

    pub(crate) fn connected(&self, hello: &Hello, link: &Arc<Link>) {
        let mut known = self.known();
        let before = known.get(&hello.member);
        let acknowledged = before.and_then(|peer| peer.acknowledged);
        let pace = before.map_or_else(Pace::default, |peer| peer.pace);
        // Two members that dial each other have two connections: with the second one nothing is lost.
        let is_lost = before.is_none_or(|peer| peer.is_lost || peer.links.is_empty());
        let mut links = before.map_or_else(Vec::new, |peer| peer.links.clone());
        links.push(Arc::clone(link));
        let peer = Peer {
            hello: hello.clone(),
            links,
            acknowledged,
            heard_at: Instant::now(),
            confirmed_at: None,
            beat_at: None,
            // Until it has caught up it is not waited for.
            is_lost,
            pace,
        };
        known.insert(hello.member, peer);
        drop(known);
        self.tell();
    }

    /// It has told anew who it is.
    pub(crate) fn renewed(&self, hello: &Hello) {
        if let Some(peer) = self.known().get_mut(&hello.member) {
            peer.hello.clone_from(hello);
        }
        self.tell();
    }

    /// All who are connected are told anew who this member is.
    pub(crate) fn tell_all(&self, me: &Hello) {
        for link in self.known().values().flat_map(|peer| &peer.links) {
            link.tell(me);
        }
    }

    /// Removes a connection that has ended.
    pub(crate) fn disconnected(&self, member: u64, link: &Arc<Link>) {
        if let Some(peer) = self.known().get_mut(&member) {
            peer.links.retain(|held| !Arc::ptr_eq(held, link));
            peer.is_lost |= peer.links.is_empty();
        }
        self.tell();
    }

    pub(crate) fn link(&self, member: u64) -> Option<Arc<Link>> {
        self.known().get(&member)?.links.last().cloned()
    }

    pub(crate) fn part(&self, member: u64) -> Part {
        self.known()
            .get(&member)
            .map_or(Part::Data, |peer| peer.hello.part)
    }

    /// Entries for the member were confirmed after so long.
    pub(crate) fn answered(&self, member: u64, took: Duration) {
        let now = self.begun.elapsed();
        let mut known = self.known();
        let Some(peer) = known.get_mut(&member) else {
            return;
        };
        if peer.hello.part.is_third_vote() {
            return;
        }
        let was_kept = peer.pace.is_kept(&self.timing, now);
        peer.pace.answered(&self.timing, now, took);
        if was_kept && !peer.pace.is_kept(&self.timing, now) {
            tracing::warn!(peer = %peer.hello, ?took, "a member answers too slowly to be waited for: look at its disk, its machine and the link");
            peer.is_lost = true;
            drop(known);
            self.tell();
        }
    }

    /// Records that the member has confirmed everything up to `index` in its answer to a request of `sent_at`. The log ends at `newest`.
    pub(crate) fn acknowledged(
        &self,
        member: u64,
        index: Option<u64>,
        newest: u64,
        sent_at: Instant,
    ) {
        let now = self.begun.elapsed();
        let mut known = self.known();
        let Some(peer) = known.get_mut(&member) else {
            return;
        };
        peer.heard_at = Instant::now();
        peer.confirmed_at = peer.confirmed_at.max(Some(sent_at));
        let is_data = peer.hello.part == Part::Data;
        let is_news = index > peer.acknowledged;
        peer.acknowledged = peer.acknowledged.max(index);
        let has_caught_up =
            rules::has_caught_up(peer.acknowledged, newest) && peer.pace.is_kept(&self.timing, now);
        let was_lost = peer.is_lost;
        if has_caught_up {
            peer.is_lost = false;
        }
        drop(known);
        // The answers to heartbeats usually contain nothing new.
        if is_news || (was_lost && has_caught_up) {
            self.tell();
        }
        if is_data {
            self.beat_answered(now);
        }
    }

    fn beats(&self) -> MutexGuard<'_, Beats> {
        self.beats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets what wakes this member when the next heartbeat is due.
    pub(crate) fn set_beat_alarm(&self, alarm: Arc<Alarm>) {
        // There is one consensus per log.
        let _only_once = self.beat_alarm.set(alarm);
    }

    /// Records that a heartbeat is sent now. Returns how long it is until the next one, if this one is not answered.
    pub(crate) fn begin_beat(&self) -> Duration {
        let now = self.begun.elapsed();
        let mut beats = self.beats();
        beats.sent(&self.timing, now);
        beats.next(&self.timing).saturating_sub(now)
    }

    /// Sets when the next heartbeat is sent, after an answer to the newest one: later, if all data members answer promptly.
    fn beat_answered(&self, now: Duration) {
        let Some(alarm) = self.beat_alarm.get() else {
            return;
        };
        let answered = self.others_that_answered();
        let mut beats = self.beats();
        if beats.answered(&self.timing, now, answered)
            && let Err(error) = alarm.ring_after(beats.next(&self.timing).saturating_sub(now))
        {
            // The next heartbeat comes at the time that was set before.
            tracing::warn!(%error, "the timer of the heartbeats cannot be set");
        }
    }

    /// Returns the other members that have a vote, each with the time when the newest request that it has answered was sent.
    fn others_that_answered(&self) -> Vec<(Other, Option<Duration>)> {
        let voters = self.voters.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.known();
        let others = known.iter().filter(|(member, _)| voters.contains(member));
        let since_begin = |at: Instant| at.saturating_duration_since(self.begun);
        others
            .map(|(_, peer)| (peer.other(), peer.confirmed_at.map(since_begin)))
            .collect()
    }

    /// Entries for the member were not confirmed in time, though there may be a connection: its disk or its consensus hangs.
    pub(crate) fn lose(&self, member: u64) {
        if let Some(peer) = self.known().get_mut(&member) {
            peer.is_lost = true;
        }
        self.tell();
    }

    pub(crate) fn heard(&self, member: u64) {
        if let Some(peer) = self.known().get_mut(&member) {
            peer.heard_at = Instant::now();
        }
    }

    /// Returns whether it is time to send a heartbeat to this member.
    pub(crate) fn needs_heartbeat(&self, member: u64) -> bool {
        let others = self.others_that_answered();
        let beats = *self.beats();
        let data = others.iter().filter(|(other, _)| other.part == Part::Data);
        let has_answered = data.map(|(_, sent)| beats.has_answered_previous(*sent));
        let is_spared =
            rules::may_spare_third_vote(others.iter().map(|(other, _)| *other), has_answered);
        let mut known = self.known();
        let Some(peer) = known.get_mut(&member) else {
            return true;
        };
        let is_recent = peer
            .beat_at
            .is_some_and(|at| at.elapsed() < rules::spared_beat(&self.timing));
        if peer.hello.part.is_third_vote() && is_recent && is_spared {
            return false;
        }
        peer.beat_at = Some(Instant::now());
        true
    }

    /// Waits until an entry may go to a watch. Whoever lets us wait for longer than the hold time counts as lost from then on,
    /// until it has caught up; the own disk is waited for as long as it takes.
    pub(crate) async fn may_go_to_watch(&self, index: u64) {
        let mut changed = self.changed();
        let mut on_disk = self.on_disk.subscribe();
        let patience = tokio::time::sleep(self.timing.hold);
        tokio::pin!(patience);
        let mut has_lost = false;
        loop {
            changed.mark_unchanged();
            let is_on_disk = *on_disk.borrow_and_update() > index;
            if rules::may_go_to_watch(index, is_on_disk, self.others_with_vote()) {
                return;
            }
            // The senders live as long as this does.
            tokio::select! {
                _ = changed.changed() => {}
                _ = on_disk.changed() => {}
                () = &mut patience, if !has_lost => {
                    self.lose_those_without(index);
                    has_lost = true;
                }
            }
        }
    }

    /// Sends nothing to a watch or witness for a while. Returns earlier when a data member is lost, because each commit needs it then.
    pub(crate) async fn let_watch_rest(&self, member: u64) {
        let is_witness = self
            .known()
            .get(&member)
            .is_some_and(|peer| peer.hello.part == Part::Witness && !peer.is_lost);
        let until = Instant::now()
            + if is_witness {
                rules::witness_rest(&self.timing)
            } else {
                rules::watch_rest(&self.timing)
            };
        let mut changed = self.changed();
        let mut appended = self.appended.subscribe();
        let mut newest = appended.borrow_and_update().checked_sub(1);
        let mut look = Some(Instant::now() + rules::witness_look(&self.timing));
        loop {
            changed.mark_unchanged();
            if !rules::may_leave_watch_alone(self.others_with_vote()) {
                return;
            }
            tokio::select! {
                () = sleep_until(until) => return,
                () = sleep_until(look.unwrap_or(until)), if look.is_some() => {
                    // A member that confirms nothing counts as lost only when an entry for the watch waits for it. So one is sent now.
                    if !self.is_elsewhere(newest) {
                        return;
                    }
                    look = None;
                }
                // The sender lives as long as this does.
                _ = appended.changed(), if look.is_none() => {
                    newest = appended.borrow_and_update().checked_sub(1);
                    look = Some(Instant::now() + rules::witness_look(&self.timing));
                }
                _ = changed.changed() => {}
            }
        }
    }

    /// Whether a data member that could lead with it has everything up to this entry.
    fn is_elsewhere(&self, newest: Option<u64>) -> bool {
        let has = |other: &Other| {
            other.part == Part::Data
                && newest.is_none_or(|newest| rules::has_caught_up(other.acknowledged, newest))
        };
        self.others_with_vote().iter().any(has)
    }

    fn lose_those_without(&self, index: u64) {
        for peer in self.known().values_mut() {
            if rules::is_waited_for_in_vain(&peer.other(), index) {
                peer.is_lost = true;
            }
        }
        self.tell();
    }

    pub(crate) fn status(&self) -> Vec<PeerStatus> {
        let now = self.begun.elapsed();
        let status = |peer: &Peer| PeerStatus {
            hello: peer.hello.clone(),
            is_connected: !peer.links.is_empty(),
            acknowledged: peer.acknowledged,
            silent_for: peer.heard_at.elapsed(),
            is_lost: peer.is_lost,
            is_slow: !peer.pace.is_kept(&self.timing, now),
        };
        self.known().values().map(status).collect()
    }

    /// Forgets a member that belongs to the cluster no more.
    pub(crate) fn forget(&self, member: u64) {
        self.known().remove(&member);
        self.tell();
    }
}
