//! What goes wrong from outside: texts, orders, calls, places and jobs that make no sense. Each is told clearly and changes nothing.
//!
//! Always: against real processes, through the public interface. Wrong certificates and tokens between the parts are among the
//! conformance cases (SE-05, SE-06); damaged journals among those of `journal` and RC-03.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot set up its world fails at that line"
)]

mod calls;
mod jobs;
mod orders;
mod places;
mod texts;

use serde_json::{Value, json};
use testkit::world::{Plan, Refused, World};

pub(crate) async fn world(agents: &[&str]) -> World {
    World::start(Plan::of(agents)).await.unwrap()
}

/// The operation that adds a workflow or job resource as text.
pub(crate) fn text(item: &Value) -> Value {
    json!({"TYPE": "AddOrChangeSigned", "signed": {"string": item.to_string()}})
}

pub(crate) async fn deploy(world: &World, path: &str, instructions: Value) {
    let workflow = json!({"TYPE": "Workflow", "path": path, "instructions": instructions});
    world.api().change_items(&[text(&workflow)]).await.unwrap();
}

/// The number of events: what has changed nothing has written none.
pub(crate) async fn events(world: &World) -> usize {
    // What an Agent says when it is coupled is none of our business here.
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    let all = world.api().all_events().await.unwrap();
    let is_ours = |event: &&Value| {
        let kind = event["TYPE"].as_str().unwrap_or_default();
        kind.starts_with("Order") || kind.contains("Item") || kind.starts_with("Version")
    };
    let of_agents = |event: &&Value| {
        !event["TYPE"]
            .as_str()
            .unwrap_or_default()
            .starts_with("ItemAttach")
    };
    all.iter().filter(is_ours).filter(of_agents).count()
}

/// A refusal must say all of this.
#[track_caller]
pub(crate) fn assert_says(refused: &Refused, words: &[&str]) {
    for word in words {
        let is_said = refused.message.contains(word) || refused.code.as_deref() == Some(word);
        assert!(is_said, "“{word}” is not said: {refused}");
    }
}
