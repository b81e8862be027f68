//! `mainspring agent`.

use agent_node::AgentSettings;

use super::config::print;
use super::{Flags, announce_at, run};
use crate::arguments::{Access, AgentArgs};
use crate::exit::{Emergency, Exit};

/// Returns the settings from file, environment and flags.
pub(super) fn settings(args: &AgentArgs, access: &Access) -> anyhow::Result<AgentSettings> {
    let mut flags = Flags::of(&args.part, access);
    flags.put("name", args.name.as_ref());
    flags.put_path("token-file", access.token_file.as_deref());
    flags.load(&args.part)
}

pub(crate) fn agent(args: &AgentArgs, access: &Access) -> anyhow::Result<Exit> {
    let mut settings = settings(args, access)?;
    if args.part.print_config {
        return print(&settings);
    }
    settings.jobs.guard = Some(super::guard::program()?);
    run(&args.part, |stop| async move {
        super::take_data(&settings.data)?;
        let (data, name) = (settings.data.clone(), settings.name.clone());
        let ready = move |url: &str| {
            announce_at(&data, url, &format!("Agent {name} listens on {url}"));
        };
        of(agent_node::run(settings, stop, ready).await)
    })
}

/// What the process makes of an Agent's end.
pub(super) fn of(ended: Result<agent_node::Exit, agent_node::RunError>) -> anyhow::Result<Exit> {
    match ended {
        Ok(exit) if exit.restart => Ok(Exit::Restart),
        Ok(_) => Ok(Exit::Done),
        Err(error) if error.is_fault() => Err(Emergency(error.into()).into()),
        Err(error) => Err(error.into()),
    }
}
