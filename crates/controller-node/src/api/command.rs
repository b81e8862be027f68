//! `POST /controller/api/command`: one command, or a batch of them.

use super::body::{self, Expected};
use super::{Api, ChangeQuery, TURN, granted, stopped};
use crate::directors::active_of;
use crate::drivers::target_of;
use crate::machine::{Input, Reply};
use crate::users::User;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures::future::{BoxFuture, FutureExt as _};
use model::{
    AgentAnswer, AgentCommand, AgentPath, Cause, ControllerAnswer, ControllerCommand, Problem,
};
use net::{Query, RawBody, Refusal};
use node::End;
use std::sync::Arc;
use std::time::Duration;

/// How deep batches may stand in one another.
const BATCH_DEPTH_MAX: usize = 4;
/// Maximum number of commands in a batch, including those in nested batches.
const BATCH_COMMANDS_MAX: usize = 10_000;
/// Number of commands of a batch that are decided together. Between two such groups, other requests are decided.
const BATCH_PIECE: usize = 32;
/// The longest pause that somebody can ask for.
const PAUSE_MAX: Duration = Duration::from_mins(1);

pub(super) async fn command(
    State(api): State<Api>,
    user: User,
    Query(change): Query<ChangeQuery>,
    RawBody(body): RawBody,
) -> Result<Response, Refusal> {
    let caller = user.caller();
    let (command, _share) = body::read(&api, &caller, body, Expected::One, |body| {
        let text = std::str::from_utf8(body).map_err(|error| {
            net::Problem::new("InvalidJson", format!("the command is no text: {error}"))
        })?;
        let command = ControllerCommand::from_json(text).map_err(|error| {
            net::Problem::new("InvalidJson", format!("cannot read the command: {error}"))
        })?;
        Ok(command)
    })
    .await?;
    user.may_command(&command)?;
    let by = change.cause(&user)?;
    let _turn = if let ControllerCommand::Batch { commands } = &command {
        let count = count(commands);
        if count > BATCH_COMMANDS_MAX {
            let message = format!(
                "a batch has at most {BATCH_COMMANDS_MAX} commands, and this one has {count}; send several, or AddOrders for many orders"
            );
            return Err(net::Problem::new("BatchIsTooLarge", message)
                .with("limit", BATCH_COMMANDS_MAX.to_string())
                .status(StatusCode::PAYLOAD_TOO_LARGE));
        }
        Some(api.0.quotas.batches.wait(&user.caller(), 1, TURN).await?)
    } else {
        None
    };
    let answer = run(&api, &by, command, 0).await?;
    Ok(Json(granted(answer)?).into_response())
}

/// Returns the number of commands in a batch, including those in nested batches.
fn count(commands: &[ControllerCommand]) -> usize {
    let nested = |command: &ControllerCommand| {
        if let ControllerCommand::Batch { commands } = command {
            count(commands)
        } else {
            0
        }
    };
    commands.len() + commands.iter().map(nested).sum::<usize>()
}

/// Returns whether the state machine alone decides this command.
fn is_for_machine(command: &ControllerCommand) -> bool {
    match command {
        ControllerCommand::AddOrder { .. }
        | ControllerCommand::AddOrders { .. }
        | ControllerCommand::CancelOrders { .. }
        | ControllerCommand::SuspendOrders { .. }
        | ControllerCommand::ResumeOrder { .. }
        | ControllerCommand::ResumeOrders { .. }
        | ControllerCommand::DeleteOrdersWhenTerminated { .. }
        | ControllerCommand::ResetAgent { .. }
        | ControllerCommand::ResetSubagent { .. }
        | ControllerCommand::ConfirmSubagentLoss { .. }
        | ControllerCommand::ClusterAppointNodes { .. }
        | ControllerCommand::ReleaseEvents { .. } => true,
        ControllerCommand::Batch { .. }
        | ControllerCommand::TakeSnapshot
        | ControllerCommand::ShutDown { .. }
        | ControllerCommand::ClusterRemoveNode { .. }
        | ControllerCommand::ClusterSwitchOver { .. }
        | ControllerCommand::NoOperation { .. } => false,
    }
}

/// Executes the commands in order. Each command sees the effects of those before it.
async fn run_batch(
    api: &Api,
    by: &Arc<Cause>,
    commands: Vec<ControllerCommand>,
    depth: usize,
) -> Result<ControllerAnswer, Refusal> {
    let mut responses = Vec::with_capacity(commands.len());
    let mut commands = commands.into_iter().peekable();
    while let Some(command) = commands.next() {
        if !is_for_machine(&command) {
            responses.push(run(api, by, command, depth + 1).await?);
            continue;
        }
        let mut piece = vec![command];
        while piece.len() < BATCH_PIECE
            && let Some(command) = commands.next_if(is_for_machine)
        {
            piece.push(command);
        }
        responses.extend(ask_all(api, by, piece).await?);
    }
    Ok(ControllerAnswer::BatchResponse { responses })
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "`is_for_machine` names the commands of the last arm"
)]
fn run<'a>(
    api: &'a Api,
    by: &'a Arc<Cause>,
    command: ControllerCommand,
    depth: usize,
) -> BoxFuture<'a, Result<ControllerAnswer, Refusal>> {
    async move {
        if !is_for_machine(&command)
            && !matches!(command, ControllerCommand::Batch { .. } | ControllerCommand::NoOperation { .. })
        {
            // No event records these commands.
            let (user, reason) = (&by.user, by.reason.as_deref());
            tracing::info!(%user, reason, command = command.type_name(), "a user has given a command");
        }
        match command {
            ControllerCommand::Batch { .. } if depth >= BATCH_DEPTH_MAX => Ok(Problem::plain(
                format!("batches may be nested {BATCH_DEPTH_MAX} times only"),
            )
            .into()),
            ControllerCommand::Batch { commands } => run_batch(api, by, commands, depth).await,
            ControllerCommand::TakeSnapshot => {
                match api.0.handle.take_snapshot().await.map_err(stopped)? {
                    Ok(()) => Ok(ControllerAnswer::Accepted),
                    Err(error) => Ok(Problem::new("SnapshotFailed", error).into()),
                }
            }
            ControllerCommand::ShutDown {
                restart,
                suppress_snapshot,
                cluster_action: _,
                dont_notify_active_node: _,
            } => {
                // A second wish while the first is being followed changes nothing.
                let _already = api.0.shut_down.try_send(End {
                    restart,
                    suppress_snapshot,
                });
                Ok(ControllerAnswer::Accepted)
            }
            ControllerCommand::ClusterRemoveNode { node_id } => {
                let removed = node::pair::remove(&api.0.handle, &api.0.log, node_id.as_ref()).await;
                Ok(removed.map_or_else(Into::into, |()| ControllerAnswer::Accepted))
            }
            ControllerCommand::ClusterSwitchOver { agent_path: None } => {
                match node::pair::switch_over(&api.0.handle, &api.0.log).await {
                    Ok(()) => Ok(ControllerAnswer::Accepted),
                    Err(problem) => Ok(problem.into()),
                }
            }
            ControllerCommand::ClusterSwitchOver {
                agent_path: Some(agent),
            } => switch_directors(api, agent).await,
            ControllerCommand::NoOperation { duration } => {
                tokio::time::sleep(duration.unwrap_or_default().0.min(PAUSE_MAX)).await;
                // The loop answers when it is ready.
                ask(api, by, ControllerCommand::NoOperation { duration: None }).await
            }
            command => ask(api, by, command).await,
        }
    }
    .boxed()
}

/// Lets the other Director of an Agent be the active one.
async fn switch_directors(api: &Api, agent: AgentPath) -> Result<ControllerAnswer, Refusal> {
    let path = agent.clone();
    let target = api
        .0
        .handle
        .read(move |machine| target_of(&machine.state, &path));
    let Some(target) = target.await.map_err(stopped)? else {
        let message = format!("there is no Agent {agent}, or it is not known where it is");
        return Ok(Problem::new("UnknownKey", message).into());
    };
    if target.uris.len() < 2 {
        let message = format!("the Agent {agent} has one Director only");
        return Ok(Problem::new("AgentHasNoCluster", message).into());
    }
    let client = match active_of(&api.0.dialling, &target).await {
        Ok(client) => client,
        Err(problem) => return Ok(problem.into()),
    };
    let asked = client.post_json("/agent/api/command", &AgentCommand::ClusterSwitchOver);
    Ok(match asked.await {
        Ok(answer) => AgentAnswer::into_result(answer)
            .map_or_else(ControllerAnswer::from, |_| ControllerAnswer::Accepted),
        Err(error) => Problem::new("AgentConnectionFailed", error.to_string()).into(),
    })
}

/// Has one command judged by the machine.
pub(super) async fn ask(
    api: &Api,
    by: &Arc<Cause>,
    command: ControllerCommand,
) -> Result<ControllerAnswer, Refusal> {
    let input = input(by, command);
    Ok(answer(api.0.handle.ask(input).await.map_err(stopped)?))
}

/// Submits several commands, which are decided in order and in one commit.
async fn ask_all(
    api: &Api,
    by: &Arc<Cause>,
    commands: Vec<ControllerCommand>,
) -> Result<Vec<ControllerAnswer>, Refusal> {
    let inputs = commands.into_iter().map(|command| input(by, command));
    let replies = api.0.handle.ask_all(inputs.collect()).await;
    Ok(replies.map_err(stopped)?.into_iter().map(answer).collect())
}

fn input(by: &Arc<Cause>, command: ControllerCommand) -> Input {
    let command = Input::Command {
        user: by.user.clone(),
        command: Box::new(command),
    };
    Input::By {
        by: Arc::clone(by),
        input: Box::new(command),
    }
}

fn answer(reply: Reply) -> ControllerAnswer {
    match reply {
        Reply::Answer(answer) => answer,
        Reply::Items(_) | Reply::Observed(_) | Reply::Remembered(_) | Reply::More | Reply::Done => {
            ControllerAnswer::Accepted
        }
    }
}
