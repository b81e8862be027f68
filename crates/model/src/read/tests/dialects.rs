//! The author's dialect and the engine's names mean the same.

use super::{instructions, job, workflow};
use crate::read::{Format, Origin, item, with_names};
use crate::{
    ExecutableKind, Instruction, JobReference, Outcome, ParameterKind, Position, ReturnCodeMeaning,
    Seconds, ValueType, VersionId,
};
use expr::{Expr, Value};

fn parsed(source: &str) -> Expr {
    Expr::parse(source).unwrap()
}

#[test]
fn a_workflow_of_an_author_is_that_of_the_engine() {
    let author = r#"{"TYPE":"Workflow","version":"1.7.2","title":"t","documentationName":"d","path":"w","versionId":"v",
        "timeZone":"Europe/Berlin","jobResourceNames":["r"],"orderRequirements":{"parameters":{"p":{"type":"String"}}},
        "instructions":[
          {"TYPE":"CaseWhen","cases":[{"predicate":"$p == 'x'","then":{"instructions":[
             {"TYPE":"Execute.Named","jobName":"j","label":"l"}]}}],"else":{"instructions":[]}},
          {"TYPE":"Fork","branches":[{"id":"a","workflow":{"instructions":[]}}],"agentName":"A"}],
        "jobs":{"j":{"agentName":"A","parallelism":3,"graceTimeout":2,"jobResourceNames":["s"],"subagentClusterId":"C",
          "title":"x","criticality":"MAJOR","warnIfLonger":"50%","notification":{"types":["ERROR"]},"jobTemplate":{"name":"x"},
          "executable":{"TYPE":"ScriptExecutable","script":"x"}}}}"#;
    let engine = r#"{"TYPE":"Workflow","path":"w","versionId":"v",
        "timeZone":"Europe/Berlin","jobResourcePaths":["r"],"orderPreparation":{"parameters":{"p":{"type":"String"}}},
        "instructions":[
          {"TYPE":"If","ifThens":[{"predicate":"$p == 'x'","then":{"instructions":[
             {"TYPE":"Execute.Named","jobName":"j","label":"l"}]}}],"else":{"instructions":[]}},
          {"TYPE":"Fork","branches":[{"id":"a","workflow":{"instructions":[]}}],"agentPath":"A"}],
        "jobs":{"j":{"agentPath":"A","processLimit":3,"sigkillDelay":2,"jobResourcePaths":["s"],"subagentBundleIdExpr":"'C'",
          "executable":{"TYPE":"ShellScriptExecutable","script":"x"}}}}"#;
    assert_eq!(workflow(author), workflow(engine));
}

#[test]
fn an_if_is_read_in_all_its_forms() {
    let legacy = r#"{"TYPE":"If","predicate":"true","then":{"instructions":[]}}"#;
    let engine = r#"{"TYPE":"If","ifThens":[{"predicate":"true","then":{"instructions":[]}}]}"#;
    let author = r#"{"TYPE":"CaseWhen","cases":[{"predicate":true,"then":{"instructions":[]}}]}"#;
    assert_eq!(instructions(legacy), instructions(engine));
    assert_eq!(instructions(legacy), instructions(author));
}

#[test]
fn a_segment_only_groups() {
    let grouped = r#"{"TYPE":"Stop"},{"TYPE":"Segment","block":{"instructions":[{"TYPE":"Stop"},{"TYPE":"Segment","block":{"instructions":[{"TYPE":"EmptyInstruction"}]}}]}},{"TYPE":"Stop"}"#;
    assert_eq!(
        instructions(grouped),
        [
            Instruction::Stop,
            Instruction::Stop,
            Instruction::Empty,
            Instruction::Stop
        ]
    );
    let labelled = workflow(&super::around(
        r#"{"TYPE":"Segment","label":"s","block":{"instructions":[{"TYPE":"Stop"}]}}"#,
    ));
    assert_eq!(
        labelled.block.steps[0].instruction,
        Instruction::Empty,
        "the label needs an instruction to hold it"
    );
    assert_eq!(labelled.labels["s"], Position::top(0));
}

#[test]
fn an_implicit_end_comes_with_answers_and_leaves_no_trace() {
    assert_eq!(
        instructions(r#"{"TYPE":"Stop","position":[0]},{"TYPE":"ImplicitEnd","position":[1]}"#),
        [Instruction::Stop]
    );
}

#[test]
fn a_message_is_an_expression_or_a_plain_text() {
    let message = |text: &str| {
        let read = instructions(&format!(r#"{{"TYPE":"Fail","message":{text:?}}}"#)).remove(0);
        let Instruction::Fail {
            message: Some(message),
            ..
        } = read
        else {
            panic!("{read:?}")
        };
        message
    };
    for expression in [
        "'leak'",
        "\"leak at $where\"",
        "$reason ++ '!'",
        "orderId",
        "(1 + 2)",
        "JobResource:r:v",
    ] {
        assert_eq!(message(expression), parsed(expression), "{expression}");
    }
    for text in [
        "leak",
        "Can't open the file",
        "disk full (see the log)",
        "2024-01-01",
        "7",
        "true",
        "",
    ] {
        assert_eq!(message(text), Expr::constant(Value::from(text)), "{text}");
    }
    for slip in ["$reason ++", "'unended", "\"unended", "${x"] {
        assert!(
            super::told(&super::around(&format!(
                r#"{{"TYPE":"Fail","message":{slip:?}}}"#
            )))
            .contains("not an expression"),
            "{slip}"
        );
    }
}

#[test]
fn fail_and_finish_leave_values() {
    let fail = r#"{"TYPE":"Fail","outcome":{"returnCode":7},"uncatchable":true}"#;
    let Instruction::Fail {
        message: None,
        named_values,
        uncatchable: true,
    } = &instructions(fail)[0]
    else {
        panic!("no Fail")
    };
    assert_eq!(named_values["returnCode"], Value::from(7_i64));
    assert_eq!(
        instructions(fail),
        instructions(&fail.replace("outcome", "namedValues"))
    );

    let finish = |fields: &str| instructions(&format!(r#"{{"TYPE":"Finish"{fields}}}"#)).remove(0);
    assert_eq!(
        finish(""),
        Instruction::Finish {
            outcome: None,
            message: None
        }
    );
    assert_eq!(
        finish(r#","unsuccessful":false"#),
        finish(""),
        "a default may be written or left out"
    );
    let Instruction::Finish {
        outcome: Some(Outcome::Failed { named_values, .. }),
        message: Some(message),
    } = finish(r#","unsuccessful":true,"message":"no work""#)
    else {
        panic!("no failed Finish")
    };
    assert_eq!(named_values["returnCode"], Value::from(1_i64));
    assert_eq!(message, Expr::quoted("no work"));
    assert_eq!(
        finish(r#","outcome":{"TYPE":"Failed","message":"x"}"#),
        Instruction::Finish {
            outcome: Some(Outcome::failed("x")),
            message: None
        }
    );
}

#[test]
fn a_sleep_lasts_an_expression_a_clock_time_or_a_number() {
    let duration = |text: &str| {
        let read = instructions(&format!(r#"{{"TYPE":"Sleep","duration":{text}}}"#)).remove(0);
        let Instruction::Sleep { duration } = read else {
            panic!("{read:?}")
        };
        duration
    };
    assert_eq!(duration(r#""$n * 60""#), parsed("$n * 60"));
    assert_eq!(duration(r#""01:02:03""#), parsed("3723"));
    assert_eq!(duration("1.5"), parsed("1.5"));
    assert_eq!(duration(r#""10""#), parsed("10"));
}

#[test]
fn return_codes_are_read_in_all_their_forms() {
    let meaning = |json: &str| {
        let text = super::around(&format!(
            r#"{{"TYPE":"Execute.Anonymous","job":{{"agentName":"A","executable":{{"TYPE":"ShellScriptExecutable","script":"","returnCodeMeaning":{json}}}}}}}"#
        ));
        workflow(&text)
            .job(&Position::top(0))
            .unwrap()
            .1
            .executable
            .return_code_meaning
            .clone()
    };
    let success = |ranges: &[(i64, i64)]| ReturnCodeMeaning::Success(ranges.to_vec());
    let failure = |ranges: &[(i64, i64)]| ReturnCodeMeaning::Failure(ranges.to_vec());
    for (json, expected) in [
        ("{}", success(&[(0, 0)])),
        (r#"{"success":"0,4..6"}"#, success(&[(0, 0), (4, 6)])),
        (r#"{"success":" 0 , 4..6 "}"#, success(&[(0, 0), (4, 6)])),
        (r#"{"success":[0,[4,6]]}"#, success(&[(0, 0), (4, 6)])),
        (r#"{"success":[0,"4..6"]}"#, success(&[(0, 0), (4, 6)])),
        (r#"{"success":3}"#, success(&[(3, 3)])),
        (
            r#"{"success":"0","warning":"3"}"#,
            success(&[(0, 0), (3, 3)]),
        ),
        (r#"{"warning":[3]}"#, success(&[(0, 0), (3, 3)])),
        (r#"{"failure":"1..99"}"#, failure(&[(1, 99)])),
        (r#"{"failure":"-5..-1"}"#, failure(&[(-5, -1)])),
        (r#"{"failure":""}"#, failure(&[])),
        (r#"{"failure":"none"}"#, failure(&[])),
        (r#"{"failure":[]}"#, failure(&[])),
    ] {
        assert_eq!(meaning(json), expected, "{json}");
    }
}

#[test]
fn a_job_has_the_defaults_of_the_reference() {
    let plain = job("");
    assert_eq!(
        (plain.parallelism, plain.timeout, plain.grace_timeout),
        (1, None, None)
    );
    assert!(
        !plain.fail_on_err_written && !plain.is_not_restartable && plain.subagent_bundle.is_none()
    );
    assert_eq!(
        job(r#","paralellism":7"#).parallelism,
        7,
        "JS7's old slip is read"
    );
    assert_eq!(
        job(r#","timeout":0.5"#).timeout,
        Some(Seconds::from_millis(500))
    );
    assert_eq!(
        job(r#","subagentClusterId":"C""#).subagent_bundle,
        Some(Expr::quoted("C"))
    );
    assert_eq!(
        job(r#","subagentSelectionIdExpr":"$c""#).subagent_bundle,
        Some(parsed("$c"))
    );
    let both =
        r#","subagentClusterId":"C","subagentClusterIdExpr":"$c","withSubagentClusterIdExpr":"#;
    assert_eq!(
        job(&format!("{both}true")).subagent_bundle,
        Some(parsed("$c"))
    );
    assert_eq!(
        job(&format!("{both}false")).subagent_bundle,
        Some(Expr::quoted("C"))
    );
    assert_eq!(
        job(r#","defaultArguments":{"n":7,"t":"'x'","o":{"a":[true]}}"#).default_arguments["o"],
        parsed("{a: [true]}")
    );
}

#[test]
fn executables_of_all_kinds_are_read() {
    let kind = |json: &str| {
        let text = super::around(&format!(
            r#"{{"TYPE":"Execute.Anonymous","job":{{"agentName":"A","executable":{json}}}}}"#
        ));
        workflow(&text)
            .job(&Position::top(0))
            .unwrap()
            .1
            .executable
            .kind
            .clone()
    };
    for tag in [
        "ShellScriptExecutable",
        "ScriptExecutable",
        "ExecutableScript",
    ] {
        assert_eq!(
            kind(&format!(r#"{{"TYPE":{tag:?},"script":"x\ny"}}"#)),
            ExecutableKind::Script("x\ny".into())
        );
    }
    for (tag, path) in [
        ("PathExecutable", "bin/x.sh"),
        ("ExecutablePath", "/usr/bin/x"),
        ("PathExecutable", "C:\\x.cmd"),
    ] {
        assert_eq!(
            kind(&format!(r#"{{"TYPE":{tag:?},"path":{path:?}}}"#)),
            ExecutableKind::Path(path.into())
        );
    }
    let ExecutableKind::CommandLine(command) =
        kind(r#"{"TYPE":"CommandLineExecutable","command":"/bin/echo \"$x\" y"}"#)
    else {
        panic!("no command line")
    };
    assert_eq!(command.expressions().len(), 3);
}

#[test]
fn parameters_are_read_in_all_their_forms() {
    let parameter = |json: &str| {
        let text = format!(
            r#"{{"TYPE":"Workflow","path":"w","instructions":[],"orderPreparation":{{"parameters":{{"p":{json}}},"allowUndeclared":true}}}}"#
        );
        let preparation = workflow(&text).order_preparation.clone().unwrap();
        assert!(preparation.allow_undeclared);
        preparation.parameters["p"].clone()
    };
    let default = |json: &str| {
        let read = parameter(json).kind;
        let ParameterKind::Default(value) = read else {
            panic!("{read:?}")
        };
        value
    };
    assert_eq!(parameter("{}").kind, ParameterKind::Required);
    assert_eq!(
        default(r#"{"type":"String","default":"'x'"}"#),
        parsed("'x'")
    );
    assert_eq!(
        default(r#"{"type":"String","default":"plain text"}"#),
        parsed("'plain text'")
    );
    assert_eq!(
        default(r#"{"type":"String","default":"2024-01-01"}"#),
        parsed("'2024-01-01'")
    );
    assert_eq!(default(r#"{"type":"String","default":"7"}"#), parsed("'7'"));
    assert_eq!(
        default(r#"{"type":"String","default":"$other ++ 'x'"}"#),
        parsed("$other ++ 'x'")
    );
    assert_eq!(
        default(r#"{"type":"String","default":"orderId"}"#),
        parsed("orderId")
    );
    assert_eq!(default(r#"{"type":"Number","default":"7"}"#), parsed("7"));
    assert_eq!(default(r#"{"type":"Number","default":7}"#), parsed("7"));
    assert_eq!(
        default(r#"{"type":"Boolean","default":false}"#),
        parsed("false")
    );
    assert_eq!(default(r#"{"default":"7"}"#), parsed("7"));
    assert_eq!(
        default(r#"{"default":"some words"}"#),
        parsed("'some words'")
    );
    assert_eq!(
        parameter(
            r#"{"type":"String","final":"now('yyyy')","facet":"x","list":["a"],"message":"m"}"#
        )
        .kind,
        ParameterKind::Final(parsed("now('yyyy')"))
    );
    let row = || ValueType::Object([("c".into(), ValueType::Number)].into());
    let columns = r#""listParameters":{"c":{"type":"Number","default":1}}"#;
    for (json, expected) in [
        (r#"{"type":"Any"}"#.to_owned(), ValueType::Any),
        (
            r#"{"type":"List"}"#.to_owned(),
            ValueType::List(Box::new(ValueType::Any)),
        ),
        (
            format!(r#"{{"type":"List",{columns}}}"#),
            ValueType::List(Box::new(row())),
        ),
        (format!(r#"{{"type":"Map",{columns}}}"#), row()),
        (
            r#"{"type":{"TYPE":"Object","c":"Number"}}"#.to_owned(),
            row(),
        ),
        (
            r#"{"type":{"TYPE":"List","elementType":{"TYPE":"Object","c":"Number"}}}"#.to_owned(),
            ValueType::List(Box::new(row())),
        ),
    ] {
        assert_eq!(parameter(&json).value_type, Some(expected), "{json}");
    }
}

#[test]
fn labels_are_found_in_every_block() {
    let text = super::around(
        r#"{"TYPE":"Try","label":"a","try":{"instructions":[{"TYPE":"Stop","label":"b"}]},"catch":{"instructions":[
            {"TYPE":"Fork","branches":[{"id":"x","workflow":{"instructions":[{"TYPE":"Stop"},{"TYPE":"Stop","label":"c"}]}}]}]}}"#,
    );
    let workflow = workflow(&text);
    let labels: Vec<String> = workflow
        .labels
        .iter()
        .map(|(label, position)| format!("{label} {position}"))
        .collect();
    assert_eq!(labels, ["a 0", "b 0/try:0", "c 0/catch:0/fork+x:1"]);
}

#[test]
fn a_tie_to_a_subagent_is_read_in_both_dialects() {
    let read = |fields: &str| {
        let text = format!(
            r#"{{"TYPE":"Workflow","path":"w","instructions":[{{"TYPE":"StickySubagent",{fields},"subworkflow":{{"instructions":[{{"TYPE":"Stop"}}]}}}}]}}"#
        );
        workflow(&text)
    };
    let author = read(r#""agentName":"A","subagentClusterId":"C""#);
    assert_eq!(
        author.block,
        read(r#""agentPath":"A","subagentBundleIdExpr":"'C'""#).block
    );
    let inside = author.instruction(&"0/stickySubagent:0".parse().unwrap());
    assert_eq!(inside, Some(&Instruction::Stop));
}

#[test]
fn a_job_of_a_block_hides_one_around() {
    let text = r#"{"TYPE":"Workflow","path":"w","instructions":[{"TYPE":"Options","block":{"instructions":[{"TYPE":"Execute.Named","jobName":"j"}],
        "jobs":{"j":{"agentName":"INNER","executable":{"TYPE":"ShellScriptExecutable","script":""}}}}}],
        "jobs":{"j":{"agentName":"OUTER","executable":{"TYPE":"ShellScriptExecutable","script":""}}}}"#;
    let workflow = workflow(text);
    let (name, job) = workflow.job(&"0/options:0".parse().unwrap()).unwrap();
    assert_eq!((name.unwrap().as_str(), job.agent.as_str()), ("j", "INNER"));
    assert!(matches!(
        workflow.instruction(&"0/options:0".parse().unwrap()),
        Some(Instruction::Execute(execute)) if matches!(execute.job, JobReference::Named(_))
    ));
}

#[test]
fn yaml_is_the_same_as_json() {
    let yaml = "\
# A nightly job
TYPE: Workflow
path: w
instructions:
- TYPE: Execute.Named
  jobName: dump
  label: &l first
- TYPE: If
  predicate: $returnCode == 0
  then:
    instructions: [{TYPE: Stop}]
jobs:
  dump:
    agentName: A
    timeout: 60
    executable: &e
      TYPE: ShellScriptExecutable
      script: |
        #!/bin/sh
        echo \"ä\" > file
      env: {N: 7, YES: \"'yes'\"}
      returnCodeMeaning: {success: 0}
  again: {agentName: A, executable: *e}
";
    let read = item(yaml, Format::Yaml, &Origin::default())
        .unwrap_or_else(|faults| panic!("{}", faults.draw(yaml, "w.yaml")));
    assert_eq!(
        &*read.text,
        r##"{"TYPE":"Workflow","path":"w","instructions":[{"TYPE":"Execute.Named","jobName":"dump","label":"first"},{"TYPE":"If","predicate":"$returnCode == 0","then":{"instructions":[{"TYPE":"Stop"}]}}],"jobs":{"dump":{"agentName":"A","timeout":60,"executable":{"TYPE":"ShellScriptExecutable","script":"#!/bin/sh\necho \"ä\" > file\n","env":{"N":7,"YES":"'yes'"},"returnCodeMeaning":{"success":0}}},"again":{"agentName":"A","executable":{"TYPE":"ShellScriptExecutable","script":"#!/bin/sh\necho \"ä\" > file\n","env":{"N":7,"YES":"'yes'"},"returnCodeMeaning":{"success":0}}}}}"##
    );
    let again = item(&read.text, Format::Json, &Origin::default()).unwrap();
    assert_eq!(again, read);
}

#[test]
fn name_and_version_come_from_the_text_or_else_from_the_origin() {
    let version = VersionId::new("2");
    let origin = Origin {
        name: Some("nightly"),
        version: Some(&version),
    };
    let text = "{\"TYPE\":\"Workflow\",\"instructions\":[]}\n";
    let read = item(text, Format::Json, &origin).unwrap();
    assert_eq!(
        (read.key.as_str(), &*read.text),
        ("Workflow:nightly~2", text),
        "the text stays as it came"
    );
    let own = r#"{"TYPE":"Workflow","path":"w","versionId":"1","instructions":[]}"#;
    assert_eq!(
        item(own, Format::Json, &origin).unwrap().key.as_str(),
        "Workflow:w~1"
    );
    let bad = Origin {
        name: Some("no name"),
        version: None,
    };
    let told = item(text, Format::Json, &bad).unwrap_err().to_string();
    assert!(
        told.contains("from the name of its file: WorkflowPath \"no name\" is not a valid name"),
        "{told}"
    );

    let named = with_names(text, Format::Json, &origin, None).unwrap();
    assert_eq!(
        named,
        r#"{"path":"nightly","versionId":"2","TYPE":"Workflow","instructions":[]}"#
    );
    assert_eq!(
        with_names(own, Format::Json, &origin, None).unwrap(),
        own,
        "what has its names stays as it is"
    );
    assert_eq!(
        with_names(
            "limit: 2",
            Format::Yaml,
            &origin,
            Some(crate::ItemType::Lock)
        )
        .unwrap(),
        r#"{"TYPE":"Lock","path":"nightly","limit":2}"#
    );
}
