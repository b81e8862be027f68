//! The metrics of a Subagent in a process of its own, as Prometheus text.
//!
//! Always: only for clients that the Subagent's gate lets in. Never here: the metrics of a Director's own Subagent; the Agent has them.

use crate::gate::Gate;
use crate::service::Subagent;
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use hyper::header::CONTENT_TYPE;
use telemetry::{Page, names};

/// Serves `/metrics`.
pub(crate) fn router(subagent: Subagent, gate: &Gate) -> Router {
    let gate = gate.clone();
    let routes = Router::new()
        .route("/metrics", get(metrics))
        .with_state(subagent);
    routes.layer(axum::middleware::from_fn(move |request, next| {
        gate.clone().check(request, next)
    }))
}

async fn metrics(State(subagent): State<Subagent>) -> Response {
    let owner = subagent.owner();
    let id = owner.as_ref().map_or("", |(id, _)| id.as_str());
    let mut page = Page::new(id);
    page.put(names::PROCESSES, &[("subagent", id)], subagent.running());
    page.put(names::REPORT_BYTES, &[], subagent.report_bytes());
    let is_led = subagent.is_led();
    page.put(names::LINKS_UP, &[("peer", "Director")], u8::from(is_led));
    page.put_process();
    for certificate in net::certificates() {
        let file = certificate.file.display().to_string();
        page.put(
            names::CERTIFICATE_EXPIRY,
            &[("file", &file)],
            certificate.expires,
        );
    }
    ([(CONTENT_TYPE, telemetry::CONTENT_TYPE)], page.render()).into_response()
}
