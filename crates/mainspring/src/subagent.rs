//! `subagent list|show|enable|disable|drain|confirm-lost`: the Subagents of all Agents, as the Controller knows them.
//!
//! Always: whether a Subagent is enabled stands in its item, so it outlives every restart. Never here: which Subagent gets a job.

mod act;
mod confirm_lost;
mod list;

use crate::arguments::{Access, SubagentCare};
use crate::call::Controller;
use crate::exit::{self, Exit};
use crate::screen::Screen;
use crate::suggest::{self, Kind};

pub(crate) async fn run(
    care: SubagentCare,
    access: &Access,
    screen: &Screen,
) -> anyhow::Result<Exit> {
    let controller = Controller::of(access)?;
    let names = match &care {
        SubagentCare::List => Vec::new(),
        SubagentCare::Show { name }
        | SubagentCare::Reset { name, .. }
        | SubagentCare::ConfirmLost { name } => vec![name.clone()],
        SubagentCare::Enable { names }
        | SubagentCare::Disable { names }
        | SubagentCare::Drain { names, .. } => names.clone(),
    };
    let done = carry_out(care, &controller, screen).await;
    if done.as_ref().is_err_and(exit::may_be_misspelt) {
        suggest::instead_of(Kind::Subagent, &names, &controller, screen).await;
    }
    done
}

async fn carry_out(
    care: SubagentCare,
    controller: &Controller,
    screen: &Screen,
) -> anyhow::Result<Exit> {
    match care {
        SubagentCare::List => list::list(controller, screen).await,
        SubagentCare::Show { name } => list::show(&name, controller, screen).await,
        SubagentCare::Enable { names } => act::enable(&names, controller, screen).await,
        SubagentCare::Disable { names } => act::disable(&names, controller, screen).await,
        SubagentCare::Reset { name, force } => act::reset(&name, force, controller, screen).await,
        SubagentCare::Drain { names, timeout } => {
            act::drain(&names, timeout.map(Into::into), controller, screen).await
        }
        SubagentCare::ConfirmLost { name } => {
            confirm_lost::confirm_lost(name, controller, screen).await
        }
    }
}
