//! What orders bring along and what expressions see of it.

use crate::world::{START, World, job, shown, with_values, workflow};
use model::Outcome;

const DECLARED: &str = "orderPreparation:
  parameters:
    must: {type: Number}
    opt: {default: \"'fallback'\"}
    copy: {default: $opt}
    fix: {final: \"'fixed'\"}
    fix2: {final: $must}
    when: {default: \"orderId ++ '@' ++ now(format='HH:mm', timezone='UTC')\"}
";

fn declared(instructions: &str) -> World {
    World::new(
        &[],
        &[&format!("{}{DECLARED}", workflow("w", instructions))],
    )
}

fn refused(world: &mut World, arguments: &str) -> (String, String) {
    let problem = world
        .try_add(&format!(
            r#"{{"id":"R","workflowPath":"w","arguments":{arguments}}}"#
        ))
        .expect_err("it is refused");
    (problem.code.unwrap_or_default(), problem.message)
}

#[test]
fn required_default_and_final_parameters_op_01() {
    let mut world = declared("- {TYPE: Say, what: '[$copy, $fix, $fix2, $must, $opt]'}\n");
    world.add(r#"{"id":"P1","workflowPath":"w","arguments":{"must":123}}"#);
    world.add(r#"{"id":"P2","workflowPath":"w","arguments":{"must":123,"opt":"own"}}"#);
    assert!(
        world
            .story("P1")
            .contains(r#"OrderSaid ["fallback", "fixed", 123, 123, "fallback"]"#),
        "{}",
        world.story("P1")
    );
    assert!(
        world
            .story("P2")
            .contains(r#"OrderSaid ["own", "fixed", 123, 123, "own"]"#),
        "{}",
        world.story("P2")
    );
    let stored: Vec<_> = world
        .order("P1")
        .arguments
        .iter()
        .map(|(name, value)| format!("{name}={}", shown(value)))
        .collect();
    assert_eq!(
        stored,
        [
            "copy=\"fallback\"",
            "fix2=123",
            "must=123",
            "when=\"P1@12:00\""
        ],
        "only what is not the same for all orders is stored"
    );
}

#[test]
fn arguments_that_do_not_fit_are_refused_all_at_once() {
    let mut world = declared("");
    assert_eq!(refused(&mut world, "{}").0, "MissingOrderArgument");
    assert_eq!(
        refused(&mut world, r#"{"must":"text"}"#).0,
        "WrongValueType"
    );
    assert_eq!(
        refused(&mut world, r#"{"must":1,"fix":2}"#).0,
        "FinalOrderArgument"
    );
    assert_eq!(
        refused(&mut world, r#"{"must":1,"other":2}"#).0,
        "UndeclaredOrderArgument"
    );
    let (_, message) = refused(&mut world, r#"{"fix":2,"other":3}"#);
    assert_eq!(message.split(";\n").count(), 3, "{message}");
    assert_eq!(world.controller.state.order_count(), 0);
}

#[test]
fn lists_and_objects_are_checked_to_the_bottom() {
    let object = "orderPreparation:
  parameters:
    boats: {type: {TYPE: List, elementType: {TYPE: Object, name: String, length: Number}}}
";
    let mut world = World::new(&[], &[&format!("{}{object}", workflow("w", ""))]);
    world.add(r#"{"id":"O","workflowPath":"w","arguments":{"boats":[{"name":"A","length":3}]}}"#);
    assert_eq!(
        refused(&mut world, r#"{"boats":[{"name":"A"}]}"#).0,
        "MissingObjectFields"
    );
    assert_eq!(
        refused(&mut world, r#"{"boats":[{"name":"A","length":3,"x":1}]}"#).0,
        "UndeclaredObjectFields"
    );
    let (code, message) = refused(&mut world, r#"{"boats":[{"name":"A","length":"3"}]}"#);
    assert_eq!(code, "WrongValueType");
    assert!(message.contains("'boats(0).length'"), "{message}");
}

#[test]
fn a_final_parameter_takes_a_job_resource_variable_op_03() {
    let preparation = "orderPreparation:
  parameters:
    PILOT: {final: 'jobResourceVariable($res, $var)'}
  allowUndeclared: true
";
    let mut world = World::new(
        &[],
        &[
            "{TYPE: JobResource, path: port-x, variables: {pilot: \"'Ines'\"}}",
            &format!(
                "{}{preparation}",
                workflow("w", "- {TYPE: Say, what: '$PILOT == $want'}\n")
            ),
        ],
    );
    world.add(
        r#"{"id":"X","workflowPath":"w","arguments":{"res":"port-x","var":"pilot","want":"Ines"}}"#,
    );
    assert!(world.story("X").contains("OrderSaid true"));
    assert_eq!(world.order("X").arguments["PILOT"].as_str(), Some("Ines"));
    assert_eq!(
        refused(
            &mut world,
            r#"{"res":"port-x","var":"pilot","PILOT":"mine"}"#
        )
        .0,
        "FinalOrderArgument"
    );
    let (_, message) = refused(&mut world, r#"{"res":"port-x","var":"nope"}"#);
    assert!(
        message.contains("unknown name JobResource:port-x:nope"),
        "{message}"
    );
}

#[test]
fn parameters_that_depend_on_themselves_are_refused() {
    let circle = "orderPreparation:
  parameters:
    a: {default: $b}
    b: {default: $a}
";
    let mut world = World::new(&[], &[&format!("{}{circle}", workflow("w", ""))]);
    let (_, message) = refused(&mut world, "{}");
    assert!(message.contains("depends on itself"), "{message}");
    world.add(r#"{"id":"O","workflowPath":"w","arguments":{"a":1}}"#);
    assert_eq!(world.order("O").arguments["b"].to_string(), "1");
}

#[test]
fn an_order_is_added_once_and_only_to_a_known_workflow_it_01() {
    let mut world = World::with(&[], "- {TYPE: Stop}\n");
    world.start("A");
    let story = world.story("A");
    world.start("A");
    assert_eq!(world.story("A"), story, "the second one is a duplicate");
    let unknown = world
        .try_add(r#"{"id":"B","workflowPath":"nowhere"}"#)
        .unwrap_err();
    assert_eq!(unknown.code.as_deref(), Some("UnknownItemPath"));
    world.controller.state.retire_workflow(&"w".into());
    let removed = world
        .try_add(r#"{"id":"B","workflowPath":"w"}"#)
        .unwrap_err();
    assert_eq!(removed.code.as_deref(), Some("VersionedItemRemoved"));
    let reserved = world
        .try_add(r#"{"id":"A|b","workflowPath":"w"}"#)
        .unwrap_err();
    assert_eq!(reserved.code.as_deref(), Some("VersionedItemRemoved"));
    world
        .controller
        .state
        .set_current_workflow(&model::WorkflowId {
            path: "w".into(),
            version_id: "1".into(),
        });
    let reserved = world
        .try_add(r#"{"id":"A|b","workflowPath":"w"}"#)
        .unwrap_err();
    assert!(reserved.message.contains("reserved"), "{reserved}");
    assert!(
        world
            .try_add(r#"{"id":"C","workflowPath":"w","startPosition":"NOWHERE"}"#)
            .is_err()
    );
}

#[test]
fn expressions_see_arguments_results_labels_jobs_and_words_ex_06() {
    let labelled = job("ALFA").replacen('{', "{label: L, ", 1);
    let jobs =
        "jobs: {SHOW: {agentPath: ALFA, executable: {TYPE: ShellScriptExecutable, script: ':'}}}\n";
    let table = [
        ("$KEY", "\"TWO\""),
        ("variable('KEY', label=L)", "\"ONE\""),
        ("variable('KEY', job=SHOW)", "\"TWO\""),
        ("variable('returnCode', label=L)", "1"),
        ("$returnCode", "0"),
        ("argument('ARG')", "\"arg\""),
        ("$ARG", "\"arg\""),
        ("variable('NO', default='D')", "\"D\""),
        ("orderId", "\"S\""),
        ("$js7OrderId", "\"S\""),
        ("controllerId", "\"CONTROLLER\""),
        ("workflowPath", "\"w\""),
        ("workflowPosition", "\"w~1:2\""),
        ("label", "\"HERE\""),
        ("tryCount", "0"),
        ("$js7EpochMilli", &START.to_string()),
        ("$js7EpochSecond", &(START / 1000).to_string()),
        ("scheduledOrEmpty(format='yyyy-MM-dd')", "\"\""),
        ("env('NOPE', 'D')", "\"D\""),
        ("JobResource:res:name", "\"rv S\""),
        ("workflow.timezone", "\"UTC\""),
    ];
    let asked: Vec<_> = table.iter().map(|(expression, _)| *expression).collect();
    let answers: Vec<_> = table.iter().map(|(_, answer)| *answer).collect();
    let say = format!(
        "- {{label: HERE, TYPE: Say, what: \"[{}]\"}}\n",
        asked.join(", ")
    );
    let text = format!(
        "{}{jobs}",
        workflow(
            "w",
            &format!("- {labelled}\n- {{TYPE: Execute.Named, jobName: SHOW}}\n{say}")
        )
    );
    let mut world = World::new(
        &["ALFA"],
        &[
            "{TYPE: JobResource, path: res, variables: {name: \"'rv ' ++ orderId\"}}",
            &text,
        ],
    );
    let one = Outcome::Succeeded {
        named_values: [
            ("KEY".into(), "ONE".into()),
            ("returnCode".into(), 1.into()),
        ]
        .into(),
    };
    let two = Outcome::Succeeded {
        named_values: [
            ("KEY".into(), "TWO".into()),
            ("returnCode".into(), 0.into()),
        ]
        .into(),
    };
    world.script("S", "0", [one]);
    world.script("S", "1", [two]);
    world.add(r#"{"id":"S","workflowPath":"w","arguments":{"ARG":"arg"}}"#);
    let said = world
        .story("S")
        .lines()
        .find(|line| line.starts_with("OrderSaid"))
        .map(str::to_owned);
    assert_eq!(
        said.as_deref(),
        Some(format!("OrderSaid [{}]", answers.join(", ")).as_str()),
        "{}",
        world.story("S")
    );
}

#[test]
fn an_argument_wins_over_a_result_and_the_newest_result_over_older_ones() {
    let mut world = World::with(
        &["ALFA"],
        &format!(
            "- {0}\n- {0}\n- {{TYPE: Say, what: '[$a, $b]'}}\n",
            job("ALFA")
        ),
    );
    world.script("O", "0", [with_values(&[("a", "old"), ("b", "old")])]);
    world.script("O", "1", [with_values(&[("a", "new"), ("b", "new")])]);
    world.add(r#"{"id":"O","workflowPath":"w","arguments":{"a":"argument"}}"#);
    assert!(
        world
            .story("O")
            .contains(r#"OrderSaid ["argument", "new"]"#),
        "{}",
        world.story("O")
    );
}

#[test]
fn a_job_sees_its_words_and_lazy_defaults_op_06() {
    use expr::{Expr, Scope};
    let named = "{TYPE: Execute.Named, jobName: SHOW, label: HERE, defaultArguments: {fromStep: \"'step'\", both: \"'step'\", broken: \"error('E')\"}}";
    let jobs = "jobs: {SHOW: {agentPath: ALFA, processLimit: 3, timeout: 5, defaultArguments: {both: \"'job'\", fromJob: \"'job ' ++ $fromStep\"}, executable: {TYPE: ShellScriptExecutable, script: ':'}}}\n";
    let text = format!(
        "{}{jobs}",
        workflow(
            "w",
            &format!("- {named}\n- {named}\n").replacen(", label: HERE", ", label: FIRST", 1)
        )
    );
    let mut world = World::new(&["ALFA"], &[&text]);
    world.hold("J");
    world.start("J");
    world.release("J");
    world.hold("J2");
    world.start("J2");
    let state = &world.agents[&model::AgentPath::from("ALFA")].state;
    let scope = state
        .scope(&"J2".into(), world.now)
        .expect("it is there")
        .in_job();
    let seen = |text: &str| Expr::parse(text).unwrap().eval(&scope).unwrap();
    let seen = |text: &str| shown(&seen(text));
    assert_eq!(seen("$js7JobName"), "\"SHOW\"");
    assert_eq!(seen("$js7JobExecutionCount"), "1");
    assert_eq!(seen("$js7Job.timeoutMillis"), "5000");
    assert_eq!(seen("$js7Job.sigkillDelayMillis"), "missing");
    assert_eq!(seen("$js7Job.processLimit"), "3");
    assert_eq!(seen("label"), "\"FIRST\"");
    assert_eq!(
        seen("[$fromStep, $both, $fromJob]"),
        r#"["step", "step", "job step"]"#
    );
    assert!(
        scope.named_value("broken").unwrap().is_err(),
        "only who asks for it sees the error"
    );
    let history = &world.order("J").historic_outcomes;
    assert_eq!(history.len(), 2, "the named job ran twice");
}

#[test]
fn a_default_that_is_a_function_is_used_and_never_kept() {
    let prepared = |default: &str| {
        let parameters =
            format!("orderPreparation:\n  parameters:\n    f: {{default: {default}}}\n");
        let say = workflow("w", "- {TYPE: Say, what: '$f(1)'}\n");
        World::new(&[], &[&format!("{say}{parameters}")])
    };
    let mut world = prepared("\"x => $x + 1\"");
    world.add(r#"{"id":"C","workflowPath":"w"}"#);
    assert!(
        world.story("C").contains("OrderSaid 2"),
        "{}",
        world.story("C")
    );

    // What must be computed for each order would have to be kept with it.
    let mut world = prepared("\"x => $x ++ orderId\"");
    let (_, told) = refused(&mut world, "{}");
    assert_eq!(
        told,
        "Order argument 'f': A Function cannot be kept as a value"
    );
}
