//! Forks: where they fork, what their children get and give, and what becomes of failed and cancelled children.

use crate::world::{START, World, job, returned, with_values, workflow};
use engine::Obstacle;
use model::{CancellationMode, Resumption, SuspensionMode};

fn branch(id: &str, instructions: &str) -> String {
    format!("{{id: {id}, workflow: {{instructions: [{instructions}]}}}}")
}

fn fork(branches: &[String], more: &str) -> String {
    format!(
        "- {{TYPE: Fork, branches: [{}]{more}}}\n",
        branches.join(", ")
    )
}

#[test]
fn branches_give_named_results_to_the_join_wi_10() {
    let bow = format!(
        "{{id: bow, workflow: {{instructions: [{}], result: {{BOW: $draft}}}}}}",
        job("BRAVO")
    );
    let stern = format!(
        "{{id: stern, workflow: {{instructions: [{}, {}], result: {{STERN: $draft}}}}}}",
        job("ALFA"),
        job("BRAVO")
    );
    let good = workflow("fork-result", &fork(&[bow, stern], ""));
    let bad = workflow(
        "fork-bad",
        &fork(
            &["{id: x, workflow: {instructions: [], result: {R: $NOWHERE}}}".to_owned()],
            "",
        ),
    );
    let function = workflow(
        "fork-function",
        &fork(
            &[
                "{id: x, workflow: {instructions: [], result: {F: 'x => $x + 1', L: '[() => 1]'}}}"
                    .to_owned(),
            ],
            "",
        ),
    );
    let mut world = World::new(&["ALFA", "BRAVO"], &[&good, &bad, &function]);
    world.script("FR|bow", "0/fork+bow:0", [with_values(&[("draft", "11")])]);
    world.script(
        "FR|stern",
        "0/fork+stern:0",
        [with_values(&[("draft", "21")])],
    );
    world.add(r#"{"id":"FR","workflowPath":"fork-result"}"#);
    world.add(r#"{"id":"FB","workflowPath":"fork-bad"}"#);
    world.add(r#"{"id":"FF","workflowPath":"fork-function"}"#);
    world.told(
        "FR",
        "OrderAdded
        OrderStarted
        OrderForked bow stern
        OrderJoined Succeeded(BOW=\"11\", STERN=\"21\")
        OrderMoved 1
        OrderFinished",
    );
    world.told(
        "FR|stern",
        "ATTACH ALFA
        OrderProcessingStarted ALFA-0
        OrderProcessed Succeeded(draft=\"21\")
        OrderMoved 0/fork+stern:1
        DETACH
        ATTACH BRAVO
        JOB BRAVO
        OrderMoved 0/fork+stern:2
        DETACH",
    );
    world.told(
        "FB",
        "OrderAdded
        OrderStarted
        OrderForked x
        OrderJoined Failed(No such named value: NOWHERE)
        OrderFailed 0",
    );
    world.told(
        "FF",
        "OrderAdded
        OrderStarted
        OrderForked x
        OrderJoined Failed(A Function cannot be kept as a value)
        OrderFailed 0",
    );
    assert!(
        world.controller.state.order(&"FR|bow".into()).is_none(),
        "children are gone after the join"
    );
}

#[test]
fn three_children_at_one_agent_are_forked_there_wi_11() {
    let branches: Vec<_> = ["a", "b", "c"]
        .iter()
        .map(|id| branch(id, &job("ALFA")))
        .collect();
    let mut world = World::with(&["ALFA"], &fork(&branches, ""));
    world.start("F3");
    world.told(
        "F3",
        "OrderAdded
        ATTACH ALFA
        OrderStarted
        OrderForked a b c
        DETACH
        OrderJoined Succeeded
        OrderMoved 1
        OrderFinished",
    );
    for child in ["a", "b", "c"] {
        world.told(
            &format!("F3|{child}"),
            &format!("JOB ALFA\nOrderMoved 0/fork+{child}:1\nDETACH"),
        );
    }
    assert_eq!(
        world
            .agents
            .values()
            .map(|node| node.state.order_count())
            .sum::<usize>(),
        0
    );
}

#[test]
fn a_fork_that_names_an_agent_forks_there() {
    let mut world = World::with(
        &["ALFA", "BRAVO"],
        &format!(
            "- {}\n{}",
            job("BRAVO"),
            fork(&[branch("a", &job("BRAVO"))], ", agentPath: ALFA")
        ),
    );
    world.start("F");
    world.told(
        "F",
        "OrderAdded
        ATTACH BRAVO
        OrderStarted
        JOB BRAVO
        OrderMoved 1
        DETACH
        ATTACH ALFA
        OrderForked a
        DETACH
        OrderJoined Succeeded
        OrderMoved 2
        OrderFinished",
    );
    world.told(
        "F|a",
        "DETACH\nATTACH BRAVO\nJOB BRAVO\nOrderMoved 1/fork+a:1\nDETACH",
    );
}

#[test]
fn an_order_at_an_agent_forks_there() {
    let mut world = World::with(
        &["ALFA"],
        &format!(
            "- {}\n{}",
            job("ALFA"),
            fork(&[branch("a", &job("ALFA"))], "")
        ),
    );
    world.start("F");
    world.told(
        "F",
        "OrderAdded
        ATTACH ALFA
        OrderStarted
        JOB ALFA
        OrderMoved 1
        OrderForked a
        DETACH
        OrderJoined Succeeded
        OrderMoved 2
        OrderFinished",
    );
}

#[test]
fn a_failed_child_blocks_the_join_until_resumed_or_cancelled_wi_13() {
    let mut world = World::with(
        &[],
        &fork(
            &[
                branch("rock", "{TYPE: Fail}, {TYPE: EmptyInstruction}"),
                branch("sand", ""),
            ],
            "",
        ),
    );
    world.start("S1");
    assert_eq!(
        (world.state("S1"), world.state("S1|rock")),
        ("Forked", "Failed")
    );
    assert_eq!(
        world.controller.state.obstacles(&"S1".into(), world.now),
        [Obstacle::WaitingForChildren {
            missing: 1,
            child_count: 2,
            children: vec!["S1|rock".into()],
        }]
    );
    assert_eq!(
        world
            .controller
            .state
            .obstacles(&"S1|sand".into(), world.now),
        [Obstacle::WaitingForSiblings {
            parent: Some("S1".into()),
            missing: 1,
        }]
    );
    let behind = Resumption {
        position: Some("0/fork+rock:1".parse().unwrap()),
        as_succeeded: true,
        ..Resumption::default()
    };
    world.resume("S1|rock", &behind).unwrap();
    world.told("S1", "OrderAdded\nOrderStarted\nOrderForked rock sand\nOrderJoined Succeeded\nOrderMoved 1\nOrderFinished");
    world.told(
        "S1|rock",
        "OrderOutcomeAdded Failed
        OrderFailed 0/fork+rock:0
        OrderResumed 0/fork+rock:1
        OrderMoved 0/fork+rock:2",
    );
    world.start("S2");
    world
        .cancel("S2|rock", &CancellationMode::default())
        .unwrap();
    world.told(
        "S2",
        "OrderAdded
        OrderStarted
        OrderForked rock sand
        OrderJoined Failed(Order:S2|rock has been cancelled)
        OrderFailed 0",
    );
    world.told(
        "S2|rock",
        "OrderOutcomeAdded Failed\nOrderFailed 0/fork+rock:0\nOrderCancelled",
    );
}

#[test]
fn at_most_three_failed_children_are_named_wi_16() {
    let leak = "{TYPE: Fail, message: \"'leak'\"}";
    let branches: Vec<_> = ["A", "B", "C", "D"]
        .iter()
        .map(|id| branch(id, leak))
        .collect();
    let mut world = World::with(&[], &fork(&branches, ", joinIfFailed: true"));
    world.start("EF");
    world.told(
        "EF",
        "OrderAdded
        OrderStarted
        OrderForked A B C D
        OrderJoined Failed(Order:EF|A Failed(leak);\\nOrder:EF|B Failed(leak);\\nOrder:EF|C Failed(leak))
        OrderFailed 0",
    );
    world.told(
        "EF|A",
        "OrderOutcomeAdded Failed(leak)\nOrderFailedInFork 0/fork+A:0",
    );
}

#[test]
fn a_failed_join_is_caught_around_the_fork() {
    let failing = fork(&[branch("a", "{TYPE: Fail}")], ", joinIfFailed: true");
    let failing = failing.trim_start_matches("- ").trim();
    let mut world = World::with(
        &[],
        &format!(
            "- {{TYPE: Try, try: {{instructions: [{failing}]}}, catch: {{instructions: []}}}}\n"
        ),
    );
    world.start("F");
    world.told(
        "F",
        "OrderAdded
        OrderMoved 0/try+0:0
        OrderStarted
        OrderForked a
        OrderJoined Failed(Order:F|a Failed)
        OrderCaught 0/catch+0:0
        OrderMoved 1
        OrderFinished",
    );
}

#[test]
fn children_inherit_arguments_priority_and_history() {
    let see = "{TYPE: Say, what: '$ARG ++ $draft ++ orderId'}";
    let mut world = World::with(
        &["ALFA"],
        &format!("- {}\n{}", job("ALFA"), fork(&[branch("a", see)], "")),
    );
    world.script("F", "0", [with_values(&[("draft", "7")])]);
    world.add(r#"{"id":"F","workflowPath":"w","arguments":{"ARG":"arg-"},"priority":3}"#);
    let story = world.story("F|a");
    assert!(story.contains("OrderSaid \"arg-7F|a\""), "{story}");
}

#[test]
fn finish_in_a_branch_ends_the_branch() {
    let mut world = World::with(
        &[],
        &fork(
            &[
                branch("a", "{TYPE: Finish}, {TYPE: Fail}"),
                branch(
                    "b",
                    "{TYPE: If, ifThens: [{predicate: 'true', then: {instructions: [{TYPE: Finish, outcome: {TYPE: Failed, message: dry}}]}}]}, {TYPE: Fail}",
                ),
            ],
            "",
        ),
    );
    world.start("F");
    world.told("F|a", "OrderMoved 0/fork+a:2");
    world.told(
        "F|b",
        "OrderMoved 0/fork+b:0/then:0\nOrderOutcomeAdded Failed(dry)\nOrderFailedInFork 0/fork+b:0/then:0",
    );
    world.told(
        "F",
        "OrderAdded
        OrderStarted
        OrderForked a b
        OrderJoined Failed(Order:F|b Failed(dry))
        OrderFailed 0",
    );
}

#[test]
fn a_suspended_child_holds_the_join_and_a_suspended_parent_does_not_hold_its_children() {
    let mut world = World::with(
        &["ALFA"],
        &fork(&[branch("a", &job("ALFA")), branch("b", "")], ""),
    );
    world.hold("F|a");
    world.start("F");
    world.suspend("F|b", &SuspensionMode::default()).unwrap();
    world.suspend("F", &SuspensionMode::default()).unwrap();
    world.release("F|a");
    assert_eq!(
        (
            world.state("F"),
            world.state("F|a"),
            world.order("F|b").is_suspended
        ),
        ("Forked", "Ready", true)
    );
    world.resume("F|b", &Resumption::default()).unwrap();
    world.told(
        "F",
        "OrderAdded
        OrderStarted
        OrderForked a b
        OrderSuspensionMarked
        OrderJoined Succeeded
        OrderMoved 1
        OrderSuspended",
    );
    world.resume("F", &Resumption::default()).unwrap();
    assert_eq!(world.state("F"), "Finished");
}

#[test]
fn a_cancelled_parent_ends_after_its_children_wi_35() {
    let mut world = World::with(&["ALFA"], &fork(&[branch("x", &job("ALFA"))], ""));
    world.script("LP|x", "0/fork+x:0", [returned(1)]);
    world.start("LP");
    assert_eq!(world.state("LP|x"), "Failed");
    world.cancel("LP", &CancellationMode::default()).unwrap();
    world.cancel("LP|x", &CancellationMode::default()).unwrap();
    world.told(
        "LP",
        "OrderAdded
        OrderStarted
        OrderForked x
        OrderCancellationMarked
        OrderJoined Failed(Order:LP|x has been cancelled)
        OrderFailed 0
        OrderCancelled",
    );
}

#[test]
fn forks_nest() {
    let inner = fork(&[branch("x", &job("ALFA")), branch("y", "")], "");
    let inner = inner.trim_start_matches("- ").trim();
    let mut world = World::with(
        &["ALFA"],
        &fork(&[branch("a", inner), branch("b", inner)], ""),
    );
    world.start("N");
    assert_eq!(world.state("N"), "Finished");
    assert_eq!(world.starts.len(), 2);
    world.told(
        "N|a",
        "OrderForked x y\nOrderJoined Succeeded\nOrderMoved 0/fork+a:1",
    );
    assert_eq!(world.controller.state.order_count(), 1);
}

#[test]
fn a_forked_order_of_the_future_starts_on_time_without_the_controller() {
    let branches: Vec<_> = ["a", "b"]
        .iter()
        .map(|id| branch(id, &job("ALFA")))
        .collect();
    let mut world = World::with(&["ALFA"], &fork(&branches, ""));
    let due = START + 60_000;
    world.add(&format!(
        r#"{{"id":"F","workflowPath":"w","scheduledFor":{due}}}"#
    ));
    world.told("F", "OrderAdded\nATTACH ALFA");
    world.cut("ALFA");
    world.sleep(60_000);
    assert_eq!(world.starts.len(), 2);
    world.reconnect("ALFA");
    assert_eq!(world.state("F"), "Finished");
}

/// P14: the cost of a child that comes to the join does not depend on its siblings.
#[test]
fn a_wide_fork_joins_in_linear_time() {
    let joined = |width: usize| {
        let branches: Vec<_> = (0..width).map(|n| branch(&format!("b{n}"), "")).collect();
        let mut world = World::with(&[], &fork(&branches, ""));
        world.start("F");
        assert_eq!(world.state("F"), "Finished");
        assert_eq!(world.controller.state.order_count(), 1);
    };
    joined(2000);
}

#[test]
fn a_child_that_is_forked_anew_goes_on_counting_its_attempts() {
    let fork = fork(&[branch("x", &job("ALFA"))], ", joinIfFailed: true");
    let again = workflow(
        "again",
        &format!(
            "- {{TYPE: Try, try: {{instructions: [{}]}}, catch: {{instructions: [{{TYPE: Retry}}]}}, maxTries: 2}}\n",
            fork.trim_start_matches("- ").trim()
        ),
    );
    let mut world = World::new(&["ALFA"], &[&again]);
    world.script("A|x", "0/try+0:0/fork+x:0", [returned(1)]);
    world.script("A|x", "0/try+1:0/fork+x:0", [returned(1)]);
    world.add(r#"{"id":"A","workflowPath":"again"}"#);
    let order = world
        .controller
        .state
        .order(&"A".into())
        .expect("it has failed");
    assert_eq!(order.attempts, 2, "an attempt is never named twice");
}

#[test]
fn a_join_tells_how_the_child_has_failed_and_not_what_went_well() {
    let mut world = World::with(
        &["ALFA"],
        &fork(
            &[branch(
                "a",
                &format!("{}, {{TYPE: Fail, message: \"'boom'\"}}", job("ALFA")),
            )],
            ", joinIfFailed: true",
        ),
    );
    world.start("F");
    assert!(
        world
            .story("F")
            .contains("OrderJoined Failed(Order:F|a Failed(boom))"),
        "{}",
        world.story("F")
    );
}

#[test]
fn of_two_children_at_the_join_one_may_still_be_suspended() {
    let mut world = World::with(
        &["ALFA"],
        &fork(
            &[branch("a", ""), branch("b", ""), branch("c", &job("ALFA"))],
            "",
        ),
    );
    world.hold("F|c");
    world.start("F");
    world
        .suspend("F|a", &SuspensionMode::default())
        .expect("it waits for its siblings");
    world.release("F|c");
    assert_eq!(world.state("F"), "Forked");
    world
        .resume("F|a", &Resumption::default())
        .expect("it is suspended");
    assert_eq!(world.state("F"), "Finished");
}

#[test]
fn a_child_is_joined_only_when_the_controller_has_it_back() {
    let mut world = World::with(&["ALFA"], &fork(&[branch("a", &job("ALFA"))], ""));
    world.hold("F|a");
    world.start("F");
    let state = &mut world.controller.state;
    let (parent, child) = ("F".into(), "F|a".into());
    let processed = model::OrderEvent::OrderProcessed {
        outcome: returned(0),
    };
    let moved = model::OrderEvent::OrderMoved {
        to: "0/fork+a:1".parse().expect("a position"),
        reason: None,
    };
    for event in [processed, moved, model::OrderEvent::OrderDetachable] {
        state.evolve(&child, &event, world.now).expect("it fits");
        assert_eq!(state.next(&parent, world.now), engine::Next::Rest);
    }
    state
        .evolve(&child, &model::OrderEvent::OrderDetached, world.now)
        .expect("it fits");
    assert!(matches!(
        state.next(&parent, world.now),
        engine::Next::Events(_)
    ));
}

#[test]
fn a_result_sees_where_its_child_has_come_to() {
    let text = fork(
        &[
            "{id: x, workflow: {instructions: [{TYPE: EmptyInstruction}], result: {P: workflowPosition}}}"
                .to_owned(),
        ],
        "",
    );
    let mut world = World::with(&[], &text);
    world.start("F");
    assert!(
        world.story("F").contains("P=\"w~1:0/fork+x:1\""),
        "{}",
        world.story("F")
    );
}

#[test]
fn an_order_that_is_due_now_is_not_handed_over_for_two_children() {
    let two = fork(&[branch("a", &job("ALFA")), branch("b", &job("ALFA"))], "");
    let mut world = World::with(&["ALFA"], &two);
    world.add(&format!(
        r#"{{"id":"F","workflowPath":"w","scheduledFor":{START}}}"#
    ));
    assert!(
        world
            .story("F")
            .starts_with("OrderAdded\nOrderStarted\nOrderForked a b"),
        "{}",
        world.story("F")
    );
}

#[test]
fn an_order_ahead_of_its_time_goes_to_the_agent_of_three_of_its_children() {
    let ahead = |agents: &[&str]| {
        let branches: Vec<_> = agents
            .iter()
            .enumerate()
            .map(|(n, agent)| branch(&format!("b{n}"), &job(agent)))
            .collect();
        let mut world = World::with(&["ALFA", "BRAVO"], &fork(&branches, ""));
        let due = START + 1000;
        world.add(&format!(
            r#"{{"id":"F","workflowPath":"w","scheduledFor":{due}}}"#
        ));
        world.order("F").attached_to().map(ToString::to_string)
    };
    assert_eq!(
        ahead(&["ALFA", "ALFA", "BRAVO", "ALFA"]).as_deref(),
        Some("ALFA")
    );
    assert_eq!(ahead(&["ALFA", "ALFA", "BRAVO"]), None);
    assert_eq!(ahead(&["BRAVO", "BRAVO"]).as_deref(), Some("BRAVO"));
}
