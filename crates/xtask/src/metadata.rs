//! What `cargo metadata` says about the workspace, as far as the checks ask.
//! Always: for the platform that is shipped, Linux on `x86_64`, from the lockfile as it is.
//!
//! The graph of `cargo metadata` holds more than is built: it joins the features of all crates the old way, and so lists guests behind
//! features that nobody asks for. What is built is therefore asked of `cargo tree`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::cargo;

/// What is shipped, and so what is judged.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

/// The whole answer.
#[derive(Deserialize)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
    pub(crate) workspace_members: Vec<String>,
    pub(crate) resolve: Resolve,
    pub(crate) target_directory: PathBuf,
    /// Name and version of everything that is built.
    #[serde(skip)]
    built: BTreeSet<(String, String)>,
}

/// One package, ours or a guest.
#[derive(Deserialize)]
pub(crate) struct Package {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) license: Option<String>,
    pub(crate) source: Option<String>,
    pub(crate) dependencies: Vec<Dependency>,
    pub(crate) targets: Vec<Target>,
    pub(crate) manifest_path: PathBuf,
    #[serde(default)]
    metadata: Option<serde_json::Value>,
}

/// A line of a manifest's dependency tables.
#[derive(Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) kind: Option<String>,
    pub(crate) rename: Option<String>,
}

/// A library, binary, test or example.
#[derive(Deserialize)]
pub(crate) struct Target {
    pub(crate) kind: Vec<String>,
    pub(crate) name: String,
    pub(crate) src_path: PathBuf,
}

/// The dependency graph after resolution.
#[derive(Deserialize)]
pub(crate) struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Edge>,
}

#[derive(Deserialize)]
struct Edge {
    pkg: String,
    dep_kinds: Vec<EdgeKind>,
}

#[derive(Deserialize)]
struct EdgeKind {
    kind: Option<String>,
}

impl Package {
    /// The layer of the house, from `[package.metadata.house]`.
    pub(crate) fn layer(&self) -> Option<u64> {
        self.metadata.as_ref()?.get("house")?.get("layer")?.as_u64()
    }

    /// The folder of the manifest.
    pub(crate) fn folder(&self) -> PathBuf {
        self.manifest_path
            .parent()
            .map(PathBuf::from)
            .unwrap_or_default()
    }
}

impl Target {
    /// Whether the target is part of the product, as opposed to a test, an example or a build script.
    pub(crate) fn is_product(&self) -> bool {
        self.kind
            .iter()
            .any(|kind| matches!(kind.as_str(), "lib" | "bin" | "proc-macro"))
    }
}

impl Metadata {
    /// Asks cargo.
    pub(crate) fn read() -> Result<Self> {
        let question = [
            "metadata",
            "--locked",
            "--format-version",
            "1",
            "--filter-platform",
        ];
        let text = cargo::output(cargo::cargo(question.into_iter().chain([PLATFORM])))
            .context("is Cargo.lock up to date? `cargo check` brings it up to date")?;
        let mut metadata: Self =
            serde_json::from_slice(&text).context("cannot read the answer of cargo metadata")?;
        let question = [
            "tree",
            "--locked",
            "--workspace",
            "--prefix",
            "none",
            "--target",
        ];
        let tree = cargo::output(cargo::cargo(question.into_iter().chain([PLATFORM])))?;
        metadata.built = String::from_utf8(tree)?
            .lines()
            .filter_map(name_and_version)
            .collect();
        Ok(metadata)
    }

    /// Our own packages, by name.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Package> {
        self.packages
            .iter()
            .filter(|package| self.workspace_members.contains(&package.id))
    }

    /// Our own package of this name.
    pub(crate) fn member(&self, name: &str) -> Option<&Package> {
        self.members().find(|package| package.name == name)
    }

    /// Guests that are built for the shipped platform, build scripts and tests included.
    pub(crate) fn guests(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| {
            self.is_built(package) && !self.workspace_members.contains(&package.id)
        })
    }

    fn is_built(&self, package: &Package) -> bool {
        self.built
            .contains(&(package.name.clone(), package.version.clone()))
    }

    /// Everything linked into a package: normal dependencies, and theirs. Each with the package that asks for it.
    pub(crate) fn linked_into<'a>(
        &'a self,
        package: &'a Package,
    ) -> BTreeMap<&'a str, &'a Package> {
        let by_id: BTreeMap<&str, &Package> = self
            .packages
            .iter()
            .map(|each| (each.id.as_str(), each))
            .collect();
        let nodes: BTreeMap<&str, &Node> = self
            .resolve
            .nodes
            .iter()
            .map(|node| (node.id.as_str(), node))
            .collect();
        let mut asked_by = BTreeMap::new();
        let mut open = vec![package];
        while let Some(user) = open.pop() {
            let Some(node) = nodes.get(user.id.as_str()) else {
                continue;
            };
            for edge in &node.deps {
                let Some(&used) = by_id.get(edge.pkg.as_str()) else {
                    continue;
                };
                let is_normal = edge.dep_kinds.iter().any(|kind| kind.kind.is_none());
                // A procedural macro runs inside the compiler: what it uses is not linked.
                let is_macro = used
                    .targets
                    .iter()
                    .any(|target| target.kind.iter().any(|kind| kind == "proc-macro"));
                if is_normal && !is_macro && !asked_by.contains_key(used.id.as_str()) {
                    asked_by.insert(used.id.as_str(), user);
                    open.push(used);
                }
            }
        }
        asked_by
    }

    /// The packages that name this one in their manifests and are built.
    pub(crate) fn users_of(&self, package: &Package) -> Vec<&Package> {
        let ids: Vec<&str> = self
            .resolve
            .nodes
            .iter()
            .filter(|node| node.deps.iter().any(|edge| edge.pkg == package.id))
            .map(|node| node.id.as_str())
            .collect();
        self.packages
            .iter()
            .filter(|each| ids.contains(&each.id.as_str()) && self.is_built(each))
            .collect()
    }
}

/// A line of `cargo tree`, such as `serde v1.0.229` or `model v0.1.0 (/home/me/mainspring/crates/model)`.
fn name_and_version(line: &str) -> Option<(String, String)> {
    let mut words = line.split_whitespace();
    Some((
        words.next()?.to_owned(),
        words.next()?.strip_prefix('v')?.to_owned(),
    ))
}
