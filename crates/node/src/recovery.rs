//! From the log back to the state: the newest snapshot, then every batch behind it.
//!
//! Always: what cannot be read or does not fit ends the start with its place in the log; nothing is skipped.

use crate::{Fault, Machine, NotApplicable};
use cluster::{Replay, SnapshotFile};
use model::{EventId, Stamped};

/// A machine as the log tells it.
pub(crate) struct Recovered<M> {
    pub(crate) machine: M,
    pub(crate) last: EventId,
    /// The event the newest snapshot stands at.
    pub(crate) snapshot: Option<EventId>,
    pub(crate) snapshot_bytes: u64,
    /// What is in the log behind the snapshot.
    pub(crate) tail_bytes: u64,
    pub(crate) tail_events: u64,
}

/// Reads the log into an empty machine, on a thread of its own.
pub(crate) async fn recover<M: Machine>(
    machine: M,
    snapshot: Option<SnapshotFile>,
    replay: Replay,
) -> Result<Recovered<M>, Fault> {
    let reading = tokio::task::spawn_blocking(move || read(machine, snapshot, replay));
    reading
        .await
        .unwrap_or_else(|panic| Err(Fault::Misfit(NotApplicable::new(panic))))
}

fn read<M: Machine>(
    machine: M,
    snapshot: Option<SnapshotFile>,
    replay: Replay,
) -> Result<Recovered<M>, Fault> {
    let mut recovered = Recovered {
        machine,
        last: EventId::BEFORE_FIRST,
        snapshot: None,
        snapshot_bytes: 0,
        tail_bytes: 0,
        tail_events: 0,
    };
    if let Some(file) = snapshot {
        for (number, line) in file.lines()?.enumerate() {
            let why = |why: NotApplicable| Fault::Restore {
                line: number + 1,
                why: why.0,
            };
            recovered.machine.restore(&line?).map_err(why)?;
        }
        recovered.last = EventId(file.event_id());
        recovered.snapshot = Some(recovered.last);
        recovered.snapshot_bytes = file.bytes;
    }
    for batch in replay {
        let batch = batch?;
        recovered.tail_bytes += batch.body.len() as u64;
        replay_batch(&mut recovered, &batch.body)?;
    }
    tracing::info!(event_id = %recovered.last, events = recovered.tail_events, "recovered");
    Ok(recovered)
}

fn replay_batch<M: Machine>(recovered: &mut Recovered<M>, lines: &[u8]) -> Result<(), Fault> {
    let fault = |event_id, why: String| Fault::Replay { event_id, why };
    let text =
        std::str::from_utf8(lines).map_err(|error| fault(recovered.last, error.to_string()))?;
    for line in text.lines() {
        let stamped =
            Stamped::from_json(line).map_err(|error| fault(recovered.last, error.to_string()))?;
        if stamped.event_id <= recovered.last {
            continue;
        }
        recovered
            .machine
            .evolve(&stamped)
            .map_err(|why| fault(stamped.event_id, why.0))?;
        recovered.last = stamped.event_id;
        recovered.tail_events += 1;
    }
    Ok(())
}
