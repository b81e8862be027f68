//! Guests: where the crates we use come from, which we do not want, and which we have twice.
//! Always: only the public registry and this workspace; a new duplicate of a version is a fault until it is accepted here with
//! its reason; an acceptance that is no longer needed is told.

use std::collections::{BTreeMap, BTreeSet};

use super::Faults;
use crate::metadata::Metadata;

/// The one source besides this workspace.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Crates that may not be built in, why, and the crates that may nevertheless bring them.
const BANNED: &[(&str, &str, &[&str])] = &[
    ("openssl-sys", "one TLS back end: aws-lc-rs", &[]),
    ("native-tls", "one TLS back end: aws-lc-rs", &[]),
    ("ring", "one TLS back end: aws-lc-rs", &[]),
    ("serde_yaml", "deprecated; serde-saphyr reads YAML", &[]),
    (
        "bincode",
        "its last version is a tombstone; postcard frames what needs frames",
        &[],
    ),
    ("rusqlite", "the journal is the database here", &[]),
    ("async-std", "one runtime: tokio", &[]),
    // Openraft prints times with it; our own time is jiff.
    (
        "chrono",
        "time is jiff",
        &["openraft", "openraft-macros", "chrono-tz", "display-more"],
    ),
    // Certificates carry their validity in it.
    (
        "time",
        "time is jiff",
        &["net", "rcgen", "x509-parser", "asn1-rs", "yasna"],
    ),
];

/// Crates that are built in several versions, and who holds which.
const DUPLICATES: &[(&str, &str)] = &[
    ("base64", "0.22 by metrics-exporter-prometheus"),
    ("block-buffer", "by the two digests"),
    ("cpufeatures", "by the two digests"),
    ("crypto-common", "by the two digests"),
    (
        "digest",
        "0.10 by sha2 0.10, which openraft's quorum-set holds; 0.11 by argon2",
    ),
    ("getrandom", "0.3 by rand 0.9, 0.4 by rand 0.10"),
    ("hashbrown", "0.16 by metrics-util"),
    (
        "rand",
        "0.8 by chrono-tz-build, while building; 0.9 by metrics-util; 0.10 by openraft",
    ),
    ("rand_core", "by the three rand"),
    (
        "syn",
        "2 by derive macros that have not moved to 3 yet; while building",
    ),
    ("untrusted", "0.7 by aws-lc-rs, 0.9 by rustls-webpki"),
];

pub(super) fn check(metadata: &Metadata) -> Faults {
    let mut faults = Faults::new();
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for guest in metadata.guests() {
        let (name, version) = (guest.name.as_str(), guest.version.as_str());
        versions.entry(name).or_default().insert(version);
        if guest.source.as_deref() != Some(REGISTRY) {
            let source = guest
                .source
                .as_deref()
                .unwrap_or("a folder outside of the workspace");
            faults.push(format!(
                "{name} {version} comes from {source}; only the registry is allowed"
            ));
        }
        let Some((_, reason, hosts)) = BANNED.iter().find(|(banned, ..)| *banned == name) else {
            continue;
        };
        let users = metadata.users_of(guest);
        for user in users
            .iter()
            .filter(|user| !hosts.contains(&user.name.as_str()))
        {
            faults.push(format!(
                "{} uses {name}, which is banned: {reason}",
                user.name
            ));
        }
    }
    versions.retain(|_, versions| versions.len() > 1);
    for (name, versions) in &versions {
        if !DUPLICATES.iter().any(|(accepted, _)| accepted == name) {
            let versions = versions.iter().copied().collect::<Vec<_>>().join(", ");
            faults.push(format!(
                "{name} is built in several versions ({versions}); align them, or accept it in {} with a reason",
                file!()
            ));
        }
    }
    for (name, _) in DUPLICATES
        .iter()
        .filter(|(name, _)| !versions.contains_key(name))
    {
        println!(
            "  note: {name} is no longer built twice; its line in {} can go",
            file!()
        );
    }
    faults
}
