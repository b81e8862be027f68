//! `mainspring controller`.

use controller_node::ControllerSettings;

use super::config::print;
use super::{Flags, announce_at, run};
use crate::arguments::{Access, ControllerArgs};
use crate::call::ADMIN_TOKEN_FILE;
use crate::exit::{Emergency, Exit};

/// Returns the settings from file, environment and flags.
pub(super) fn settings(
    args: &ControllerArgs,
    access: &Access,
) -> anyhow::Result<ControllerSettings> {
    let mut flags = Flags::of(&args.part, access);
    flags.put("id", args.id.as_ref());
    flags.put_path("agent-token-file", access.token_file.as_deref());
    flags.load(&args.part)
}

pub(crate) fn controller(args: &ControllerArgs, access: &Access) -> anyhow::Result<Exit> {
    let settings = settings(args, access)?;
    if args.part.print_config {
        return print(&settings);
    }
    run(&args.part, |stop| async move {
        super::take_data(&settings.data)?;
        let (data, id) = (settings.data.clone(), settings.id.clone());
        let ready = move |url: &str| {
            let token = data.join(ADMIN_TOKEN_FILE);
            let told = format!(
                "Controller {id} listens on {url}; the token of user admin is in {}",
                token.display()
            );
            announce_at(&data, url, &told);
        };
        of(controller_node::run(settings, stop, ready).await)
    })
}

/// What the process makes of a Controller's end.
pub(super) fn of(
    ended: Result<controller_node::Exit, controller_node::RunError>,
) -> anyhow::Result<Exit> {
    match ended {
        Ok(exit) if exit.restart => Ok(Exit::Restart),
        Ok(_) => Ok(Exit::Done),
        Err(error) if error.is_fault() => Err(Emergency(error.into()).into()),
        Err(error) => Err(error.into()),
    }
}
