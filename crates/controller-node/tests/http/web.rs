//! The web API: orders, items, events, limits.

use crate::world::{Controller, empty, settings, simple};
use hyper::Method;
use serde_json::{Value, json};

async fn with_workflow(data: &std::path::Path) -> Controller {
    let controller = Controller::start(data).await;
    controller.deploy(&[empty("web/w")]).await;
    controller
}

#[tokio::test(flavor = "multi_thread")]
async fn wa01_orders_are_added_by_post() {
    let data = tempfile::tempdir().unwrap();
    let controller = with_workflow(data.path()).await;
    let answer = controller.add("W1", "web/w").await;
    let location = |answer: &crate::world::Answer| {
        answer
            .headers
            .get("location")
            .map(|value| value.to_str().unwrap().to_owned())
    };
    assert_eq!(answer.status, 201, "WA-01: {answer:?}");
    assert!(location(&answer).unwrap().ends_with("/order/W1"));
    let again = controller.add("W1", "web/w").await;
    assert_eq!(
        (again.status, location(&again)),
        (409, location(&answer)),
        "WA-01"
    );
    let order = json!({ "id": "W1", "workflowPath": "web/w" });
    let array = controller
        .post("/controller/api/order", &json!([order]))
        .await;
    assert_eq!(
        (array.status, location(&array)),
        (200, None),
        "WA-01: duplicates are ignored silently"
    );
    for body in [
        json!({ "id": "X", "workflowPath": "MISSING" }),
        json!([{ "id": "X", "workflowPath": "MISSING" }]),
    ] {
        let answer = controller.post("/controller/api/order", &body).await;
        assert_eq!(answer.status, 400, "WA-01");
        assert!(
            answer.text.contains("Workflow:MISSING") && location(&answer).is_none(),
            "WA-01: {answer:?}"
        );
    }
    for body in [
        json!({ "id": "A|B", "workflowPath": "web/w" }),
        json!([{ "id": "A|B", "workflowPath": "web/w" }]),
    ] {
        let answer = controller.post("/controller/api/order", &body).await;
        assert_eq!(answer.status, 400);
        assert!(
            answer
                .text
                .contains("OrderId must not contain reserved characters: |"),
            "WA-01: {answer:?}"
        );
    }
    let odd = controller.add("#2026-11-21#/ä", "web/w").await;
    let path = location(&odd).unwrap();
    assert_eq!(
        controller.get(&path).await.json()["id"],
        "#2026-11-21#/ä",
        "a Location can be followed"
    );
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wa05_orders_are_added_as_a_stream() {
    let data = tempfile::tempdir().unwrap();
    let controller = with_workflow(data.path()).await;
    let ndjson = "application/x-ndjson";
    let line = |id: &str| format!("{}\n", json!({ "id": id, "workflowPath": "web/w" }));
    let same = line("S").repeat(2000);
    let answer = controller
        .post_as("/controller/api/order", ndjson, same)
        .await;
    assert!(
        answer.status == 400 && answer.text.contains("Unexpected duplicates: 2000×Order:S"),
        "WA-05: {answer:?}"
    );
    let answer = controller
        .post_as(
            "/controller/api/order",
            ndjson,
            format!("{}no json\n", line("A")),
        )
        .await;
    assert!(
        answer.status == 400 && answer.text.contains("line 2") && answer.text.contains("column"),
        "WA-05: {answer:?}"
    );
    let many: String = (0..1000).map(|n| line(&format!("N{n}"))).collect();
    assert_eq!(
        controller
            .post_as("/controller/api/order", ndjson, many)
            .await
            .status,
        200
    );
    let overview = controller.get("/controller/api").await.json();
    assert_eq!(
        overview["orderCount"], 1000,
        "WA-05: all, and none of the refused ones"
    );
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wa06_bodies_beyond_the_limit_are_refused() {
    let data = tempfile::tempdir().unwrap();
    let mut settings = settings(data.path());
    settings.command_size_max = ::settings::ByteSize(10_000);
    settings.stream_size_max = ::settings::ByteSize(50_000);
    let controller = Controller::start_with(settings).await;
    let command = async |bytes: usize| {
        let text = format!(r#"{{"TYPE":"NoOperation"{}}}"#, " ".repeat(bytes));
        let path = "/controller/api/command";
        controller.post_as(path, "application/json", text).await
    };
    let answer = command(10_000).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (413, "BodyIsTooLarge"),
        "WA-06: {answer:?}"
    );
    assert_eq!(command(9000).await.status, 200);
    let text = "x".repeat(60_000);
    let answer = controller
        .post_as(
            "/controller/api/order",
            "application/x-ndjson",
            text.clone(),
        )
        .await;
    assert_eq!(answer.status, 413);
    let answer = controller
        .post_as(
            "/controller/api/item",
            "application/x-ndjson",
            text[..20_000].to_owned(),
        )
        .await;
    assert_eq!(
        answer.status, 400,
        "items may be greater than commands: {answer:?}"
    );
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wa03_the_overview_tells_strangers_only_that_it_is_there() {
    let data = tempfile::tempdir().unwrap();
    let controller = with_workflow(data.path()).await;
    let public = controller
        .call(Method::GET, "/controller/api", &[], Vec::new())
        .await
        .json();
    assert!(
        public["version"].is_string() && public["initiallyStartedAt"].is_number(),
        "WA-03: {public}"
    );
    assert!(public["orderCount"].is_null() && public["agentCount"].is_null());
    let own = controller.get("/controller/api").await.json();
    assert_eq!(own["orderCount"], 0);
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_that_make_no_sense_are_refused_and_change_nothing() {
    let data = tempfile::tempdir().unwrap();
    let controller = with_workflow(data.path()).await;
    let before = controller.events().await.len();
    let teleport = controller.command(json!({ "TYPE": "TeleportOrder" })).await;
    assert!(
        teleport.status == 400 && teleport.text.contains("TeleportOrder"),
        "{teleport:?}"
    );
    assert_eq!(
        controller
            .post_as("/controller/api/command", "application/json", "{".into())
            .await
            .status,
        400
    );
    let unknown = controller
        .command(json!({ "TYPE": "CancelOrders", "orderIds": ["GHOST"] }))
        .await;
    assert_eq!(
        (unknown.status, unknown.code().as_str()),
        (400, "UnknownKey")
    );
    let mut order = json!({ "id": "A", "workflowPath": "web/w" });
    order["prioritty"] = json!(1);
    let misspelt = controller.post("/controller/api/order", &order).await;
    assert!(
        misspelt.status == 400 && misspelt.text.contains("prioritty"),
        "{misspelt:?}"
    );
    let lines = "{\"TYPE\":\"AddOrChangeSimple\"}\n\n{\"TYPE\":\"Nonsense\"}\n";
    let items = controller
        .post_as("/controller/api/item", "application/x-ndjson", lines.into())
        .await;
    assert!(
        items.text.contains("line 1") && items.text.contains("line 3"),
        "every line is told: {items:?}"
    );
    assert_eq!(
        controller.get("/controller/api/order/GHOST").await.status,
        404
    );
    assert_eq!(
        controller
            .get("/controller/api/event?after=0&timeout=0&speed=9")
            .await
            .status,
        400
    );
    assert_eq!(controller.events().await.len(), before);
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_carried_out_command_by_command() {
    let data = tempfile::tempdir().unwrap();
    let controller = with_workflow(data.path()).await;
    let order =
        json!({ "id": "A", "workflowPath": "web/w", "scheduledFor": 9_999_999_999_999_u64 });
    let commands = json!([
        { "TYPE": "AddOrder", "order": order },
        { "TYPE": "CancelOrders", "orderIds": ["GHOST"] },
        { "TYPE": "CancelOrders", "orderIds": ["A"], "mode": { "TYPE": "FreshOnly" } },
    ]);
    let answer = controller
        .command(json!({ "TYPE": "Batch", "commands": commands }))
        .await
        .json();
    let types: Vec<&str> = answer["responses"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["TYPE"].as_str().unwrap())
        .collect();
    assert_eq!(
        types,
        ["AddOrder.Response", "Problem", "Accepted"],
        "{answer}"
    );
    assert_eq!(
        controller.story("A").await,
        ["OrderAdded", "OrderCancelled"]
    );
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_are_listed_by_prefix_state_and_page() {
    let data = tempfile::tempdir().unwrap();
    let controller = with_workflow(data.path()).await;
    let later = |id: &str| json!({ "id": id, "workflowPath": "web/w", "scheduledFor": 9_999_999_999_999_u64 });
    let orders: Vec<Value> = ["A1", "A2", "A3", "B1"].map(later).into();
    controller
        .post("/controller/api/order", &json!(orders))
        .await;
    controller.add("A4", "web/w").await;
    let ids = |list: Value| -> Vec<String> {
        list["orders"]
            .as_array()
            .unwrap()
            .iter()
            .map(|order| order["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let list = controller
        .get("/controller/api/order?prefix=A")
        .await
        .json();
    assert_eq!(ids(list.clone()), ["A1", "A2", "A3", "A4"]);
    assert!(
        list["orders"][0]["obstacles"][0]["TYPE"].is_string(),
        "it says why it waits: {list}"
    );
    let list = controller
        .get("/controller/api/order?state=Finished")
        .await
        .json();
    assert_eq!(ids(list), ["A4"]);
    let page = controller.get("/controller/api/order?limit=2").await.json();
    assert_eq!(
        (ids(page.clone()), page["hasMore"].as_bool()),
        (vec!["A1".to_owned(), "A2".to_owned()], Some(true))
    );
    let page = controller
        .get("/controller/api/order?limit=3&after=A2")
        .await
        .json();
    assert_eq!(
        (ids(page.clone()), page["hasMore"].as_bool()),
        (["A3", "A4", "B1"].map(String::from).into(), Some(false))
    );
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn items_are_listed_with_their_exact_texts() {
    let data = tempfile::tempdir().unwrap();
    let controller = Controller::start(data.path()).await;
    let text = "{ \"TYPE\":\"Workflow\",\n \"path\":\"my/w\", \"instructions\":[ ] }";
    let operation = json!({ "TYPE": "AddOrChangeSigned", "signed": { "string": text } });
    assert_eq!(controller.items(&[operation]).await.status, 200);
    controller
        .deploy(&[json!({ "TYPE": "Lock", "path": "L" })])
        .await;
    let item = controller
        .get("/controller/api/item/Workflow:my/w")
        .await
        .json();
    assert_eq!(item["signed"]["string"], text);
    assert!(
        item["versionId"].as_str().unwrap().starts_with("#2"),
        "a version after the clock: {item}"
    );
    let key = item["key"].as_str().unwrap().replace('#', "%23");
    assert_eq!(
        controller
            .get(&format!("/controller/api/item/{key}"))
            .await
            .json()["isCurrent"],
        true
    );
    let list = controller.get("/controller/api/item").await.json();
    assert_eq!(list["items"].as_array().unwrap().len(), 2);
    assert_eq!(
        controller.get("/controller/api/item/Lock:X").await.status,
        404
    );
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wa05_a_thousand_workflows_are_deployed_at_once() {
    let data = tempfile::tempdir().unwrap();
    let controller = Controller::start(data.path()).await;
    let mut operations = vec![json!({ "TYPE": "AddVersion", "versionId": "V1" })];
    operations.extend((0..1000).map(|n| simple(&empty(&format!("w{n}")))));
    let answer = controller.items(&operations).await;
    assert_eq!((answer.status, answer.text.as_str()), (200, "{}"), "WA-05");
    assert_eq!(
        controller.get("/controller/api").await.json()["itemCount"],
        1000
    );
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s73_a_snapshot_says_where_the_events_go_on() {
    let data = tempfile::tempdir().unwrap();
    let controller = with_workflow(data.path()).await;
    controller.add("A", "web/w").await;
    let snapshot = controller.get("/controller/api/snapshot").await;
    let mut lines = snapshot.text.lines();
    let head: Value = serde_json::from_str(lines.next().unwrap()).unwrap();
    assert_eq!(head["TYPE"], "SnapshotEventId");
    assert!(
        lines.any(|line| line.starts_with("{\"TYPE\":\"Order\",\"id\":\"A\"")),
        "{}",
        snapshot.text
    );
    let after = head["eventId"].as_u64().unwrap();
    controller.add("B", "web/w").await;
    let events = controller
        .get(&format!("/controller/api/event?after={after}&timeout=0"))
        .await;
    assert!(
        events
            .text
            .lines()
            .all(|line| line.contains("\"Key\":\"B\"")),
        "S74: no gap, no overlap: {}",
        events.text
    );
    let gone = controller
        .get(&format!("/controller/api/snapshot?eventId={after}"))
        .await;
    assert_eq!(gone.code(), "SnapshotForUnknownEventId");
    let info = controller.get("/controller/api/journalInfo").await.json();
    assert!(
        info["lastEventId"].as_u64().unwrap() > after && info["tornEventId"] == 0,
        "{info}"
    );
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wa08_metrics_tell_orders_agents_and_journal() {
    let data = tempfile::tempdir().unwrap();
    let controller = with_workflow(data.path()).await;
    controller.add("A", "web/w").await;
    let answer = controller.get("/metrics").await;
    let line = "mainspring_orders{node=\"Controller\",state=\"Finished\"} 1";
    assert!(
        answer.status == 200 && answer.text.contains(line),
        "WA-08: {}",
        answer.text
    );
    for line in [
        "# HELP mainspring_orders Orders, by label state.",
        "# TYPE mainspring_orders gauge",
        "# TYPE mainspring_journal_syncs_total counter",
        "# TYPE mainspring_journal_released_event_id gauge",
    ] {
        assert!(
            answer.text.lines().any(|written| written == line),
            "WA-08: {line} in\n{}",
            answer.text
        );
    }
    let value = |name: &str| -> f64 {
        let line = answer.text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok())
            .unwrap_or_default()
    };
    for name in ["bytes", "segments", "syncs_total", "appended_bytes_total"] {
        assert!(
            value(&format!("mainspring_journal_{name}{{")) > 0.0,
            "{name}"
        );
    }
    let described = answer
        .text
        .lines()
        .filter(|line| line.starts_with("# TYPE "))
        .count();
    let names: std::collections::BTreeSet<&str> = answer
        .text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .map(|name| {
            let of_histogram = ["_bucket", "_sum", "_count"];
            let ends = of_histogram.iter();
            ends.fold(name, |name, end| name.strip_suffix(end).unwrap_or(name))
        })
        .collect();
    assert_eq!(described, names.len(), "each metric is described once");
    controller.stop().await;
}
