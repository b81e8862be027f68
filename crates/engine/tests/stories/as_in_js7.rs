//! Behaviour on which users of JS7 rely: when an order counts as started, what takes precedence over a try, when a
//! killed job runs again, and where a failure is shown.

use crate::world::{World, job, returned, workflow};
use model::{
    CancellationMode, HistoryOperation, Kill, Outcome, Problem, Resumption, SuspensionMode,
};

const FAIL: &str = "{TYPE: Fail}";
const RETRY: &str = "{TYPE: Retry}";

fn stopping(block: &str) -> String {
    format!("{{TYPE: Options, stopOnFailure: true, block: {{instructions: [{block}]}}}}")
}

fn try_(body: &str, catch: &str) -> String {
    format!("{{TYPE: Try, try: {{instructions: [{body}]}}, catch: {{instructions: [{catch}]}}}}")
}

fn fork(branches: &[(&str, &str)]) -> String {
    let branches: Vec<_> = branches
        .iter()
        .map(|(id, block)| format!("{{id: {id}, workflow: {{instructions: [{block}]}}}}"))
        .collect();
    format!("{{TYPE: Fork, branches: [{}]}}", branches.join(", "))
}

#[test]
fn stop_on_failure_takes_precedence_over_a_try_inside_and_around() {
    let inside = workflow("inside", &format!("- {}\n", stopping(&try_(FAIL, ""))));
    let around = workflow("around", &format!("- {}\n", try_(&stopping(FAIL), "")));
    let retried = workflow("retried", &format!("- {}\n", stopping(&try_(FAIL, RETRY))));
    let at_job = workflow(
        "at-job",
        &format!("- {}\n", stopping(&try_(&job("ALFA"), ""))),
    );
    let mut world = World::new(&["ALFA"], &[&inside, &around, &retried, &at_job]);
    world.script("at-job", "0/options:0/try+0:0", [returned(1)]);
    for path in ["inside", "around", "retried", "at-job"] {
        world.add(&format!(r#"{{"id":"{path}","workflowPath":"{path}"}}"#));
        assert_eq!(world.state(path), "Stopped", "{path}");
    }
    world.told(
        "at-job",
        "OrderAdded
        OrderMoved 0/options:0/try+0:0
        ATTACH ALFA
        OrderStarted
        OrderProcessingStarted ALFA-0
        OrderProcessed Failed(returnCode=1)
        DETACH
        OrderStopped",
    );
}

#[test]
fn stop_on_failure_takes_precedence_over_the_join_of_a_fork_and_the_parent_waits() {
    let forked =
        fork(&[("a", FAIL), ("b", "")]).replacen("TYPE: Fork", "TYPE: Fork, joinIfFailed: true", 1);
    let mut world = World::with(&[], &format!("- {}\n", stopping(&forked)));
    world.start("F");
    assert_eq!(
        (world.state("F|a"), world.state("F")),
        ("Stopped", "Forked")
    );
    world
        .cancel("F|a", &CancellationMode::default())
        .expect("a stopped child can be cancelled");
    assert_eq!(
        world.state("F"),
        "Stopped",
        "the join failed inside the block"
    );
}

#[test]
fn an_order_is_fresh_until_its_first_job_starts_and_can_be_cancelled_as_fresh() {
    let mut world = World::with(&["ALFA"], &format!("- {}\n", job("ALFA")));
    world.keep_waiting("Q");
    world.start("Q");
    assert_eq!(world.state("Q"), "Fresh");
    assert_eq!(
        world.controller.state.obstacles(&"Q".into(), world.now),
        [engine::Obstacle::WaitingForProcess {
            since: Some(world.now),
        }]
    );
    world.cancel("Q", &CancellationMode::FreshOnly).unwrap();
    world.told(
        "Q",
        "OrderAdded
        ATTACH ALFA
        OrderCancellationMarked
        DETACH
        OrderCancelled",
    );
}

#[test]
fn a_predicate_that_fails_after_a_job_fails_the_order_at_the_job() {
    let bad = "{TYPE: If, ifThens: [{predicate: $nobody, then: {instructions: []}}]}";
    let plain = workflow("plain", &format!("- {}\n- {bad}\n", job("ALFA")));
    let caught = workflow(
        "caught",
        &format!("- {}\n- {bad}\n", try_(&job("ALFA"), "")),
    );
    let mut world = World::new(&["ALFA"], &[&plain, &caught]);
    world.add(r#"{"id":"P","workflowPath":"plain"}"#);
    world.told(
        "P",
        "OrderAdded
        ATTACH ALFA
        OrderStarted
        JOB ALFA
        OrderOutcomeAdded Disrupted(Other(No such named value: nobody))
        DETACH
        OrderFailed 0",
    );
    // The step to the If fails, which the order handles inside of the try block.
    world.add(r#"{"id":"C","workflowPath":"caught"}"#);
    assert!(
        world.story("C").contains("OrderCaught 0/catch+0:0"),
        "{}",
        world.story("C")
    );
}

#[test]
fn a_killed_job_runs_again_unless_it_must_not_or_is_not_wanted() {
    let once = job("ALFA").replacen("agentPath", "isNotRestartable: true, agentPath", 1);
    let once = workflow("once", &format!("- {once}\n"));
    let twice = workflow("twice", &format!("- {}\n", job("ALFA")));
    let killed = |path: &str| {
        let mut world = World::new(&["ALFA"], &[&once, &twice]);
        world.hold("K");
        world.add(&format!(r#"{{"id":"K","workflowPath":"{path}"}}"#));
        let mode = SuspensionMode {
            reset_state: false,
            kill: Some(Kill::default()),
        };
        world.suspend("K", &mode).unwrap();
        world.release("K");
        assert!(world.order("K").is_suspended);
        world
    };
    let resumed = |path: &str, as_succeeded, restart_killed_job| {
        let mut world = killed(path);
        let resumption = Resumption {
            as_succeeded,
            restart_killed_job,
            ..Resumption::default()
        };
        world.resume("K", &resumption).unwrap();
        (world.starts.len(), world.state("K"))
    };
    assert_eq!(resumed("twice", false, None), (2, "Finished"));
    assert_eq!(resumed("twice", true, None), (2, "Finished"));
    assert_eq!(resumed("twice", false, Some(true)), (2, "Finished"));
    assert_eq!(resumed("twice", false, Some(false)), (1, "Failed"));
    assert_eq!(resumed("twice", true, Some(false)), (1, "Finished"));
    assert_eq!(resumed("once", false, None), (1, "Failed"));
    assert_eq!(resumed("once", true, None), (1, "Finished"));

    // If the resumption changes the history, the new history determines how the job ended.
    let mut world = killed("twice");
    let position = world.order("K").position.clone();
    let outcome = Outcome::SUCCEEDED;
    world
        .resume(
            "K",
            &Resumption {
                history_operations: vec![HistoryOperation::Replace { position, outcome }],
                ..Resumption::default()
            },
        )
        .unwrap();
    assert_eq!(world.order("K").historic_outcomes.len(), 2);
}

#[test]
fn a_job_that_must_not_be_repeated_runs_again_if_its_process_never_began() {
    let once = job("ALFA").replacen("agentPath", "isNotRestartable: true, agentPath", 1);
    let mut world = World::with(&["ALFA"], &format!("- {once}\n"));
    let problem = Problem::new("SubagentShutDownBeforeProcessStart", "shut down");
    world.script("N", "0", [Outcome::process_lost(problem)]);
    world.start("N");
    assert_eq!((world.starts.len(), world.state("N")), (2, "Finished"));
}

#[test]
fn a_finish_with_a_failed_outcome_fails_the_child_where_it_stands() {
    let finish = "{TYPE: Finish, outcome: {TYPE: Failed, message: dry}}";
    let forked = fork(&[("a", &format!("{finish}, {FAIL}")), ("b", "")]);
    let mut world = World::with(&[], &format!("- {forked}\n"));
    world.start("F");
    world.told(
        "F|a",
        "OrderOutcomeAdded Failed(dry)
        OrderFailedInFork 0/fork+a:0",
    );
    assert_eq!(world.state("F"), "Failed");
    let joins = forked.replacen("TYPE: Fork", "TYPE: Fork, joinIfFailed: true", 1);
    let mut world = World::with(&[], &format!("- {joins}\n"));
    world.start("F");
    world.told(
        "F|a",
        "OrderOutcomeAdded Failed(dry)
        OrderMoved 0/fork+a:2",
    );
    assert_eq!(world.state("F"), "Failed");
}

#[test]
fn an_order_may_run_in_one_branch_of_a_fork_only() {
    let forked = fork(&[
        ("a", "{TYPE: Say, what: 1}, {TYPE: Say, what: 2}"),
        ("b", FAIL),
    ]);
    let mut world = World::with(&[], &format!("- {forked}\n- {FAIL}\n"));
    world.add(r#"{"id":"I","workflowPath":"w","innerBlock":[0,"fork+a"]}"#);
    world.told(
        "I",
        "OrderAdded
        OrderStarted
        OrderSaid 1
        OrderMoved 0/fork+a:1
        OrderSaid 2
        OrderMoved 0/fork+a:2
        OrderFinished",
    );
    world.add(r#"{"id":"J","workflowPath":"w","innerBlock":[0,"fork+b"]}"#);
    assert_eq!(world.state("J"), "Failed", "it is nobody's child");
    let refused = world.try_add(r#"{"id":"K","workflowPath":"w","innerBlock":[0,"fork+c"]}"#);
    assert!(refused.is_err_and(|problem| problem.is("UnknownPosition")));
}

#[test]
fn a_place_without_label_has_an_empty_one_and_there_are_no_tries_outside_of_a_try() {
    let said = |what: &str| {
        let mut world = World::with(&[], &format!("- {{TYPE: Say, what: \"{what}\"}}\n"));
        world.start("S");
        world.story("S")
    };
    assert!(said("$js7Label ++ '.'").contains("OrderSaid \".\""));
    assert!(said("label == \\\"\\\"").contains("OrderSaid true"));
    assert!(said("$js7MaxTries").contains("No such named value: js7MaxTries"));
    assert!(said("maxTries").contains("maxTries is not available here"));
    assert!(said("tryCount").contains("OrderSaid 0"));
}
