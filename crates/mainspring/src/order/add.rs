//! `order add`: one order or many, and waiting for them.
//!
//! Always: what cannot be meant is refused before anything is sent; an id that exists already is told, and is no failure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use expr::{NamedValues, Number, Value};
use model::{
    ControllerAnswer, ControllerCommand, Event, FreshOrder, Order, OrderId, ParameterKind, Place,
    Position, Timestamp, ValueType, WorkflowPath,
};

use super::end::End;
use crate::arguments::AddArgs;
use crate::call::{Controller, Followed, Following, OrderQuery};
use crate::exit::{Exit, Misuse};
use crate::moment;
use crate::screen::{Screen, Tone};

/// So many orders are sent at once: an answer comes within a moment, and progress shows.
const ORDERS_PER_COMMAND: usize = 500;

/// With so many duplicates or more, how many there are is not asked for: the answer would hold all of them.
const DUPLICATES_TOLD_MAX: usize = 1000;

/// The events that end an order.
const ENDS: &str = "OrderFinished,OrderCancelled,OrderFailed,OrderStopped,OrderBroken,OrderDeleted";

pub(crate) async fn run(
    args: AddArgs,
    controller: &Controller,
    screen: &Screen,
) -> anyhow::Result<Exit> {
    let workflow =
        WorkflowPath::checked(&args.workflow).map_err(|error| Misuse(error.to_string()))?;
    // If the workflow cannot be read, the Controller gives the reason when the order is added.
    let parameters = if args.arguments.is_empty() {
        None
    } else {
        parameters(&workflow, controller).await
    };
    let orders = orders(&args, parameters.as_ref(), moment::now())?;
    let starts_at = orders.first().and_then(|order| order.scheduled_for);
    // The stream begins before the orders are added, so that none can end unseen.
    let followed = Followed {
        types: Some(ENDS.to_owned()),
        ..Followed::default()
    };
    let following = if args.wait {
        Some(Following::open(controller, screen, followed).await?)
    } else {
        None
    };
    let ids: Vec<OrderId> = orders.iter().map(|order| order.id.clone()).collect();
    let duplicates = send(orders, controller, screen).await?;
    if let Some(warning) = duplicates
        .as_ref()
        .and_then(|some| warning(some, ids.len()))
    {
        screen.warn(&warning);
    }
    let Some(following) = following else {
        if screen.json {
            screen.say_json(&as_json(&ids, duplicates.as_ref()))?;
            return Ok(Exit::Done);
        }
        let is_added = |id: &&OrderId| duplicates.as_ref().is_none_or(|some| !some.contains(*id));
        let added: Vec<&OrderId> = ids.iter().filter(is_added).collect();
        let Some(first) = added.first() else {
            return Ok(Exit::Done);
        };
        let told: Vec<String> = added.iter().take(20).map(ToString::to_string).collect();
        screen.say(&told.join("\n"))?;
        if added.len() > told.len() {
            screen.remark(&format!("and {} more", added.len() - told.len()));
        }
        if let Some(at) = starts_at {
            screen.remark(&format!("starts {} ({})", moment::full(at), moment::zone()));
        }
        screen.hint(&format!(
            "follow it with: mainspring order watch {}",
            quoted(first)
        ));
        return Ok(Exit::Done);
    };
    wait(
        ids,
        following,
        args.timeout.map(Duration::from),
        controller,
        screen,
    )
    .await
}

/// What people are to know of ids that were there already.
fn warning(duplicates: &BTreeSet<OrderId>, count: usize) -> Option<String> {
    let first = duplicates.first()?;
    Some(if duplicates.len() < count {
        format!(
            "{} of the {count} orders are there already and were not added; the first is {first}",
            duplicates.len()
        )
    } else if count == 1 {
        format!("there is an order {first} already; nothing was added")
    } else {
        format!("all {count} orders are there already; nothing was added")
    })
}

/// For programs; null is what nobody knows.
fn as_json(ids: &[OrderId], duplicates: Option<&BTreeSet<OrderId>>) -> serde_json::Value {
    let is_duplicate = duplicates.map(|some| !some.is_empty());
    let mut told = serde_json::json!({"orderIds": ids, "ignoredBecauseDuplicate": is_duplicate});
    if ids.len() > 1 {
        told["duplicateOrderIds"] = serde_json::json!(duplicates);
    }
    told
}

/// Requests the types of arguments that the workflow declares. Returns `None` if the workflow cannot be read or declares nothing.
async fn parameters(workflow: &WorkflowPath, controller: &Controller) -> Option<Parameters> {
    let workflow = controller.current_workflow(workflow).await.ok()?;
    let preparation = workflow.order_preparation.as_ref()?;
    let typed = preparation.parameters.iter();
    Some(
        typed
            .filter_map(|(name, parameter)| Some((name.clone(), parameter.value_type.clone()?)))
            .collect(),
    )
}

/// The declared types of arguments.
type Parameters = BTreeMap<Arc<str>, ValueType>;

fn orders(
    args: &AddArgs,
    parameters: Option<&Parameters>,
    now: Timestamp,
) -> Result<Vec<FreshOrder>, Misuse> {
    let misuse = |what: &dyn std::fmt::Display| Misuse(what.to_string());
    let path = WorkflowPath::checked(&args.workflow).map_err(|error| misuse(&error))?;
    let mut order = FreshOrder::new(OrderId::new("unnamed"), path);
    order.arguments = arguments(&args.arguments, parameters)?;
    order.scheduled_for = args
        .at
        .as_deref()
        .map(|at| moment::parse(at, now).map_err(Misuse))
        .transpose()?;
    order.start_position = args.start.as_deref().map(place);
    order.stop_positions = args.stop.iter().map(|stop| place(stop)).collect();
    order.priority = Number::from(args.priority.unwrap_or_default());
    order.delete_when_terminated = args.delete_when_terminated;
    let base = args
        .id
        .clone()
        .unwrap_or_else(|| default_id(&args.workflow, now));
    (1..=args.count)
        .map(|n| {
            let id = if args.count == 1 {
                base.clone()
            } else {
                format!("{base}-{n}")
            };
            let id = OrderId::checked(&id).map_err(|error| misuse(&error))?;
            Ok(FreshOrder {
                id,
                ..order.clone()
            })
        })
        .collect()
}

pub(super) fn arguments(
    given: &[(String, String)],
    parameters: Option<&Parameters>,
) -> Result<NamedValues, Misuse> {
    let mut arguments = NamedValues::new();
    for (name, text) in given {
        let declared = parameters.and_then(|parameters| parameters.get(name.as_str()));
        let value = match declared {
            None | Some(ValueType::Any) => untyped(text),
            Some(declared) => typed(text, declared).map_err(|expected| {
                Misuse(format!(
                    "the argument {name} must be {expected}, and {} is not",
                    quoted_start(text)
                ))
            })?,
        };
        if arguments.insert(name.as_str().into(), value).is_some() {
            return Err(Misuse(format!("the argument {name} is given twice")));
        }
    }
    Ok(arguments)
}

/// Parses a value of the declared type. The error describes what is expected.
fn typed(text: &str, declared: &ValueType) -> Result<Value, &'static str> {
    let json = |expected| serde_json::from_str::<Value>(text).map_err(|_no_json| expected);
    match declared {
        // A text may also be given in quotes, as JSON.
        ValueType::String => Ok(match serde_json::from_str::<String>(text) {
            Ok(quoted) => Value::from(quoted),
            Err(_as_it_is) => Value::from(text),
        }),
        ValueType::Number => text
            .trim()
            .parse::<Number>()
            .map(Value::from)
            .map_err(|_what| "a number such as 3 or 1.10"),
        ValueType::Boolean => match text.trim() {
            "true" => Ok(Value::from(true)),
            "false" => Ok(Value::from(false)),
            _ => Err("true or false"),
        },
        ValueType::List(_) => json("a list in JSON such as [1, 2]"),
        ValueType::Object(_) => json("an object in JSON such as {\"a\": 1}"),
        ValueType::Any => Ok(untyped(text)),
    }
}

/// Parses a JSON value; anything else is a text. A number that would be shown in another form than it is written, such as `7e3` or `-0`, is
/// a text, too: it is usually a name or the hash of a commit.
fn untyped(text: &str) -> Value {
    let value = match serde_json::from_str::<Value>(text) {
        Ok(Value::Number(number)) if number.to_text() != text => None,
        Ok(Value::Missing) | Err(_) => None,
        Ok(value) => Some(value),
    };
    value.unwrap_or_else(|| Value::from(text))
}

fn quoted_start(text: &str) -> String {
    const MAX: usize = 40;
    let start: String = text.chars().take(MAX).collect();
    let dots = if start.len() < text.len() { "…" } else { "" };
    format!("{start:?}{dots}")
}

/// A position begins with a digit, a label is anything else.
fn place(text: &str) -> Place {
    match text.parse::<Position>() {
        Ok(position) if text.starts_with(|c: char| c.is_ascii_digit()) => Place::Position(position),
        _ => Place::Label(text.into()),
    }
}

/// Unique to the millisecond, and people see from it what and when.
fn default_id(workflow: &str, now: Timestamp) -> String {
    let digits: String = moment::full(now)
        .chars()
        .take(23)
        .filter(char::is_ascii_digit)
        .collect();
    let (date, time) = digits.split_at(8);
    format!(
        "{}-{date}-{time}",
        workflow.rsplit('/').next().unwrap_or(workflow)
    )
}

/// Adds them, and gives the ids that were there already, if that is known.
async fn send(
    orders: Vec<FreshOrder>,
    controller: &Controller,
    screen: &Screen,
) -> anyhow::Result<Option<BTreeSet<OrderId>>> {
    if let [order] = orders.as_slice() {
        let command = ControllerCommand::AddOrder {
            order: order.clone(),
        };
        let (answer, is_repeated) = controller.command_maybe_twice(&command).await?;
        let is_duplicate = matches!(
            answer,
            ControllerAnswer::OrderAdded {
                ignored_because_duplicate: true
            }
        );
        if !is_duplicate {
            return Ok(Some(BTreeSet::new()));
        }
        // The order existed when the Controller answered. If it has been deleted since then, there is nothing to compare.
        let difference = match controller.order(order.id.as_str()).await {
            Ok(seen) => difference(order, &seen.order, controller).await,
            Err(_gone) => None,
        };
        return match difference {
            Some(difference) => Err(taken(&order.id, &difference)),
            None if is_repeated => Ok(Some(BTreeSet::new())),
            None => Ok(Some(BTreeSet::from([order.id.clone()]))),
        };
    }
    // The answer to many does not tell.
    let duplicates = already_there(&orders, controller).await?;
    let bar = screen.progress(orders.len() as u64, "adding orders");
    for (n, some) in orders.chunks(ORDERS_PER_COMMAND).enumerate() {
        let command = ControllerCommand::AddOrders {
            orders: some.to_vec(),
        };
        controller
            .command(&command)
            .await
            .with_context(|| format!("after {} orders", n * ORDERS_PER_COMMAND))?;
        bar.inc(some.len() as u64);
    }
    bar.finish_and_clear();
    Ok(duplicates)
}

/// Finds which of several orders exist, by one request for the common beginning of their ids. Returns `None` if this cannot be determined.
/// Fails if one of them is a different order with the same id.
async fn already_there(
    orders: &[FreshOrder],
    controller: &Controller,
) -> anyhow::Result<Option<BTreeSet<OrderId>>> {
    let prefix = orders
        .first()
        .and_then(|first| first.id.as_str().strip_suffix('1'));
    let Some(prefix) = prefix else {
        return Ok(None);
    };
    let limit = (orders.len() + 1).min(DUPLICATES_TOLD_MAX);
    let query = OrderQuery {
        prefix: Some(prefix.to_owned()),
        fields: Some("arguments".to_owned()),
        limit: Some(limit),
        ..OrderQuery::default()
    };
    let Ok(seen) = controller.orders(&query).await else {
        return Ok(None);
    };
    // There may be more that were not told.
    if seen.orders.len() >= limit {
        return Ok(None);
    }
    let mut duplicates = BTreeSet::new();
    let meant: BTreeMap<&OrderId, &FreshOrder> =
        orders.iter().map(|order| (&order.id, order)).collect();
    for row in &seen.orders {
        let Some(meant) = meant.get(&row.order.id) else {
            continue;
        };
        if let Some(difference) = difference(meant, &row.order, controller).await {
            return Err(taken(&row.order.id, &difference).context("nothing was added"));
        }
        duplicates.insert(row.order.id.clone());
    }
    Ok(Some(duplicates))
}

fn taken(id: &OrderId, difference: &str) -> anyhow::Error {
    anyhow::anyhow!(
        "there is another order {id} already: {difference}; look at it with mainspring order show, or take another id"
    )
}

/// Returns how an existing order differs from the one to be added. Returns `None` if it is the same order, added twice.
async fn difference(meant: &FreshOrder, order: &Order, controller: &Controller) -> Option<String> {
    let path = &order.workflow_id.path;
    if *path != meant.workflow_path {
        return Some(format!("it runs {path}, not {}", meant.workflow_path));
    }
    if order.scheduled_for != meant.scheduled_for {
        let at = |at: Option<Timestamp>| at.map_or("at once".to_owned(), moment::full);
        let (is, should_be) = (at(order.scheduled_for), at(meant.scheduled_for));
        return Some(format!("it is scheduled for {is}, not for {should_be}"));
    }
    if order.priority != meant.priority {
        return Some(format!("it has the priority {}", order.priority));
    }
    for (name, value) in &meant.arguments {
        match order.arguments.get(name) {
            Some(there) if there == value => {}
            Some(_) => return Some(format!("its argument {name} has another value")),
            None => return Some(format!("it has no argument {name}")),
        }
    }
    let mut extra = order
        .arguments
        .keys()
        .filter(|name| !meant.arguments.contains_key(*name))
        .peekable();
    extra.peek()?;
    // An argument that was not given may be a default of the workflow.
    let workflow = controller.workflow(&order.workflow_id).await.ok()?;
    let is_made_up = |name: &Arc<str>| {
        let preparation = workflow.order_preparation.as_ref();
        let parameter = preparation.and_then(|preparation| preparation.parameters.get(name));
        parameter.is_some_and(|parameter| parameter.kind != ParameterKind::Required)
    };
    extra
        .find(|name| !is_made_up(name))
        .map(|name| format!("it has the argument {name}"))
}

async fn wait(
    ids: Vec<OrderId>,
    mut following: Following<'_>,
    timeout: Option<Duration>,
    controller: &Controller,
    screen: &Screen,
) -> anyhow::Result<Exit> {
    let mut open: BTreeSet<OrderId> = ids.into_iter().collect();
    let spinner = screen.spinner(&format!("waiting for {} orders", open.len()));
    let mut exit = Exit::Done;
    // A duplicate may have ended long ago.
    for id in open.clone() {
        if open.len() > ORDERS_PER_COMMAND {
            break;
        }
        let ended = controller
            .order(id.as_str())
            .await
            .ok()
            .and_then(|seen| End::of_order(&seen.order));
        if let Some(end) = ended {
            open.remove(&id);
            report(&id, &end, &mut exit, screen)?;
        }
    }
    let waiting = async {
        while !open.is_empty() {
            let Some(stamped) = following.next().await? else {
                break;
            };
            let Event::Order(id, event) = &stamped.event else {
                continue;
            };
            if let Some(end) = End::of_event(event)
                && open.remove(id)
            {
                spinner.set_message(format!("waiting for {} orders", open.len()));
                spinner.suspend(|| report(id, &end, &mut exit, screen))?;
            }
        }
        anyhow::Ok(())
    };
    let is_late = match timeout {
        Some(timeout) => match tokio::time::timeout(timeout, waiting).await {
            Ok(ended) => ended.map(|()| false)?,
            Err(_elapsed) => true,
        },
        None => waiting.await.map(|()| false)?,
    };
    spinner.finish_and_clear();
    if is_late {
        let first = open.first().map(ToString::to_string).unwrap_or_default();
        screen.warn(&format!(
            "{} orders have not ended in time; the first is {first}",
            open.len()
        ));
        exit = Exit::OrderFailed;
    }
    Ok(exit)
}

fn report(id: &OrderId, end: &End, exit: &mut Exit, screen: &Screen) -> anyhow::Result<()> {
    if *end != End::Well {
        *exit = Exit::OrderFailed;
    }
    if screen.json {
        return screen.say_json(
            &serde_json::json!({"orderId": id, "ended": end.told(), "isWell": *end == End::Well}),
        );
    }
    let tone = if *end == End::Well {
        Tone::Good
    } else {
        Tone::Bad
    };
    Ok(screen.say(&format!("{id}  {}", screen.paint.put(tone, end.told())))?)
}

/// For a shell.
fn quoted(id: &OrderId) -> String {
    let is_plain = id
        .as_str()
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/'));
    if is_plain {
        id.to_string()
    } else {
        format!("'{}'", id.as_str().replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> AddArgs {
        AddArgs {
            workflow: "reports/daily".to_owned(),
            id: None,
            arguments: Vec::new(),
            at: None,
            start: None,
            stop: Vec::new(),
            priority: None,
            delete_when_terminated: false,
            count: 1,
            wait: false,
            timeout: None,
        }
    }

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_123);

    #[test]
    fn an_argument_is_a_json_value_or_else_a_text() {
        let given = [
            ("n", "3"),
            ("s", "three"),
            ("q", "\"3\""),
            ("l", "[1,2]"),
            ("b", "true"),
            ("d", "2026-11-21"),
        ];
        let given: Vec<_> = given
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        let arguments = arguments(&given, None).unwrap();
        let json = serde_json::to_string(&arguments).unwrap();
        assert_eq!(
            json,
            r#"{"b":true,"d":"2026-11-21","l":[1,2],"n":3,"q":"3","s":"three"}"#
        );
        assert!(
            super::arguments(&[given[0].clone(), given[0].clone()], None)
                .unwrap_err()
                .to_string()
                .contains("n is given twice")
        );
    }

    #[test]
    fn without_a_type_what_only_looks_like_a_number_stays_a_text() {
        for text in [
            "12e4567", "7e3", "-0", "null", " 5", "1E5", "007", "+1", "1_000",
        ] {
            assert_eq!(untyped(text), Value::from(text), "{text}");
        }
        assert_eq!(
            untyped("1.10").as_number().map(Number::to_text).as_deref(),
            Some("1.10")
        );
        assert_eq!(untyped("-17").as_i64(), Some(-17));
    }

    #[test]
    fn a_value_follows_the_declared_type() {
        let declared: Parameters = [
            ("tag", ValueType::String),
            ("rows", ValueType::Number),
            ("force", ValueType::Boolean),
            ("days", ValueType::List(Box::new(ValueType::String))),
        ]
        .map(|(name, declared)| (Arc::from(name), declared))
        .into();
        let read = |name: &str, text: &str| {
            let given = [(name.to_owned(), text.to_owned())];
            arguments(&given, Some(&declared))
                .map(|arguments| arguments[name].clone())
                .map_err(|misuse| misuse.to_string())
        };
        for text in ["1.10", "12e4567", "true", "null", "", "[1]", " x"] {
            assert_eq!(read("tag", text), Ok(Value::from(text)), "{text}");
        }
        assert_eq!(read("tag", "\"1.10\""), Ok(Value::from("1.10")));
        assert_eq!(read("rows", "7e3").unwrap().as_i64(), Some(7000));
        assert_eq!(read("force", "true"), Ok(Value::from(true)));
        assert!(read("days", "[\"monday\"]").is_ok());
        assert!(
            read("rows", "many")
                .unwrap_err()
                .contains("rows must be a number")
        );
        assert!(
            read("force", "1")
                .unwrap_err()
                .contains("must be true or false")
        );
        assert!(
            read("days", "monday")
                .unwrap_err()
                .contains("must be a list in JSON")
        );
        assert_eq!(read("other", "7"), Ok(Value::from(7)));
    }

    #[test]
    fn ids_are_made_from_workflow_and_time_and_numbered_when_there_are_many() {
        let one = orders(&args(), None, NOW).unwrap();
        let id = one[0].id.as_str();
        assert!(
            id.starts_with("daily-202701") && id.ends_with("00123"),
            "{id}"
        );
        let many = orders(
            &AddArgs {
                id: Some("A".to_owned()),
                count: 3,
                ..args()
            },
            None,
            NOW,
        )
        .unwrap();
        assert_eq!(
            many.iter()
                .map(|order| order.id.as_str())
                .collect::<Vec<_>>(),
            ["A-1", "A-2", "A-3"]
        );
    }

    #[test]
    fn a_start_is_a_position_or_a_label() {
        assert_eq!(
            place("0/then:1"),
            Place::Position("0/then:1".parse().unwrap())
        );
        assert_eq!(place("2"), Place::Position(Position::top(2)));
        assert_eq!(place("load"), Place::Label("load".into()));
    }

    #[test]
    fn a_bad_id_or_time_is_refused_before_anything_is_sent() {
        assert!(
            orders(
                &AddArgs {
                    id: Some("a|b".to_owned()),
                    ..args()
                },
                None,
                NOW
            )
            .is_err()
        );
        assert!(
            orders(
                &AddArgs {
                    at: Some("soon".to_owned()),
                    ..args()
                },
                None,
                NOW
            )
            .is_err()
        );
    }

    #[test]
    fn what_is_not_known_of_duplicates_is_not_claimed() {
        let ids = ["A-1", "A-2"].map(OrderId::new);
        let some = BTreeSet::from([OrderId::new("A-2")]);
        let told = as_json(&ids, Some(&some));
        assert_eq!(told["ignoredBecauseDuplicate"], true);
        assert_eq!(told["duplicateOrderIds"], serde_json::json!(["A-2"]));
        assert_eq!(
            as_json(&ids, None)["ignoredBecauseDuplicate"],
            serde_json::Value::Null
        );
        assert_eq!(
            as_json(&ids[..1], Some(&BTreeSet::new())),
            serde_json::json!({"orderIds": ["A-1"], "ignoredBecauseDuplicate": false})
        );
        assert_eq!(warning(&BTreeSet::new(), 2), None);
        assert!(warning(&some, 2).unwrap().starts_with("1 of the 2 orders"));
    }
}
