//! `subagent confirm-lost`: what an operator knows of a Subagent's machine.
//!
//! Always: the Controller notes who has said so; its Agent decides. Never here: how long the Agent would have waited.

use model::{ControllerCommand, SubagentId};
use serde_json::json;

use crate::call::Controller;
use crate::exit::Exit;
use crate::screen::Screen;

pub(super) async fn confirm_lost(
    name: String,
    controller: &Controller,
    screen: &Screen,
) -> anyhow::Result<Exit> {
    let command = ControllerCommand::ConfirmSubagentLoss {
        subagent_id: SubagentId::new(&*name),
    };
    controller.command(&command).await?;
    if screen.json {
        screen.say_json(&json!({"TYPE": "Accepted", "subagentId": name}))?;
        return Ok(Exit::Done);
    }
    screen.say(&format!("{name}  taken for lost"))?;
    screen.remark("what ran there is repeated elsewhere as soon as its Agent has heard of it (mainspring subagent list)");
    Ok(Exit::Done)
}
