//! Directories, ports and disks that cannot be used.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use testkit::world::{Node, Part, Plan, World};

use crate::{deploy, world};

const END_WITHIN: Duration = Duration::from_secs(20);

/// Starts a node that cannot start; its exit code and what it says.
async fn failed_start(node: &mut Node) -> (Option<i32>, String) {
    node.start().unwrap();
    let status = node.wait_end(END_WITHIN).await.unwrap();
    (status.code(), node.log_tail(4))
}

fn stranger(world: &World, part: Part, name: &str) -> Node {
    let mut node = Node::new(part, name, world.dir(), world.mark()).unwrap();
    if part == Part::Agent {
        node.arguments = vec!["--name".to_owned(), name.to_owned()];
    }
    node
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_in_use_is_refused_and_its_owner_is_not_disturbed() {
    let mut world = world(&["ALFA"]).await;
    for (name, part) in [("controller", Part::Controller), ("ALFA", Part::Agent)] {
        let mut second = stranger(&world, part, &format!("second-{name}"));
        second.data.clone_from(&world.node(name).data);
        if part == Part::Agent {
            second.arguments = vec!["--name".to_owned(), "ALFA".to_owned()];
        }
        let (code, told) = failed_start(&mut second).await;
        assert_eq!(code, Some(1), "{told}");
        assert!(
            told.contains("in use") || told.contains("another process"),
            "{told}"
        );
        assert!(
            told.contains(&second.data.display().to_string()),
            "the directory is named: {told}"
        );
    }
    deploy(
        &world,
        "w",
        json!([{"TYPE": "Execute.Anonymous", "job": {
        "agentPath": "ALFA", "executable": {"TYPE": "ShellScriptExecutable", "script": ":"}}}]),
    )
    .await;
    world
        .api()
        .add_order(&json!({"id": "O", "workflowPath": "w"}))
        .await
        .unwrap();
    world.await_event("O", "OrderFinished").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_data_directory_of_another_node_is_refused() {
    let mut world = world(&["ALFA"]).await;
    let data = world.node("ALFA").data.clone();
    world.node("ALFA").terminate().await.unwrap();
    for (part, name) in [(Part::Agent, "BRAVO"), (Part::Controller, "other")] {
        let mut other = stranger(&world, part, name);
        other.data.clone_from(&data);
        let (code, told) = failed_start(&mut other).await;
        assert_ne!(code, Some(0), "{told}");
        assert!(
            told.contains("agent:ALFA") || told.contains("ALFA"),
            "the owner is named: {told}"
        );
    }
    world.node("ALFA").start_ready().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named() {
    let mut world = world(&["ALFA"]).await;
    let address = world.controller().address;
    for (part, name) in [
        (Part::Controller, "c2"),
        (Part::Agent, "a2"),
        (Part::Subagent, "s2"),
    ] {
        let mut second = stranger(&world, part, name);
        second.address = address;
        let (code, told) = failed_start(&mut second).await;
        assert_eq!(code, Some(1), "{told}");
        assert!(
            told.contains(&address.to_string()),
            "the address is named: {told}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_where_nothing_can_be_written_is_named() {
    let world = world(&[]).await;
    for (part, name) in [
        (Part::Controller, "c2"),
        (Part::Agent, "a2"),
        (Part::Subagent, "s2"),
    ] {
        let mut node = stranger(&world, part, name);
        // Whoever runs the test: nobody can make a directory there.
        node.data = Path::new("/proc/mainspring-test").to_owned();
        let (code, told) = failed_start(&mut node).await;
        assert_eq!(code, Some(1), "{told}");
        assert!(
            told.contains("/proc/mainspring-test"),
            "the directory is named: {told}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_make_no_sense_are_told_before_anything_starts() {
    let world = world(&[]).await;
    let mut node = stranger(&world, Part::Controller, "c2");
    node.arguments = vec!["--set".to_owned(), "segmnet=1MiB".to_owned()];
    let (code, told) = failed_start(&mut node).await;
    assert_eq!(code, Some(2), "{told}");
    assert!(
        told.contains("segmnet") && told.contains("segment"),
        "the nearest key is told: {told}"
    );
    assert!(!node.data.join("state").exists(), "nothing was made");
}

#[tokio::test(flavor = "multi_thread")]
async fn r8_a_full_disk_stops_the_controller_and_nothing_acknowledged_is_lost() {
    let plan = Plan {
        controller_settings: vec![("segment".to_owned(), "16KiB".to_owned())],
        ..Plan::default()
    };
    let mut world = World::prepare(plan).await.unwrap();
    world.controller().file_bytes_max = Some(60 * 1024);
    world.controller().start_ready().await.unwrap();
    world.connect().unwrap();
    deploy(&world, "w", json!([{"TYPE": "Stop"}])).await;
    let order = |id: &str, bytes: usize| json!({"id": id, "workflowPath": "w", "arguments": {"x": "x".repeat(bytes)}});
    let ids: Vec<String> = (0..50).map(|number| format!("O{number}")).collect();
    for id in &ids {
        world.api().add_order(&order(id, 1000)).await.unwrap();
    }
    // No file of the log has room for this one.
    let add = json!({"TYPE": "AddOrder", "order": order("BIG", 100_000)});
    let answer = world.api().command(&add).await;
    assert!(!matches!(answer, Ok(Ok(_))), "not acknowledged: {answer:?}");
    let status = world.controller().wait_end(END_WITHIN).await.unwrap();
    let told = world.controller().log_tail(8);
    assert_eq!(
        status.code(),
        Some(98),
        "it asks to be started again: {told}"
    );
    assert!(told.contains("/state/"), "the file is named: {told}");
    world.controller().file_bytes_max = None;
    world.controller().start_ready().await.unwrap();
    for id in &ids {
        assert!(
            world.api().order(id).await.unwrap().is_some(),
            "{id} was acknowledged"
        );
    }
    world
        .api()
        .add_order(&order("AFTER", 100_000))
        .await
        .unwrap();
}

/// Settings that are invalid, with words that the error contains.
const UNFIT: [(Part, &str, &[&str]); 9] = [
    (Part::Controller, "id=a b", &["id:", "a b"]),
    (
        Part::Controller,
        "users.anna.password-hash=plain",
        &["users.anna.password-hash", "mainspring user hash-password"],
    ),
    (
        Part::Controller,
        "users.anna.token-hashes=[\"short\"]",
        &["users.anna.token-hashes"],
    ),
    (
        Part::Controller,
        "users.admin.permissions=View",
        &["users", "admin.permissions", "cannot be limited"],
    ),
    (
        Part::Controller,
        "cluster.members.Backup=nowhere",
        &["cluster.members", "nowhere"],
    ),
    (Part::Agent, "name=a b", &["name:", "a b"]),
    (
        Part::Agent,
        "cluster.name=Third",
        &["cluster.name", "Third", "Primary or Backup"],
    ),
    (Part::Agent, "segment=much", &["segment", "much"]),
    (
        Part::Subagent,
        "listen=0.0.0.0:1",
        &["0.0.0.0:1", "loopback", "certificates"],
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_setting_that_does_not_fit_ends_the_start_with_2_and_so_does_its_check() {
    let world = world(&[]).await;
    for (part, setting, words) in UNFIT {
        let mut node = stranger(&world, part, "unfit");
        node.arguments = vec!["--set".to_owned(), setting.to_owned()];
        let (code, told) = failed_start(&mut node).await;
        assert_eq!(code, Some(2), "{setting}: {told}");
        assert!(!node.data.join("state").exists(), "nothing was made");
        let check = ["config", "check", part.command(), "--set", setting];
        let checked = world.command_line(&check).unwrap();
        assert_eq!(checked.status.code(), Some(2), "{setting}: {checked:?}");
        let checked = String::from_utf8_lossy(&checked.stderr).into_owned();
        for word in words {
            assert!(told.contains(word), "{setting}: {word} in {told}");
            assert!(checked.contains(word), "{setting}: {word} in {checked}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_in_a_file_are_checked_with_their_line_and_printed_with_all_others() {
    let world = world(&[]).await;
    let file = world.tmp().join("controller.toml");
    let path = file.display().to_string();
    std::fs::write(
        &file,
        "segment = \"1MiB\"\n\n[users.anna]\npassword-hash = \"plain\"\n",
    )
    .unwrap();
    let check = ["config", "check", "controller", "--config", &path];
    let checked = world.command_line(&check).unwrap();
    let told = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert_eq!(checked.status.code(), Some(2), "{told}");
    assert!(told.contains(&format!("{path}:4")), "{told}");

    std::fs::write(&file, "segment = \"1MiB\"\n").unwrap();
    let checked = world.command_line(&check).unwrap();
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
    let print = ["controller", "--config", &path, "--print-config"];
    let printed = world.command_line(&print).unwrap();
    assert_eq!(printed.status.code(), Some(0), "{printed:?}");
    let printed = String::from_utf8_lossy(&printed.stdout).into_owned();
    for line in [
        "segment = \"1MiB\"",
        "snapshot-size = \"64MiB\"",
        "[cluster]",
    ] {
        assert!(
            printed.lines().any(|known| known == line),
            "{line} in {printed}"
        );
    }
    // The printed text is a valid file of settings.
    std::fs::write(&file, printed).unwrap();
    let again = world.command_line(&check).unwrap();
    assert_eq!(again.status.code(), Some(0), "{again:?}");
}
