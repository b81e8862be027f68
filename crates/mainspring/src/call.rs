//! How a command reaches its Controller: addresses, token and certificates, found or told; and the active one of its members.
//!
//! Always: what is told counts more than what is found; a token found in a data directory is shown to that directory's Controller
//! and its members only; a request is repeated only if it was not carried out, or may be twice. Never here: what is asked.

mod answers;
#[cfg(test)]
mod asking;
mod following;
mod members;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use net::{Client, ClientError, ClientSettings, Credentials, Outage, Secret, TlsClient, TlsFiles};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::arguments::Access;
use crate::exit::{Exit, Misuse, Unknown};

pub(crate) use answers::{
    AgentSeen, ConnectionSeen, ItemSeen, JournalSeen, ObstacleSeen, OrderQuery, OrderRow,
    OrderSeen, SubagentSeen,
};
pub(crate) use following::{Followed, Following};
pub(crate) use members::CLUSTER;
use members::{Members, NOT_ACTIVE};

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

/// A Controller that can be asked, at whichever of its members is active.
#[derive(Clone, Debug)]
pub(crate) struct Controller {
    members: Arc<Members>,
    /// The reason that the user gives for changes.
    reason: Option<Arc<str>>,
}

/// Whether a request may be carried out twice, should its answer have been lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Repeat {
    Safely,
    Never,
    /// Never, and that another member becomes active is what was asked for: no reason to give the answer up.
    Handover,
}

/// How often a request goes to another member before it is given up.
const MOVES_MAX: usize = 10;

impl Controller {
    /// The Controller that `access` speaks of.
    pub(crate) fn of(access: &Access) -> anyhow::Result<Controller> {
        let told = &access.controller;
        let found = if told.is_empty() {
            find(access.data.as_deref())?
        } else {
            None
        };
        let urls = match (told.as_slice(), &found) {
            ([], None) => vec![DEFAULT_URL.to_owned()],
            ([], Some(found)) => vec![found.url.clone()],
            (told, _) => told.to_vec(),
        };
        let token = match (&access.token_file, std::env::var("MAINSPRING_TOKEN")) {
            (Some(file), _) => Some(read_token(file)?),
            // Often made by a command that reads a file, with the line feed of the file.
            (None, Ok(token)) if !token.trim().is_empty() => Some(Secret::new(token.trim())),
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
        let settings = ClientSettings {
            tls,
            credentials,
            ..ClientSettings::new(String::new())
        };
        let mut controller = Controller::at(settings, &urls)?;
        controller.reason = access.reason.as_deref().map(Into::into);
        Ok(controller)
    }

    pub(crate) fn new(settings: ClientSettings) -> anyhow::Result<Controller> {
        let url = settings.url.clone();
        Controller::at(settings, &[url])
    }

    /// At any of these addresses.
    fn at(settings: ClientSettings, urls: &[String]) -> anyhow::Result<Controller> {
        let members = Members::new(settings, urls)?;
        Ok(Controller {
            members: Arc::new(members),
            reason: None,
        })
    }

    /// Its URL: that of the member that is asked.
    pub(crate) fn url(&self) -> String {
        self.members.url()
    }

    /// Finds the active member, and learns of the others.
    pub(crate) async fn meet(&self) -> Result<(), ClientError> {
        self.members.active().await.map(drop)
    }

    /// Learns of the other members by one look, without waiting until somebody is active.
    pub(crate) async fn look(&self) -> Result<(), ClientError> {
        self.members.look_once().await
    }

    /// Every member that is known, to be asked one by one.
    pub(crate) fn members(&self) -> Vec<Client> {
        self.members.all()
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let request = |client: Client| async move { client.get_json(path).await };
        let called = self.call(Repeat::Safely, request).await;
        Ok(called.map_err(|failed| failed.error)?.0)
    }

    /// The bytes of an answer.
    async fn get_bytes(&self, path: &str) -> Result<bytes::Bytes, ClientError> {
        let request = |client: Client| async move { client.get_bytes(path).await };
        let called = self.call(Repeat::Safely, request).await;
        Ok(called.map_err(|failed| failed.error)?.0)
    }

    /// Sends a command. A refusal comes as an error, whichever way it was told.
    pub(crate) async fn command(
        &self,
        command: &model::ControllerCommand,
    ) -> anyhow::Result<model::ControllerAnswer> {
        Ok(self.command_maybe_twice(command).await?.0)
    }

    /// The same, and whether it may have been carried out before it was answered: sent again after an answer had been lost.
    pub(crate) async fn command_maybe_twice(
        &self,
        command: &model::ControllerCommand,
    ) -> anyhow::Result<(model::ControllerAnswer, bool)> {
        let path = &self.with_reason("/controller/api/command");
        let request = |client: Client| async move { client.post_json(path, command).await };
        let called = self.call(repeat_of(command), request).await;
        let (answer, is_repeated) = called.map_err(told_as_unknown)?;
        Ok((model::ControllerAnswer::into_result(answer)?, is_repeated))
    }

    fn with_reason(&self, path: &str) -> String {
        match &self.reason {
            Some(reason) => format!("{path}?reason={}", segment(reason)),
            None => path.to_owned(),
        }
    }

    /// Posts changes of items, one JSON line each.
    pub(crate) async fn change_items(&self, lines: String) -> anyhow::Result<Value> {
        let lines = bytes::Bytes::from(lines);
        let path = &self.with_reason("/controller/api/item");
        let request = |client: Client| {
            let lines = lines.clone();
            async move { client.post_bytes(path, net::NDJSON, lines).await }
        };
        let called = self.call(Repeat::Never, request).await;
        Ok(called.map_err(told_as_unknown)?.0)
    }

    /// Asks the active member, and another one where that is no longer active. Tells also whether the request may have been carried out
    /// before the one that was answered.
    async fn call<T, Answer: Future<Output = Result<T, ClientError>>>(
        &self,
        repeat: Repeat,
        request: impl Fn(Client) -> Answer,
    ) -> Result<(T, bool), Failed> {
        let mut may_be_done = false;
        let mut moves = 0;
        loop {
            let seat = self
                .members
                .active()
                .await
                .map_err(|error| Failed { error, may_be_done })?;
            let succeeded = async {
                match repeat {
                    Repeat::Handover => std::future::pending().await,
                    Repeat::Safely | Repeat::Never => self.members.succeeded(&seat).await,
                }
            };
            let answer = tokio::select! {
                answer = request(seat.client.clone()) => answer,
                hangs = succeeded => Err(hangs),
            };
            let error = match answer {
                Ok(answer) => return Ok((answer, may_be_done)),
                Err(error) => error,
            };
            let is_undone = is_undone(&error);
            let is_lost = !is_undone
                && (matches!(error, ClientError::Unreachable { .. }) || is_ending(&error));
            may_be_done |= is_lost;
            moves += 1;
            if !(is_undone || is_lost && repeat == Repeat::Safely) || moves > MOVES_MAX {
                return Err(Failed { error, may_be_done });
            }
            if !matches!(
                error,
                ClientError::Unreachable {
                    outage: Outage::Silent(_),
                    ..
                }
            ) {
                // Who hangs has been succeeded already.
                self.members.leave(&seat, &error);
            }
        }
    }
}

/// Whether a command may be carried out twice as well as once.
fn repeat_of(command: &model::ControllerCommand) -> Repeat {
    use model::ControllerCommand as C;
    let is_kept = |order: &model::FreshOrder| !order.delete_when_terminated;
    let is_safe = match command {
        C::ClusterSwitchOver { agent_path: None } => return Repeat::Handover,
        // An order that is forgotten as soon as it has ended could be added a second time after its end.
        C::AddOrder { order } => is_kept(order),
        C::AddOrders { orders } => orders.iter().all(is_kept),
        C::CancelOrders { .. }
        | C::SuspendOrders { .. }
        | C::DeleteOrdersWhenTerminated { .. }
        | C::ClusterAppointNodes { .. }
        | C::ClusterRemoveNode { .. }
        | C::ReleaseEvents { .. }
        | C::ConfirmSubagentLoss { .. }
        | C::NoOperation { .. }
        | C::TakeSnapshot => true,
        C::Batch { commands } => commands
            .iter()
            .all(|command| repeat_of(command) == Repeat::Safely),
        // Meanwhile what was resumed may have failed again, what was reset have begun anew, who was made active have handed over.
        C::ResumeOrder { .. }
        | C::ResumeOrders { .. }
        | C::ResetAgent { .. }
        | C::ResetSubagent { .. }
        | C::ClusterSwitchOver { .. }
        | C::ShutDown { .. } => false,
    };
    if is_safe {
        Repeat::Safely
    } else {
        Repeat::Never
    }
}

/// Whether a request has certainly not been carried out.
fn is_undone(error: &ClientError) -> bool {
    match error {
        ClientError::Unreachable { outage, .. } => {
            matches!(outage, Outage::Connect(_) | Outage::ConnectTimeout(_))
        }
        ClientError::Refused { problem, .. } => problem.is(NOT_ACTIVE),
        ClientError::Untrusted { .. }
        | ClientError::Broken { .. }
        | ClientError::Misused { .. } => false,
    }
}

/// A member that ends, or that another one follows, says so when it has taken a request and cannot tell any more what has become of it.
fn is_ending(error: &ClientError) -> bool {
    let ending = |problem: &net::Problem| {
        problem.is("ControllerIsShuttingDown") || problem.is("ClusterNodeIsNoLongerActive")
    };
    error.problem().is_some_and(ending)
}

/// A request that nobody has answered for good.
struct Failed {
    error: ClientError,
    /// It was given to a member whose answer is lost.
    may_be_done: bool,
}

/// Says so where nobody knows what has become of a request.
fn told_as_unknown(failed: Failed) -> anyhow::Error {
    let error = anyhow::Error::from(failed.error);
    if failed.may_be_done {
        return error.context(Unknown);
    }
    error
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
    fn that_nobody_is_there_any_more_does_not_hide_that_a_lost_answer_may_have_been_a_yes() {
        let nobody = || {
            let problem = net::Problem::new(NOT_ACTIVE, "nobody is active");
            ClientError::Refused {
                peer: "http://127.0.0.1:1".into(),
                path: "/controller/api/command".to_owned(),
                status: problem.default_status(),
                problem,
            }
        };
        let told = |may_be_done| {
            let error = nobody();
            told_as_unknown(Failed { error, may_be_done })
        };
        assert!(told(true).is::<Unknown>());
        assert!(!told(false).is::<Unknown>());
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
