//! Checks or prints the effective settings of a part without starting it.
//!
//! Always: the same settings and the same checks as at the start. Never here: the meaning of a setting; each part has its own.

use serde::Serialize;

use super::{agent, controller, standalone, subagent, watch};
use crate::arguments::{
    Access, AgentArgs, ConfigCheckArgs, ControllerArgs, PartKind, StandaloneArgs, SubagentArgs,
    WatchPartArgs,
};
use crate::exit::Exit;
use crate::screen::Screen;

/// Prints all settings as TOML.
pub(super) fn print(settings: &impl Serialize) -> anyhow::Result<Exit> {
    let table = toml::Value::try_from(settings)?;
    Screen::new(false).say(&toml::to_string_pretty(&table)?)?;
    Ok(Exit::Done)
}

/// `mainspring config check`.
pub(crate) fn check(
    args: &ConfigCheckArgs,
    access: &Access,
    screen: &Screen,
) -> anyhow::Result<Exit> {
    let part = args.part.clone();
    match args.kind {
        PartKind::Standalone => {
            let args = StandaloneArgs {
                part,
                name: None,
                agent_listen: None,
            };
            standalone::check(&standalone::settings_of(&args, access)?)?;
        }
        PartKind::Controller => {
            let args = ControllerArgs { part, id: None };
            controller_node::check(&controller::settings(&args, access)?)?;
        }
        PartKind::Watch => {
            let args = WatchPartArgs {
                part,
                id: None,
                agent: None,
                members: Vec::new(),
            };
            controller_node::check_watch(&watch::settings(&args, access)?)?;
        }
        PartKind::Agent => {
            let args = AgentArgs {
                command: None,
                part,
                name: None,
            };
            agent_node::check(&agent::settings(&args, access)?)?;
        }
        PartKind::Subagent => {
            let args = SubagentArgs {
                command: None,
                part,
                name: None,
            };
            subagent_node::check(&subagent::settings(&args, access)?)?;
        }
    }
    screen.remark("the settings fit");
    Ok(Exit::Done)
}
