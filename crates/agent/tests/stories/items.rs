//! What the Controller hands over and takes back, and what the Subagents get of it.

use super::{NOW, World, agent};
use agent::State;
use model::{AgentCommand, AgentPath, Event, EventId, ItemKey, OrderEvent, RunId, UserId};
use std::sync::Arc;

fn key(key: &str) -> ItemKey {
    serde_json::from_value(key.into()).unwrap()
}

fn detach(world: &mut World, of: &str) {
    world.ask(AgentCommand::DetachItem { key: key(of) });
}

/// The failures of jobs that were not started.
fn failures(world: &World) -> Vec<String> {
    let failure = |event: &Event| match event {
        Event::Order(_, OrderEvent::OrderOutcomeAdded { outcome }) => Some(outcome.to_string()),
        _ => None,
    };
    world.events.iter().filter_map(failure).collect()
}

#[test]
fn a_subagent_gets_the_job_resources_of_a_job_before_its_workflow_and_nothing_else() {
    let mut world = agent();
    for name in ["USED", "UNUSED"] {
        let text = format!(r#"{{"TYPE":"JobResource","path":"{name}","variables":{{"a":"1"}}}}"#);
        world.item(&format!("JobResource:{name}"), &text);
    }
    world.item(
        "SubagentBundle:B",
        r#"{"TYPE":"SubagentBundle","id":"B","subagentToPriority":{"S-A":"1"}}"#,
    );
    world.workflow(r#""jobResourcePaths":["USED"],"subagentBundleIdExpr":"'B'","#);
    world.order("1", 0);
    let order = world.state.engine.order(&"1".into()).unwrap();
    let items = world.state.items_for_job(order);
    let keys: Vec<String> = items.map(|(key, ..)| key.to_string()).collect();
    assert_eq!(keys, ["JobResource:USED", "Workflow:w~1"]);
}

#[test]
fn a_job_resource_that_was_taken_back_has_no_values_any_more() {
    let mut world = agent();
    let resource = r#"{"TYPE":"JobResource","path":"R","variables":{"where":"'S-B'"}}"#;
    world.item("JobResource:R", resource);
    world.workflow(r#""parallelism":9,"subagentBundleIdExpr":"JobResource:R:where","#);
    world.order("1", 0);
    assert_eq!(world.starts(), ["1@S-B"]);
    detach(&mut world, "JobResource:R");
    world.order("2", 0);
    assert_eq!(world.starts(), ["1@S-B"]);
    let failures = failures(&world);
    assert!(failures[0].contains("JobResource:R"), "{failures:?}");
}

#[test]
fn a_subagent_cluster_that_was_taken_back_takes_no_jobs_and_those_that_wait_for_it_fail() {
    let mut world = agent();
    world.item(
        "SubagentBundle:B",
        r#"{"TYPE":"SubagentBundle","id":"B","subagentToPriority":{}}"#,
    );
    world.workflow(r#""subagentBundleIdExpr":"'B'","#);
    world.order("1", 0);
    assert_eq!(world.state.waiting(), 1);
    detach(&mut world, "SubagentBundle:B");
    assert_eq!(world.state.waiting(), 0);
    let failures = failures(&world);
    assert!(failures[0].contains("SubagentBundle:B"), "{failures:?}");
}

#[test]
fn an_agent_whose_item_was_taken_back_starts_no_more_jobs() {
    let mut world = agent();
    world.workflow(r#""parallelism":9,"#);
    detach(&mut world, "Agent:ALFA");
    world.order("1", 0);
    assert!(world.starts().is_empty());
    assert_eq!(world.state.waiting(), 1);
    assert_eq!(
        world.state.directors(),
        ["ALFA-0".into()],
        "its Directors are those that it was dedicated with"
    );
}

#[test]
fn an_item_that_was_taken_back_is_answered_as_gone_without_another_event() {
    let mut world = agent();
    world.workflow("");
    detach(&mut world, "Workflow:w~1");
    let events = world.events.len();
    detach(&mut world, "Workflow:w~1");
    assert_eq!(world.events.len(), events);
    assert!(
        !world
            .restarted()
            .state
            .snapshot()
            .any(|line| line.contains("Workflow:w~1"))
    );
}

#[test]
fn an_agent_knows_whose_it_is_from_its_first_dedication_and_notes_new_directors() {
    let nobodys = State::new(Arc::default());
    assert_eq!(nobodys.meta(), None);
    let mut world = agent();
    let dedicate = |directors: &[&str]| AgentCommand::DedicateAgentDirector {
        agent_path: AgentPath::new("ALFA"),
        directors: directors.iter().map(|id| (*id).into()).collect(),
        controller_id: "C".into(),
        controller_run_id: RunId::new("c-1"),
        from: None,
    };
    let events = world.events.len();
    world.ask(dedicate(&["ALFA-0"]));
    assert_eq!(world.events.len(), events, "repeated");
    world.ask(dedicate(&["ALFA-0", "ALFA-1"]));
    assert_eq!(world.events.len(), events + 1);
    for state in [&world.state, &world.restarted().state] {
        let meta = state.meta().unwrap();
        assert_eq!(meta.agent_path.as_str(), "ALFA");
        assert_eq!(meta.agent_run_id, RunId::new("a-1"));
        assert_eq!(meta.directors, ["ALFA-0".into(), "ALFA-1".into()]);
    }
}

#[test]
fn events_are_kept_until_everybody_who_reads_them_has_confirmed_them() {
    let mut world = agent();
    assert_eq!(world.state.released(), EventId::BEFORE_FIRST);
    let (early, late) = (EventId(world.last.0 - 1), world.last);
    let mut confirm = |user: &str, until_event_id| {
        let standing = agent::Standing {
            run_id: RunId::new("a-1"),
            last: late,
            torn: EventId::BEFORE_FIRST,
            coupling: 1,
            connected: None,
            now: NOW,
        };
        let command = AgentCommand::ReleaseEvents { until_event_id };
        let (events, _) = world
            .state
            .decide(&command, &UserId::new(user), &standing)
            .unwrap();
        let count = events.len();
        world.record(events);
        (count, world.state.released(), world.state.confirmed())
    };
    assert_eq!(confirm("C", late), (1, late, late));
    assert_eq!(confirm("C", late), (0, late, late), "repeated");
    assert_eq!(confirm("C", early), (0, late, late), "out of order");
    assert_eq!(confirm("other", early), (1, early, late));
    assert_eq!(confirm("other", late), (1, late, late));
}

#[test]
fn an_event_that_has_not_happened_yet_cannot_be_confirmed() {
    let mut world = agent();
    let until_event_id = EventId(world.last.0 + 1);
    let problem = world
        .try_ask(AgentCommand::ReleaseEvents { until_event_id })
        .unwrap_err();
    assert_eq!(problem.code.as_deref(), Some("UnknownEventId"));
    assert_eq!(world.state.released(), EventId::BEFORE_FIRST);
}
