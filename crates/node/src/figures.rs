//! The figures of a node's log, the same for a Controller and an Agent.
//!
//! Never here: figures of what the node does. See its own crate.

use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use cluster::Status;
use std::time::Duration;
use telemetry::{Page, names};

/// Returns the response with a page, after adding the metrics of the process.
pub fn page_response(mut page: Page) -> Response {
    page.put_process();
    put_certificates(&mut page);
    ([(CONTENT_TYPE, telemetry::CONTENT_TYPE)], page.render()).into_response()
}

fn put_certificates(page: &mut Page) {
    for certificate in net::certificates() {
        let file = certificate.file.display().to_string();
        page.put(
            names::CERTIFICATE_EXPIRY,
            &[("file", &file)],
            certificate.expires,
        );
    }
}

/// Puts the log's figures on the page.
pub fn journal_figures(page: &mut Page, status: &Status) {
    let counts = status.counts;
    page.put(names::LAST_EVENT_ID, &[], status.committed_event_id);
    page.put(names::JOURNAL_BYTES, &[], status.bytes);
    page.put(names::JOURNAL_SEGMENTS, &[], status.segments);
    page.put(names::JOURNAL_DAMAGED_FILES, &[], status.damages.len());
    page.put(
        names::JOURNAL_RELEASED_EVENT_ID,
        &[],
        status.released_event_id,
    );
    page.put(names::JOURNAL_TORN_EVENT_ID, &[], status.torn_event_id);
    page.put(
        names::JOURNAL_SNAPSHOT_EVENT_ID,
        &[],
        status.snapshot_event_id,
    );
    page.put(names::JOURNAL_APPENDS, &[], counts.appends);
    page.put(names::JOURNAL_APPENDED_BYTES, &[], counts.appended_bytes);
    page.put(names::JOURNAL_SYNCS, &[], counts.syncs);
    page.put(
        names::JOURNAL_SYNC_SECONDS_TOTAL,
        &[],
        Duration::from_micros(counts.sync_micros).as_secs_f64(),
    );
    page.put(
        names::JOURNAL_WRITING_SECONDS,
        &[],
        Duration::from_micros(counts.writing_micros).as_secs_f64(),
    );
}
