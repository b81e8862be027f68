//! `mainspring agent`: from the data directory to the orderly end.

use crate::api::{Api, ShutDownWish, Wish, router};
use crate::drivers::{Dialling, Drivers};
use crate::machine::AgentMachine;
use crate::reset::{self, ForgetError};
use crate::settings::AgentSettings;
use cluster::{Log, Options};
use model::{RunId, SubagentCommand};
use net::{BindError, ClientCertificates, Role, Server, TlsClient, TlsError, TlsServer};
use node::{End, Fault, Limits, Node, SystemClock};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use subagent_node::{Gate, OpenError, Subagent, TokenFileError, token_of_file};
use telemetry::Metrics;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How long processes that got a signal at the shutdown may take to end, and their ends to be written down.
const FAREWELL: Duration = Duration::from_secs(30);
/// A shorter lease would end jobs whenever a machine is busy for a moment.
const LEASE_MIN: Duration = Duration::from_secs(1);

/// How long the work directory may be in use when the Agent begins.
const WORK_PATIENCE: Duration = Duration::from_secs(2);

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
    /// The log cannot be put aside for a reset.
    #[error(transparent)]
    Forget(#[from] ForgetError),
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
        matches!(
            self,
            RunError::Fault(_) | RunError::Panicked(_) | RunError::Forget(_)
        )
    }
}

/// How a life of the Agent ended.
enum Ended {
    Exit(Exit),
    /// It has forgotten everything. The next one is found at the same address.
    Reset(SocketAddr),
}

/// Runs until it is shut down by command, or in order when `stop` is cancelled; begins anew when it is reset. `ready` is told the
/// URL once.
pub async fn run(
    mut settings: AgentSettings,
    metrics: Option<Metrics>,
    stop: CancellationToken,
    ready: impl FnOnce(&str),
) -> Result<Exit, RunError> {
    let mut ready = Some(ready);
    let mut was_reset = false;
    loop {
        let tell = |url: &str| {
            if let Some(ready) = ready.take() {
                ready(url);
            }
        };
        match live(&settings, metrics.clone(), &stop, tell).await {
            Ok(Ended::Exit(exit)) => return Ok(exit),
            Ok(Ended::Reset(address)) => {
                settings.listen = address;
                was_reset = true;
            }
            // A job that even SIGKILL does not end may still hold the work directory. The next process deals with it.
            Err(error) if was_reset && !error.is_fault() => {
                tracing::error!(%error, "the Agent cannot begin anew in this process and asks to be started again");
                return Ok(Exit { restart: true });
            }
            Err(error) => return Err(error),
        }
    }
}

async fn live(
    settings: &AgentSettings,
    metrics: Option<Metrics>,
    stop: &CancellationToken,
    ready: impl FnOnce(&str),
) -> Result<Ended, RunError> {
    let tls = settings.tls.as_ref();
    let server_tls = tls
        .map(|files| TlsServer::load(files, ClientCertificates::Optional))
        .transpose()?;
    let client_tls = tls.map(TlsClient::load).transpose()?;
    let server = Server::bind(settings.listen, server_tls).await?;
    let address = server.local_addr();
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
    reset::tidy(&settings.data);
    let local = open_local(settings, random_id()).await?;

    let late_handle = Arc::new(OnceLock::new());
    let dialling = Dialling {
        tls: client_tls,
        token: subagent_token,
        lease: settings.subagent_lease.0.max(LEASE_MIN),
    };
    let drivers = Drivers::new(local.clone(), dialling.clone(), late_handle.clone());
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

    let (wishes_of_api, mut wishes) = mpsc::channel(1);
    let api = Api {
        name: settings.name.as_str().into(),
        handle: handle.clone(),
        log: log.clone(),
        local: local.clone(),
        wishes: wishes_of_api,
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
            return Ok(Ended::Exit(Exit::default()));
        }
        wish = wishes.recv() => wish,
        () = stop.cancelled() => None,
    };
    let wish = match wish {
        Some(Wish::Reset(forgotten)) => {
            tracing::info!("the Agent is being reset: its jobs are ended and its log is removed");
            let machine = handle.read(AgentMachine::clone).await;
            // From here on nothing is decided any more, so no job starts in place of one that is ended.
            let end = End {
                suppress_snapshot: true,
                ..End::default()
            };
            let _already = handle.shut_down(end).await;
            let ended = task.await?;
            log.shutdown().await;
            ended?;
            forget(&settings.data).await?;
            if let Ok(machine) = machine {
                reset::end_all_jobs(&machine, &local, &dialling).await;
            }
            reset::tidy(&settings.data);
            // Whoever asked may be gone; he will ask again.
            let _unheard = forgotten.send(());
            close.cancel();
            if let Err(error) = serving.await {
                tracing::error!(%error, "the web server ended badly");
            }
            tracing::info!("the Agent has been reset and begins anew");
            return Ok(Ended::Reset(address));
        }
        Some(Wish::ShutDown(wish)) => wish,
        // Without a wish it is the operating system that asks: jobs get SIGTERM.
        None => ShutDownWish {
            process_signal: Some("SIGTERM".into()),
            restart: false,
            suppress_snapshot: false,
        },
    };
    tracing::info!(restart = wish.restart, "the Agent is shutting down");
    let end_jobs = SubagentCommand::ShutDown {
        process_signal: wish.process_signal.clone(),
        restart: false,
    };
    if let Err(problem) = local.command(0, 0, end_jobs) {
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
    Ok(Ended::Exit(Exit {
        restart: wish.restart,
    }))
}

async fn forget(data: &Path) -> Result<(), RunError> {
    let data = data.to_owned();
    Ok(tokio::task::spawn_blocking(move || reset::put_aside(&data)).await??)
}

/// The Director's own Subagent. After a reset the tasks of the jobs that were ended may hold the work directory for a moment more.
async fn open_local(settings: &AgentSettings, life: RunId) -> Result<Subagent, OpenError> {
    let begun = Instant::now();
    loop {
        let (data, jobs) = (&settings.data, settings.jobs.clone());
        let opened = tokio::task::block_in_place(|| {
            Subagent::open(data, &data.join("work"), life.clone(), jobs)
        });
        match opened {
            Ok((local, leftovers)) => {
                subagent_node::warn_of(&leftovers);
                return Ok(local);
            }
            Err(OpenError::Ward(_)) if begun.elapsed() < WORK_PATIENCE => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => return Err(error),
        }
    }
}
