//! Failures: caught, retried, delayed, uncatchable, stopped; lost processes and killed ones.

use crate::world::{START, World, job, returned, workflow};
use model::{HistoryOperation, Outcome, Problem, Resumption};

const FAIL: &str = "{TYPE: Fail}";

fn try_(body: &str, catch: &str, more: &str) -> String {
    format!(
        "{{TYPE: Try, try: {{instructions: [{body}]}}, catch: {{instructions: [{catch}]}}{more}}}"
    )
}

#[test]
fn a_failure_is_caught_and_a_failing_catch_block_fails_the_order_wi_18() {
    let tf1 = workflow("tf1", &format!("- {}\n", try_(FAIL, "", "")));
    let tf2 = workflow("tf2", &format!("- {}\n", try_(FAIL, FAIL, "")));
    let mut world = World::new(&[], &[&tf1, &tf2]);
    world.add(r#"{"id":"T1","workflowPath":"tf1"}"#);
    world.add(r#"{"id":"T2","workflowPath":"tf2"}"#);
    world.told(
        "T1",
        "OrderAdded
        OrderMoved 0/try+0:0
        OrderStarted
        OrderOutcomeAdded Failed
        OrderCaught 0/catch+0:0
        OrderMoved 1
        OrderFinished",
    );
    world.told(
        "T2",
        "OrderAdded
        OrderMoved 0/try+0:0
        OrderStarted
        OrderOutcomeAdded Failed
        OrderCaught 0/catch+0:0
        OrderOutcomeAdded Failed
        OrderFailed 0/catch+0:0",
    );
}

#[test]
fn the_limit_of_tries_is_noticed_at_a_hidden_retry_wi_20() {
    let hidden =
        "{TYPE: If, ifThens: [{predicate: 'true', then: {instructions: [{TYPE: Retry}]}}]}";
    let mut world = World::with(&[], &format!("- {}\n", try_(FAIL, hidden, ", maxTries: 2")));
    world.start("R");
    world.told(
        "R",
        "OrderAdded
        OrderMoved 0/try+0:0
        OrderStarted
        OrderOutcomeAdded Failed
        OrderCaught 0/catch+0:0
        OrderMoved 0/catch+0:0/then:0
        OrderRetrying
        OrderMoved 0/try+1:0
        OrderOutcomeAdded Failed
        OrderCaught 0/catch+1:0
        OrderMoved 0/catch+1:0/then:0
        OrderFailed 0/catch+1:0/then:0",
    );
}

#[test]
fn retries_are_delayed_and_the_last_delay_repeats_wi_21() {
    let mut world = World::with(
        &[],
        &format!(
            "- {}\n",
            try_(
                FAIL,
                "{TYPE: Retry}",
                ", retryDelays: [0, 1, 2], maxTries: 5"
            )
        ),
    );
    world.start("R");
    world.sleep(1000);
    world.sleep(2000);
    world.sleep(1999);
    assert_eq!(world.state("R"), "DelayingRetry");
    world.sleep(1);
    world.told(
        "R",
        "OrderAdded
        OrderMoved 0/try+0:0
        OrderStarted
        OrderOutcomeAdded Failed
        OrderCaught 0/catch+0:0
        OrderRetrying
        OrderMoved 0/try+1:0
        OrderOutcomeAdded Failed
        OrderCaught 0/catch+1:0
        OrderRetrying 1000
        OrderAwoke
        OrderMoved 0/try+2:0
        OrderOutcomeAdded Failed
        OrderCaught 0/catch+2:0
        OrderRetrying 3000
        OrderAwoke
        OrderMoved 0/try+3:0
        OrderOutcomeAdded Failed
        OrderCaught 0/catch+3:0
        OrderRetrying 5000
        OrderAwoke
        OrderMoved 0/try+4:0
        OrderOutcomeAdded Failed
        OrderFailed 0/try+4:0",
    );
}

#[test]
fn expressions_see_the_count_of_tries_wi_23() {
    let last = "{TYPE: If, ifThens: [{predicate: 'tryCount == maxTries && $js7TryCount == $js7MaxTries', then: {instructions: [{TYPE: Say, what: \"'last'\"}]}}]}";
    let mut world = World::with(
        &[],
        &format!(
            "- {}\n",
            try_(&format!("{last}, {FAIL}"), "{TYPE: Retry}", ", maxTries: 2")
        ),
    );
    world.start("C");
    world.told(
        "C",
        "OrderAdded
        OrderMoved 0/try+0:1
        OrderStarted
        OrderOutcomeAdded Failed
        OrderCaught 0/catch+0:0
        OrderRetrying
        OrderMoved 0/try+1:0/then:0
        OrderSaid \"last\"
        OrderMoved 0/try+1:1
        OrderOutcomeAdded Failed
        OrderFailed 0/try+1:1",
    );
}

#[test]
fn an_uncatchable_failure_passes_all_tries_wi_25() {
    let void = "{TYPE: Fail, uncatchable: true}";
    let job = job("ALFA");
    let unc1 = workflow("unc1", &format!("- {}\n", try_(void, "", "")));
    let unc2 = workflow(
        "unc2",
        &format!(
            "- {}\n",
            try_(
                &try_(&job, void, ""),
                "{TYPE: Retry}",
                ", retryDelays: [100], maxTries: 10"
            )
        ),
    );
    let branch = try_(
        "{TYPE: Fail, message: \"'void'\", uncatchable: true}",
        "",
        "",
    );
    let unc3 = workflow(
        "unc3",
        &format!(
            "- {{TYPE: Fork, joinIfFailed: true, branches: [{{id: a, workflow: {{instructions: [{job}]}}}}, {{id: b, workflow: {{instructions: [{branch}]}}}}]}}\n"
        ),
    );
    let mut world = World::new(&["ALFA"], &[&unc1, &unc2, &unc3]);
    world.script("U2", "0/try+0:0/try+0:0", [returned(1)]);
    for (id, path) in [("U1", "unc1"), ("U2", "unc2"), ("U3", "unc3")] {
        world.add(&format!(r#"{{"id":"{id}","workflowPath":"{path}"}}"#));
    }
    world.told(
        "U1",
        "OrderAdded
        OrderMoved 0/try+0:0
        OrderStarted
        OrderOutcomeAdded Failed(uncatchable)
        OrderFailed 0/try+0:0",
    );
    world.told(
        "U2",
        "OrderAdded
        OrderMoved 0/try+0:0/try+0:0
        ATTACH ALFA
        OrderStarted
        OrderProcessingStarted ALFA-0
        OrderProcessed Failed(returnCode=1)
        OrderCaught 0/try+0:0/catch+0:0
        OrderOutcomeAdded Failed(uncatchable)
        DETACH
        OrderFailed 0/try+0:0/catch+0:0",
    );
    world.told(
        "U3",
        "OrderAdded
        OrderStarted
        OrderForked a b
        OrderJoined Failed(Order:U3|b Failed(uncatchable, void))
        OrderFailed 0",
    );
    world.told(
        "U3|b",
        "OrderMoved 0/fork+b:0/try+0:0
        OrderOutcomeAdded Failed(uncatchable, void)
        OrderFailedInFork 0/fork+b:0/try+0:0",
    );
}

#[test]
fn an_order_that_fails_before_its_start_is_stopped_where_asked_wi_30() {
    let block = "{TYPE: If, ifThens: [{predicate: $missing1, then: {instructions: []}}]}";
    let mut world = World::with(
        &[],
        &format!("- {{TYPE: Options, stopOnFailure: true, block: {{instructions: [{block}]}}}}\n"),
    );
    world.start("SF");
    assert_eq!(world.state("SF"), "StoppedWhileFresh");
    assert!(!world.order("SF").last_outcome().is_succeeded());
    let outcome = Outcome::Succeeded {
        named_values: [("missing1".into(), true.into())].into(),
    };
    let position = world.order("SF").position.clone();
    let history_operations = vec![HistoryOperation::Append { position, outcome }];
    world
        .resume(
            "SF",
            &Resumption {
                history_operations,
                ..Resumption::default()
            },
        )
        .unwrap();
    world.told(
        "SF",
        "OrderAdded
        OrderOutcomeAdded Disrupted(Other(No such named value: missing1))
        OrderStopped
        OrderResumed
        OrderMoved 1
        OrderStarted
        OrderFinished",
    );
}

#[test]
fn a_job_that_fails_stops_the_order_and_is_repeated_when_resumed() {
    let job = job("ALFA");
    let mut world = World::with(
        &["ALFA"],
        &format!("- {{TYPE: Options, stopOnFailure: true, block: {{instructions: [{job}]}}}}\n"),
    );
    world.script("S", "0/options:0", [returned(7)]);
    world.start("S");
    assert_eq!(world.state("S"), "Stopped");
    world.resume("S", &Resumption::default()).unwrap();
    world.told(
        "S",
        "OrderAdded
        OrderMoved 0/options:0
        ATTACH ALFA
        OrderStarted
        OrderProcessingStarted ALFA-0
        OrderProcessed Failed(returnCode=7)
        DETACH
        OrderStopped
        OrderResumed
        ATTACH ALFA
        JOB ALFA
        OrderMoved 1
        DETACH
        OrderFinished",
    );
}

#[test]
fn a_failed_order_goes_on_behind_when_resumed_as_succeeded() {
    let mut world = World::with(
        &["ALFA"],
        &format!("- {}\n- {{TYPE: Say, what: '2'}}\n", job("ALFA")),
    );
    world.script("A", "0", [returned(7)]);
    world.start("A");
    assert_eq!(world.state("A"), "Failed");
    world
        .resume(
            "A",
            &Resumption {
                as_succeeded: true,
                ..Resumption::default()
            },
        )
        .unwrap();
    assert!(
        world.story("A").ends_with(
            "OrderFailed 0\nOrderResumed\nOrderMoved 1\nOrderSaid 2\nOrderMoved 2\nOrderFinished"
        ),
        "{}",
        world.story("A")
    );
}

#[test]
fn the_innermost_value_of_stop_on_failure_counts() {
    let inner =
        format!("{{TYPE: Options, stopOnFailure: false, block: {{instructions: [{FAIL}]}}}}");
    let mut world = World::with(
        &[],
        &format!("- {{TYPE: Options, stopOnFailure: true, block: {{instructions: [{inner}]}}}}\n"),
    );
    world.start("I");
    assert_eq!(world.state("I"), "Failed");
}

#[test]
fn a_timed_out_job_is_known_as_such_in_the_catch_block_oc_13() {
    let tell = "{TYPE: If, ifThens: [{predicate: '!timedOut', then: {instructions: [{TYPE: Fail, message: \"'not timed out'\"}]}}]}";
    let never = "{TYPE: If, ifThens: [{predicate: 'timedOut()', then: {instructions: [{TYPE: Fail, message: \"'timed out'\"}]}}]}";
    let slow = workflow("slow", &format!("- {}\n", try_(&job("ALFA"), tell, "")));
    let not_slow = workflow("not-slow", &format!("- {}\n", try_(FAIL, never, "")));
    let mut world = World::new(&["ALFA"], &[&slow, &not_slow]);
    world.script(
        "S",
        "0/try+0:0",
        [Outcome::TimedOut {
            outcome: Box::new(returned(143)),
        }],
    );
    world.add(r#"{"id":"S","workflowPath":"slow"}"#);
    world.add(r#"{"id":"N","workflowPath":"not-slow"}"#);
    world.told(
        "S",
        "OrderAdded
        OrderMoved 0/try+0:0
        ATTACH ALFA
        OrderStarted
        OrderProcessingStarted ALFA-0
        OrderProcessed TimedOut(Failed(returnCode=143))
        OrderCaught 0/catch+0:0
        OrderMoved 1
        DETACH
        OrderFinished",
    );
    world.told(
        "N",
        "OrderAdded
        OrderMoved 0/try+0:0
        OrderStarted
        OrderOutcomeAdded Failed
        OrderCaught 0/catch+0:0
        OrderMoved 1
        OrderFinished",
    );
}

#[test]
fn a_lost_process_lets_the_job_be_repeated_rc_01() {
    let mut world = World::with(&["ALFA"], &format!("- {}\n", job("ALFA")));
    world.hold("L");
    world.start("L");
    world.lose("L");
    world.release("L");
    world.told(
        "L",
        "OrderAdded
        ATTACH ALFA
        OrderStarted
        OrderProcessingStarted ALFA-0
        OrderProcessed Disrupted(ProcessLost(ProcessLostDueToRestart: The process was lost due to restart))
        OrderMoved 0
        JOB ALFA
        OrderMoved 1
        DETACH
        OrderFinished",
    );
    assert_eq!(world.order("L").attempts, 2);
}

#[test]
fn a_lost_process_of_a_job_that_must_not_be_repeated_fails_the_order() {
    let job = job("ALFA").replacen("agentPath", "isNotRestartable: true, agentPath", 1);
    let mut world = World::with(&["ALFA"], &format!("- {job}\n"));
    world.hold("L");
    world.start("L");
    world.lose("L");
    let story = world.story("L");
    assert!(
        story.contains("OrderOutcomeAdded Disrupted(Other(JobIsNotRestartable"),
        "{story}"
    );
    assert!(
        story.ends_with("OrderDetachable\nOrderDetached\nOrderFailed 0"),
        "{story}"
    );
    assert_eq!(world.starts.len(), 1);
}

#[test]
fn a_job_whose_start_is_disrupted_fails_the_order_op_10() {
    let mut world = World::with(&["ALFA"], &format!("- {}\n", job("ALFA")));
    world.script(
        "U",
        "0",
        [Outcome::disrupted(Problem::plain(
            "No such named value: nobody",
        ))],
    );
    world.start("U");
    world.told(
        "U",
        "OrderAdded
        ATTACH ALFA
        OrderStarted
        OrderProcessingStarted ALFA-0
        OrderProcessed Disrupted(Other(No such named value: nobody))
        DETACH
        OrderFailed 0",
    );
}

#[test]
fn long_delays_end_at_a_full_second() {
    let mut world = World::with(
        &[],
        &format!(
            "- {}\n",
            try_(FAIL, "{TYPE: Retry}", ", retryDelays: [100], maxTries: 2")
        ),
    );
    world.sleep(250);
    world.start("R");
    assert!(
        world.story("R").ends_with("OrderRetrying 101000"),
        "{} from {START}",
        world.story("R")
    );
}
