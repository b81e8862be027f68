//! A page of a list, bounded in bytes.
//!
//! Always: a page ends with the entry that exceeds the bound, so that each page has an entry and a reader gets to the end; `next` is the key
//! after which the next page begins. Never here: which entries are listed.

use super::TURN;
use super::{Api, stopped};
use crate::machine::ControllerMachine;
use crate::users::User;
use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use model::EventId;
use net::{Problem, Refusal};
use serde::Serialize;

/// The size in bytes after which a page ends.
const PAGE_BYTES: usize = 4 << 20;

/// A page that is being written. It is written as text, because numbers can have more digits than a JSON tree keeps.
pub(super) struct Page {
    json: Vec<u8>,
    last: Option<String>,
}

impl Page {
    /// Begins a page of what is called `name`, of the state after the event `event_id`.
    pub(super) fn begin(name: &str, event_id: EventId) -> Page {
        Page {
            json: format!("{{\"eventId\":{event_id},\"{name}\":[").into_bytes(),
            last: None,
        }
    }

    /// Appends an entry, whose key is the one by which the list is sorted.
    pub(super) fn push(&mut self, key: &str, entry: &impl Serialize) {
        if self.last.is_some() {
            self.json.push(b',');
        }
        let written = serde_json::to_writer(&mut self.json, entry);
        written.expect("an entry is JSON, and memory takes it");
        self.last = Some(key.to_owned());
    }

    /// Returns whether the page must end here.
    pub(super) fn is_full(&self) -> bool {
        self.json.len() >= PAGE_BYTES
    }

    /// Ends the page. `count` is the number of all entries, whether they are wanted or not, where that costs nothing.
    pub(super) fn end(self, has_more: bool, count: Option<usize>) -> Vec<u8> {
        let Page { mut json, last } = self;
        let next = last.filter(|_| has_more).map_or_else(String::new, |last| {
            format!(",\"next\":{}", serde_json::Value::from(last))
        });
        let count = count.map_or_else(String::new, |count| format!(",\"count\":{count}"));
        let end = format!("],\"hasMore\":{has_more}{next}{count}}}");
        json.extend_from_slice(end.as_bytes());
        json
    }
}

/// Answers with the page that `write` makes of the state. `what` is what is listed, for an error.
///
/// The page is written beside the others: a great list must not hold up those who wait for short answers.
pub(super) async fn answer(
    api: &Api,
    user: &User,
    what: &str,
    write: impl FnOnce(&ControllerMachine) -> Vec<u8> + Send + 'static,
) -> Result<Response, Refusal> {
    let share = api.0.quotas.searches.wait(&user.caller(), 1, TURN).await?;
    let machine = api
        .0
        .handle
        .read(ControllerMachine::clone)
        .await
        .map_err(stopped)?;
    let page = tasks::spawn_blocking(move || write(&machine)).await;
    let page =
        page.map_err(|error| Problem::uncoded(format!("cannot list the {what}: {error}")))?;
    let json = [(header::CONTENT_TYPE, "application/json")];
    // The share is released when the client has received the answer.
    Ok((json, Body::from(share.hold(page))).into_response())
}
