//! What a Controller offers is written down where its users look.

const DOCUMENT: &str = include_str!("../../../../docs/operating.md");
const REFERENCE: &str = include_str!("../../../../docs/api.md");
const ROUTES: [&str; 3] = [
    include_str!("../../src/api.rs"),
    include_str!("../../src/front.rs"),
    include_str!("../../../node/src/front.rs"),
];

/// Every text in double quotes that looks like a path.
fn routes() -> Vec<&'static str> {
    let texts = ROUTES.iter().flat_map(|source| source.split('"'));
    texts
        .filter(|text| text.starts_with('/') && !text.contains(' '))
        .collect()
}

#[test]
fn s5_every_route_is_documented() {
    let routes = routes();
    assert!(
        routes.len() >= 15,
        "they are found in the source: {routes:?}"
    );
    for route in routes {
        // A path's variable part is described in words.
        let fixed = route.split("/{").next().unwrap_or(route);
        let is_there = DOCUMENT
            .lines()
            .filter(|line| line.starts_with("| /"))
            .any(|line| line.starts_with(&format!("| {fixed}")));
        assert!(is_there, "S5: {route} is missing in docs/operating.md");
    }
}

#[test]
fn s5_every_command_is_documented() {
    for command in model::ControllerCommand::TYPES {
        // Several of a kind stand together: `AddOrder(s)`.
        let singular = command.trim_end_matches('s');
        assert!(
            DOCUMENT.contains(command) || DOCUMENT.contains(&format!("{singular}(s)")),
            "S5: {command} is missing in docs/operating.md"
        );
    }
}

/// Checks that a row of a table in `docs/api.md` lists the type with all its fields. `fields` are in Rust's spelling.
fn is_in_the_reference(kind: &str, name: &str, fields: &[&str]) {
    let begin = format!("| `{name}` | ");
    let mut rows = REFERENCE.lines().filter(|line| line.starts_with(&begin));
    let is_complete = |row: &str| {
        let Some((_, listed)) = row.trim_end_matches(" |").rsplit_once(" | ") else {
            return false;
        };
        // This one is written with another name.
        let written = |field: &str| match (name, field) {
            ("AgentEventRejected", "event_id") => "agentEventId".to_owned(),
            (_, field) => in_camel_case(field),
        };
        let has = |field: &&str| listed.contains(&format!("`{}`", written(field)));
        fields.iter().all(has)
    };
    assert!(
        rows.any(is_complete),
        "S5: {kind} {name} with its fields {fields:?} is missing in docs/api.md"
    );
}

fn in_camel_case(field: &str) -> String {
    let mut words = field.split('_');
    let mut text = words.next().unwrap_or_default().to_owned();
    for word in words {
        let (first, rest) = word.split_at(word.len().min(1));
        text.push_str(&first.to_ascii_uppercase());
        text.push_str(rest);
    }
    text
}

#[test]
fn s5_every_event_and_command_is_documented_with_its_fields() {
    macro_rules! documented {
        ($($kind:ident),*) => {
            $(for name in model::$kind::TYPES {
                is_in_the_reference(stringify!($kind), name, model::$kind::fields_of(name));
            })*
        };
    }
    documented!(
        ControllerCommand,
        ControllerAnswer,
        OrderEvent,
        ItemEvent,
        AgentEvent,
        AgentOwnEvent,
        SubagentStateEvent,
        ControllerEvent,
        JournalEvent,
        ClusterEvent,
        OrderState,
        AttachedState,
        Outcome,
        ClusterState,
        Mark,
        CancellationMode,
        HistoryOperation,
        JobHold
    );
    for (group, _) in model::Event::GROUPS {
        assert!(REFERENCE.contains(&format!("### {group}: ")), "S5: {group}");
    }
}
