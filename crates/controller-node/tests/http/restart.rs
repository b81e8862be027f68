//! A Controller that goes and comes back.

use crate::world::{Controller, empty, settings};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn s53_orders_items_and_releases_are_there_after_a_restart() {
    let data = tempfile::tempdir().unwrap();
    let mut settings = settings(data.path());
    settings.release_events_users = vec!["admin".into()];
    let controller = Controller::start_with(settings.clone()).await;
    controller
        .deploy(&[empty("w"), json!({ "TYPE": "Lock", "path": "L" })])
        .await;
    controller.add("A", "w").await;
    let last = controller.get("/controller/api").await.json()["lastEventId"]
        .as_u64()
        .unwrap();
    let release = controller
        .command(json!({ "TYPE": "ReleaseEvents", "untilEventId": last }))
        .await;
    assert_eq!(release.status, 200, "{release:?}");
    let back = controller
        .command(json!({ "TYPE": "ReleaseEvents", "untilEventId": last - 1 }))
        .await;
    assert_eq!(back.code(), "ReverseReleaseEvents");
    let snapshot =
        |text: String| -> Vec<String> { text.lines().skip(1).map(str::to_owned).collect() };
    let before = snapshot(controller.get("/controller/api/snapshot").await.text);
    let command = json!({ "TYPE": "ShutDown", "restart": true, "suppressSnapshot": true });
    assert_eq!(controller.command(command).await.status, 200);
    assert!(controller.ended().await.restart, "exit code 97");
    for _ in 0..2 {
        let controller = Controller::start_with(settings.clone()).await;
        assert_eq!(
            snapshot(controller.get("/controller/api/snapshot").await.text),
            before,
            "S53, JN-05"
        );
        assert_eq!(
            controller
                .command(json!({ "TYPE": "TakeSnapshot" }))
                .await
                .status,
            200
        );
        assert!(controller.stop().await == controller_node::Exit::default());
    }
    let controller = Controller::start_with(settings).await;
    let types: Vec<String> = controller
        .events()
        .await
        .iter()
        .map(|event| event["TYPE"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        types
            .iter()
            .filter(|name| *name == "ControllerInitialized")
            .count(),
        1
    );
    assert_eq!(
        types
            .iter()
            .filter(|name| *name == "ControllerReady")
            .count(),
        4
    );
    assert_eq!(
        types
            .iter()
            .filter(|name| *name == "ControllerShutDown")
            .count(),
        3
    );
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_another_controller_or_in_use_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let controller = Controller::start(data.path()).await;
    let stop = tokio_util::sync::CancellationToken::new();
    let error = controller_node::run(settings(data.path()), stop.clone(), |_| {})
        .await
        .unwrap_err();
    assert!(
        !error.is_fault() && error.to_string().contains("in use"),
        "{error}"
    );
    let mut taken = settings(tempfile::tempdir().unwrap().path());
    taken.listen = controller.addr.parse().unwrap();
    let error = controller_node::run(taken, stop.clone(), |_| {})
        .await
        .unwrap_err();
    assert!(
        matches!(error, controller_node::RunError::Bind(_)),
        "a port in use: {error}"
    );
    controller.stop().await;
    let mut other = settings(data.path());
    other.id = "Other".into();
    let error = controller_node::run(other, stop, |_| {}).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("belongs to controller:Controller"),
        "{error}"
    );
}
