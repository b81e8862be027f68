//! What must not happen to an order. Each story fails if one condition of a decision is left out.

use crate::world::{START, World, job, workflow};
use engine::{Next, Site, State};
use model::{
    CancellationMode, Mark, Order, OrderEvent, OrderId, OrderState, Resumption, SuspensionMode,
    Timestamp,
};

const FAILED: &str = r#"[{"position":[0],"outcome":{"TYPE":"Failed","message":"no"}}]"#;
const ATTACHED: &str = r#"{"TYPE":"Attached","agentPath":"ALFA"}"#;

fn order(state: &str, more: &str) -> Order {
    let text = format!(
        r#"{{"id":"O","workflowId":{{"path":"w","versionId":"1"}},"position":[0,"try+0",0],"state":{state}{more}}}"#
    );
    serde_json::from_str(&text).expect("an order")
}

fn suspending() -> Mark {
    Mark::Suspending {
        mode: SuspensionMode::default(),
    }
}

/// Creates the state of a Controller or Agent with the order and its workflow, whose job is in a try block.
fn state_with(site: &Site, order: Order) -> State {
    let caught = format!(
        "- {{TYPE: Try, try: {{instructions: [{}]}}, catch: {{instructions: []}}}}\n",
        job("ALFA")
    );
    let mut world = World::with(&["ALFA"], &caught);
    let mut state = match site {
        Site::Controller => world.controller.state,
        Site::Agent(path) => world.agents.remove(path).expect("the Agent").state,
    };
    state.insert_order(order);
    state
}

/// Applies the events of an operator's suspension mark and returns the order's next step.
fn next_when_marked(state: &mut State, marked: &[(OrderId, OrderEvent)]) -> Vec<&'static str> {
    assert_eq!(names(marked), ["OrderSuspensionMarked"]);
    for (id, event) in marked {
        state
            .evolve(id, event, Timestamp::from_millis(START))
            .expect("it fits");
    }
    next(state)
}

fn agent() -> Site {
    Site::Agent("ALFA".into())
}

fn names(events: &[(OrderId, OrderEvent)]) -> Vec<&'static str> {
    events.iter().map(|(_, event)| event.type_name()).collect()
}

fn next(state: &State) -> Vec<&'static str> {
    match state.next(&"O".into(), Timestamp::from_millis(START)) {
        Next::Events(events) => names(&events),
        Next::Job(_) | Next::Rest => Vec::new(),
    }
}

#[test]
fn an_agent_catches_a_failure_before_it_gives_the_order_back_for_a_suspension() {
    let failed = format!(r#","attachedState":{ATTACHED},"historicOutcomes":{FAILED}"#);
    let mut state = state_with(&agent(), order(r#"{"TYPE":"Ready"}"#, &failed));
    let marked = state.mark(&"O".into(), &suspending()).expect("it is there");
    assert_eq!(next_when_marked(&mut state, &marked), ["OrderCaught"]);
}

#[test]
fn an_agent_keeps_a_broken_order_when_it_is_to_be_suspended() {
    let broken = order(
        r#"{"TYPE":"Broken"}"#,
        &format!(r#","attachedState":{ATTACHED}"#),
    );
    let state = state_with(&agent(), broken);
    let marked = state.mark(&"O".into(), &suspending()).expect("it is there");
    assert_eq!(names(&marked), Vec::<&str>::new());
}

#[test]
fn a_cancellation_of_fresh_orders_does_not_mark_one_whose_job_runs() {
    let running = order(
        r#"{"TYPE":"Processing"}"#,
        &format!(r#","attachedState":{ATTACHED}"#),
    );
    let state = state_with(&agent(), running);
    let mark = Mark::Cancelling {
        mode: CancellationMode::FreshOnly,
    };
    let marked = state.mark(&"O".into(), &mark).expect("it is there");
    assert_eq!(names(&marked), Vec::<&str>::new());
}

#[test]
fn a_failure_is_handled_before_a_suspension() {
    let failed = format!(r#","historicOutcomes":{FAILED}"#);
    let mut state = state_with(&Site::Controller, order(r#"{"TYPE":"Ready"}"#, &failed));
    let marked = state
        .suspend(&"O".into(), &SuspensionMode::default())
        .expect("it can be suspended");
    assert_eq!(next_when_marked(&mut state, &marked), ["OrderCaught"]);
}

#[test]
fn a_suspension_does_not_replace_a_cancellation() {
    let mut world = World::with(&["ALFA"], &format!("- {0}\n- {0}\n", job("ALFA")));
    world.hold("C");
    world.start("C");
    world
        .cancel("C", &CancellationMode::default())
        .expect("it runs");
    let refused = world.suspend("C", &SuspensionMode::default());
    assert!(refused.is_err_and(|problem| problem.is("CannotSuspendOrder")));
    world.release("C");
    assert_eq!(world.state("C"), "Cancelled");
}

fn fork_of(a: &str, b: &str) -> String {
    format!(
        "- {{TYPE: Fork, branches: [{{id: a, workflow: {{instructions: [{a}]}}}}, {{id: b, workflow: {{instructions: [{b}]}}}}]}}\n"
    )
}

#[test]
fn a_child_is_not_marked_for_deletion() {
    let mut world = World::with(&["ALFA"], &fork_of(&job("ALFA"), ""));
    world.hold("F|a");
    world.start("F");
    let refused = world.delete("F|a");
    assert!(refused.is_err_and(|problem| problem.is("CannotDeleteChildOrder")));
}

#[test]
fn a_child_that_is_to_be_suspended_at_its_end_is_not_joined() {
    let mut world = World::with(&["ALFA", "BRAVO"], &fork_of(&job("ALFA"), &job("BRAVO")));
    world.hold("F|a");
    world.start("F");
    let mode = SuspensionMode::default();
    world.suspend("F|a", &mode).expect("its job runs");
    world.release("F|a");
    assert!(world.order("F|a").is_suspended);
    assert_eq!(world.state("F"), "Forked");

    // The same holds between the mark and the suspension.
    let text = r#"{"id":"F|a","workflowId":{"path":"w","versionId":"1"},"position":[0,"fork+a",1],"state":{"TYPE":"Ready"},"parent":"F"}"#;
    let mut child: Order = serde_json::from_str(text).expect("an order");
    child.mark = Some(Box::new(suspending()));
    let mut state = world.controller.state.clone();
    state.insert_order(child);
    let id = OrderId::from("F");
    assert_eq!(state.next(&id, world.now), Next::Rest);
}

#[test]
fn an_order_ahead_of_its_time_whose_branches_run_at_two_agents_goes_to_neither() {
    let due = START + 60_000;
    let scheduled = format!(r#"{{"id":"F","workflowPath":"w","scheduledFor":{due}}}"#);
    let mut world = World::with(&["ALFA", "BRAVO"], &fork_of(&job("ALFA"), &job("BRAVO")));
    world.add(&scheduled);
    world.told("F", "OrderAdded");
    let mut world = World::with(&["ALFA"], &fork_of(&job("ALFA"), &job("ALFA")));
    world.add(&scheduled);
    world.told("F", "OrderAdded\nATTACH ALFA");
}

#[test]
fn events_are_refused_where_an_order_cannot_be() {
    let refuses = |site: Site, order: Order, event: &OrderEvent| {
        let mut state = state_with(&site, order);
        let at = Timestamp::from_millis(START);
        assert!(state.evolve(&"O".into(), event, at).is_err(), "{event:?}");
    };
    let fresh = r#"{"TYPE":"Fresh"}"#;
    refuses(
        Site::Controller,
        order(fresh, r#","isSuspended":true"#),
        &OrderEvent::OrderStarted,
    );
    refuses(
        Site::Controller,
        order(r#"{"TYPE":"Ready"}"#, ""),
        &OrderEvent::OrderProcessingStarted {
            subagent_id: None,
            subagent_bundle_id: None,
            stick: false,
        },
    );
    refuses(
        Site::Controller,
        order(
            fresh,
            r#","attachedState":{"TYPE":"Attaching","agentPath":"ALFA"}"#,
        ),
        &OrderEvent::OrderAttached {
            agent_path: "BRAVO".into(),
        },
    );
}

#[test]
fn a_reset_of_the_state_removes_the_mark() {
    let sleeping = r#"{"TYPE":"Sleeping","until":1,"cause":"SleepInstruction"}"#;
    let mut sleeping = order(sleeping, "");
    sleeping.mark = Some(Box::new(suspending()));
    let mut state = state_with(&Site::Controller, sleeping);
    state
        .evolve(
            &"O".into(),
            &OrderEvent::OrderStateReset,
            Timestamp::from_millis(START),
        )
        .expect("it fits");
    let order = state.order(&"O".into()).expect("it is there");
    assert_eq!((&order.mark, &order.state), (&None, &OrderState::Ready));
}

#[test]
fn resuming_an_order_that_is_about_to_be_suspended_leaves_no_mark() {
    let mut world = World::with(&["ALFA"], &format!("- {0}\n- {0}\n", job("ALFA")));
    world.hold("R");
    world.start("R");
    world
        .suspend("R", &SuspensionMode::default())
        .expect("its job runs");
    world
        .resume("R", &Resumption::default())
        .expect("it is not suspended yet");
    assert_eq!(world.order("R").mark, None);
}

#[test]
fn a_resumed_order_passes_the_stop_position_that_it_stands_on_once() {
    let say = "- {TYPE: Say, what: '1'}\n- {TYPE: Say, what: '2'}\n";
    let mut world = World::new(&[], &[&workflow("w", say)]);
    let due = START + 1_000;
    world.add(&format!(
        r#"{{"id":"S","workflowPath":"w","scheduledFor":{due},"startPosition":[1],"stopPositions":[[1]]}}"#
    ));
    world
        .suspend("S", &SuspensionMode::default())
        .expect("it waits");
    world
        .resume("S", &Resumption::default())
        .expect("it stands still");
    world.sleep(1_000);
    world.told(
        "S",
        "OrderAdded
        OrderSuspended
        OrderResumed
        OrderStarted
        OrderSaid 2
        OrderMoved 2
        OrderFinished",
    );
}

#[test]
fn an_agent_marks_only_an_order_that_it_has_and_whose_job_may_go_on() {
    let cancelling = Mark::Cancelling {
        mode: CancellationMode::default(),
    };
    let resuming = Mark::Resuming {
        position: None,
        history_operations: Vec::new(),
        as_succeeded: false,
        restart_killed_job: false,
    };
    let attached = format!(r#","attachedState":{ATTACHED}"#);
    let leaving = r#","attachedState":{"TYPE":"Detaching","agentPath":"ALFA"}"#;
    let forked = r#"{"TYPE":"Forked","children":[]}"#;
    let processing = r#"{"TYPE":"Processing"}"#;
    let processed = r#"{"TYPE":"Processed"}"#;
    let mark = |state: &str, more: &str, mark: &Mark| {
        let state = state_with(&agent(), order(state, more));
        names(&state.mark(&"O".into(), mark).expect("it is there"))
    };
    for wish in [&cancelling, &suspending(), &resuming] {
        assert!(mark(forked, &attached, wish).is_empty(), "{wish:?}");
        assert!(mark(processing, leaving, wish).is_empty(), "{wish:?}");
    }
    for state in [processing, processed] {
        let found = mark(state, &attached, &cancelling);
        assert_eq!(found, ["OrderCancellationMarked"]);
        let found = mark(state, &attached, &suspending());
        assert_eq!(found, ["OrderSuspensionMarked"]);
        assert!(mark(state, &attached, &resuming).is_empty());
    }
    let mut marked = order(processing, &attached);
    marked.mark = Some(Box::new(cancelling.clone()));
    let state = state_with(&agent(), marked);
    let id = OrderId::from("O");
    let again = state.mark(&id, &cancelling).expect("it is there");
    assert_eq!(names(&again), Vec::<&str>::new(), "it is marked so");
    let other = state.mark(&id, &suspending()).expect("it is there");
    assert_eq!(names(&other), ["OrderSuspensionMarked"]);
    let refused = state.mark(&"NOBODY".into(), &cancelling);
    assert!(refused.is_err_and(|problem| problem.is("UnknownKey")));
}

#[test]
fn the_controller_knows_whether_an_order_at_an_agent_would_follow_its_mark() {
    let attached = format!(r#","attachedState":{ATTACHED}"#);
    let would = |state: &str, mark: Option<Mark>| {
        let mut order = order(state, &attached);
        order.mark = mark.map(Box::new);
        state_with(&Site::Controller, order).would_follow_mark(&"O".into())
    };
    let fresh = r#"{"TYPE":"Fresh"}"#;
    assert!(would(fresh, Some(suspending())));
    assert!(!would(fresh, None));
    assert!(!would(r#"{"TYPE":"Processing"}"#, Some(suspending())));
    let state = state_with(&Site::Controller, order(fresh, ""));
    assert!(!state.would_follow_mark(&"NOBODY".into()));
}

#[test]
fn an_order_that_fails_before_its_start_is_started_when_due_if_the_failure_is_caught() {
    let fresh = |site: &Site, is_uncatchable: bool, scheduled: i64| {
        let uncatchable = if is_uncatchable {
            r#","uncatchable":true"#
        } else {
            ""
        };
        let attached = match site {
            Site::Controller => String::new(),
            Site::Agent(_) => format!(r#","attachedState":{ATTACHED}"#),
        };
        let failed = FAILED.replace(
            r#""message":"no""#,
            &format!(r#""message":"no"{uncatchable}"#),
        );
        let more = format!(r#"{attached},"scheduledFor":{scheduled},"historicOutcomes":{failed}"#);
        next(&state_with(site, order(r#"{"TYPE":"Fresh"}"#, &more)))
    };
    for site in [Site::Controller, agent()] {
        assert_eq!(fresh(&site, false, START), ["OrderStarted"]);
        assert_eq!(fresh(&site, false, START + 1), Vec::<&str>::new());
    }
    for scheduled in [START, START + 1] {
        assert_eq!(fresh(&agent(), true, scheduled), ["OrderDetachable"]);
        assert_eq!(fresh(&Site::Controller, true, scheduled), ["OrderFailed"]);
    }
}

#[test]
fn an_agent_gives_back_an_order_ahead_of_its_time_that_has_nothing_to_do_there() {
    let stops = format!("- {{TYPE: Stop}}\n- {}\n- {}\n", job("BRAVO"), job("ALFA"));
    let mut world = World::with(&["ALFA"], &stops);
    let next_at = |world: &mut World, position: u32| {
        let text = format!(
            r#"{{"id":"O","workflowId":{{"path":"w","versionId":"1"}},"position":[{position}],"scheduledFor":{},"state":{{"TYPE":"Fresh"}},"attachedState":{ATTACHED}}}"#,
            START + 1
        );
        let state = &mut world.node(&"ALFA".into()).state;
        state.insert_order(serde_json::from_str(&text).expect("an order"));
        next(state)
    };
    assert_eq!(next_at(&mut world, 0), ["OrderDetachable"], "a Stop");
    assert_eq!(
        next_at(&mut world, 1),
        ["OrderDetachable"],
        "a job of BRAVO"
    );
    assert_eq!(next_at(&mut world, 2), Vec::<&str>::new(), "its own job");
}

#[test]
fn a_fresh_order_comes_to_its_job_before_the_job_is_called() {
    let text = format!("- {{TYPE: EmptyInstruction}}\n- {}\n", job("ALFA"));
    let mut world = World::with(&["ALFA"], &text);
    let order = format!(
        r#"{{"id":"O","workflowId":{{"path":"w","versionId":"1"}},"position":[0],"state":{{"TYPE":"Fresh"}},"attachedState":{ATTACHED}}}"#
    );
    let state = &mut world.node(&"ALFA".into()).state;
    state.insert_order(serde_json::from_str(&order).expect("an order"));
    assert_eq!(next(state), ["OrderMoved"]);
}

#[test]
fn an_order_without_a_start_position_records_none() {
    let world = World::with(&[], "");
    let mut fresh = model::FreshOrder::new("O".into(), "w".into());
    let start = |fresh: &model::FreshOrder| match world.controller.state.add(fresh, world.now) {
        Ok(Some(OrderEvent::OrderAdded { start_position, .. })) => start_position,
        other => panic!("{other:?}"),
    };
    assert_eq!(start(&fresh), None);
    fresh.start_position = Some(model::Place::Position(model::Position::top(0)));
    assert_eq!(start(&fresh), Some(model::Position::top(0)));
}
