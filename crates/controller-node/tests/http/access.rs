//! Who may do what, and how he shows who he is.

use crate::world::{Controller, settings};
use controller_node::{Permission, UserSettings};
use hyper::Method;
use net::{Passwords, Secret, TokenHash};
use serde_json::json;
use std::os::unix::fs::PermissionsExt as _;

/// Every path that is not public, with a method.
const PATHS: [(Method, &str); 14] = [
    (Method::POST, "/controller/api/command"),
    (Method::POST, "/controller/api/item"),
    (Method::GET, "/controller/api/item"),
    (Method::GET, "/controller/api/item/Lock:L"),
    (Method::POST, "/controller/api/order"),
    (Method::GET, "/controller/api/order"),
    (Method::GET, "/controller/api/order/A"),
    (Method::GET, "/controller/api/order/A/log"),
    (
        Method::POST,
        "/controller/api/order/DeleteOrdersWhenTerminated",
    ),
    (Method::GET, "/controller/api/agent"),
    (Method::GET, "/controller/api/event?after=0&timeout=0"),
    (Method::GET, "/controller/api/snapshot"),
    (Method::GET, "/controller/api/journalInfo"),
    (Method::GET, "/metrics"),
];

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_in_without_showing_who_he_is() {
    let data = tempfile::tempdir().unwrap();
    let controller = Controller::start(data.path()).await;
    for (method, path) in PATHS {
        let json = ("content-type", "application/json");
        let answer = controller
            .call(method.clone(), path, &[json], b"{}".to_vec())
            .await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (401, "NotLoggedIn"),
            "{method} {path}: {answer:?}"
        );
        let wrong = ("authorization", "Bearer wrong");
        let answer = controller
            .call(method.clone(), path, &[json, wrong], b"{}".to_vec())
            .await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (401, "InvalidLogin"),
            "{method} {path}: {answer:?}"
        );
    }
    assert_eq!(
        controller
            .call(Method::GET, "/health", &[], Vec::new())
            .await
            .status,
        200
    );
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_start_writes_a_token_that_only_its_owner_can_read_and_the_next_one_keeps_it() {
    let data = tempfile::tempdir().unwrap();
    let controller = Controller::start(data.path()).await;
    let first = controller.token.clone();
    let mode = |path: &str| {
        std::fs::metadata(data.path().join(path))
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(
        (mode("private"), mode("private/admin-token")),
        (0o700, 0o600)
    );
    assert!(first.len() >= 40, "256 random bits");
    controller.stop().await;
    let controller = Controller::start(data.path()).await;
    assert_eq!(controller.token, first);
    assert_eq!(controller.get("/controller/api/order").await.status, 200);
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_may_do_what_his_permissions_say_and_nothing_else() {
    let data = tempfile::tempdir().unwrap();
    let mut settings = settings(data.path());
    let password_hash = Passwords::default().hash(Secret::new("s3cret")).await;
    let token = net::new_token();
    let viewer = UserSettings {
        password_hash: Some(password_hash),
        token_hashes: vec![TokenHash::of(&token).to_string()],
        permissions: vec![Permission::View, Permission::AddOrder],
    };
    settings.users.insert("viewer".into(), viewer);
    let controller = Controller::start_with(settings).await;
    let bearer = format!("Bearer {}", token.reveal());
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
    ];
    let post = |command: serde_json::Value| {
        controller.call(
            Method::POST,
            "/controller/api/command",
            &headers,
            command.to_string().into_bytes(),
        )
    };
    assert_eq!(
        controller
            .call(Method::GET, "/controller/api/order", &headers, Vec::new())
            .await
            .status,
        200
    );
    let answer = controller
        .call(
            Method::GET,
            "/controller/api/event?after=0&timeout=0",
            &headers,
            Vec::new(),
        )
        .await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (403, "PermissionDenied"),
        "{answer:?}"
    );
    let answer = post(json!({ "TYPE": "CancelOrders", "orderIds": [] })).await;
    assert!(
        answer.status == 403 && answer.text.contains("ControlOrder"),
        "{answer:?}"
    );
    assert_eq!(post(json!({ "TYPE": "NoOperation" })).await.status, 200);
    let hidden = json!({ "TYPE": "NoOperation" });
    let hidden = json!({ "TYPE": "Batch", "commands": [hidden, { "TYPE": "ShutDown" }] });
    assert_eq!(post(hidden).await.status, 403, "a batch hides nothing");

    // The same user with his password, and in a session.
    let basic = ("authorization", "Basic dmlld2VyOnMzY3JldA==");
    assert_eq!(
        controller
            .call(Method::GET, "/controller/api/order", &[basic], Vec::new())
            .await
            .status,
        200
    );
    let wrong = ("authorization", "Basic dmlld2VyOndyb25n");
    let asked = tokio::time::Instant::now();
    let answer = controller
        .call(Method::GET, "/controller/api/order", &[wrong], Vec::new())
        .await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (401, "InvalidLogin")
    );
    assert!(asked.elapsed().as_millis() >= 900, "guessing is slow");
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wa03_a_login_gives_a_session_that_ends_with_the_logout() {
    let data = tempfile::tempdir().unwrap();
    let mut settings = settings(data.path());
    let password_hash = Some(Passwords::default().hash(Secret::new("P")).await);
    let user = UserSettings {
        password_hash,
        permissions: vec![Permission::View],
        ..UserSettings::default()
    };
    settings.users.insert("U".into(), user);
    let controller = Controller::start_with(settings).await;
    let json_type = [("content-type", "application/json")];
    let session = |body: serde_json::Value| {
        controller.call(
            Method::POST,
            "/controller/api/session",
            &json_type,
            body.to_string().into_bytes(),
        )
    };
    let answer =
        session(json!({ "TYPE": "Login", "userAndPassword": { "userId": "U", "password": "P" } }));
    let answer = answer.await.json();
    assert!(
        answer["TYPE"].as_str().unwrap().ends_with("LoggedIn"),
        "WA-03: {answer}"
    );
    let token = answer["sessionToken"].as_str().unwrap().to_owned();
    let header = [("x-js7-session", token.as_str())];
    assert_eq!(
        controller
            .call(Method::GET, "/controller/api/order", &header, Vec::new())
            .await
            .status,
        200
    );
    session(json!({ "TYPE": "Logout", "sessionToken": token })).await;
    let answer = controller
        .call(Method::GET, "/controller/api/order", &header, Vec::new())
        .await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (403, "InvalidSessionToken")
    );
    let answer =
        session(json!({ "TYPE": "Login", "userAndPassword": { "userId": "U", "password": "X" } }))
            .await;
    assert_eq!(answer.status, 401);
    assert_eq!(
        session(json!({ "TYPE": "Login" })).await.status,
        401,
        "there is no anonymous session"
    );
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_unknown_paths_and_wrong_methods_are_refused_with_problems() {
    let data = tempfile::tempdir().unwrap();
    let controller = Controller::start(data.path()).await;
    let answer = controller
        .post_as("/controller/api/command", "text/plain", "{}".into())
        .await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (403, "FormIsRefused"),
        "{answer:?}"
    );
    assert_eq!(
        controller
            .post("/controller/UNKNOWN", &json!({}))
            .await
            .status,
        404,
        "WA-03"
    );
    assert_eq!(controller.get("/controller/api/command").await.status, 405);
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_that_make_no_sense_keep_the_controller_from_starting() {
    let data = tempfile::tempdir().unwrap();
    let mut settings = settings(data.path());
    let user = UserSettings {
        token_hashes: vec!["nonsense".into()],
        ..UserSettings::default()
    };
    settings.users.insert("bad".into(), user);
    let stop = tokio_util::sync::CancellationToken::new();
    let error = controller_node::run(settings, stop, |_| {})
        .await
        .unwrap_err();
    assert!(
        !error.is_fault() && error.to_string().contains("users.bad"),
        "{error}"
    );
}
