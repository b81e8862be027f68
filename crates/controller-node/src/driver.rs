//! The connection to one Agent: dial, dedicate, couple, follow its events, send what is to be sent; for ever.
//!
//! Always: dialled from here, never by the Agent; tried again at once, soon, then every ten seconds for as long as it takes; events
//! are confirmed to the Agent only after our own commit. Never here: what a message means. See `controller`.

use crate::directors::{active_of, another_leads};
use crate::drivers::{Dialling, Link, Reset, Target};
use crate::machine::{ControllerMachine, Input, Reply};
use bytes::Bytes;
use cluster::{Log, Repeats};
use controller::{Coupling, DeliveryInput, DeliveryOutput, Thing};
use model::bounds::{COMMAND_BYTES_MAX, too_large};
use model::{
    AgentAnswer, AgentCommand, AgentOwnEvent, AgentPath, Event, EventId, Problem, RunId, Stamped,
};
use net::{Backoff, Client, ClientError, NdjsonStream};
use node::{Handle, Stopped};
use serde_json::json;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

/// Without line or heartbeat for so long, the Agent counts as lost.
const PATIENCE: Duration = Duration::from_secs(5);
/// Seconds between two chunks of a strong flow of an Agent's events ([`net::Pace`]).
const PACE: f64 = 0.008;
/// Lines of an Agent that become one commit.
const LINES_MAX: usize = 1000;
/// Bytes of an Agent's lines that become one commit.
const BYTES_MAX: usize = 1 << 20;
/// Bytes of one request.
const REQUEST_BYTES: usize = 8 << 20;
/// The maximum number of bytes around the only command of a batch.
const ENVELOPE_BYTES: usize = 1 << 10;
/// How often an Agent is told that its events may go.
const RELEASE_PERIOD: Duration = Duration::from_secs(1);
/// Where each Director of a pair is told to forget.
const RESET_PATH: &str = "/agent/api/cluster/reset";
/// The longest pause between two attempts to find the active one of two Directors.
const PAIR_PAUSE: Duration = Duration::from_millis(250);
/// The same right after the active one was lost: the other one follows it within a moment, and its orders are waited for.
const PAIR_PAUSE_AT_FIRST: Duration = Duration::from_millis(25);
/// So long this is “right after”.
const AT_FIRST: Duration = Duration::from_secs(2);

/// What a driver needs.
pub(crate) struct Driver {
    pub(crate) handle: Handle<ControllerMachine>,
    pub(crate) log: Log,
    pub(crate) link: Link,
    pub(crate) dialling: Dialling,
    /// Which of two Directors leads, as far as we know.
    pub(crate) leader: watch::Receiver<Option<u64>>,
    /// The address of the refused Controller of the same identity that has already been logged.
    pub(crate) told_of: Mutex<Option<Arc<str>>>,
}

/// Why a connection has ended.
enum Ending {
    /// It broke, or the Agent refuses.
    Failed(Problem),
    /// The Agent is to be found elsewhere, or something else is to be done with it.
    Moved,
    /// The Agent has forgotten everything.
    Reset,
    /// This node ends.
    Stopped,
}

impl From<Stopped> for Ending {
    fn from(_: Stopped) -> Ending {
        Ending::Stopped
    }
}

impl From<ClientError> for Ending {
    fn from(error: ClientError) -> Ending {
        Ending::Failed(problem_of(&error))
    }
}

fn problem_of(error: &ClientError) -> Problem {
    if let ClientError::Refused {
        problem, status, ..
    } = error
    {
        let code = problem
            .code
            .as_ref()
            .map_or_else(|| format!("Http{}", status.as_u16()), ToString::to_string);
        return Problem::new(
            &code,
            format!("HTTP {}: {}", status.as_u16(), problem.message),
        );
    }
    let code = match error {
        ClientError::Untrusted { .. } => "Untrusted",
        ClientError::Unreachable { .. } => "Unreachable",
        ClientError::Refused { .. } | ClientError::Broken { .. } | ClientError::Misused { .. } => {
            "AgentConnectionFailed"
        }
    };
    Problem::new(code, error.to_string())
}

/// Drives until the Agent is deleted (then the task is aborted) or the node ends.
pub(crate) async fn drive(driver: Driver, mut target: watch::Receiver<Target>) {
    let begin = Instant::now();
    let mut backoff = Backoff::new();
    let mut lost_at = None;
    let mut news = ConnectionNews::default();
    loop {
        let to = target.borrow_and_update().clone();
        let mut was_coupled = false;
        let coupled = || {
            was_coupled = true;
            backoff.connected(begin.elapsed());
            news.connected(&to.path);
        };
        let ending = tokio::select! {
            ending = connect(&driver, &to, coupled) => ending,
            changed = target.changed() => if changed.is_ok() { Ending::Moved } else { Ending::Stopped },
            () = another_leads(driver.leader.clone()) => Ending::Moved,
        };
        driver.link.uncouple();
        match ending {
            Ending::Stopped => return,
            Ending::Moved => {
                tracing::info!(agent = %to.path, "the Agent is to be found elsewhere, or to be reset");
                backoff = Backoff::new();
                continue;
            }
            Ending::Reset => {
                tracing::info!(agent = %to.path, "the Agent has been reset");
                backoff = Backoff::new();
                continue;
            }
            Ending::Failed(problem) => {
                let path = to.path.clone();
                let shut_down = driver.handle.read(move |machine| {
                    let agent = machine.state.agent(&path);
                    agent.is_some_and(|agent| agent.coupling_state == Coupling::ShutDown)
                });
                let Ok(is_shut_down) = shut_down.await else {
                    return;
                };
                let is_shut_down = is_shut_down || problem.is("AgentIsShuttingDown");
                news.failed(&to.path, &problem, was_coupled, is_shut_down);
                let input = Input::AgentCouplingFailed {
                    agent: to.path.clone(),
                    problem,
                };
                if driver.handle.ask(input).await.is_err() {
                    return;
                }
            }
        }
        if was_coupled {
            lost_at = Some(Instant::now());
        }
        let mut pause = backoff.failed(begin.elapsed(), jitter());
        if to.uris.len() > 1 {
            pause = pause.min(pair_pause(lost_at.map(|at| at.elapsed())));
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            changed = target.changed() => {
                if changed.is_err() {
                    return;
                }
                backoff = Backoff::new();
            }
        }
    }
}

/// Decides which changes of the connection are logged: each loss, each return, and each new reason for a failure, but not each attempt.
#[derive(Default)]
struct ConnectionNews {
    /// When the connection was found to be lost, and the code of the last problem.
    lost: Option<(Instant, Option<String>)>,
    /// The reasons that were logged since the loss.
    reasons: Repeats,
}

impl ConnectionNews {
    fn connected(&mut self, agent: &AgentPath) {
        self.reasons.clear();
        if let Some((since, _)) = self.lost.take() {
            let away = since.elapsed();
            tracing::info!(%agent, ?away, "the Agent is connected again");
        } else {
            tracing::info!(%agent, "the Agent is connected");
        }
    }

    fn failed(
        &mut self,
        agent: &AgentPath,
        problem: &Problem,
        was_connected: bool,
        is_shut_down: bool,
    ) {
        let code = problem.code.clone();
        // After a loss, different problems mean the same: the Agent does not answer. Two other ones may alternate for ever.
        let is_other = self
            .lost
            .as_ref()
            .is_none_or(|(_, known)| *known != code && !is_unreachable(problem));
        let reason = code.as_deref().unwrap_or_default();
        let left_out = is_other
            .then(|| self.reasons.note(reason, tokio::time::Instant::now()))
            .flatten();
        let is_news = was_connected || left_out.is_some();
        let since = self
            .lost
            .as_ref()
            .map_or_else(Instant::now, |(since, _)| *since);
        if !is_news {
            tracing::debug!(%agent, %problem, "the Agent is still not connected");
        } else if is_shut_down {
            tracing::info!(%agent, "the Agent has shut down");
        } else if was_connected {
            tracing::warn!(%agent, %problem, "the connection to the Agent is lost; what it has goes on there, the rest waits");
        } else {
            let left_out = left_out.filter(|left_out| *left_out > 0);
            tracing::warn!(%agent, %problem, left_out, "the Agent is not connected; what is for it waits");
        }
        self.lost = Some((since, code));
    }
}

/// Returns whether the problem only means that the Agent does not answer.
fn is_unreachable(problem: &Problem) -> bool {
    [
        "Unreachable",
        "AgentConnectionLost",
        "AgentHasNoActiveDirector",
    ]
    .iter()
    .any(|code| problem.is(code))
}

/// How long to wait at most until the Directors of a pair are asked again which one is active.
fn pair_pause(lost_for: Option<Duration>) -> Duration {
    match lost_for {
        Some(lost_for) if lost_for < AT_FIRST => PAIR_PAUSE_AT_FIRST,
        Some(_) | None => PAIR_PAUSE,
    }
}

fn jitter() -> f64 {
    rand::random::<f64>()
}

/// An Agent that is coupled.
struct Coupled {
    client: Client,
    /// The number that every command carries, so that one of an earlier connection that comes late does nothing.
    coupling: u64,
    /// Whether the stream of this coupling has a path of its own.
    has_stream: bool,
    /// Its newest event that we have.
    observed: EventId,
    /// The next actions of the delivery.
    outputs: mpsc::Receiver<DeliveryOutput>,
}

async fn connect(driver: &Driver, target: &Target, connected: impl FnOnce()) -> Ending {
    if let Some(kind) = target.reset {
        return match reset(driver, target, kind).await {
            Ok(()) => Ending::Reset,
            Err(ending) => ending,
        };
    }
    let coupled = match couple(driver, target).await {
        Ok(coupled) => coupled,
        Err(ending) => return ending,
    };
    connected();
    let Coupled {
        client,
        coupling,
        has_stream,
        observed,
        outputs,
    } = coupled;
    tracing::debug!(agent = %target.path, peer = client.peer(), %observed, "coupled");
    let (confirm, confirmed) = watch::channel(observed);
    let sender = Sender {
        handle: driver.handle.clone(),
        log: driver.log.clone(),
        link: driver.link.clone(),
        agent: target.path.clone(),
        client: client.clone(),
    };
    let events = if has_stream {
        format!("/agent/api/event/{coupling}")
    } else {
        "/agent/api/event".to_owned()
    };
    // In a task of its own: reading a mass of events must not delay what is to be sent.
    let mut sending = AbortOnDropHandle::new(tasks::spawn("agent-sender", sender.run(outputs)));
    tokio::select! {
        ending = follow(driver, target, &client, (&events, observed), &confirm) => ending,
        ending = release(&client, coupling, confirmed) => ending,
        ending = &mut sending => ending.unwrap_or_else(|panic| Ending::Failed(Problem::plain(panic.to_string()))),
    }
}

impl Driver {
    /// Records `other`, the Controller that was refused if any. Returns whether `other` differs from the previous one.
    fn tells_of(&self, other: Option<&Arc<str>>) -> bool {
        let mut told = self.told_of.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = told.as_ref() != other;
        *told = other.cloned();
        is_news
    }

    async fn dial(&self, target: &Target) -> Result<Client, Ending> {
        active_of(&self.dialling, target)
            .await
            .map_err(Ending::Failed)
    }
}

/// What an Agent tells of itself.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Overview {
    agent_run_id: Option<RunId>,
}

/// Makes the Agent forget everything. It is always told which life is meant: a request that comes late must not end the next one.
async fn reset(driver: &Driver, target: &Target, kind: Reset) -> Result<(), Ending> {
    if target.uris.len() > 1 {
        reset_pair(driver, target, kind).await?;
        return note_reset(driver, target).await;
    }
    let client = driver.dial(target).await?;
    let agent_run_id = match kind {
        Reset::Known => {
            let path = target.path.clone();
            let known = driver
                .handle
                .read(move |machine| machine.state.agent(&path)?.agent_run_id.clone());
            known.await?
        }
        Reset::Any => {
            client
                .get_json::<Overview>("/agent/api")
                .await?
                .agent_run_id
        }
    };
    // Without a life it is nobody's and has nothing.
    if agent_run_id.is_some() {
        still_active(&driver.log)?;
        ask(&client, &AgentCommand::Reset { agent_run_id }).await?;
    }
    note_reset(driver, target).await
}

/// Makes both Directors forget everything: the active one goes on alone, then the second one forgets, then the first, which begins
/// the Agent anew.
async fn reset_pair(driver: &Driver, target: &Target, kind: Reset) -> Result<(), Ending> {
    let agent_run_id = target.life.as_ref().filter(|_| kind == Reset::Known);
    let part = json!({ "agentRunId": agent_run_id, "part": true });
    if let Ok(active) = active_of(&driver.dialling, target).await {
        still_active(&driver.log)?;
        let answer: AgentAnswer = active.post_json(RESET_PATH, &part).await?;
        answer.into_result().map_err(Ending::Failed)?;
    }
    for uri in target.uris.iter().rev() {
        let client = driver.dialling.client(&target.path, uri, None)?;
        let forget = json!({ "agentRunId": agent_run_id });
        still_active(&driver.log)?;
        let answer: Result<AgentAnswer, ClientError> = client.post_json(RESET_PATH, &forget).await;
        match answer {
            Ok(answer) => drop(answer.into_result().map_err(Ending::Failed)?),
            Err(error) if kind == Reset::Any => {
                tracing::warn!(agent = %target.path, %uri, %error, "this Director cannot be reset; give it an empty directory before it comes back");
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// The Agent has nothing any more.
async fn note_reset(driver: &Driver, target: &Target) -> Result<(), Ending> {
    loop {
        let agent = target.path.clone();
        let reply = driver.handle.ask(Input::AgentReset { agent }).await?;
        if !matches!(reply, Reply::More) {
            return Ok(());
        }
    }
}

/// A member that was stopped may wake up here while another one is active: it must not take the Agent back,
/// nor make it forget anything.
fn still_active(log: &Log) -> Result<(), Ending> {
    if log.may_answer() {
        return Ok(());
    }
    let message =
        "no majority of the cluster has confirmed lately that this member is the active one";
    Err(Ending::Failed(Problem::new(
        "ClusterNodeIsNotActive",
        message,
    )))
}

/// Makes sure that both sides mean the same, and opens the slot for what is to be sent.
async fn couple(driver: &Driver, target: &Target) -> Result<Coupled, Ending> {
    still_active(&driver.log)?;
    let from = driver.dialling.myself(&driver.log);
    let client = driver.dial(target).await?;
    let path = target.path.clone();
    let known = driver.handle.read(move |machine| {
        let agent = machine.state.agent(&path).cloned().unwrap_or_default();
        (
            agent,
            machine.run_id(),
            machine.state.controller_id().clone(),
            machine.last_event_id,
        )
    });
    let (agent, controller_run_id, controller_id, since) = known.await?;
    let (agent_run_id, observed) = if let Some(run_id) = agent.agent_run_id {
        (run_id, agent.event_id)
    } else {
        let command = AgentCommand::DedicateAgentDirector {
            agent_path: target.path.clone(),
            directors: target.directors.clone(),
            controller_id,
            controller_run_id: controller_run_id.clone(),
            from: Some(from.clone()),
        };
        dedicate(driver, target, &client, &command).await?
    };
    let command = AgentCommand::CoupleController {
        agent_path: target.path.clone(),
        agent_run_id,
        event_id: observed,
        controller_run_id,
        epoch: driver.log.leadership().borrow().term,
        from: Some(from),
    };
    still_active(&driver.log)?;
    let AgentAnswer::Coupled {
        order_ids,
        coupling,
        has_stream,
    } = ask(&client, &command).await?
    else {
        return Err(nonsense(&command));
    };
    driver
        .handle
        .ask(Input::AgentCoupled {
            agent: target.path.clone(),
        })
        .await?;
    let outputs = driver.link.couple(coupling, order_ids, since);
    Ok(Coupled {
        client,
        coupling,
        has_stream,
        observed,
        outputs,
    })
}

async fn dedicate(
    driver: &Driver,
    target: &Target,
    client: &Client,
    command: &AgentCommand,
) -> Result<(RunId, EventId), Ending> {
    let AgentAnswer::Dedicated {
        agent_run_id,
        agent_event_id,
    } = ask(client, command).await?
    else {
        return Err(nonsense(command));
    };
    let (agent, run_id, event_id) = (target.path.clone(), agent_run_id.clone(), agent_event_id);
    driver
        .handle
        .ask(Input::AgentDedicated {
            agent,
            run_id,
            event_id,
        })
        .await?;
    Ok((agent_run_id, agent_event_id))
}

fn command_path(coupling: u64) -> String {
    format!("/agent/api/command?coupling={coupling}")
}

async fn ask(client: &Client, command: &AgentCommand) -> Result<AgentAnswer, Ending> {
    ask_at(client, "/agent/api/command", command).await
}

async fn ask_at(
    client: &Client,
    path: &str,
    command: &AgentCommand,
) -> Result<AgentAnswer, Ending> {
    let answer: AgentAnswer = client.post_json(path, command).await?;
    answer.into_result().map_err(Ending::Failed)
}

fn nonsense(command: &AgentCommand) -> Ending {
    Ending::Failed(Problem::plain(format!(
        "the Agent's answer to {} makes no sense",
        command.type_name()
    )))
}

/// Explains why the Agent's events cannot be read. If its log lacks the event at which to resume, the problem names the way out.
fn unreadable(error: &ClientError, target: &Target, observed: EventId) -> Problem {
    let problem = problem_of(error);
    if !problem.is("UnknownEventId") && !problem.is("EventSeqTorn") {
        return problem;
    }
    let path = &target.path;
    let message = format!(
        "the Agent's log does not have the event {observed}, up to which this Controller has its events: the Agent or this Controller was restored from a backup, and the other one was not; reset the Agent (mainspring agent reset {path}): its orders there fail, because nobody knows how far they have gone"
    );
    Problem::new("UnknownEventId", message)
}

/// Takes over the Agent's events until the stream ends.
async fn follow(
    driver: &Driver,
    target: &Target,
    client: &Client,
    (path, observed): (&str, EventId),
    confirm: &watch::Sender<EventId>,
) -> Ending {
    let stream = client
        .get_stream(
            &format!("{path}?after={observed}&heartbeat=1&pace={PACE}"),
            PATIENCE,
        )
        .await;
    let mut stream = match stream {
        Ok(stream) => stream,
        Err(error) => return Ending::Failed(unreadable(&error, target, observed)),
    };
    loop {
        let Ok(lines) = next_lines(&mut stream).await else {
            return Ending::Failed(Problem::new(
                "AgentConnectionLost",
                "the Agent's event stream broke",
            ));
        };
        if lines.is_empty() {
            return Ending::Failed(Problem::new(
                "AgentConnectionLost",
                "the Agent has ended its event stream",
            ));
        }
        let mut lines = VecDeque::from(lines);
        while !lines.is_empty() {
            let events: Vec<_> = cut(&mut lines).iter().map(read).collect();
            for event in events.iter().flatten() {
                tell_other_controller(driver, &target.path, event);
            }
            match driver
                .handle
                .ask(Input::AgentEvents {
                    agent: target.path.clone(),
                    events,
                })
                .await
            {
                Ok(Reply::Observed(observed)) => drop(confirm.send_replace(observed)),
                Ok(_) => {}
                Err(stopped) => return stopped.into(),
            }
        }
    }
}

/// Logs that the Agent has refused another process that claims to be this Controller.
fn tell_other_controller(driver: &Driver, agent: &AgentPath, stamped: &Stamped) {
    if let Event::AgentOwn(AgentOwnEvent::OtherControllerRefused { other, coupled }) =
        &stamped.event
        // A refusal of this process itself is not logged: this process is connected now, so the refusal is over.
        && !other.address.starts_with(&*driver.dialling.address)
        && driver.tells_of(Some(&other.address))
    {
        tracing::error!(%agent, refused = %other, %coupled, "two Controllers of the same identity are running: the Agent has refused the other one; stop the one that is not wanted");
    }
    if matches!(
        &stamped.event,
        Event::AgentOwn(AgentOwnEvent::OtherControllerGone)
    ) && driver.tells_of(None)
    {
        tracing::info!(%agent, "the other Controller of the same identity no longer tries to couple with the Agent");
    }
}

/// All lines that have come; none at the end.
async fn next_lines(stream: &mut NdjsonStream) -> Result<Vec<Bytes>, ClientError> {
    Ok(stream
        .next_lines()
        .await?
        .map(Vec::from)
        .unwrap_or_default())
}

/// As many lines as become one commit.
fn cut(lines: &mut VecDeque<Bytes>) -> Vec<Bytes> {
    let mut taken = Vec::new();
    let mut bytes = 0;
    while taken.len() < LINES_MAX
        && bytes < BYTES_MAX
        && let Some(line) = lines.pop_front()
    {
        bytes += line.len();
        taken.push(line);
    }
    taken
}

fn read(line: &Bytes) -> Result<Stamped, (EventId, Problem)> {
    let read = std::str::from_utf8(line).map_err(|error| error.to_string());
    let read = read.and_then(|text| Stamped::from_json(text).map_err(|error| error.to_string()));
    read.map_err(|what| {
        let digits = line.strip_prefix(b"{\"eventId\":").unwrap_or_default();
        let id = digits
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .fold(0_u64, |id, digit| {
                id.saturating_mul(10)
                    .saturating_add(u64::from(digit - b'0'))
            });
        (EventId(id), Problem::new("AgentEventIsUnreadable", what))
    })
}

/// Tells the Agent which of its events may go.
async fn release(
    client: &Client,
    coupling: u64,
    mut confirmed: watch::Receiver<EventId>,
) -> Ending {
    loop {
        if confirmed.changed().await.is_err() {
            return Ending::Stopped;
        }
        tokio::time::sleep(RELEASE_PERIOD).await;
        let until_event_id = *confirmed.borrow_and_update();
        let command = AgentCommand::ReleaseEvents { until_event_id };
        if let Err(ending) = ask_at(client, &command_path(coupling), &command).await {
            return ending;
        }
    }
}

/// Executes the outputs of the delivery, one after another.
struct Sender {
    handle: Handle<ControllerMachine>,
    log: Log,
    link: Link,
    agent: AgentPath,
    client: Client,
}

impl Sender {
    async fn run(self, mut outputs: mpsc::Receiver<DeliveryOutput>) -> Ending {
        loop {
            let wakeup = self.link.next_wakeup();
            let wake = async {
                match wakeup {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let output = tokio::select! {
                biased;
                output = outputs.recv() => output,
                () = wake => {
                    self.link.handle(DeliveryInput::Wake);
                    continue;
                }
            };
            let done = match output {
                Some(output) => self.act(output).await,
                None => Err(Ending::Failed(Problem::plain("the delivery has ended"))),
            };
            if let Err(ending) = done {
                return ending;
            }
        }
    }

    async fn act(&self, output: DeliveryOutput) -> Result<(), Ending> {
        match output {
            DeliveryOutput::Send { coupling, commands } => {
                let answer = self.send(coupling, &commands).await?;
                self.link
                    .handle(DeliveryInput::Answered { coupling, answer });
            }
            DeliveryOutput::Record { coupling, refusals } => {
                self.record(refusals).await?;
                self.link.handle(DeliveryInput::Recorded { coupling });
            }
            DeliveryOutput::Look => self.handle.nudge(),
            DeliveryOutput::Close(problem) => return Err(Ending::Failed(problem)),
        }
        Ok(())
    }

    /// Sends the commands in as many requests as their size requires, and returns all answers in one batch.
    async fn send(&self, coupling: u64, commands: &[AgentCommand]) -> Result<AgentAnswer, Ending> {
        let mut request = Request::default();
        let mut responses = Vec::with_capacity(commands.len());
        for command in commands {
            let json = serde_json::to_string(command).expect("a command always has a JSON form");
            let is_too_large = json.len() + ENVELOPE_BYTES > COMMAND_BYTES_MAX;
            let is_full = request.json.len() + json.len() > REQUEST_BYTES;
            if (is_full || is_too_large) && request.count > 0 {
                let part = std::mem::take(&mut request);
                responses.extend(self.post(coupling, part).await?);
            }
            if is_too_large {
                // An earlier version accepted the command without this bound. The other commands are still sent.
                let what = "what is to be handed over to the Agent";
                let problem = too_large(what, json.len(), COMMAND_BYTES_MAX - ENVELOPE_BYTES);
                responses.push(AgentAnswer::from(problem));
                continue;
            }
            request.push(&json);
        }
        if request.count > 0 {
            responses.extend(self.post(coupling, request).await?);
        }
        Ok(AgentAnswer::Batch { responses })
    }

    async fn post(&self, coupling: u64, request: Request) -> Result<Vec<AgentAnswer>, Ending> {
        still_active(&self.log)?;
        let Request { count, mut json } = request;
        json.push_str("]}");
        let path = command_path(coupling);
        let sent = self
            .client
            .post_bytes(&path, "application/json", json.into());
        let answer: AgentAnswer = sent.await?;
        let answer = answer.into_result().map_err(Ending::Failed)?;
        if let AgentAnswer::Batch { responses } = answer
            && responses.len() == count
        {
            return Ok(responses);
        }
        let message = "the Agent's answer to Batch makes no sense";
        Err(Ending::Failed(Problem::plain(message)))
    }

    async fn record(&self, refusals: Vec<(Thing, Problem)>) -> Result<(), Ending> {
        let agent = &self.agent;
        let mut inputs = Vec::with_capacity(refusals.len());
        for (thing, problem) in refusals {
            tracing::warn!(%agent, ?thing, %problem, "the Agent refuses a command; it is sent again later");
            inputs.push(Input::AgentRefused {
                agent: agent.clone(),
                thing,
                problem,
            });
        }
        self.handle.ask_all(inputs).await?;
        Ok(())
    }
}

/// A batch on its way into JSON.
#[derive(Default)]
struct Request {
    count: usize,
    json: String,
}

impl Request {
    fn push(&mut self, json: &str) {
        self.json.push_str(if self.count == 0 {
            "{\"TYPE\":\"Batch\",\"commands\":["
        } else {
            ","
        });
        self.json.push_str(json);
        self.count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_director_is_followed_at_once_and_a_pair_that_stays_away_is_not_asked_all_the_time() {
        let millis = Duration::from_millis;
        assert_eq!(pair_pause(Some(millis(300))), millis(25));
        assert_eq!(pair_pause(Some(millis(60_000))), millis(250));
        assert_eq!(pair_pause(None), millis(250));
    }
}
