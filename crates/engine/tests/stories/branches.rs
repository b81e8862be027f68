//! If, `CaseWhen` and what may be decided before an order is started.

use crate::world::{START, World, job, returned, workflow};

#[test]
fn one_event_leads_over_nested_ifs_and_out_of_blocks_wi_05() {
    let plain = job("ALFA");
    let labelled = plain.replacen('{', "{label: J, ", 1);
    let inner = format!(
        "{{TYPE: If, ifThens: [{{predicate: '$SPEED > 3', then: {{instructions: [{labelled}]}}}}]}}"
    );
    let first = format!(
        "{{TYPE: If, ifThens: [{{predicate: \"$SIDE == 'port'\", then: {{instructions: [{inner}]}}}}], else: {{instructions: [{{TYPE: Fail}}]}}}}"
    );
    let second = format!(
        "{{TYPE: If, ifThens: [{{predicate: \"variable('returnCode', label=J) == 0\", then: {{instructions: [{plain}]}}}}], else: {{instructions: [{plain}]}}}}"
    );
    let mut world = World::with(&["ALFA"], &format!("- {first}\n- {second}\n- {plain}\n"));
    let rc1 = model::Outcome::Succeeded {
        named_values: returned(1).named_values().clone(),
    };
    world.script("I1", "0/then:0/then:0", [rc1]);
    for id in ["I0", "I1"] {
        world.add(&format!(
            r#"{{"id":"{id}","workflowPath":"w","arguments":{{"SIDE":"port","SPEED":4}}}}"#
        ));
    }
    let expected = |rc: i64, second: &str| {
        format!(
            "OrderAdded
            OrderMoved 0/then:0/then:0
            ATTACH ALFA
            OrderStarted
            OrderProcessingStarted ALFA-0
            OrderProcessed Succeeded(returnCode={rc})
            OrderMoved {second}
            JOB ALFA
            OrderMoved 2
            JOB ALFA
            OrderMoved 3
            DETACH
            OrderFinished"
        )
    };
    world.told("I0", &expected(0, "1/then:0"));
    world.told("I1", &expected(1, "1/else:0"));
}

#[test]
fn a_predicate_that_reads_clock_or_job_resource_waits_for_the_start_wi_06() {
    let say = |predicate: &str| {
        format!(
            "- {{TYPE: If, ifThens: [{{predicate: \"{predicate}\", then: {{instructions: [{{TYPE: Say, what: \"'yes'\"}}]}}}}], else: {{instructions: [{{TYPE: Say, what: \"'no'\"}}]}}}}\n"
        )
    };
    let argument = workflow("if-arg", &say("$flag"));
    let clock = workflow(
        "if-clock",
        &say("now(format='HH:mm', timezone='UTC') == '13:00'"),
    );
    let resource = format!(
        "{}jobResourcePaths: [RES]\n",
        workflow(
            "if-resource",
            &say("jobResourceVariable('RES', 'hm') == '13:00'")
        )
    );
    let mut world = World::new(
        &[],
        &[
            &argument,
            &clock,
            &resource,
            "{TYPE: JobResource, path: RES, variables: {hm: \"now(format='HH:mm', timezone='UTC')\"}}",
        ],
    );
    let due = START + 3_600_000;
    world.add(&format!(
        r#"{{"id":"A","workflowPath":"if-arg","arguments":{{"flag":true}},"scheduledFor":{due}}}"#
    ));
    world.add(&format!(
        r#"{{"id":"B","workflowPath":"if-clock","scheduledFor":{due}}}"#
    ));
    world.add(&format!(
        r#"{{"id":"C","workflowPath":"if-resource","scheduledFor":{due}}}"#
    ));
    world.sleep(3_599_999);
    for id in ["A", "B", "C"] {
        world.told(id, "OrderAdded");
        assert_eq!(
            (world.state(id), world.order(id).position.to_string()),
            ("Fresh", "0".to_owned())
        );
    }
    world.sleep(1);
    world.told("A", "OrderAdded\nOrderMoved 0/then:0\nOrderStarted\nOrderSaid \"yes\"\nOrderMoved 1\nOrderFinished");
    for id in ["B", "C"] {
        world.told(id, "OrderAdded\nOrderStarted\nOrderMoved 0/then:0\nOrderSaid \"yes\"\nOrderMoved 1\nOrderFinished");
    }
}

#[test]
fn the_first_true_predicate_of_several_wins_wi_08() {
    let say = "then: {instructions: [{TYPE: Say, what: '$n'}]}";
    let cases: Vec<_> = (1..=3)
        .map(|n| format!("{{predicate: '$n == {n}', {say}}}"))
        .collect();
    let cases = cases.join(", ");
    let multi = workflow(
        "multi",
        &format!(
            "- {{TYPE: If, ifThens: [{cases}], else: {{instructions: [{{TYPE: Say, what: '$n'}}]}}}}\n"
        ),
    );
    let when = workflow(
        "when",
        &format!(
            "- {{TYPE: CaseWhen, cases: [{cases}], else: {{instructions: [{{TYPE: Say, what: '$n'}}]}}}}\n"
        ),
    );
    let mut world = World::new(&[], &[&multi, &when]);
    for (path, prefix) in [("multi", "M"), ("when", "W")] {
        for (n, branch) in [(1, "then"), (2, "then+2"), (3, "then+3"), (9, "else")] {
            world.add(&format!(
                r#"{{"id":"{prefix}{n}","workflowPath":"{path}","arguments":{{"n":{n}}}}}"#
            ));
            world.told(
                &format!("{prefix}{n}"),
                &format!("OrderAdded\nOrderMoved 0/{branch}:0\nOrderStarted\nOrderSaid {n}\nOrderMoved 1\nOrderFinished"),
            );
        }
    }
}

#[test]
fn a_predicate_that_is_no_truth_fails_the_order() {
    let mut world = World::with(
        &[],
        "- {TYPE: If, ifThens: [{predicate: '1 + 1', then: {instructions: []}}]}\n",
    );
    world.start("P");
    let story = world.story("P");
    assert!(
        story.starts_with("OrderAdded\nOrderOutcomeAdded Disrupted(Other("),
        "{story}"
    );
    assert!(story.ends_with("OrderFailed 0"), "{story}");
    assert_eq!(world.state("P"), "FailedWhileFresh");
}

#[test]
fn a_try_catches_a_predicate_that_cannot_be_computed() {
    let mut world = World::with(
        &[],
        "- {TYPE: Try, try: {instructions: [{TYPE: If, ifThens: [{predicate: $nobody, then: {instructions: []}}]}]}, catch: {instructions: []}}\n",
    );
    world.start("P");
    world.told(
        "P",
        "OrderAdded
        OrderMoved 0/try+0:0
        OrderStarted
        OrderOutcomeAdded Disrupted(Other(No such named value: nobody))
        OrderCaught 0/catch+0:0
        OrderMoved 1
        OrderFinished",
    );
}
