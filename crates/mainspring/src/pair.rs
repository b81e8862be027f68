//! `cluster status | appoint | switch-over`: looks at and changes the members that keep a Controller's log.
//!
//! Always: asks the member that the access names; a member that is not active says who is. Never here: what follows.

use anyhow::Context as _;
use model::{ControllerCommand, NodeId};
use serde_json::{Value, json};
use std::sync::Arc;

use crate::arguments::{Access, AppointArgs, ClusterCommand};
use crate::call::Controller;
use crate::exit::Exit;
use crate::screen::Screen;

pub(crate) async fn run(
    command: ClusterCommand,
    access: &Access,
    screen: &Screen,
) -> anyhow::Result<Exit> {
    let controller = Controller::of(access)?;
    match command {
        ClusterCommand::Status => status(&controller, screen).await,
        ClusterCommand::Appoint(args) => appoint(args, &controller, screen).await,
        ClusterCommand::SwitchOver => {
            let command = ControllerCommand::ClusterSwitchOver { agent_path: None };
            controller.command(&command).await?;
            told(screen, "the other member is active now")
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
    let known: Value = controller.get("/controller/api/cluster").await?;
    let active_id = known["nodeId"]
        .as_str()
        .context("the Controller does not say which member it is")?;
    let command = ControllerCommand::ClusterAppointNodes {
        id_to_uri,
        active_id: NodeId::new(active_id),
    };
    controller.command(&command).await?;
    told(
        screen,
        "appointed; the members are coupled as soon as the other one and a watch are connected (mainspring cluster status)",
    )
}

async fn status(controller: &Controller, screen: &Screen) -> anyhow::Result<Exit> {
    let state: Value = controller.get("/controller/api/cluster").await?;
    if screen.json {
        screen.say_json(&state)?;
        return Ok(Exit::Done);
    }
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let says = |value: &Value, yes: &str, no: &str| {
        if value.as_bool() == Some(true) {
            yes
        } else {
            no
        }
        .to_owned()
    };
    screen.say(&format!("State     {}", text(&state["TYPE"])))?;
    if let Some(setting) = state.get("setting") {
        screen.say(&format!("Active    {}", text(&setting["activeId"])))?;
        if let Some(members) = setting["idToUri"].as_object() {
            for (id, uri) in members {
                screen.say(&format!("Member    {id}  {}", text(uri)))?;
            }
        }
    }
    screen.say(&format!(
        "Asked     {}, {}, epoch {}",
        text(&state["nodeId"]),
        says(&state["isActive"], "active", "not active"),
        state["epoch"]
    ))?;
    for other in state["others"].as_array().into_iter().flatten() {
        screen.say(&format!(
            "{}  {}, {}, {}, heard {:.1} s ago",
            if other["isWatch"] == true {
                "Watch   "
            } else {
                "Other   "
            },
            text(&other["id"]),
            says(&other["isConnected"], "connected", "not connected"),
            says(&other["isInSync"], "has every event", "lacks events"),
            other["silentFor"].as_f64().unwrap_or_default(),
        ))?;
    }
    screen.say(&format!(
        "If the active member failed now: {}",
        text(&state["ifTheActiveMemberFailed"])
    ))?;
    Ok(Exit::Done)
}
