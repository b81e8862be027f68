//! `mainspring controller`: from the data directory to the orderly end.

use crate::api::{Api, BodyLimits, Shared, router};
use crate::drivers::{Dialling, Drivers};
use crate::machine::ControllerMachine;
use crate::private_file::{PrivateFileError, token_in, token_of};
use crate::settings::ControllerSettings;
use crate::users::{UserError, Users};
use cluster::{Log, Options};
use model::{ControllerId, UserId};
use net::{BindError, ClientCertificates, Server, TlsClient, TlsError, TlsServer};
use node::{Clock as _, End, Fault, Limits, Node, SystemClock};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use telemetry::Metrics;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// A batch may be greater than the bodies that make it: events name more than orders do.
const IN_FLIGHT_FACTOR: usize = 4;

/// How the Controller ended in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exit {
    /// It is to be started again.
    pub restart: bool,
}

/// Why a Controller cannot run or has to stop.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Its id is not a name.
    #[error("id: {0}")]
    Id(#[from] model::NameError),
    /// Its users.
    #[error(transparent)]
    Users(#[from] UserError),
    /// Its log cannot be opened.
    #[error(transparent)]
    Log(#[from] cluster::OpenError),
    /// The log failed, or an event did not fit: the process is to be started again.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// Its address.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Its certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A token.
    #[error(transparent)]
    Token(#[from] PrivateFileError),
    /// A task of the process has panicked.
    #[error("the Controller's loop has ended badly: {0}")]
    Panicked(#[from] tokio::task::JoinError),
}

impl RunError {
    /// Whether the process is to be started again at once (exit code 98): the trouble may be gone then.
    pub fn is_fault(&self) -> bool {
        matches!(self, RunError::Fault(_) | RunError::Panicked(_))
    }
}

/// Runs until it is shut down by command, or in order when `stop` is cancelled. `ready` is told the URL.
pub async fn run(
    settings: ControllerSettings,
    metrics: Option<Metrics>,
    stop: CancellationToken,
    ready: impl FnOnce(&str),
) -> Result<Exit, RunError> {
    let id = ControllerId::checked(&settings.id)?;
    let tls = settings.tls.as_ref();
    let server_tls = tls
        .map(|files| TlsServer::load(files, ClientCertificates::Optional))
        .transpose()?;
    let client_tls = tls.map(TlsClient::load).transpose()?;
    let server = Server::bind(settings.listen, server_tls).await?;
    let admin_token = token_of(&settings.data.join("private/admin-token"))?;
    let users = Users::new(&settings, &admin_token)?;
    let token = settings
        .agent_token_file
        .as_deref()
        .map(token_in)
        .transpose()?;
    let mut tokens = BTreeMap::new();
    for (agent, file) in &settings.agent_token_files {
        tokens.insert(agent.clone(), token_in(file)?);
    }

    let mut options = Options::new(settings.data.join("state"), format!("controller:{id}"));
    options.segment_bytes = settings.segment.0;
    options.in_flight_bytes = options
        .in_flight_bytes
        .max(settings.stream_size_max.as_usize() * IN_FLIGHT_FACTOR);
    let opened = Log::open(options).await?;
    let log = opened.log.clone();
    let late_handle = Arc::new(OnceLock::new());
    let drivers = Drivers::new(
        Arc::clone(&late_handle),
        Dialling {
            tls: client_tls,
            token,
            tokens,
        },
    );
    let release_users = settings
        .release_events_users
        .iter()
        .map(|user| UserId::from(user.as_str()))
        .collect();
    let machine = ControllerMachine::new(controller::State::new(id, release_users));
    let limits = Limits {
        snapshot_bytes: settings.snapshot_size.0,
        snapshot_period: settings.snapshot_period.0,
        ..Limits::default()
    };
    let (handle, mut task) =
        Node::start(machine, opened, Arc::new(SystemClock), limits, drivers).await?;
    let _first = late_handle.set(handle.clone());
    handle.nudge();

    let (shut_down, mut wishes) = mpsc::channel(1);
    let shared = Shared {
        handle: handle.clone(),
        log: log.clone(),
        users,
        started_at: SystemClock.now(),
        metrics,
        shut_down,
    };
    let limits = BodyLimits {
        command: settings.command_size_max.as_usize(),
        stream: settings.stream_size_max.as_usize(),
    };
    let url = server.url();
    let close = CancellationToken::new();
    let serving = tokio::spawn(server.serve(router(Api(Arc::new(shared)), limits), close.clone()));
    tracing::info!(id = settings.id, %url, "the Controller is ready");
    ready(&url);

    let end = tokio::select! {
        ended = &mut task => {
            close.cancel();
            ended??;
            return Ok(Exit::default());
        }
        wish = wishes.recv() => wish.unwrap_or_default(),
        () = stop.cancelled() => End::default(),
    };
    tracing::info!(restart = end.restart, "the Controller is shutting down");
    // If the loop has ended by itself, its own result tells more.
    let _already = handle.shut_down(end).await;
    let ended = task.await?;
    close.cancel();
    if let Err(error) = serving.await {
        tracing::error!(%error, "the web server ended badly");
    }
    log.shutdown().await;
    ended?;
    Ok(Exit {
        restart: end.restart,
    })
}
