//! Calls by strangers, calls beyond the bounds, calls that are no HTTP.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::json;
use testkit::world::{Plan, World, http};
use tokio::io::AsyncWriteExt as _;

use crate::{assert_says, deploy, events, world};

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_served_without_showing_who_he_is() {
    let mut world = world(&["ALFA"]).await;
    let before = events(&world).await;
    let command = json!({"TYPE": "ShutDown"}).to_string();
    let paths = [("controller", "/controller/api"), ("ALFA", "/agent/api")];
    for (node, base) in paths {
        let address = world.node(node).address;
        for token in [None, Some("wrong-token-0123456789abcdef")] {
            let path = format!("{base}/command");
            let answer = http::post(
                address,
                &path,
                token,
                "application/json",
                command.as_bytes(),
            )
            .await
            .unwrap();
            assert_eq!(answer.status, 401, "{answer:?}");
            assert!(answer.text().contains("message"), "{answer:?}");
            let path = format!("{base}/event?after=0");
            let answer = http::get(address, &path, token).await.unwrap();
            assert_eq!(answer.status, 401, "{answer:?}");
        }
        let health = http::get(address, "/health", None).await.unwrap();
        assert_eq!(health.status, 200, "and it still runs");
    }
    assert_eq!(events(&world).await, before, "nothing has changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_may_do_what_he_was_given_and_nothing_else() {
    let token = "the-token-of-a-reader-0123456789abcdef";
    let hash = net::TokenHash::of(&net::Secret::new(token)).to_string();
    let plan = Plan {
        controller_settings: vec![
            ("users.reader.token-hashes".to_owned(), hash),
            ("users.reader.permissions".to_owned(), "View".to_owned()),
        ],
        ..Plan::default()
    };
    let mut world = World::start(plan).await.unwrap();
    let address = world.controller().address;
    let seen = http::get(address, "/controller/api/order", Some(token))
        .await
        .unwrap();
    assert_eq!(seen.status, 200, "{seen:?}");
    let before = events(&world).await;
    let command = json!({"TYPE": "CancelOrders", "orderIds": ["O"]}).to_string();
    for (path, body) in [
        ("/controller/api/command", command.as_str()),
        (
            "/controller/api/item",
            "{\"TYPE\":\"AddVersion\",\"versionId\":\"1\"}",
        ),
    ] {
        let kind = if path.ends_with("item") {
            "application/x-ndjson"
        } else {
            "application/json"
        };
        let answer = http::post(address, path, Some(token), kind, body.as_bytes())
            .await
            .unwrap();
        assert_eq!(answer.status, 403, "{answer:?}");
        assert!(
            answer.text().contains("reader"),
            "the user is named: {answer:?}"
        );
    }
    assert_eq!(events(&world).await, before, "nothing has changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_beyond_its_bound_is_refused_and_costs_no_memory() {
    let mut world = world(&[]).await;
    let token = world.admin_token().unwrap();
    let address = world.controller().address;
    let before = events(&world).await;
    let body = vec![b' '; 150 << 20];
    for (path, kind) in [
        ("command", "application/json"),
        ("order", "application/json"),
        ("item", "application/x-ndjson"),
    ] {
        let path = format!("/controller/api/{path}");
        let answer = http::post(address, &path, Some(&token), kind, &body)
            .await
            .unwrap();
        assert_eq!(answer.status, 413, "{answer:?}");
        assert!(answer.text().contains("BodyIsTooLarge"), "{answer:?}");
    }
    let pid = world.controller().pid().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let peak = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap();
    let kibibytes: u64 = peak.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(kibibytes < 400 * 1024, "{peak}");
    assert_eq!(events(&world).await, before, "nothing has changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_speaks_no_http_or_never_ends_his_request_disturbs_nobody() {
    let mut world = world(&[]).await;
    let address = world.controller().address;
    let mut idle = Vec::new();
    for noise in [
        &b"\x16\x03\x01\x02\x00"[..],
        b"GET /health HT",
        b"\r\n\r\n\r\n",
        b"",
    ] {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(noise).await.unwrap();
        idle.push(stream);
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let health = http::get(address, "/health", None).await.unwrap();
    assert_eq!(health.status, 200, "with {} idle connections", idle.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_behind_the_question_mark_is_refused_as_a_problem_that_names_it() {
    let world = world(&[]).await;
    for (path, name) in [
        ("/controller/api/event?after=abc", "after"),
        ("/controller/api/event?tornOlder=1h", "tornOlder"),
        ("/controller/api/event?return=Nope", "Nope"),
        ("/controller/api/order?limit=-1", "limit"),
        ("/controller/api/snapshot?foo=1", "foo"),
    ] {
        let refused = world.api().get(path).await.unwrap().unwrap_err();
        assert_eq!(refused.status, 400, "{path}: {refused}");
        assert_says(&refused, &["InvalidParameter", name]);
    }
    for group in ["ClusterEvent", "ClusterCoupled", "OrderEvent,ClusterEvent"] {
        let path = format!("/controller/api/event?return={group}&timeout=0");
        let read = world.api().client().get_bytes(&path).await;
        assert!(read.is_ok(), "{path}: {read:?}");
    }
}

/// Returns the maximum memory that the Controller has used, in MiB.
fn most_memory(world: &mut World) -> u64 {
    let pid = world.controller().pid().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.unwrap().trim().trim_end_matches(" kB");
    kib.parse::<u64>().unwrap() >> 10
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_with_too_much_in_it_is_refused_before_it_is_parsed_and_others_go_on() {
    /// The memory for the bodies, twice because of their way through the connection, and for the server itself. Parsed bodies would take
    /// gigabytes.
    const MEMORY_MAX: u64 = 600;
    let mut world = world(&[]).await;
    deploy(&world, "w", json!([])).await;
    let before = events(&world).await;
    let mut orders = String::new();
    for number in 0..2_200_000 {
        writeln!(orders, "{{\"id\":\"{number:07}\",\"workflowPath\":\"w\"}}").unwrap();
    }
    let values = format!(
        "[{{\"id\":\"A\",\"workflowPath\":\"w\",\"arguments\":{{\"a\":[{}0]}}}}]",
        "0,".repeat(20_000_000)
    );
    let operations = "x\n".repeat(20_000_000);
    let posts = [
        (
            "/controller/api/order",
            net::NDJSON,
            orders,
            ["TooManyOrders", "100000"],
        ),
        (
            "/controller/api/order",
            "application/json",
            values,
            ["BodyIsTooLarge", "4000000"],
        ),
        (
            "/controller/api/item",
            net::NDJSON,
            operations,
            ["TooManyOperations", "100000"],
        ),
    ];
    for (path, kind, body, words) in posts {
        let api = world.api().clone();
        let posting = tokio::spawn(async move { api.post(path, kind, body).await });
        // Other requests are answered meanwhile.
        let mut answered = 0;
        while !posting.is_finished() {
            let order = json!({"id": format!("{}-{answered}", words[0]), "workflowPath": "w"});
            let added =
                tokio::time::timeout(Duration::from_secs(10), world.api().add_order(&order));
            added.await.unwrap().unwrap();
            answered += 1;
        }
        let refused = posting.await.unwrap().unwrap().unwrap_err();
        assert_eq!(refused.status, 413, "{refused}");
        assert_says(&refused, &words);
        assert!(answered > 1, "{answered} while {path} was read");
    }
    let most = most_memory(&mut world);
    assert!(most < MEMORY_MAX, "{most} MiB");
    let added = world.api().all_events().await.unwrap();
    let is_refused = |event: &serde_json::Value| event["Key"] == "A" || event["Key"] == "0000000";
    assert!(!added.iter().any(is_refused), "nothing of it is added");
    assert!(events(&world).await > before);
}
