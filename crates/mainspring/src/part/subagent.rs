//! `mainspring subagent`.

use subagent_node::SubagentSettings;

use super::config::print;
use super::{Flags, announce_at, run};
use crate::arguments::{Access, SubagentArgs};
use crate::exit::Exit;

/// Returns the settings from file, environment and flags.
pub(super) fn settings(args: &SubagentArgs, access: &Access) -> anyhow::Result<SubagentSettings> {
    let mut flags = Flags::of(&args.part, access);
    flags.put_path("token-file", access.token_file.as_deref());
    flags.load(&args.part)
}

pub(crate) fn subagent(args: &SubagentArgs, access: &Access) -> anyhow::Result<Exit> {
    let mut settings = settings(args, access)?;
    if args.part.print_config {
        return print(&settings);
    }
    settings.jobs.guard = Some(super::guard::program()?);
    let name = args
        .name
        .as_ref()
        .map_or_else(|| "Subagent".to_owned(), |name| format!("Subagent {name}"));
    run(&args.part, |stop| async move {
        super::take_data(&settings.data)?;
        let data = settings.data.clone();
        let ready = move |url: &str| {
            announce_at(&data, url, &format!("{name} listens on {url}"));
        };
        let exit = subagent_node::run(settings, stop, ready).await?;
        Ok(if exit.restart {
            Exit::Restart
        } else {
            Exit::Done
        })
    })
}
