//! How a command reaches its Controller: address, token and certificates, found or told.
//!
//! Always: what is told counts more than what is found; a token found in a data directory is shown to that directory's Controller
//! only. Never here: what is asked.

mod answers;
mod following;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use net::{Client, ClientError, ClientSettings, Credentials, Secret, TlsClient, TlsFiles};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::arguments::Access;
use crate::exit::{Exit, Misuse};

pub(crate) use answers::{AgentSeen, ItemSeen, JournalSeen, OrderQuery, OrderSeen, SubagentSeen};
pub(crate) use following::{Followed, Following};

/// Where a Controller listens by default.
const DEFAULT_URL: &str = "http://127.0.0.1:4444";
/// Where a running part notes its URL, in its data directory.
pub(crate) const URL_FILE: &str = "private/url";
/// Where a Controller writes the token of its first user.
pub(crate) const ADMIN_TOKEN_FILE: &str = "private/admin-token";

/// Runs a command to its end.
pub(crate) fn talk(command: impl Future<Output = anyhow::Result<Exit>>) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(command)
}

/// A Controller that can be asked.
#[derive(Clone, Debug)]
pub(crate) struct Controller {
    client: Client,
}

impl Controller {
    /// The Controller that `access` speaks of.
    pub(crate) fn of(access: &Access) -> anyhow::Result<Controller> {
        let found = match &access.controller {
            Some(_) => None,
            None => find(access.data.as_deref())?,
        };
        let told = access.controller.clone();
        let url = told
            .or_else(|| found.as_ref().map(|found| found.url.clone()))
            .unwrap_or_else(|| DEFAULT_URL.to_owned());
        let token = match (&access.token_file, std::env::var("MAINSPRING_TOKEN")) {
            (Some(file), _) => Some(read_token(file)?),
            (None, Ok(token)) if !token.is_empty() => Some(Secret::new(token)),
            // A certificate that is told says who asks; a token that is found would say somebody else.
            (None, _) if access.certificate.is_some() => None,
            (None, _) => found.and_then(|found| found.token),
        };
        let tls = match (&access.ca, &access.certificate, &access.key) {
            (Some(ca), Some(certificate), Some(key)) => Some(TlsClient::load(&TlsFiles {
                ca: ca.clone(),
                certificate: certificate.clone(),
                key: key.clone(),
            })?),
            (Some(ca), _, _) => Some(TlsClient::load_ca(ca)?),
            (None, _, _) => None,
        };
        let credentials = token.map_or(Credentials::None, Credentials::Bearer);
        Controller::new(ClientSettings {
            tls,
            credentials,
            ..ClientSettings::new(url)
        })
    }

    pub(crate) fn new(settings: ClientSettings) -> anyhow::Result<Controller> {
        Ok(Controller {
            client: Client::new(settings)?,
        })
    }

    /// Its URL.
    pub(crate) fn url(&self) -> &str {
        self.client.peer()
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.client.get_json(path).await
    }

    /// Sends a command. A refusal comes as an error, whichever way it was told.
    pub(crate) async fn command(
        &self,
        command: &model::ControllerCommand,
    ) -> anyhow::Result<model::ControllerAnswer> {
        let answer = self
            .client
            .post_json("/controller/api/command", command)
            .await?;
        if let model::ControllerAnswer::Problem {
            code,
            message,
            arguments,
        } = answer
        {
            return Err(model::Problem {
                code,
                message,
                arguments,
            }
            .into());
        }
        Ok(answer)
    }

    /// Posts changes of items, one JSON line each.
    pub(crate) async fn change_items(&self, lines: String) -> Result<Value, ClientError> {
        self.client
            .post_bytes("/controller/api/item", net::NDJSON, lines.into())
            .await
    }
}

/// A Controller found on disk.
struct Found {
    url: String,
    token: Option<Secret>,
}

/// Looks into the data directory, for a standalone's first and then for a Controller's own.
fn find(data: Option<&Path>) -> anyhow::Result<Option<Found>> {
    let data = data.map_or_else(|| PathBuf::from("data"), Path::to_owned);
    for dir in [data.join("controller"), data] {
        match fs::read_to_string(dir.join(URL_FILE)) {
            Ok(url) => {
                let token_file = dir.join(ADMIN_TOKEN_FILE);
                let token = if token_file.exists() {
                    Some(read_token(&token_file)?)
                } else {
                    None
                };
                return Ok(Some(Found {
                    url: url.trim().to_owned(),
                    token,
                }));
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(Misuse(format!(
                    "the data directory {} belongs to another user; run this as that user, or tell --controller and --token-file",
                    dir.display()
                ))
                .into());
            }
            Err(_not_there) => {}
        }
    }
    Ok(None)
}

fn read_token(file: &Path) -> anyhow::Result<Secret> {
    let text = fs::read_to_string(file)
        .with_context(|| format!("cannot read the token file {}", file.display()))?;
    let token = text.trim();
    if token.is_empty() {
        return Err(Misuse(format!("the token file {} is empty", file.display())).into());
    }
    Ok(Secret::new(token))
}

/// A segment of a path: everything but the plainest characters is escaped.
pub(crate) fn segment(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            escaped.push(char::from(byte));
        } else {
            escaped += &format!("%{byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_with_signs_becomes_one_segment_of_a_path() {
        assert_eq!(
            segment("#2026-11-21#A|b/ü"),
            "%232026-11-21%23A%7Cb%2F%C3%BC"
        );
    }

    #[test]
    fn a_local_controller_is_found_by_its_data_directory_with_its_token() {
        let dir = tempfile::TempDir::new().unwrap();
        assert!(find(Some(dir.path())).unwrap().is_none());
        let private = dir.path().join("controller/private");
        fs::create_dir_all(&private).unwrap();
        fs::write(private.join("url"), "http://127.0.0.1:5555\n").unwrap();
        fs::write(private.join("admin-token"), "secret\n").unwrap();
        let found = find(Some(dir.path())).unwrap().unwrap();
        assert_eq!(
            (found.url.as_str(), found.token.unwrap().reveal()),
            ("http://127.0.0.1:5555", "secret")
        );
        let own = find(Some(&dir.path().join("controller"))).unwrap().unwrap();
        assert_eq!(own.url, "http://127.0.0.1:5555");
    }

    #[test]
    fn an_empty_token_file_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = read_token(file.path()).unwrap_err().to_string();
        assert!(
            error.contains("is empty") && error.contains(&file.path().display().to_string()),
            "{error}"
        );
    }
}
