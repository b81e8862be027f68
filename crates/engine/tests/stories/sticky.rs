//! `StickySubagent`: the tie to one Subagent comes with the block and goes with it, however the block is left.

use crate::world::{START, World, job, returned};
use model::{CancellationMode, Resumption};

fn sticky(inner: &str) -> String {
    format!(
        "{{TYPE: StickySubagent, agentPath: ALFA, subagentBundleIdExpr: \"'PAIR'\", subworkflow: {{instructions: [{inner}]}}}}"
    )
}

/// The Agent, the Subagent Cluster and the Subagent of each tie.
fn ties(world: &World, id: &str) -> Vec<String> {
    let ties = world.order(id).sticky_subagents.iter();
    ties.map(|tie| {
        let name = |name: Option<&str>| name.unwrap_or("-").to_owned();
        format!(
            "{} {} {}",
            tie.agent_path,
            name(tie.subagent_bundle_id.as_ref().map(model::BundleId::as_str)),
            name(
                tie.stuck_subagent_id
                    .as_ref()
                    .map(model::SubagentId::as_str)
            )
        )
    })
    .collect()
}

#[test]
fn s148_the_first_selection_is_kept_also_over_jobs_at_other_agents_wi_46() {
    let (alfa, bravo) = (job("ALFA"), job("BRAVO"));
    let block = sticky(&format!("{alfa}, {bravo}, {alfa}"));
    let mut world = World::with(&["ALFA", "BRAVO"], &format!("- {block}\n"));
    world.hold("ST");
    world.start("ST");
    assert_eq!(ties(&world, "ST"), ["ALFA PAIR ALFA-0"]);
    world.release("ST");
    world.told(
        "ST",
        "OrderAdded
        OrderStickySubagentEntered
        ATTACH ALFA
        OrderStarted
        JOB ALFA
        OrderMoved 0/stickySubagent:1
        DETACH
        ATTACH BRAVO
        JOB BRAVO
        OrderMoved 0/stickySubagent:2
        DETACH
        ATTACH ALFA
        JOB ALFA
        OrderMoved 0/stickySubagent:3
        OrderStickySubagentLeaved
        DETACH
        OrderFinished",
    );
    assert_eq!(ties(&world, "ST"), [""; 0]);
}

#[test]
fn a_name_that_is_told_by_the_clock_waits_for_the_start() {
    let block = "{TYPE: StickySubagent, agentPath: ALFA, subagentBundleIdExpr: \"now('HH', 'UTC')\", subworkflow: {instructions: []}}";
    let mut world = World::with(&[], &format!("- {block}\n"));
    let due = START + 3_600_000;
    world.add(&format!(
        r#"{{"id":"A","workflowPath":"w","scheduledFor":{due}}}"#
    ));
    world.told("A", "OrderAdded");
    world.sleep(3_600_000);
    world.told(
        "A",
        "OrderAdded
        OrderStarted
        OrderStickySubagentEntered
        OrderStickySubagentLeaved
        OrderFinished",
    );
}

#[test]
fn a_failure_that_is_caught_outside_ends_the_tie_and_one_inside_does_not() {
    let inside = sticky(&format!(
        "{{TYPE: Try, try: {{instructions: [{}]}}, catch: {{instructions: [{}]}}}}",
        job("ALFA"),
        job("ALFA")
    ));
    let block = format!(
        "- {{TYPE: Try, try: {{instructions: [{inside}]}}, catch: {{instructions: [{{TYPE: Say, what: \"'caught'\"}}]}}}}\n"
    );
    let mut world = World::with(&["ALFA"], &block);
    world.script("A", "0/try+0:0/stickySubagent:0/try+0:0", [returned(1)]);
    world.script("A", "0/try+0:0/stickySubagent:0/catch+0:0", [returned(2)]);
    world.start("A");
    world.told(
        "A",
        r#"OrderAdded
        OrderMoved 0/try+0:0
        OrderStickySubagentEntered
        OrderMoved 0/try+0:0/stickySubagent:0/try+0:0
        ATTACH ALFA
        OrderStarted
        OrderProcessingStarted ALFA-0
        OrderProcessed Failed(returnCode=1)
        OrderCaught 0/try+0:0/stickySubagent:0/catch+0:0
        OrderProcessingStarted ALFA-0
        OrderProcessed Failed(returnCode=2)
        OrderStickySubagentLeaved
        OrderCaught 0/catch+0:0
        OrderSaid "caught"
        OrderMoved 1
        DETACH
        OrderFinished"#,
    );
}

#[test]
fn a_failed_order_stands_before_the_block_and_enters_it_again() {
    let block = sticky(&job("ALFA"));
    let mut world = World::with(&["ALFA"], &format!("- {block}\n"));
    world.script("A", "0/stickySubagent:0", [returned(1)]);
    world.start("A");
    assert_eq!(world.state("A"), "Failed");
    assert_eq!(world.order("A").position.to_string(), "0");
    assert_eq!(ties(&world, "A"), [""; 0]);
    world.resume("A", &Resumption::default()).unwrap();
    world.told(
        "A",
        "OrderAdded
        OrderStickySubagentEntered
        ATTACH ALFA
        OrderStarted
        OrderProcessingStarted ALFA-0
        OrderProcessed Failed(returnCode=1)
        DETACH
        OrderStickySubagentLeaved
        OrderFailed 0
        OrderResumed
        OrderStickySubagentEntered
        ATTACH ALFA
        JOB ALFA
        OrderMoved 0/stickySubagent:1
        OrderStickySubagentLeaved
        DETACH
        OrderFinished",
    );
}

#[test]
fn a_cancelled_order_and_a_finished_one_leave_the_block() {
    let block = sticky(&format!("{}, {{TYPE: Finish}}", job("ALFA")));
    let mut world = World::with(&["ALFA"], &format!("- {block}\n"));
    world.hold("C");
    world.start("C");
    world.cancel("C", &CancellationMode::default()).unwrap();
    world.release("C");
    assert_eq!(world.state("C"), "Cancelled");
    assert!(
        world
            .story("C")
            .ends_with("OrderStickySubagentLeaved\nOrderCancelled"),
        "{}",
        world.story("C")
    );
    world.start("F");
    assert!(
        world
            .story("F")
            .ends_with("OrderStickySubagentLeaved\nOrderFinished"),
        "{}",
        world.story("F")
    );
}

#[test]
fn forked_children_inherit_the_tie_and_do_not_end_it() {
    let fork = format!(
        "{{TYPE: Fork, joinIfFailed: true, branches: [{{id: a, workflow: {{instructions: [{}]}}}}, {{id: b, workflow: {{instructions: [{{TYPE: Fail}}]}}}}]}}",
        job("ALFA")
    );
    let block = sticky(&format!("{}, {fork}", job("ALFA")));
    let mut world = World::with(&["ALFA"], &format!("- {block}\n"));
    world.hold("P|a");
    world.start("P");
    assert_eq!(ties(&world, "P|a"), ["ALFA PAIR ALFA-0"]);
    world.release("P|a");
    assert!(
        !world.story("P|b").contains("OrderStickySubagentLeaved"),
        "{}",
        world.story("P|b")
    );
    assert!(
        world
            .story("P")
            .ends_with("OrderStickySubagentLeaved\nOrderFailed 0"),
        "{}",
        world.story("P")
    );
}

#[test]
fn the_step_after_the_block_follows_also_inside_of_another_block() {
    let around = format!(
        "- {{TYPE: Try, try: {{instructions: [{}, {{TYPE: Say, what: '1'}}]}}, catch: {{instructions: []}}}}\n",
        sticky(&job("ALFA"))
    );
    let mut world = World::with(&["ALFA"], &around);
    world.start("O");
    world.told(
        "O",
        "OrderAdded
        OrderMoved 0/try+0:0
        OrderStickySubagentEntered
        ATTACH ALFA
        OrderStarted
        JOB ALFA
        OrderMoved 0/try+0:0/stickySubagent:1
        OrderStickySubagentLeaved
        OrderSaid 1
        OrderMoved 1
        DETACH
        OrderFinished",
    );
}

#[test]
fn a_failed_child_stands_before_the_block_in_its_branch() {
    let text = format!(
        "- {{TYPE: Fork, branches: [{{id: a, workflow: {{instructions: [{{TYPE: EmptyInstruction}}, {}]}}}}]}}\n",
        sticky("{TYPE: Fail}")
    );
    let mut world = World::with(&["ALFA"], &text);
    world.start("F");
    assert_eq!(world.state("F|a"), "Failed");
    assert_eq!(world.order("F|a").position.to_string(), "0/fork+a:1");
    assert_eq!(ties(&world, "F|a"), Vec::<String>::new());
}
