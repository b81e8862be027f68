//! Files that hold an item each.
//!
//! Always: every fault of every file is drawn under its line, not only the first; two files for one item are a fault.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use model::read::{Format, Origin, item, item_type_of_file, with_names};
use model::{Item, ItemBody, ItemType};

use super::{Target, name_of_file};
use crate::exit::Drawn;
use crate::screen::Screen;

/// Deeper folders are a loop of links rather than somebody's order.
const DEPTH_MAX: usize = 32;

/// An item as its file says it.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) item: Item,
    pub(crate) body: ItemBody,
    /// The text to send: the file's own, with the name in it; YAML as JSON.
    pub(crate) json: String,
}

impl Source {
    pub(crate) fn target(&self) -> Target {
        match self.item.key.as_workflow() {
            Some(id) => Target::Workflow(id.path),
            None => Target::Simple(self.item.key.clone()),
        }
    }
}

/// Reads all files, and all in folders.
pub(crate) fn read_all(paths: &[PathBuf], screen: &Screen) -> anyhow::Result<Vec<Source>> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            search(path, 0, &mut files)?;
        } else {
            files.push(path.clone());
        }
    }
    let bar = screen.progress(files.len() as u64, "reading");
    let mut sources = Vec::new();
    let mut faults = Vec::new();
    for path in files {
        match read(&path)? {
            Ok(source) => sources.push(source),
            Err(drawn) => faults.push(drawn),
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    faults.extend(doubles(&sources));
    if faults.is_empty() {
        Ok(sources)
    } else {
        Err(Drawn(faults.join("\n\n")).into())
    }
}

/// All item files below a folder, in the order of their names; hidden ones belong to somebody else.
fn search(dir: &Path, depth: usize, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let list = || format!("cannot list the folder {}", dir.display());
    let mut entries = fs::read_dir(dir)
        .with_context(list)?
        .collect::<Result<Vec<_>, _>>()
        .with_context(list)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        if path.is_dir() {
            if depth < DEPTH_MAX {
                search(&path, depth + 1, files)?;
            }
        } else if Format::of_path(&path).is_some() {
            files.push(path);
        }
    }
    Ok(())
}

/// The item of a file, or its faults as a drawing.
fn read(path: &Path) -> anyhow::Result<Result<Source, String>> {
    let shown = path.display().to_string();
    let bytes = fs::read(path).with_context(|| format!("cannot read {shown}"))?;
    let Some(format) = Format::of_path(path) else {
        return Ok(Err(format!(
            "error: {shown}: is this JSON or YAML? Name it .json, .yaml or .yml"
        )));
    };
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            return Ok(Err(format!("error: {shown}: byte {at} is not UTF-8")));
        }
    };
    let name = name_of_file(path);
    let origin = Origin {
        name: name.as_deref(),
        version: None,
    };
    let named = match item(&text, format, &origin) {
        Ok(_) => with_names(&text, format, &origin, None),
        // The text does not say its type, but the name of the file may; what has instructions is a workflow.
        Err(faults) => match with_names(
            &text,
            format,
            &origin,
            Some(item_type_of_file(path).unwrap_or(ItemType::Workflow)),
        ) {
            Ok(named) if item(&named, Format::Json, &origin).is_ok() => Ok(named),
            _ => Err(faults),
        },
    };
    let read = named.and_then(|json| Ok((item(&json, Format::Json, &origin)?, json)));
    Ok(match read {
        Ok((item, json)) => Ok(Source {
            path: path.to_owned(),
            body: item.body.clone(),
            item,
            json,
        }),
        Err(faults) => Err(faults.draw(&text, &shown)),
    })
}

fn doubles(sources: &[Source]) -> Vec<String> {
    let mut seen: BTreeMap<String, &Path> = BTreeMap::new();
    let mut doubles = Vec::new();
    for source in sources {
        let title = source.target().title();
        if let Some(other) = seen.insert(title.clone(), &source.path) {
            doubles.push(format!(
                "error: {title} stands in {} and in {}",
                other.display(),
                source.path.display()
            ));
        }
    }
    doubles
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "TYPE: Workflow\ninstructions:\n  - {TYPE: Say, what: '1'}\n";

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::TempDir::new().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    fn read_folder(dir: &tempfile::TempDir) -> anyhow::Result<Vec<Source>> {
        read_all(&[dir.path().to_owned()], &Screen::new(true))
    }

    #[test]
    fn a_folder_is_searched_for_json_and_yaml_and_names_come_from_files() {
        let dir = folder(&[
            ("b/two.json", r#"{"instructions":[]}"#),
            ("one.workflow.yaml", GOOD),
            ("README.md", "no item"),
            (".hidden.yaml", "no item"),
        ]);
        let sources = read_folder(&dir).unwrap();
        let titles: Vec<String> = sources
            .iter()
            .map(|source| source.target().title())
            .collect();
        assert_eq!(titles, ["Workflow:two", "Workflow:one"]);
        assert!(
            sources[0].json.contains(r#""path":"two""#),
            "{}",
            sources[0].json
        );
    }

    #[test]
    fn every_fault_of_every_file_is_drawn_with_its_line() {
        let dir = folder(&[
            (
                "a.yaml",
                "TYPE: Workflow\ninstructions:\n  - {TYPE: Sey, what: '1'}\n  - {TYPE: Say, wat: '1'}\n",
            ),
            ("b.json", "{\"instructions\": [}"),
        ]);
        let drawn = read_folder(&dir).unwrap_err().to_string();
        for expected in [
            "a.yaml:3:",
            "did you mean \"Say\"?",
            "a.yaml:4:",
            "b.json:1:",
        ] {
            assert!(drawn.contains(expected), "{expected} is not in\n{drawn}");
        }
    }

    #[test]
    fn two_files_for_one_item_are_refused_with_both_names() {
        let dir = folder(&[("x/w.yaml", GOOD), ("y/w.yaml", GOOD)]);
        let drawn = read_folder(&dir).unwrap_err().to_string();
        assert!(
            drawn.contains("x/w.yaml") && drawn.contains("y/w.yaml"),
            "{drawn}"
        );
    }
}
