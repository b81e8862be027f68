//! What the owner of an engine relies on: which order is to be looked at next, when to wake it, who is set aside.

use crate::world::{START, World, job, returned, workflow};
use engine::{Next, State};
use model::{Event, Order, OrderEvent, OrderId, Problem, Resumption, SuspensionMode, Timestamp};

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(START + millis)
}

fn id() -> OrderId {
    "O".into()
}

fn waiting_for(due: i64) -> World {
    let mut world = World::with(&[], "- {TYPE: Stop}\n");
    let scheduled = START + due;
    world.add(&format!(
        r#"{{"id":"O","workflowPath":"w","scheduledFor":{scheduled}}}"#
    ));
    world
}

#[test]
fn the_owner_is_told_when_to_wake_the_engine() {
    let mut world = waiting_for(1000);
    let state = &mut world.controller.state;
    assert_eq!(state.next_wakeup(), Some(at(1000)));
    assert!(!state.has_restless());
    state.wake(at(1000));
    assert_eq!((state.next_wakeup(), state.has_restless()), (None, true));
    assert_eq!(
        (state.pop_restless(), state.has_restless()),
        (Some(id()), false)
    );
}

#[test]
fn a_suspended_order_that_has_not_been_started_wakes_nobody() {
    let mut world = waiting_for(1000);
    world
        .suspend("O", &SuspensionMode::default())
        .expect("it waits");
    assert_eq!(world.controller.state.next_wakeup(), None);
    world
        .resume("O", &Resumption::default())
        .expect("it is suspended");
    assert_eq!(world.controller.state.next_wakeup(), Some(at(1000)));
}

#[test]
fn an_order_that_is_looked_at_again_after_the_clock_was_set_back_keeps_its_time() {
    for (clock, expected) in [(999, Some(at(1000))), (1000, None), (1001, None)] {
        let mut world = waiting_for(1000);
        let state = &mut world.controller.state;
        state.wake(at(2000));
        assert_eq!(state.pop_restless(), Some(id()));
        state.wake(at(clock));
        assert!(!state.has_restless());
        state.make_restless(&id());
        assert_eq!(state.pop_restless(), Some(id()), "{clock}");
        assert_eq!(state.next_wakeup(), expected, "{clock}");
    }
}

#[test]
fn output_of_a_job_costs_no_look_at_its_order() {
    let mut world = World::with(&["ALFA"], &format!("- {}\n", job("ALFA")));
    world.hold("O");
    world.start("O");
    let state = &mut world.agents.values_mut().next().expect("an Agent").state;
    let before = state.order(&id()).expect("it is there").clone();
    for event in [
        OrderEvent::OrderStdoutWritten { chunk: "1".into() },
        OrderEvent::OrderStderrWritten { chunk: "2".into() },
    ] {
        state.evolve(&id(), &event, at(5)).expect("the job runs");
        assert!(!state.has_restless());
        assert_eq!(*state.order(&id()).expect("it is there"), before);
        let refused = state.evolve(&"NOBODY".into(), &event, at(5));
        assert!(refused.is_err());
    }
    world.release("O");
    let late = OrderEvent::OrderStdoutWritten { chunk: "3".into() };
    let refused = world.controller.state.evolve(&id(), &late, at(5));
    assert!(refused.is_err(), "the job has ended");
}

#[test]
fn an_order_is_looked_at_only_where_it_is() {
    let mut world = World::with(&["ALFA"], &format!("- {}\n", job("ALFA")));
    world.hold("O");
    world.start("O");
    let problem = OrderEvent::OrderAgentProblem {
        problem: Problem::plain("no"),
    };
    let controller = &mut world.controller.state;
    controller.evolve(&id(), &problem, at(1)).expect("it fits");
    assert!(!controller.has_restless(), "the Agent has it");
    let agent = &mut world.agents.values_mut().next().expect("an Agent").state;
    agent.evolve(&id(), &problem, at(1)).expect("it fits");
    assert_eq!(agent.pop_restless(), Some(id()));
}

#[test]
fn an_order_records_when_it_was_started_and_when_it_got_its_state() {
    let mut world = World::with(&["ALFA"], &format!("- {}\n", job("ALFA")));
    let scheduled = START + 1000;
    world.hold("O");
    world.add(&format!(
        r#"{{"id":"O","workflowPath":"w","scheduledFor":{scheduled}}}"#
    ));
    let times = |world: &World| {
        let order = world.order("O");
        (order.added_at, order.started_at, order.state_since)
    };
    assert_eq!(times(&world), (Some(at(0)), None, Some(at(0))));
    world.sleep(1000);
    let started = Some(at(1000));
    assert_eq!(times(&world), (Some(at(0)), started, started));
    world.sleep(1000);
    world
        .suspend("O", &SuspensionMode::default())
        .expect("it runs");
    assert_eq!(times(&world).2, started, "a mark is no new state");
    world.sleep(1000);
    world.release("O");
    assert_eq!(times(&world), (Some(at(0)), started, Some(at(3000))));
    world.sleep(1000);
    world
        .resume("O", &Resumption::default())
        .expect("it is suspended");
    assert_eq!(times(&world), (Some(at(0)), started, Some(at(4000))));
}

#[test]
fn the_first_output_of_an_order_is_recorded_once() {
    let mut world = waiting_for(1000);
    let state = &mut world.controller.state;
    let since = |state: &State| state.order(&id()).expect("it is there").output_since;
    state.note_output(&"NOBODY".into(), model::EventId(3));
    assert_eq!(since(state), None);
    for event_id in [5, 7] {
        state.note_output(&id(), model::EventId(event_id));
        assert_eq!(since(state), Some(model::EventId(5)));
    }
}

#[test]
fn orders_are_counted_by_state_and_running_jobs_by_agent_and_job() {
    let mut world = World::with(&["ALFA"], &format!("- {0}\n- {0}\n", job("ALFA")));
    world.script("F", "0", [returned(1)]);
    for order in ["A", "B", "F", "Z"] {
        if order != "F" && order != "Z" {
            world.hold(order);
        }
        world.start(order);
    }
    let state = &world.controller.state;
    let counts: Vec<_> = state
        .counts_by_state()
        .iter()
        .map(|(state, count)| format!("{state}={count}"))
        .collect();
    assert_eq!(counts, ["Failed=1", "Finished=1", "Processing=2"]);
    assert_eq!(state.order_count(), 4);
    let holders = state.running_at(&"ALFA".into());
    assert_eq!(holders.process_count, 2);
    assert_eq!(holders.orders, ["A".into(), "B".into()]);
    assert_eq!(state.running_at(&"BRAVO".into()).process_count, 0);
    let agent = &world.agents.values().next().expect("an Agent").state;
    assert_eq!(agent.running_at(&"ALFA".into()).process_count, 0);
}

#[test]
fn a_job_is_called_as_long_as_its_order_waits_for_a_process() {
    let mut world = World::with(&["ALFA"], &format!("- {}\n", job("ALFA")));
    world.keep_waiting("O");
    world.start("O");
    let agent = &world.agents.values().next().expect("an Agent").state;
    let call = agent.job_of(&id(), world.now).expect("it waits");
    assert_eq!(call.key.to_string(), "w~1:0");
    let Next::Job(same) = agent.next(&id(), world.now) else {
        panic!("it waits")
    };
    assert_eq!(call, same);
    assert_eq!(world.controller.state.job_of(&id(), world.now), None);
}

fn problem() -> Problem {
    Problem::plain("its step ended the node")
}

/// Sets the order aside and applies the events. Returns their names.
fn set_aside(state: &mut State, id: &OrderId) -> Option<Vec<&'static str>> {
    let events = state.set_aside(id, &problem())?;
    let mut names = Vec::new();
    for event in events {
        let Event::Order(of, event) = event else {
            panic!("{event:?}")
        };
        state.evolve(&of, &event, at(1)).expect("it fits");
        names.push(event.type_name());
    }
    Some(names)
}

#[test]
fn an_order_whose_step_ends_the_node_is_set_aside_and_goes_on_when_resumed() {
    let mut world = World::new(
        &[],
        &[
            &workflow("w", "- {TYPE: Stop}\n"),
            &workflow("sleeps", "- {TYPE: Sleep, duration: '9'}\n"),
        ],
    );
    let scheduled = START + 1000;
    world.add(&format!(
        r#"{{"id":"O","workflowPath":"w","scheduledFor":{scheduled}}}"#
    ));
    world.add(r#"{"id":"S","workflowPath":"sleeps"}"#);
    let state = &mut world.controller.state;
    assert!(!state.is_set_aside(&id()));
    state.wake(at(1000));
    assert_eq!(state.pop_restless(), Some(id()));
    assert_eq!(
        state.stepping(),
        Some(&id()),
        "known if the step ends the node"
    );
    assert_eq!(set_aside(state, &id()), Some(vec!["OrderBroken"]));
    assert!(state.is_set_aside(&id()));
    assert_eq!(state.next(&id(), at(1000)), Next::Rest);
    assert_eq!(
        set_aside(state, &id()),
        Some(vec![]),
        "it is set aside already"
    );
    let resumed = state
        .resume(&id(), &Resumption::default())
        .expect("it stands still");
    for (of, event) in &resumed {
        state.evolve(of, event, at(1001)).expect("it fits");
    }
    assert!(!state.is_set_aside(&id()));

    assert_eq!(
        set_aside(state, &"S".into()),
        Some(vec!["OrderStateReset", "OrderBroken"]),
        "it waits for a time"
    );
    assert_eq!(set_aside(state, &"NOBODY".into()), None);
    assert!(!state.is_set_aside(&"NOBODY".into()));
}

#[test]
fn an_order_that_no_event_can_set_aside_makes_no_step_until_it_is_released() {
    let mut world = World::with(&[], "- {TYPE: Stop}\n");
    world.start("O");
    let state = &mut world.controller.state;
    assert_eq!(set_aside(state, &id()), Some(vec![]));
    assert!(state.is_set_aside(&id()));
    state.make_restless(&id());
    let noted = OrderEvent::OrderDeletionMarked;
    state.evolve(&id(), &noted, at(1)).expect("it fits");
    assert!(!state.has_restless());
    assert_eq!(state.pop_restless(), None);
    state.release(&id());
    assert!(!state.is_set_aside(&id()));
    assert_eq!(state.pop_restless(), Some(id()));
    state.release(&id());
    assert!(!state.has_restless(), "it was not held");
}

#[test]
fn an_order_that_was_queued_before_it_was_set_aside_is_passed_over() {
    let mut world = World::with(&[], "- {TYPE: Stop}\n");
    world.start("O");
    world.start("P");
    let state = &mut world.controller.state;
    for order in ["O", "P"] {
        state.make_restless(&order.into());
    }
    assert_eq!(set_aside(state, &id()), Some(vec![]));
    assert_eq!(state.pop_restless(), Some("P".into()));
    assert_eq!(state.pop_restless(), None);
    state.set_stepping(None);
    assert_eq!(state.stepping(), None);
}

#[test]
fn an_order_of_an_agent_is_not_set_aside_by_its_controller() {
    let mut world = World::with(&["ALFA"], &format!("- {}\n", job("ALFA")));
    world.hold("O");
    world.start("O");
    assert_eq!(set_aside(&mut world.controller.state, &id()), None);
    let agent = &mut world.agents.values_mut().next().expect("an Agent").state;
    assert_eq!(set_aside(agent, &id()), Some(vec![]));
    let order: &Order = agent.order(&id()).expect("it is there");
    assert_eq!(order.state.type_name(), "Processing", "its job runs on");
}

#[test]
fn a_list_of_orders_goes_on_from_an_id() {
    let mut world = World::with(&[], "");
    for order in ["A", "B", "C"] {
        world.start(order);
    }
    let from = |id: &str| -> Vec<String> {
        let first = OrderId::from(id);
        let orders = world.controller.state.orders_from(&first);
        orders.map(|order| order.id.to_string()).collect()
    };
    assert_eq!(from("B"), ["B", "C"]);
    assert_eq!(from("BB"), ["C"]);
}
