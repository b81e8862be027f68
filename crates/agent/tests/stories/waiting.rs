//! Jobs that wait for a process: in which order, until when, and what becomes of one that ends the node.

use super::{NOW, World, agent};
use model::{
    AgentCommand, AttachedState, Attempt, Event, EventId, Order, OrderState, Outcome, Problem,
};
use std::time::Duration;

const HOUR: Duration = Duration::from_hours(1);

/// Attaches an order that is due at [`NOW`].
fn due_now(world: &mut World, id: &str) {
    let text = format!(
        r#"{{"TYPE":"Order","id":"{id}","workflowId":{{"path":"w","versionId":"1"}},"position":[0],"state":{{"TYPE":"Fresh"}},"scheduledFor":{}}}"#,
        NOW.millis()
    );
    let mut order: Order = serde_json::from_str(&text).unwrap();
    order.attached_state = Some(AttachedState::Attaching {
        agent_path: "ALFA".into(),
    });
    world.ask(AgentCommand::AttachOrder {
        order: Box::new(order),
    });
}

fn settle_at(world: &mut World, now: model::Timestamp) {
    while let Some(events) = world.state.step(now) {
        world.record(events);
    }
}

/// Ends the job of the order without letting anything follow.
fn end_only(world: &mut World, order: &str, subagent: &str) {
    let attempt = Attempt {
        order_id: order.into(),
        number: 1,
    };
    let stamped = model::SubagentStamped {
        event_id: EventId(1),
        event: model::SubagentEvent::OrderProcessed {
            attempt,
            outcome: Outcome::SUCCEEDED,
        },
    };
    let events = world.state.on_subagent_event(&subagent.into(), &stamped);
    world.record(events);
}

#[test]
fn orders_of_one_priority_start_in_the_order_in_which_they_came() {
    let mut world = agent();
    world.workflow(r#""parallelism":1,"#);
    for id in ["first", "z", "m", "a"] {
        world.order(id, 0);
    }
    assert!(world.state.waits_for_process(&"z".into()));
    assert!(!world.state.waits_for_process(&"first".into()), "it runs");
    for (end, at, number) in [("first", "ALFA-0", 1), ("z", "S-A", 1), ("m", "S-B", 1)] {
        world.end(end, at, number, Outcome::SUCCEEDED);
    }
    assert_eq!(
        world.starts(),
        ["first@ALFA-0", "z@S-A", "m@S-B", "a@ALFA-0"]
    );
    assert!(!world.state.waits_for_process(&"a".into()));
}

#[test]
fn an_order_that_is_looked_at_again_keeps_its_place_in_line() {
    let mut world = agent();
    world.workflow(r#""parallelism":1,"#);
    for id in ["first", "z", "a"] {
        world.order(id, 0);
    }
    world.state.engine.make_restless(&"z".into());
    world.settle();
    assert_eq!(world.state.waiting(), 2);
    world.end("first", "ALFA-0", 1, Outcome::SUCCEEDED);
    assert_eq!(world.starts(), ["first@ALFA-0", "z@S-A"]);
}

#[test]
fn an_order_that_waits_for_a_process_while_the_clock_is_set_back_starts_when_it_is_due_again() {
    let mut world = agent();
    world.workflow(r#""parallelism":1,"#);
    world.order("running", 0);
    due_now(&mut world, "O");
    assert!(world.state.waits_for_process(&"O".into()));
    settle_at(&mut world, NOW - HOUR);
    assert_eq!(world.state.next_wakeup(), Some(NOW), "its time is known");
    end_only(&mut world, "running", "ALFA-0");
    settle_at(&mut world, NOW - HOUR);
    assert_eq!(world.starts(), ["running@ALFA-0"], "a process is free");
    assert!(!world.state.waits_for_process(&"O".into()), "it is not due");
    assert_eq!(world.state.next_wakeup(), Some(NOW));
    settle_at(&mut world, NOW);
    assert_eq!(world.starts(), ["running@ALFA-0", "O@S-A"]);
}

#[test]
fn an_order_whose_step_ends_the_node_is_known_and_set_aside_without_holding_up_others() {
    let mut world = agent();
    world.workflow(r#""parallelism":1,"#);
    for id in ["running", "bad", "good"] {
        world.order(id, 0);
    }
    end_only(&mut world, "running", "ALFA-0");
    // The step that would start the job is decided, and the node ends before it is recorded.
    let step = world.state.step(NOW);
    assert!(step.is_some());
    let bad = world.state.stepping().cloned();
    assert_eq!(bad, Some("bad".into()), "the culprit is known");
    world.state.set_idle();
    assert_eq!(world.state.stepping(), None);

    let why = Problem::plain("its step has ended the node");
    let events = world.state.set_aside(&"bad".into(), &why).unwrap();
    world.record(events);
    assert!(world.state.is_set_aside(&"bad".into()));
    assert!(!world.state.is_set_aside(&"good".into()));
    assert!(matches!(world.state_of("bad"), OrderState::Broken { .. }));
    world.settle();
    assert_eq!(world.starts(), ["running@ALFA-0", "good@S-B"]);
    assert_eq!(world.state.set_aside(&"unknown".into(), &why), None);
}

#[test]
fn an_order_that_is_set_aside_without_an_event_goes_on_when_it_is_released() {
    let mut world = agent();
    world.workflow("");
    world.order("1", 0);
    // A running job is not broken by its order's step: the order only makes no step in this run.
    let why = Problem::plain("its step has ended the node");
    assert_eq!(world.state.set_aside(&"1".into(), &why), Some(Vec::new()));
    assert!(world.state.is_set_aside(&"1".into()));
    world.end("1", "ALFA-0", 1, Outcome::SUCCEEDED);
    let held = world.story("1").len();
    assert!(!world.story("1").contains(&"OrderDetachable"));
    world.state.release_order(&"1".into());
    assert!(!world.state.is_set_aside(&"1".into()));
    world.settle();
    assert!(world.story("1").len() > held);
    assert!(world.story("1").contains(&"OrderDetachable"));
}

#[test]
fn a_start_that_the_subagent_refuses_is_a_failure_or_is_repeated_elsewhere_if_it_is_about_to_end() {
    let refuse = |code: &str, subagent: &str, number: u32| {
        let mut world = agent();
        world.workflow(r#""parallelism":9,"#);
        world.order("1", 0);
        assert_eq!(world.starts(), ["1@ALFA-0"]);
        let attempt = Attempt {
            order_id: "1".into(),
            number,
        };
        let problem = Problem::new(code, "no");
        let event = world
            .state
            .on_start_refused(&subagent.into(), &attempt, problem);
        world.record(event);
        world.settle();
        world
    };
    let world = refuse("SubagentIsShuttingDown", "ALFA-0", 1);
    assert_eq!(world.starts(), ["1@ALFA-0", "1@S-A"]);
    let world = refuse("ScriptTooLong", "ALFA-0", 1);
    assert_eq!(world.starts(), ["1@ALFA-0"]);
    let end = world.events.iter().find_map(|event| match event {
        Event::Order(_, model::OrderEvent::OrderProcessed { outcome }) => Some(outcome.to_string()),
        _ => None,
    });
    assert!(end.unwrap().contains("ScriptTooLong"));
    for (subagent, number) in [("S-A", 1), ("ALFA-0", 2)] {
        let world = refuse("ScriptTooLong", subagent, number);
        assert!(
            matches!(world.state_of("1"), OrderState::Processing { .. }),
            "another attempt, or at another Subagent"
        );
    }
}
