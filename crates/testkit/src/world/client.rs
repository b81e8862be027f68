//! A Controller as its users call it.
//!
//! Always: a refusal is a value with status, code and message, apart from a Controller that cannot be reached.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use bytes::Bytes;
use net::{Client, ClientError, ClientSettings, Credentials, NDJSON, Secret, TlsClient, TlsFiles};
use serde_json::{Value, json};

/// Events asked for at once.
const PAGE: usize = 20_000;

/// A no, with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The HTTP status.
    pub status: u16,
    /// The problem's code.
    pub code: Option<String>,
    /// The problem's message.
    pub message: String,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let code = self.code.as_deref().unwrap_or("-");
        write!(f, "{} {code}: {}", self.status, self.message)
    }
}

/// An answer, or a refusal.
pub type Answer = std::result::Result<Value, Refused>;

/// The Controller's API for one user.
#[derive(Clone, Debug)]
pub struct Api {
    client: Client,
}

impl Api {
    /// With these credentials.
    pub fn new(url: &str, credentials: Credentials) -> Result<Api> {
        let mut settings = ClientSettings::new(url);
        settings.credentials = credentials;
        settings.request_timeout = Duration::from_secs(30);
        Ok(Api {
            client: Client::new(settings)?,
        })
    }

    /// With a token.
    pub fn with_token(url: &str, token: &str) -> Result<Api> {
        Api::new(url, Credentials::Bearer(Secret::new(token.trim())))
    }

    /// With a token, over TLS, trusting this CA.
    pub fn with_tls(url: &str, token: &str, ca: &Path) -> Result<Api> {
        let mut settings = ClientSettings::new(url);
        settings.credentials = Credentials::Bearer(Secret::new(token.trim()));
        settings.tls = Some(TlsClient::load_ca(ca)?);
        Ok(Api {
            client: Client::new(settings)?,
        })
    }

    /// With a certificate, which says who asks.
    pub fn with_certificate(url: &str, files: &TlsFiles) -> Result<Api> {
        let mut settings = ClientSettings::new(url);
        settings.tls = Some(TlsClient::load(files)?);
        Ok(Api {
            client: Client::new(settings)?,
        })
    }

    /// The connection below.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Posts a command.
    pub async fn command(&self, command: &Value) -> Result<Answer> {
        self.post(
            "/controller/api/command",
            "application/json",
            command.to_string(),
        )
        .await
    }

    /// Posts a command that must be accepted.
    pub async fn accept(&self, command: &Value) -> Result<Value> {
        self.command(command)
            .await?
            .map_err(|refused| anyhow!("{command} was refused: {refused}"))
    }

    /// Adds an order that must be taken.
    pub async fn add_order(&self, order: &Value) -> Result<Value> {
        self.accept(&json!({"TYPE": "AddOrder", "order": order}))
            .await
    }

    /// Posts operations on items.
    pub async fn items(&self, operations: &[Value]) -> Result<Answer> {
        let mut body = String::new();
        for operation in operations {
            body.push_str(&operation.to_string());
            body.push('\n');
        }
        self.post("/controller/api/item", NDJSON, body).await
    }

    /// Posts operations on items that must be accepted.
    pub async fn change_items(&self, operations: &[Value]) -> Result<()> {
        match self.items(operations).await? {
            Ok(_) => Ok(()),
            Err(refused) => bail!("the items were refused: {refused}"),
        }
    }

    /// Posts any body.
    pub async fn post(
        &self,
        path: &str,
        content_type: &'static str,
        body: impl Into<Bytes>,
    ) -> Result<Answer> {
        judged(
            self.client
                .post_bytes(path, content_type, body.into())
                .await,
        )
    }

    /// Gets JSON.
    pub async fn get(&self, path: &str) -> Result<Answer> {
        judged(self.client.get_json(path).await)
    }

    /// An order as JSON; none if there is no such order.
    pub async fn order(&self, id: &str) -> Result<Option<Value>> {
        let path = format!("/controller/api/order/{}", escaped(id));
        match self.get(&path).await? {
            Ok(order) => Ok(Some(order)),
            Err(refused) if refused.status == 404 => Ok(None),
            Err(refused) if refused.code.as_deref() == Some("UnknownKey") => Ok(None),
            Err(refused) => bail!("{path}: {refused}"),
        }
    }

    /// The lines of the snapshot.
    pub async fn snapshot(&self) -> Result<Vec<Value>> {
        let bytes = self.client.get_bytes("/controller/api/snapshot").await?;
        lines(&bytes)
    }

    /// All events from the oldest one on; a day's load does not fit into one answer.
    pub async fn all_events(&self) -> Result<Vec<Value>> {
        let mut events: Vec<Value> = Vec::new();
        loop {
            let after = events
                .last()
                .map_or(Some(0), |last| last["eventId"].as_u64());
            let after = after.context("an event without an id")?;
            let path = format!("/controller/api/event?after={after}&timeout=0&limit={PAGE}");
            let page = lines(&self.client.get_bytes(&path).await?)?;
            let is_last = page.len() < PAGE;
            events.extend(page);
            if is_last {
                return Ok(events);
            }
        }
    }
}

fn lines(bytes: &[u8]) -> Result<Vec<Value>> {
    bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).context("a line is not JSON"))
        .collect()
}

fn judged(outcome: std::result::Result<Value, ClientError>) -> Result<Answer> {
    match outcome {
        Ok(answer) if answer["TYPE"] == "Problem" => Ok(Err(Refused {
            status: 200,
            code: answer["code"].as_str().map(str::to_owned),
            message: answer["message"].as_str().unwrap_or_default().to_owned(),
        })),
        Ok(answer) => Ok(Ok(answer)),
        Err(ClientError::Refused {
            status, problem, ..
        }) => Ok(Err(Refused {
            status: status.as_u16(),
            code: problem.code.as_deref().map(str::to_owned),
            message: problem.message,
        })),
        Err(error) => Err(error.into()),
    }
}

/// A path segment or query value.
pub(crate) fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            byte => format!("%{byte:02X}"),
        })
        .collect()
}
