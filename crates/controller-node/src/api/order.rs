//! `/controller/api/order`: add orders, look at them.

use super::{Api, command, granted, stopped};
use crate::machine::ControllerMachine;
use crate::permission::Route;
use crate::users::User;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use model::{ControllerAnswer, ControllerCommand, EventId, FreshOrder, Order, OrderId, Timestamp};
use net::{NDJSON, Problem, Query, RawBody, Refusal};
use node::{Clock as _, SystemClock};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

const LIST_DEFAULT: usize = 1000;
const LIST_MAX: usize = 100_000;

/// One order, an array, or one per line.
pub(super) async fn add(
    State(api): State<Api>,
    user: User,
    headers: HeaderMap,
    RawBody(body): RawBody,
) -> Result<Response, Refusal> {
    user.may_use(Route::AddOrders)?;
    let is_ndjson = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .is_some_and(|kind| kind.to_ascii_lowercase().starts_with(NDJSON));
    if !is_ndjson && body.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'[') {
        let order = json::<FreshOrder>(&body)?;
        return add_one(&api, &user, order).await;
    }
    let orders = if is_ndjson {
        lines(&body)?
    } else {
        json::<Vec<FreshOrder>>(&body)?
    };
    let answer = command::ask(&api, &user.id, ControllerCommand::AddOrders { orders }).await?;
    Ok(Json(granted(answer)?).into_response())
}

async fn add_one(api: &Api, user: &User, order: FreshOrder) -> Result<Response, Refusal> {
    let location = format!("/controller/api/order/{}", path_segment(order.id.as_str()));
    let answer = command::ask(api, &user.id, ControllerCommand::AddOrder { order }).await?;
    let answer = granted(answer)?;
    let is_duplicate = matches!(
        answer,
        ControllerAnswer::OrderAdded {
            ignored_because_duplicate: true
        }
    );
    let status = if is_duplicate {
        StatusCode::CONFLICT
    } else {
        StatusCode::CREATED
    };
    Ok((status, [(LOCATION, location)], Json(answer)).into_response())
}

/// An order's id as part of a URL.
fn path_segment(id: &str) -> String {
    let mut segment = String::with_capacity(id.len());
    for byte in id.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            segment.push(char::from(byte));
        } else {
            segment.push('%');
            segment.extend([byte >> 4, byte & 15].map(|digit| {
                char::from_digit(u32::from(digit), 16)
                    .unwrap_or('0')
                    .to_ascii_uppercase()
            }));
        }
    }
    segment
}

fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| {
        Problem::new("InvalidJson", format!("cannot read the body: {error}")).into()
    })
}

fn lines<T: DeserializeOwned>(body: &[u8]) -> Result<Vec<T>, Refusal> {
    let lines = body.split(|byte| *byte == b'\n').enumerate();
    let lines = lines.filter(|(_, line)| !line.iter().all(u8::is_ascii_whitespace));
    lines
        .map(|(number, line)| {
            serde_json::from_slice(line).map_err(|error| {
                Problem::new("InvalidJson", format!("line {}: {error}", number + 1)).into()
            })
        })
        .collect()
}

pub(super) async fn delete_when_terminated(
    State(api): State<Api>,
    user: User,
    RawBody(body): RawBody,
) -> Result<Response, Refusal> {
    user.may_use(Route::DeleteOrders)?;
    let is_array = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    let order_ids = if is_array {
        json(&body)?
    } else {
        lines(&body)?
    };
    let command = ControllerCommand::DeleteOrdersWhenTerminated { order_ids };
    let answer = command::ask(&api, &user.id, command).await?;
    Ok(Json(granted(answer)?).into_response())
}

/// Which orders are listed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ListQuery {
    /// Their ids begin so.
    #[serde(default)]
    prefix: String,
    /// One of these states, separated by commas.
    state: Option<String>,
    /// They run this workflow.
    workflow_path: Option<String>,
    /// Only those behind this id.
    after: Option<String>,
    /// So many.
    limit: Option<usize>,
}

pub(super) async fn list(
    State(api): State<Api>,
    user: User,
    Query(query): Query<ListQuery>,
) -> Result<Json<Listed>, Refusal> {
    user.may_use(Route::Order)?;
    let machine = api
        .0
        .handle
        .read(ControllerMachine::clone)
        .await
        .map_err(stopped)?;
    // A great list must not hold up those who wait for short answers.
    let list = tasks::spawn_blocking(move || listed(&machine, &query)).await;
    list.map(Json)
        .map_err(|error| Problem::uncoded(format!("the orders cannot be listed: {error}")).into())
}

fn listed(machine: &ControllerMachine, query: &ListQuery) -> Listed {
    let limit = query.limit.unwrap_or(LIST_DEFAULT).min(LIST_MAX);
    let states: Option<Vec<&str>> = query
        .state
        .as_deref()
        .map(|states| states.split(',').map(str::trim).collect());
    let is_wanted = |order: &Order| {
        states
            .as_ref()
            .is_none_or(|states| states.contains(&state_name(order)))
            && query
                .workflow_path
                .as_deref()
                .is_none_or(|path| order.workflow_id.path.as_str() == path)
            && query
                .after
                .as_deref()
                .is_none_or(|after| order.id.as_str() > after)
    };
    let begin = query
        .after
        .as_deref()
        .filter(|after| *after > query.prefix.as_str())
        .unwrap_or(&query.prefix);
    let begin = OrderId::from(begin);
    let engine = machine.state.engine();
    let matching = engine
        .orders_from(&begin)
        .take_while(|order| order.id.as_str().starts_with(&query.prefix))
        .filter(|order| is_wanted(order));
    let mut orders: Vec<Described> = matching
        .take(limit + 1)
        .map(|order| described(machine, order))
        .collect();
    let has_more = orders.len() > limit;
    orders.truncate(limit);
    Listed {
        event_id: machine.last_event_id,
        orders,
        has_more,
        count: engine.order_count(),
    }
}

fn state_name(order: &Order) -> &'static str {
    order.state.type_name()
}

/// An order as it is shown. It is written as text at once, because numbers have more digits than a JSON tree keeps.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Described {
    #[serde(flatten)]
    order: Order,
    /// Why it waits.
    obstacles: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent_problem: Option<model::Problem>,
    /// What its jobs wrote up to this event is no longer kept. Only where one order is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    output_lost_until: Option<EventId>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Listed {
    event_id: EventId,
    orders: Vec<Described>,
    has_more: bool,
    count: usize,
}

fn described(machine: &ControllerMachine, order: &Order) -> Described {
    let now: Timestamp = SystemClock.now();
    let obstacles = machine.state.engine().obstacles(&order.id, now);
    let mut obstacles: Vec<String> = obstacles.iter().map(ToString::to_string).collect();
    let shortage = machine.state.shortage(&order.id, now);
    obstacles.extend(shortage.map(|shortage| shortage.to_string()));
    Described {
        order: order.clone(),
        obstacles,
        agent_problem: machine.state.order_refusal(&order.id).cloned(),
        output_lost_until: None,
    }
}

pub(super) async fn single(
    State(api): State<Api>,
    user: User,
    Path(id): Path<String>,
) -> Result<Json<Described>, Refusal> {
    user.may_use(Route::Order)?;
    let order_id = OrderId::from(&*id);
    let look = move |machine: &ControllerMachine| {
        machine
            .state
            .engine()
            .order(&order_id)
            .map(|order| described(machine, order))
    };
    match api.0.handle.read(look).await.map_err(stopped)? {
        Some(mut order) => {
            let torn = EventId(api.0.log.torn_event_id());
            let begin = order.order.output_since;
            order.output_lost_until = begin.is_some_and(|begin| begin <= torn).then_some(torn);
            Ok(Json(order))
        }
        None => Err(unknown_order(&id)),
    }
}

pub(super) fn unknown_order(id: &str) -> Refusal {
    Problem::new("UnknownOrder", format!("there is no Order:{id}"))
        .with("orderId", id)
        .status(StatusCode::NOT_FOUND)
}
