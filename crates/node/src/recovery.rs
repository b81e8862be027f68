//! From the log back to the state: the newest snapshot, then every batch behind it.
//!
//! Always: what cannot be read or does not fit ends the start with its place in the log; nothing is skipped. Events are read by
//! one thread and made true by another, since reading takes about as long.

use crate::in_progress::REPLAY;
use crate::{Fault, Machine, NotApplicable, Work};
use cluster::{Batch, ReadError, Replay, SnapshotFile};
use model::{Event, EventId, Stamped};
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
    work: &Work,
) -> Result<Recovered<M>, Fault> {
    let work = work.clone();
    let reading = tasks::spawn_blocking(move || read(machine, snapshot, replay, &work));
    reading
        .await
        .unwrap_or_else(|panic| Err(Fault::Misfit(NotApplicable::new(panic))))
}

fn read<M: Machine>(
    machine: M,
    snapshot: Option<SnapshotFile>,
    replay: Replay,
    work: &Work,
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
            let why = |why: String| Fault::Restore {
                line: number + 1,
                why,
            };
            if work.is_named() {
                work.on(&format!("{REPLAY}line {} of the snapshot", number + 1));
            }
            let (line, machine) = (line?, &mut recovered.machine);
            caught(|| machine.restore(&line).map_err(|why| why.0)).map_err(why)?;
        }
        recovered.last = EventId(file.event_id());
        recovered.snapshot = Some(recovered.last);
        recovered.snapshot_bytes = file.bytes;
    }
    replay_all(&mut recovered, replay, work)?;
    tracing::info!(event_id = %recovered.last, events = recovered.tail_events, "recovered");
    Ok(recovered)
}

/// A batch as it was read; an event that cannot be read is the last one of its batch.
struct Reading {
    bytes: u64,
    events: Vec<Result<Stamped, String>>,
}

fn replay_all<M: Machine>(
    recovered: &mut Recovered<M>,
    replay: Replay,
    work: &Work,
) -> Result<(), Fault> {
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
            take_reading(recovered, reading?, work)?;
        }
        Ok(())
    })
}

/// Makes a batch true that has been read just now.
pub(crate) fn take_batch<M: Machine>(
    recovered: &mut Recovered<M>,
    batch: Result<Batch, ReadError>,
    work: &Work,
) -> Result<(), Fault> {
    take_reading(recovered, read_batch(batch)?, work)
}

fn take_reading<M: Machine>(
    recovered: &mut Recovered<M>,
    reading: Reading,
    work: &Work,
) -> Result<(), Fault> {
    recovered.tail_bytes += reading.bytes;
    for event in reading.events {
        replay_event(recovered, event, work)?;
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
            .and_then(|line| caught(|| Stamped::from_json(line).map_err(|e| e.to_string())));
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
    work: &Work,
) -> Result<(), Fault> {
    let fault = |event_id, why: String| Fault::Replay { event_id, why };
    let stamped = event.map_err(|why| fault(recovered.last, why))?;
    if stamped.event_id <= recovered.last {
        return Ok(());
    }
    if work.is_named() {
        work.on(&format!("{REPLAY}{}", named(&stamped)));
    }
    let machine = &mut recovered.machine;
    let evolved = caught(|| {
        if let Event::Order(id, _) = &stamped.event {
            tasks::fault_in_replay(id.as_str());
        }
        machine.evolve(&stamped).map_err(|why| why.0)
    });
    evolved.map_err(|why| {
        let why = format!("{}: {why}", named(&stamped));
        fault(stamped.event_id, why)
    })?;
    recovered.last = stamped.event_id;
    recovered.tail_events += 1;
    Ok(())
}

/// Turns a panic into a reason, so that the start can name the event.
fn caught<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    tasks::catch("recovery", work).unwrap_or_else(Err)
}

/// Names an event for an operator.
fn named(stamped: &Stamped) -> String {
    let what = stamped.event.type_name();
    match &stamped.event {
        Event::Order(id, _) => format!("event {}, {what} of Order:{id}", stamped.event_id),
        Event::Item(_)
        | Event::Controller(_)
        | Event::Agent(..)
        | Event::AgentOwn(_)
        | Event::Subagent(..)
        | Event::Cluster(_)
        | Event::Journal(_) => format!("event {}, {what}", stamped.event_id),
    }
}
