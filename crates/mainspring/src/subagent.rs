//! `subagent list|show|enable|disable|drain|confirm-lost`: the Subagents of all Agents, as the Controller knows them.
//!
//! Always: whether a Subagent is enabled stands in its item, so it outlives every restart. Never here: which Subagent gets a job.

mod act;
mod confirm_lost;
mod list;

use crate::arguments::{Access, SubagentCare};
use crate::call::Controller;
use crate::exit::Exit;
use crate::screen::Screen;

pub(crate) async fn run(
    care: SubagentCare,
    access: &Access,
    screen: &Screen,
) -> anyhow::Result<Exit> {
    let controller = Controller::of(access)?;
    match care {
        SubagentCare::List => list::list(&controller, screen).await,
        SubagentCare::Show { name } => list::show(&name, &controller, screen).await,
        SubagentCare::Enable { names } => act::enable(&names, &controller, screen).await,
        SubagentCare::Disable { names } => act::disable(&names, &controller, screen).await,
        SubagentCare::Reset { name, force } => act::reset(&name, force, &controller, screen).await,
        SubagentCare::Drain { names, timeout } => {
            act::drain(&names, timeout.map(Into::into), &controller, screen).await
        }
        SubagentCare::ConfirmLost { name } => {
            confirm_lost::confirm_lost(name, &controller, screen).await
        }
    }
}
