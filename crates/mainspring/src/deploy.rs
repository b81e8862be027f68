//! `deploy` and `undeploy`: from files to a change of items, and what has become of each.
//!
//! Always: all files are read and checked before anything is sent, and the change is sent as one: all of it or nothing.
//! Never here: the rules for items beyond one file; the Controller judges them.

mod difference;
mod json;
mod source;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use model::read::{Reference, nearest, references};
use model::{ItemBody, ItemKey, ItemType, WorkflowPath};
use serde::Serialize;

use crate::arguments::{Access, DeployArgs, UndeployArgs};
use crate::call::{Controller, ItemSeen};
use crate::exit::{Exit, Faulty, Misuse};
use crate::screen::{Screen, Tone};
use crate::table::{Cell, Table};
use difference::Difference;
use json::Json;
use source::{Found, Source};

pub(crate) async fn deploy(
    args: DeployArgs,
    access: &Access,
    screen: &Screen,
) -> anyhow::Result<Exit> {
    if args.paths.is_empty() && args.remove.is_empty() {
        return Err(
            Misuse("name files or folders to deploy, or items to --remove".to_owned()).into(),
        );
    }
    let removed = args
        .remove
        .iter()
        .map(|name| target(name))
        .collect::<Result<Vec<_>, _>>()?;
    let Found { sources, left_out } = source::read_all(&args.paths, screen)?;
    tell_left_out(&left_out, screen);
    if sources.is_empty() && removed.is_empty() {
        return Err(Misuse("there is no .json, .yaml or .yml file".to_owned()).into());
    }
    let controller = Controller::of(access)?;
    let known = controller.items().await?;
    let mut rows = Vec::new();
    let bar = screen.progress(sources.len() as u64, "comparing");
    for source in &sources {
        rows.push(Row::of_source(source, &known, &controller).await?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    rows.extend(removed.iter().map(|target| Row::of_removal(target, &known)));
    check_references(&sources, &known)?;
    if args.dry_run && !screen.json {
        for row in &rows {
            screen.say_some(&row.difference.draw(&row.item, screen.paint))?;
        }
    }
    let lines = lines(&sources, &rows, &removed, args.version_id.as_deref());
    if !args.dry_run && !lines.is_empty() {
        let spinner = screen.spinner(&format!("sending {} items", rows.len()));
        let answer = controller.change_items(lines).await;
        spinner.finish_and_clear();
        answer?;
    }
    show(&rows, &left_out, args.dry_run, screen)
}

/// Reports the files in folders that were not read, because a file such as `x.yml.bak` may have been meant.
fn tell_left_out(left_out: &[PathBuf], screen: &Screen) {
    const TOLD_MAX: usize = 10;
    if left_out.is_empty() {
        return;
    }
    let names = left_out.iter().take(TOLD_MAX);
    let names: Vec<String> = names.map(|path| path.display().to_string()).collect();
    let more = match left_out.len() - names.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    screen.remark(&format!(
        "left out, since they are hidden, not called .json, .yaml or .yml, or data of a part of Mainspring: {}{more}",
        names.join(", ")
    ));
}

pub(crate) async fn undeploy(
    args: UndeployArgs,
    access: &Access,
    screen: &Screen,
) -> anyhow::Result<Exit> {
    let args = DeployArgs {
        paths: Vec::new(),
        remove: args.names,
        version_id: None,
        dry_run: args.dry_run,
    };
    deploy(args, access, screen).await
}

/// What is to be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Workflow(WorkflowPath),
    Simple(ItemKey),
}

/// Reads `NAME`, `Workflow:NAME`, `Agent:A`, `AgentRef:A`.
pub(crate) fn target(name: &str) -> Result<Target, Misuse> {
    let Some((kind, path)) = name.split_once(':') else {
        return Ok(Target::Workflow(name.into()));
    };
    let known = ItemType::ALL
        .into_iter()
        .find(|known| known.type_name() == kind || known.key_name() == kind);
    match known {
        Some(ItemType::Workflow) => Ok(Target::Workflow(path.into())),
        Some(known) => Ok(Target::Simple(ItemKey::simple(known, path))),
        None => {
            let names: Vec<&str> = ItemType::ALL.into_iter().map(ItemType::type_name).collect();
            Err(Misuse(format!(
                "no such type of item: {kind}; known are {}",
                names.join(", ")
            )))
        }
    }
}

impl Target {
    fn title(&self) -> String {
        match self {
            Target::Workflow(path) => format!("Workflow:{path}"),
            Target::Simple(key) => key.to_string(),
        }
    }

    /// The deployed item that is meant; of a workflow the current version.
    pub(crate) fn find<'a>(&self, known: &'a [ItemSeen]) -> Option<&'a ItemSeen> {
        known.iter().find(|item| match self {
            Target::Workflow(path) => {
                item.is_current && item.key.as_workflow().is_some_and(|id| id.path == *path)
            }
            Target::Simple(key) => item.key == *key,
        })
    }
}

/// What becomes of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Fate {
    Added,
    Changed,
    Unchanged,
    Removed,
    Absent,
}

impl Fate {
    fn told(self, is_plan: bool) -> (Tone, &'static str) {
        match (self, is_plan) {
            (Fate::Added, false) => (Tone::Good, "added"),
            (Fate::Added, true) => (Tone::Good, "would be added"),
            (Fate::Changed, false) => (Tone::Waiting, "changed"),
            (Fate::Changed, true) => (Tone::Waiting, "would change"),
            (Fate::Unchanged, _) => (Tone::Faint, "unchanged"),
            (Fate::Removed, false) => (Tone::Bad, "removed"),
            (Fate::Removed, true) => (Tone::Bad, "would be removed"),
            (Fate::Absent, _) => (Tone::Faint, "not there"),
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    change: Fate,
    item: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    /// This version of Mainspring keeps the item but does not use it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    is_not_used: bool,
    /// What differs from the deployed item.
    #[serde(rename = "diff", skip_serializing_if = "Difference::is_empty")]
    difference: Difference,
}

impl Row {
    async fn of_source(
        source: &Source,
        known: &[ItemSeen],
        controller: &Controller,
    ) -> anyhow::Result<Row> {
        let target = source.target();
        let mut difference = Difference::default();
        let change = match target.find(known) {
            None => Fate::Added,
            Some(item) => {
                let deployed = Json::of_item(&controller.item_text(&item.key).await?)?;
                let new = Json::of_item(&source.json)?;
                if deployed == new {
                    Fate::Unchanged
                } else {
                    difference = Difference::of(&deployed, &new);
                    Fate::Changed
                }
            }
        };
        Ok(Row {
            change,
            item: target.title(),
            file: Some(source.path.display().to_string()),
            is_not_used: !source.body.item_type().is_used(),
            difference,
        })
    }

    fn of_removal(target: &Target, known: &[ItemSeen]) -> Row {
        let change = if target.find(known).is_some() {
            Fate::Removed
        } else {
            Fate::Absent
        };
        Row {
            change,
            item: target.title(),
            file: None,
            is_not_used: false,
            difference: Difference::default(),
        }
    }
}

/// The change as JSON lines; only what is new.
fn lines(sources: &[Source], rows: &[Row], removed: &[Target], version: Option<&str>) -> String {
    let mut lines = String::new();
    let mut has_workflow = false;
    for (source, row) in sources.iter().zip(rows) {
        if row.change != Fate::Unchanged {
            has_workflow |= matches!(source.body, ItemBody::Workflow(_));
            // The Controller keeps the exact text; a line must not hold line ends, and none of JSON's blanks means anything.
            let text = source.json.replace(['\n', '\r'], " ");
            lines += &format!("{{\"TYPE\":\"AddOrChangeSimple\",\"item\":{text}}}\n");
        }
    }
    if let (Some(version), true) = (version, has_workflow) {
        lines.insert_str(
            0,
            &format!(
                "{}\n",
                serde_json::json!({"TYPE": "AddVersion", "versionId": version})
            ),
        );
    }
    for (target, row) in removed.iter().zip(&rows[sources.len()..]) {
        if row.change == Fate::Removed {
            let line = match target {
                Target::Workflow(path) => {
                    serde_json::json!({"TYPE": "RemoveVersioned", "path": path})
                }
                Target::Simple(key) => serde_json::json!({"TYPE": "DeleteSimple", "key": key}),
            };
            lines += &format!("{line}\n");
        }
    }
    lines
}

/// Finds items that are referred to and do not exist. The Controller would refuse them, too, but it knows neither file nor line.
fn check_references(sources: &[Source], known: &[ItemSeen]) -> Result<(), Faulty> {
    let new: Vec<ItemKey> = sources
        .iter()
        .map(|source| source.item.key.clone())
        .collect();
    let mut faulty = Faulty::default();
    for source in sources {
        for reference in references(&source.item) {
            let exists = if reference.is_workflow() {
                let target = Target::Workflow(reference.path.to_string().into());
                target.find(known).is_some() || sources.iter().any(|other| other.target() == target)
            } else {
                reference
                    .keys()
                    .iter()
                    .any(|key| new.contains(key) || known.iter().any(|item| item.key == *key))
            };
            if !exists {
                let named = known.iter().map(|item| &item.key).chain(&new);
                let paths: Vec<String> = named
                    .filter(|key| is_of(key, &reference))
                    .map(path_of)
                    .collect();
                let near = nearest(&reference.path, paths.iter().map(String::as_str));
                faulty.add_missing(&source.path, &reference, near);
            }
        }
    }
    if faulty.is_empty() {
        Ok(())
    } else {
        Err(faulty)
    }
}

/// Returns whether an item of this key could be what is referred to.
fn is_of(key: &ItemKey, reference: &Reference) -> bool {
    let kind = key.split().0;
    reference
        .keys()
        .iter()
        .any(|wanted| wanted.split().0 == kind)
}

fn path_of(key: &ItemKey) -> String {
    match key.as_workflow() {
        Some(id) => id.path.to_string(),
        None => key.split().1.to_owned(),
    }
}

fn show(
    rows: &[Row],
    left_out: &[PathBuf],
    is_plan: bool,
    screen: &Screen,
) -> anyhow::Result<Exit> {
    let unused: Vec<&str> = rows
        .iter()
        .filter(|row| row.is_not_used)
        .map(|row| row.item.as_str())
        .collect();
    if !unused.is_empty() {
        screen.warn(&format!(
            "this version of Mainspring keeps these items and does not use them: {}",
            unused.join(", ")
        ));
    }
    if screen.json {
        let told = serde_json::json!({"dryRun": is_plan, "items": rows, "leftOut": left_out});
        screen.say_json(&told)?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&["CHANGE", "ITEM", "FILE"]);
    for row in rows {
        let (tone, told) = row.change.told(is_plan);
        table.row([
            Cell::toned(tone, told),
            row.item.clone().into(),
            row.file.clone().unwrap_or_default().into(),
        ]);
    }
    screen.say(&table.draw(screen.paint))?;
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for row in rows {
        *counts.entry(row.change.told(is_plan).1).or_default() += 1;
    }
    let told: Vec<String> = counts
        .iter()
        .map(|(change, count)| format!("{count} {change}"))
        .collect();
    screen.remark(&told.join(", "));
    Ok(Exit::Done)
}

/// A file's name without what is not the item's name: `a/nightly.workflow.yaml` is `nightly`.
fn name_of_file(path: &Path) -> Option<String> {
    let stem = path.file_stem()?.to_str()?;
    let name = match (model::read::item_type_of_file(path), stem.rsplit_once('.')) {
        (Some(_), Some((name, _kind))) => name,
        _ => stem,
    };
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_items_name_comes_from_its_file() {
        for (file, name) in [
            ("x/nightly.workflow.yaml", "nightly"),
            ("nightly.json", "nightly"),
            ("a.b.yml", "a.b"),
        ] {
            assert_eq!(
                name_of_file(Path::new(file)).as_deref(),
                Some(name),
                "{file}"
            );
        }
    }

    #[test]
    fn what_is_removed_can_be_named_by_either_name_of_its_type() {
        assert_eq!(target("w").unwrap(), Target::Workflow("w".into()));
        assert_eq!(target("Workflow:w").unwrap(), Target::Workflow("w".into()));
        assert_eq!(target("AgentRef:A").unwrap(), target("Agent:A").unwrap());
        assert!(
            target("Wurkflow:w")
                .unwrap_err()
                .to_string()
                .contains("known are Workflow")
        );
    }
}
