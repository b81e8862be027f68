//! `order list`: a table of orders.

use model::{Order, OrderState};

use crate::arguments::ListArgs;
use crate::call::{Controller, OrderQuery};
use crate::exit::{Exit, Misuse};
use crate::moment;
use crate::screen::Screen;
use crate::stage;
use crate::table::{Cell, Table};

/// The states an order can be listed by; lower-case letters are fine, too.
const STATES: [&str; 17] = [
    "Fresh",
    "Ready",
    "Processing",
    "Processed",
    "ProcessingKilled",
    "DelayingRetry",
    "Forked",
    "Sleeping",
    "Broken",
    "Failed",
    "FailedWhileFresh",
    "FailedInFork",
    "Stopped",
    "StoppedWhileFresh",
    "Finished",
    "Cancelled",
    "Suspended",
];

/// How the Controller is asked, and what is left to choose here.
enum Choice {
    All,
    State(&'static str),
    /// Not a state: an order can be suspended in several.
    Suspended,
    Open,
    Ended,
}

impl Choice {
    fn states(&self) -> Option<&'static str> {
        match self {
            Choice::All | Choice::Suspended => None,
            Choice::State(state) => Some(state),
            Choice::Open => Some(
                "Fresh,Ready,Processing,Processed,ProcessingKilled,DelayingRetry,Forked,Sleeping,Broken,Failed,FailedWhileFresh,FailedInFork,Stopped,StoppedWhileFresh",
            ),
            Choice::Ended => Some("Finished,Cancelled"),
        }
    }
}

pub(crate) async fn run(
    args: ListArgs,
    controller: &Controller,
    screen: &Screen,
) -> anyhow::Result<Exit> {
    let choice = choice(args.state.as_deref())?;
    let asked = OrderQuery {
        prefix: args.prefix.clone(),
        workflow: args.workflow.clone(),
        states: choice.states(),
        // What is chosen here must not be cut off there.
        limit: Some(if matches!(choice, Choice::Suspended) {
            usize::MAX
        } else {
            args.limit.saturating_add(1)
        }),
    };
    let mut orders = controller.orders(&asked).await?;
    orders.retain(|order| !matches!(choice, Choice::Suspended) || order.is_suspended);
    let is_cut = orders.len() > args.limit;
    orders.truncate(args.limit);
    if screen.json {
        screen.say_json(&orders)?;
        return Ok(Exit::Done);
    }
    if orders.is_empty() {
        screen.remark("no orders");
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&["ORDER", "STATE", "WORKFLOW", "AT", "AGENT"]);
    for order in &orders {
        table.row(row(order));
    }
    screen.say(&table.draw(screen.paint))?;
    if is_cut {
        screen.remark(&format!(
            "only the first {}; see --limit, --state and --prefix",
            args.limit
        ));
    }
    Ok(Exit::Done)
}

fn choice(state: Option<&str>) -> Result<Choice, Misuse> {
    let Some(wanted) = state else {
        return Ok(Choice::All);
    };
    match wanted.to_lowercase().as_str() {
        "open" => return Ok(Choice::Open),
        "ended" => return Ok(Choice::Ended),
        "suspended" => return Ok(Choice::Suspended),
        _ => {}
    }
    let state = STATES
        .into_iter()
        .find(|state| state.eq_ignore_ascii_case(wanted));
    state.map(Choice::State).ok_or_else(|| {
        Misuse(format!(
            "no such state: {wanted}; known are open, ended, {}",
            STATES.join(", ")
        ))
    })
}

fn row(order: &Order) -> [Cell; 5] {
    [
        order.id.to_string().into(),
        Cell::toned(stage::tone_of_state(order), state(order)),
        order.workflow_id.path.to_string().into(),
        order.position.to_string().into(),
        order
            .attached_state
            .as_ref()
            .map_or(String::new(), |attached| attached.agent_path().to_string())
            .into(),
    ]
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the other states are told by their name"
)]
/// The state in words, with the time it lasts where that is known.
pub(crate) fn state(order: &Order) -> String {
    let told = match &order.state {
        OrderState::Fresh => match order.scheduled_for.filter(|at| *at > moment::now()) {
            Some(at) => format!("Fresh, starts {}", moment::full(at)),
            None => "Fresh".to_owned(),
        },
        OrderState::DelayingRetry { until } => {
            format!("DelayingRetry until {}", moment::clock(*until))
        }
        OrderState::Sleeping { until, .. } => format!("Sleeping until {}", moment::clock(*until)),
        OrderState::Forked { children } => format!("Forked, {} children", children.len()),
        OrderState::Finished if !order.last_outcome().is_succeeded() => {
            "Finished with a failure".to_owned()
        }
        state => state.type_name().to_owned(),
    };
    if order.is_suspended {
        format!("Suspended, {told}")
    } else {
        told
    }
}
