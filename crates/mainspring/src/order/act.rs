//! `order cancel|suspend|resume|delete`: changes the orders that are named or selected.

use model::{
    CancellationMode, ControllerCommand, HistoryOperation, Kill, Order, OrderId, OrderSelection,
    OrderState, Outcome, Position, SuspensionMode,
};

use super::add;
use super::selection::{self, Action, choose};
use crate::arguments::{CancelArgs, ResumeArgs, Selection, SuspendArgs};
use crate::call::Controller;
use crate::exit::{Exit, Misuse};
use crate::screen::Screen;

/// Returns whether an order has not ended and is not a child of a fork. A child changes with its parent.
fn is_open(order: &Order) -> bool {
    !order.is_terminated() && order.parent.is_none()
}

fn stands_still(order: &Order) -> bool {
    order.is_suspended
        || matches!(
            order.state,
            OrderState::Failed
                | OrderState::FailedWhileFresh
                | OrderState::Stopped
                | OrderState::StoppedWhileFresh
                | OrderState::Broken { .. }
        )
}

pub(crate) async fn cancel(
    args: CancelArgs,
    controller: &Controller,
    screen: &Screen,
) -> anyhow::Result<Exit> {
    let action = Action {
        verb: "cancel",
        told: "to be cancelled",
        concerns: is_open,
    };
    let mode = if args.fresh_only {
        CancellationMode::FreshOnly
    } else {
        CancellationMode::FreshOrStarted {
            kill: kill(args.kill, args.immediately),
        }
    };
    let Some(chosen) = choose(action, &args.orders, controller, screen).await? else {
        return Ok(Exit::Done);
    };
    let command = |ids| ControllerCommand::CancelOrders {
        order_ids: OrderSelection::Ids(ids),
        mode: mode.clone(),
    };
    chosen.give(action, command, controller, screen).await
}

pub(crate) async fn suspend(
    args: SuspendArgs,
    controller: &Controller,
    screen: &Screen,
) -> anyhow::Result<Exit> {
    let action = Action {
        verb: "suspend",
        told: "to be suspended",
        concerns: |order| is_open(order) && !order.is_suspended,
    };
    let mode = SuspensionMode {
        reset_state: args.reset_state,
        kill: kill(args.kill, args.immediately),
    };
    let Some(chosen) = choose(action, &args.orders, controller, screen).await? else {
        return Ok(Exit::Done);
    };
    let command = |order_ids| ControllerCommand::SuspendOrders {
        order_ids,
        mode: mode.clone(),
    };
    chosen.give(action, command, controller, screen).await
}

pub(crate) async fn resume(
    args: ResumeArgs,
    controller: &Controller,
    screen: &Screen,
) -> anyhow::Result<Exit> {
    let action = Action {
        verb: "resume",
        told: "to go on",
        concerns: stands_still,
    };
    let position: Option<Position> = match (&args.position, args.orders.ids.len()) {
        (Some(position), 1) => Some(position.parse().map_err(Misuse)?),
        (Some(_), _) => {
            return Err(Misuse("a --position is for one order only".to_owned()).into());
        }
        (None, _) => None,
    };
    let values = add::arguments(&args.arguments, None)?;
    let Some(chosen) = choose(action, &args.orders, controller, screen).await? else {
        return Ok(Exit::Done);
    };
    if position.is_none() && values.is_empty() {
        let command = |order_ids| ControllerCommand::ResumeOrders {
            order_ids,
            as_succeeded: args.as_succeeded,
            restart_killed_job: args.restart_killed_job,
        };
        return chosen.give(action, command, controller, screen).await;
    }
    let mut commands = Vec::new();
    for id in chosen.ids {
        let mut history_operations = Vec::new();
        if !values.is_empty() {
            // The values become results of the current step. Of several values with the same name, the newest one counts.
            let seen = controller.order(id.as_str()).await?;
            let brought = |name: &&_| seen.order.arguments.contains_key(*name);
            if let Some(name) = values.keys().find(brought) {
                anyhow::bail!(
                    "{id} has brought along {name} itself, and what an order brings along does not change; add a new order instead"
                );
            }
            history_operations.push(HistoryOperation::Append {
                position: seen.order.position,
                outcome: Outcome::Succeeded {
                    named_values: values.clone(),
                },
            });
        }
        let command = ControllerCommand::ResumeOrder {
            order_id: id.clone(),
            position: position.clone(),
            history_operations,
            as_succeeded: args.as_succeeded,
            restart_killed_job: args.restart_killed_job,
        };
        commands.push((id, command));
    }
    if let [(id, command)] = commands.as_slice() {
        let ids = [id.clone()];
        return selection::give_as_one(action, &ids, command, controller, screen).await;
    }
    selection::give(action, commands, controller, screen).await
}

pub(crate) async fn delete(
    orders: Selection,
    controller: &Controller,
    screen: &Screen,
) -> anyhow::Result<Exit> {
    let action = Action {
        verb: "delete",
        told: "to be forgotten when ended",
        concerns: |order| order.parent.is_none(),
    };
    let Some(chosen) = choose(action, &orders, controller, screen).await? else {
        return Ok(Exit::Done);
    };
    let command =
        |order_ids: Vec<OrderId>| ControllerCommand::DeleteOrdersWhenTerminated { order_ids };
    chosen.give(action, command, controller, screen).await
}

fn kill(is_wanted: bool, immediately: bool) -> Option<Kill> {
    is_wanted.then_some(Kill {
        immediately,
        workflow_position: None,
    })
}
