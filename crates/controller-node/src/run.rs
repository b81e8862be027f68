//! `mainspring controller`: from the data directory to the orderly end.

use crate::api::{Api, BodyLimits, Quotas, Shared, router};
use crate::directors::Voting;
use crate::drivers::{Dialling, Drivers};
use crate::front;
use crate::machine::ControllerMachine;
use crate::settings::ControllerSettings;
use crate::users::{UserError, Users};
use cluster::{Log, Options, Role};
use model::{ControllerId, RunId, UserId};
use net::{
    BindError, Client, ClientCertificates, ClientError, Server, TlsClient, TlsError, TlsServer,
    TokenFileError, TokenHash, check_listen, token_in, token_of,
};
use node::members::{CONTROLLER_MEMBERS_PATH, Dialled};
use node::{
    Active, Clock as _, End, Fault, Front, Kept, Limits, Over, SystemClock, Trusted, open_log,
};
use std::collections::BTreeMap;
use std::sync::Arc;
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
    /// The address of another member.
    #[error("cluster.members: {0}")]
    Member(#[from] ClientError),
    /// A watch without members.
    #[error(
        "a watch needs members to look at: --member Primary=https://HOST:PORT --member Backup=https://HOST:PORT"
    )]
    NoMembers,
    /// A token.
    #[error(transparent)]
    Token(#[from] TokenFileError),
}

impl RunError {
    /// Whether the process is to be started again at once (exit code 98): the trouble may be gone then.
    pub fn is_fault(&self) -> bool {
        matches!(self, RunError::Fault(_))
    }

    /// Returns whether the settings are wrong (exit code 2). A restart does not help in this case.
    pub fn is_misuse(&self) -> bool {
        match self {
            RunError::Id(_) | RunError::Users(_) | RunError::Member(_) | RunError::NoMembers => {
                true
            }
            RunError::Bind(error) => error.is_misuse(),
            RunError::Tls(error) => error.is_misuse(),
            RunError::Log(_) | RunError::Fault(_) | RunError::Token(_) => false,
        }
    }
}

/// Checks the settings without starting anything.
pub fn check(settings: &ControllerSettings) -> Result<(), RunError> {
    let tls = settings.tls.as_ref();
    check_listen(settings.listen, tls.is_some())?;
    if let Some(files) = tls {
        TlsServer::load(files, ClientCertificates::Optional)?;
    }
    let tls = tls.map(TlsClient::load).transpose()?;
    settings.cluster.others(tls.as_ref(), None)?;
    Ok(())
}

/// Runs until it is shut down by command, or in order when `stop` is cancelled. `ready` is told the URL as soon as it is served.
/// A member of a cluster that is no longer the active one begins anew as the one that follows.
pub async fn run(
    settings: ControllerSettings,
    stop: CancellationToken,
    ready: impl FnOnce(&str),
) -> Result<Exit, RunError> {
    let mut ready = Some(ready);
    check(&settings)?;
    let id = ControllerId::checked(&settings.id)?;
    let tls = settings.tls.as_ref();
    let client_tls = tls.map(TlsClient::load).transpose()?;
    let admin_token = token_of(&settings.data.join("private/admin-token"))?;
    let cluster_token = settings
        .cluster
        .token_file
        .as_deref()
        .map(token_in)
        .transpose()?;
    let mut tokens = BTreeMap::new();
    for (agent, file) in &settings.agent_token_files {
        tokens.insert(agent.clone(), token_in(file)?);
    }
    let token = settings
        .agent_token_file
        .as_deref()
        .map(token_in)
        .transpose()?;
    let mut member = Member {
        users: Arc::new(Users::new(&settings, &admin_token)?),
        others: settings
            .cluster
            .others(client_tls.as_ref(), cluster_token.as_ref())?,
        cluster_token: cluster_token.as_ref().map(TokenHash::of),
        dialling: Dialling {
            tls: client_tls,
            token,
            tokens,
            run_id: RunId::from(net::new_token().reveal()[..22].to_owned()),
            // The address is known once the listener is bound.
            address: "".into(),
        },
        id,
        settings,
        stop,
    };
    loop {
        let tls = member.settings.tls.as_ref();
        let server_tls = tls
            .map(|files| TlsServer::load(files, ClientCertificates::Optional))
            .transpose()?;
        let server = Server::bind(member.settings.listen, server_tls).await?;
        let server = server.with_connections(member.settings.connections_max);
        let url = server.url();
        member.dialling.address =
            node::announced_address(member.settings.cluster.url.as_deref(), &url);
        let told = |url: &str| {
            if let Some(ready) = ready.take() {
                ready(url);
            }
        };
        match member.live(server, &url, told).await? {
            Life::Ended(exit) => return Ok(exit),
            Life::Deposed => tracing::warn!("another member is active now; this one follows it"),
            Life::Damaged => tracing::warn!("this member learns the log anew from the others"),
        }
    }
}

/// How a life of this process as a member has ended.
enum Life {
    Ended(Exit),
    Deposed,
    /// The log of this member was damaged and has been moved away.
    Damaged,
}

/// What stays the same from life to life.
struct Member {
    id: ControllerId,
    settings: ControllerSettings,
    users: Arc<Users>,
    others: Vec<Client>,
    cluster_token: Option<TokenHash>,
    dialling: Dialling,
    stop: CancellationToken,
}

impl Member {
    fn options(&self) -> Options {
        let settings = &self.settings;
        let mut options = Options::new(
            settings.data.join("state"),
            format!("controller:{}", self.id),
        );
        options.segment_bytes = settings.segment.0;
        options.in_flight_bytes = options
            .in_flight_bytes
            .max(settings.stream_size_max.as_usize() * IN_FLIGHT_FACTOR);
        settings.cluster.apply(&mut options);
        options.url.clone_from(&settings.cluster.url);
        options
    }

    fn limits(&self) -> Limits {
        Limits {
            snapshot_bytes: self.settings.snapshot_size.0,
            snapshot_period: self.settings.snapshot_period.0,
            kept_bytes: self.settings.output_kept.0,
            ..Limits::default()
        }
    }

    fn empty_machine(&self) -> ControllerMachine {
        let release_users = self
            .settings
            .release_events_users
            .iter()
            .map(|user| UserId::from(user.as_str()))
            .collect();
        let state = controller::State::new(self.id.clone(), release_users);
        ControllerMachine::new(state.in_environment(node::environment()))
    }

    /// From the opening of the log to its end: following, then active.
    async fn live(
        &self,
        server: Server,
        url: &str,
        ready: impl FnOnce(&str),
    ) -> Result<Life, RunError> {
        let mut options = self.options();
        options.address = Some(self.dialling.address.to_string());
        let dir = options.dir.clone();
        let trusted = Trusted {
            roles: vec![net::Role::Controller],
            tokens: self.cluster_token.into_iter().collect(),
        };
        let opened = open_log(options.clone(), &self.others, CONTROLLER_MEMBERS_PATH).await;
        let log = match opened {
            Ok(log) => log,
            Err(error) if node::is_damaged(&error) && self.may_be_dialled() => {
                let path = CONTROLLER_MEMBERS_PATH;
                let confirmed = node::is_confirmed_by_caller(
                    options, &error, server, path, trusted, &self.stop,
                );
                if !confirmed.await {
                    return Err(error.into());
                }
                node::set_aside(&dir);
                return Ok(Life::Damaged);
            }
            Err(error) => return Err(error.into()),
        };
        let front = Front::new(log.clone(), Kept::Controller, trusted);
        let running = front.run().await;
        let dialled = Dialled::begin(&log, &self.others, CONTROLLER_MEMBERS_PATH);
        let close = CancellationToken::new();
        let routes = front::router(&front, Arc::clone(&self.users));
        let serving = tasks::spawn_until(
            "web-server",
            close.clone(),
            server.serve(routes, close.clone()),
        );
        let mut ready = Some(ready);
        if log.leadership().borrow().role != Role::Active {
            tracing::info!(id = self.settings.id, name = self.settings.cluster.name, %url, "this member follows");
            if let Some(ready) = ready.take() {
                ready(url);
            }
        }
        let following = node::follow(
            || self.empty_machine(),
            &log,
            self.limits(),
            &running,
            |machine: &ControllerMachine| front.tell(machine.state.cluster()),
        );
        let followed = tokio::select! {
            followed = following => Some(followed),
            () = self.stop.cancelled() => None,
        };
        let lived = match followed {
            Some(Ok(followed)) => {
                let ready = || {
                    tracing::info!(id = self.settings.id, %url, "the Controller is ready");
                    if let Some(ready) = ready.take() {
                        ready(url);
                    }
                };
                self.be_active(followed, &log, &front, ready).await
            }
            Some(Err(fault)) => Err(fault.into()),
            None => Ok(Life::Ended(Exit::default())),
        };
        drop(running);
        front.close();
        close.cancel();
        drop(dialled);
        log.shutdown().await;
        if let Err(error) = serving.await {
            tracing::error!(%error, "the web server ended badly");
        }
        if matches!(&lived, Err(RunError::Fault(fault)) if fault.is_damaged()) {
            node::set_aside(&dir);
            return Ok(Life::Damaged);
        }
        lived
    }

    /// Returns whether other members can prove that they are members. A single Controller usually has no settings for that.
    fn may_be_dialled(&self) -> bool {
        self.cluster_token.is_some() || self.settings.tls.is_some()
    }

    async fn be_active(
        &self,
        followed: node::Ready<ControllerMachine>,
        log: &Log,
        front: &Front,
        ready: impl FnOnce(),
    ) -> Result<Life, RunError> {
        let voting = Voting {
            dir: self.settings.data.join("votes"),
            id: format!("{}/{}", self.id, self.settings.cluster.name).into(),
        };
        let drivers = |late_handle| {
            Drivers::new(
                late_handle,
                log.clone(),
                self.dialling.clone(),
                voting,
                front.clone(),
            )
        };
        let began = Active::begin(followed, log, front, self.limits(), drivers).await?;
        let Some(mut active) = began else {
            return Ok(Life::Deposed);
        };
        let (shut_down, mut wishes) = mpsc::channel(1);
        let shared = Shared {
            handle: active.handle().clone(),
            log: log.clone(),
            front: front.clone(),
            users: Arc::clone(&self.users),
            started_at: SystemClock.now(),
            dialling: self.dialling.clone(),
            shut_down,
            quotas: Quotas::new(self.settings.event_streams_max, self.settings.snapshots_max),
        };
        let limits = BodyLimits {
            command: self.settings.command_size_max.as_usize(),
            stream: self.settings.stream_size_max.as_usize(),
        };
        active.open(router(Api(Arc::new(shared)), limits));
        ready();

        let wish = async {
            tokio::select! {
                wish = wishes.recv() => wish.unwrap_or_default(),
                () = self.stop.cancelled() => End::default(),
            }
        };
        let end = match active.until(wish).await? {
            Over::Wish(end) => end,
            Over::Ended => return Ok(Life::Ended(Exit::default())),
            Over::Deposed => return Ok(Life::Deposed),
        };
        tracing::info!(restart = end.restart, "the Controller is shutting down");
        active.end(end, async {}).await?;
        Ok(Life::Ended(Exit {
            restart: end.restart,
        }))
    }
}
