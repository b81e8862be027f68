//! `mainspring agent`: from the data directory to the orderly end.

use crate::api::{self, Api, ShutDownWish, Wish, router};
use crate::drivers::{Dialling, Drivers};
use crate::forgetting::{self, Asked};
use crate::machine::{AgentMachine, Input};
use crate::reset::{self, ForgetError};
use crate::settings::AgentSettings;
use crate::streams::{Streams, UNACKNOWLEDGED_MAX};
use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::future::RouteFuture;
use cluster::{Log, Options};
use model::{Problem, RunId, SubagentCommand};
use net::{
    BindError, Client, ClientCertificates, ClientError, Role, Server, TlsClient, TlsError,
    TlsServer, TokenFileError, TokenHash, check_listen, token_of,
};
use node::members::{AGENT_MEMBERS_PATH, Dialled};
use node::{Active, ClusterSettings, End, Fault, Front, Handle, Kept, Limits, Over, Trusted};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use subagent_node::{Gate, OpenError, Subagent};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tower_service::Service;

/// How long processes that got a signal at the shutdown may take to end, and their ends to be written down.
const FAREWELL: Duration = Duration::from_secs(30);
/// A shorter lease would end jobs whenever a machine is busy for a moment.
const LEASE_MIN: Duration = Duration::from_secs(1);

/// How long the Directors of a pair may take to go their own ways.
const PARTING: Duration = Duration::from_secs(10);

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
    /// The Agent's name is not valid.
    #[error("name: {0}")]
    AgentName(#[from] model::NameError),
    /// Its log cannot be opened.
    #[error(transparent)]
    Log(#[from] cluster::OpenError),
    /// The log failed, or an event did not fit: the process is to be started again.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// Its place among the Directors.
    #[error(
        "cluster.name: a Director is Primary or Backup, in the order of the Agent's directors, not {0:?}"
    )]
    Name(String),
    /// The address of the other Director.
    #[error("cluster.members: {0}")]
    Member(#[from] ClientError),
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
    #[error("a task of the Agent has ended badly: {0}")]
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

    /// Returns whether the settings are wrong (exit code 2). In this case a restart does not help.
    pub fn is_misuse(&self) -> bool {
        match self {
            RunError::AgentName(_) | RunError::Name(_) | RunError::Member(_) => true,
            RunError::Bind(error) => error.is_misuse(),
            RunError::Tls(error) => error.is_misuse(),
            RunError::Log(_)
            | RunError::Fault(_)
            | RunError::Subagent(_)
            | RunError::Forget(_)
            | RunError::Token(_)
            | RunError::Panicked(_) => false,
        }
    }
}

/// Checks the settings without starting anything.
pub fn check(settings: &AgentSettings) -> Result<(), RunError> {
    model::AgentPath::checked(&settings.name)?;
    position_of(&settings.cluster)?;
    let tls = settings.tls.as_ref();
    check_listen(settings.listen, tls.is_some())?;
    if let Some(files) = tls {
        TlsServer::load(files, ClientCertificates::Optional)?;
    }
    let tls = tls.map(TlsClient::load).transpose()?;
    settings.cluster.others(tls.as_ref(), None)?;
    Ok(())
}

/// How a life of the Agent ended.
enum Ended {
    Exit(Exit),
    /// It has forgotten everything. The next one is found at the same address.
    Reset(SocketAddr),
    /// Its log was damaged and has been set aside. The next run listens on the same address.
    Damaged(SocketAddr),
}

/// Runs until it is shut down by command, or in order when `stop` is cancelled; begins anew when it is reset. `ready` is told the
/// URL once. A Director of a pair that is no longer the active one begins anew as the one that follows.
pub async fn run(
    mut settings: AgentSettings,
    stop: CancellationToken,
    ready: impl FnOnce(&str),
) -> Result<Exit, RunError> {
    check(&settings)?;
    let mut ready = Some(ready);
    let mut was_reset = false;
    let run_id = random_id();
    loop {
        let tell = |url: &str| {
            if let Some(ready) = ready.take() {
                ready(url);
            }
        };
        // The future contains the whole Agent. On the heap it is not copied with the futures that contain it.
        match Box::pin(live((&settings, &run_id), &stop, tell)).await {
            Ok(Ended::Exit(exit)) => return Ok(exit),
            Ok(Ended::Reset(address)) => {
                settings.listen = address;
                was_reset = true;
            }
            Ok(Ended::Damaged(address)) => {
                tracing::warn!("this Director learns the log anew from the other one");
                settings.listen = address;
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

/// From the opening of the log to the end, or to the reset. The own Subagent and the port stay over all changes of who is active.
async fn live(
    (settings, run_id): (&AgentSettings, &RunId),
    stop: &CancellationToken,
    ready: impl FnOnce(&str),
) -> Result<Ended, RunError> {
    let tls = settings.tls.as_ref();
    let server_tls = tls
        .map(|files| TlsServer::load(files, ClientCertificates::Optional))
        .transpose()?;
    let client_tls = tls.map(TlsClient::load).transpose()?;
    let position = position_of(&settings.cluster)?;
    let server = Server::bind(settings.listen, server_tls).await?;
    let server = server
        .with_connections(settings.connections_max)
        .with_unacknowledged(UNACKNOWLEDGED_MAX);
    let address = server.local_addr();
    let token_in = |file: &Option<PathBuf>| file.as_deref().map(token_of).transpose();
    let subagent_token = token_in(&settings.subagent_token_file)?;
    let cluster_token = token_in(&settings.cluster.token_file)?;
    // The log's lock keeps a second process away before anything of the first one's work directory is touched.
    let others = settings
        .cluster
        .others(client_tls.as_ref(), cluster_token.as_ref())?;
    let url = server.url();
    let announced = node::announced_address(settings.cluster.url.as_deref(), &url);
    let opened = open_log(settings, position, &announced, &others).await;
    let may_be_dialled = cluster_token.is_some() || settings.tls.is_some();
    let mut log = match opened {
        Ok(log) => log,
        Err(error) if node::is_damaged(&error) && may_be_dialled => {
            let trusted = Trusted {
                roles: vec![Role::Agent],
                tokens: cluster_token.iter().map(TokenHash::of).collect(),
            };
            let options = options(settings);
            let path = AGENT_MEMBERS_PATH;
            let confirmed =
                node::is_confirmed_by_caller(options, &error, server, path, trusted, stop);
            if !confirmed.await {
                return Err(error.into());
            }
            node::set_aside(&settings.data.join("state"));
            return Ok(Ended::Damaged(address));
        }
        Err(error) => return Err(error.into()),
    };
    let token_file = settings
        .token_file
        .clone()
        .unwrap_or_else(|| settings.data.join("private/token"));
    let token = token_of(&token_file)?;
    reset::tidy(&settings.data);
    let local = open_local(settings, random_id()).await?;
    local.watch_lease();

    let of_directors = Gate::new(
        Role::Agent,
        subagent_token.iter().chain(cluster_token.iter()),
    );
    let current = Current::default();
    let gate = Gate::new(Role::Controller, [&token]);
    let (asks, asked) = mpsc::channel(1);
    let routes = Router::new()
        .merge(api::gated(forgetting::router(asks), &gate))
        .merge(subagent_node::router(local.clone(), &of_directors))
        .fallback_service(current.clone());
    let close = CancellationToken::new();
    // From when there is somebody to answer on: whoever dials earlier waits.
    let mut to_serve = Some((server, routes));
    let mut serving = None;
    let director = Director {
        settings,
        position,
        url: &url,
        others: others.clone(),
        trusted: Trusted {
            roles: vec![Role::Controller, Role::Agent],
            tokens: [Some(&token), cluster_token.as_ref()]
                .into_iter()
                .flatten()
                .map(TokenHash::of)
                .collect(),
        },
        gate,
        asked: Mutex::new(asked),
        dialling: Dialling {
            tls: client_tls,
            token: subagent_token,
            director_token: cluster_token,
            lease: settings.subagent_lease.0.max(LEASE_MIN),
            run_id: run_id.clone(),
            address: Arc::clone(&announced),
        },
        local,
        stop: stop.clone(),
        current,
    };
    let mut ready = Some(ready);
    let ended = loop {
        let tell = || {
            if let Some((server, routes)) = to_serve.take() {
                serving = Some(tasks::spawn_until(
                    "web-server",
                    close.clone(),
                    server.serve(routes, close.clone()),
                ));
            }
            if let Some(ready) = ready.take() {
                ready(&url);
            }
        };
        match director.follow_and_lead(&log, tell).await {
            Ok(Life::Exit(exit)) => break Ok(Ended::Exit(exit)),
            Ok(Life::Reset(forgotten)) => {
                // Whoever asked may be gone; he will ask again.
                let _unheard = forgotten.send(());
                break Ok(Ended::Reset(address));
            }
            Ok(Life::Deposed) => {
                tracing::warn!("the other Director is active now; this one follows it");
                log.shutdown().await;
                log = open_log(settings, position, &announced, &others).await?;
            }
            Err(RunError::Fault(fault)) if fault.is_damaged() => {
                tracing::warn!("this Director learns the log anew from the other one");
                log.shutdown().await;
                node::set_aside(&settings.data.join("state"));
                log = open_log(settings, position, &announced, &others).await?;
            }
            Err(error) => break Err(error),
        }
    };
    close.cancel();
    log.shutdown().await;
    if let Some(serving) = serving
        && let Err(error) = serving.await
    {
        tracing::error!(%error, "the web server ended badly");
    }
    if matches!(ended, Ok(Ended::Reset(_))) {
        tracing::info!("the Agent has been reset and begins anew");
    }
    ended
}

/// The log; where there is none, the other Director may have it.
async fn open_log(
    settings: &AgentSettings,
    position: usize,
    address: &str,
    others: &[Client],
) -> Result<Log, cluster::OpenError> {
    let mut options = options(settings);
    options.address = Some(address.to_owned());
    if position == 0 && reset::is_to_begin(&settings.data) {
        options.joins = false;
        return Ok(Log::open(options).await?.log);
    }
    node::open_log(options, others, AGENT_MEMBERS_PATH).await
}

/// Returns the options of the log.
fn options(settings: &AgentSettings) -> Options {
    let mut options = Options::new(
        settings.data.join("state"),
        format!("agent:{}", settings.name),
    );
    options.segment_bytes = settings.segment.0;
    settings.cluster.apply(&mut options);
    options
}

/// Which of the Agent's directors this one is.
fn position_of(cluster: &ClusterSettings) -> Result<usize, RunError> {
    let name = cluster.name.as_str();
    let position = agent::NODE_IDS.iter().position(|known| *known == name);
    position.ok_or_else(|| RunError::Name(name.to_owned()))
}

fn random_id() -> RunId {
    RunId::from(net::new_token().reveal()[..22].to_owned())
}

/// The routes of the present life.
#[derive(Clone, Default)]
struct Current(Arc<RwLock<Router>>);

impl Current {
    fn set(&self, router: Router) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = router;
    }
}

impl Service<Request> for Current {
    type Response = Response;
    type Error = Infallible;
    type Future = RouteFuture<Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let mut router = self
            .0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        router.call(request)
    }
}

/// How a life as a member ended.
enum Life {
    Exit(Exit),
    Deposed,
    /// Everything is forgotten; who asked is to be told.
    Reset(oneshot::Sender<()>),
}

/// What stays the same from life to life.
struct Director<'a> {
    settings: &'a AgentSettings,
    position: usize,
    url: &'a str,
    others: Vec<Client>,
    trusted: Trusted,
    gate: Gate,
    dialling: Dialling,
    local: Subagent,
    stop: CancellationToken,
    current: Current,
    /// Steps of a reset of both Directors.
    asked: Mutex<mpsc::Receiver<Asked>>,
}

impl Director<'_> {
    /// One life: following, then active.
    async fn follow_and_lead(&self, log: &Log, ready: impl FnOnce()) -> Result<Life, RunError> {
        let name = self.settings.name.as_str();
        let front = Front::new(log.clone(), Kept::Agent, self.trusted.clone());
        // It ends with this life, whatever the reason.
        let running = front.run().await;
        self.current.set(api::front(&front, &self.gate));
        let _dialled = Dialled::begin(log, &self.others, AGENT_MEMBERS_PATH);
        let mut ready = Some(ready);
        if log.leadership().borrow().role != cluster::Role::Active {
            tracing::info!(
                name,
                member = self.settings.cluster.name,
                url = self.url,
                "this Director follows"
            );
            if let Some(ready) = ready.take() {
                ready();
            }
        }
        let life = std::sync::Mutex::new(None);
        let following = node::follow(
            || AgentMachine::new(random_id()).at(self.position),
            log,
            Limits::default(),
            &running,
            |machine: &AgentMachine| {
                front.tell(machine.state.cluster());
                let known = machine.state.meta().map(|meta| meta.agent_run_id.clone());
                *life.lock().unwrap_or_else(PoisonError::into_inner) = known;
            },
        );
        let mut following = std::pin::pin!(following);
        let followed = loop {
            tokio::select! {
                followed = &mut following => break followed?,
                () = self.stop.cancelled() => {
                    tracing::info!("the Agent is shutting down");
                    self.end_own_jobs(&ShutDownWish::default()).await;
                    return Ok(Life::Exit(Exit::default()));
                }
                Some(asked) = self.asked() => {
                    let known = life.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    if let Some(told) = asked.judged(known.as_ref()) {
                        return self.forget_following(log, told).await;
                    }
                }
            }
        };
        reset::has_begun(&self.settings.data);
        let ready = || {
            tracing::info!(name, url = self.url, "the Agent is ready");
            if let Some(ready) = ready.take() {
                ready();
            }
        };
        let lived = self.lead(followed, log, &front, ready).await;
        front.close();
        lived
    }

    async fn lead(
        &self,
        followed: node::Ready<AgentMachine>,
        log: &Log,
        front: &Front,
        ready: impl FnOnce(),
    ) -> Result<Life, RunError> {
        let drivers = |late_handle| {
            Drivers::new(
                self.local.clone(),
                self.dialling.clone(),
                late_handle,
                log.clone(),
                front.clone(),
            )
        };
        let began = Active::begin(followed, log, front, Limits::default(), drivers).await?;
        let Some(mut active) = began else {
            return Ok(Life::Deposed);
        };
        let handle = active.handle().clone();
        let (wishes_of_api, mut wishes) = mpsc::channel(1);
        let api = Api {
            name: self.settings.name.as_str().into(),
            handle: handle.clone(),
            log: log.clone(),
            front: front.clone(),
            local: self.local.clone(),
            wishes: wishes_of_api,
            streams: Streams::default(),
        };
        active.open(router(api, &self.gate));
        ready();

        let wish = async {
            loop {
                tokio::select! {
                    wish = wishes.recv() => return wish,
                    () = self.stop.cancelled() => return None,
                    Some(asked) = self.asked() => {
                        if let Some(told) = judged_by_active(asked, &handle, log).await {
                            return Some(Wish::Reset(told));
                        }
                    }
                }
            }
        };
        match active.until(wish).await? {
            Over::Wish(Some(Wish::Reset(forgotten))) => self.forget(active, log, forgotten).await,
            Over::Wish(Some(Wish::ShutDown(wish))) => self.shut_down(active, &wish).await,
            // Without a wish it is the operating system that asks: jobs get SIGTERM.
            Over::Wish(None) => self.shut_down(active, &ShutDownWish::default()).await,
            Over::Ended => Ok(Life::Exit(Exit::default())),
            Over::Deposed => Ok(Life::Deposed),
        }
    }

    async fn asked(&self) -> Option<Asked> {
        self.asked.lock().await.recv().await
    }

    /// Forgets what this Director has followed, and ends the jobs of its own Subagent.
    async fn forget_following(
        &self,
        log: &Log,
        forgotten: oneshot::Sender<()>,
    ) -> Result<Life, RunError> {
        tracing::info!("the Agent is being reset: this Director forgets what it has followed");
        log.clone().shutdown().await;
        forget(&self.settings.data).await?;
        let kill = SubagentCommand::ShutDown {
            process_signal: Some("SIGKILL".into()),
            restart: false,
        };
        if let Err(problem) = self.local.command(0, 0, kill) {
            tracing::error!(%problem, "the jobs cannot be ended");
        }
        let ended = tokio::time::timeout(Duration::from_secs(10), self.local.ended()).await;
        if ended.is_err() {
            tracing::warn!("jobs are still running after SIGKILL");
        }
        reset::tidy(&self.settings.data);
        Ok(Life::Reset(forgotten))
    }

    /// Puts the log aside and ends all jobs.
    async fn forget(
        &self,
        active: Active<AgentMachine>,
        log: &Log,
        forgotten: oneshot::Sender<()>,
    ) -> Result<Life, RunError> {
        tracing::info!("the Agent is being reset: its jobs are ended and its log is removed");
        let machine = active.handle().read(AgentMachine::clone).await;
        let epoch = log.leadership().borrow().term;
        // From here on nothing is decided any more, so no job starts in place of one that is ended.
        let end = End {
            suppress_snapshot: true,
            ..End::default()
        };
        let stopped = active.stop(end).await;
        log.clone().shutdown().await;
        stopped?;
        forget(&self.settings.data).await?;
        if let Ok(machine) = machine {
            let from = self.dialling.myself(log);
            reset::end_all_jobs(&machine, (epoch, from), &self.local, &self.dialling).await;
        }
        reset::tidy(&self.settings.data);
        Ok(Life::Reset(forgotten))
    }

    /// Ends in order. The other Director, if there is one, goes on at once, also with the ends of this one's jobs.
    async fn shut_down(
        &self,
        active: Active<AgentMachine>,
        wish: &ShutDownWish,
    ) -> Result<Life, RunError> {
        tracing::info!(restart = wish.restart, "the Agent is shutting down");
        let end = End {
            restart: wish.restart,
            suppress_snapshot: wish.suppress_snapshot,
        };
        active.end(end, self.end_own_jobs(wish)).await?;
        Ok(Life::Exit(Exit {
            restart: wish.restart,
        }))
    }

    /// Ends the jobs of the own Subagent and lets whoever leads the Agent take over what they report.
    async fn end_own_jobs(&self, wish: &ShutDownWish) {
        let end_jobs = SubagentCommand::ShutDown {
            process_signal: wish.process_signal.clone(),
            restart: false,
        };
        if let Err(problem) = self.local.command(0, 0, end_jobs) {
            tracing::error!(%problem, "the jobs cannot be ended in order");
        }
        if tokio::time::timeout(FAREWELL, self.local.ended())
            .await
            .is_err()
        {
            tracing::warn!(
                "jobs are still running; they are ended with the process and repeated where they may be"
            );
        } else {
            self.local
                .wait_until_confirmed(Duration::from_secs(5))
                .await;
        }
    }
}

/// A step of a reset, where this Director is the active one: whom to tell if everything is to be forgotten, else it is done.
async fn judged_by_active(
    asked: Asked,
    handle: &Handle<AgentMachine>,
    log: &Log,
) -> Option<oneshot::Sender<()>> {
    if asked.step.part {
        asked.answer(part(handle, log).await);
        return None;
    }
    let life = |machine: &AgentMachine| machine.state.meta().map(|meta| meta.agent_run_id.clone());
    let known = handle.read(life).await.ok()?;
    asked.judged(known.as_ref())
}

/// The active Director goes on alone.
async fn part(handle: &Handle<AgentMachine>, log: &Log) -> Result<(), Problem> {
    handle.ask(Input::Parting).await?;
    let begun = Instant::now();
    while log.members().0.len() > 1 {
        if begun.elapsed() > PARTING {
            let message =
                "the other Director still has a vote; nobody but a majority can take it away";
            return Err(Problem::new("AgentIsPair", message));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

async fn forget(data: &Path) -> Result<(), RunError> {
    let data = data.to_owned();
    Ok(tasks::spawn_blocking(move || reset::put_aside(&data)).await??)
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
