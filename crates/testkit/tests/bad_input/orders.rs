//! Orders that do not fit.

use serde_json::{Value, json};
use testkit::world::{Refused, World};

use crate::{assert_says, deploy, events, text, world};

async fn refused(world: &World, order: &Value) -> Refused {
    let before = events(world).await;
    let add = json!({"TYPE": "AddOrder", "order": order});
    let refused = world.api().command(&add).await.unwrap().unwrap_err();
    assert_eq!(refused.status, 400, "{refused}");
    assert_eq!(events(world).await, before, "nothing has changed");
    refused
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_unknown_and_wrong_arguments_are_each_told_by_name() {
    let world = world(&[]).await;
    let workflow = json!({
        "TYPE": "Workflow", "path": "w", "instructions": [],
        "orderPreparation": {"parameters": {
            "must": {"type": "Number"}, "may": {"default": "1"}, "fix": {"final": "'fixed'"},
        }},
    });
    world.api().change_items(&[text(&workflow)]).await.unwrap();
    let order = |arguments: Value| json!({"id": "O", "workflowPath": "w", "arguments": arguments});
    for (arguments, code, name) in [
        (json!({}), "MissingOrderArgument", "must"),
        (
            json!({"must": 1, "other": 2}),
            "UndeclaredOrderArgument",
            "other",
        ),
        (json!({"must": "one"}), "WrongValueType", "must"),
        (
            json!({"must": 1, "fix": "mine"}),
            "FinalOrderArgument",
            "fix",
        ),
    ] {
        let refused = refused(&world, &order(arguments)).await;
        assert_says(&refused, &[code, name]);
    }
    world
        .api()
        .add_order(&order(json!({"must": 1})))
        .await
        .unwrap();
    world.await_event("O", "OrderFinished").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_for_a_workflow_or_place_that_does_not_exist_is_refused() {
    let world = world(&[]).await;
    deploy(&world, "w", json!([])).await;
    assert_says(
        &refused(&world, &json!({"id": "O", "workflowPath": "gone"})).await,
        &["Workflow:gone"],
    );
    let nowhere = json!({"id": "O", "workflowPath": "w", "startPosition": [7]});
    assert_says(&refused(&world, &nowhere).await, &["Unknown position 7"]);
    let label = json!({"id": "O", "workflowPath": "w", "startPosition": "NOWHERE"});
    assert_says(&refused(&world, &label).await, &["NOWHERE"]);
    let misspelt = json!({"id": "O", "workflowPath": "w", "argumnets": {}});
    assert_says(&refused(&world, &misspelt).await, &["argumnets"]);
    assert_says(
        &refused(&world, &json!({"id": "", "workflowPath": "w"})).await,
        &["OrderId"],
    );
    assert_says(
        &refused(&world, &json!({"id": "a|b", "workflowPath": "w"})).await,
        &["reserved characters: |"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_id_is_taken_once() {
    let world = world(&[]).await;
    deploy(&world, "w", json!([{"TYPE": "Stop"}])).await;
    let add = json!({"TYPE": "AddOrder", "order": {"id": "O", "workflowPath": "w"}});
    let first = world.api().accept(&add).await.unwrap();
    assert_eq!(first["ignoredBecauseDuplicate"], false);
    world.await_event("O", "OrderStopped").await.unwrap();
    let before = events(&world).await;
    let second = world.api().accept(&add).await.unwrap();
    assert_eq!(second["ignoredBecauseDuplicate"], true);
    let twice = json!({"TYPE": "AddOrders", "orders": [{"id": "P", "workflowPath": "w"}, {"id": "P", "workflowPath": "w"}]});
    let refused = world.api().command(&twice).await.unwrap().unwrap_err();
    assert_says(&refused, &["Unexpected duplicates: 2×Order:P"]);
    assert_eq!(events(&world).await, before, "nothing has changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_to_orders_that_do_not_exist_are_refused() {
    let world = world(&[]).await;
    for kind in [
        "CancelOrders",
        "SuspendOrders",
        "ResumeOrders",
        "DeleteOrdersWhenTerminated",
    ] {
        let command = json!({"TYPE": kind, "orderIds": ["GHOST"]});
        let refused = world.api().command(&command).await.unwrap().unwrap_err();
        assert_says(&refused, &["UnknownKey", "GHOST"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_of_any_size_is_kept_and_shown_and_disturbs_no_list() {
    let world = world(&[]).await;
    deploy(&world, "w", json!([{"TYPE": "Fail"}])).await;
    let huge = "1E+400";
    let exact = "12345678901234567890123";
    let add = format!(
        r#"{{"TYPE":"AddOrder","order":{{"id":"O","workflowPath":"w","arguments":{{"huge":1e400,"exact":{exact}}}}}}}"#
    );
    let path = "/controller/api/command";
    let answer = world.api().post(path, "application/json", add).await;
    answer.unwrap().unwrap();
    world.await_event("O", "OrderFailed").await.unwrap();
    for path in [
        "/controller/api/order?fields=arguments,historicOutcomes",
        "/controller/api/order/O",
    ] {
        let shown = world.api().client().get_bytes(path).await.unwrap();
        let shown = String::from_utf8(shown.to_vec()).unwrap();
        assert!(shown.contains(r#""id":"O""#), "{path}: {shown}");
        assert!(
            shown.contains(huge) && shown.contains(exact),
            "{path}: {shown}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_would_have_to_be_kept_fails_its_order_and_nobody_else() {
    let world = world(&[]).await;
    deploy(&world, "say", json!([{"TYPE": "Say", "what": "x => $x"}])).await;
    let branch = json!({"id": "a", "workflow": {"instructions": [], "result": {"f": "() => 1"}}});
    deploy(
        &world,
        "fork",
        json!([{"TYPE": "Fork", "branches": [branch]}]),
    )
    .await;
    for path in ["say", "fork"] {
        let order = json!({"id": path, "workflowPath": path});
        world.api().add_order(&order).await.unwrap();
        world.await_event(path, "OrderFailed").await.unwrap();
    }
}
