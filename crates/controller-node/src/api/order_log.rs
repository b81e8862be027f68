//! `GET /controller/api/order/ID/log`: what an order's jobs have written, from the events that are still in the log.

use super::{Api, TURN};
use crate::permission::Route;
use crate::users::User;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use cluster::Reader;
use futures::stream;
use memchr::memmem;
use model::{Event, EventId, OrderEvent, Stamped};
use net::{Problem, Query, Refusal};
use serde::Deserialize;

/// Which part.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct LogQuery {
    /// Only what was written after this event.
    after: Option<u64>,
}

pub(super) async fn log(
    State(api): State<Api>,
    user: User,
    Path(id): Path<String>,
    Query(query): Query<LogQuery>,
) -> Result<Response, Refusal> {
    user.may_use(Route::Order)?;
    let searches = &api.0.quotas.searches;
    let share = searches.wait(&user.caller(), 1, TURN).await?;
    let begin = query
        .after
        .unwrap_or_default()
        .max(api.0.log.torn_event_id());
    let end = *api.0.log.committed().borrow();
    let reader = api
        .0
        .log
        .read_after(begin)
        .map_err(|torn| Problem::new("EventSeqTorn", torn.to_string()))?;
    let mut search = Search {
        reader,
        end,
        begin,
        is_done: begin >= end,
        key: id,
    };
    // An error can become an HTTP status only before the first byte is sent.
    let first = search.next().await;
    if let (None, Some(error)) = (&first, search.reader.ended()) {
        return Err(node::unreadable(EventId(begin), error));
    }
    let begun = (first, Some((search, share)));
    let chunks = stream::unfold(begun, |(first, reading)| async move {
        let (mut search, share) = reading?;
        let chunk = match first {
            Some(chunk) => Some(chunk),
            None => search.next().await,
        };
        if let Some(chunk) = chunk {
            return Some((Ok(chunk), (None, Some((search, share)))));
        }
        // The connection is broken off, so that the client does not mistake a part for the whole.
        let error = search.reader.ended()?.to_string();
        Some((Err(std::io::Error::other(error)), (None, None)))
    });
    let headers = [
        (CONTENT_TYPE, "text/plain; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, Body::from_stream(chunks)).into_response())
}

/// Goes through the log up to where it stood at the request.
struct Search {
    reader: Reader,
    begin: u64,
    end: u64,
    is_done: bool,
    key: String,
}

impl Search {
    async fn next(&mut self) -> Option<Bytes> {
        let written = memmem::Finder::new("rrWritten").into_owned();
        let out = memmem::Finder::new("outWritten").into_owned();
        while !self.is_done {
            let batch = self.reader.next().await?;
            self.is_done = batch.last_event_id >= self.end;
            // Most batches have no output of any order.
            if written.find(&batch.body).is_none() && out.find(&batch.body).is_none() {
                continue;
            }
            let mut text = String::new();
            for line in batch.body.split(|byte| *byte == b'\n') {
                if written.find(line).is_some() || out.find(line).is_some() {
                    self.take(line, &mut text);
                }
            }
            if !text.is_empty() {
                return Some(text.into());
            }
        }
        None
    }

    fn take(&self, line: &[u8], text: &mut String) {
        let Some(stamped) = std::str::from_utf8(line)
            .ok()
            .and_then(|line| Stamped::from_json(line).ok())
        else {
            return;
        };
        let Event::Order(
            id,
            OrderEvent::OrderStdoutWritten { chunk } | OrderEvent::OrderStderrWritten { chunk },
        ) = &stamped.event
        else {
            return;
        };
        let is_it = id.as_str() == self.key
            || id
                .as_str()
                .strip_prefix(self.key.as_str())
                .is_some_and(|child| child.starts_with('|'));
        if is_it && stamped.event_id > EventId(self.begin) {
            text.push_str(chunk);
        }
    }
}
