//! From the log back to the state: the newest snapshot, then every batch behind it.
//!
//! Always: what cannot be read or does not fit ends the start with its place in the log; nothing is skipped. Events are read by
//! one thread and made true by another, since reading takes about as long.

use crate::{Fault, Machine, NotApplicable};
use cluster::{Batch, ReadError, Replay, SnapshotFile};
use model::{EventId, Stamped};
use std::sync::mpsc::sync_channel;

/// Batches that may be read ahead.
const AHEAD: usize = 16;

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
    let reading = tasks::spawn_blocking(move || read(machine, snapshot, replay));
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
    replay_all(&mut recovered, replay)?;
    tracing::info!(event_id = %recovered.last, events = recovered.tail_events, "recovered");
    Ok(recovered)
}

/// A batch as it was read; an event that cannot be read is the last one of its batch.
struct Reading {
    bytes: u64,
    events: Vec<Result<Stamped, String>>,
}

fn replay_all<M: Machine>(recovered: &mut Recovered<M>, replay: Replay) -> Result<(), Fault> {
    let (sender, readings) = sync_channel(AHEAD);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for batch in replay {
                // Who does not listen any more has met a fault.
                if sender.send(read_batch(batch)).is_err() {
                    return;
                }
            }
        });
        for reading in readings {
            take_reading(recovered, reading?)?;
        }
        Ok(())
    })
}

/// Makes a batch true that has been read just now.
pub(crate) fn take_batch<M: Machine>(
    recovered: &mut Recovered<M>,
    batch: Result<Batch, ReadError>,
) -> Result<(), Fault> {
    take_reading(recovered, read_batch(batch)?)
}

fn take_reading<M: Machine>(recovered: &mut Recovered<M>, reading: Reading) -> Result<(), Fault> {
    recovered.tail_bytes += reading.bytes;
    for event in reading.events {
        replay_event(recovered, event)?;
    }
    Ok(())
}

fn read_batch(batch: Result<Batch, ReadError>) -> Result<Reading, ReadError> {
    let body = batch?.body;
    let lines = body
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    let mut events = Vec::new();
    for line in lines {
        let event = std::str::from_utf8(line)
            .map_err(|error| error.to_string())
            .and_then(|line| Stamped::from_json(line).map_err(|error| error.to_string()));
        let is_unreadable = event.is_err();
        events.push(event);
        if is_unreadable {
            break;
        }
    }
    Ok(Reading {
        bytes: body.len() as u64,
        events,
    })
}

fn replay_event<M: Machine>(
    recovered: &mut Recovered<M>,
    event: Result<Stamped, String>,
) -> Result<(), Fault> {
    let fault = |event_id, why: String| Fault::Replay { event_id, why };
    let stamped = event.map_err(|why| fault(recovered.last, why))?;
    if stamped.event_id <= recovered.last {
        return Ok(());
    }
    recovered
        .machine
        .evolve(&stamped)
        .map_err(|why| fault(stamped.event_id, why.0))?;
    recovered.last = stamped.event_id;
    recovered.tail_events += 1;
    Ok(())
}
