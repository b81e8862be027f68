//! Nothing that an order does grows without a bound: repeated tries, values, forks.

use crate::world::{World, job, returned, with_values, workflow};
use model::bounds::{ARGUMENTS_BYTES_MAX, NAME_BYTES_MAX, ORDER_BYTES_MAX, json_bytes};
use model::{OrderState, Outcome, Resumption, SuspensionMode};

fn endless(body: &str, more: &str) -> String {
    format!(
        "- {{TYPE: Try, try: {{instructions: [{body}]}}, catch: {{instructions: [{{TYPE: Retry}}]}}{more}}}\n"
    )
}

fn retries(world: &World, id: &str) -> usize {
    world.story(id).matches("OrderRetrying").count()
}

#[test]
fn a_block_that_is_repeated_without_a_delay_is_slowed_down_after_some_tries() {
    let mut world = World::with(&[], &endless("{TYPE: Fail}", ""));
    world.start("R");
    assert_eq!(world.state("R"), "DelayingRetry");
    assert_eq!(
        retries(&world, "R"),
        10,
        "nine at once, and the one that waits"
    );
    world.sleep(100);
    world.sleep(100);
    assert_eq!(retries(&world, "R"), 12);
    for _ in 0..100 {
        world.sleep(100);
    }
    let after_ten_seconds = retries(&world, "R");
    assert!(
        (90..=102).contains(&after_ten_seconds),
        "{after_ten_seconds}"
    );
    for _ in 0..20 {
        world.sleep(500);
    }
    let after_twenty = retries(&world, "R") - after_ten_seconds;
    assert!(
        (8..=20).contains(&after_twenty),
        "one each second: {after_twenty}"
    );
}

#[test]
fn a_block_that_is_entered_with_the_greatest_number_of_tries_is_repeated() {
    let mut world = World::with(&[], &endless("{TYPE: Fail}", ""));
    let position = format!("[0,\"catch+{}\",0]", u32::MAX);
    world.add(&format!(
        r#"{{"id":"R","workflowPath":"w","startPosition":{position}}}"#
    ));
    assert_eq!(world.state("R"), "DelayingRetry");
    world.sleep(10_000);
    assert_eq!(world.state("R"), "DelayingRetry");
    assert_eq!(retries(&world, "R"), 2);
}

#[test]
fn few_tries_without_a_delay_and_tries_with_a_delay_are_not_slowed_down() {
    let mut world = World::with(&[], &endless("{TYPE: Fail}", ", maxTries: 10"));
    world.start("R");
    assert_eq!(world.state("R"), "Failed");
    let mut world = World::with(&[], &endless("{TYPE: Fail}", ", retryDelays: [0.05]"));
    world.start("R");
    for _ in 0..150 {
        world.sleep(50);
    }
    assert_eq!(retries(&world, "R"), 151);
}

#[test]
fn the_tries_of_nested_blocks_count_together() {
    let inner = |body: &str| {
        format!(
            "{{TYPE: Try, try: {{instructions: [{body}]}}, catch: {{instructions: [{{TYPE: Retry}}]}}, maxTries: 5}}"
        )
    };
    let mut nested = "{TYPE: Fail}".to_owned();
    for _ in 0..8 {
        nested = inner(&nested);
    }
    let mut world = World::with(&[], &format!("- {nested}\n"));
    world.start("R");
    assert_eq!(
        world.state("R"),
        "DelayingRetry",
        "and not 390,625 tries at once"
    );
    assert!(retries(&world, "R") < 30);
}

#[test]
fn of_many_tries_the_first_and_the_last_are_kept_and_the_others_counted() {
    let mut world = World::with(
        &["ALFA"],
        &endless(&job("ALFA"), ", retryDelays: [1], maxTries: 60"),
    );
    for n in 0..50 {
        world.script("P", &format!("0/try+{n}:0"), [returned(1)]);
    }
    world.start("P");
    for n in 1..50 {
        world.sleep(1000);
        assert_eq!(world.state("P"), "DelayingRetry");
        assert!(world.order("P").historic_outcomes.len() <= 16, "try {n}");
    }
    let kept: Vec<_> = world
        .order("P")
        .historic_outcomes
        .iter()
        .filter(|entry| entry.outcome != Outcome::Caught)
        .map(|entry| entry.position.to_string())
        .collect();
    assert_eq!(
        kept,
        [
            "0/try+0:0",
            "0/try+1:0",
            "0/try+2:0",
            "0/try+46:0",
            "0/try+47:0",
            "0/try+48:0",
            "0/try+49:0"
        ]
    );
    let omitted: std::collections::BTreeMap<_, _> = world
        .order("P")
        .omitted_outcomes
        .iter()
        .map(|omitted| (omitted.position.to_string(), omitted.count))
        .collect();
    assert_eq!(
        omitted,
        [("0/catch:0".to_owned(), 43), ("0/try:0".to_owned(), 43)].into()
    );
    world.sleep(1000);
    assert_eq!(world.state("P"), "Finished", "the 51st try works");
}

#[test]
fn a_value_that_only_an_early_try_has_given_stays() {
    let said = "{TYPE: Say, what: '$early'}";
    let text = format!("{}- {said}\n", endless(&job("ALFA"), ", retryDelays: [1]"));
    let mut world = World::with(&["ALFA"], &text);
    for n in 0..20 {
        let outcome = if n == 7 {
            Outcome::Failed {
                message: None,
                named_values: [
                    ("returnCode".into(), 1.into()),
                    ("early".into(), "bird".into()),
                ]
                .into(),
                uncatchable: false,
            }
        } else {
            returned(1)
        };
        world.script("V", &format!("0/try+{n}:0"), [outcome]);
    }
    world.start("V");
    for _ in 0..21 {
        world.sleep(1000);
    }
    assert!(
        world.story("V").contains("OrderSaid \"bird\""),
        "{}",
        world.story("V")
    );
    assert_eq!(world.state("V"), "Finished");
}

#[test]
fn the_number_of_executions_counts_tries_that_are_no_longer_kept() {
    let counting = "- {TYPE: Try, retryDelays: [1], try: {instructions: [{TYPE: Execute.Named, jobName: J}, {TYPE: Fail}]}, catch: {instructions: [{TYPE: Retry}]}}\njobs:\n  J: {agentPath: ALFA, executable: {TYPE: ShellScriptExecutable, script: ':'}}\n";
    let mut world = World::with(&["ALFA"], counting);
    world.start("C");
    for _ in 0..30 {
        world.sleep(1000);
    }
    let state = &world.agents.values().next().expect("an Agent").state;
    let id = "C".into();
    let order = state.order(&id).expect("at its Agent");
    assert!(order.historic_outcomes.len() <= 24);
    let scope = state.scope(&id, world.now).expect("known");
    let position = "0/try+31:0".parse().expect("a position");
    assert_eq!(scope.at(&position).in_job().job_execution_count(), 32);
}

#[test]
fn an_order_whose_step_is_too_large_fails_alone() {
    let replacing = "- {TYPE: Say, what: 'replaceAll($a, \".\", $b)'}\n";
    let mut world = World::new(
        &[],
        &[
            &workflow("w", replacing),
            &workflow("v", "- {TYPE: Say, what: '1'}\n"),
        ],
    );
    // The text would have 16 MB, more than any text may have.
    let long = "x".repeat(4000);
    world.add(&format!(
        r#"{{"id":"G","workflowPath":"w","arguments":{{"a":"{long}","b":"{long}"}}}}"#
    ));
    assert_eq!(world.state("G"), "Failed");
    assert!(
        world.story("G").contains("longer than"),
        "{}",
        world.story("G")
    );
    world.add(r#"{"id":"V","workflowPath":"v"}"#);
    assert_eq!(world.state("V"), "Finished");

    // Each character takes six bytes in JSON.
    let mut world = World::with(&[], replacing);
    let (a, b) = ("x".repeat(1500), "\\u0001".repeat(1500));
    world.add(&format!(
        r#"{{"id":"E","workflowPath":"w","arguments":{{"a":"{a}","b":"{b}"}}}}"#
    ));
    assert_eq!(world.state("E"), "Failed");
    assert!(world.story("E").contains("ValueIsTooLarge"));
}

#[test]
fn a_long_message_is_cut_and_its_order_fails_alone() {
    let mut world = World::with(
        &[],
        "- {TYPE: Fail, message: 'replaceAll($a, \".\", $a)'}\n",
    );
    let a = "x".repeat(1500);
    world.add(&format!(
        r#"{{"id":"M","workflowPath":"w","arguments":{{"a":"{a}"}}}}"#
    ));
    assert_eq!(world.state("M"), "Failed");
    assert!(json_bytes(world.order("M")) < 100_000);
    assert!(world.story("M").contains("(cut: 2250000 bytes in all)"));
}

#[test]
fn an_order_that_has_become_too_large_is_no_longer_handed_over() {
    let steps = format!("- {}\n", job("ALFA")).repeat(16);
    let mut world = World::with(&["ALFA"], &steps);
    let value = "x".repeat(3 << 20);
    for n in 0..16 {
        world.script(
            "O",
            &n.to_string(),
            [with_values(&[(&format!("v{n}"), &value)])],
        );
    }
    world.start("O");
    assert_eq!(world.state("O"), "Failed");
    assert!(world.starts.len() < 16);
    assert!(json_bytes(world.order("O")) < ORDER_BYTES_MAX + (5 << 20));
    assert!(world.story("O").contains("ValueIsTooLarge"));
}

#[test]
fn the_children_of_a_fork_have_a_bound_together() {
    let branches: Vec<_> = (0..100)
        .map(|n| format!("{{id: b{n}, workflow: {{instructions: []}}}}"))
        .collect();
    let mut world = World::with(
        &[],
        &format!("- {{TYPE: Fork, branches: [{}]}}\n", branches.join(", ")),
    );
    let a = "x".repeat(3 << 20);
    world.add(&format!(
        r#"{{"id":"F","workflowPath":"w","arguments":{{"a":"{a}"}}}}"#
    ));
    assert_eq!(world.state("F"), "Failed");
    assert!(world.story("F").contains("ValueIsTooLarge"));
    world.add(r#"{"id":"G","workflowPath":"w"}"#);
    assert_eq!(world.order("G").state, OrderState::Finished);
}

#[test]
fn ids_and_arguments_have_a_bound_and_the_refusal_names_it() {
    let mut world = World::with(&[], "");
    let id = |length| "L".repeat(length);
    let added = |world: &mut World, id: &str, argument: &str| {
        world.try_add(&format!(
            r#"{{"id":"{id}","workflowPath":"w","arguments":{{"a":"{argument}"}}}}"#
        ))
    };
    added(&mut world, &id(NAME_BYTES_MAX), "").expect("just short enough");
    let refused = added(&mut world, &id(NAME_BYTES_MAX + 1), "").expect_err("too long");
    assert!(
        refused
            .message
            .contains("256 bytes, more than the 255 allowed"),
        "{refused}"
    );
    assert!(refused.message.len() < 200);
    let refused = added(&mut world, "A", &"x".repeat(ARGUMENTS_BYTES_MAX)).expect_err("too large");
    assert!(refused.is("ValueIsTooLarge"), "{refused}");
}

#[test]
fn a_default_that_grows_counts_as_an_argument() {
    let text = format!(
        "TYPE: Workflow\npath: w\norderPreparation: {{parameters: {{a: {{type: String, default: 'replaceAll(\"{0}\", \".\", \"{0}\")'}}, b: {{type: String, default: '$a ++ $js7OrderId'}}, c: {{type: String, default: '$b ++ \"c\"'}}, d: {{type: String, default: '$c'}}, e: {{type: String, default: '$c'}}, f: {{type: String, default: '$c'}}}}}}\ninstructions: []\n",
        "x".repeat(1600)
    );
    let mut world = World::new(&[], &[&text]);
    let refused = world
        .try_add(r#"{"id":"D","workflowPath":"w"}"#)
        .expect_err("too large");
    assert!(refused.is("ValueIsTooLarge"), "{refused}");
}

#[test]
fn the_tries_of_one_block_do_not_push_out_what_another_has_left() {
    let text = format!(
        "- {}\n{}{}",
        job("ALFA"),
        endless(&job("ALFA"), ", retryDelays: [1]"),
        endless(&job("ALFA"), ", retryDelays: [1]")
    );
    let mut world = World::with(&["ALFA"], &text);
    for block in [1, 2] {
        for n in 0..20 {
            world.script("T", &format!("{block}/try+{n}:0"), [returned(1)]);
        }
    }
    world.start("T");
    for _ in 0..40 {
        world.sleep(1000);
    }
    assert_eq!(world.state("T"), "Finished");
    let jobs: Vec<_> = world
        .order("T")
        .historic_outcomes
        .iter()
        .filter(|entry| entry.outcome != Outcome::Caught)
        .map(|entry| entry.position.to_string())
        .collect();
    let of_block = |block: u32| [0, 1, 2, 16, 17, 18, 19, 20].map(|n| format!("{block}/try+{n}:0"));
    let expected: Vec<_> = ["0".to_owned()]
        .into_iter()
        .chain(of_block(1))
        .chain(of_block(2))
        .collect();
    assert_eq!(jobs, expected);
}

#[test]
fn an_order_that_is_resumed_before_its_tries_counts_them_anew() {
    let mut world = World::with(&["ALFA"], &endless(&job("ALFA"), ", retryDelays: [1]"));
    for n in 0..20 {
        world.script("T", &format!("0/try+{n}:0"), [returned(1)]);
    }
    world.start("T");
    for _ in 0..18 {
        world.sleep(1000);
    }
    assert!(!world.order("T").omitted_outcomes.is_empty());
    world
        .suspend("T", &SuspensionMode::default())
        .expect("it waits");
    world.sleep(1000);
    assert!(world.order("T").is_suspended);
    let again = Resumption {
        position: Some("0/try+0:0".parse().expect("a position")),
        ..Resumption::default()
    };
    world.keep_waiting("T");
    world.resume("T", &again).expect("it is suspended");
    let order = world.order("T");
    assert_eq!(order.historic_outcomes.len(), 0);
    assert_eq!(order.omitted_outcomes.len(), 0);
    let scope = world
        .controller
        .state
        .scope(&"T".into(), world.now)
        .expect("it is there");
    assert_eq!(scope.in_job().job_execution_count(), 1);
}

#[test]
fn an_order_has_at_most_so_many_stop_positions() {
    let mut world = World::with(&[], "- {TYPE: Stop}\n");
    for (count, is_accepted) in [(1000, true), (1001, false), (1002, false)] {
        let stops = vec!["[0]"; count].join(",");
        let added = world.try_add(&format!(
            r#"{{"id":"S{count}","workflowPath":"w","stopPositions":[{stops}]}}"#
        ));
        assert_eq!(added.is_ok(), is_accepted, "{count}");
        if let Err(refused) = added {
            assert!(refused.is("ValueIsTooLarge"), "{refused}");
            assert!(refused.message.contains(&count.to_string()), "{refused}");
        }
    }
}

#[test]
fn the_arguments_of_an_order_may_have_just_so_many_bytes() {
    let mut world = World::with(&[], "");
    let around = r#"{"a":""}"#.len();
    for (id, bytes, is_accepted) in [
        ("A", ARGUMENTS_BYTES_MAX, true),
        ("B", ARGUMENTS_BYTES_MAX + 1, false),
    ] {
        let argument = "x".repeat(bytes - around);
        let added = world.try_add(&format!(
            r#"{{"id":"{id}","workflowPath":"w","arguments":{{"a":"{argument}"}}}}"#
        ));
        assert_eq!(added.is_ok(), is_accepted, "{id}");
    }
}

#[test]
fn the_first_try_of_an_outer_block_does_not_slow_down_the_inner_one() {
    let inner = "{TYPE: Try, maxTries: 9, try: {instructions: [{TYPE: Fail}]}, catch: {instructions: [{TYPE: Retry}]}}";
    let mut world = World::with(
        &[],
        &format!(
            "- {{TYPE: Try, try: {{instructions: [{inner}]}}, catch: {{instructions: []}}}}\n"
        ),
    );
    world.start("R");
    assert_eq!((retries(&world, "R"), world.state("R")), (8, "Finished"));
}
