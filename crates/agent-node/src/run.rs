//! `mainspring agent`: from the data directory to the orderly end.

use crate::api::{Api, ShutDownWish, router};
use crate::drivers::{Dialling, Drivers};
use crate::machine::AgentMachine;
use crate::settings::AgentSettings;
use cluster::{Log, Options};
use model::{RunId, SubagentCommand};
use net::{BindError, ClientCertificates, Role, Server, TlsClient, TlsError, TlsServer};
use node::{End, Fault, Limits, Node, SystemClock};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use subagent_node::{Gate, OpenError, Subagent, TokenFileError, token_of_file};
use telemetry::Metrics;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How long processes that got a signal at the shutdown may take to end, and their ends to be written down.
const FAREWELL: Duration = Duration::from_secs(30);

/// How the Agent ended in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exit {
    /// It is to be started again.
    pub restart: bool,
}

/// Why an Agent cannot run or has to stop.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Its log cannot be opened.
    #[error(transparent)]
    Log(#[from] cluster::OpenError),
    /// The log failed, or an event did not fit: the process is to be started again.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// Its own Subagent.
    #[error(transparent)]
    Subagent(#[from] OpenError),
    /// Its address.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Its certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A token.
    #[error(transparent)]
    Token(#[from] TokenFileError),
    /// A task of the process has panicked.
    #[error("the Agent's loop has ended badly: {0}")]
    Panicked(#[from] tokio::task::JoinError),
}

impl RunError {
    /// Whether the process is to be started again at once: the trouble may be gone then.
    pub fn is_fault(&self) -> bool {
        matches!(self, RunError::Fault(_) | RunError::Panicked(_))
    }
}

/// Runs until it is shut down by command, or in order when `stop` is cancelled. `ready` is told the URL.
pub async fn run(
    settings: AgentSettings,
    metrics: Option<Metrics>,
    stop: CancellationToken,
    ready: impl FnOnce(&str),
) -> Result<Exit, RunError> {
    let tls = settings.tls.as_ref();
    let server_tls = tls
        .map(|files| TlsServer::load(files, ClientCertificates::Optional))
        .transpose()?;
    let client_tls = tls.map(TlsClient::load).transpose()?;
    let server = Server::bind(settings.listen, server_tls).await?;
    // The log's lock keeps a second process away before anything of the first one's work directory is touched.
    let mut options = Options::new(
        settings.data.join("state"),
        format!("agent:{}", settings.name),
    );
    options.segment_bytes = settings.segment.0;
    let opened = Log::open(options).await?;
    let log = opened.log.clone();
    let token_file = settings
        .token_file
        .clone()
        .unwrap_or_else(|| settings.data.join("private/token"));
    let token = token_of_file(&token_file)?;
    let subagent_token = settings
        .subagent_token_file
        .as_deref()
        .map(token_of_file)
        .transpose()?;
    let random_id = || RunId::from(net::new_token().reveal()[..22].to_owned());
    let (data, jobs) = (settings.data.clone(), settings.jobs.clone());
    let life = random_id();
    let (local, leftovers) =
        tokio::task::block_in_place(|| Subagent::open(&data, &data.join("work"), life, jobs))?;
    subagent_node::warn_of(&leftovers);

    let late_handle = Arc::new(OnceLock::new());
    let dialling = Dialling {
        tls: client_tls,
        token: subagent_token,
    };
    let drivers = Drivers::new(local.clone(), dialling, late_handle.clone());
    let machine = AgentMachine::new(random_id());
    let (handle, task) = Node::start(
        machine,
        opened,
        Arc::new(SystemClock),
        Limits::default(),
        drivers,
    )
    .await?;
    let _first = late_handle.set(handle.clone());
    handle.nudge();

    let (shut_down, mut wishes) = mpsc::channel(1);
    let api = Api {
        name: settings.name.as_str().into(),
        handle: handle.clone(),
        log: log.clone(),
        local: local.clone(),
        shut_down,
        metrics,
    };
    let url = server.url();
    let close = CancellationToken::new();
    let serving = tokio::spawn(server.serve(
        router(api, &Gate::new(Role::Controller, &token)),
        close.clone(),
    ));
    tracing::info!(name = settings.name, %url, "the Agent is ready");
    ready(&url);

    let mut task = task;
    let wish = tokio::select! {
        ended = &mut task => {
            close.cancel();
            ended??;
            return Ok(Exit::default());
        }
        wish = wishes.recv() => wish,
        () = stop.cancelled() => None,
    };
    // Without a wish it is the operating system that asks: jobs get SIGTERM.
    let wish = wish.unwrap_or(ShutDownWish {
        process_signal: Some("SIGTERM".into()),
        restart: false,
        suppress_snapshot: false,
    });
    tracing::info!(restart = wish.restart, "the Agent is shutting down");
    let end_jobs = SubagentCommand::ShutDown {
        process_signal: wish.process_signal.clone(),
        restart: false,
    };
    if let Err(problem) = local.command(0, end_jobs) {
        tracing::error!(%problem, "the jobs cannot be ended in order");
    }
    if tokio::time::timeout(FAREWELL, local.ended()).await.is_err() {
        tracing::warn!(
            "jobs are still running; they are ended with the process and repeated where they may be"
        );
    } else {
        local.wait_until_confirmed(Duration::from_secs(5)).await;
    }
    let end = End {
        restart: wish.restart,
        suppress_snapshot: wish.suppress_snapshot,
    };
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
        restart: wish.restart,
    })
}
