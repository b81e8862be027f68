//! Files that hold items: one, several YAML documents, or several JSON values.
//!
//! Always: every fault of every file is drawn under its line, not only the first; two files for one item are a fault.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use model::read::{Faults, Format, Origin, item, item_type_of_file, with_names};
use model::{Item, ItemBody, ItemType};

use serde::de::IgnoredAny;

use super::{Target, name_of_file};
use crate::call::URL_FILE;
use crate::exit::Faulty;
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

/// The items that were read, and the files that were left out.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) sources: Vec<Source>,
    /// Files in folders whose names are not those of item files.
    pub(crate) left_out: Vec<PathBuf>,
}

/// The path that means standard input.
const STDIN: &str = "-";

/// Reads all files, and all in folders; a file that is named twice counts once.
pub(crate) fn read_all(paths: &[PathBuf], screen: &Screen) -> anyhow::Result<Found> {
    let mut files = Files::default();
    for path in paths {
        if path.as_os_str() != STDIN && path.is_dir() {
            search(path, 0, &mut files)?;
        } else {
            files.add(path.clone());
        }
    }
    let bar = screen.progress(files.items.len() as u64, "reading");
    let mut sources = Vec::new();
    let mut faulty = Faulty::default();
    for path in files.items {
        read(&path, &mut sources, &mut faulty)?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    for double in doubles(&sources) {
        faulty.add_text(double);
    }
    if faulty.drawn.is_empty() {
        Ok(Found {
            sources,
            left_out: files.left_out,
        })
    } else {
        Err(faulty.into())
    }
}

#[derive(Default)]
struct Files {
    items: Vec<PathBuf>,
    left_out: Vec<PathBuf>,
    seen: BTreeSet<PathBuf>,
}

impl Files {
    fn add(&mut self, path: PathBuf) {
        // A missing file is reported when it is read.
        let real = fs::canonicalize(&path).unwrap_or_else(|_gone| path.clone());
        if self.seen.insert(real) {
            self.items.push(path);
        }
    }
}

/// Adds all item files below a folder, sorted by their names. What is hidden is skipped.
fn search(dir: &Path, depth: usize, files: &mut Files) -> anyhow::Result<()> {
    let list = || format!("cannot list the folder {}", dir.display());
    let mut entries = fs::read_dir(dir)
        .with_context(list)?
        .collect::<Result<Vec<_>, _>>()
        .with_context(list)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let is_hidden = entry.file_name().to_string_lossy().starts_with('.');
        let is_item = Format::of_path(&path).is_some();
        if is_hidden && (path.is_dir() || !is_item) {
            // Of an editor or a version control system. Nobody expects it to be deployed.
        } else if path.is_dir() {
            if is_of_part(&path) {
                files.left_out.push(path);
            } else if depth < DEPTH_MAX {
                search(&path, depth + 1, files)?;
            }
        } else if is_item && !is_hidden {
            files.add(path);
        } else {
            files.left_out.push(path);
        }
    }
    Ok(())
}

/// Returns whether a folder is the data directory of a Controller, an Agent or a Subagent. `deploy .` beside it must not read it.
fn is_of_part(dir: &Path) -> bool {
    dir.join(URL_FILE).exists()
}

/// Reads the items of a file.
fn read(path: &Path, sources: &mut Vec<Source>, faulty: &mut Faulty) -> anyhow::Result<()> {
    let is_stdin = path.as_os_str() == STDIN;
    let shown = if is_stdin {
        "standard input".to_owned()
    } else {
        path.display().to_string()
    };
    let mut bytes = Vec::new();
    if is_stdin {
        std::io::stdin().read_to_end(&mut bytes).map(drop)
    } else {
        fs::read(path).map(|read| bytes = read)
    }
    .with_context(|| format!("cannot read {shown}"))?;
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            faulty.add_text(format!("error: {shown}: byte {at} is not UTF-8"));
            return Ok(());
        }
    };
    let format = if is_stdin {
        let is_json = text.trim_start().starts_with('{');
        Some(if is_json { Format::Json } else { Format::Yaml })
    } else {
        Format::of_path(path)
    };
    let Some(format) = format else {
        faulty.add_text(format!(
            "error: {shown}: is this JSON or YAML? Name it .json, .yaml or .yml"
        ));
        return Ok(());
    };
    let documents = documents(&text, format);
    // The name of a file is the name of its item only if the file has a single item.
    let name = name_of_file(path).filter(|_| documents.len() == 1 && !is_stdin);
    let kind = item_type_of_file(path).filter(|_| documents.len() == 1);
    let read = |document: &str| source(document, format, name.as_deref(), kind);
    for document in documents {
        let found = read(&text[document.clone()]).or_else(|_faults| {
            // Parsed again in its place, so that the faults have the line and column of the file.
            let placed = in_its_place(&text, document);
            read(&placed).map_err(|faults| (faults, placed))
        });
        match found {
            Ok((item, json)) => sources.push(Source {
                path: PathBuf::from(&shown),
                body: item.body.clone(),
                item,
                json,
            }),
            Err((faults, placed)) => faulty.add(&faults, &placed, &shown),
        }
    }
    Ok(())
}

/// Returns the ranges of the items in a text: YAML documents between lines of `---`, or JSON values one after another.
fn documents(text: &str, format: Format) -> Vec<Range<usize>> {
    let parts = match format {
        Format::Json => json_values(text),
        Format::Yaml => yaml_documents(text),
    };
    if parts.len() <= 1 {
        std::iter::once(0..text.len()).collect()
    } else {
        parts
    }
}

/// Returns a part of a text, with blanks instead of what is before it.
fn in_its_place(text: &str, part: Range<usize>) -> String {
    let blank = |c: char| if c == '\n' { '\n' } else { ' ' };
    let before: String = text[..part.start].chars().map(blank).collect();
    before + &text[part]
}

/// Returns the range of each value; empty if one of them cannot be read.
fn json_values(text: &str) -> Vec<Range<usize>> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
    let mut parts = Vec::new();
    let mut begin = 0;
    while let Some(value) = values.next() {
        if value.is_err() {
            return Vec::new();
        }
        let end = values.byte_offset();
        let blanks = text[begin..end].len() - text[begin..end].trim_start().len();
        parts.push(begin + blanks..end);
        begin = end;
    }
    parts
}

/// Returns the range of each document that is not empty. A marker counts at the beginning of every line, even inside a string.
fn yaml_documents(text: &str) -> Vec<Range<usize>> {
    let mut parts = Vec::new();
    let mut begin = 0;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let is_marker = |marker: &str| {
            line.strip_prefix(marker)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace))
        };
        if is_marker("---") || is_marker("...") {
            parts.push(begin..at);
            begin = at + 3;
        }
        at += line.len();
    }
    parts.push(begin..at);
    parts.retain(|part| {
        let says_something = |line: &str| {
            let line = line.trim_start();
            !line.is_empty() && !line.starts_with('#') && !line.starts_with('%')
        };
        text[part.clone()].lines().any(says_something)
    });
    parts
}

/// Reads the item of a text. Returns the item with the JSON to send.
fn source(
    text: &str,
    format: Format,
    name: Option<&str>,
    kind: Option<ItemType>,
) -> Result<(Item, String), Faults> {
    let origin = Origin {
        name,
        version: None,
    };
    let json = match item(text, format, &origin) {
        Ok(_) => with_names(text, format, &origin, None),
        // The text does not say its type, but the name of the file may; what has instructions is a workflow.
        Err(faults) => {
            let kind = Some(kind.unwrap_or(ItemType::Workflow));
            match with_names(text, format, &origin, kind) {
                Ok(named) if item(&named, Format::Json, &origin).is_ok() => Ok(named),
                _ => Err(faults),
            }
        }
    }?;
    Ok((item(&json, Format::Json, &origin)?, json))
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
        Ok(read_all(&[dir.path().to_owned()], &Screen::new(true))?.sources)
    }

    fn titles(sources: &[Source]) -> Vec<String> {
        sources
            .iter()
            .map(|source| source.target().title())
            .collect()
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

    #[test]
    fn several_documents_stand_in_one_file_as_the_pages_show_them() {
        let yaml = "# two of them\n---\nTYPE: AgentRef\npath: A\ndirectors: [A-0, A-1]\n---\n{TYPE: SubagentItem, id: A-0, agentPath: A, uri: \"https://three:4445\"}\n--- # the last one\n{TYPE: SubagentItem, id: A-1, agentPath: A, uri: \"https://four:4445\"}\n...\n";
        let json = "{\"TYPE\": \"AgentRef\", \"path\": \"B\", \"directors\": [\"B-0\"]}\n{\"TYPE\": \"SubagentItem\", \"id\": \"B-0\", \"agentPath\": \"B\", \"uri\": \"https://b:4445\"}\n";
        let dir = folder(&[("a.yaml", yaml), ("b.json", json)]);
        assert_eq!(
            titles(&read_folder(&dir).unwrap()),
            [
                "Agent:A",
                "Subagent:A-0",
                "Subagent:A-1",
                "Agent:B",
                "Subagent:B-0"
            ]
        );
    }

    #[test]
    fn a_fault_in_a_later_document_has_the_line_of_the_file() {
        let yaml = "TYPE: Workflow\npath: a\ninstructions: []\n---\nTYPE: Workflow\npath: b\ninstructions:\n  - {TYPE: Sey}\n";
        let json = "{\"TYPE\":\"Workflow\",\"path\":\"c\",\"instructions\":[]}\n  {\"TYPE\":\"Wurkflow\"}\n";
        let dir = folder(&[("x.yaml", yaml), ("y.json", json)]);
        let error = read_folder(&dir).unwrap_err();
        let drawn = error.to_string();
        assert!(drawn.contains("x.yaml:8:"), "{drawn}");
        assert!(drawn.contains("y.json:2:"), "{drawn}");
        let told = error.downcast_ref::<Faulty>().unwrap().as_json();
        assert_eq!(told["faults"][0]["line"], 8, "{told}");
        assert!(
            told["faults"][0]["file"]
                .as_str()
                .unwrap()
                .ends_with("x.yaml")
        );
        assert!(!told["message"].as_str().unwrap().contains('\n'), "{told}");
    }

    #[test]
    fn a_marker_in_a_script_is_none_and_a_name_in_capitals_is_one() {
        let script = "TYPE: Workflow\ninstructions:\n  - TYPE: Fail\n    message: |-\n      'a\n      ---\n      b'\n";
        let dir = folder(&[("ONE.WORKFLOW.YML", script)]);
        assert_eq!(titles(&read_folder(&dir).unwrap()), ["Workflow:ONE"]);
    }

    #[test]
    fn a_file_that_is_named_twice_counts_once_and_what_is_left_out_is_told() {
        let dir = folder(&[("w.yaml", GOOD), ("notes.txt", ""), (".w.yaml", GOOD)]);
        let paths = [dir.path().join("w.yaml"), dir.path().to_owned()];
        let found = read_all(&paths, &Screen::new(true)).unwrap();
        assert_eq!(titles(&found.sources), ["Workflow:w"]);
        let names: Vec<_> = found
            .left_out
            .iter()
            .filter_map(|path| path.file_name()?.to_str())
            .collect();
        assert_eq!(names, [".w.yaml", "notes.txt"]);
    }
}
