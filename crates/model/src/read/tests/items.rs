//! Items of the other types, and what items refer to.

use super::told;
use crate::read::{Format, Origin, item, item_type_of_file, references};
use crate::{Item, ItemBody, ItemType};
use expr::Expr;
use std::path::Path;

fn read(text: &str) -> Item {
    item(text, Format::Json, &Origin::default())
        .unwrap_or_else(|faults| panic!("{}", faults.draw(text, "test")))
}

fn referred(text: &str) -> Vec<String> {
    references(&read(text))
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn a_job_resource_is_read_in_both_dialects() {
    let author = read(
        r#"{"TYPE":"JobResource","path":"r","arguments":{"a":"'x'","n":7},"env":{"A":"$a"},"title":"t"}"#,
    );
    let ItemBody::JobResource(resource) = &author.body else {
        panic!("{author:?}")
    };
    assert_eq!(resource.variables["n"], Expr::parse("7").unwrap());
    assert_eq!(author.key.as_str(), "JobResource:r");
    let engine =
        read(r#"{"TYPE":"JobResource","path":"r","variables":{"a":"'x'","n":7},"env":{"A":"$a"}}"#);
    assert_eq!(author.body, engine.body);
}

#[test]
fn agents_subagents_and_clusters_are_read_in_both_dialects() {
    let agent = read(
        r#"{"TYPE":"AgentRef","path":"A","directors":["A-1"],"processLimit":3,"title":"t","requireFailoverConfirmation":false}"#,
    );
    let ItemBody::Agent(body) = &agent.body else {
        panic!("{agent:?}")
    };
    assert_eq!(
        (agent.key.as_str(), body.process_limit),
        ("Agent:A", Some(3))
    );
    assert_eq!(
        read(r#"{"TYPE":"AgentRef","agentName":"A","directors":["A-1"],"processLimit":3}"#).body,
        agent.body
    );

    let subagent = read(
        r#"{"TYPE":"SubagentItem","id":"S","agentPath":"A","uri":"https://h:1","disabled":true}"#,
    );
    assert_eq!(subagent.key.as_str(), "Subagent:S");
    assert_eq!(read(r#"{"TYPE":"SubagentItem","subagentId":"S","agentId":"A","url":"https://h:1","disabled":true}"#).body, subagent.body);

    let bundle =
        read(r#"{"TYPE":"SubagentBundle","id":"B","subagentToPriority":{"S":"1 + 1","T":1}}"#);
    assert_eq!(bundle.key.as_str(), "SubagentBundle:B");
    let author = r#"{"TYPE":"SubagentCluster","subagentClusterId":"B","subagentIds":[{"subagentId":"S","priority":"1 + 1"},{"subagentId":"T","priority":1}]}"#;
    assert_eq!(read(author).body, bundle.body);
    assert_eq!(
        read(r#"{"TYPE":"SubagentSelection","id":"B","subagentToPriority":{"S":"1 + 1","T":1}}"#)
            .body,
        bundle.body
    );
}

#[test]
fn wrong_agents_and_subagents_are_told() {
    assert_eq!(
        told(r#"{"TYPE":"AgentRef","path":"A"}"#),
        ": the field \"directors\" is missing"
    );
    assert_eq!(
        told(r#"{"TYPE":"AgentRef","path":"A","directors":["a","b","c"]}"#),
        "/directors: an Agent has one or two Directors, but these are 3"
    );
    assert_eq!(
        told(r#"{"TYPE":"AgentRef","path":"A","directors":["a","a"]}"#),
        "/directors/1: the Subagent \"a\" stands twice in this list"
    );
    for uri in ["h:1", "ftp://h", "https://", "http://a b"] {
        assert_eq!(
            told(&format!(
                r#"{{"TYPE":"SubagentItem","id":"S","agentPath":"A","uri":{uri:?}}}"#
            )),
            "/uri: not the address of a Subagent; write it as in \"https://host:4445\""
        );
    }
}

#[test]
fn items_that_are_only_kept_are_checked_all_the_same() {
    for (text, key) in [
        (
            r#"{"TYPE":"Lock","path":"l","limit":2,"version":"1.1.0","title":"t"}"#,
            "Lock:l",
        ),
        (
            r#"{"TYPE":"Board","boardType":"GLOBAL","path":"b","toNotice":"$x","readingOrderToNoticeId":"$x","endOfLife":"$js7EpochMilli + 1"}"#,
            "Board:b",
        ),
        (
            r#"{"TYPE":"GlobalBoard","path":"b","postOrderToNoticeKey":"$x","expectOrderToNoticeKey":"$x","endOfLife":"1"}"#,
            "Board:b",
        ),
        (r#"{"TYPE":"PlannableBoard","path":"b"}"#, "Board:b"),
        (
            r#"{"TYPE":"Calendar","path":"c","dateOffset":-3600,"orderIdPattern":"x","periodDatePattern":"yyyy-MM-dd"}"#,
            "Calendar:c",
        ),
        (
            r#"{"type":"WORKINGDAYSCALENDAR","path":"c","from":"2026-01-01","includes":{"weekdays":[{"days":[1]}]}}"#,
            "Calendar:c",
        ),
        (
            r#"{"TYPE":"FileWatch","path":"f","workflowName":"w","agentName":"A","directoryExpr":"'/tmp'","pattern":"x","delay":2}"#,
            "OrderWatch:f",
        ),
        (
            r#"{"TYPE":"FileWatch","path":"f","workflowPath":"w","agentPath":"A","directory":"/tmp"}"#,
            "OrderWatch:f",
        ),
        (
            r#"{"TYPE":"PlanSchema","id":"p","unknownPlanIsOpenFunction":"day => $day >= $open","namedValues":{"open":"2026-01-01"}}"#,
            "PlanSchema:p",
        ),
    ] {
        let item = read(text);
        assert_eq!((item.key.as_str(), &*item.text), (key, text));
        assert!(matches!(item.body, ItemBody::Kept(_)));
    }
    let board = read(r#"{"TYPE":"Board","boardType":"PLANNABLE","path":"b"}"#);
    assert_eq!(board.body, ItemBody::Kept(ItemType::PlannableBoard));
    assert_eq!(
        told(r#"{"TYPE":"Lock","path":"l","limt":2}"#),
        "/limt: unknown field \"limt\"; did you mean \"limit\"?"
    );
    assert_eq!(
        told(r#"{"TYPE":"Board","path":"b","boardType":"GLOBALS"}"#),
        "/boardType: expected one of GLOBAL, PLANNABLE, but found the text \"GLOBALS\"; did you mean \"GLOBAL\"?"
    );
    assert_eq!(
        told(r#"{"TYPE":"Calendar","path":"c","includes":{"weekday":[]}}"#),
        "/includes/weekday: unknown field \"weekday\"; did you mean \"weekdays\"?"
    );
    assert_eq!(
        told(r#"{"TYPE":"FileWatch","path":"f"}"#),
        ": the field \"workflowName\" is missing\n: the field \"agentName\" is missing\n: the field \"directoryExpr\" is missing"
    );
}

#[test]
fn references_are_found_wherever_they_stand() {
    let workflow = r#"{"TYPE":"Workflow","path":"w","jobResourceNames":["r"],"calendarPath":"c","instructions":[
        {"TYPE":"If","predicate":"JobResource:q:v == 1","then":{"instructions":[
          {"TYPE":"Execute.Anonymous","job":{"agentName":"B","subagentClusterId":"C","executable":{"TYPE":"ShellScriptExecutable","script":""}}}]}},
        {"TYPE":"Execute.Named","jobName":"j"}],
        "jobs":{"j":{"agentName":"A","jobResourceNames":["s"],"subagentClusterIdExpr":"$computed","executable":{"TYPE":"ShellScriptExecutable","script":"","env":{"X":"JobResource:t"}}}}}"#;
    assert_eq!(
        referred(workflow),
        [
            "JobResource:q (instruction 0)",
            "JobResource:r (the workflow)",
            "JobResource:s (job \"j\")",
            "JobResource:t (job \"j\")",
            "Agent:A (job \"j\")",
            "Agent:B (instruction 0/then:0)",
            "SubagentBundle:C (instruction 0/then:0)",
            "Calendar:c (the workflow)",
        ]
    );
    assert_eq!(
        referred(r#"{"TYPE":"AgentRef","path":"A","directors":["S"]}"#),
        ["Subagent:S (directors)"]
    );
    assert_eq!(
        referred(r#"{"TYPE":"SubagentItem","id":"S","agentPath":"A","uri":"http://h"}"#),
        ["Agent:A (agentPath)"]
    );
    assert_eq!(
        referred(r#"{"TYPE":"SubagentBundle","id":"B","subagentToPriority":{"S":1}}"#),
        ["Subagent:S (subagentToPriority)"]
    );
    assert_eq!(
        referred(
            r#"{"TYPE":"FileWatch","path":"f","workflowName":"w","agentName":"A","directory":"/"}"#
        ),
        ["Workflow:w (workflowName)", "Agent:A (agentName)"]
    );
    let bundle = references(&read(workflow))
        .into_iter()
        .find(|reference| reference.kind == ItemType::SubagentBundle)
        .unwrap();
    let keys: Vec<String> = bundle.keys().iter().map(ToString::to_string).collect();
    assert_eq!(
        keys,
        ["SubagentBundle:C", "Subagent:C"],
        "a single Subagent may stand for a cluster"
    );
}

#[test]
fn the_name_of_a_file_tells_the_type() {
    for (file, kind) in [
        ("a.workflow.json", Some(ItemType::Workflow)),
        ("dir.lock.json/a.workflow.yaml", Some(ItemType::Workflow)),
        ("a.b.workflow.yml", Some(ItemType::Workflow)),
        ("a.lock.json", Some(ItemType::Lock)),
        ("a.jobresource.json", Some(ItemType::JobResource)),
        ("a.noticeboard.json", Some(ItemType::GlobalBoard)),
        ("a.calendar.json", Some(ItemType::Calendar)),
        ("a.fileordersource.json", Some(ItemType::FileWatch)),
        ("a.agentref.json", Some(ItemType::AgentRef)),
        ("a.subagentitem.json", Some(ItemType::SubagentItem)),
        ("a.subagentbundle.json", Some(ItemType::SubagentBundle)),
        ("a.schedule.json", None),
        ("workflow.json", None),
        (".workflow.json", None),
        ("a.workflow.txt", None),
    ] {
        assert_eq!(item_type_of_file(Path::new(file)), kind, "{file}");
    }
    assert_eq!(
        Format::of_path(Path::new("a.workflow.yml")),
        Some(Format::Yaml)
    );
    assert_eq!(
        Format::of_path(Path::new("a.workflow.json")),
        Some(Format::Json)
    );
    assert_eq!(Format::of_path(Path::new("a.workflow")), None);
}
