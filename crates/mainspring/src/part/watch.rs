//! `mainspring watch`.

use controller_node::WatchSettings;

use super::config::print;
use super::{Flags, announce, run};
use crate::arguments::{Access, WatchPartArgs};
use crate::exit::{Emergency, Exit};

/// Returns the settings from file, environment and flags.
pub(super) fn settings(args: &WatchPartArgs, access: &Access) -> anyhow::Result<WatchSettings> {
    let mut flags = Flags::of(&args.part, access);
    flags.put_path("token-file", access.token_file.as_deref());
    for (name, url) in &args.members {
        flags.put(&format!("members.{name}"), Some(url));
    }
    flags.put("id", args.id.as_ref());
    flags.put("agent", args.agent.as_ref());
    flags.load(&args.part)
}

pub(crate) fn watch(args: &WatchPartArgs, access: &Access) -> anyhow::Result<Exit> {
    let settings = settings(args, access)?;
    if args.part.print_config {
        return print(&settings);
    }
    run(&args.part, |stop| async move {
        super::take_data(&settings.data)?;
        let ready = |members: &str| announce(&format!("the watch looks at {members}"));
        match controller_node::watch(settings, stop, ready).await {
            Ok(()) => Ok(Exit::Done),
            Err(error) if error.is_fault() => Err(Emergency(error.into()).into()),
            Err(error) => Err(error.into()),
        }
    })
}
