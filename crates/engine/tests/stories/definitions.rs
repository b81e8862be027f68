//! What orders see of the definitions around them: workflow versions, job resources, environment, clock and time zone.

use crate::world::{START, World, job, shown, with_values, workflow};
use engine::{JobKey, State};
use model::{Problem, Timestamp, WorkflowId};
use std::collections::BTreeMap;
use std::sync::Arc;

const SCHEDULED: i64 = START + 60_000;

fn set_environment(world: &mut World) {
    let environment: BTreeMap<Arc<str>, Arc<str>> = [("HARBOUR".into(), "Oslo".into())].into();
    let environment = Arc::new(environment);
    for node in world.agents.values_mut().chain([&mut world.controller]) {
        node.state.set_environment(environment.clone());
    }
}

/// Expressions that look at the surroundings of an order of the workflow `w` in the zone of Berlin, and what they see at
/// one in the afternoon there.
const SURROUNDINGS: [(&str, &str); 10] = [
    ("$js7OrderId", "\"O\""),
    ("$js7ControllerId", "\"CONTROLLER\""),
    ("$js7WorkflowPath", "\"w\""),
    ("$js7WorkflowTimezone", "\"Europe/Berlin\""),
    ("workflow.timezone", "\"Europe/Berlin\""),
    ("orderId", "\"O\""),
    ("env('HARBOUR')", "\"Oslo\""),
    ("env('NOWHERE', '-')", "\"-\""),
    ("scheduledOrEmpty(format='HH:mm:ss')", "\"13:01:00\""),
    ("now(format='HH:mm:ss')", "\"13:01:00\""),
];

fn said(world: &World, id: &str) -> String {
    let story = world.story(id);
    let said = story
        .lines()
        .find_map(|line| line.strip_prefix("OrderSaid "));
    said.unwrap_or_else(|| panic!("nothing was said: {story}"))
        .to_owned()
}

fn asked() -> String {
    let asked: Vec<_> = SURROUNDINGS.iter().map(|(asked, _)| *asked).collect();
    format!("[{}]", asked.join(", "))
}

fn answers() -> String {
    let answers: Vec<_> = SURROUNDINGS.iter().map(|(_, answer)| *answer).collect();
    format!("[{}]", answers.join(", "))
}

fn in_berlin(instructions: &str, more: &str) -> String {
    format!(
        "{}timeZone: Europe/Berlin\n{more}",
        workflow("w", instructions)
    )
}

fn scheduled(world: &mut World) {
    set_environment(world);
    world.add(&format!(
        r#"{{"id":"O","workflowPath":"w","scheduledFor":{SCHEDULED}}}"#
    ));
    world.sleep(60_000);
}

#[test]
fn an_instruction_sees_the_surroundings_of_its_order() {
    let say = format!("- {{TYPE: Say, what: \"{}\"}}\n", asked());
    let mut world = World::new(&[], &[&in_berlin(&say, "")]);
    scheduled(&mut world);
    assert_eq!(said(&world, "O"), answers());
}

#[test]
fn a_job_resource_sees_the_surroundings_of_the_order_that_asks() {
    let resource = format!(
        "{{TYPE: JobResource, path: res, variables: {{all: \"{}\"}}}}",
        asked()
    );
    let say = "- {TYPE: Say, what: 'JobResource:res:all'}\n";
    let mut world = World::new(&[], &[&resource, &in_berlin(say, "")]);
    scheduled(&mut world);
    assert_eq!(said(&world, "O"), answers());
}

#[test]
fn a_default_sees_the_surroundings_when_the_order_is_added() {
    let parameters = format!(
        "orderPreparation:\n  parameters:\n    all: {{default: \"{}\"}}\n    milli: {{default: $js7EpochMilli}}\n    second: {{default: $js7EpochSecond}}\n",
        asked()
    );
    let say = "- {TYPE: Say, what: '[$all, $milli, $second]'}\n";
    let mut world = World::new(&[], &[&in_berlin(say, &parameters)]);
    world.now = Timestamp::from_millis(SCHEDULED);
    scheduled(&mut world);
    let (milli, second) = (SCHEDULED, SCHEDULED / 1000);
    assert_eq!(
        said(&world, "O"),
        format!("[{}, {milli}, {second}]", answers())
    );

    let mut world = World::new(&[], &[&in_berlin(say, &parameters)]);
    set_environment(&mut world);
    world.add(r#"{"id":"O","workflowPath":"w"}"#);
    assert!(
        said(&world, "O").contains("\"-\", \"\", \"13:00:00\""),
        "an order that is not scheduled: {}",
        said(&world, "O")
    );
}

#[test]
fn a_job_gets_all_values_and_the_newest_wins() {
    let named =
        "{TYPE: Execute.Named, jobName: J, defaultArguments: {a: \"'step'\", b: \"'step'\"}}";
    let text = format!(
        "{}jobs: {{J: {{agentPath: ALFA, defaultArguments: {{a: \"'job'\", c: \"'job'\"}}, executable: {{TYPE: ShellScriptExecutable, script: ':'}}}}}}\norderPreparation:\n  parameters:\n    d: {{default: \"'declared'\"}}\n    e: {{final: \"'final'\"}}\n    f: {{type: String}}\n    g: {{type: String}}\n",
        workflow("w", &format!("- {0}\n- {0}\n- {named}\n", job("ALFA")))
    );
    let mut world = World::new(&["ALFA"], &[&text]);
    world.script("O", "0", [with_values(&[("g", "old"), ("h", "old")])]);
    world.script("O", "1", [with_values(&[("g", "new")])]);
    world.hold("O");
    world.add(r#"{"id":"O","workflowPath":"w","arguments":{"f":"given","g":"given"}}"#);
    world.release("O");
    world.hold("O");
    world.release("O");
    let state = &world.controller.state;
    let position = "2".parse().expect("a position");
    let scope = state.scope(&"O".into(), world.now).expect("it is there");
    let all: Vec<_> = scope
        .at(&position)
        .in_job()
        .all_values()
        .expect("all can be computed")
        .iter()
        .map(|(name, value)| format!("{name}={}", shown(value)))
        .collect();
    assert_eq!(
        all.join(" "),
        r#"a="step" b="step" c="job" d="declared" e="final" f="given" g="new" h="old" returnCode=0"#
    );
}

#[test]
fn a_nameless_job_counts_its_own_executions() {
    let retried = format!(
        "- {0}\n- {{TYPE: Try, maxTries: 3, try: {{instructions: [{0}, {{TYPE: Fail}}]}}, catch: {{instructions: [{{TYPE: Retry}}]}}}}\n",
        job("ALFA")
    );
    let mut world = World::with(&["ALFA"], &retried);
    world.start("O");
    assert_eq!(world.state("O"), "Failed");
    let scope = world
        .controller
        .state
        .scope(&"O".into(), world.now)
        .expect("it is there");
    let count = |position: &str| {
        let position = position.parse().expect("a position");
        scope.at(&position).in_job().job_execution_count()
    };
    assert_eq!((count("0"), count("1/try+3:0")), (2, 4));
}

fn version(version: &str) -> WorkflowId {
    WorkflowId {
        path: "w".into(),
        version_id: version.into(),
    }
}

fn added(state: &State) -> Result<String, Problem> {
    let fresh = model::FreshOrder::new("O".into(), "w".into());
    let added = state.add(&fresh, Timestamp::from_millis(START))?;
    let Some(model::OrderEvent::OrderAdded { workflow_id, .. }) = added else {
        panic!("{added:?}")
    };
    Ok(workflow_id.to_string())
}

#[test]
fn new_orders_get_the_current_version_and_none_when_it_is_removed() {
    let mut world = World::with(&[], "- {TYPE: Stop}\n");
    let state = &mut world.controller.state;
    let first = state.workflow(&version("1")).expect("it is known").clone();
    let second = Arc::new(model::Workflow {
        id: Arc::new(version("2")),
        ..model::Workflow::clone(&first)
    });
    state.set_workflow(second);
    assert_eq!(added(state).expect("it is known"), "w~2");
    state.remove_workflow(&version("1"));
    assert_eq!(
        added(state).expect("it is known"),
        "w~2",
        "another version is removed"
    );
    assert_eq!(state.workflow(&version("1")), None);
    state.remove_workflow(&version("2"));
    assert!(added(state).is_err_and(|problem| problem.is("UnknownItemPath")));
    assert_eq!(state.current_workflow(&"w".into()), None);
    state.set_workflow(first);
    assert_eq!(added(state).expect("it is known"), "w~1");
}

#[test]
fn a_removed_job_resource_is_unknown() {
    let resource = "{TYPE: JobResource, path: res, variables: {a: \"'1'\"}}";
    let say = workflow("w", "- {TYPE: Say, what: 'JobResource:res:a'}\n");
    let mut world = World::new(&[], &[resource, &say]);
    world.start("A");
    assert_eq!(world.state("A"), "Finished");
    let path = "res".into();
    let known = |world: &World| world.controller.state.job_resource(&path).is_some();
    assert!(known(&world));
    world.controller.state.remove_job_resource(&"res".into());
    assert!(!known(&world));
    world.start("B");
    assert_eq!(world.state("B"), "Failed");
    assert!(world.story("B").contains("unknown name JobResource:res"));
}

#[test]
fn a_restored_order_takes_its_place_when_its_workflow_becomes_known() {
    let branch =
        |id: &str, body: &str| format!("{{id: {id}, workflow: {{instructions: [{body}]}}}}");
    let mut world = World::with(
        &["ALFA"],
        &format!(
            "- {{TYPE: Fork, branches: [{}, {}, {}, {}]}}\n",
            branch("a", ""),
            branch("b", ""),
            branch("c", &job("ALFA")),
            branch("d", &job("ALFA")),
        ),
    );
    for id in ["F|c", "F|d"] {
        world.hold(id);
    }
    world.start("F");
    let state = &world.controller.state;
    let mut restored = State::new(state.site().clone(), "CONTROLLER".into());
    for order in state.orders() {
        restored.insert_order(model::Order::clone(order));
    }
    restored.check().expect("the workflow is not known yet");
    for workflow in state.workflows() {
        restored.set_workflow(workflow.clone());
        // Known workflows are made known again by each deployment.
        restored.set_workflow(workflow.clone());
    }
    restored.check().expect("everything is indexed");
    assert_eq!(restored.running_at(&"ALFA".into()).process_count, 2);
    let workflow = state.workflows().next().expect("one");
    let position = "0/fork+c:0".parse().expect("a position");
    let (key, _) = JobKey::at(workflow, &position).expect("a job");
    let running = restored.running_in(&key);
    assert_eq!(running.process_count, 1);
    assert_eq!(running.orders, ["F|c".into()]);
}
