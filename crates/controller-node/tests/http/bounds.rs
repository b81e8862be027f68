//! Values that make no sense are refused with a reason, and so are valid requests beyond the allowed number. The Controller keeps working.

use crate::world::{Controller, agent_items, empty, settings};
use controller_node::{Permission, UserSettings};
use hyper::Method;
use net::TokenHash;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const PATIENCE: Duration = Duration::from_mins(1);

/// Values that overflow, lead to a division by zero, or are not numbers.
const ODD: [&str; 17] = [
    "-1",
    "-0.0",
    "0",
    "1e-300",
    "1e-9",
    "0.001",
    "1e18",
    "1.8e19",
    "1e300",
    "1e999",
    "NaN",
    "inf",
    "-inf",
    "9223372036854775807",
    "18446744073709551615",
    "99999999999999999999",
    "x",
];

#[tokio::test(flavor = "multi_thread")]
async fn odd_parameters_do_not_harm_the_controller() {
    let data = tempfile::tempdir().unwrap();
    let controller = Controller::start(data.path()).await;
    controller.deploy(&[empty("w")]).await;
    controller.add("A", "w").await;
    // The parameters end an event stream at once, except for the one under test.
    let event = "/controller/api/event?after=0&timeout=0";
    let bounded = |name: &str| match name {
        "timeout" => "/controller/api/event?after=0&limit=1".to_owned(),
        "after" => "/controller/api/event?timeout=0".to_owned(),
        "heartbeat" | "delay" | "pace" => format!("{event}&limit=1&paceFlow=1"),
        "paceFlow" => format!("{event}&pace=0.001&limit=1"),
        _ => event.to_owned(),
    };
    let parameters = [
        "after",
        "heartbeat",
        "timeout",
        "limit",
        "tornOlder",
        "delay",
        "pace",
        "paceFlow",
        "return",
    ];
    let mut paths: Vec<String> = Vec::new();
    for value in ODD {
        paths.extend(
            parameters
                .iter()
                .map(|name| format!("{}&{name}={value}", bounded(name))),
        );
        for name in [
            "limit",
            "after",
            "state",
            "fields",
            "scheduledFrom",
            "scheduledBefore",
            "pattern",
        ] {
            paths.push(format!("/controller/api/order?{name}={value}"));
        }
        for name in ["limit", "after"] {
            paths.push(format!("/controller/api/item?{name}={value}"));
        }
        paths.push(format!("/controller/api/snapshot?eventId={value}"));
        paths.push(format!("/controller/api/order/A/log?after={value}"));
    }
    let mut strange = Vec::new();
    for path in paths {
        let begun = std::time::Instant::now();
        let answer = tokio::time::timeout(PATIENCE, controller.get(&path)).await;
        let Ok(answer) = answer else {
            panic!("{path} is not answered");
        };
        println!("{path} {} {:?}", answer.status, begun.elapsed());
        let is_told = answer.status < 300
            || answer.status < 500 && !answer.json()["message"].as_str().unwrap().is_empty();
        if !is_told {
            strange.push(format!("{path}: {answer:?}"));
        }
    }
    assert!(strange.is_empty(), "{strange:#?}");
    for value in ODD {
        let number = if value.parse::<f64>().is_ok_and(f64::is_finite) && value != "-0.0" {
            value.to_owned()
        } else {
            format!("{value:?}")
        };
        for body in [
            format!(r#"{{"TYPE":"ReleaseEvents","untilEventId":{number}}}"#),
            format!(
                r#"{{"TYPE":"AddOrder","order":{{"id":"O{value}","workflowPath":"w","scheduledFor":{number}}}}}"#
            ),
            format!(
                r#"{{"TYPE":"AddOrder","order":{{"id":"P{value}","workflowPath":"w","priority":{number}}}}}"#
            ),
            format!(
                r#"{{"TYPE":"AddOrder","order":{{"id":"Q{value}","workflowPath":"w","startPosition":[{number}]}}}}"#
            ),
        ] {
            let path = "/controller/api/command";
            let answer = controller
                .post_as(path, "application/json", body.clone())
                .await;
            assert!(answer.status < 500, "{body}: {answer:?}");
        }
    }
    // The Controller still works.
    assert_eq!(controller.add("B", "w").await.status, 201);
    controller.wait_for("B", "OrderFinished").await;
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_bounded_and_others_are_answered_meanwhile() {
    let data = tempfile::tempdir().unwrap();
    let controller = Controller::start(data.path()).await;
    let no_op = json!({ "TYPE": "CancelOrders", "orderIds": [] });
    let batch = |count: usize| json!({ "TYPE": "Batch", "commands": vec![no_op.clone(); count] });
    let answer = controller.command(batch(10_001)).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (413, "BatchIsTooLarge"),
        "{}",
        &answer.text[..200.min(answer.text.len())]
    );
    let nested = json!({ "TYPE": "Batch", "commands": [batch(6000), batch(6000)] });
    assert_eq!(controller.command(nested).await.status, 413);
    let others = async {
        for _ in 0..20 {
            assert_eq!(controller.get("/controller/api/order").await.status, 200);
        }
    };
    let (answer, ()) = tokio::join!(controller.command(batch(10_000)), others);
    let responses = answer.json()["responses"].as_array().unwrap().len();
    assert_eq!(responses, 10_000);
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_command_of_a_batch_sees_the_effects_of_those_before_it() {
    let data = tempfile::tempdir().unwrap();
    let controller = Controller::start(data.path()).await;
    controller.deploy(&[empty("w")]).await;
    let add = |id: String| json!({ "TYPE": "AddOrder", "order": { "id": id, "workflowPath": "w", "scheduledFor": 4_000_000_000_000_i64 } });
    let mut commands: Vec<Value> = (0..100).map(|n| add(format!("N{n}"))).collect();
    commands.push(json!({ "TYPE": "NoOperation" }));
    commands.push(add("N7".to_owned()));
    commands.push(json!({ "TYPE": "CancelOrders", "orderIds": ["N99"] }));
    commands.push(json!({ "TYPE": "CancelOrders", "orderIds": ["UNKNOWN"] }));
    let answer = controller
        .command(json!({ "TYPE": "Batch", "commands": commands }))
        .await
        .json();
    let responses = answer["responses"].as_array().unwrap();
    assert_eq!(responses.len(), 104);
    assert_eq!(responses[99]["ignoredBecauseDuplicate"], false);
    assert_eq!(responses[101]["ignoredBecauseDuplicate"], true);
    assert_eq!(responses[102]["TYPE"], "Accepted");
    assert_eq!(responses[103]["TYPE"], "Problem");
    controller.stop().await;
}

/// Starts a Controller with a second user besides admin, which may only read.
async fn with_viewer(data: &std::path::Path) -> (Controller, String) {
    let mut settings = settings(data);
    let token = net::new_token();
    let viewer = UserSettings {
        token_hashes: vec![TokenHash::of(&token).to_string()],
        permissions: vec![Permission::View, Permission::ReadEvents],
        ..UserSettings::default()
    };
    settings.users.insert("viewer".into(), viewer);
    (
        Controller::start_with(settings).await,
        token.reveal().to_owned(),
    )
}

/// Sends a request and reads only the status line of the answer.
async fn ask(controller: &Controller, path: &str, token: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(&controller.addr).await.unwrap();
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = vec![0; 12];
    stream.read_exact(&mut head).await.unwrap();
    (stream, String::from_utf8(head).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_streams_of_one_user_are_bounded_and_others_still_get_theirs() {
    let data = tempfile::tempdir().unwrap();
    let (controller, viewer) = with_viewer(data.path()).await;
    controller.deploy(&[empty("w")]).await;
    // More than the buffers of a connection can hold when its client does not read.
    let long = "x".repeat(100_000);
    for n in 0..60 {
        let order = json!({ "id": format!("O{n}"), "workflowPath": "w", "scheduledFor": 4_000_000_000_000_i64, "arguments": { "long": long } });
        let answer = controller.post("/controller/api/order", &order).await;
        assert_eq!(answer.status, 201, "{answer:?}");
    }
    for (path, bound) in [
        ("/controller/api/snapshot", 2),
        ("/controller/api/event?after=0&heartbeat=1", 64),
    ] {
        let mut open = Vec::new();
        for n in 0..bound + 10 {
            let (stream, head) = ask(&controller, path, &viewer).await;
            let expected = if n < bound { "200" } else { "429" };
            assert_eq!(&head[9..], expected, "{path} {n}");
            open.push(stream);
        }
        let (_, head) = ask(&controller, path, &controller.token).await;
        assert_eq!(&head[9..], "200", "{path}");
        drop(open);
        let begun = std::time::Instant::now();
        while ask(&controller, path, &viewer).await.1.ends_with("429") {
            assert!(begun.elapsed() < PATIENCE, "{path}: no share came back");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    assert_eq!(controller.get("/controller/api/order").await.status, 200);
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_do_not_keep_users_out() {
    let data = tempfile::tempdir().unwrap();
    let mut settings = settings(data.path());
    settings.connections_max = 64;
    let controller = Controller::start_with(settings).await;
    let mut idle = Vec::new();
    for _ in 0..300 {
        idle.push(TcpStream::connect(&controller.addr).await.unwrap());
    }
    for _ in 0..5 {
        let answer = tokio::time::timeout(PATIENCE, controller.get("/controller/api/order"));
        assert_eq!(answer.await.unwrap().status, 200);
    }
    drop(idle);
    controller.stop().await;
}

/// Subagents with addresses of 2 MB stand for whatever makes an entry of a list huge.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_a_few_huge_agents_comes_in_pages_that_are_bounded_by_bytes() {
    let data = tempfile::tempdir().unwrap();
    let controller = Controller::start(data.path()).await;
    let uri = format!("http://127.0.0.1:1/{}", "x".repeat(2_000_000));
    let paths: Vec<String> = (0..5).map(|n| format!("A{n}")).collect();
    for path in &paths {
        controller.deploy(&agent_items(path, &uri)).await;
    }
    for (limit, pages_expected) in [("", 2), ("&limit=1", 5)] {
        let (mut seen, mut pages, mut after) = (Vec::new(), 0, String::new());
        loop {
            let path = format!("/controller/api/agent?after={after}{limit}");
            let answer = controller.get(&path).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            assert!(answer.text.len() < 7_000_000, "{}", answer.text.len());
            let page = answer.json();
            let agents = page["agents"].as_array().unwrap();
            seen.extend(agents.iter().map(|agent| agent["agentPath"].clone()));
            pages += 1;
            match page["next"].as_str() {
                Some(next) => next.clone_into(&mut after),
                None => break,
            }
            assert_eq!(page["hasMore"], true);
        }
        assert_eq!((&json!(seen), pages), (&json!(paths), pages_expected));
    }
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_come_in_pages_that_are_bounded_by_bytes_and_by_count() {
    let data = tempfile::tempdir().unwrap();
    let controller = Controller::start(data.path()).await;
    controller.deploy(&[empty("w")]).await;
    let long = "x".repeat(1_000_000);
    for n in 10..22 {
        let order = json!({ "id": format!("O{n}"), "workflowPath": "w", "scheduledFor": 4_000_000_000_000_i64 + n, "arguments": { "long": long } });
        let answer = controller.post("/controller/api/order", &order).await;
        assert_eq!(answer.status, 201, "{answer:?}");
    }
    let page = async |query: &str| {
        let answer = controller
            .get(&format!("/controller/api/order?{query}"))
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
        (answer.text.len(), answer.json())
    };
    let ids = |page: &Value| -> Vec<String> {
        let orders = page["orders"].as_array().unwrap().iter();
        orders
            .map(|order| order["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let (size, all) = page("").await;
    assert!(
        size < 20_000,
        "no arguments unless they are asked for: {size}"
    );
    assert_eq!(
        (ids(&all).len(), &all["hasMore"], &all["next"]),
        (12, &json!(false), &Value::Null)
    );
    // Read all pages, bounded by count and by bytes.
    for query in ["limit=5", "fields=arguments"] {
        let (mut seen, mut pages, mut next) = (Vec::new(), 0, String::new());
        loop {
            let (size, page) = page(&format!("{query}{next}")).await;
            assert!(size < 6_000_000, "{size}");
            seen.extend(ids(&page));
            pages += 1;
            if page["hasMore"] == false {
                break;
            }
            next = format!("&after={}", page["next"].as_str().unwrap());
        }
        assert_eq!((seen, pages), (ids(&all), 3), "{query}");
    }
    assert_eq!(ids(&page("pattern=O1*").await.1).len(), 10);
    assert_eq!(ids(&page("pattern=*1").await.1), ["O11", "O21"]);
    assert_eq!(
        ids(&page("scheduledBefore=4000000000012").await.1),
        ["O10", "O11"]
    );
    assert_eq!(
        ids(&page("scheduledFrom=4000000000020").await.1),
        ["O20", "O21"]
    );
    assert_eq!(ids(&page("state=Suspended").await.1).len(), 0);
    for query in ["state=Faild", "fields=argument"] {
        let answer = controller
            .get(&format!("/controller/api/order?{query}"))
            .await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "InvalidParameter"),
            "{query}"
        );
    }
    let items = controller.get("/controller/api/item?limit=1").await.json();
    assert_eq!(items["hasMore"], false, "{items}");
    controller.deploy(&[empty("v")]).await;
    let first = controller.get("/controller/api/item?limit=1").await.json();
    assert_eq!(first["hasMore"], true, "{first}");
    let next = first["next"]
        .as_str()
        .unwrap()
        .replace('~', "%7E")
        .replace('#', "%23");
    let second = controller
        .get(&format!("/controller/api/item?limit=1&after={next}"))
        .await
        .json();
    assert_eq!(second["hasMore"], false, "{second}");
    assert_ne!(first["items"], second["items"]);
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_with_a_large_body_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let controller = Controller::start(data.path()).await;
    let json_type = [("content-type", "application/json")];
    let body = vec![b' '; 100_000];
    let path = "/controller/api/session";
    let answer = controller.call(Method::POST, path, &json_type, body).await;
    assert_eq!(answer.status, 413, "{answer:?}");
    controller.stop().await;
}
