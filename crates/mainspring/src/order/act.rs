//! `order cancel|suspend|resume|delete`: asks the Controller, all orders at once.

use model::{CancellationMode, ControllerCommand, Kill, OrderId, OrderSelection, SuspensionMode};

use crate::arguments::{CancelArgs, ResumeArgs, SuspendArgs};
use crate::call::Controller;
use crate::exit::{Exit, Misuse};
use crate::screen::Screen;

pub(crate) async fn cancel(
    args: CancelArgs,
    controller: &Controller,
    screen: &Screen,
) -> anyhow::Result<Exit> {
    let mode = if args.fresh_only {
        CancellationMode::FreshOnly
    } else {
        CancellationMode::FreshOrStarted {
            kill: kill(args.kill, args.immediately),
        }
    };
    let order_ids = OrderSelection::Ids(order_ids(&args.ids));
    act(
        ControllerCommand::CancelOrders { order_ids, mode },
        &args.ids,
        "to be cancelled",
        controller,
        screen,
    )
    .await
}

pub(crate) async fn suspend(
    args: SuspendArgs,
    controller: &Controller,
    screen: &Screen,
) -> anyhow::Result<Exit> {
    let mode = SuspensionMode {
        reset_state: args.reset_state,
        kill: kill(args.kill, args.immediately),
    };
    let command = ControllerCommand::SuspendOrders {
        order_ids: order_ids(&args.ids),
        mode,
    };
    act(command, &args.ids, "to be suspended", controller, screen).await
}

pub(crate) async fn resume(
    args: ResumeArgs,
    controller: &Controller,
    screen: &Screen,
) -> anyhow::Result<Exit> {
    let command = match (&args.position, args.ids.as_slice()) {
        (Some(position), [id]) => ControllerCommand::ResumeOrder {
            order_id: OrderId::new(id.as_str()),
            position: Some(position.parse().map_err(Misuse)?),
            history_operations: Vec::new(),
            as_succeeded: false,
            restart_killed_job: args.restart_killed_job,
        },
        (Some(_), _) => return Err(Misuse("a --position is for one order only".to_owned()).into()),
        (None, ids) => ControllerCommand::ResumeOrders {
            order_ids: order_ids(ids),
            as_succeeded: args.as_succeeded,
            restart_killed_job: args.restart_killed_job,
        },
    };
    act(command, &args.ids, "to go on", controller, screen).await
}

pub(crate) async fn delete(
    ids: Vec<String>,
    controller: &Controller,
    screen: &Screen,
) -> anyhow::Result<Exit> {
    let command = ControllerCommand::DeleteOrdersWhenTerminated {
        order_ids: order_ids(&ids),
    };
    act(
        command,
        &ids,
        "to be forgotten when ended",
        controller,
        screen,
    )
    .await
}

async fn act(
    command: ControllerCommand,
    ids: &[String],
    told: &str,
    controller: &Controller,
    screen: &Screen,
) -> anyhow::Result<Exit> {
    controller.command(&command).await?;
    if screen.json {
        screen.say_json(&serde_json::json!({"TYPE": "Accepted", "orderIds": ids}))?;
    } else {
        screen.say(
            &ids.iter()
                .map(|id| format!("{id}  {told}"))
                .collect::<Vec<_>>()
                .join("\n"),
        )?;
    }
    Ok(Exit::Done)
}

fn kill(is_wanted: bool, immediately: bool) -> Option<Kill> {
    is_wanted.then_some(Kill {
        immediately,
        workflow_position: None,
    })
}

fn order_ids(ids: &[String]) -> Vec<OrderId> {
    ids.iter().map(|id| OrderId::new(id.as_str())).collect()
}
