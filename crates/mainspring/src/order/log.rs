//! `order log`: what the jobs of an order and its children wrote, as they wrote it. On a terminal, control characters are replaced.

use model::{Event, OrderEvent};

use super::end::End;
use crate::arguments::LogArgs;
use crate::call::{Controller, Followed, Following, OrderSeen};
use crate::exit::Exit;
use crate::moment;
use crate::screen::{Screen, Tone};

const TYPES: &str = "OrderStdoutWritten,OrderStderrWritten,OrderFinished,OrderCancelled,OrderFailed,OrderStopped,OrderBroken,OrderDeleted";

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "few of the many events are output"
)]
pub(crate) async fn run(
    args: LogArgs,
    controller: &Controller,
    screen: &Screen,
) -> anyhow::Result<Exit> {
    if !args.follow && !screen.json {
        let log = controller.order_log(&args.id).await?;
        screen.pass(&log, None, args.raw)?;
        // Requested after the log, so that output lost in the meantime is reported, too.
        let seen = match controller.order(&args.id).await {
            // An order that has been deleted may have left its log; one that never was has none.
            Err(_) if !log.is_empty() => return Ok(Exit::Done),
            seen => seen?,
        };
        return Ok(kept(&seen, screen));
    }
    // Asked for first: an order that ends after this is told by an event or by its state.
    let newest = controller.last_event_id().await?;
    // A typing error must not wait for ever.
    let seen = controller.order(&args.id).await?;
    let exit = kept(&seen, screen);
    let is_ended = End::of_order(&seen.order).is_some();
    let is_bounded = is_ended || !args.follow;
    let followed = Followed {
        from_oldest: true,
        types: Some(TYPES.to_owned()),
        is_bounded,
        after: None,
    };
    let mut following = Following::open(controller, screen, followed).await?;
    while let Some(stamped) = following.next().await? {
        let Event::Order(id, event) = &stamped.event else {
            continue;
        };
        if id.root() != args.id && id.as_str() != args.id {
            continue;
        }
        match event {
            OrderEvent::OrderStdoutWritten { .. } | OrderEvent::OrderStderrWritten { .. }
                if screen.json =>
            {
                screen.say(&stamped.to_json())?;
            }
            OrderEvent::OrderStdoutWritten { chunk } => {
                screen.pass(chunk.as_bytes(), None, args.raw)?;
            }
            OrderEvent::OrderStderrWritten { chunk } => {
                screen.pass(chunk.as_bytes(), Some(Tone::Waiting), args.raw)?;
            }
            event => {
                // What ended it before was no end, since it goes on.
                let is_new = stamped.event_id.0 > newest;
                if id.as_str() == args.id && !is_bounded && is_new && End::of_event(event).is_some()
                {
                    break;
                }
            }
        }
    }
    Ok(exit)
}

/// Warns if output of the order is no longer kept. Returns the exit code.
fn kept(seen: &OrderSeen, screen: &Screen) -> Exit {
    let Some(until) = seen.waiting.output_lost_until else {
        return Exit::Done;
    };
    let at = moment::full(until.timestamp());
    screen.warn(&format!(
        "what the jobs of {} wrote until {at} is no longer kept; how much is kept is the Controller's setting output-kept",
        seen.order.id
    ));
    Exit::NoLongerKept
}
