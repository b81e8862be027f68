//! `/controller/api/order`: add orders, look at them.

use super::body::{self, Expected};
use super::page::{self, Page};
use super::{Api, ChangeQuery, command, granted, stopped};
use crate::machine::ControllerMachine;
use crate::permission::Route;
use crate::users::User;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use model::{
    AgentPath, Cause, ControllerAnswer, ControllerCommand, EventId, FreshOrder, JobName, Obstacle,
    Order, OrderId, OrderState, Outcome, SubagentId, Timestamp,
};
use net::{NDJSON, Problem, Query, RawBody, Refusal};
use node::{Clock as _, SystemClock};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

const LIST_DEFAULT: usize = 1000;
const LIST_MAX: usize = 100_000;
/// Maximum length of a message in a list, in characters.
const MESSAGE_MAX: usize = 300;
/// Accepted by `state` besides the names of states, because an order can be suspended in several states.
const SUSPENDED: &str = "Suspended";
const WHOLE: Fields = Fields {
    arguments: true,
    history: true,
};

/// One order, an array, or one per line.
pub(super) async fn add(
    State(api): State<Api>,
    user: User,
    Query(change): Query<ChangeQuery>,
    headers: HeaderMap,
    RawBody(body): RawBody,
) -> Result<Response, Refusal> {
    user.may_use(Route::AddOrders)?;
    let by = change.cause(&user)?;
    let is_ndjson = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .is_some_and(|kind| kind.to_ascii_lowercase().starts_with(NDJSON));
    if !is_ndjson && body.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'[') {
        let caller = user.caller();
        let parse = |body: &[u8]| json::<FreshOrder>(body);
        let (order, _share) = body::read(&api, &caller, body, Expected::One, parse).await?;
        return add_one(&api, &by, order).await;
    }
    let caller = user.caller();
    let parse = move |body: &[u8]| {
        if is_ndjson {
            body::lines(body, |line| serde_json::from_slice(line))
        } else {
            json::<Vec<FreshOrder>>(body)
        }
    };
    let (orders, _share) = body::read(&api, &caller, body, Expected::Orders, parse).await?;
    let answer = command::ask(&api, &by, ControllerCommand::AddOrders { orders }).await?;
    Ok(Json(granted(answer)?).into_response())
}

async fn add_one(api: &Api, by: &Arc<Cause>, order: FreshOrder) -> Result<Response, Refusal> {
    let location = format!("/controller/api/order/{}", path_segment(order.id.as_str()));
    let answer = command::ask(api, by, ControllerCommand::AddOrder { order }).await?;
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

pub(super) async fn delete_when_terminated(
    State(api): State<Api>,
    user: User,
    Query(change): Query<ChangeQuery>,
    RawBody(body): RawBody,
) -> Result<Response, Refusal> {
    user.may_use(Route::DeleteOrders)?;
    let by = change.cause(&user)?;
    let is_array = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    let caller = user.caller();
    let parse = move |body: &[u8]| {
        if is_array {
            json(body)
        } else {
            body::lines(body, |line| serde_json::from_slice(line))
        }
    };
    let (order_ids, _share) = body::read(&api, &caller, body, Expected::Orders, parse).await?;
    let command = ControllerCommand::DeleteOrdersWhenTerminated { order_ids };
    let answer = command::ask(&api, &by, command).await?;
    Ok(Json(granted(answer)?).into_response())
}

/// Which orders are listed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ListQuery {
    /// Their ids begin so.
    #[serde(default)]
    prefix: String,
    /// Only orders whose ids match this pattern: `*` stands for any text, `?` for any character.
    pattern: Option<String>,
    /// Only orders in one of these states, separated by commas. `Suspended` counts as a state.
    state: Option<String>,
    /// They run this workflow.
    workflow_path: Option<String>,
    /// They are scheduled for this time or later, in milliseconds since 1970.
    scheduled_from: Option<i64>,
    /// Only orders that are scheduled for a time before this one, in milliseconds since 1970.
    scheduled_before: Option<i64>,
    /// Only orders after this id: `next` of the previous page.
    after: Option<String>,
    /// So many.
    limit: Option<usize>,
    /// Fields to include, separated by commas: `arguments`, `historicOutcomes`.
    fields: Option<String>,
    /// Only orders whose state has changed at this time or later, in milliseconds since 1970.
    since: Option<i64>,
    /// Only orders whose state has not changed after this time, in milliseconds since 1970.
    until: Option<i64>,
}

/// A list query that has been checked.
struct Listing {
    query: ListQuery,
    pattern: Option<Pattern>,
    states: Option<Vec<String>>,
    fields: Fields,
    limit: usize,
}

#[derive(Clone, Copy, Default)]
struct Fields {
    arguments: bool,
    history: bool,
}

impl Listing {
    fn of(query: ListQuery) -> Result<Listing, Refusal> {
        let invalid = |message: String| Refusal::from(Problem::new("InvalidParameter", message));
        let names = |names: &str| -> Vec<String> {
            let names = names.split(',').map(str::trim);
            names
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect()
        };
        let states = query.state.as_deref().map(names);
        for state in states.iter().flatten() {
            if state != SUSPENDED && !OrderState::TYPES.contains(&state.as_str()) {
                let known = OrderState::TYPES.join(", ");
                return Err(invalid(format!(
                    "state: no such state: {state}; known are {known}, {SUSPENDED}"
                )));
            }
        }
        let mut fields = Fields::default();
        for field in query.fields.as_deref().map(names).into_iter().flatten() {
            match field.as_str() {
                "arguments" => fields.arguments = true,
                "historicOutcomes" => fields.history = true,
                _ => {
                    return Err(invalid(format!(
                        "fields: no such field: {field}; known are arguments, historicOutcomes"
                    )));
                }
            }
        }
        Ok(Listing {
            pattern: query.pattern.as_deref().map(Pattern::new),
            states,
            fields,
            limit: query.limit.unwrap_or(LIST_DEFAULT).min(LIST_MAX),
            query,
        })
    }

    fn wants(&self, order: &Order) -> bool {
        let query = &self.query;
        let is_in_state = |states: &Vec<String>| {
            states.iter().any(|state| {
                state == order.state.type_name() || order.is_suspended && state == SUSPENDED
            })
        };
        let is_in_time = || match order.scheduled_for {
            Some(at) => {
                query.scheduled_from.is_none_or(|from| at.millis() >= from)
                    && query.scheduled_before.is_none_or(|end| at.millis() < end)
            }
            None => query.scheduled_from.is_none() && query.scheduled_before.is_none(),
        };
        query
            .workflow_path
            .as_deref()
            .is_none_or(|path| order.workflow_id.path.as_str() == path)
            && self.states.as_ref().is_none_or(is_in_state)
            && is_in_time()
            && query
                .since
                .is_none_or(|since| order.state_since.is_some_and(|at| at.millis() >= since))
            && query
                .until
                .is_none_or(|until| order.state_since.is_none_or(|at| at.millis() <= until))
            && self
                .pattern
                .as_ref()
                .is_none_or(|pattern| pattern.matches(order.id.as_str()))
    }
}

pub(super) async fn list(
    State(api): State<Api>,
    user: User,
    Query(query): Query<ListQuery>,
) -> Result<Response, Refusal> {
    user.may_use(Route::Order)?;
    let listing = Listing::of(query)?;
    page::answer(&api, &user, "orders", move |machine| {
        listed(machine, &listing)
    })
    .await
}

/// Returns the page as JSON. Arguments and histories can be long, so a page may end before `limit`.
fn listed(machine: &ControllerMachine, listing: &Listing) -> Vec<u8> {
    let query = &listing.query;
    let begin = query
        .after
        .as_deref()
        .filter(|after| *after > query.prefix.as_str())
        .unwrap_or(&query.prefix);
    let begin = OrderId::from(begin);
    let engine = machine.state.engine();
    let is_behind = |order: &Order| {
        let after = query.after.as_deref();
        after.is_none_or(|after| order.id.as_str() > after)
    };
    let mut matching = engine
        .orders_from(&begin)
        .take_while(|order| order.id.as_str().starts_with(&query.prefix))
        .filter(|order| is_behind(order) && listing.wants(order));
    let mut page = Page::begin("orders", machine.last_event_id);
    for order in matching.by_ref().take(listing.limit) {
        let described = described(machine, order, listing.fields);
        page.push(order.id.as_str(), &described);
        if page.is_full() {
            break;
        }
    }
    let has_more = matching.next().is_some();
    page.end(has_more, Some(engine.order_count()))
}

/// A pattern for ids, with `*` and `?`.
struct Pattern(Vec<char>);

impl Pattern {
    fn new(text: &str) -> Pattern {
        Pattern(text.chars().collect())
    }

    /// Matches in time proportional to the product of both lengths, because only the last star is retried.
    fn matches(&self, text: &str) -> bool {
        let (pattern, text) = (&self.0, text.chars().collect::<Vec<_>>());
        let (mut p, mut t) = (0, 0);
        let mut star = None;
        while t < text.len() {
            match pattern.get(p) {
                Some('*') => {
                    star = Some((p, t));
                    p += 1;
                }
                Some(wanted) if *wanted == '?' || *wanted == text[t] => {
                    p += 1;
                    t += 1;
                }
                Some(_) | None => {
                    let Some((at, from)) = star else { return false };
                    star = Some((at, from + 1));
                    p = at + 1;
                    t = from + 1;
                }
            }
        }
        pattern[p..].iter().all(|rest| *rest == '*')
    }
}

/// Why an order waits: as objects for programs, and in words.
#[derive(Serialize)]
struct DescribedObstacle {
    #[serde(flatten)]
    obstacle: Obstacle,
    message: String,
}

impl DescribedObstacle {
    fn of(obstacle: Obstacle) -> DescribedObstacle {
        DescribedObstacle {
            message: obstacle.to_string(),
            obstacle,
        }
    }
}

/// The job of an order that is `Processing`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RunningJob {
    #[serde(skip_serializing_if = "Option::is_none")]
    agent_path: Option<AgentPath>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subagent_id: Option<SubagentId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    job_name: Option<JobName>,
    /// The number of the attempt, as in `MAINSPRING_ATTEMPT`.
    attempt: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<Timestamp>,
}

impl RunningJob {
    fn of(machine: &ControllerMachine, order: &Order) -> Option<RunningJob> {
        let OrderState::Processing { subagent_id, .. } = &order.state else {
            return None;
        };
        let workflow = machine.state.engine().workflow(&order.workflow_id);
        let job = workflow.and_then(|workflow| workflow.job(&order.position));
        Some(RunningJob {
            agent_path: order.attached_to().cloned(),
            subagent_id: subagent_id.clone(),
            job_name: job.and_then(|(name, _)| name.cloned()),
            attempt: order.attempts,
            since: order.state_since,
        })
    }
}

/// An order as the API returns it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Described {
    #[serde(flatten)]
    order: Order,
    /// How the last step of the order ended. Only if the history is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_outcome: Option<Outcome>,
    /// Why it waits.
    obstacles: Vec<DescribedObstacle>,
    /// The order's job, while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<RunningJob>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent_problem: Option<model::Problem>,
    /// The output of the order's jobs up to this event is no longer kept. Only for a single order.
    #[serde(skip_serializing_if = "Option::is_none")]
    output_lost_until: Option<EventId>,
}

fn described(machine: &ControllerMachine, order: &Order, fields: Fields) -> Described {
    let now: Timestamp = SystemClock.now();
    let obstacles = machine.state.obstacles(&order.id, now);
    let obstacles = obstacles.into_iter().map(DescribedObstacle::of).collect();
    let mut shown = order.clone();
    if !fields.arguments {
        shown.arguments.clear();
    }
    let mut last_outcome = None;
    if !fields.history {
        last_outcome = order
            .historic_outcomes
            .last()
            .map(|last| short(&last.outcome));
        shown.historic_outcomes.clear();
    }
    Described {
        order: shown,
        last_outcome,
        obstacles,
        process: RunningJob::of(machine, order),
        agent_problem: machine.state.order_refusal(&order.id).cloned(),
        output_lost_until: None,
    }
}

/// Returns the outcome without the parts that jobs can make long.
fn short(outcome: &Outcome) -> Outcome {
    let boxed = |outcome: &Outcome| Box::new(short(outcome));
    match outcome {
        Outcome::Succeeded { .. } => Outcome::Succeeded {
            named_values: BTreeMap::default(),
        },
        Outcome::Caught => Outcome::Caught,
        Outcome::Failed {
            message,
            uncatchable,
            ..
        } => Outcome::Failed {
            message: message.as_deref().map(|message| {
                let short: String = message.chars().take(MESSAGE_MAX).collect();
                short.into()
            }),
            named_values: BTreeMap::default(),
            uncatchable: *uncatchable,
        },
        Outcome::TimedOut { outcome } => Outcome::TimedOut {
            outcome: boxed(outcome),
        },
        Outcome::Killed { outcome } => Outcome::Killed {
            outcome: boxed(outcome),
        },
        Outcome::Disrupted { .. } => outcome.clone(),
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
            .map(|order| described(machine, order, WHOLE))
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
    Problem::new("UnknownKey", format!("There is no Order:{id}"))
        .with("type", "OrderId")
        .with("key", format!("Order:{id}"))
        .status(StatusCode::NOT_FOUND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_fits_ids_with_stars_and_question_marks() {
        let fits = |pattern: &str, id: &str| Pattern::new(pattern).matches(id);
        for (pattern, id) in [
            ("*", ""),
            ("*", "anything"),
            ("nightly-*", "nightly-1"),
            ("*-?", "nightly-1"),
            ("*a*b*c", "xxaxxbxxbc"),
            ("ä?", "äö"),
            ("plain", "plain"),
        ] {
            assert!(fits(pattern, id), "{pattern} {id}");
        }
        for (pattern, id) in [
            ("", "a"),
            ("?", ""),
            ("nightly-*", "daily-1"),
            ("*-?", "nightly-12"),
            ("plain", "plainer"),
            ("*a", "ab"),
        ] {
            assert!(!fits(pattern, id), "{pattern} {id}");
        }
        let (pattern, id) = ("*a".repeat(1000), "a".repeat(999) + "b");
        assert!(!fits(&pattern, &id), "and in no time");
    }
}
