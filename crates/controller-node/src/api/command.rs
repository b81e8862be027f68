//! `POST /controller/api/command`: one command, or a batch of them.

use super::{Api, granted, stopped};
use crate::directors::active_of;
use crate::drivers::target_of;
use crate::machine::{Input, Reply};
use crate::users::User;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures::future::{BoxFuture, FutureExt as _};
use model::{
    AgentAnswer, AgentCommand, AgentPath, ControllerAnswer, ControllerCommand, Problem, UserId,
};
use net::{RawBody, Refusal};
use node::End;
use std::time::Duration;

/// How deep batches may stand in one another.
const BATCH_DEPTH_MAX: usize = 4;
/// The longest pause that somebody can ask for.
const PAUSE_MAX: Duration = Duration::from_mins(1);

pub(super) async fn command(
    State(api): State<Api>,
    user: User,
    RawBody(body): RawBody,
) -> Result<Response, Refusal> {
    let text = std::str::from_utf8(&body).map_err(|error| {
        net::Problem::new("InvalidJson", format!("the command is no text: {error}"))
    })?;
    let command = ControllerCommand::from_json(text).map_err(|error| {
        net::Problem::new("InvalidJson", format!("cannot read the command: {error}"))
    })?;
    user.may_command(&command)?;
    let answer = run(&api, &user.id, command, 0).await?;
    Ok(Json(granted(answer)?).into_response())
}

fn run<'a>(
    api: &'a Api,
    user: &'a UserId,
    command: ControllerCommand,
    depth: usize,
) -> BoxFuture<'a, Result<ControllerAnswer, Refusal>> {
    async move {
        match command {
            ControllerCommand::Batch { .. } if depth >= BATCH_DEPTH_MAX => Ok(Problem::plain(
                format!("batches may be nested {BATCH_DEPTH_MAX} times only"),
            )
            .into()),
            ControllerCommand::Batch { commands } => {
                // One after another: each sees what the one before has done.
                let mut responses = Vec::with_capacity(commands.len());
                for command in commands {
                    responses.push(run(api, user, command, depth + 1).await?);
                }
                Ok(ControllerAnswer::BatchResponse { responses })
            }
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
                ask(api, user, ControllerCommand::NoOperation { duration: None }).await
            }
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
            | ControllerCommand::ReleaseEvents { .. } => ask(api, user, command).await,
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
        Ok(AgentAnswer::Problem {
            code,
            message,
            arguments,
        }) => ControllerAnswer::Problem {
            code,
            message,
            arguments,
        },
        Ok(_) => ControllerAnswer::Accepted,
        Err(error) => Problem::new("AgentConnectionFailed", error.to_string()).into(),
    })
}

/// Has one command judged by the machine.
pub(super) async fn ask(
    api: &Api,
    user: &UserId,
    command: ControllerCommand,
) -> Result<ControllerAnswer, Refusal> {
    let input = Input::Command {
        user: user.clone(),
        command: Box::new(command),
    };
    match api.0.handle.ask(input).await.map_err(stopped)? {
        Reply::Answer(answer) => Ok(answer),
        Reply::Items(_) | Reply::Observed(_) | Reply::More | Reply::Done => {
            Ok(ControllerAnswer::Accepted)
        }
    }
}
