//! One instruction after the other: jobs at one and at several Agents, finish, stop, sleep, say, start and stop positions.

use crate::world::{START, World, job, returned, workflow};
use engine::Obstacle;
use model::{Resumption, Timestamp};

fn at(position: &str) -> Resumption {
    Resumption {
        position: Some(position.parse().expect("a position")),
        ..Resumption::default()
    }
}

#[test]
fn an_empty_workflow_finishes_at_once_wi_01() {
    let mut world = World::new(&[], &["{TYPE: Workflow, path: w, instructions: []}"]);
    world.start("E1");
    world.add(r#"{"id":"E2","workflowPath":"w","deleteWhenTerminated":true}"#);
    world.told("E1", "OrderAdded\nOrderStarted\nOrderFinished");
    world.told(
        "E2",
        "OrderAdded\nOrderStarted\nOrderFinished\nOrderDeleted",
    );
    assert_eq!(world.state("E1"), "Finished");
    world.delete("E1").unwrap();
    world.told(
        "E1",
        "OrderAdded\nOrderStarted\nOrderFinished\nOrderDeletionMarked\nOrderDeleted",
    );
    assert_eq!(world.controller.state.order_count(), 0);
}

#[test]
fn an_order_leaves_an_agent_only_when_the_agent_changes_wi_03() {
    let (alfa, bravo) = (job("ALFA"), job("BRAVO"));
    let mut world = World::with(
        &["ALFA", "BRAVO"],
        &format!("- {alfa}\n- {alfa}\n- {bravo}\n"),
    );
    world.start("H1");
    world.told(
        "H1",
        "OrderAdded
        ATTACH ALFA
        OrderStarted
        JOB ALFA
        OrderMoved 1
        JOB ALFA
        OrderMoved 2
        DETACH
        ATTACH BRAVO
        JOB BRAVO
        OrderMoved 3
        DETACH
        OrderFinished",
    );
    assert_eq!(world.order("H1").attempts, 3, "each start is counted");
}

#[test]
fn finish_ends_the_workflow_early_also_from_a_catch_block_wi_26() {
    let job = job("ALFA");
    let fin1 = workflow(
        "fin1",
        &format!("- {job}\n- {{TYPE: Finish}}\n- {{TYPE: Fail}}\n"),
    );
    let fin2 = workflow(
        "fin2",
        &format!(
            "- {{TYPE: Try, try: {{instructions: [{job}]}}, catch: {{instructions: [{{TYPE: Finish, outcome: {{TYPE: Succeeded, namedValues: {{cargo: ok}}}}}}]}}}}\n- {{TYPE: Fail}}\n"
        ),
    );
    let fin3 = workflow(
        "fin3",
        &format!(
            "- {job}\n- {{TYPE: If, ifThens: [{{predicate: 'true', then: {{instructions: [{job}, {{TYPE: Finish, outcome: {{TYPE: Failed, message: dry}}}}]}}}}]}}\n- {{TYPE: Fail}}\n"
        ),
    );
    let mut world = World::new(&["ALFA"], &[&fin1, &fin2, &fin3]);
    world.script("N2", "0/try+0:0", [returned(1)]);
    for (id, path) in [("N1", "fin1"), ("N2", "fin2"), ("N3", "fin3")] {
        world.add(&format!(r#"{{"id":"{id}","workflowPath":"{path}"}}"#));
    }
    world.told(
        "N1",
        "OrderAdded
        ATTACH ALFA
        OrderStarted
        JOB ALFA
        OrderMoved 1
        DETACH
        OrderFinished",
    );
    world.told(
        "N2",
        "OrderAdded
        OrderMoved 0/try+0:0
        ATTACH ALFA
        OrderStarted
        OrderProcessingStarted ALFA-0
        OrderProcessed Failed(returnCode=1)
        OrderCaught 0/catch+0:0
        DETACH
        OrderFinished Succeeded(cargo=\"ok\")",
    );
    world.told(
        "N3",
        "OrderAdded
        ATTACH ALFA
        OrderStarted
        JOB ALFA
        OrderMoved 1/then:0
        JOB ALFA
        OrderMoved 1/then:1
        DETACH
        OrderFinished Failed(dry)",
    );
    assert_eq!(
        world.state("N3"),
        "Finished",
        "a failed outcome of a Finish is no failure"
    );
    assert_eq!(world.order("N3").last_outcome().to_string(), "Failed(dry)");
}

#[test]
fn stop_halts_an_order_until_it_is_resumed_behind_wi_28() {
    let s1 = workflow("s1", "- {TYPE: Stop}\n");
    let s2 = workflow("s2", &format!("- {}\n- {{TYPE: Stop}}\n", job("ALFA")));
    let mut world = World::new(&["ALFA"], &[&s1, &s2]);
    world.add(r#"{"id":"S1","workflowPath":"s1"}"#);
    world.add(r#"{"id":"S2","workflowPath":"s2"}"#);
    world.add(r#"{"id":"S3","workflowPath":"s1"}"#);
    assert_eq!(
        world.controller.state.obstacles(&"S1".into(), world.now),
        [Obstacle::WaitingForCommand {
            state: "Stopped".into(),
            since: Some(world.now),
            commands: ["resume", "cancel"].map(Into::into).into(),
        }]
    );
    world.resume("S1", &at("1")).unwrap();
    world.resume("S2", &at("2")).unwrap();
    world.resume("S3", &Resumption::default()).unwrap();
    world.told(
        "S1",
        "OrderAdded\nOrderStarted\nOrderStopped\nOrderResumed 1\nOrderFinished",
    );
    world.told(
        "S2",
        "OrderAdded
        ATTACH ALFA
        OrderStarted
        JOB ALFA
        OrderMoved 1
        DETACH
        OrderStopped
        OrderResumed 2
        OrderFinished",
    );
    // Resumed without a position the order does not stop again where it stands.
    world.told(
        "S3",
        "OrderAdded\nOrderStarted\nOrderStopped\nOrderResumed\nOrderMoved 1\nOrderFinished",
    );
}

#[test]
fn sleep_stands_still_and_passes_without_awakening_wi_45() {
    let nap = workflow("nap", "- {TYPE: Sleep, duration: '3'}\n");
    let nap0 = workflow(
        "nap0",
        "- {TYPE: Sleep, duration: '0'}\n- {TYPE: Sleep, duration: '-1'}\n- {TYPE: Sleep, duration: missing}\n",
    );
    let agent = workflow(
        "nap-agent",
        &format!("- {}\n- {{TYPE: Sleep, duration: '3'}}\n", job("ALFA")),
    );
    let bad = workflow("nap-bad", "- {TYPE: Sleep, duration: '\"long\"'}\n");
    let mut world = World::new(&["ALFA"], &[&nap, &nap0, &agent, &bad]);
    for (id, path) in [
        ("N", "nap"),
        ("N0", "nap0"),
        ("NA", "nap-agent"),
        ("NB", "nap-bad"),
    ] {
        world.add(&format!(r#"{{"id":"{id}","workflowPath":"{path}"}}"#));
    }
    world.sleep(2000);
    assert_eq!(world.state("N"), "Sleeping");
    let until = Timestamp::from_millis(START + 3000);
    assert_eq!(
        world.controller.state.obstacles(&"N".into(), world.now),
        [Obstacle::WaitingForOtherTime {
            until,
            cause: model::TimeCause::Sleep,
        }]
    );
    assert_eq!(world.controller.state.next_wakeup(), Some(until));
    world.sleep(1000);
    world.told(
        "N",
        "OrderAdded\nOrderStarted\nOrderSleeping 3000\nOrderMoved 1\nOrderFinished",
    );
    world.told(
        "N0",
        "OrderAdded\nOrderStarted\nOrderMoved 1\nOrderMoved 2\nOrderMoved 3\nOrderFinished",
    );
    world.told(
        "NA",
        "OrderAdded
        ATTACH ALFA
        OrderStarted
        JOB ALFA
        OrderMoved 1
        OrderSleeping 3000
        OrderMoved 2
        DETACH
        OrderFinished",
    );
    world.told(
        "NB",
        "OrderAdded
        OrderStarted
        OrderOutcomeAdded Disrupted(Other(Sleep needs a number of seconds, not a String))
        OrderFailed 0",
    );
}

#[test]
fn an_order_starts_and_stops_where_it_is_told_wi_51() {
    let job = job("ALFA");
    let labelled = job.replacen('{', "{label: IN, ", 1);
    let mend = job.replacen('{', "{label: MEND, ", 1);
    let span = workflow(
        "w",
        &format!(
            "- {job}\n- {{TYPE: If, ifThens: [{{predicate: 'true', then: {{instructions: [{labelled}]}}}}]}}\n- {{TYPE: Try, try: {{instructions: [{job}]}}, catch: {{instructions: [{mend}]}}}}\n- {job}\n"
        ),
    );
    let mut world = World::new(&["ALFA"], &[&span]);
    world.script("S3", "2/try:0", [returned(1)]);
    world.add(r#"{"id":"S1","workflowPath":"w","startPosition":[1],"stopPositions":[[1]]}"#);
    world.add(r#"{"id":"S2","workflowPath":"w","startPosition":"IN","stopPositions":[[2]]}"#);
    world.add(
        r#"{"id":"S3","workflowPath":"w","startPosition":[2,"try",0],"stopPositions":["MEND"]}"#,
    );
    let refused = world
        .try_add(r#"{"id":"S4","workflowPath":"w","startPosition":[5]}"#)
        .unwrap_err();
    assert_eq!(
        refused.to_string(),
        "UnknownPosition: Unknown position 5 in Workflow:w~1"
    );
    world.told("S1", "OrderAdded\nOrderStarted\nOrderFinished");
    world.told(
        "S2",
        "OrderAdded
        ATTACH ALFA
        OrderStarted
        JOB ALFA
        OrderMoved 2
        DETACH
        OrderFinished",
    );
    world.told(
        "S3",
        "OrderAdded
        ATTACH ALFA
        OrderStarted
        OrderProcessingStarted ALFA-0
        OrderProcessed Failed(returnCode=1)
        OrderCaught 2/catch+0:0
        DETACH
        OrderFinished",
    );
}

#[test]
fn an_order_in_an_inner_block_ends_with_the_block() {
    let mut world = World::with(
        &[],
        "- {TYPE: Say, what: '1'}\n- {TYPE: Try, try: {instructions: [{TYPE: Say, what: '2'}, {TYPE: Fail}]}, catch: {instructions: [{TYPE: Say, what: '3'}]}}\n- {TYPE: Say, what: '4'}\n",
    );
    world.add(r#"{"id":"I","workflowPath":"w","innerBlock":[1,"try"]}"#);
    // The try is around the inner block, so it does not catch.
    world.told("I", "OrderAdded\nOrderStarted\nOrderSaid 2\nOrderMoved 1/try:1\nOrderOutcomeAdded Failed\nOrderFailed 1/try:1");
    world.add(r#"{"id":"J","workflowPath":"w","innerBlock":[1,"catch"]}"#);
    world.add(
        r#"{"id":"L","workflowPath":"w","innerBlock":[1,"catch"],"startPosition":[1,"catch+0",0]}"#,
    );
    world.told(
        "J",
        "OrderAdded\nOrderStarted\nOrderSaid 3\nOrderMoved 1/catch:1\nOrderFinished",
    );
    world.told(
        "L",
        "OrderAdded\nOrderStarted\nOrderSaid 3\nOrderMoved 1/catch+0:1\nOrderFinished",
    );
    for unknown in [
        r#""innerBlock":[0,"try"]"#,
        r#""startPosition":[7]"#,
        r#""stopPositions":[[7]]"#,
    ] {
        let add = format!(r#"{{"id":"K","workflowPath":"w",{unknown}}}"#);
        let refused = world.try_add(&add).unwrap_err();
        assert_eq!(
            refused.code.as_deref(),
            Some("UnknownPosition"),
            "{refused}"
        );
    }
    let refused = world
        .try_add(r#"{"id":"K","workflowPath":"w","innerBlock":[1,"try"],"startPosition":[2]}"#);
    assert_eq!(
        refused.unwrap_err().code.as_deref(),
        Some("UnreachableOrderPosition")
    );
}

#[test]
fn an_order_of_the_future_waits_at_the_agent_of_its_first_job_s22() {
    let job = job("ALFA");
    let mut world = World::with(
        &["ALFA"],
        &format!("- {{TYPE: Try, try: {{instructions: [{job}]}}, catch: {{instructions: []}}}}\n"),
    );
    let due = START + 60_000;
    world.add(&format!(
        r#"{{"id":"F","workflowPath":"w","scheduledFor":{due}}}"#
    ));
    world.told("F", "OrderAdded\nOrderMoved 0/try+0:0\nATTACH ALFA");
    assert_eq!(world.state("F"), "Fresh");
    world.cut("ALFA");
    world.sleep(59_999);
    assert!(world.starts.is_empty(), "never early");
    world.sleep(1);
    assert_eq!(
        world.starts.len(),
        1,
        "S22: it starts on time while the Controller hears nothing"
    );
    world.reconnect("ALFA");
    assert_eq!(world.state("F"), "Finished");
}

#[test]
fn the_clock_may_be_set_back_while_an_order_waits() {
    let mut world = World::with(&[], "- {TYPE: Sleep, duration: '10'}\n");
    world.start("C");
    world
        .controller
        .state
        .wake(Timestamp::from_millis(START + 11_000));
    // Before the order is looked at, the clock goes back.
    world.sleep(5000);
    assert_eq!(world.state("C"), "Sleeping");
    world.sleep(5000);
    assert_eq!(world.state("C"), "Finished");
}

#[test]
fn a_function_is_no_value_that_can_be_written_down() {
    for what in ["() => 1", "[x => $x]", "{f: x => $x}"] {
        let mut world = World::with(&[], &format!("- {{TYPE: Say, what: '{what}'}}\n"));
        world.start("S");
        world.told(
            "S",
            "OrderAdded
            OrderStarted
            OrderOutcomeAdded Disrupted(Other(A Function cannot be kept as a value))
            OrderFailed 0",
        );
    }
}
