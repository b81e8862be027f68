//! `mainspring subagent`: a Subagent in a process of its own.

use crate::gate::Gate;
use crate::service::{OpenError, Subagent};
use crate::settings::SubagentSettings;
use axum::Router;
use axum::routing::get;
use model::{RunId, SubagentCommand};
use net::{
    BindError, ClientCertificates, Role, Server, TlsError, TlsServer, TokenFileError, check_listen,
    token_of,
};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// How a node ended in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exit {
    /// It is to be started again.
    pub restart: bool,
}

/// Why a Subagent cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Its directory or its processes.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Its address.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Its certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Its token.
    #[error(transparent)]
    Token(#[from] TokenFileError),
}

impl RunError {
    /// Returns whether the settings are wrong (exit code 2). In this case a restart does not help.
    pub fn is_misuse(&self) -> bool {
        match self {
            RunError::Bind(error) => error.is_misuse(),
            RunError::Tls(error) => error.is_misuse(),
            RunError::Open(_) | RunError::Token(_) => false,
        }
    }
}

/// Checks the settings without starting anything.
pub fn check(settings: &SubagentSettings) -> Result<(), RunError> {
    let tls = settings.tls.as_ref();
    check_listen(settings.listen, tls.is_some())?;
    if let Some(files) = tls {
        TlsServer::load(files, ClientCertificates::Optional)?;
    }
    Ok(())
}

/// Tells the operator what a crashed predecessor had left running.
pub fn warn_of(leftovers: &process::Leftovers) {
    for job in &leftovers.jobs {
        tracing::warn!(attempt = job.tag, pids = ?job.pids, "processes of a crashed predecessor have been ended");
    }
    if !leftovers.survivors.is_empty() {
        tracing::error!(pids = ?leftovers.survivors, "processes of a crashed predecessor cannot be ended; end them by hand");
    }
}

/// Returns the answer that the process is alive. A second line names the action that the process requires, if any.
fn health(subagent: &Subagent) -> String {
    let of_log = || {
        let trouble = telemetry::log_trouble()?;
        Some(format!("log lines are being dropped: {trouble}"))
    };
    let advice = subagent
        .advice()
        .or_else(net::certificate_advice)
        .or_else(of_log);
    advice.map_or_else(|| "ok\n".to_owned(), |advice| format!("ok\n{advice}\n"))
}

/// Runs until it is shut down by command, or in order when `stop` is cancelled: running jobs get SIGTERM then. `ready` is
/// told the URL.
pub async fn run(
    settings: SubagentSettings,
    stop: CancellationToken,
    ready: impl FnOnce(&str),
) -> Result<Exit, RunError> {
    check(&settings)?;
    let tls = settings
        .tls
        .as_ref()
        .map(|files| TlsServer::load(files, ClientCertificates::Optional))
        .transpose()?;
    let server = Server::bind(settings.listen, tls).await?;
    let server = server.with_connections(settings.connections_max);
    let token_file = settings
        .token_file
        .clone()
        .unwrap_or_else(|| settings.data.join("private/token"));
    let token = token_of(&token_file)?;
    let run_id = RunId::from(net::new_token().reveal()[..22].to_owned());
    let (data, jobs) = (settings.data.clone(), settings.jobs.clone());
    let (subagent, leftovers) = Subagent::open(&data, &data.join("work"), run_id.clone(), jobs)?;
    warn_of(&leftovers);
    subagent.watch_lease();
    let asked = subagent.clone();
    let health = Router::new().route("/health", get(move || std::future::ready(health(&asked))));
    let gate = Gate::new(Role::Agent, [&token]);
    let router = crate::api::router(subagent.clone(), &gate);
    let router = router.merge(crate::metrics::router(subagent.clone(), &gate));
    let url = server.url();
    tracing::info!(%url, %run_id, "the Subagent is ready");
    ready(&url);
    let close = CancellationToken::new();
    let serving = tasks::spawn_until(
        "web-server",
        close.clone(),
        server.serve(router.merge(health), close.clone()),
    );
    let restart = tokio::select! {
        restart = subagent.ended() => restart,
        () = stop.cancelled() => {
            let signal: Arc<str> = "SIGTERM".into();
            let shut_down = SubagentCommand::ShutDown { process_signal: Some(signal), restart: false };
            if let Err(problem) = subagent.command(0, 0, shut_down) {
                tracing::error!(%problem, "the Subagent cannot be shut down in order");
            }
            subagent.ended().await
        }
    };
    // The Director gets a moment to take over the last events.
    subagent
        .wait_until_confirmed(std::time::Duration::from_secs(2))
        .await;
    close.cancel();
    if let Err(error) = serving.await {
        tracing::error!(%error, "the web server ended badly");
    }
    Ok(Exit { restart })
}
