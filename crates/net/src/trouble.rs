//! What can go wrong between a client and its peer.
//! Always: the error names the peer, says whether trying again can help, and keeps the cause.

use std::error::Error as _;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use rustls::{AlertDescription, CertificateError};

use crate::problem::Problem;

/// Why a call brought no answer, or not the one hoped for.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No answer came: nobody knows whether the request was carried out.
    #[error("cannot reach {peer}: {outage}")]
    Unreachable {
        /// The peer's base URL.
        peer: Arc<str>,
        /// What happened to the connection.
        outage: Outage,
    },
    /// One of the two does not accept the other's certificate.
    #[error("cannot trust {peer}: {what}")]
    Untrusted {
        /// The peer's base URL.
        peer: Arc<str>,
        /// Who refused which certificate, and why.
        what: String,
    },
    /// The peer has understood and says no.
    #[error("{peer} refuses {path} ({}): {problem}", status.as_u16())]
    Refused {
        /// The peer's base URL.
        peer: Arc<str>,
        /// What was called.
        path: String,
        /// The HTTP status.
        status: StatusCode,
        /// The reason.
        problem: Problem,
    },
    /// An answer came that makes no sense.
    #[error("cannot read the answer of {peer} to {path}: {what}")]
    Broken {
        /// The peer's base URL.
        peer: Arc<str>,
        /// What was called.
        path: String,
        /// What is wrong with it.
        what: String,
    },
    /// The client's own settings or request cannot work.
    #[error("cannot call {peer}: {what}")]
    Misused {
        /// The peer's base URL.
        peer: Arc<str>,
        /// What to change.
        what: String,
    },
}

/// How a connection failed.
#[derive(Debug, thiserror::Error)]
pub enum Outage {
    /// No connection came about.
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    /// No connection came about in time.
    #[error("no connection within {0:?}")]
    ConnectTimeout(Duration),
    /// The answer did not come in time.
    #[error("no answer within {0:?}")]
    RequestTimeout(Duration),
    /// The connection broke in the middle.
    #[error("the connection broke: {0}")]
    Lost(String),
    /// A stream brought neither line nor heartbeat.
    #[error("the stream was silent for {0:?}")]
    Silent(Duration),
}

impl ClientError {
    /// Whether the same request can succeed later without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            ClientError::Unreachable { .. } => true,
            ClientError::Refused { status, .. } => {
                *status == StatusCode::SERVICE_UNAVAILABLE
                    || *status == StatusCode::TOO_MANY_REQUESTS
                    || *status == StatusCode::BAD_GATEWAY
                    || *status == StatusCode::GATEWAY_TIMEOUT
            }
            ClientError::Untrusted { .. }
            | ClientError::Broken { .. }
            | ClientError::Misused { .. } => false,
        }
    }

    /// The peer's reason, if it gave one.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            ClientError::Refused { problem, .. } => Some(problem),
            ClientError::Unreachable { .. }
            | ClientError::Untrusted { .. }
            | ClientError::Broken { .. }
            | ClientError::Misused { .. } => None,
        }
    }

    pub(crate) fn unreachable(peer: &Arc<str>, outage: Outage) -> ClientError {
        ClientError::Unreachable {
            peer: peer.clone(),
            outage,
        }
    }

    /// A failed TLS handshake; an ordinary break of the connection is told as such.
    pub(crate) fn handshake(peer: &Arc<str>, error: io::Error) -> ClientError {
        match distrust(&error) {
            Some(what) => ClientError::Untrusted {
                peer: peer.clone(),
                what,
            },
            None => ClientError::unreachable(peer, Outage::Connect(error)),
        }
    }

    /// A connection that broke during a request or stream.
    pub(crate) fn lost(peer: &Arc<str>, error: &hyper::Error) -> ClientError {
        let mut source = error.source();
        while let Some(cause) = source {
            // With TLS 1.3 the server's verdict on the client certificate arrives after the handshake, as the first thing read.
            if let Some(what) = cause.downcast_ref::<io::Error>().and_then(distrust) {
                return ClientError::Untrusted {
                    peer: peer.clone(),
                    what,
                };
            }
            source = cause.source();
        }
        ClientError::unreachable(peer, Outage::Lost(with_causes(error)))
    }
}

fn with_causes(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "these enums grow with TLS, and what has no words of ours is told in theirs"
)]
fn distrust(error: &io::Error) -> Option<String> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(match error {
        rustls::Error::InvalidCertificate(reason) => match reason {
            // A foreign CA under the same name as ours gives a bad signature.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "its certificate is not signed by our CA".to_owned()
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "its certificate has expired".to_owned()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "its certificate is not valid yet; check both clocks".to_owned()
            }
            CertificateError::NotValidForName => {
                "its certificate is for another name than the one in the URL".to_owned()
            }
            CertificateError::NotValidForNameContext {
                expected,
                presented,
            } => {
                format!(
                    "its certificate is for {}, not for {}",
                    presented.join(", "),
                    expected.to_str()
                )
            }
            reason => format!("its certificate is bad: {reason}"),
        },
        rustls::Error::AlertReceived(alert) => match alert {
            AlertDescription::CertificateRequired => {
                "it demands a client certificate, and we have none".to_owned()
            }
            AlertDescription::UnknownCA | AlertDescription::DecryptError => {
                "it refuses our certificate: not signed by its CA".to_owned()
            }
            AlertDescription::CertificateExpired => {
                "it refuses our certificate: expired".to_owned()
            }
            alert => format!("it refuses the TLS connection: {alert:?}"),
        },
        rustls::Error::InvalidMessage(_) => {
            "it does not speak TLS; is the URL's scheme right?".to_owned()
        }
        error => format!("TLS failed: {error}"),
    })
}
