//! Items that cannot be read, or that cannot be.

use serde_json::{Value, json};

use crate::{assert_says, deploy, events, text, world};

/// Posts items that must be refused, saying these words and changing nothing.
async fn refused(operations: &[Value], words: &[&str]) {
    let world = world(&[]).await;
    let before = events(&world).await;
    let refused = world.api().items(operations).await.unwrap().unwrap_err();
    assert_eq!(refused.status, 400, "{refused}");
    assert_says(&refused, words);
    assert_eq!(events(&world).await, before, "nothing has changed");
}

fn workflow(instructions: &Value) -> Value {
    text(&json!({"TYPE": "Workflow", "path": "w", "instructions": instructions}))
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_json_is_refused_with_its_line_and_column() {
    let world = world(&[]).await;
    let before = events(&world).await;
    for (body, words) in [
        ("{\"TYPE\":\"AddVersion\",", &["line 1", "column"][..]),
        ("{}\n[1,2]\nnot json\n", &["line 1", "line 3"]),
        (
            "{\"TYPE\":\"AddOrChangeGently\"}",
            &["AddOrChangeGently", "AddOrChangeSimple"],
        ),
    ] {
        let answer = world
            .api()
            .post("/controller/api/item", "application/x-ndjson", body)
            .await;
        let refused = answer.unwrap().unwrap_err();
        assert_eq!(refused.status, 400, "{refused}");
        assert_says(&refused, words);
    }
    let inner = json!({"TYPE": "AddOrChangeSigned", "signed": {"string": "{\n\"TYPE\":\"Workflow\",\n\"path\" \"w\"}"}});
    let refused = world.api().items(&[inner]).await.unwrap().unwrap_err();
    assert_says(&refused, &["line 3"]);
    assert_eq!(events(&world).await, before, "nothing has changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_misspelt_field_is_named_with_its_place_and_the_nearest_known_one() {
    let job = json!({"agentPath": "ALFA", "parallelizm": 2, "executable": {"TYPE": "ShellScriptExecutable", "script": ":"}});
    let item = workflow(&json!([{"TYPE": "Execute.Anonymous", "job": job}]));
    refused(
        &[item],
        &[
            "line 1",
            "/instructions/0/job",
            "parallelizm",
            "parallelism",
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_type_is_told_with_its_place() {
    let item = workflow(
        &json!([{"TYPE": "Try", "try": {"instructions": []}, "catch": {"instructions": []}, "maxTries": "many"}]),
    );
    refused(&[item], &["/instructions/0/maxTries"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_of_all_items_is_told_at_once() {
    let first = text(
        &json!({"TYPE": "Workflow", "path": "one", "instructions": [{"TYPE": "Nap"}, {"TYPE": "Retry"}]}),
    );
    let second = text(
        &json!({"TYPE": "Workflow", "path": "two", "instructions": [{"TYPE": "Execute.Named", "jobName": "GONE"}]}),
    );
    let third =
        json!({"TYPE": "AddOrChangeSimple", "item": {"TYPE": "Lock", "path": "L", "limmit": 1}});
    refused(
        &[first, second, third],
        &[
            "Workflow:one",
            "Nap",
            "Retry",
            "Workflow:two",
            "GONE",
            "limmit",
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_references_are_told_together() {
    let job = json!({"agentPath": "NOWHERE", "executable": {"TYPE": "ShellScriptExecutable", "script": ":"}});
    let item = text(&json!({
        "TYPE": "Workflow", "path": "w", "jobResourcePaths": ["NOTHING"],
        "instructions": [{"TYPE": "Execute.Anonymous", "job": job}],
    }));
    refused(
        &[item],
        &[
            "MissingReferencedItem",
            "Agent:NOWHERE",
            "JobResource:NOTHING",
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_without_its_subagent_and_the_other_way_round_are_refused() {
    let agent = json!({"TYPE": "AddOrChangeSimple", "item": {"TYPE": "AgentRef", "path": "A", "directors": ["A-0"]}});
    refused(std::slice::from_ref(&agent), &["Subagent:A-0"]).await;
    let subagent = json!({"TYPE": "AddOrChangeSimple", "item": {
        "TYPE": "SubagentItem", "id": "A-0", "agentPath": "A", "uri": "http://127.0.0.1:1"}});
    refused(std::slice::from_ref(&subagent), &["Agent:A"]).await;
    // They refer to each other, so they come together.
    let world = world(&[]).await;
    assert!(world.api().items(&[agent, subagent]).await.unwrap().is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_that_need_each_other_are_refused_with_the_order() {
    let world = world(&[]).await;
    let workflow = json!({
        "TYPE": "Workflow", "path": "circle", "instructions": [],
        "orderPreparation": {"parameters": {"a": {"final": "$b"}, "b": {"final": "$a"}}},
    });
    world.api().change_items(&[text(&workflow)]).await.unwrap();
    let before = events(&world).await;
    let add = json!({"TYPE": "AddOrder", "order": {"id": "O", "workflowPath": "circle"}});
    let refused = world.api().command(&add).await.unwrap().unwrap_err();
    assert_eq!(events(&world).await, before, "nothing has changed");
    assert_says(&refused, &["'a' depends on itself"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expression_that_cannot_be_read_is_drawn_with_its_place() {
    let item = workflow(
        &json!([{"TYPE": "If", "ifThens": [{"predicate": "$a == == 1", "then": {"instructions": []}}]}]),
    );
    refused(&[item], &["/instructions/0/ifThens/0/predicate"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expression_that_fails_at_run_time_fails_its_order_only() {
    let world = world(&[]).await;
    deploy(&world, "divide", json!([{"TYPE": "If", "ifThens": [{"predicate": "1 / $n > 0", "then": {"instructions": []}}]}])).await;
    for (id, n) in [("BAD", 0), ("GOOD", 1)] {
        let order = json!({"id": id, "workflowPath": "divide", "arguments": {"n": n}});
        world.api().add_order(&order).await.unwrap();
    }
    let outcome = world.await_event("BAD", "OrderOutcomeAdded").await.unwrap();
    assert!(
        outcome.to_string().contains("Division by zero"),
        "{outcome}"
    );
    world.await_event("BAD", "OrderFailed").await.unwrap();
    world.await_event("GOOD", "OrderFinished").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_yaml_on_the_command_line_names_file_line_and_field() {
    let world = world(&[]).await;
    let before = events(&world).await;
    let file = world.tmp().join("broken.yaml");
    for (yaml, words) in [
        (
            "TYPE: Workflow\npath: w\ninstructions:\n- TYPE: Fail\n  mesage: \"'no'\"\n",
            &["broken.yaml", "mesage", "message", "5"][..],
        ),
        (
            "TYPE: Workflow\npath: w\ninstructions: [\n",
            &["broken.yaml"],
        ),
        (
            "TYPE: Workflow\npath: w\ninstructions: 7\n",
            &["broken.yaml", "instructions", "3"],
        ),
    ] {
        std::fs::write(&file, yaml).unwrap();
        let output = world
            .command_line(&["deploy", file.to_str().unwrap()])
            .unwrap();
        let told = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(!output.status.success(), "{told}");
        for word in words {
            assert!(told.contains(word), "“{word}” is not said: {told}");
        }
    }
    assert_eq!(events(&world).await, before, "nothing has changed");
}
