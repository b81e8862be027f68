//! Subagent Clusters: who of several Subagents gets a job, and what a job waits for that nobody can take.

use super::{World, agent};
use model::{AgentCommand, Event, Metering, Order, OrderEvent, Outcome};

/// A Subagent Cluster `id` with members and their priorities.
fn cluster(world: &mut World, id: &str, members: &[(&str, &str)]) {
    let priorities: serde_json::Map<String, serde_json::Value> = members
        .iter()
        .map(|(member, priority)| ((*member).to_owned(), (*priority).into()))
        .collect();
    let item =
        serde_json::json!({"TYPE": "SubagentBundle", "id": id, "subagentToPriority": priorities});
    world.item(&format!("SubagentBundle:{id}"), &item.to_string());
}

/// Room for many processes, so that only the choice of the Subagent counts.
fn roomy() -> World {
    let mut world = agent();
    world.item(
        "Agent:ALFA",
        r#"{"TYPE":"AgentRef","path":"ALFA","directors":["ALFA-0"]}"#,
    );
    world
}

/// The workflow `path` with one job, which may run often at once.
fn workflow(world: &mut World, path: &str, bundle: &str) {
    let text = format!(
        r#"{{"TYPE":"Workflow","path":"{path}","versionId":"1","instructions":[{{"TYPE":"Execute.Anonymous","job":{{"agentPath":"ALFA","subagentBundleIdExpr":"'{bundle}'","parallelism":1000,"executable":{{"TYPE":"ShellScriptExecutable","script":":"}}}}}}]}}"#
    );
    world.item(&format!("Workflow:{path}~1"), &text);
}

/// Attaches an order of the workflow `path`.
fn order(world: &mut World, id: &str, path: &str) {
    attach(world, id, path, "");
}

fn attach(world: &mut World, id: &str, path: &str, extra: &str) {
    let text = format!(
        r#"{{"TYPE":"Order","id":"{id}","workflowId":{{"path":"{path}","versionId":"1"}},"position":[0],"state":{{"TYPE":"Fresh"}},"attachedState":{{"TYPE":"Attaching","agentPath":"ALFA"}}{extra}}}"#
    );
    let order: Order = serde_json::from_str(&text).unwrap();
    world.ask(AgentCommand::AttachOrder {
        order: Box::new(order),
    });
}

fn lose_connection(world: &mut World, id: &str) {
    let problem = model::Problem::new("SubagentUnreachable", "connection refused");
    let event = world.state.on_subagent_failed(&id.into(), problem);
    world.record(event);
    world.settle();
}

fn measure(world: &mut World, id: &str, cpu_load: Option<f64>, free: u64) {
    let metering = Metering {
        cpu_load,
        committed_virtual_memory_size: 1 << 30,
        free_memory_size: free,
        total_memory_size: 1 << 34,
    };
    world.state.on_metering(&id.into(), metering);
    world.settle();
}

/// The last start: `order@subagent`.
fn last(world: &World) -> String {
    world.starts().last().cloned().unwrap_or_default()
}

/// The last start's Subagent Cluster, and whether it sticks.
fn last_choice(world: &World) -> (Option<String>, bool) {
    let mut events = world.events.iter().rev();
    let found = events.find_map(|event| match event {
        Event::Order(
            _,
            OrderEvent::OrderProcessingStarted {
                subagent_bundle_id,
                stick,
                ..
            },
        ) => Some((subagent_bundle_id.as_ref().map(ToString::to_string), *stick)),
        _ => None,
    });
    found.unwrap_or_default()
}

#[test]
fn s145_a_cluster_has_one_some_or_all_subagents() {
    for (members, expected) in [
        (&["S-A"][..], ["1@S-A", "2@S-A", "3@S-A"]),
        (&["S-A", "S-B"][..], ["1@S-A", "2@S-B", "3@S-A"]),
        (
            &["ALFA-0", "S-A", "S-B"][..],
            ["1@ALFA-0", "2@S-A", "3@S-B"],
        ),
    ] {
        let mut world = roomy();
        let members: Vec<_> = members.iter().map(|member| (*member, "1")).collect();
        cluster(&mut world, "B", &members);
        workflow(&mut world, "w", "B");
        for id in ["1", "2", "3"] {
            order(&mut world, id, "w");
        }
        assert_eq!(world.starts(), expected, "S145: {members:?}");
    }
}

#[test]
fn s146_fixed_priority_moves_on_only_while_the_first_is_away() {
    let mut world = roomy();
    let members = [("ALFA-0", "1"), ("S-A", "3"), ("S-B", "2")];
    cluster(&mut world, "B", &members);
    workflow(&mut world, "w", "B");
    order(&mut world, "1", "w");
    order(&mut world, "2", "w");
    lose_connection(&mut world, "S-A");
    order(&mut world, "3", "w");
    world.subagent("S-B", true);
    order(&mut world, "4", "w");
    world.couple("S-A");
    order(&mut world, "5", "w");
    assert_eq!(
        world.starts(),
        ["1@S-A", "2@S-A", "3@S-B", "4@ALFA-0", "5@S-A"]
    );
}

#[test]
fn s146_a_group_of_equals_is_in_turn_and_the_next_group_waits_until_all_of_it_are_away() {
    let mut world = roomy();
    let members = [("ALFA-0", "1"), ("S-A", "2"), ("S-B", "2")];
    cluster(&mut world, "B", &members);
    workflow(&mut world, "w", "B");
    for id in ["1", "2", "3"] {
        order(&mut world, id, "w");
    }
    lose_connection(&mut world, "S-A");
    order(&mut world, "4", "w");
    lose_connection(&mut world, "S-B");
    order(&mut world, "5", "w");
    assert_eq!(
        world.starts(),
        ["1@S-A", "2@S-B", "3@S-A", "4@S-B", "5@ALFA-0"]
    );
}

#[test]
fn s147_overlapping_clusters_have_their_turns_each() {
    let mut world = roomy();
    cluster(&mut world, "AB", &[("S-A", "1"), ("S-B", "1")]);
    let all = [("ALFA-0", "1"), ("S-A", "1"), ("S-B", "1")];
    cluster(&mut world, "ALL", &all);
    workflow(&mut world, "ab", "AB");
    workflow(&mut world, "all", "ALL");
    for (id, path) in [
        ("1", "ab"),
        ("2", "all"),
        ("3", "ab"),
        ("4", "all"),
        ("5", "ab"),
    ] {
        order(&mut world, id, path);
    }
    assert_eq!(
        world.starts(),
        ["1@S-A", "2@ALFA-0", "3@S-B", "4@S-A", "5@S-A"]
    );
}

#[test]
fn the_least_loaded_subagent_gets_the_job() {
    let mut world = roomy();
    let priority = "1 - $js7CpuLoad";
    let members = [("ALFA-0", priority), ("S-A", priority), ("S-B", priority)];
    cluster(&mut world, "B", &members);
    workflow(&mut world, "w", "B");
    order(&mut world, "1", "w");
    assert!(world.starts().is_empty(), "nobody has been measured");
    assert_eq!(world.state.waiting(), 1);
    measure(&mut world, "S-A", None, 1 << 30);
    assert!(world.starts().is_empty(), "the first look shows no load");
    measure(&mut world, "S-A", Some(0.5), 1 << 30);
    assert_eq!(world.starts(), ["1@S-A"], "a measurement wakes the job");
    measure(&mut world, "S-B", Some(0.25), 1 << 30);
    measure(&mut world, "ALFA-0", Some(0.75), 1 << 30);
    order(&mut world, "2", "w");
    assert_eq!(last(&world), "2@S-B");
    measure(&mut world, "S-B", Some(1.0), 1 << 30);
    order(&mut world, "3", "w");
    assert_eq!(last(&world), "3@S-A");
    assert!(world.state.wants_metering());
}

#[test]
fn what_was_measured_before_a_connection_broke_does_not_count() {
    let mut world = roomy();
    cluster(&mut world, "B", &[("S-A", "$js7FreeMemorySize")]);
    workflow(&mut world, "w", "B");
    measure(&mut world, "S-A", None, 1 << 30);
    lose_connection(&mut world, "S-A");
    measure(&mut world, "S-A", None, 1 << 30);
    world.couple("S-A");
    order(&mut world, "1", "w");
    assert!(world.starts().is_empty());
    measure(&mut world, "S-A", None, 1 << 30);
    assert_eq!(world.starts(), ["1@S-A"]);
}

#[test]
fn a_missing_or_failing_priority_leaves_the_member_out() {
    let mut world = roomy();
    let full = "if $js7FreeMemorySize < 1000 then missing else $js7FreeMemorySize";
    let members = [("ALFA-0", "1 / 0"), ("S-A", full), ("S-B", "$unknown")];
    cluster(&mut world, "B", &members);
    workflow(&mut world, "w", "B");
    measure(&mut world, "S-A", None, 999);
    order(&mut world, "1", "w");
    assert!(world.starts().is_empty());
    measure(&mut world, "S-A", None, 1000);
    assert_eq!(world.starts(), ["1@S-A"]);
}

#[test]
fn a_priority_counts_all_processes_of_its_subagent() {
    let mut world = roomy();
    let free = "if $js7SubagentProcessCount >= 2 then missing else 0 - $js7SubagentProcessCount";
    cluster(&mut world, "B", &[("S-A", free), ("S-B", free)]);
    workflow(&mut world, "w", "B");
    workflow(&mut world, "named", "S-A");
    order(&mut world, "0", "named");
    for id in ["1", "2", "3", "4"] {
        order(&mut world, id, "w");
    }
    assert_eq!(world.starts(), ["0@S-A", "1@S-B", "2@S-A", "3@S-B"]);
    assert_eq!(world.state.waiting(), 1, "both have two processes");
    world.end("0", "S-A", 1, Outcome::SUCCEEDED);
    assert_eq!(last(&world), "4@S-A", "a process that ends wakes the job");
    order(&mut world, "5", "w");
    assert_eq!(last(&world), "4@S-A", "again both have two processes");
    world.end("2", "S-A", 2, Outcome::SUCCEEDED);
    world.end("4", "S-A", 3, Outcome::SUCCEEDED);
    order(&mut world, "6", "w");
    assert_eq!(world.starts()[5..], ["5@S-A", "6@S-A"]);
}

#[test]
fn js7_cluster_process_count_is_of_one_cluster_and_not_of_all() {
    let mut world = roomy();
    let at_most_two = "if $js7ClusterProcessCount >= 2 then missing else 1";
    let members = [("S-A", at_most_two), ("S-B", at_most_two)];
    cluster(&mut world, "B", &members);
    cluster(&mut world, "OTHER", &[("S-A", "1"), ("S-B", "1")]);
    workflow(&mut world, "w", "B");
    workflow(&mut world, "other", "OTHER");
    for id in ["o1", "o2", "o3"] {
        order(&mut world, id, "other");
    }
    for id in ["1", "2", "3"] {
        order(&mut world, id, "w");
    }
    let starts = world.starts();
    let of_b = starts.iter().filter(|start| !start.starts_with('o'));
    assert_eq!(of_b.count(), 2, "three of the other cluster do not count");
    let mut after = world.restarted();
    for id in ["S-A", "S-B"] {
        after.couple(id);
    }
    assert!(after.starts().is_empty(), "the same after a restart");
    after.end("1", "S-A", 1, Outcome::SUCCEEDED);
    assert_eq!(after.starts().len(), 1);
}

#[test]
fn js7_cluster_subagent_process_count_is_of_one_cluster_at_one_subagent() {
    let mut world = roomy();
    let one_each = "if $js7ClusterSubagentProcessCount >= 1 then missing else 1";
    cluster(&mut world, "B", &[("S-A", one_each), ("S-B", one_each)]);
    cluster(&mut world, "OTHER", &[("S-A", "1"), ("S-B", "1")]);
    workflow(&mut world, "w", "B");
    workflow(&mut world, "other", "OTHER");
    order(&mut world, "o", "other");
    for id in ["1", "2", "3"] {
        order(&mut world, id, "w");
    }
    assert_eq!(world.starts(), ["o@S-A", "1@S-A", "2@S-B"]);
}

/// An order in the block of a `StickySubagent`.
const TIE: &str = r#","stickySubagents":[{"agentPath":"ALFA","subagentBundleId":"B"}]"#;

/// Three jobs in a block; the second one names what `second` says.
fn block(world: &mut World, second: &str) {
    let job = |extra: &str| {
        format!(
            r#"{{"TYPE":"Execute.Anonymous","job":{{"agentPath":"ALFA",{extra}"executable":{{"TYPE":"ShellScriptExecutable","script":":"}}}}}}"#
        )
    };
    let text = format!(
        r#"{{"TYPE":"Workflow","path":"s","versionId":"1","instructions":[{},{},{}]}}"#,
        job(""),
        job(second),
        job("")
    );
    world.item("Workflow:s~1", &text);
}

#[test]
fn an_order_keeps_to_its_first_subagent_also_over_a_restart_of_the_director() {
    let mut world = roomy();
    cluster(&mut world, "B", &[("S-A", "1"), ("S-B", "1")]);
    block(&mut world, "");
    workflow(&mut world, "w", "B");
    attach(&mut world, "ST", "s", TIE);
    assert_eq!(last(&world), "ST@S-A");
    assert_eq!(last_choice(&world), (Some("B".to_owned()), true));
    // It is hidden from selection, but not from those who keep to it.
    world.subagent("S-A", true);
    order(&mut world, "x", "w");
    assert_eq!(last(&world), "x@S-B");
    world.end("ST", "S-A", 1, Outcome::SUCCEEDED);
    assert_eq!(last(&world), "ST@S-A");
    assert_eq!(last_choice(&world), (None, false));
    let mut after = world.restarted();
    after.couple("S-B");
    after.couple("S-A");
    after.end("ST", "S-A", 2, Outcome::SUCCEEDED);
    assert_eq!(last(&after), "ST@S-A");
}

#[test]
fn a_tied_order_waits_for_its_subagent_although_others_are_there() {
    let mut world = roomy();
    cluster(&mut world, "B", &[("S-A", "1"), ("S-B", "1")]);
    block(&mut world, "");
    attach(&mut world, "ST", "s", TIE);
    lose_connection(&mut world, "S-A");
    world.end("ST", "S-A", 1, Outcome::SUCCEEDED);
    assert_eq!(world.starts(), ["ST@S-A"]);
    assert_eq!(world.state.waiting(), 1);
    world.couple("S-A");
    assert_eq!(world.starts(), ["ST@S-A", "ST@S-A"]);
}

#[test]
fn a_job_that_names_another_cluster_goes_its_own_way_and_does_not_change_the_tie() {
    let mut world = roomy();
    cluster(&mut world, "B", &[("S-A", "1")]);
    cluster(&mut world, "SOLO", &[("S-B", "1")]);
    block(&mut world, r#""subagentBundleIdExpr":"'SOLO'","#);
    attach(&mut world, "ST", "s", TIE);
    world.end("ST", "S-A", 1, Outcome::SUCCEEDED);
    assert_eq!(last(&world), "ST@S-B");
    assert_eq!(last_choice(&world), (Some("SOLO".to_owned()), false));
    world.end("ST", "S-B", 1, Outcome::SUCCEEDED);
    assert_eq!(last(&world), "ST@S-A");
}

#[test]
fn an_order_whose_subagent_has_been_removed_fails_and_says_so() {
    let mut world = roomy();
    cluster(&mut world, "B", &[("S-A", "1"), ("S-B", "1")]);
    block(&mut world, "");
    attach(&mut world, "ST", "s", TIE);
    lose_connection(&mut world, "S-A");
    let key = serde_json::from_value("Subagent:S-A".into()).unwrap();
    world.ask(AgentCommand::DetachItem { key });
    world.end("ST", "S-A", 1, Outcome::SUCCEEDED);
    assert!(!world.state.subagents().contains_key("S-A"));
    let told = world.events.iter().find_map(|event| match event {
        Event::Order(_, OrderEvent::OrderOutcomeAdded { outcome }) => Some(outcome.to_string()),
        _ => None,
    });
    let told = told.unwrap_or_default();
    assert!(
        told.contains("keeps to Subagent:S-A, which has been removed"),
        "{told}"
    );
}

/// The workflow `w` whose orders say themselves where their job is to run.
fn choosy() -> World {
    let mut world = roomy();
    cluster(&mut world, "NOBODY", &[]);
    let text = r#"{"TYPE":"Workflow","path":"w","versionId":"1","instructions":[{"TYPE":"Execute.Anonymous","job":{"agentPath":"ALFA","subagentBundleIdExpr":"$where","parallelism":2,"executable":{"TYPE":"ShellScriptExecutable","script":":"}}}]}"#;
    world.item("Workflow:w~1", text);
    world
}

fn order_at(world: &mut World, id: &str, place: &str) {
    attach(
        world,
        id,
        "w",
        &format!(r#","arguments":{{"where":"{place}"}}"#),
    );
}

#[test]
fn an_order_that_nobody_can_take_holds_up_only_those_that_wish_the_same() {
    let mut world = choosy();
    order_at(&mut world, "1", "NOBODY");
    order_at(&mut world, "2", "S-A");
    order_at(&mut world, "3", "NOBODY");
    order_at(&mut world, "4", "S-B");
    order_at(&mut world, "5", "S-A");
    assert_eq!(world.starts(), ["2@S-A", "4@S-B"], "the job's limit is two");
    world.end("2", "S-A", 1, Outcome::SUCCEEDED);
    assert_eq!(last(&world), "5@S-A");
    world.end("4", "S-B", 1, Outcome::SUCCEEDED);
    assert_eq!(world.starts().len(), 3);

    // Somebody is there now: in the order in which they came.
    cluster(&mut world, "NOBODY", &[("S-B", "1")]);
    assert_eq!(last(&world), "1@S-B");
    world.end("5", "S-A", 2, Outcome::SUCCEEDED);
    assert_eq!(last(&world), "3@S-B");
}

#[test]
fn who_stands_behind_an_order_that_leaves_has_its_chance() {
    let mut world = choosy();
    for id in ["1", "2", "3"] {
        order_at(&mut world, id, "NOBODY");
    }
    world.ask(AgentCommand::MarkOrder {
        order_id: "1".into(),
        mark: model::Mark::Cancelling {
            mode: model::CancellationMode::FreshOrStarted { kill: None },
        },
    });
    lose_connection(&mut world, "S-A");
    assert_eq!(world.starts(), Vec::<String>::new());
    cluster(&mut world, "NOBODY", &[("S-B", "1")]);
    assert_eq!(world.starts(), ["2@S-B", "3@S-B"]);
}

#[test]
fn a_job_that_names_a_subagent_waits_while_that_is_away() {
    let mut world = roomy();
    workflow(&mut world, "w", "S-A");
    lose_connection(&mut world, "S-A");
    order(&mut world, "1", "w");
    assert!(world.starts().is_empty());
    assert_eq!(world.state.waiting(), 1);
    world.couple("S-A");
    assert_eq!(world.starts(), ["1@S-A"]);
}

#[test]
fn every_measured_value_can_be_a_priority() {
    // Each value is greater at the Subagent that is to get the job, and it alone.
    let values = |chosen: f64| Metering {
        cpu_load: Some(chosen),
        committed_virtual_memory_size: 1 << 30,
        free_memory_size: 1 << 30,
        total_memory_size: 1 << 30,
    };
    let more = 1 << 31;
    for (name, greater) in [
        ("js7CpuLoad", values(0.5)),
        (
            "js7CommittedVirtualMemorySize",
            Metering {
                committed_virtual_memory_size: more,
                ..values(0.25)
            },
        ),
        (
            "js7FreeMemorySize",
            Metering {
                free_memory_size: more,
                ..values(0.25)
            },
        ),
        (
            "js7TotalMemorySize",
            Metering {
                total_memory_size: more,
                ..values(0.25)
            },
        ),
    ] {
        let mut world = roomy();
        let priority = format!("${name}");
        cluster(&mut world, "B", &[("S-A", &priority), ("S-B", &priority)]);
        workflow(&mut world, "w", "B");
        world.state.on_metering(&"S-A".into(), values(0.25));
        world.state.on_metering(&"S-B".into(), greater);
        order(&mut world, "1", "w");
        order(&mut world, "2", "w");
        assert_eq!(world.starts(), ["1@S-B", "2@S-B"], "{name}");
    }
}

#[test]
fn nobody_is_measured_while_all_priorities_are_constant() {
    let mut world = roomy();
    assert!(!world.state.wants_metering());
    cluster(&mut world, "B", &[("S-A", "1"), ("S-B", "2 * 3")]);
    assert!(!world.state.wants_metering());
    let members = [("S-A", "1"), ("S-B", "$js7CpuLoad")];
    cluster(&mut world, "C", &members);
    assert!(world.state.wants_metering());
}

#[test]
fn a_tied_job_counts_for_the_cluster_of_its_tie_and_one_that_goes_its_own_way_does_not() {
    let mut world = roomy();
    let only_one = "if $js7ClusterProcessCount >= 1 then missing else 1";
    cluster(&mut world, "B", &[("S-A", only_one)]);
    block(&mut world, r#""subagentBundleIdExpr":"'S-B'","#);
    workflow(&mut world, "w", "B");
    attach(&mut world, "ST", "s", TIE);
    order(&mut world, "1", "w");
    assert_eq!(
        world.starts(),
        ["ST@S-A"],
        "its first job is by the cluster"
    );
    world.end("ST", "S-A", 1, Outcome::SUCCEEDED);
    assert_eq!(world.starts(), ["ST@S-A", "1@S-A", "ST@S-B"]);
    order(&mut world, "2", "w");
    world.end("1", "S-A", 2, Outcome::SUCCEEDED);
    assert_eq!(last(&world), "2@S-A", "the named one does not count");
    world.end("2", "S-A", 3, Outcome::SUCCEEDED);
    world.end("ST", "S-B", 1, Outcome::SUCCEEDED);
    assert_eq!(last(&world), "ST@S-A");
    order(&mut world, "3", "w");
    assert_eq!(last(&world), "ST@S-A", "the tied one counts");
    assert_eq!(world.state.waiting(), 1);
}
