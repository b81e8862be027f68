//! The wire between components: TLS, serving, calling and event streams.
//!
//! Always: every wait has a bound and a name for it, a peer may be slow, silent or hostile, and plain HTTP stays on the loopback.
//! Never here: what a request means. This crate knows no order, no event and no user.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod auth;
mod backoff;
mod certs;
mod client;
mod connections;
mod guard;
mod listen;
#[cfg(test)]
mod loopback;
mod ndjson;
mod pace;
mod peer;
mod problem;
mod quota;
mod secret;
mod stall;
mod tls;
mod token_file;
mod trouble;
mod upgrade;
mod validity;

pub use auth::{Passwords, Presented, TokenHash, answer_late, is_password_hash, new_token};
pub use backoff::Backoff;
pub use certs::{CertsError, Issued, create_ca, issue};
pub use client::{Client, ClientSettings, Credentials};
pub use connections::Caller;
pub use guard::{BodyLimit, JsonBody, LARGE_BODY, Query, RawBody, guard, heartbeat, seconds};
pub use listen::{BindError, Closing, Limits, Server, check_listen};
pub use ndjson::{
    LineDecoder, LineIsTooLong, NDJSON, NdjsonStream, stream_response, stream_response_saying,
    stream_until,
};
pub use pace::Pace;
pub use peer::{PeerIdentity, Role};
pub use problem::{Problem, Refusal};
pub use quota::{Quota, Share};
pub use secret::Secret;
pub use tls::{ClientCertificates, TlsClient, TlsError, TlsFiles, TlsServer};
pub use token_file::{TokenFileError, token_in, token_of};
pub use trouble::{ClientError, Outage};
pub use upgrade::{Stream, upgrade};
pub use validity::{
    Certificate, Validity, certificate_advice, certificates, reload_certificates,
    watch_certificates,
};
