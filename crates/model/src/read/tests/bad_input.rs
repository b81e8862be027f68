//! Bad input: each kind with what is told about it.

use super::{around, faults_of, told};
use crate::read::{Format, Origin, item};

/// What is told about a workflow of these instructions.
fn told_of(instructions: &str) -> String {
    told(&around(instructions))
}

/// What is told about a job with these fields.
fn told_of_job(fields: &str) -> String {
    let job = format!(
        r#"{{"agentName":"A","executable":{{"TYPE":"ShellScriptExecutable","script":":"}}{fields}}}"#
    );
    told_of(&format!(r#"{{"TYPE":"Execute.Anonymous","job":{job}}}"#))
        .replace("/instructions/0/job", "")
}

/// What is told about an executable with these fields.
fn told_of_executable(fields: &str) -> String {
    let job = format!(r#"{{"agentName":"A","executable":{{{fields}}}}}"#);
    told_of(&format!(r#"{{"TYPE":"Execute.Anonymous","job":{job}}}"#))
        .replace("/instructions/0/job/executable", "")
}

/// What is told about a parameter with these fields.
fn told_of_parameter(fields: &str) -> String {
    let text = format!(
        r#"{{"TYPE":"Workflow","path":"w","instructions":[],"orderPreparation":{{"parameters":{{"p":{{{fields}}}}}}}}}"#
    );
    told(&text).replace("/orderPreparation/parameters/p", "")
}

fn told_of_yaml(text: &str) -> String {
    item(text, Format::Yaml, &Origin::default())
        .expect_err("the text is faulty")
        .to_string()
}

const BLOCK: &str = r#"{"instructions":[]}"#;

#[test]
fn broken_json_is_told_with_its_place() {
    for (text, message) in [
        ("", "line 1, column 1: the text is empty"),
        (" \n ", "line 1, column 1: the text is empty"),
        (
            "[1,",
            "line 1, column 3: the text ends where a value was expected",
        ),
        (
            "{\n \"a\" 1}",
            "line 2, column 6: expected a colon behind the field name, but found '1'",
        ),
        (
            "{\"a\":1\n \"b\":2}",
            "line 2, column 2: expected a comma or }, but found '\"'",
        ),
        (
            "{\"a\":1,}",
            "line 1, column 8: expected a field name in double quotes, but found '}'; remove the comma before it",
        ),
        (
            "[1,]",
            "line 1, column 4: expected a value, but found ']'; remove the comma before it",
        ),
        (
            "{a:1}",
            "line 1, column 2: expected a field name in double quotes or }, but found 'a'",
        ),
        (
            "{} {}",
            "line 1, column 4: expected the end of the text, because the JSON value ends before, but found '{'",
        ),
        (
            "{\"a\":tru}",
            "line 1, column 6: expected a value, but found 't'",
        ),
        (
            "{\"a\":'x'}",
            "line 1, column 6: expected a value, but found '\\''",
        ),
        (
            "{\"a\":01}",
            "line 1, column 6: not a number; a text needs double quotes",
        ),
        (
            "{\"a\":1.2.3}",
            "line 1, column 6: not a number; a text needs double quotes",
        ),
        (
            "{\"a\":-}",
            "line 1, column 6: not a number; a text needs double quotes",
        ),
        (
            "{\"a\":\"x\n\"}",
            "line 1, column 6: the text in double quotes does not end; a line break inside is written \\n, a double quote \\\"",
        ),
        (
            "{\"a\":\"x",
            "line 1, column 6: the text in double quotes does not end; a line break inside is written \\n, a double quote \\\"",
        ),
        (
            "{\"a\":\"\t\"}",
            "line 1, column 7: a control character (U+0009) must be escaped; write it as \\uXXXX, a tab as \\t",
        ),
        (
            r#"{"ä":"\d"}"#,
            "line 1, column 7: unknown escape in a text; known are \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\uXXXX; a backslash itself is written \\\\",
        ),
        (
            r#"{"a":"\ud800x"}"#,
            "line 1, column 7: \\u must be followed by four hexadecimal digits that make a character",
        ),
        (
            "\u{feff}{}",
            "line 1, column 1: the text begins with a byte order mark; save it as UTF-8 without one",
        ),
        (
            "7",
            "line 1, column 1: an item must be an object, but is the number 7",
        ),
    ] {
        assert_eq!(faults_of(text).to_string(), message, "{text:?}");
    }
}

#[test]
fn broken_yaml_is_told_with_its_place() {
    for (text, message) in [
        ("", "line 1, column 1: the text is empty"),
        ("# nothing\n", "line 2, column 1: the text is empty"),
        (
            "---\na: 1\n---\nb: 2\n",
            "line 3, column 1: a second document begins here; put each item into a file of its own",
        ),
        (
            "TYPE: !money 5\n",
            "line 1, column 14: this tag has no meaning here; known are !!str, !!int, !!float, !!bool and !!null",
        ),
        (
            "? [a]\n: 1\n",
            "line 1, column 3: the name of a field must be a text; a text that begins with a bracket or a brace needs quotes",
        ),
        (
            "a: &x [*x]\n",
            "line 1, column 8: this alias repeats a value that it stands in itself",
        ),
    ] {
        assert_eq!(told_of_yaml(text), message, "{text:?}");
    }
    for (text, place) in [
        ("a: [1, 2\n", "line "),
        ("a: 1\n  b: 2\n", "line 2"),
        ("a: *unknown\n", "line 1"),
    ] {
        let told = told_of_yaml(text);
        assert!(
            told.starts_with(place) && told.contains("not YAML: "),
            "{text:?}: {told}"
        );
    }
}

#[test]
fn a_field_that_no_dialect_knows_is_told_with_path_line_and_the_nearest_name() {
    let text = "{\"TYPE\":\"Workflow\",\"path\":\"w\",\n \"instructoins\":[],\n \"instructions\":[\n  {\"TYPE\":\"Fail\",\"mesage\":\"x\"},\n  {\"TYPE\":\"Stop\",\"elephant\":1}]}";
    assert_eq!(
        faults_of(text).to_string(),
        "line 2, column 2, /instructoins: unknown field \"instructoins\"; did you mean \"instructions\"?\n\
         line 4, column 18, /instructions/0/mesage: unknown field \"mesage\"; did you mean \"message\"?\n\
         line 5, column 18, /instructions/1/elephant: unknown field \"elephant\"; known here: TYPE, label"
    );
}

#[test]
fn a_misspelt_field_is_not_told_as_missing_too() {
    assert_eq!(
        told_of(r#"{"TYPE":"Execute.Named","jobname":"j"}"#),
        "/instructions/0/jobname: unknown field \"jobname\"; did you mean \"jobName\"?"
    );
    assert_eq!(
        told_of_job(r#","agentname":"B""#),
        "/agentname: unknown field \"agentname\"; did you mean \"agentName\"?"
    );
    assert_eq!(
        told_of_job(r#","processlimit":1"#),
        "/processlimit: unknown field \"processlimit\"; did you mean \"processLimit\"?",
        "the engine's names are suggested, too"
    );
}

#[test]
fn a_misspelt_type_is_told_as_such() {
    assert_eq!(
        told_of(r#"{"TYP":"Stop","label":"x"}"#),
        "/instructions/0/TYP: unknown field \"TYP\"; did you mean \"TYPE\"?"
    );
}

#[test]
fn a_missing_field_is_told() {
    assert_eq!(
        told(r#"{"TYPE":"Workflow","path":"w"}"#),
        ": the field \"instructions\" is missing"
    );
    assert_eq!(
        told_of("{}"),
        "/instructions/0: the field \"TYPE\" is missing"
    );
    assert_eq!(
        told_of(r#"{"TYPE":"If"}"#),
        "/instructions/0: the field \"predicate\" is missing\n/instructions/0: the field \"then\" is missing"
    );
    assert_eq!(
        told_of(r#"{"TYPE":"Sleep"}"#),
        "/instructions/0: the field \"duration\" is missing"
    );
    assert_eq!(
        told_of(r#"{"TYPE":"Sleep","duration":null}"#),
        "/instructions/0: the field \"duration\" is missing"
    );
    assert_eq!(
        told(r#"{"TYPE":"Workflow","instructions":[]}"#),
        ": the field \"path\" is missing"
    );
    assert_eq!(
        told(r#"{"path":"w","instructions":[]}"#),
        ": the field \"TYPE\" is missing; it says what the item is: Workflow, JobResource, AgentRef, SubagentItem, SubagentBundle, FileWatch, Calendar, Lock, GlobalBoard, PlannableBoard, PlanSchema"
    );
}

#[test]
fn a_field_given_twice_is_told() {
    assert_eq!(
        faults_of("{\"TYPE\":\"Workflow\",\n\"path\":\"a\",\n\"path\":\"b\",\"instructions\":[]}")
            .to_string(),
        "line 3, column 1, /path: the field \"path\" is given twice; it was given first in line 2"
    );
    assert_eq!(
        told_of_yaml(
            "TYPE: Workflow\npath: w\ninstructions:\n- TYPE: Stop\n  label: a\n  label: b\n"
        ),
        "line 6, column 3, /instructions/0/label: the field \"label\" is given twice; it was given first in line 5"
    );
    assert_eq!(
        told_of_job(r#","agentPath":"B""#),
        "/agentPath: \"agentName\" and \"agentPath\" mean the same; give only one of them"
    );
}

#[test]
fn a_wrong_type_tells_what_was_expected_and_what_was_found() {
    for (instruction, message) in [
        (
            "7",
            "/instructions/0: an instruction must be an object, but is the number 7",
        ),
        (
            r#"{"TYPE":5}"#,
            "/instructions/0/TYPE: expected a text, but found the number 5",
        ),
        (
            r#"{"TYPE":"Stop","label":["a"]}"#,
            "/instructions/0/label: expected a text, but found a list",
        ),
        (
            r#"{"TYPE":"Stop","label":""}"#,
            "/instructions/0/label: a name must not be empty",
        ),
        (
            r#"{"TYPE":"Fail","uncatchable":"yes"}"#,
            "/instructions/0/uncatchable: expected true or false, but found the text \"yes\"",
        ),
        (
            r#"{"TYPE":"Options","block":[]}"#,
            "/instructions/0/block: a block must be an object, but is a list",
        ),
        (
            r#"{"TYPE":"Options","block":{"instructions":{}}}"#,
            "/instructions/0/block/instructions: expected a list of instructions, but found an object",
        ),
        (
            r#"{"TYPE":"CaseWhen","cases":[]}"#,
            "/instructions/0/cases: at least one case is needed",
        ),
        (
            r#"{"TYPE":"Fork","branches":[]}"#,
            "/instructions/0/branches: at least one branch is needed",
        ),
    ] {
        assert_eq!(told_of(instruction), message);
    }
    for (max_tries, found) in [
        ("0", "the number 0"),
        ("-1", "the number -1"),
        ("1.5", "the number 1.5"),
        ("\"3\"", "the text \"3\""),
    ] {
        assert_eq!(
            told_of(&format!(
                r#"{{"TYPE":"Try","try":{BLOCK},"catch":{BLOCK},"maxTries":{max_tries}}}"#
            )),
            format!(
                "/instructions/0/maxTries: expected a whole number from 1 to 4294967295, but found {found}"
            )
        );
    }
    assert_eq!(
        told_of(&format!(
            r#"{{"TYPE":"Try","try":{BLOCK},"catch":{BLOCK},"retryDelays":[1,-1]}}"#
        )),
        "/instructions/0/retryDelays/1: expected a number of seconds, zero or more, but found the number -1"
    );
}

#[test]
fn every_fault_of_a_text_is_told_in_the_order_of_the_text() {
    let text = around(
        r#"{"TYPE":"Execute.Named","jobName":"a"},
{"TYPE":"Say","what":"1 +"},
{"TYPE":"Fork","branches":[{"id":"","workflow":{"instructions":[{"TYPE":"Retry"}]}}]}"#,
    );
    let faults = faults_of(&text);
    let places: Vec<(&str, usize)> = faults
        .iter()
        .map(|fault| (&*fault.path, fault.line))
        .collect();
    assert_eq!(
        places,
        [
            ("/instructions/0/jobName", 1),
            ("/instructions/1/what", 2),
            ("/instructions/2/branches/0/id", 3),
            ("/instructions/2/branches/0/workflow/instructions/0", 3),
        ]
    );
    assert_eq!(faults.count(), 4);
}

#[test]
fn an_unknown_instruction_is_told_with_the_nearest_name() {
    assert_eq!(
        told_of(r#"{"TYPE":"Execute.Nmaed","jobName":"j"}"#),
        "/instructions/0/TYPE: unknown instruction TYPE \"Execute.Nmaed\"; did you mean \"Execute.Named\"?"
    );
    let told = told_of(r#"{"TYPE":"Teleport"}"#);
    assert!(
        told.starts_with(
            "/instructions/0/TYPE: unknown instruction TYPE \"Teleport\"; known are Execute.Named, "
        ),
        "{told}"
    );
}

#[test]
fn an_instruction_that_is_known_and_not_carried_out_yet_is_told_as_such_and_once() {
    for tag in [
        "Lock",
        "Prompt",
        "PostNotices",
        "PostNotice",
        "ExpectNotices",
        "ExpectNotice",
        "ConsumeNotices",
        "AddOrder",
        "Cycle",
        "Break",
        "ForkList",
        "AdmissionTime",
        "BreakOrder",
    ] {
        assert_eq!(
            told_of(&format!(
                r#"{{"TYPE":"Stop"}},{{"TYPE":"{tag}","unheard":[],"label":"x"}}"#
            )),
            format!("/instructions/1/TYPE: {tag} is not supported by this version yet")
        );
    }
}

#[test]
fn a_tie_to_a_subagent_does_not_stand_in_another() {
    let sticky = |inner: &str| {
        format!(
            r#"{{"TYPE":"StickySubagent","agentPath":"A","subworkflow":{{"instructions":[{inner}]}}}}"#
        )
    };
    let nested = format!(
        r#"{{"TYPE":"Options","block":{{"instructions":[{}]}}}}"#,
        sticky("")
    );
    assert_eq!(
        told_of(&sticky(&nested)),
        "/instructions/0/subworkflow/instructions/0/block/instructions/0: StickySubagent may not stand in another StickySubagent; end the outer block before, or leave the inner one out"
    );
}

#[test]
fn settings_of_jobs_that_are_not_followed_yet_are_told_and_not_dropped() {
    assert_eq!(
        told_of_job(r#","admissionTimeScheme":{"periods":[]},"skipIfNoAdmissionForOrderDay":true"#),
        "/admissionTimeScheme: admissionTimeScheme is not supported by this version yet"
    );
    assert_eq!(
        told_of_executable(r#""TYPE":"InternalExecutable","className":"x""#),
        "/TYPE: InternalExecutable is not supported by this version yet"
    );
    assert_eq!(
        told_of_executable(
            r#""TYPE":"ShellScriptExecutable","script":"","login":{"credentialKey":"x"}"#
        ),
        "/login: login is not supported by this version yet"
    );
}

#[test]
fn a_job_must_exist_where_it_is_named() {
    let text = r#"{"TYPE":"Workflow","path":"w","instructions":[
        {"TYPE":"Execute.Named","jobName":"dmup"},
        {"TYPE":"Options","block":{"instructions":[],"jobs":{"inner":{"agentName":"A","executable":{"TYPE":"ShellScriptExecutable","script":":"}}}}},
        {"TYPE":"Execute.Named","jobName":"inner"}],
        "jobs":{"dump":{"agentName":"A","executable":{"TYPE":"ShellScriptExecutable","script":":"}}}}"#;
    assert_eq!(
        told(text),
        "/instructions/0/jobName: the job \"dmup\" is not defined in this workflow; did you mean \"dump\"?\n\
         /instructions/2/jobName: the job \"inner\" is not defined in this workflow"
    );
}

#[test]
fn a_label_stands_once_in_a_workflow() {
    let text = around(
        "{\"TYPE\":\"Stop\",\"label\":\"a\"},\n{\"TYPE\":\"Options\",\"block\":{\"instructions\":[{\"TYPE\":\"Stop\",\"label\":\"a\"}]}}",
    );
    assert_eq!(
        told(&text),
        "/instructions/1/block/instructions/0/label: the label \"a\" is used twice; it stands first in line 1"
    );
}

#[test]
fn retry_stands_in_a_catch_block_only() {
    let retry = "Retry may stand in a catch block only; put it into the catch block of a Try";
    assert_eq!(
        told_of(r#"{"TYPE":"Retry"}"#),
        format!("/instructions/0: {retry}")
    );
    assert_eq!(
        told_of(&format!(
            r#"{{"TYPE":"Try","try":{{"instructions":[{{"TYPE":"Retry"}}]}},"catch":{BLOCK}}}"#
        )),
        format!("/instructions/0/try/instructions/0: {retry}")
    );
    let forked =
        r#"{"TYPE":"Fork","branches":[{"id":"a","workflow":{"instructions":[{"TYPE":"Retry"}]}}]}"#;
    assert_eq!(
        told_of(&format!(
            r#"{{"TYPE":"Try","try":{BLOCK},"catch":{{"instructions":[{forked}]}}}}"#
        )),
        format!("/instructions/0/catch/instructions/0/branches/0/workflow/instructions/0: {retry}"),
        "a child order cannot retry what its parent has tried"
    );
}

#[test]
fn the_branches_of_a_fork_have_names_that_make_order_ids() {
    let branches = |ids: [&str; 2]| {
        let branches = ids
            .map(|id| format!(r#"{{"id":{id:?},"workflow":{BLOCK}}}"#))
            .join(",");
        told_of(&format!(r#"{{"TYPE":"Fork","branches":[{branches}]}}"#))
    };
    assert_eq!(
        branches(["a", "a"]),
        "/instructions/0/branches/1/id: the branch \"a\" stands twice in this fork"
    );
    assert_eq!(
        branches(["a", ""]),
        "/instructions/0/branches/1/id: a name must not be empty"
    );
    assert_eq!(
        branches(["a|b", "c"]),
        "/instructions/0/branches/0/id: the id of a branch must not contain \"|\", because it becomes a part of order ids"
    );
}

#[test]
fn blocks_are_nested_fifteen_deep_and_no_deeper() {
    let nested = |depth: usize| {
        let inner =
            r#"{"TYPE":"Options","block":{"instructions":["#.repeat(depth) + &"]}}".repeat(depth);
        around(&inner)
    };
    assert!(item(&nested(15), Format::Json, &Origin::default()).is_ok());
    assert_eq!(
        told(&nested(16)),
        format!(
            "{}/block: blocks are nested deeper than 15 levels; put the inner instructions into a workflow of their own",
            "/instructions/0/block".repeat(15) + "/instructions/0"
        )
    );
}

#[test]
fn an_expression_is_told_at_its_place_in_the_line() {
    let text = around(
        "{\"TYPE\":\"If\",\n  \"predicate\":\"$a == \\\"x\\\" && )\",\"then\":{\"instructions\":[]}}",
    );
    let faults = faults_of(&text);
    let fault = faults.iter().next().unwrap();
    assert_eq!(
        (fault.line, fault.column),
        (2, 31),
        "escapes count as they are written"
    );
    assert_eq!(fault.path, "/instructions/0/predicate");
    assert!(
        fault.message.starts_with("not an expression: "),
        "{}",
        fault.message
    );

    let yaml = "TYPE: Workflow\npath: w\ninstructions:\n- TYPE: Say\n  what: |\n    1 +\n      'ä' ++ )\n- TYPE: Say\n  what: 'it''s )'\n- TYPE: Say\n  what: \"\\t1 )\"\n- TYPE: Say\n  what: 1 + )\n";
    let faults = item(yaml, Format::Yaml, &Origin::default()).unwrap_err();
    let places: Vec<(usize, usize)> = faults
        .iter()
        .map(|fault| (fault.line, fault.column))
        .collect();
    assert_eq!(places[0], (7, 14), "{faults}");
    assert_eq!(places[1].0, 9, "{faults}");
    assert_eq!(places[2], (11, 14), "{faults}");
    assert_eq!(places[3], (13, 13), "{faults}");
}

#[test]
fn a_fault_is_drawn_under_its_line() {
    let text = "{\"TYPE\":\"Workflow\",\"path\":\"w\",\n  \"instructions\":[\n    {\"TYPE\":\"Fail\", \"mesage\":\"x\"}]}";
    assert_eq!(
        faults_of(text).draw(text, "w.workflow.json"),
        "error: unknown field \"mesage\"\n --> w.workflow.json:3:21\n  |\n3 |     {\"TYPE\":\"Fail\", \"mesage\":\"x\"}]}\n  |                     ^^^^^^^^\n  |\n  = note: at /instructions/0/mesage\n  = help: did you mean \"message\"?"
    );
    let long = around(&format!(
        r#"{{"TYPE":"Say","what":"'{}' + )"}}"#,
        "ä".repeat(5_000)
    ));
    let drawn = faults_of(&long).draw(&long, "w.json");
    assert!(
        drawn.len() < 2_000 && drawn.contains("w.json:1:"),
        "{drawn}"
    );
}

#[test]
fn wrong_executables_are_told() {
    assert_eq!(
        told_of_executable(r#""TYPE":"ShelScriptExecutable","script":":""#),
        "/TYPE: unknown executable TYPE \"ShelScriptExecutable\"; did you mean \"ShellScriptExecutable\"?"
    );
    for path in ["../x", "a/../b", " x", "a//b", ".hidden", "a/.hidden/b"] {
        assert_eq!(
            told_of_executable(&format!(r#""TYPE":"PathExecutable","path":{path:?}"#)),
            "/path: the path must stay in the executables folder; a relative path has no blanks around it and no part that is empty or begins with \".\"",
            "{path}"
        );
    }
    let told = told_of_executable(r#""TYPE":"CommandLineExecutable","command":"'unended""#);
    assert!(told.starts_with("/command: not a command line: "), "{told}");
    assert_eq!(
        told_of_executable(r#""TYPE":"ShellScriptExecutable","script":"","env":{"A=B":"1"}"#),
        "/env/A=B: the name of an environment variable must not contain \"=\""
    );
}

#[test]
fn wrong_return_codes_are_told() {
    let told = |meaning: &str| {
        told_of_executable(&format!(
            r#""TYPE":"ShellScriptExecutable","script":"","returnCodeMeaning":{meaning}"#
        ))
        .replace("/returnCodeMeaning", "")
    };
    let expected = "expected return codes such as \"0,4..6\" or [0, [4, 6]], but found";
    assert_eq!(
        told(r#"{"success":"0,x"}"#),
        format!("/success: {expected} the text \"0,x\"")
    );
    assert_eq!(
        told(r#"{"success":"6..4"}"#),
        format!("/success: {expected} the text \"6..4\"")
    );
    assert_eq!(
        told(r#"{"failure":[0,[4]]}"#),
        format!("/failure/1: {expected} a list")
    );
    assert_eq!(
        told(r#"{"failure":1.5}"#),
        format!("/failure: {expected} the number 1.5")
    );
    assert_eq!(
        told(r#"{"success":0,"failure":1}"#),
        ": both \"success\" and \"failure\" are given; give only one of them: all other codes mean the opposite"
    );
}

#[test]
fn wrong_parameters_are_told() {
    assert_eq!(
        told_of_parameter(r#""type":"Sting""#),
        "/type: unknown type \"Sting\"; did you mean \"String\"?"
    );
    assert_eq!(
        told_of_parameter(r#""default":1,"final":2"#),
        ": a parameter has either a \"default\" or a \"final\" value; give only one of them"
    );
    assert_eq!(
        told_of_parameter(r#""type":"Number","default":"'x'""#),
        "/default: the value is a String, but the parameter is a Number"
    );
    assert_eq!(
        told_of_parameter(r#""type":"String","default":7"#),
        "/default: the value is a Number, but the parameter is a String"
    );
    let told = told_of_parameter(r#""type":"Number","default":"1 +""#);
    assert!(told.starts_with("/default: not an expression: "), "{told}");
    let told = told_of_parameter(r#""type":"String","default":"'unended""#);
    assert!(told.starts_with("/default: not an expression: "), "{told}");
}

#[test]
fn wrong_jobs_are_told() {
    assert_eq!(
        told_of_job(r#","timeout":"soon""#),
        "/timeout: expected a number of seconds, zero or more, but found the text \"soon\""
    );
    assert_eq!(
        told_of_job(r#","jobResourceNames":["a","a"]"#),
        "/jobResourceNames/1: the job resource \"a\" stands twice in this list"
    );
    assert_eq!(
        told_of_job(r#","subagentClusterId":"a","subagentClusterIdExpr":"$b""#),
        ": both \"subagentClusterId\" and \"subagentClusterIdExpr\" are given; give only one of them, or say with \"withSubagentClusterIdExpr\" which counts"
    );
    let told = told_of(
        r#"{"TYPE":"Execute.Anonymous","job":{"agentName":"no name","executable":{"TYPE":"ShellScriptExecutable","script":""}}}"#,
    );
    assert!(
        told.starts_with(
            "/instructions/0/job/agentName: AgentPath \"no name\" is not a valid name: "
        ),
        "{told}"
    );
}

#[test]
fn an_unknown_time_zone_is_told() {
    assert_eq!(
        told(r#"{"TYPE":"Workflow","path":"w","instructions":[],"timeZone":"Mars/Olympus"}"#),
        "/timeZone: unknown time zone \"Mars/Olympus\"; write it as in \"Europe/Berlin\" or \"Etc/UTC\""
    );
}

#[test]
fn an_item_of_an_unknown_type_is_told() {
    assert_eq!(
        told(r#"{"TYPE":"Workfow","path":"w"}"#),
        "/TYPE: unknown item TYPE \"Workfow\"; did you mean \"Workflow\"?"
    );
    assert_eq!(
        told(r#"{"TYPE":"Schedule"}"#),
        "/TYPE: a Schedule belongs to the Cockpit and is not sent to a Controller"
    );
    assert_eq!(
        told(r#"{"TYPE":"WorkflowControl"}"#),
        "/TYPE: a WorkflowControl is made by commands and is not deployed"
    );
    assert_eq!(
        told(r#"{"TYPE":"Lock","path":"l","itemRevision":3}"#),
        "/itemRevision: itemRevision must not be given; leave it out: the Controller numbers the revisions"
    );
}

#[test]
fn a_fault_in_another_notation_names_the_notation_here() {
    let contains = |told: String, expected: &str| {
        assert!(told.contains(expected), "{expected} is not in: {told}");
    };
    contains(told_of_job(r#","timeout":"10m""#), "; write 600");
    contains(
        told_of_job(r#","timeout":"soon""#),
        "a number of seconds, zero or more, but found",
    );
    contains(
        told_of_executable(r#""TYPE":"ShellScriptExecutable","script":":","env":{"A":"hello"}"#),
        "a text stands in quotes of its own: \"'hello'\"",
    );
    contains(
        told_of_executable(r#""TYPE":"ShellScriptExecutable","script":":","env":{"A":"/var/log"}"#),
        "\"'/var/log'\"",
    );
    contains(told_of(r#"{"TYPE":"Execute"}"#), "Execute.Anonymous");
    contains(told_of(r#"{"TYPE":"Shell"}"#), "ShellScriptExecutable");
    contains(
        told_of(r#"{"TYPE":"CaseWhen","cases":[{"when":"true","then":{"instructions":[]}}]}"#),
        "did you mean \"predicate\"?",
    );
}
