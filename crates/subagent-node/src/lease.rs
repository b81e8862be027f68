//! The Director's lease in the running Subagent: its alarm, its guard, and what people are told of it.
//!
//! Always: the alarm is set to the end of the lease, and looked at again when it has been prolonged meanwhile. Never here: how a
//! lease is counted; see `subagent::Lease`.

use crate::service::{Inner, Subagent};
use model::Timestamp;
use process::{Guard, steady_time};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use subagent::{Effect, State};
use tokio::sync::Notify;

/// How often the clock is looked at while there is a lease.
const LOOK: Duration = Duration::from_secs(5);

/// How a Subagent stands to its Director.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectorSeen {
    /// The number of its coupling.
    pub coupling: u64,
    /// When it was heard last.
    pub heard_at: Timestamp,
    /// For so long it has been silent.
    pub silence: Duration,
    /// When its lease ends or has ended.
    pub lease_ends_at: Timestamp,
    /// Whether its lease has ended: its jobs are being ended, or have been.
    pub is_lost: bool,
}

pub(crate) struct LeaseWatch {
    guard: Option<Guard>,
    /// Until when the guard was told that all is well, in milliseconds.
    told: AtomicU64,
    coupled: Arc<Notify>,
}

impl Drop for LeaseWatch {
    fn drop(&mut self) {
        // Whoever watches sees that there is nothing to look after any more.
        self.coupled.notify_one();
    }
}

impl LeaseWatch {
    pub(crate) fn new(guard: Option<Guard>) -> LeaseWatch {
        LeaseWatch {
            guard,
            told: AtomicU64::new(0),
            coupled: Arc::default(),
        }
    }

    /// The lease may have been given, prolonged or taken away.
    pub(crate) fn changed(&self, state: &State) {
        self.coupled.notify_one();
        let Some(guard) = &self.guard else { return };
        let Some(lease) = state.lease() else {
            if self.told.swap(0, Ordering::Relaxed) != 0 {
                guard.say(None);
            }
            return;
        };
        // By then the jobs have been ended here, if anything is done here at all.
        let until = lease.ends() + lease.grace();
        let millis = u64::try_from(until.as_millis()).unwrap_or(u64::MAX);
        let step = u64::try_from((lease.length() / 20).as_millis()).unwrap_or(u64::MAX);
        // Each request prolongs the lease a little: not every one of them is worth a word.
        if self.told.load(Ordering::Relaxed).abs_diff(millis) >= step.max(1) {
            self.told.store(millis, Ordering::Relaxed);
            guard.say(Some(until));
        }
    }
}

/// Looks at the clock before anything else is done.
pub(crate) fn wake(state: &mut State, effects: &mut Vec<Effect>) {
    let was_over = is_over(state);
    state.wake(steady_time(), effects);
    if !was_over
        && is_over(state)
        && let Some(lease) = state.lease()
    {
        tracing::warn!(
            silence = ?steady_time().saturating_sub(lease.heard()),
            lease = ?lease.length(),
            jobs = state.running(),
            "the Director is lost: its lease has ended, and its jobs are ended"
        );
    }
}

fn is_over(state: &State) -> bool {
    state.lease().is_some_and(subagent::Lease::is_over)
}

fn timestamp(steady: Duration) -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let now = steady_time();
    let (ahead, ago) = (steady.saturating_sub(now), now.saturating_sub(steady));
    let wall = (since + ahead).saturating_sub(ago);
    Timestamp::from_millis(i64::try_from(wall.as_millis()).unwrap_or(i64::MAX))
}

impl Subagent {
    /// How it stands to its Director, if that one may be lost.
    pub fn director(&self) -> Option<DirectorSeen> {
        let state = self.0.state();
        let lease = state.lease()?;
        let now = steady_time();
        Some(DirectorSeen {
            coupling: state.coupling(),
            heard_at: timestamp(lease.heard()),
            silence: now.saturating_sub(lease.heard()),
            lease_ends_at: timestamp(lease.ends()),
            is_lost: lease.is_over() || now >= lease.ends(),
        })
    }

    /// Looks after the Director's lease as long as the process lives. Must be called within the runtime.
    pub fn watch_lease(&self) {
        let coupled = self.0.leases.coupled.clone();
        // Not kept alive by this: a Director that begins anew gives its Subagent up, with the work directory.
        tasks::spawn("lease-watch", watch(Arc::downgrade(&self.0), coupled));
    }
}

/// What the watch has told of the Director last.
#[derive(Clone, Copy, PartialEq)]
enum Told {
    Nothing,
    Silent,
}

async fn watch(subagent: Weak<Inner>, coupled: Arc<Notify>) {
    let mut told = Told::Nothing;
    while let Some(subagent) = subagent.upgrade() {
        let mut effects = Vec::new();
        let alarm = {
            let mut state = subagent.state();
            wake(&mut state, &mut effects);
            look(&state, &mut told)
        };
        subagent.act(effects);
        let changed = coupled.notified();
        match alarm {
            None => changed.await,
            // While all is well a request is no reason to look; the alarm is set again when it comes.
            Some(pause) if told == Told::Nothing => tokio::time::sleep(pause).await,
            Some(pause) => {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = changed => {}
                }
            }
        }
    }
}

/// Tells of a Director that has become silent or is back; answers when to look again.
fn look(state: &State, told: &mut Told) -> Option<Duration> {
    let now = steady_time();
    let Some(lease) = state.lease().filter(|lease| !lease.is_over()) else {
        *told = Told::Nothing;
        return None;
    };
    // Half of it is much more than the distance of two requests of a Director that is there.
    let worry = lease.heard() + lease.length() / 2;
    let is_silent = now >= worry;
    if is_silent && *told == Told::Nothing {
        *told = Told::Silent;
        tracing::warn!(
            silence = ?now.saturating_sub(lease.heard()),
            remaining = ?lease.ends().saturating_sub(now),
            jobs = state.running(),
            "the Director is silent; unless it comes back in the remaining time, its jobs are ended"
        );
    } else if !is_silent && *told == Told::Silent {
        *told = Told::Nothing;
        tracing::info!("the Director is back; everything goes on");
    }
    let next = if is_silent { lease.ends() } else { worry };
    // A timer may stand still while the machine sleeps; the steady time does not.
    Some((next.saturating_sub(now) + Duration::from_millis(1)).min(LOOK))
}
