//! Rules of our own for sources and pages.
//! Always: a Rust file begins with a header; names that say nothing are refused; no test is ignored; parts start their tasks and threads
//! by the crate `tasks`; links between pages lead somewhere,
//! and every page of `docs/` can be reached from its index.
//! Never here: lengths. They are a smell to talk about, not a gate.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{Faults, unused};
use crate::cargo;
use crate::metadata::Metadata;

/// File names that hide a noun.
const NAMELESS: &[&str] = &[
    "mod", "utils", "util", "helpers", "helper", "common", "misc", "types", "manager", "imp",
];

/// Calls that start a task or thread whose failure remains unnoticed.
const UNSUPERVISED: &[&str] = &[
    "tokio::spawn(",
    "task::spawn(",
    "spawn_local(",
    "task::spawn_blocking(",
    "thread::spawn(",
    "thread::Builder",
    "JoinSet",
];

/// Crates that may start tasks and threads themselves: `tasks`, and `telemetry`, because the log must outlive the tasks.
const MAY_START_TASKS: &[&str] = &["tasks", "telemetry"];

pub(super) fn check(metadata: &Metadata) -> Result<Faults> {
    let root = cargo::root();
    let mut faults = Faults::new();
    for package in metadata.members() {
        let starts_tasks = package.layer().is_some_and(|layer| matches!(layer, 3 | 4))
            && !MAY_START_TASKS.contains(&package.name.as_str());
        for path in unused::sources(&package.folder())? {
            let text = read(&path)?;
            let shown = path.strip_prefix(&root).unwrap_or(&path).display();
            let is_part = starts_tasks || path.to_string_lossy().contains("mainspring/src/part");
            if is_part
                && is_product(&path, &package.folder())
                && let Some(call) = unsupervised(&text)
            {
                faults.push(format!(
                    "{shown}: start it by the crate tasks instead of {call}: it must not fail unseen"
                ));
            }
            faults.extend(
                faults_of_source(&path, &text)
                    .into_iter()
                    .map(|fault| format!("{shown}: {fault}")),
            );
        }
    }
    let index = root.join("docs/README.md");
    let listed: Vec<String> = links(&read(&index)?);
    let docs = pages(&root.join("docs"))?;
    for page in &docs {
        let shown = page.strip_prefix(&root).unwrap_or(page).display();
        let below = page
            .strip_prefix(root.join("docs"))?
            .to_string_lossy()
            .into_owned();
        // A folder with an index of its own is reached through that.
        let is_reached = *page == index
            || listed.iter().any(|link| {
                *link == below || (link.ends_with('/') && below.starts_with(link.as_str()))
            });
        if !is_reached {
            faults.push(format!("{shown} is not listed in docs/README.md"));
        }
    }
    for page in docs.iter().chain(&[root.join("README.md")]) {
        let shown = page.strip_prefix(&root).unwrap_or(page).display();
        let folder = page.parent().context("a page has a folder")?;
        for link in links(&read(page)?) {
            if !folder.join(&link).exists() {
                faults.push(format!("{shown}: the link to {link} leads nowhere"));
            }
        }
    }
    Ok(faults)
}

/// Whether a file is part of the product, as opposed to tests and examples.
fn is_product(path: &Path, folder: &Path) -> bool {
    let inside = path.strip_prefix(folder).unwrap_or(path);
    let is_for_tests = |part: &std::ffi::OsStr| part == "tests" || part == "loopback";
    inside.starts_with("src")
        && !inside.iter().any(is_for_tests)
        && path.file_stem().is_none_or(|stem| !is_for_tests(stem))
}

/// Returns the first such call in a source, if there is one. Unit tests, which are at the end of the source, may contain such calls.
fn unsupervised(text: &str) -> Option<&'static str> {
    let product = text.split("#[cfg(test)]\nmod ").next().unwrap_or(text);
    let is_used = |call: &&&'static str| {
        let lines = product.lines().map(str::trim_start);
        lines
            .filter(|line| !line.starts_with("//"))
            .any(|line| line.contains(**call))
    };
    UNSUPERVISED.iter().find(is_used).copied()
}

fn faults_of_source(path: &Path, text: &str) -> Vec<&'static str> {
    let mut faults = Vec::new();
    if !text.starts_with("//!") {
        faults.push(
            "begin with a header (`//!`): what it is, what always holds, what it does not do",
        );
    }
    if path
        .file_stem()
        .is_some_and(|stem| NAMELESS.iter().any(|name| stem == *name))
    {
        faults.push("name the file after its noun");
    }
    if text
        .lines()
        .any(|line| line.trim_start().starts_with("#[ignore"))
    {
        faults.push("no ignored tests: assert the unwanted behaviour with a note");
    }
    faults
}

/// All pages below a folder.
fn pages(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?
    {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(pages(&path)?);
        } else if path.extension().is_some_and(|ending| ending == "md") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Targets of relative links, without their fragments.
fn links(text: &str) -> Vec<String> {
    let mut links = Vec::new();
    let mut is_code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        }
        if is_code {
            continue;
        }
        for (at, _) in line.match_indices("](") {
            let Some(target) = line[at + 2..].split(')').next() else {
                continue;
            };
            let target = target.split('#').next().unwrap_or_default();
            if !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:") {
                links.push(target.to_owned());
            }
        }
    }
    links
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod claims {
    use super::*;

    #[test]
    fn a_file_without_header_or_name_is_found() {
        assert_eq!(
            faults_of_source(Path::new("lock.rs"), "//! Locks.\n"),
            Vec::<&str>::new()
        );
        assert_eq!(
            faults_of_source(Path::new("a/utils.rs"), "use std;\n").len(),
            2
        );
        assert_eq!(
            faults_of_source(
                Path::new("lock.rs"),
                "//! Locks.\n    #[ignore = \"slow\"]\n"
            )
            .len(),
            1
        );
    }

    #[test]
    fn a_task_that_may_fail_unseen_is_found_in_the_product_and_not_in_its_tests() {
        assert_eq!(
            unsupervised("fn f() {\n    tokio::spawn(work());\n}\n"),
            Some("tokio::spawn(")
        );
        let fine = "// tokio::spawn( is not used\nfn f() {\n    tasks::spawn(\"f\", work());\n}\n#[cfg(test)]\nmod tests {\n    fn g() { tokio::spawn(work()); }\n}\n";
        assert_eq!(unsupervised(fine), None);
        let folder = Path::new("/crates/net");
        let is_product = |path: &str| is_product(&folder.join(path), folder);
        assert!(is_product("src/listen.rs"));
        assert!(!is_product("tests/listen.rs"));
        assert!(!is_product("src/listen/tests.rs"));
        assert!(!is_product("src/loopback.rs"));
    }

    #[test]
    fn only_relative_links_outside_of_code_are_followed() {
        let page =
            "[a](a.md#top) and [b](https://example.org)\n```\n[c](c.md)\n```\n[d](d/) [e](#here)\n";
        assert_eq!(links(page), ["a.md", "d/"]);
    }
}
