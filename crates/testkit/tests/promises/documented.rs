//! What the web service answers is documented, field by field.

use crate::{add, add_for, deploy, job, now};
use anyhow::{Result, ensure};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use testkit::world::{Pair, Plan, World};

const REFERENCE: &str = include_str!("../../../../docs/api.md");
const OBSTACLES: &str = include_str!("../../../../docs/operating.md");
/// The fields whose value has keys that are names of something else, such as ids.
const MAPS: [&str; 8] = [
    "arguments",
    "namedValues",
    "attachedToAgents",
    "clusters",
    "idToUri",
    "orderCountByState",
    "releasedEventIds",
    "userIdToReleasedEventId",
];

/// Collects the names of all fields in an answer.
fn fields_in(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                names.insert(name.clone());
                if !MAPS.contains(&name.as_str()) {
                    fields_in(value, names);
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| fields_in(value, names)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn all_are_documented(route: &str, answer: &Value) -> Result<()> {
    let mut names = BTreeSet::new();
    fields_in(answer, &mut names);
    let is_in = |document: &str, name: &str| document.contains(&format!("`{name}`"));
    names.retain(|name| name != "TYPE" && !is_in(REFERENCE, name) && !is_in(OBSTACLES, name));
    ensure!(
        names.is_empty(),
        "S5: {route} answers with fields that docs/api.md does not have: {names:?} in {answer}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s5_every_field_of_the_answers_is_documented() -> Result<()> {
    let world = World::start(Plan::of(&["ALFA"])).await?;
    deploy(&world, "w", &[job("ALFA", "echo READY; sleep 600")]).await?;
    deploy(&world, "failing", &[job("ALFA", "exit 7")]).await?;
    let order = json!({"id": "RUNNING", "workflowPath": "w", "arguments": {"a": 1}, "priority": 3});
    world.api().add_order(&order).await?;
    world.await_stdout("RUNNING", "READY", 1).await?;
    add_for(&world, "TOMORROW", "w", now() + 86_400_000).await?;
    add(&world, "FAILED", "failing").await?;
    world.await_event("FAILED", "OrderFailed").await?;
    world
        .api()
        .accept(&json!({"TYPE": "SuspendOrders", "orderIds": ["RUNNING"]}))
        .await?;
    for route in [
        "/controller/api",
        "/controller/api/item",
        "/controller/api/item/Workflow:w",
        "/controller/api/item/Agent:ALFA",
        "/controller/api/order",
        "/controller/api/order?fields=arguments,historicOutcomes",
        "/controller/api/order/RUNNING",
        "/controller/api/order/FAILED",
        "/controller/api/order/TOMORROW",
        "/controller/api/cluster",
        "/controller/api/agent",
        "/controller/api/session",
        "/controller/api/journalInfo",
        "/health",
    ] {
        let answer = world.api().get(route).await?;
        let answer = answer.map_err(|refused| anyhow::anyhow!("{route}: {refused}"))?;
        all_are_documented(route, &answer)?;
    }
    let unknown = world
        .api()
        .client()
        .get_json::<Value>("/controller/api/order/UNKNOWN")
        .await;
    ensure!(unknown.is_err(), "it is refused");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s5_every_field_of_the_answers_of_a_cluster_is_documented() -> Result<()> {
    let pair = Pair::start(&[]).await?;
    for member in [0, 1] {
        let route = "/controller/api/cluster";
        let client = pair.api_of(member);
        let answer: Value = client.client().get_json(route).await?;
        all_are_documented(route, &answer)?;
    }
    let answer: Value = pair
        .api()
        .await?
        .client()
        .get_json("/controller/api/agent")
        .await?;
    all_are_documented("/controller/api/agent", &answer)
}
