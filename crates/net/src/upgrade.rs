//! A connection that begins as a request and goes on in a language of its own (HTTP `Upgrade`), so that it needs no port,
//! certificate or token besides.
//!
//! Always: authorised as a request before anything else is said. Never here: what is said.

use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use hyper::StatusCode;
use hyper::header::{CONNECTION, HeaderValue, UPGRADE};
use hyper::http::Method;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;

use crate::client::Client;
use crate::problem::Problem;
use crate::trouble::ClientError;

/// Both directions of a connection that goes on in its own language.
pub type Stream = TokioIo<Upgraded>;

/// Answers a request for `protocol`; `talk` gets the connection as soon as the answer is on its way.
pub fn upgrade<F>(
    request: &mut Request,
    protocol: &'static str,
    talk: impl FnOnce(Stream) -> F + Send + 'static,
) -> Response
where
    F: Future<Output = ()> + Send,
{
    let is_wanted = request
        .headers()
        .get(UPGRADE)
        .is_some_and(|wanted| wanted.as_bytes() == protocol.as_bytes());
    if !is_wanted {
        return Problem::new(
            "UpgradeRequired",
            format!("this address speaks {protocol} only (header `Upgrade`)"),
        )
        .status(StatusCode::UPGRADE_REQUIRED)
        .into_response();
    }
    let upgrading = hyper::upgrade::on(request);
    tasks::spawn(protocol, async move {
        match upgrading.await {
            Ok(upgraded) => talk(TokioIo::new(upgraded)).await,
            Err(error) => tracing::debug!(%error, "the connection broke before it was upgraded"),
        }
    });
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static(protocol));
    response
}

impl Client {
    /// Opens a connection that goes on in `protocol`.
    pub async fn upgrade(&self, path: &str, protocol: &'static str) -> Result<Stream, ClientError> {
        let inner = self.inner();
        let opening = async {
            let mut request = inner.request(&Method::GET, path, None)?;
            let headers = request.headers_mut();
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(UPGRADE, HeaderValue::from_static(protocol));
            let mut line = Box::pin(inner.connect()).await?;
            let response = match line.send(request).await {
                Ok(response) => response,
                Err(error) => return Err(inner.lost(&error, line).await),
            };
            let status = response.status();
            if status != StatusCode::SWITCHING_PROTOCOLS {
                let answer = inner.collect(path, response.into_body()).await?;
                return Err(inner.refused(path, status, &answer));
            }
            hyper::upgrade::on(response)
                .await
                .map(TokioIo::new)
                .map_err(|error| ClientError::lost(self.peer_name(), &error))
        };
        inner.in_time(opening).await
    }
}
