//! Who may use whom, and what must be absent where.
//! Always: the layer of a crate stands in its own manifest, `[package.metadata.house] layer`; a crate uses lower layers, and of its own
//! layer only what [`is_neighbour`] names; machines and edges do not see each other.
//! Never here: what a crate does with what it may use. Clippy's lists hold that.

use super::Faults;
use crate::metadata::{Metadata, Package};

/// Never linked into a crate of layer 1 or 2: clocks, chance, threads and the network come in by these.
const UNKNOWN_TO_MACHINES: &[&str] = &[
    "axum", "hyper", "mio", "rand", "reqwest", "rustls", "rustix", "tokio", "tracing", "nix",
];

/// Crates that one of ours alone may name in its manifest.
const OWNED: &[(&str, &[&str])] = &[
    ("openraft", &["cluster"]),
    ("postcard", &["cluster"]),
    ("rustls", &["net"]),
    ("tokio-rustls", &["net"]),
    ("rcgen", &["net"]),
];

pub(super) fn check(metadata: &Metadata) -> Faults {
    let mut faults = Faults::new();
    for user in metadata.members() {
        let Some(layer) = user.layer() else {
            faults.push(format!(
                "{}: no layer; add [package.metadata.house] layer = 1 to 6 to its manifest",
                user.name
            ));
            continue;
        };
        for dependency in &user.dependencies {
            let is_for_tests = dependency.kind.as_deref() == Some("dev");
            if let Some(used) = metadata.member(&dependency.name) {
                let Some(below) = used.layer() else { continue };
                if !may_use((&user.name, layer), (&used.name, below), is_for_tests) {
                    faults.push(format!(
                        "{} (layer {layer}) may not use {} (layer {below})",
                        user.name, used.name
                    ));
                }
            }
            let owners = OWNED
                .iter()
                .find(|(owned, _)| *owned == dependency.name)
                .map(|(_, owners)| *owners);
            if owners.is_some_and(|owners| !owners.contains(&user.name.as_str())) && layer < 6 {
                let owners = owners.unwrap_or_default().join(", ");
                faults.push(format!(
                    "{} may not depend on {}: only {owners} does",
                    user.name, dependency.name
                ));
            }
        }
        if layer <= 2 {
            faults.extend(strangers(metadata, user));
        }
    }
    faults
}

/// Whether a crate may name another in its manifest.
fn may_use(user: (&str, u64), used: (&str, u64), is_for_tests: bool) -> bool {
    let ((user, layer), (used, below)) = (user, used);
    if layer >= 6 {
        return true;
    }
    if is_for_tests {
        return below <= layer || used == "testkit";
    }
    // Machines and edges do not see each other.
    if layer == 3 && below == 2 {
        return false;
    }
    below < layer || (below == layer && is_neighbour(layer, user, used))
}

/// What a crate may use of its own layer.
fn is_neighbour(layer: u64, user: &str, used: &str) -> bool {
    match layer {
        1 => user == "model" && used == "expr",
        2 => used == "engine",
        3 => {
            matches!(used, "settings" | "tasks" | "telemetry")
                || (user == "cluster" && used == "journal")
        }
        4 => used == "node" || (user == "agent-node" && used == "subagent-node"),
        _ => false,
    }
}

/// What is linked into a crate of the lower layers and must not be, each with the way it came.
fn strangers(metadata: &Metadata, machine: &Package) -> Faults {
    let linked = metadata.linked_into(machine);
    let mut faults = Faults::new();
    for stranger in metadata
        .packages
        .iter()
        .filter(|package| UNKNOWN_TO_MACHINES.contains(&package.name.as_str()))
    {
        let mut way = vec![stranger.name.as_str()];
        let mut at = stranger;
        while let Some(user) = linked.get(at.id.as_str()) {
            way.push(&user.name);
            at = user;
        }
        if way.len() > 1 {
            way.reverse();
            faults.push(format!(
                "{} must not know {}: {}",
                machine.name,
                stranger.name,
                way.join(" → ")
            ));
        }
    }
    faults
}

#[cfg(test)]
mod claims {
    use serde_json::{Value, json};

    use super::*;

    /// A workspace of crates with their layers; an arrow is a normal dependency. Names without a layer are guests.
    fn house(layers: &[(&str, u64)], arrows: &[(&str, &str)]) -> Metadata {
        let layer_of = |name: &str| {
            layers
                .iter()
                .find(|(each, _)| *each == name)
                .map(|(_, layer)| *layer)
        };
        let mut names: Vec<&str> = layers.iter().map(|(name, _)| *name).collect();
        names.extend(
            arrows
                .iter()
                .map(|(_, used)| *used)
                .filter(|name| layer_of(name).is_none()),
        );
        let packages: Vec<Value> = names
            .iter()
            .map(|name| {
                let uses = arrows.iter().filter(|(user, _)| user == name);
                let dependencies: Vec<Value> =
                    uses.map(|(_, used)| json!({"name": used, "kind": null, "rename": null})).collect();
                json!({"id": name, "name": name, "version": "1.0.0", "dependencies": dependencies, "targets": [],
                    "manifest_path": format!("/{name}/Cargo.toml"),
                    "metadata": layer_of(name).map(|layer| json!({"house": {"layer": layer}}))})
            })
            .collect();
        let nodes: Vec<Value> = names
            .iter()
            .map(|name| {
                let uses = arrows.iter().filter(|(user, _)| user == name);
                let edges: Vec<Value> = uses
                    .map(|(_, used)| json!({"pkg": used, "dep_kinds": [{"kind": null}]}))
                    .collect();
                json!({"id": name, "deps": edges})
            })
            .collect();
        let members: Vec<&str> = layers.iter().map(|(name, _)| *name).collect();
        serde_json::from_value(
            json!({"packages": packages, "workspace_members": members, "target_directory": "/t",
            "resolve": {"nodes": nodes}}),
        )
        .expect("the drawing is complete")
    }

    fn faults(layers: &[(&str, u64)], arrows: &[(&str, &str)]) -> Faults {
        check(&house(layers, arrows))
    }

    #[test]
    fn lower_layers_may_be_used() {
        let layers = [
            ("expr", 1),
            ("model", 1),
            ("engine", 2),
            ("agent", 2),
            ("journal", 3),
            ("cluster", 3),
            ("node", 4),
        ];
        let arrows = [
            ("model", "expr"),
            ("agent", "engine"),
            ("engine", "model"),
            ("cluster", "journal"),
            ("node", "agent"),
            ("node", "cluster"),
        ];
        assert_eq!(faults(&layers, &arrows), Faults::new());
    }

    #[test]
    fn nobody_looks_up() {
        assert_eq!(
            faults(&[("engine", 2), ("node", 4)], &[("engine", "node")]),
            ["engine (layer 2) may not use node (layer 4)"]
        );
    }

    #[test]
    fn machines_and_edges_do_not_see_each_other() {
        let layers = [("engine", 2), ("journal", 3)];
        assert_eq!(faults(&layers, &[("journal", "engine")]).len(), 1);
        assert_eq!(faults(&layers, &[("engine", "journal")]).len(), 1);
    }

    #[test]
    fn one_machine_does_not_use_another_but_the_engine() {
        let layers = [("engine", 2), ("controller", 2), ("agent", 2)];
        assert_eq!(faults(&layers, &[("controller", "engine")]), Faults::new());
        assert_eq!(faults(&layers, &[("controller", "agent")]).len(), 1);
    }

    #[test]
    fn a_runtime_in_the_tree_of_a_machine_is_found_with_the_way_it_came() {
        let found = faults(&[("engine", 2)], &[("engine", "handy"), ("handy", "tokio")]);
        assert_eq!(
            found,
            ["engine must not know tokio: engine → handy → tokio"]
        );
    }

    #[test]
    fn an_edge_may_know_the_runtime() {
        assert_eq!(
            faults(&[("process", 3)], &[("process", "tokio")]),
            Faults::new()
        );
    }

    #[test]
    fn only_the_cluster_knows_the_consensus_library() {
        assert_eq!(
            faults(&[("cluster", 3)], &[("cluster", "openraft")]),
            Faults::new()
        );
        assert_eq!(
            faults(&[("node", 4)], &[("node", "openraft")]),
            ["node may not depend on openraft: only cluster does"]
        );
    }

    #[test]
    fn a_crate_without_a_layer_is_a_fault() {
        let mut drawing = house(&[("engine", 2)], &[("engine", "stray")]);
        drawing.workspace_members.push("stray".into());
        assert_eq!(check(&drawing).len(), 1);
    }

    #[test]
    fn tests_may_use_the_testkit() {
        assert!(may_use(("engine", 2), ("testkit", 6), true));
        assert!(!may_use(("engine", 2), ("testkit", 6), false));
        assert!(!may_use(("engine", 2), ("node", 4), true));
    }
}
