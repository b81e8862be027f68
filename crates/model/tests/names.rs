//! Names, times and versions.

use model::{
    AgentPath, EventId, ItemKey, ItemType, NameError, OrderId, Seconds, Timestamp, WorkflowId,
    WorkflowPath,
};
use std::time::Duration;

#[test]
fn an_order_id_from_outside_is_not_empty_and_has_no_bar() {
    assert_eq!(
        OrderId::checked("#2026-11-21#T1").unwrap().as_str(),
        "#2026-11-21#T1"
    );
    assert_eq!(
        OrderId::checked(""),
        Err(NameError::Empty { kind: "OrderId" })
    );
    assert_eq!(
        OrderId::checked("a|b").unwrap_err().to_string(),
        "OrderId must not contain reserved characters: |"
    );
    assert!(OrderId::checked("a\nb").is_err());
    let child = OrderId::new("a").child("b").child("c");
    assert_eq!((child.as_str(), child.root()), ("a|b|c", "a"));
}

#[test]
fn item_names_are_parts_between_slashes() {
    for good in ["a", "A-1", "dock/empty", "ä.b_c/d-1", "9"] {
        assert!(WorkflowPath::checked(good).is_ok(), "{good}");
        assert!(AgentPath::checked(good).is_ok(), "{good}");
    }
    for bad in [
        "", "/a", "a/", "a//b", "-a", ".a", "a.", "a b", "a~1", "a|b", "a\0",
    ] {
        assert!(WorkflowPath::checked(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn a_key_names_a_type_and_a_path() {
    assert_eq!(
        ItemKey::simple(ItemType::FileWatch, "w").as_str(),
        "OrderWatch:w"
    );
    let id = WorkflowId {
        path: "dock/w".into(),
        version_id: "#2026~1".into(),
    };
    let key = ItemKey::workflow(&id);
    assert_eq!(key.as_str(), "Workflow:dock/w~#2026~1");
    assert_eq!(
        key.as_workflow(),
        Some(id),
        "a version may hold any character"
    );
    assert_eq!(ItemKey::simple(ItemType::Lock, "l").as_workflow(), None);
    assert_eq!(
        ItemKey::simple(ItemType::AgentRef, "A").split(),
        ("Agent", "A")
    );
}

#[test]
fn event_ids_grow_whatever_the_clock_does() {
    let id = EventId::BEFORE_FIRST.next(Timestamp::from_millis(1_735_560_000_000));
    assert_eq!(id, EventId(1_735_560_000_000_000));
    assert_eq!(
        id.next(Timestamp::from_millis(1_735_560_000_000)),
        EventId(1_735_560_000_000_001)
    );
    assert_eq!(
        id.next(Timestamp::from_millis(-5)),
        EventId(1_735_560_000_000_001)
    );
    assert_eq!(id.timestamp(), Timestamp::from_millis(1_735_560_000_000));
}

#[test]
fn times_are_read_in_both_forms() {
    let read = |text: &str| serde_json::from_str::<Timestamp>(text).map(Timestamp::millis);
    assert_eq!(read("1735560000000").unwrap(), 1_735_560_000_000);
    assert_eq!(read("1735560000000.0").unwrap(), 1_735_560_000_000);
    assert_eq!(read("\"2024-12-30T12:00:00Z\"").unwrap(), 1_735_560_000_000);
    assert_eq!(
        read("\"2024-12-30T13:00:00+01:00\"").unwrap(),
        1_735_560_000_000
    );
    for bad in ["\"tomorrow\"", "1.5", "true", "1e300"] {
        assert!(read(bad).is_err(), "{bad}");
    }
    let early = Timestamp::from_millis(1_000);
    assert_eq!(
        (early + Duration::from_secs(1)).since(early),
        Duration::from_secs(1)
    );
    assert_eq!(early.since(early + Duration::from_secs(1)), Duration::ZERO);
    assert_eq!(
        Timestamp::from_millis(i64::MAX) + Duration::MAX,
        Timestamp::from_millis(i64::MAX)
    );
    assert_eq!(early.to_string(), "1970-01-01T00:00:01.000Z");
}

#[test]
fn spans_are_seconds() {
    let read = |text: &str| serde_json::from_str::<Seconds>(text);
    assert_eq!(read("0.1").unwrap(), Seconds::from_millis(100));
    assert_eq!(
        serde_json::to_string(&Seconds::from_millis(60_000)).unwrap(),
        "60"
    );
    assert_eq!(
        serde_json::to_string(&Seconds::from_millis(1_500)).unwrap(),
        "1.5"
    );
    for bad in ["-1", "\"1\""] {
        assert!(read(bad).is_err(), "{bad}");
    }
}
