//! `order watch`: orders live, as lines for people or as events for programs.

use std::collections::BTreeSet;

use model::Event;

use super::end::End;
use super::summary::Summary;
use crate::arguments::WatchArgs;
use crate::call::{Controller, Followed, Following};
use crate::exit::Exit;
use crate::screen::Screen;
use crate::telling::Teller;

pub(crate) async fn run(
    args: WatchArgs,
    controller: &Controller,
    screen: &Screen,
) -> anyhow::Result<Exit> {
    let mut teller = Teller::new(controller, screen.paint);
    teller.make_room_for(&args.ids);
    let mut open: BTreeSet<String> = args.ids.iter().cloned().collect();
    let mut exit = Exit::Done;
    let mut summary = Summary::default();
    let from_oldest = args.after == Some(0) || (args.after.is_none() && !args.ids.is_empty());
    let mut is_told_by_state = BTreeSet::new();
    for id in &args.ids {
        let seen = match controller.order(id).await {
            Ok(seen) => seen,
            // Deleted orders are still told of by the events.
            Err(error) if from_oldest && is_unknown(&error) => {
                screen.warn(&format!(
                    "there is no order {id} any more; showing what is still known of it"
                ));
                continue;
            }
            Err(error) => return Err(error),
        };
        if !from_oldest {
            teller.meet(&seen.order);
            if let Some(end) = End::of_order(&seen.order) {
                is_told_by_state.insert(id.clone());
                exit = if end == End::Well {
                    exit
                } else {
                    Exit::OrderFailed
                };
            }
        }
    }
    open.retain(|id| !is_told_by_state.contains(id));
    let followed = Followed {
        after: args.after,
        from_oldest,
        types: Some("OrderEvent".to_owned()),
        is_bounded: false,
    };
    let mut following = Following::open(controller, screen, followed).await?;
    while !(args.until_ended && open.is_empty()) {
        let Some(stamped) = following.next().await? else {
            break;
        };
        let Event::Order(id, event) = &stamped.event else {
            continue;
        };
        if !args.ids.is_empty()
            && !args
                .ids
                .iter()
                .any(|wanted| wanted == id.root() || wanted == id.as_str())
        {
            continue;
        }
        summary.take(id, event, stamped.at());
        if screen.json {
            screen.say(&stamped.to_json())?;
        } else if let Some(lines) = teller.tell(&stamped).await {
            screen.say(&lines)?;
        }
        if let Some(end) = End::of_event(event)
            && open.remove(id.as_str())
            && end != End::Well
        {
            exit = Exit::OrderFailed;
        }
    }
    if args.summary && !screen.json {
        screen.say(&format!("\n{}", summary.draw(screen.paint)))?;
    }
    Ok(if args.until_ended { exit } else { Exit::Done })
}

fn is_unknown(error: &anyhow::Error) -> bool {
    let problem = error
        .downcast_ref::<net::ClientError>()
        .and_then(net::ClientError::problem);
    problem.is_some_and(|problem| problem.code.as_deref() == Some("UnknownOrder"))
}
