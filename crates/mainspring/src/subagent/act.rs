//! `subagent enable|disable|drain|reset`: what the item of a Subagent says, when nothing runs there any more, and a new beginning.
//!
//! Always: only the field `disabled` of the item changes, everything else in it stays as it was deployed.

use super::list::{find, unknown};
use crate::call::{Controller, Followed, Following};
use crate::exit::{Exit, Misuse};
use crate::screen::Screen;
use model::{ControllerCommand, ItemKey, ItemType, SubagentId};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout_at};

/// After these events a Subagent may be idle, or its Agent may know that it is disabled.
const ENDS: &str =
    "OrderProcessed,OrderStickySubagentLeaved,OrderFinished,OrderCancelled,ItemAttached";
/// Where much happens, the Controller is asked no more often than this.
const DISTANCE: Duration = Duration::from_millis(250);
/// Without an end that was given, there is none in practice.
const FOR_EVER: Duration = Duration::from_hours(24 * 365);

pub(crate) async fn enable(
    names: &[String],
    controller: &Controller,
    screen: &Screen,
) -> anyhow::Result<Exit> {
    set_disabled(names, false, controller).await?;
    tell(names, "enabled", screen)
}

pub(crate) async fn disable(
    names: &[String],
    controller: &Controller,
    screen: &Screen,
) -> anyhow::Result<Exit> {
    set_disabled(names, true, controller).await?;
    tell(names, "disabled", screen)
}

/// Disables and waits until nothing runs there and no order keeps to it.
pub(crate) async fn drain(
    names: &[String],
    patience: Option<Duration>,
    controller: &Controller,
    screen: &Screen,
) -> anyhow::Result<Exit> {
    let followed = Followed {
        types: Some(ENDS.to_owned()),
        ..Followed::default()
    };
    let mut events = Following::open(controller, screen, followed).await?;
    set_disabled(names, true, controller).await?;
    let end = Instant::now() + patience.unwrap_or(FOR_EVER);
    let waiting = screen.spinner(&format!("waiting for the jobs of {}", names.join(", ")));
    loop {
        let asked_at = Instant::now();
        let agents = controller.agents().await?;
        let mut busy = Vec::new();
        for name in names {
            let (_, subagent) = find(&agents, name).ok_or_else(|| unknown(name))?;
            if !subagent.is_drained {
                busy.push(format!(
                    "{name} ({} processes, {} orders that keep to it)",
                    subagent.process_count, subagent.tied_order_count
                ));
            }
        }
        if busy.is_empty() {
            waiting.finish_and_clear();
            return tell(names, "idle", screen);
        }
        let Ok(event) = timeout_at(end, events.next()).await else {
            waiting.finish_and_clear();
            screen.warn(&format!("not idle in time: {}", busy.join(", ")));
            return Ok(Exit::OrderFailed);
        };
        event?;
        sleep_until((asked_at + DISTANCE).min(end)).await;
    }
}

pub(crate) async fn reset(
    name: &str,
    force: bool,
    controller: &Controller,
    screen: &Screen,
) -> anyhow::Result<Exit> {
    let command = ControllerCommand::ResetSubagent {
        subagent_id: SubagentId::new(name),
        force,
    };
    controller.command(&command).await?;
    if screen.json {
        screen.say_json(&json!({"TYPE": "Accepted", "subagentId": name, "force": force}))?;
        return Ok(Exit::Done);
    }
    screen.say(&format!("{name}  to be reset"))?;
    if !force {
        screen.remark(
            "its jobs are repeated when they have ended (mainspring subagent show); --force does not wait for that",
        );
    }
    Ok(Exit::Done)
}

async fn set_disabled(
    names: &[String],
    is_disabled: bool,
    controller: &Controller,
) -> anyhow::Result<()> {
    let mut lines = String::new();
    for name in names {
        let key = ItemKey::simple(ItemType::SubagentItem, name);
        let text = controller.item_text(&key).await?;
        let item: Value = serde_json::from_str(&text)?;
        if let Some(line) = changed(item, is_disabled)? {
            lines += &format!("{line}\n");
        }
    }
    if !lines.is_empty() {
        controller.change_items(lines).await?;
    }
    Ok(())
}

/// The operation that makes the item say so; nothing if it does already.
fn changed(mut item: Value, is_disabled: bool) -> anyhow::Result<Option<Value>> {
    let Some(fields) = item.as_object_mut() else {
        return Err(Misuse("the item of the Subagent is no object".to_owned()).into());
    };
    let was_disabled = fields
        .get("disabled")
        .and_then(Value::as_bool)
        .unwrap_or_default();
    if was_disabled == is_disabled {
        return Ok(None);
    }
    fields.insert("disabled".to_owned(), is_disabled.into());
    fields.remove("itemRevision");
    Ok(Some(json!({"TYPE": "AddOrChangeSimple", "item": item})))
}

fn tell(names: &[String], told: &str, screen: &Screen) -> anyhow::Result<Exit> {
    if screen.json {
        screen.say_json(&json!({"TYPE": "Accepted", "subagentIds": names, "state": told}))?;
    } else {
        let lines = names.iter().map(|name| format!("{name}  {told}"));
        screen.say(&lines.collect::<Vec<_>>().join("\n"))?;
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_field_that_is_meant_changes_and_nothing_when_it_says_so_already() {
        let item = json!({"TYPE": "SubagentItem", "id": "S", "agentPath": "A", "uri": "https://h:1", "position": 7});
        assert_eq!(changed(item.clone(), false).unwrap(), None);
        let operation = changed(item, true).unwrap().unwrap();
        assert_eq!(
            operation["item"],
            json!({"TYPE": "SubagentItem", "id": "S", "agentPath": "A", "uri": "https://h:1", "position": 7, "disabled": true})
        );
        assert_eq!(changed(operation["item"].clone(), true).unwrap(), None);
        let back = changed(operation["item"].clone(), false).unwrap().unwrap();
        assert_eq!(back["item"]["disabled"], false);
    }
}
