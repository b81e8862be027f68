//! `events`: everything that happens at a Controller, as lines for people or as it was written for programs.

use crate::arguments::{Access, EventsArgs};
use crate::call::{Controller, Followed, Following};
use crate::exit::Exit;
use crate::screen::Screen;
use crate::telling::Teller;

pub(crate) async fn run(
    args: EventsArgs,
    access: &Access,
    screen: &Screen,
) -> anyhow::Result<Exit> {
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
