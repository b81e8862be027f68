//! Requests have bounds, what is not supported is refused, and the log keeps the output of an order while the order
//! exists.

use crate::world::{World, add, jobs, order, succeeded};
use model::bounds::{
    CHILDREN_MAX, ITEM_BYTES_MAX, ITEM_CHANGE_BYTES_MAX, NAME_BYTES_MAX, ORDERS_PER_REQUEST_MAX,
    REQUEST_EVENTS_BYTES_MAX,
};
use model::{ControllerAnswer, ControllerCommand, Event, FreshOrder, OrderEvent, PlanId};

fn plain() -> World {
    let mut world = World::new();
    world.deploy(&[r#"{"TYPE":"Workflow","path":"w","instructions":[]}"#]);
    world
}

fn add_orders(orders: Vec<FreshOrder>) -> ControllerCommand {
    ControllerCommand::AddOrders { orders }
}

#[test]
fn an_order_that_needs_an_unsupported_feature_is_refused() {
    let mut world = plain();
    let mut planned = order("P", "w");
    planned.plan_id = PlanId(vec!["DailyPlan".into(), "2026-12-01".into()].into());
    let problem = world.refused(ControllerCommand::AddOrder {
        order: planned.clone(),
    });
    assert!(
        problem.is("UnknownKey"),
        "as JS7 says of an unknown PlanSchema: {problem}"
    );
    assert!(
        problem.message.contains("PlanSchema:DailyPlan"),
        "{problem}"
    );
    let problem = world.refused(add_orders(vec![order("A", "w"), planned.clone()]));
    assert!(problem.is("UnknownKey"), "{problem}");
    world.deploy(&[r#"{"TYPE":"PlanSchema","id":"DailyPlan"}"#]);
    let problem = world.refused(ControllerCommand::AddOrder { order: planned });
    assert!(problem.is("NotSupported"), "kept is not used: {problem}");
    let mut forced = order("F", "w");
    forced.force_admission = true;
    let problem = world.refused(ControllerCommand::AddOrder { order: forced });
    assert!(
        problem.is("NotSupported") && problem.message.contains("forceAdmission"),
        "{problem}"
    );
    world.add("G", "w");
    assert!(world.story("G").contains(&"OrderFinished"));
}

#[test]
fn an_item_that_is_too_large_is_refused_and_the_bound_is_named() {
    let mut world = plain();
    let workflow = |path: &str, bytes: usize| {
        format!(
            r#"{{"TYPE":"Workflow","path":"{path}","title":"{}","instructions":[]}}"#,
            "x".repeat(bytes)
        )
    };
    let refused = |world: &mut World, items: &[String]| {
        let operations: Vec<_> = items.iter().map(|item| add(item)).collect();
        world.change(&operations).expect_err("it is too large")
    };
    let problem = refused(&mut world, &[workflow("big", ITEM_BYTES_MAX)]);
    assert!(problem.is("ValueIsTooLarge"), "{}", problem.message);
    assert!(problem.message.contains(&ITEM_BYTES_MAX.to_string()));
    assert!(
        problem.message.contains("Workflow:big"),
        "{}",
        problem.message
    );
    // A byte less, and it is accepted.
    let padded = |path: &str, bytes: usize| {
        let text = workflow(path, 0);
        format!("{text}{}", " ".repeat(bytes - text.len()))
    };
    refused(&mut world, &[padded("exact", ITEM_BYTES_MAX + 1)]);
    world.deploy(&[&padded("exact", ITEM_BYTES_MAX)]);
    let each = ITEM_BYTES_MAX - 1000;
    let many: Vec<_> = (0..=ITEM_CHANGE_BYTES_MAX / each)
        .map(|n| workflow(&format!("w{n}"), each))
        .collect();
    let problem = refused(&mut world, &many);
    assert!(problem.is("ValueIsTooLarge"), "{}", problem.message);
}

#[test]
fn names_inside_of_a_workflow_have_a_bound() {
    let long = "n".repeat(NAME_BYTES_MAX + 1);
    let branches: Vec<_> = (0..=CHILDREN_MAX)
        .map(|n| format!(r#"{{"id":"b{n}","workflow":{{"instructions":[]}}}}"#))
        .collect();
    for text in [
        format!(r#"{{"TYPE":"Workflow","path":"{long}","instructions":[]}}"#),
        format!(
            r#"{{"TYPE":"Workflow","path":"w","instructions":[{{"TYPE":"EmptyInstruction","label":"{long}"}}]}}"#
        ),
        format!(
            r#"{{"TYPE":"Workflow","path":"w","instructions":[{{"TYPE":"Fork","branches":[{{"id":"{long}","workflow":{{"instructions":[]}}}}]}}]}}"#
        ),
        format!(
            r#"{{"TYPE":"Workflow","path":"w","instructions":[{{"TYPE":"Fork","branches":[{}]}}]}}"#,
            branches.join(",")
        ),
        format!(r#"{{"TYPE":"JobResource","path":"{long}"}}"#),
        format!(r#"{{"TYPE":"Lock","path":"{long}"}}"#),
    ] {
        let problem = World::new()
            .change(&[add(&text)])
            .expect_err("a name or a count is beyond its bound");
        assert!(problem.message.contains("allowed"), "{}", problem.message);
        assert!(
            problem.message.len() < 1000,
            "what is too long is not repeated as a whole"
        );
    }
}

#[test]
fn the_orders_of_one_request_have_a_bound_and_a_refused_request_adds_none() {
    let mut world = plain();
    let many = (0..=ORDERS_PER_REQUEST_MAX).map(|n| order(&format!("O{n}"), "w"));
    let problem = world.refused(add_orders(many.collect()));
    assert!(problem.is("TooManyOrders"), "{problem}");
    assert!(
        problem
            .message
            .contains(&ORDERS_PER_REQUEST_MAX.to_string()),
        "{problem}"
    );
    let large = "x".repeat(3 << 20);
    let with_argument = |n: usize| {
        let mut order = order(&format!("L{n}"), "w");
        order.arguments.insert("a".into(), large.as_str().into());
        order
    };
    let problem = world.refused(add_orders(
        (0..=REQUEST_EVENTS_BYTES_MAX / large.len())
            .map(with_argument)
            .collect(),
    ));
    assert!(problem.is("ValueIsTooLarge"), "{problem}");
    let answer = world.tell(add_orders((0..2).map(with_argument).collect()));
    assert!(
        matches!(answer, ControllerAnswer::OrdersAdded { .. }),
        "{answer:?}"
    );
}

#[test]
fn a_refusal_of_many_orders_names_some_and_counts_the_rest() {
    let mut world = plain();
    let unknown = (0..10_000).map(|n| order(&format!("U{n}"), &format!("unknown{n}")));
    let problem = world.refused(add_orders(unknown.collect()));
    assert!(
        problem.message.ends_with("and 9900 more"),
        "{}",
        &problem.message[..200]
    );
}

#[test]
fn a_predicate_over_all_orders_has_a_budget() {
    let mut world = plain();
    let orders = (0..200).map(|n| order(&format!("O{n}"), "w"));
    world.tell(add_orders(orders.collect()));
    let list = format!("[{}]", vec!["1"; 200].join(","));
    let predicate = format!(
        "id => ({}) == 1",
        vec![format!("{list}(0)"); 400].join(" * ")
    );
    let command = ControllerCommand::from_json(
        &serde_json::json!({"TYPE": "CancelOrders", "orderIds": predicate}).to_string(),
    );
    let Ok(command) = command else {
        panic!("{command:?}")
    };
    let problem = world.refused(command);
    assert!(problem.message.contains("too many steps"), "{problem}");
}

#[test]
fn output_stays_in_the_log_while_its_order_exists() {
    let mut world = World::new();
    world.agent("ALFA");
    world.deploy(&[&jobs("w", &["ALFA"])]);
    let write = |world: &mut World, id: &str| {
        world.add(id, "w");
        world.run();
        let written = OrderEvent::OrderStdoutWritten {
            chunk: "why".into(),
        };
        world.at_agent("ALFA", vec![Event::Order(id.into(), written)]);
        world.run();
        world.last
    };
    assert_eq!(world.state.output_since(), None);
    let after_first = write(&mut world, "A");
    let first = world.state.output_since();
    assert!(first.is_some_and(|first| first <= after_first));
    write(&mut world, "B");
    assert_eq!(world.state.output_since(), first, "the oldest counts");
    world.restart();
    assert_eq!(world.state.output_since(), first);
    world.end_job("ALFA", "A", succeeded());
    assert_eq!(
        world.state.output_since(),
        first,
        "finished orders are looked at, too"
    );
    world.tell(ControllerCommand::DeleteOrdersWhenTerminated {
        order_ids: vec!["A".into()],
    });
    let second = world.state.output_since();
    assert!(second > first, "{second:?}");
    world.replay();
    world.end_job("ALFA", "B", succeeded());
    world.tell(ControllerCommand::DeleteOrdersWhenTerminated {
        order_ids: vec!["B".into()],
    });
    assert_eq!(world.state.output_since(), None);
}
