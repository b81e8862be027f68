//! What a Controller offers is written down where its users look.

const DOCUMENT: &str = include_str!("../../../../docs/operating.md");
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
