//! `cluster status | appoint | remove | switch-over`: looks at and changes the members that keep a Controller's log.
//!
//! Always: a change is the active member's, found by whichever is asked; the status is told by every member that answers. Never here:
//! what follows.

mod drawing;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use model::{AgentPath, ControllerCommand, NodeId};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::arguments::{Access, AppointArgs, ClusterCommand};
use crate::call::{CLUSTER, Controller};
use crate::exit::Exit;
use crate::screen::Screen;
use drawing::{NoAnswer, Seen};

/// So long a member may take to say how it stands.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

pub(crate) async fn run(
    command: ClusterCommand,
    access: &Access,
    screen: &Screen,
) -> anyhow::Result<Exit> {
    let controller = Controller::of(access)?;
    match command {
        ClusterCommand::Status => status(&controller, screen).await,
        ClusterCommand::Appoint(args) => appoint(args, &controller, screen).await,
        ClusterCommand::Remove { name } => remove(name, &controller, screen).await,
        ClusterCommand::SwitchOver { agent } => {
            let agent_path = agent.as_deref().map(AgentPath::new);
            let command = ControllerCommand::ClusterSwitchOver { agent_path };
            controller.command(&command).await?;
            match agent {
                None => told(screen, "the other member is active now"),
                Some(agent) => told(
                    screen,
                    &format!("the other Director of {agent} is active now"),
                ),
            }
        }
    }
}

fn told(screen: &Screen, text: &str) -> anyhow::Result<Exit> {
    if screen.json {
        screen.say_json(&json!({"TYPE": "Accepted"}))?;
    } else {
        screen.say(text)?;
    }
    Ok(Exit::Done)
}

async fn appoint(
    args: AppointArgs,
    controller: &Controller,
    screen: &Screen,
) -> anyhow::Result<Exit> {
    let id_to_uri = args
        .members
        .iter()
        .map(|(id, uri)| (NodeId::new(id.as_str()), Arc::from(uri.as_str())))
        .collect();
    controller.meet().await?;
    let known: Value = controller.get(CLUSTER).await?;
    let active_id = known["nodeId"]
        .as_str()
        .context("the Controller does not say which member it is")?;
    let command = ControllerCommand::ClusterAppointNodes {
        id_to_uri,
        active_id: NodeId::new(active_id),
    };
    controller.command(&command).await?;
    let waits_for = if args.members.len().is_multiple_of(2) {
        "the others and a watch are connected"
    } else {
        "the others are connected"
    };
    told(
        screen,
        &format!(
            "appointed; the members are coupled as soon as {waits_for} (mainspring cluster status)"
        ),
    )
}

async fn remove(
    name: Option<String>,
    controller: &Controller,
    screen: &Screen,
) -> anyhow::Result<Exit> {
    let node_id = name.as_deref().map(NodeId::new);
    let command = ControllerCommand::ClusterRemoveNode { node_id };
    controller.command(&command).await?;
    let known: Value = controller.get(CLUSTER).await?;
    let active = known["nodeId"].as_str().unwrap_or("the active member");
    let text = match name {
        Some(name) if known["TYPE"] != "Empty" => {
            format!(
                "{name} will be removed: it keeps its vote until the others, and a watch if their number is even, are connected; \
                 stop it when mainspring cluster status says removed"
            )
        }
        _ => format!(
            "{active} at {} is the whole Controller now; stop the other members and the watch",
            controller.url()
        ),
    };
    told(screen, &text)
}

async fn status(controller: &Controller, screen: &Screen) -> anyhow::Result<Exit> {
    // While nobody is active this is what people want to look at, without waiting for it to pass.
    let met = controller.look().await;
    let mut asked = JoinSet::new();
    for (n, client) in controller.members().into_iter().enumerate() {
        asked.spawn(async move {
            let answer = timeout(ANSWER_WITHIN, client.get_json::<Value>(CLUSTER)).await;
            let answer = match answer {
                Ok(answer) => answer.map_err(|error| NoAnswer::of(&error)),
                Err(_elapsed) => Err(NoAnswer::hangs(ANSWER_WITHIN)),
            };
            let url = client.peer().to_owned();
            (n, Seen { url, answer })
        });
    }
    let mut seen = asked.join_all().await;
    seen.sort_by_key(|(n, _)| *n);
    let seen: Vec<Seen> = seen.into_iter().map(|(_, seen)| seen).collect();
    // Without an answer of anybody, why is what counts.
    if seen.iter().all(|seen| seen.answer.is_err()) {
        met?;
    }
    if screen.json {
        screen.say_json(&drawing::as_json(&seen))?;
    } else {
        screen.say(&drawing::draw(&seen, screen.paint))?;
    }
    Ok(Exit::Done)
}
