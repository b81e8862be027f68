//! `order list`: a table of orders.

use std::time::Duration;

use model::{Order, OrderState, Timestamp};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::arguments::{ListArgs, OrderFilter, SortKey};
use crate::call::{Controller, ObstacleSeen, OrderQuery, OrderRow};
use crate::exit::{Exit, Misuse};
use crate::moment;
use crate::screen::{Screen, Tone};
use crate::stage;
use crate::table::{Cell, Table};
use crate::telling::harmless;

/// The maximum number of characters in the table of the reason why an order waits. `order show` has the whole text.
const WAITS_MAX: usize = 70;

const FINISHED_WITH_A_FAILURE: &str = "Finished with a failure";

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

/// Returns the states that the operator's word stands for, as the parameter `state` of the Controller. `None` means all states.
pub(super) fn states(wanted: Option<&str>) -> Result<Option<&'static str>, Misuse> {
    let Some(wanted) = wanted else {
        return Ok(None);
    };
    match wanted.to_lowercase().as_str() {
        "open" => {
            return Ok(Some(
                "Fresh,Ready,Processing,Processed,ProcessingKilled,DelayingRetry,Forked,Sleeping,Broken,Failed,FailedWhileFresh,FailedInFork,Stopped,StoppedWhileFresh",
            ));
        }
        "ended" => return Ok(Some("Finished,Cancelled")),
        _ => {}
    }
    let state = STATES
        .into_iter()
        .find(|state| state.eq_ignore_ascii_case(wanted));
    state.map(Some).ok_or_else(|| {
        Misuse(format!(
            "no such state: {wanted}; known are open, ended, {}",
            STATES.join(", ")
        ))
    })
}

pub(crate) async fn run(
    args: ListArgs,
    controller: &Controller,
    screen: &Screen,
) -> anyhow::Result<Exit> {
    let is_sorted = args.sort != SortKey::Id || args.reverse;
    let asked = OrderQuery {
        fields: args.fields,
        // Sorting needs all orders.
        limit: if args.all || is_sorted {
            None
        } else {
            Some(args.limit)
        },
        ..args.filter.query()?
    };
    let mut page = controller.orders(&asked).await?;
    if is_sorted {
        page.orders
            .sort_by_key(|row| sort_key(args.sort, &row.order));
        if args.reverse {
            page.orders.reverse();
        }
        if !args.all && page.orders.len() > args.limit {
            page.orders.truncate(args.limit);
            page.has_more = true;
        }
    }
    if screen.json {
        let orders = page.orders.iter().map(|row| &*row.json);
        screen.say_json(&Listed {
            next: page
                .orders
                .last()
                .filter(|_| page.has_more && !is_sorted)
                .map(|row| row.order.id.as_str()),
            orders: orders.collect(),
            has_more: page.has_more,
        })?;
        return Ok(Exit::Done);
    }
    if page.orders.is_empty() {
        screen.remark("no orders");
        return Ok(Exit::Done);
    }
    screen.say(&table(&page.orders).draw(screen.paint))?;
    if page.has_more {
        screen.remark(&format!(
            "only the first {}; see --all, --limit, --state and --pattern",
            page.orders.len()
        ));
    }
    Ok(Exit::Done)
}

/// A list of orders as JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed<'a> {
    orders: Vec<&'a RawValue>,
    has_more: bool,
    /// The last order of this page, if more follow: `after` of the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<&'a str>,
}

pub(super) fn table(orders: &[OrderRow]) -> Table {
    let now = moment::now();
    let started = format!("STARTED ({})", moment::zone());
    let mut table = Table::new(&[
        "ORDER", "STATE", "WORKFLOW", "AT", "AGENT", "ATTEMPT", &started, "SINCE", "TOOK", "WAITS",
    ]);
    for order in orders {
        table.row(row(order, now));
    }
    table
}

impl OrderFilter {
    /// Returns whether the filter has no condition.
    pub(super) fn is_empty(&self) -> bool {
        let OrderFilter {
            state,
            workflow,
            prefix,
            pattern,
            scheduled_from,
            scheduled_before,
            since,
            until,
        } = self;
        [
            state,
            workflow,
            prefix,
            pattern,
            scheduled_from,
            scheduled_before,
            since,
            until,
        ]
        .iter()
        .all(|chosen| chosen.is_none())
    }

    pub(super) fn query(&self) -> Result<OrderQuery, Misuse> {
        let now = moment::now();
        let time = |text: &Option<String>| {
            let at = text.as_deref().map(|text| moment::parse(text, now));
            at.transpose().map_err(Misuse)
        };
        let past = |text: &Option<String>| {
            let at = text.as_deref().map(|text| moment::parse_past(text, now));
            at.transpose().map_err(Misuse)
        };
        Ok(OrderQuery {
            prefix: self.prefix.clone(),
            pattern: self.pattern.clone(),
            workflow: self.workflow.clone(),
            states: states(self.state.as_deref())?,
            scheduled_from: time(&self.scheduled_from)?,
            scheduled_before: time(&self.scheduled_before)?,
            since: past(&self.since)?,
            until: past(&self.until)?,
            fields: None,
            limit: None,
        })
    }
}

fn row(row: &OrderRow, now: Timestamp) -> [Cell; 10] {
    let order = &row.order;
    let has_failed = row
        .last_outcome
        .as_ref()
        .is_some_and(|last| !last.is_succeeded());
    let (tone, state) = if has_failed && order.state == OrderState::Finished {
        (Tone::Bad, FINISHED_WITH_A_FAILURE.to_owned())
    } else {
        (stage::tone_of_state(order), state(order))
    };
    let time = |at: Option<Timestamp>| at.map_or_else(String::new, moment::in_table);
    let agent = order.attached_state.as_ref();
    let agent = agent.map_or_else(String::new, |attached| attached.agent_path().to_string());
    let attempt = match order.attempts {
        0 => String::new(),
        attempts => attempts.to_string(),
    };
    [
        order.id.to_string().into(),
        Cell::toned(tone, state),
        order.workflow_id.path.to_string().into(),
        order.position.to_string().into(),
        agent.into(),
        attempt.into(),
        time(order.started_at).into(),
        time(order.state_since).into(),
        took(order, now)
            .map_or_else(String::new, moment::span)
            .into(),
        Cell::toned(Tone::Waiting, waits(row)),
    ]
}

/// Returns the first reason why the order waits, shortened to fit a table, and how many other reasons there are.
fn waits(row: &OrderRow) -> String {
    let Some(first) = row.obstacles.first() else {
        return String::new();
    };
    let words = in_words(first);
    let mut told: String = words.chars().take(WAITS_MAX).collect();
    if told.len() < words.len() {
        told.push('…');
    }
    match row.obstacles.len() {
        1 => told,
        count => format!("{told} (+{})", count - 1),
    }
}

/// Returns the obstacle as it is shown at a terminal, with times in the local zone.
pub(super) fn in_words(obstacle: &ObstacleSeen) -> String {
    harmless(&moment::with_local_times(obstacle.message()))
}

fn sort_key(sort: SortKey, order: &Order) -> Option<Timestamp> {
    match sort {
        SortKey::Id => None,
        SortKey::Added => order.added_at,
        SortKey::Started => order.started_at,
        SortKey::Changed => order.state_since,
        SortKey::Scheduled => order.scheduled_for,
    }
}

/// Returns how long the order has run so far, or until its end.
pub(crate) fn took(order: &Order, now: Timestamp) -> Option<Duration> {
    let end = if order.is_terminated() {
        order.state_since?
    } else {
        now
    };
    Some(end.since(order.started_at?))
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
            format!("DelayingRetry until {}", moment::full(*until))
        }
        OrderState::Sleeping { until, .. } => format!("Sleeping until {}", moment::full(*until)),
        OrderState::Forked { children } => format!("Forked, {} children", children.len()),
        OrderState::Finished if !order.last_outcome().is_succeeded() => {
            FINISHED_WITH_A_FAILURE.to_owned()
        }
        state => state.type_name().to_owned(),
    };
    if order.is_suspended {
        format!("Suspended, {told}")
    } else {
        told
    }
}
