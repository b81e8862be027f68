//! Items: deployed, changed, referred to, deleted.

use crate::world::{World, add, delete, jobs, remove, succeeded, version};
use model::{ControllerAnswer, ControllerCommand, ItemKey, ItemOperation};

const LOCK: &str = r#"{"TYPE":"Lock","path":"L"}"#;

fn codes(world: &mut World, operations: &[ItemOperation]) -> String {
    world.change(operations).unwrap_err().to_string()
}

#[test]
fn it01_running_orders_keep_their_version_and_new_ones_get_the_latest() {
    let mut world = World::new();
    world.agent("ALFA");
    world
        .change(&[version("1"), add(&jobs("item/w", &["ALFA"]))])
        .unwrap();
    world.add("OLD", "item/w");
    world.run();
    let quick = r#"{"TYPE":"Workflow","path":"item/w","instructions":[]}"#;
    world.change(&[version("2"), add(quick)]).unwrap();
    let count = world.events.len();
    world.change(&[version("2"), add(quick)]).unwrap();
    assert_eq!(
        world.events.len(),
        count,
        "IT-01: the same again has no effect"
    );
    world.add("NEW", "item/w");
    assert_eq!(
        world.story("NEW").last(),
        Some(&"OrderFinished"),
        "IT-01: NEW finishes before OLD"
    );
    world.end_job("ALFA", "OLD", succeeded());
    assert_eq!(world.story("OLD").last(), Some(&"OrderFinished"));
    world.change(&[version("3"), remove("item/w")]).unwrap();
    let count = world.events.len();
    world.change(&[version("3"), remove("item/w")]).unwrap();
    assert_eq!(
        world.events.len(),
        count,
        "IT-01: removing again has no effect"
    );
    let late = world.add("LATE", "item/w");
    assert!(
        matches!(&late, ControllerAnswer::Problem { code: Some(code), message, .. }
            if code == "VersionedItemRemoved" && message.contains("Workflow:item/w")),
        "IT-01: {late:?}"
    );
    world.replay();
    world.restart();
    assert!(
        matches!(
            world.add("LATE", "item/w"),
            ControllerAnswer::Problem { .. }
        ),
        "after a restart too"
    );
}

#[test]
fn the_same_version_with_another_content_is_refused() {
    let mut world = World::new();
    world
        .change(&[
            version("1"),
            add(r#"{"TYPE":"Workflow","path":"w","instructions":[]}"#),
        ])
        .unwrap();
    let other = r#"{"TYPE":"Workflow","path":"w","instructions":[{"TYPE":"Fail"}]}"#;
    let problem = codes(&mut world, &[version("1"), add(other)]);
    assert!(
        problem.contains("DuplicateKey") && problem.contains("another content"),
        "{problem}"
    );
    world.change(&[add(other)]).unwrap();
    let count = world.events.len();
    world.pass(5);
    world.change(&[add(other)]).unwrap();
    assert_eq!(
        world.events.len(),
        count,
        "without a version of its own an unchanged workflow stays as it is"
    );
}

#[test]
fn s92_a_workflow_goes_to_an_agent_with_its_first_order_only() {
    let mut world = World::new();
    world.agent("ALFA");
    world
        .change(&[version("1"), add(&jobs("w", &["ALFA"]))])
        .unwrap();
    world.run();
    assert!(
        !world.item_story("ItemAttach").is_empty(),
        "the Agent's own items are attached at once"
    );
    assert!(
        world
            .state
            .attachments(&ItemKey::workflow(&workflow("w", "1")))
            .is_empty()
    );
    for id in ["A", "B", "C"] {
        world.add(id, "w");
    }
    world.run();
    world.add("D", "w");
    world.run();
    let sent = world
        .at("ALFA")
        .sent
        .iter()
        .filter(|thing| format!("{thing:?}").contains("AttachItem(Workflow:w~1)"))
        .count();
    assert_eq!(sent, 1, "S92");
}

fn workflow(path: &str, version: &str) -> model::WorkflowId {
    model::WorkflowId {
        path: path.into(),
        version_id: version.into(),
    }
}

#[test]
fn it05_a_version_is_detached_and_deleted_when_it_is_no_longer_used() {
    let mut world = World::new();
    world.agent("ALFA");
    world
        .change(&[version("1"), add(&jobs("item/old", &["ALFA"]))])
        .unwrap();
    let order = model::FreshOrder {
        delete_when_terminated: true,
        ..crate::world::order("O", "item/old")
    };
    world.tell(model::ControllerCommand::AddOrder { order });
    world.run();
    world
        .change(&[version("2"), add(&jobs("item/old", &["ALFA", "ALFA"]))])
        .unwrap();
    world.run();
    assert!(
        world
            .item_story("item/old~1")
            .ends_with(&["ItemAttachable", "ItemAttached"]),
        "it stays while O runs"
    );
    world.end_job("ALFA", "O", succeeded());
    let story = world.item_story("item/old~1");
    assert!(
        story.ends_with(&[
            "ItemAttachable",
            "ItemAttached",
            "ItemDetachable",
            "ItemDetached",
            "ItemDeleted"
        ]),
        "IT-05: {story:?}"
    );
    assert!(
        world
            .state
            .attachments(&ItemKey::workflow(&workflow("item/old", "2")))
            .is_empty(),
        "IT-05"
    );
    world.replay();
}

#[test]
fn it06_revisions_count_from_zero_in_each_life() {
    let mut world = World::new();
    let revision = |world: &World| world.state.items().next().unwrap().item.revision;
    world.change(&[add(LOCK)]).unwrap();
    assert_eq!(revision(&world), Some(0));
    world
        .change(&[add(r#"{"TYPE":"Lock","path":"L","limit":2}"#)])
        .unwrap();
    assert_eq!(revision(&world), Some(1));
    world.change(&[delete("Lock:L")]).unwrap();
    world.change(&[add(LOCK)]).unwrap();
    assert_eq!(revision(&world), Some(0));
    let expected = [
        "UnsignedSimpleItemAdded",
        "UnsignedSimpleItemChanged",
        "ItemDeleted",
        "UnsignedSimpleItemAdded",
    ];
    assert_eq!(world.item_story(""), expected, "IT-06");
    let count = world.events.len();
    world.change(&[add(LOCK)]).unwrap();
    assert_eq!(
        world.events.len(),
        count,
        "an unchanged item makes no event"
    );
}

#[test]
fn it03_references_are_checked_and_all_that_is_missing_is_told() {
    let mut world = World::new();
    let problem = codes(&mut world, &[add(&jobs("w", &["ALFA", "BRAVO"]))]);
    assert!(
        problem.contains("MissingReferencedItem"),
        "IT-03: {problem}"
    );
    assert!(
        problem.contains("Agent:ALFA") && problem.contains("Agent:BRAVO"),
        "IT-03: combined: {problem}"
    );
    let watch = r#"{"TYPE":"FileWatch","path":"W","workflowPath":"nowhere","agentPath":"GHOST","directoryExpr":"'/tmp'"}"#;
    let problem = codes(&mut world, &[add(watch)]);
    assert!(
        problem.contains("Workflow:nowhere") && problem.contains("Agent:GHOST"),
        "IT-03: {problem}"
    );
    world.agent("ALFA");
    world.deploy(&[&jobs("item/ref", &["ALFA"])]);
    let problem = codes(&mut world, &[delete("Agent:ALFA")]);
    assert!(
        problem.contains("ItemIsStillReferenced"),
        "IT-03: {problem}"
    );
    assert!(
        problem.contains("Subagent:ALFA-0") && problem.contains("Workflow:item/ref"),
        "IT-03: {problem}"
    );
}

#[test]
fn it03_an_old_version_in_use_still_refers() {
    let mut world = World::new();
    world.agent("ALFA");
    let resource = r#"{"TYPE":"JobResource","path":"R","variables":{"a":"1"}}"#;
    let with_resource = jobs("item/ref", &["ALFA"]).replacen(
        "\"path\"",
        "\"jobResourcePaths\":[\"R\"],\"path\"",
        1,
    );
    world.deploy(&[resource, &with_resource]);
    world.add("X", "item/ref");
    world.run();
    let problem = codes(&mut world, &[remove("item/ref"), delete("JobResource:R")]);
    assert!(
        problem.contains("JobResource:R") && problem.contains("with Order:X"),
        "IT-03: {problem}"
    );
    world.end_job("ALFA", "X", succeeded());
    world.tell(model::ControllerCommand::DeleteOrdersWhenTerminated {
        order_ids: crate::world::order_ids(&["X"]),
    });
    world
        .change(&[remove("item/ref"), delete("JobResource:R")])
        .unwrap();
    world.run();
    assert!(world.item_story("JobResource:R").ends_with(&[
        "ItemDetachable",
        "ItemDetached",
        "ItemDeleted"
    ]));
    assert!(
        world
            .state
            .items()
            .all(|record| !record.item.key.as_str().contains("ref")),
        "both are gone"
    );
    world.replay();
}

#[test]
fn every_fault_of_a_change_is_told_and_nothing_is_changed() {
    let mut world = World::new();
    let change = [
        add(r#"{"TYPE":"Lock","path":"A","limitt":1}"#),
        add(
            r#"{"TYPE":"Workflow","path":"w","instructions":[{"TYPE":"If","predicate":"1 +","then":{"instructions":[]}}]}"#,
        ),
        delete("Lock:NONE"),
        add(LOCK),
    ];
    let problem = codes(&mut world, &change);
    for part in ["limitt", "Workflow:w", "Lock:NONE"] {
        assert!(problem.contains(part), "{part} is not told: {problem}");
    }
    assert_eq!(world.state.items().count(), 0);
    let problem = codes(&mut world, &[add(LOCK), add(LOCK)]);
    assert!(problem.contains("2×Lock:L"), "{problem}");
}

#[test]
fn an_item_keeps_the_bytes_it_was_sent_as() {
    let mut world = World::new();
    let text = "{ \"path\" : \"L\",\t\"TYPE\":\"Lock\",  \"limit\": 1 }";
    world.change(&[add(text)]).unwrap();
    world.restart();
    assert_eq!(&*world.state.items().next().unwrap().item.text, text);
}

#[test]
fn ag06_an_agent_is_deleted_with_its_subagent_and_comes_back() {
    let mut world = World::new();
    world.agent("ALFA");
    world.deploy(&[&jobs("w", &["ALFA"])]);
    world.add("A", "w");
    world.run();
    world.end_job("ALFA", "A", succeeded());
    world.tell(model::ControllerCommand::DeleteOrdersWhenTerminated {
        order_ids: crate::world::order_ids(&["A"]),
    });
    world
        .change(&[delete("Agent:ALFA"), delete("Subagent:ALFA-0"), remove("w")])
        .unwrap();
    let again = codes(
        &mut world,
        &[add(
            r#"{"TYPE":"AgentRef","path":"ALFA","directors":["ALFA-0"],"processLimit":3}"#,
        )],
    );
    assert!(again.contains("ItemIsMarkedForDeletion"), "AG-06: {again}");
    world.run();
    assert_eq!(world.state.items().count(), 0, "AG-06: all is gone");
    let last = world.at("ALFA").sent.last().cloned();
    assert!(
        format!("{last:?}").contains("DetachItem(Agent:ALFA)"),
        "the Agent's own item goes last: {last:?}"
    );
    world.replay();
    world.restart();
    world.agent("ALFA");
    world.deploy(&[&jobs("w", &["ALFA"])]);
    world.add("A", "w");
    world.run();
    assert_eq!(world.story("A").last(), Some(&"OrderProcessingStarted"));
}

#[test]
fn a_changed_item_goes_to_whoever_has_it() {
    let mut world = World::new();
    world.agent("ALFA");
    let resource = |value: u32| {
        format!(r#"{{"TYPE":"JobResource","path":"R","variables":{{"a":"{value}"}}}}"#)
    };
    let with_resource =
        jobs("w", &["ALFA"]).replacen("\"path\"", "\"jobResourcePaths\":[\"R\"],\"path\"", 1);
    world.deploy(&[&resource(1), &with_resource]);
    world.deploy(&[&resource(2)]);
    world.run();
    assert!(
        !world
            .item_story("JobResource:R")
            .contains(&"ItemAttachable"),
        "nobody needs it yet"
    );
    world.add("A", "w");
    world.run();
    world.deploy(&[&resource(3)]);
    world.run();
    let story = world.item_story("JobResource:R");
    assert!(
        story.ends_with(&[
            "ItemAttachable",
            "ItemAttached",
            "ItemAttachable",
            "ItemAttached"
        ]),
        "{story:?}"
    );
    let attached = world
        .state
        .attachments(&ItemKey::simple(model::ItemType::JobResource, "R"));
    assert_eq!(
        attached,
        [("ALFA".into(), controller::Attachment::Attached(Some(2)))]
    );
}

/// Creates a world with an order at the Agent, whose job uses the job resource R in revision 0, `a` = 1.
fn with_resource() -> World {
    let mut world = World::new();
    world.agent("ALFA");
    let workflow =
        jobs("w", &["ALFA"]).replacen("\"path\"", "\"jobResourcePaths\":[\"R\"],\"path\"", 1);
    world
        .change(&[version("1"), add(&resource(1)), add(&workflow)])
        .unwrap();
    world.add("A", "w");
    world.run();
    world
}

fn resource(value: u32) -> String {
    format!(r#"{{"TYPE":"JobResource","path":"R","variables":{{"a":"{value}"}}}}"#)
}

fn attachment_of_r(world: &World) -> Vec<controller::Attachment> {
    let key = ItemKey::simple(model::ItemType::JobResource, "R");
    let attachments = world.state.attachments(&key).into_iter();
    attachments.map(|(_, attachment)| attachment).collect()
}

#[test]
fn an_agent_that_confirms_an_older_revision_still_has_to_get_the_newer_one() {
    let mut world = with_resource();
    let agent = model::AgentPath::from("ALFA");
    world.at("ALFA").is_reachable = false;
    world.deploy(&[&resource(2)]);
    // The item arrives at the Agent, and the answer is still on its way when the item changes again.
    world.send(&agent);
    world.deploy(&[&resource(3)]);
    world.hear(&agent);
    assert_eq!(
        attachment_of_r(&world),
        [controller::Attachment::Attachable],
        "what it has confirmed is outdated"
    );
    world.at("ALFA").is_reachable = true;
    world.run();
    assert_eq!(
        attachment_of_r(&world),
        [controller::Attachment::Attached(Some(2))]
    );
    world.replay();
}

#[test]
fn an_item_that_is_being_taken_back_is_attached_again_for_a_new_order() {
    let mut world = World::new();
    world.agent("ALFA");
    let deployment = [version("1"), add(&jobs("w", &["ALFA"]))];
    world.change(&deployment).unwrap();
    let order = model::FreshOrder {
        delete_when_terminated: true,
        ..crate::world::order("A", "w")
    };
    world.tell(model::ControllerCommand::AddOrder { order });
    world.run();
    world.end_job("ALFA", "A", succeeded());
    world.at("ALFA").is_reachable = false;
    world.change(&[remove("w")]).unwrap();
    world.run();
    let attachment = |world: &World| {
        let key = ItemKey::workflow(&workflow("w", "1"));
        let attachments = world.state.attachments(&key);
        attachments[0].1.clone()
    };
    assert_eq!(attachment(&world), controller::Attachment::Detachable);
    world.change(&deployment).unwrap();
    world.add("B", "w");
    world.run();
    assert_eq!(attachment(&world), controller::Attachment::Attachable);
    world.at("ALFA").is_reachable = true;
    world.run();
    assert_eq!(world.story("B").last(), Some(&"OrderProcessingStarted"));
    world.replay();
}

#[test]
fn what_must_not_change_is_refused() {
    let mut world = World::new();
    world.agent("ALFA");
    world.agent("BRAVO");
    let moved = r#"{"TYPE":"SubagentItem","id":"ALFA-0","agentPath":"BRAVO","uri":"http://x"}"#;
    assert!(codes(&mut world, &[add(moved)]).contains("SubagentMustNotMove"));
    let other = r#"{"TYPE":"AgentRef","path":"ALFA","directors":["BRAVO-0"]}"#;
    assert!(codes(&mut world, &[add(other)]).contains("DirectorsMustNotChange"));
    let global = r#"{"TYPE":"GlobalBoard","path":"B","postOrderToNoticeId":"orderId","endOfLife":"$js7EpochMilli","expectOrderToNoticeId":"orderId"}"#;
    world.change(&[add(global)]).unwrap();
    let plannable = r#"{"TYPE":"PlannableBoard","path":"B","postOrderToNoticeKey":"orderId","expectOrderToNoticeKey":"orderId"}"#;
    let refused = codes(&mut world, &[add(plannable)]);
    assert!(refused.contains("ItemTypeMustNotChange"), "{refused}");
}

#[test]
fn ag06_an_agent_goes_together_with_its_subagent_and_both_can_be_added_again() {
    let mut world = World::new();
    world.agent("ALFA");
    world.run();
    world
        .change(&[delete("Agent:ALFA"), delete("Subagent:ALFA-0")])
        .unwrap();
    let again =
        r#"{"TYPE":"SubagentItem","id":"ALFA-0","agentPath":"ALFA","uri":"http://127.0.0.1:1"}"#;
    let refused = codes(&mut world, &[add(again)]);
    assert!(
        refused.contains("ItemIsMarkedForDeletion"),
        "SA-08: what is being deleted is not taken as new: {refused}"
    );
    world.run();
    let story = world.item_story("ALFA");
    let gone: Vec<_> = story
        .iter()
        .filter(|kind| **kind == "ItemDeleted")
        .collect();
    assert_eq!(gone.len(), 2, "AG-06: both are gone: {story:?}");
    world.agent("ALFA");
    world.replay();
}

#[test]
fn where_an_agent_is_reached_is_known_until_the_agent_has_gone() {
    let mut world = World::new();
    world.agent("ALFA");
    world.run();
    world
        .change(&[delete("Agent:ALFA"), delete("Subagent:ALFA-0")])
        .unwrap();
    world.run();
    let position = |key: &str| {
        let at = world.events.iter().position(|stamped| {
            let line = stamped.to_json();
            line.contains("\"ItemDeleted\"") && line.contains(key)
        });
        at.unwrap_or_else(|| panic!("{key} is deleted"))
    };
    assert!(position("Agent:ALFA") < position("Subagent:ALFA-0"));
}

#[test]
fn a_clock_that_was_set_back_brings_no_version_twice() {
    let mut world = World::new();
    let quick = r#"{"TYPE":"Workflow","path":"w","instructions":[]}"#;
    // Without a version of its own the workflow gets one of this moment; then the clock is set back to it.
    world.change(&[add(quick)]).unwrap();
    let used = controller::Fresh::at(world.now).version_id;
    let fresh = world.state.fresh_at(world.now).version_id;
    assert_ne!(fresh, used, "it is in use");
    let next = model::Timestamp::from_millis(world.now.millis() + 1);
    assert_eq!(
        fresh,
        controller::Fresh::at(next).version_id,
        "later versions have later names"
    );
    let later = model::Timestamp::from_millis(world.now.millis() + 1000);
    assert_eq!(
        world.state.fresh_at(later).version_id,
        controller::Fresh::at(later).version_id
    );
}

#[test]
fn a_workflow_to_which_a_file_watch_refers_is_removed_only_together_with_it() {
    let mut world = World::new();
    world.agent("ALFA");
    let watch = r#"{"TYPE":"FileWatch","path":"W","workflowPath":"w","agentPath":"ALFA","directoryExpr":"'/tmp'"}"#;
    let quick = r#"{"TYPE":"Workflow","path":"w","instructions":[]}"#;
    let missing = codes(&mut world, &[add(watch)]);
    assert!(missing.contains("Workflow:w"), "{missing}");
    world.change(&[add(watch), add(quick)]).unwrap();
    let refused = codes(&mut world, &[remove("w")]);
    assert!(
        refused.contains("ItemIsStillReferenced") && refused.contains("OrderWatch:W"),
        "{refused}"
    );
    // Its workflow exists already.
    let again = watch.replace("/tmp", "/var");
    world.change(&[add(&again)]).unwrap();
    let refused = codes(&mut world, &[add(watch), remove("w")]);
    assert!(refused.contains("MissingReferencedItem"), "{refused}");
    world
        .change(&[remove("w"), delete("OrderWatch:W")])
        .unwrap();
    world.run();
    assert_eq!(world.state.current_version(&"w".into()), None);
}

#[test]
fn what_is_current_and_what_is_about_to_go_is_known() {
    let mut world = World::new();
    world.agent("ALFA");
    let quick = r#"{"TYPE":"Workflow","path":"w","instructions":[]}"#;
    world.change(&[version("1"), add(quick)]).unwrap();
    let current = |world: &World| world.state.current_version(&"w".into()).cloned();
    assert_eq!(*current(&world).unwrap(), workflow("w", "1"));
    let other = r#"{"TYPE":"Workflow","path":"w","instructions":[{"TYPE":"Fail"}]}"#;
    world.change(&[version("2"), add(other)]).unwrap();
    assert_eq!(*current(&world).unwrap(), workflow("w", "2"));

    let cluster = r#"{"TYPE":"SubagentBundle","id":"B","subagentToPriority":{"ALFA-0":"1"}}"#;
    world.change(&[add(cluster)]).unwrap();
    world.run();
    let key: ItemKey = serde_json::from_value("SubagentBundle:B".into()).unwrap();
    assert_eq!(world.state.item(&key).unwrap().item.key, key);
    assert!(!world.state.is_deletion_marked(&key));
    world.at("ALFA").is_reachable = false;
    world.change(&[delete("SubagentBundle:B")]).unwrap();
    assert!(world.state.is_deletion_marked(&key), "its Agent has it");
    world.at("ALFA").is_reachable = true;
    world.run();
    assert!(world.state.item(&key).is_none());
    assert!(!world.state.is_deletion_marked(&key));
}

#[test]
fn a_workflow_is_removed_as_a_whole_and_only_if_it_is_known() {
    let mut world = World::new();
    let quick = r#"{"TYPE":"Workflow","path":"w","instructions":[]}"#;
    world.change(&[version("1"), add(quick)]).unwrap();
    for key in ["Workflow:w", "Workflow:w~1", "Workflow:unknown"] {
        let refused = codes(&mut world, &[delete(key)]);
        assert!(
            refused.contains("remove it with RemoveVersioned"),
            "{refused}"
        );
    }
    let refused = codes(&mut world, &[remove("unknown")]);
    assert!(refused.contains("Workflow:unknown"), "{refused}");
    world.change(&[remove("w")]).unwrap();
    let before = world.events.len();
    world.change(&[remove("w")]).unwrap();
    assert_eq!(world.events.len(), before, "it is already so");
}

#[test]
fn an_old_version_stays_until_its_last_order_has_gone_and_one_without_orders_goes_at_once() {
    let mut world = World::new();
    world.agent("ALFA");
    let deploy = |world: &mut World, id: &str| {
        world
            .change(&[version(id), add(&jobs("w", &["ALFA"]))])
            .unwrap();
        world.run();
    };
    let has = |world: &World, id: &str| {
        let key = ItemKey::workflow(&workflow("w", id));
        world.state.item(&key).is_some()
    };
    deploy(&mut world, "1");
    for id in ["A", "B"] {
        world.add(id, "w");
    }
    world.run();
    assert_eq!(
        world.state.outbox_len(&"ALFA".into()),
        0,
        "everything has been confirmed"
    );
    deploy(&mut world, "2");
    deploy(&mut world, "3");
    assert!(!has(&world, "2"), "no order has used it");
    for (id, stays) in [("A", true), ("B", false)] {
        world.tell(ControllerCommand::DeleteOrdersWhenTerminated {
            order_ids: crate::world::order_ids(&[id]),
        });
        world.end_job("ALFA", id, succeeded());
        assert_eq!(has(&world, "1"), stays, "after {id}");
    }
    world.replay();
}

#[test]
fn an_event_of_an_item_that_does_not_exist_does_not_fit() {
    let mut world = World::new();
    world.agent("ALFA");
    world.run();
    let key: ItemKey = serde_json::from_value("JobResource:NONE".into()).unwrap();
    let delegate_id = || "ALFA".into();
    let events = [
        model::ItemEvent::ItemAttachable {
            key: key.clone(),
            delegate_id: delegate_id(),
        },
        model::ItemEvent::ItemAttached {
            key: key.clone(),
            item_revision: None,
            delegate_id: delegate_id(),
        },
        model::ItemEvent::ItemDetachable {
            key: key.clone(),
            delegate_id: delegate_id(),
        },
        model::ItemEvent::ItemDeletionMarked { key: key.clone() },
        model::ItemEvent::ItemDeleted { key },
    ];
    for event in events {
        let mut batch = controller::Batch::new(world.now, world.last);
        let event = model::Event::Item(event);
        let refused = controller::Recorder::record(&mut batch, &mut world.state, None, event);
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("JobResource:NONE"), "{refused}");
    }
}
