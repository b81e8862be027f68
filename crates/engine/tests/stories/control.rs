//! What operators do: cancel, suspend, resume, delete; at the Controller, at an Agent, on the way.

use crate::world::{START, World, job, returned, workflow};
use model::{CancellationMode, HistoryOperation, Kill, Outcome, Resumption, SuspensionMode};

const FRESH_ONLY: CancellationMode = CancellationMode::FreshOnly;

fn started() -> CancellationMode {
    CancellationMode::default()
}

fn killing() -> CancellationMode {
    CancellationMode::FreshOrStarted {
        kill: Some(Kill::default()),
    }
}

fn one() -> World {
    World::with(&["ALFA"], &format!("- {}\n", job("ALFA")))
}

fn two() -> World {
    World::with(&["ALFA"], &format!("- {0}\n- {0}\n", job("ALFA")))
}

fn retrying(more: &str) -> World {
    World::with(
        &["ALFA"],
        &format!(
            "- {{TYPE: Try, try: {{instructions: [{}]}}, catch: {{instructions: [{{TYPE: Retry}}]}}, {more}}}\n",
            job("ALFA")
        ),
    )
}

fn code(refused: Result<(), model::Problem>) -> String {
    refused
        .expect_err("it is refused")
        .code
        .expect("it has a code")
}

#[test]
fn a_fresh_order_waiting_at_the_agent_is_cancelled_oc_01() {
    let mut world = one();
    world.add(&format!(
        r#"{{"id":"C","workflowPath":"w","scheduledFor":{}}}"#,
        START + 99_000
    ));
    world.cancel("C", &FRESH_ONLY).unwrap();
    world.told(
        "C",
        "OrderAdded\nATTACH ALFA\nOrderCancellationMarked\nDETACH\nOrderCancelled",
    );
}

#[test]
fn a_started_order_is_not_cancelled_as_a_fresh_one() {
    let mut world = one();
    world.hold("C");
    world.start("C");
    assert_eq!(code(world.cancel("C", &FRESH_ONLY)), "CancelStartedOrder");
    assert_eq!(code(world.cancel("NOBODY", &FRESH_ONLY)), "UnknownKey");
}

#[test]
fn a_cancellation_for_fresh_orders_comes_too_late_at_the_agent() {
    let mut world = one();
    world.hold("C");
    world.add(&format!(
        r#"{{"id":"C","workflowPath":"w","scheduledFor":{}}}"#,
        START + 1000
    ));
    // The Controller hears nothing of the start, and marks the order.
    world.cut("ALFA");
    world.sleep(1000);
    world.cancel("C", &FRESH_ONLY).unwrap();
    world.reconnect("ALFA");
    world.release("C");
    assert_eq!(world.state("C"), "Finished");
}

#[test]
fn a_cancellation_without_kill_waits_for_the_running_job_oc_03() {
    let (mut last, mut first) = (one(), two());
    for (world, ends) in [(&mut last, "OrderFinished"), (&mut first, "OrderCancelled")] {
        world.hold("L");
        world.start("L");
        world.cancel("L", &started()).unwrap();
        world.cancel("L", &started()).unwrap();
        world.release("L");
        world.told(
            "L",
            &format!(
                "OrderAdded
                ATTACH ALFA
                OrderStarted
                OrderProcessingStarted ALFA-0
                OrderCancellationMarked
                OrderCancellationMarkedOnAgent
                OrderProcessed Succeeded(returnCode=0)
                OrderMoved 1
                DETACH
                {ends}"
            ),
        );
    }
}

#[test]
fn a_killed_order_is_cancelled_oc_05() {
    let mut world = two();
    world.hold("D");
    world.start("D");
    world.cancel("D", &killing()).unwrap();
    world.told(
        "D",
        "OrderAdded
        ATTACH ALFA
        OrderStarted
        OrderProcessingStarted ALFA-0
        OrderCancellationMarked
        OrderCancellationMarkedOnAgent
        OrderProcessed Killed(Failed(returnCode=137))
        OrderProcessingKilled
        DETACH
        OrderCancelled",
    );
}

#[test]
fn a_kill_is_not_caught_by_a_try() {
    let mut world = retrying("maxTries: 3");
    world.hold("D");
    world.start("D");
    world.cancel("D", &killing()).unwrap();
    assert_eq!(world.state("D"), "Cancelled");
    assert_eq!(world.starts.len(), 1);
}

#[test]
fn a_failing_job_fails_the_order_before_its_cancellation() {
    let mut world = one();
    world.hold("F");
    world.script("F", "0", [returned(3)]);
    world.start("F");
    world.cancel("F", &started()).unwrap();
    world.release("F");
    assert!(
        world
            .story("F")
            .ends_with("OrderDetached\nOrderFailed 0\nOrderCancelled"),
        "{}",
        world.story("F")
    );
}

#[test]
fn a_cancelled_order_is_final_oc_11() {
    let mut world = World::with(
        &[],
        "- {TYPE: Sleep, duration: '9'}\n- {TYPE: EmptyInstruction}\n",
    );
    world.start("A");
    world.cancel("A", &started()).unwrap();
    let resumption = Resumption {
        position: Some("1".parse().unwrap()),
        as_succeeded: true,
        ..Resumption::default()
    };
    assert_eq!(code(world.resume("A", &resumption)), "CannotResumeOrder");
    assert_eq!(
        code(world.suspend("A", &SuspensionMode::default())),
        "CannotSuspendOrder"
    );
    world.cancel("A", &killing()).unwrap();
    world.told(
        "A",
        "OrderAdded\nOrderStarted\nOrderSleeping 9000\nOrderStateReset\nOrderCancelled",
    );
    assert!(world.order("A").historic_outcomes.is_empty());
}

#[test]
fn a_fresh_attached_order_is_suspended_and_resumed_oc_15() {
    let mut world = one();
    world.add(&format!(
        r#"{{"id":"F","workflowPath":"w","scheduledFor":{}}}"#,
        START + 100_000
    ));
    world.suspend("F", &SuspensionMode::default()).unwrap();
    world.suspend("F", &SuspensionMode::default()).unwrap();
    world.resume("F", &Resumption::default()).unwrap();
    assert_eq!(
        code(world.resume("F", &Resumption::default())),
        "CannotResumeOrder"
    );
    world.sleep(100_000);
    world.told(
        "F",
        "OrderAdded
        ATTACH ALFA
        OrderSuspensionMarked
        DETACH
        OrderSuspended
        OrderResumed
        ATTACH ALFA
        OrderStarted
        JOB ALFA
        OrderMoved 1
        DETACH
        OrderFinished",
    );
}

#[test]
fn an_order_is_suspended_between_two_jobs_and_behind_the_last_oc_16() {
    let mut world = two();
    world.hold("T");
    world.start("T");
    world.suspend("T", &SuspensionMode::default()).unwrap();
    world.release("T");
    assert!(world.order("T").is_suspended);
    world.resume("T", &Resumption::default()).unwrap();
    world.told(
        "T",
        "OrderAdded
        ATTACH ALFA
        OrderStarted
        OrderProcessingStarted ALFA-0
        OrderSuspensionMarked
        OrderSuspensionMarkedOnAgent
        OrderProcessed Succeeded(returnCode=0)
        OrderMoved 1
        DETACH
        OrderSuspended
        OrderResumed
        ATTACH ALFA
        JOB ALFA
        OrderMoved 2
        DETACH
        OrderFinished",
    );
    let mut world = one();
    for id in ["L", "M"] {
        world.hold(id);
        world.start(id);
        world.suspend(id, &SuspensionMode::default()).unwrap();
        world.release(id);
    }
    world.resume("L", &Resumption::default()).unwrap();
    world.cancel("M", &started()).unwrap();
    assert!(world.story("L").ends_with(
        "OrderMoved 1\nOrderDetachable\nOrderDetached\nOrderSuspended\nOrderResumed\nOrderFinished"
    ));
    assert!(
        world.story("M").ends_with("OrderSuspended\nOrderCancelled"),
        "a suspended order at its end can be cancelled"
    );
}

#[test]
fn resuming_what_is_still_suspending_withdraws_the_wish_oc_18() {
    let mut world = two();
    for id in ["A", "B"] {
        world.hold(id);
        world.start(id);
        world.suspend(id, &SuspensionMode::default()).unwrap();
    }
    world.resume("A", &Resumption::default()).unwrap();
    let at_0 = Resumption {
        position: Some("0".parse().unwrap()),
        ..Resumption::default()
    };
    assert_eq!(code(world.resume("B", &at_0)), "CannotResumeOrder");
    world.release("A");
    world.release("B");
    world.told(
        "A",
        "OrderAdded
        ATTACH ALFA
        OrderStarted
        OrderProcessingStarted ALFA-0
        OrderSuspensionMarked
        OrderSuspensionMarkedOnAgent
        OrderResumptionMarked
        OrderProcessed Succeeded(returnCode=0)
        OrderMoved 1
        DETACH
        ATTACH ALFA
        JOB ALFA
        OrderMoved 2
        DETACH
        OrderFinished",
    );
    assert!(world.order("B").is_suspended);
}

#[test]
fn a_failure_wins_over_a_suspension_oc_20() {
    let branch = format!(
        "{{id: x, workflow: {{instructions: [{}, {{TYPE: EmptyInstruction}}]}}}}",
        job("ALFA")
    );
    let sf = workflow(
        "sf",
        &format!("- {}\n- {{TYPE: EmptyInstruction}}\n", job("ALFA")),
    );
    let sff = workflow("sff", &format!("- {{TYPE: Fork, branches: [{branch}]}}\n"));
    let mut world = World::new(&["ALFA"], &[&sf, &sff]);
    for (id, held, path, position) in [("S", "S", "sf", "0"), ("F", "F|x", "sff", "0/fork+x:0")] {
        world.hold(held);
        world.script(held, position, [returned(9)]);
        world.add(&format!(r#"{{"id":"{id}","workflowPath":"{path}"}}"#));
        world.suspend(held, &SuspensionMode::default()).unwrap();
        world.release(held);
        assert_eq!(world.state(held), "Failed");
        assert!(world.order(held).mark.is_none());
    }
    let behind = |position: &str| Resumption {
        position: Some(position.parse().unwrap()),
        as_succeeded: true,
        ..Resumption::default()
    };
    world.resume("S", &behind("1")).unwrap();
    world.resume("F|x", &behind("0/fork+x:1")).unwrap();
    world.told(
        "S",
        "OrderAdded
        ATTACH ALFA
        OrderStarted
        OrderProcessingStarted ALFA-0
        OrderSuspensionMarked
        OrderSuspensionMarkedOnAgent
        OrderProcessed Failed(returnCode=9)
        DETACH
        OrderFailed 0
        OrderResumed 1
        OrderMoved 2
        OrderFinished",
    );
    world.told(
        "F|x",
        "ATTACH ALFA
        OrderProcessingStarted ALFA-0
        OrderSuspensionMarked
        OrderSuspensionMarkedOnAgent
        OrderProcessed Failed(returnCode=9)
        DETACH
        OrderFailed 0/fork+x:0
        OrderResumed 0/fork+x:1
        OrderMoved 0/fork+x:2",
    );
}

#[test]
fn a_delayed_retry_is_suspended_resumed_and_cancelled_oc_21() {
    let mut world = retrying("retryDelays: [0.5]");
    world.script("T", "0/try+0:0", [returned(9)]);
    world.script("T", "0/try+1:0", [returned(9)]);
    world.script("T", "0/try+2:0", [returned(9)]);
    world.start("T");
    world.suspend("T", &SuspensionMode::default()).unwrap();
    assert_eq!(
        (world.state("T"), world.order("T").is_detached()),
        ("DelayingRetry", true)
    );
    assert_eq!(world.order("T").position.to_string(), "0/catch+0:0");
    world.resume("T", &Resumption::default()).unwrap();
    world.sleep(500);
    world.suspend("T", &SuspensionMode::default()).unwrap();
    world.sleep(500);
    world.resume("T", &Resumption::default()).unwrap();
    world.suspend("T", &SuspensionMode::default()).unwrap();
    world.cancel("T", &started()).unwrap();
    world.told(
        "T",
        "OrderAdded
        OrderMoved 0/try+0:0
        ATTACH ALFA
        OrderStarted
        OrderProcessingStarted ALFA-0
        OrderProcessed Failed(returnCode=9)
        OrderCaught 0/catch+0:0
        OrderRetrying 500
        OrderSuspensionMarked
        DETACH
        OrderResumptionMarked
        OrderAwoke
        OrderMoved 0/try+1:0
        ATTACH ALFA
        OrderProcessingStarted ALFA-0
        OrderProcessed Failed(returnCode=9)
        OrderCaught 0/catch+1:0
        OrderRetrying 1000
        OrderSuspensionMarked
        DETACH
        OrderAwoke
        OrderMoved 0/try+2:0
        OrderSuspended
        OrderResumed
        ATTACH ALFA
        OrderProcessingStarted ALFA-0
        OrderProcessed Failed(returnCode=9)
        OrderCaught 0/catch+2:0
        OrderRetrying 1500
        OrderSuspensionMarked
        DETACH
        OrderStateReset
        OrderCancelled",
    );
}

#[test]
fn a_suspension_may_give_up_what_the_order_waits_for() {
    let mut world = World::with(&[], "- {TYPE: Sleep, duration: '9'}\n");
    world.start("S");
    world
        .suspend(
            "S",
            &SuspensionMode {
                reset_state: true,
                kill: None,
            },
        )
        .unwrap();
    world.told(
        "S",
        "OrderAdded\nOrderStarted\nOrderSleeping 9000\nOrderStateReset\nOrderSuspended",
    );
    world.resume("S", &Resumption::default()).unwrap();
    assert!(
        world
            .story("S")
            .ends_with("OrderResumed\nOrderSleeping 9000"),
        "the instruction begins anew"
    );
}

#[test]
fn a_suspension_with_kill_lets_the_job_run_again_when_asked() {
    let mut world = one();
    let mode = SuspensionMode {
        reset_state: false,
        kill: Some(Kill::default()),
    };
    for id in ["K", "S"] {
        world.hold(id);
        world.start(id);
        world.suspend(id, &mode).unwrap();
        world.release(id);
        assert!(world.order(id).is_suspended);
    }
    world
        .resume(
            "K",
            &Resumption {
                restart_killed_job: Some(true),
                ..Resumption::default()
            },
        )
        .unwrap();
    world.told(
        "K",
        "OrderAdded
        ATTACH ALFA
        OrderStarted
        OrderProcessingStarted ALFA-0
        OrderSuspensionMarked
        OrderSuspensionMarkedOnAgent
        OrderProcessed Killed(Failed(returnCode=137))
        OrderProcessingKilled
        DETACH
        OrderSuspended
        OrderResumed
        ATTACH ALFA
        JOB ALFA
        OrderMoved 1
        DETACH
        OrderFinished",
    );
    world
        .resume(
            "S",
            &Resumption {
                as_succeeded: true,
                restart_killed_job: Some(false),
                ..Resumption::default()
            },
        )
        .unwrap();
    assert!(
        world
            .story("S")
            .ends_with("OrderSuspended\nOrderResumed\nOrderMoved 1\nOrderFinished")
    );
}

#[test]
fn an_order_resumes_elsewhere_with_a_changed_history_oc_23() {
    let bilge = "{TYPE: Try, try: {instructions: [{TYPE: Fail, message: \"'bilge'\"}]}, catch: {instructions: [{TYPE: Retry}]}, maxTries: 2}";
    let mut world = World::with(
        &["ALFA"],
        &format!("- {0}\n- {0}\n- {bilge}\n", job("ALFA")),
    );
    world.hold("H");
    world.start("H");
    world.suspend("H", &SuspensionMode::default()).unwrap();
    world.release("H");
    let at = |position: &str| Resumption {
        position: Some(position.parse().unwrap()),
        ..Resumption::default()
    };
    assert_eq!(
        code(world.resume("H", &at("99"))),
        "UnreachableOrderPosition"
    );
    let outcome = |n: i32| Outcome::Succeeded {
        named_values: [("NEW".into(), n.into())].into(),
    };
    let (there, here) = ("99".parse().unwrap(), "0".parse().unwrap());
    let (there, here): (model::Position, model::Position) = (there, here);
    for operation in [
        HistoryOperation::Replace {
            position: there.clone(),
            outcome: outcome(1),
        },
        HistoryOperation::Insert {
            before: here.clone(),
            position: there.clone(),
            outcome: outcome(1),
        },
        HistoryOperation::Delete {
            position: there.clone(),
        },
        HistoryOperation::Append {
            position: there,
            outcome: outcome(1),
        },
    ] {
        let resumption = Resumption {
            history_operations: vec![operation],
            ..Resumption::default()
        };
        assert_eq!(
            world.resume("H", &resumption).unwrap_err().to_string(),
            "UnknownPosition: Unknown position 99 in Workflow:w~1"
        );
    }
    let resumption = Resumption {
        position: Some("2/try:0".parse().unwrap()),
        history_operations: vec![
            HistoryOperation::Replace {
                position: here,
                outcome: outcome(1),
            },
            HistoryOperation::Append {
                position: "1".parse().unwrap(),
                outcome: outcome(2),
            },
        ],
        ..Resumption::default()
    };
    world.resume("H", &resumption).unwrap();
    let story = world.story("H");
    let behind = story.split("OrderSuspended\n").nth(1).unwrap();
    assert_eq!(
        behind,
        "OrderResumed 2/try:0\nOrderOutcomeAdded Failed(bilge)\nOrderCaught 2/catch+0:0\nOrderRetrying\nOrderMoved 2/try+1:0\nOrderOutcomeAdded Failed(bilge)\nOrderFailed 2/try+1:0"
    );
    let history: Vec<_> = world
        .order("H")
        .historic_outcomes
        .iter()
        .map(|entry| format!("{} {}", entry.position, entry.outcome))
        .collect();
    assert_eq!(
        history,
        [
            "0 Succeeded",
            "1 Succeeded",
            "2/try:0 Failed(bilge)",
            "2/catch+0:0 Caught",
            "2/try+1:0 Failed(bilge)"
        ]
    );
}

#[test]
fn no_jump_enters_or_leaves_a_branch_of_a_fork() {
    let branch = "{id: x, workflow: {instructions: [{TYPE: Fail}]}}";
    let mut world = World::with(
        &[],
        &format!("- {{TYPE: Stop}}\n- {{TYPE: Fork, branches: [{branch}]}}\n"),
    );
    world.start("J");
    let at = |position: &str| Resumption {
        position: Some(position.parse().unwrap()),
        ..Resumption::default()
    };
    assert_eq!(
        code(world.resume("J", &at("1/fork+x:0"))),
        "UnreachableOrderPosition"
    );
    world.resume("J", &at("1")).unwrap();
    assert_eq!(
        code(world.resume("J|x", &at("0"))),
        "UnreachableOrderPosition"
    );
    world.resume("J|x", &at("1/fork+x:1")).unwrap();
    assert_eq!(
        world.state("J"),
        "Failed",
        "the failed outcome of the branch is still the last one"
    );
}

#[test]
fn an_order_is_deleted_when_it_has_ended_oc_28() {
    let mut world = one();
    world.hold("D");
    world.start("D");
    world.delete("D").unwrap();
    world.delete("D").unwrap();
    world.release("D");
    world.told(
        "D",
        "OrderAdded
        ATTACH ALFA
        OrderStarted
        OrderProcessingStarted ALFA-0
        OrderDeletionMarked
        OrderProcessed Succeeded(returnCode=0)
        OrderMoved 1
        DETACH
        OrderFinished
        OrderDeleted",
    );
    world.script("F", "0", [returned(1)]);
    world.add(r#"{"id":"F","workflowPath":"w","deleteWhenTerminated":true}"#);
    assert_eq!(world.state("F"), "Failed", "a failed order is kept");
    world.cancel("F", &started()).unwrap();
    assert!(
        world
            .story("F")
            .ends_with("OrderFailed 0\nOrderCancelled\nOrderDeleted")
    );
}

#[test]
fn an_order_is_cancelled_while_it_is_on_its_way() {
    let mut world = one();
    world.cut("ALFA");
    world.start("W");
    assert_eq!(world.story("W"), "OrderAdded\nOrderAttachable ALFA");
    world.cancel("W", &started()).unwrap();
    world.reconnect("ALFA");
    world.told("W", "OrderAdded\nOrderAttachable ALFA\nOrderCancellationMarked\nOrderAttached ALFA\nDETACH\nOrderCancelled");
    assert!(world.starts.is_empty());
}

#[test]
fn a_failed_order_that_is_resumed_with_killed_jobs_repeats_its_failed_job() {
    let resumed = |as_succeeded| {
        let mut world = one();
        world.script("F", "0", [returned(1)]);
        world.start("F");
        let resumption = Resumption {
            as_succeeded,
            restart_killed_job: Some(true),
            ..Resumption::default()
        };
        world.resume("F", &resumption).unwrap();
        (world.starts.len(), world.state("F"))
    };
    assert_eq!(resumed(false), (2, "Finished"), "no job was killed");
    assert_eq!(resumed(true), (1, "Finished"));
}

#[test]
fn a_refused_resumption_says_what_keeps_the_order_from_it() {
    let refused = |world: &mut World, resumption: &Resumption| {
        world.resume("O", resumption).unwrap_err().message
    };
    let plain = Resumption::default();
    let mut world = two();
    world.hold("O");
    world.start("O");
    assert_eq!(
        refused(&mut world, &plain),
        "Order:O cannot be resumed: it does not stand still"
    );
    world.suspend("O", &SuspensionMode::default()).unwrap();
    let elsewhere = Resumption {
        position: Some("1".parse().unwrap()),
        ..Resumption::default()
    };
    assert_eq!(
        refused(&mut world, &elsewhere),
        "Order:O cannot be resumed: it is not suspended yet, so its position and history cannot be changed"
    );
    world.cancel("O", &killing()).unwrap();
    assert_eq!(
        refused(&mut world, &plain),
        "Order:O cannot be resumed: it has ended"
    );
}

#[test]
fn a_stronger_request_replaces_the_one_before_and_a_weaker_one_does_not() {
    let kill = |immediately, position: Option<&str>| Kill {
        immediately,
        workflow_position: position.map(|position| model::WorkflowPosition {
            workflow_id: model::WorkflowId {
                path: "w".into(),
                version_id: "1".into(),
            },
            position: position.parse().unwrap(),
        }),
    };
    // From the weakest to the strongest; the last two kill at one place only and include each other in no way.
    let kills = [None, Some(kill(false, None)), Some(kill(true, None))];
    let places = [Some(kill(false, Some("0"))), Some(kill(false, Some("1")))];
    let marked_again = |first: &Option<Kill>, second: &Option<Kill>, resets: (bool, bool)| {
        let mut world = two();
        world.cut("ALFA");
        world.start("O");
        let state = &mut world.controller.state;
        let id = model::OrderId::from("O");
        let mut marked = |reset_state, kill: &Option<Kill>| {
            let (kill, id) = (kill.clone(), &id);
            let decided = state
                .suspend(id, &SuspensionMode { reset_state, kill })
                .unwrap();
            for (id, event) in &decided {
                state.evolve(id, event, world.now).unwrap();
            }
            !decided.is_empty()
        };
        assert!(marked(resets.0, first));
        let suspended = marked(resets.1, second);

        let mut world = two();
        world.cut("ALFA");
        world.start("O");
        let state = &mut world.controller.state;
        let mut marked = |kill: &Option<Kill>| {
            let mode = CancellationMode::FreshOrStarted { kill: kill.clone() };
            let decided = state.cancel(&id, &mode).unwrap();
            for (id, event) in &decided {
                state.evolve(id, event, world.now).unwrap();
            }
            !decided.is_empty()
        };
        assert!(marked(first));
        let cancelled = marked(second);
        if resets.0 == resets.1 {
            assert_eq!(suspended, cancelled, "{first:?} {second:?}");
        }
        suspended
    };
    for (n, first) in kills.iter().enumerate() {
        for (m, second) in kills.iter().enumerate() {
            let again = marked_again(first, second, (false, false));
            assert_eq!(again, m > n, "{first:?}, then {second:?}");
        }
    }
    for first in &places {
        assert!(!marked_again(first, &None, (false, false)));
        assert!(marked_again(first, &kills[1], (false, false)));
        assert!(marked_again(&kills[2], first, (false, false)));
        for second in &places {
            assert_eq!(marked_again(first, second, (false, false)), first != second);
        }
    }
    assert!(marked_again(&None, &None, (false, true)));
    assert!(!marked_again(&None, &None, (true, false)));
    assert!(!marked_again(&None, &None, (true, true)));
    assert!(marked_again(&None, &kills[1], (true, false)));
}

#[test]
fn a_cancellation_of_fresh_orders_is_included_in_every_other() {
    let mut world = one();
    world.add(&format!(
        r#"{{"id":"C","workflowPath":"w","scheduledFor":{}}}"#,
        START + 9000
    ));
    world.cut("ALFA");
    world.cancel("C", &FRESH_ONLY).unwrap();
    world.cancel("C", &FRESH_ONLY).unwrap();
    world.cancel("C", &started()).unwrap();
    world.cancel("C", &FRESH_ONLY).unwrap();
    assert_eq!(
        world.story("C").matches("OrderCancellationMarked").count(),
        2,
        "{}",
        world.story("C")
    );
}

#[test]
fn a_child_that_waits_at_the_join_is_not_cancelled() {
    let branch =
        |id: &str, body: &str| format!("{{id: {id}, workflow: {{instructions: [{body}]}}}}");
    let mut world = World::with(
        &["ALFA"],
        &format!(
            "- {{TYPE: Fork, branches: [{}, {}]}}\n",
            branch("a", ""),
            branch("b", &job("ALFA"))
        ),
    );
    world.hold("F|b");
    world.start("F");
    world.cancel("F|a", &started()).unwrap();
    assert_eq!(world.order("F|a").mark, None, "nothing is left to cancel");
    world.release("F|b");
    assert_eq!(world.state("F"), "Finished");
}

#[test]
fn a_suspension_resets_only_what_waits_for_a_time() {
    let mut world = World::with(&[], "- {TYPE: Stop}\n");
    world.add(&format!(
        r#"{{"id":"F","workflowPath":"w","scheduledFor":{}}}"#,
        START + 9000
    ));
    let mode = SuspensionMode {
        reset_state: true,
        kill: None,
    };
    world.suspend("F", &mode).unwrap();
    world.told("F", "OrderAdded\nOrderSuspended");
}

#[test]
fn an_entry_of_the_history_is_found_by_its_position_and_the_refusal_lists_them() {
    let mut world = World::with(
        &["ALFA"],
        &format!("- {0}\n- {0}\n- {{TYPE: Stop}}\n", job("ALFA")),
    );
    world.start("H");
    let deleted = |position: &str| Resumption {
        history_operations: vec![HistoryOperation::Delete {
            position: position.parse().unwrap(),
        }],
        ..Resumption::default()
    };
    assert_eq!(
        world.resume("H", &deleted("2")).unwrap_err().message,
        "The order's history has no entry at position 2; its positions are 0, 1"
    );
    world.resume("H", &deleted("1")).unwrap();
    let positions = |world: &World| -> Vec<String> {
        let history = &world.order("H").historic_outcomes;
        history
            .iter()
            .map(|entry| entry.position.to_string())
            .collect()
    };
    assert_eq!(positions(&world), ["0"]);

    let mut world = World::with(&[], "- {TYPE: Stop}\n");
    world.start("H");
    assert_eq!(
        world.resume("H", &deleted("0")).unwrap_err().message,
        "The order's history has no entry at position 0; its positions are none"
    );
}

#[test]
fn an_order_that_is_resumed_further_back_forgets_what_came_after() {
    let mut world = World::with(
        &["ALFA"],
        &format!("- {0}\n- {0}\n- {{TYPE: Stop}}\n", job("ALFA")),
    );
    world.start("H");
    let back = Resumption {
        position: Some("1".parse().unwrap()),
        ..Resumption::default()
    };
    world.resume("H", &back).unwrap();
    assert_eq!(world.state("H"), "Stopped");
    let positions: Vec<_> = world
        .order("H")
        .historic_outcomes
        .iter()
        .map(|entry| entry.position.to_string())
        .collect();
    assert_eq!(positions, ["0", "1"]);
    assert_eq!(world.starts.len(), 3);
}

#[test]
fn a_mark_that_has_come_too_late_ends_with_its_order() {
    let mut world = one();
    world.hold("L");
    world.start("L");
    world.cancel("L", &started()).unwrap();
    assert!(world.order("L").mark.is_some());
    world.release("L");
    assert_eq!(
        (world.state("L"), &world.order("L").mark),
        ("Finished", &None)
    );
}
