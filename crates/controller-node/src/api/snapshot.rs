//! `GET /controller/api/snapshot` and `…/journalInfo`: the state as a whole, and where the log stands.

use super::{Api, stopped};
use crate::machine::ControllerMachine;
use crate::permission::Route;
use crate::users::User;
use axum::Json;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use futures::{FutureExt as _, stream};
use net::{Closing, Problem, Query, Refusal, stream_response};
use serde::Deserialize;
use serde_json::{Value, json};
use std::task::{Poll, ready};
use tokio::sync::mpsc;

/// Bytes of lines that go out at once.
const CHUNK: usize = 64 << 10;

/// Which state.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SnapshotQuery {
    /// Only if this is the newest event.
    event_id: Option<u64>,
}

/// The state, item by item, beginning with its event id: the stream of events goes on from there.
pub(super) async fn snapshot(
    State(api): State<Api>,
    user: User,
    Query(query): Query<SnapshotQuery>,
    closing: Closing,
) -> Result<Response, Refusal> {
    user.may_use(Route::Snapshot)?;
    let share = api.0.quotas.snapshots.take(&user.caller(), 1)?;
    let machine = api
        .0
        .handle
        .read(ControllerMachine::clone)
        .await
        .map_err(stopped)?;
    if let Some(wanted) = query
        .event_id
        .filter(|wanted| *wanted != machine.last_event_id.0)
    {
        let message = format!(
            "there is a snapshot for the newest event {} only, not for {wanted}",
            machine.last_event_id
        );
        return Err(Problem::new("SnapshotForUnknownEventId", message)
            .with("eventId", wanted.to_string())
            .into());
    }
    let (sender, mut chunks) = mpsc::channel::<Bytes>(4);
    // The lines are made while the reader takes them, never all at once; who goes away stops it.
    let mut writing = tasks::spawn_blocking(move || write(&machine, &sender));
    let lines = stream::poll_fn(move |context| {
        // Held until the last line has been sent, or the reader has disconnected.
        let _kept = &share;
        let chunk = ready!(chunks.poll_recv(context));
        if chunk.is_none()
            && let Err(error) = ready!(writing.poll_unpin(context))
        {
            // A truncated snapshot must not look complete, so the connection is broken off.
            std::panic::resume_unwind(Box::new(error));
        }
        Poll::Ready(chunk)
    });
    Ok(stream_response(lines, None, Some(&closing)))
}

fn write(machine: &ControllerMachine, sender: &mpsc::Sender<Bytes>) {
    let mut chunk = format!(
        "{{\"TYPE\":\"SnapshotEventId\",\"eventId\":{}}}\n",
        machine.last_event_id
    );
    for line in machine.state.snapshot() {
        chunk.push_str(&line);
        chunk.push('\n');
        if chunk.len() >= CHUNK
            && sender
                .blocking_send(std::mem::take(&mut chunk).into())
                .is_err()
        {
            return;
        }
    }
    // Nobody may be listening any more.
    let _gone = sender.blocking_send(chunk.into());
}

pub(super) async fn journal_info(
    State(api): State<Api>,
    user: User,
) -> Result<Json<Value>, Refusal> {
    user.may_use(Route::JournalInfo)?;
    let status = api.0.log.status();
    let mut info = json!(status);
    info["lastEventId"] = json!(status.committed_event_id);
    Ok(Json(info))
}
