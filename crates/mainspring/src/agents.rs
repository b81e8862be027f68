//! `agent reset`: asks the Controller to let an Agent begin anew.
//!
//! Always: what the command answers is what has been written down; the Agent itself may come later. Never here: looking at Agents;
//! see `status`.

use model::{AgentPath, ControllerCommand};
use serde_json::json;

use crate::arguments::{Access, ResetAgentArgs};
use crate::call::Controller;
use crate::exit::{self, Exit};
use crate::screen::Screen;
use crate::suggest::{self, Kind};

pub(crate) async fn reset(
    args: ResetAgentArgs,
    access: &Access,
    screen: &Screen,
) -> anyhow::Result<Exit> {
    let controller = Controller::of(access)?;
    let ResetAgentArgs { agent, force } = args;
    let command = ControllerCommand::ResetAgent {
        agent_path: AgentPath::new(agent.as_str()),
        force,
    };
    if let Err(error) = controller.command(&command).await {
        if exit::may_be_misspelt(&error) {
            suggest::instead_of(Kind::Agent, &[agent], &controller, screen).await;
        }
        return Err(error);
    }
    if screen.json {
        screen.say_json(&json!({"TYPE": "Accepted", "agentPath": agent, "force": force}))?;
        return Ok(Exit::Done);
    }
    screen.say(&format!("{agent}  to be reset"))?;
    screen.remark(if force {
        "its orders have been given up; it is dedicated anew as soon as it can be reached (mainspring agent list)"
    } else {
        "its orders are given up when it has been reached and reset (mainspring agent list); --force gives them up at once"
    });
    Ok(Exit::Done)
}
