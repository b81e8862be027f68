//! A member of a cluster that is not active: it follows the log, so that it can take over at once.
//!
//! Always: its state is that of the committed events, and it acts on nothing. Never here: who becomes active; the log says so.

use crate::machine::may_go;
use crate::recovery::{Recovered, recover, take_batch};
use crate::snapshots::Snapshots;
use crate::{Fault, Limits, Machine, Running};
use cluster::{Log, Role};
use futures::FutureExt as _;
use model::EventId;
use std::time::Duration;

/// How long a member that cannot read its damaged log waits for the other members before it ends.
const CONNECTED_WITHIN: Duration = Duration::from_secs(30);
/// How often a member with a damaged log checks whether it may learn the log again.
const LOOK: Duration = Duration::from_secs(1);

/// A machine with everything that was committed before this member became the active one.
pub struct Ready<M> {
    pub(crate) recovered: Recovered<M>,
}

impl<M> Ready<M> {
    /// The machine.
    pub fn machine(&self) -> &M {
        &self.recovered.machine
    }
}

/// Follows the log until this member is active. Alone it is at once. `seen` looks at each new state. `running` is told how far
/// the log has been read. May be dropped.
pub async fn follow<M: Machine>(
    empty: impl Fn() -> M,
    log: &Log,
    limits: Limits,
    running: &Running,
    seen: impl Fn(&M),
) -> Result<Ready<M>, Fault> {
    let mut leadership = log.leadership();
    let mut fault = log.fault().boxed();
    let mut damage = log.damage_found();
    loop {
        let opened = log.opened();
        let recovering = recover(empty(), opened.snapshot, opened.replay, running.replay());
        let mut recovered = match recovering.await {
            Ok(recovered) => recovered,
            Err(fault) => return Err(or_damaged(fault, log).await),
        };
        running.has_read();
        let mut snapshots = Snapshots::new(log.clone(), limits, &recovered);
        // Torn: the log began anew behind a snapshot in between. Then that is read.
        let Ok(mut reader) = log.read_after(recovered.last.0) else {
            continue;
        };
        loop {
            seen(&recovered.machine);
            let is_damaged = !log.damages().is_empty();
            if is_damaged && log.may_learn_anew() {
                return Err(Fault::Damaged);
            }
            let is_active = leadership.borrow_and_update().role == Role::Active;
            if is_active && recovered.last >= EventId(*log.committed().borrow()) {
                return Ok(Ready { recovered });
            }
            tokio::select! {
                batch = reader.next() => {
                    let Some(batch) = batch else { break };
                    let bytes = batch.body.len();
                    let before = recovered.tail_events;
                    take_batch(&mut recovered, Ok(batch), running.replay())?;
                    running.replay().idle();
                    let events = usize::try_from(recovered.tail_events - before).unwrap_or(usize::MAX);
                    snapshots.grown(bytes, events);
                    snapshots.begin_if_due(&recovered.machine, recovered.last);
                    // What lies in memory comes without a wait: consensus on the same thread must not stand still for it.
                    tokio::task::yield_now().await;
                }
                taken = snapshots.taken() => {
                    if taken.is_ok() {
                        let until = may_go(&recovered.machine, log, recovered.last, limits.kept_bytes);
                        log.release(until.0).await;
                    }
                    snapshots.answer(&taken);
                }
                Ok(()) = damage.changed() => {
                    snapshots.supersede();
                    snapshots.begin_if_due(&recovered.machine, recovered.last);
                }
                // After this time the other members may be able to spare this one.
                () = tokio::time::sleep(LOOK), if is_damaged => {}
                changed = leadership.changed() => {
                    if changed.is_err() {
                        return Err(gone("it was shut down"));
                    }
                }
                reason = &mut fault => return Err(gone(&reason)),
            }
        }
        if let Some(error) = reader.ended() {
            if !matches!(error, cluster::ReadError::Torn { .. }) {
                return Err(or_damaged(Fault::Read(error.clone()), log).await);
            }
            tracing::info!("the log begins anew behind a snapshot of the active member");
        } else {
            return Err(gone("it was shut down"));
        }
    }
}

/// Waits until this member may learn the log again, if the fault is damage in the log, and returns [`Fault::Damaged`]. Otherwise returns
/// the given fault.
async fn or_damaged(fault: Fault, log: &Log) -> Fault {
    if !matches!(fault, Fault::Read(cluster::ReadError::Damaged(_))) {
        return fault;
    }
    let connected = async {
        let mut peers = log.peers_changed();
        while !log.may_learn_anew() {
            // Which member is active may become known without a change of the peers.
            drop(tokio::time::timeout(LOOK, peers.changed()).await);
        }
    };
    match tokio::time::timeout(CONNECTED_WITHIN, connected).await {
        Ok(()) => Fault::Damaged,
        Err(_elapsed) => fault,
    }
}

fn gone(reason: &str) -> Fault {
    Fault::Log(cluster::AppendError::Stopped {
        reason: reason.to_owned(),
    })
}
