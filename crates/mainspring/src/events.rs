//! `events`: everything that happens at a Controller, as lines for people or as it was written for programs.

use model::Event;

use crate::arguments::{Access, EventsArgs};
use crate::call::{Controller, Followed, Following};
use crate::exit::{Exit, Misuse};
use crate::screen::Screen;
use crate::telling::Teller;

pub(crate) async fn run(
    args: EventsArgs,
    access: &Access,
    screen: &Screen,
) -> anyhow::Result<Exit> {
    let names = args.types.as_deref().unwrap_or("Event").split(',');
    for name in names.map(str::trim).filter(|name| !name.is_empty()) {
        if !Event::is_known_name(name) {
            return Err(Misuse(format!(
                "--return: no event or group is called {name}; names are such as OrderFailed or the group OrderEvent"
            ))
            .into());
        }
    }
    let controller = Controller::of(access)?;
    let mut teller = Teller::new(&controller, screen.paint);
    let followed = Followed {
        after: args.after,
        // Without a beginning, what is there already is what is asked for.
        from_oldest: args.after == Some(0) || (args.after.is_none() && args.no_follow),
        types: args.types,
        is_bounded: args.no_follow,
    };
    let mut following = Following::open(&controller, screen, followed).await?;
    let mut left = args.limit.unwrap_or(u64::MAX);
    while left > 0 {
        let Some(stamped) = following.next().await? else {
            break;
        };
        let lines = if screen.json {
            Some(stamped.to_json())
        } else {
            teller.tell(&stamped).await
        };
        if let Some(lines) = lines {
            screen.say(&lines)?;
            left -= 1;
        }
    }
    Ok(Exit::Done)
}
