//! `order watch`: orders live, as lines for people or as events for programs.

use model::Event;

use super::summary::Summary;
use super::waited::Waited;
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
    let mut summary = Summary::default();
    let from_oldest = args.after == Some(0) || (args.after.is_none() && !args.ids.is_empty());
    let mut waited = Waited::since(controller.last_event_id().await?);
    for id in &args.ids {
        match controller.order(id).await {
            Ok(seen) => {
                if !from_oldest {
                    teller.meet(&seen.order);
                }
                waited.add(id, Some(&seen.order));
            }
            // Deleted orders are still told of by the events.
            Err(error) if from_oldest && is_unknown(&error) => {
                screen.warn(&format!(
                    "there is no order {id} any more; showing what is still known of it"
                ));
                waited.add(id, None);
            }
            Err(error) => return Err(error),
        }
    }
    // The past is told to its end before anybody knows whether it is the end of the orders.
    let mut has_past = args.until_ended && from_oldest;
    if !from_oldest {
        waited.catch_up();
    }
    let followed = Followed {
        after: args.after,
        from_oldest,
        types: Some("OrderEvent".to_owned()),
        is_bounded: has_past,
    };
    let mut following = Following::open(controller, screen, followed).await?;
    while !(args.until_ended && waited.is_over()) {
        let Some(stamped) = following.next().await? else {
            if !has_past {
                break;
            }
            has_past = false;
            if let [first, ..] = waited.catch_up().as_slice() {
                anyhow::bail!("there is no order {first}, and no event that is kept tells of one");
            }
            following.go_on();
            continue;
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
        waited.take(stamped.event_id.0, id.as_str(), event);
    }
    if args.summary && !screen.json {
        screen.say(&format!("\n{}", summary.draw(screen.paint)))?;
    }
    Ok(if args.until_ended && waited.has_failed() {
        Exit::OrderFailed
    } else {
        Exit::Done
    })
}

fn is_unknown(error: &anyhow::Error) -> bool {
    let problem = error
        .downcast_ref::<net::ClientError>()
        .and_then(net::ClientError::problem);
    problem.is_some_and(net::Problem::is_unknown_order)
}
