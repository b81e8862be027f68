//! Reads what people write: workflows and other items in JSON or YAML, in the author's dialect, with the engine's names as
//! aliases.
//!
//! Always: every fault of a text is told, with its path, its line and the nearest known name, not only the first; an item
//! keeps its exact text. Never here: whether what an item refers to exists; see [`references`].

mod block;
mod fault;
mod fields;
mod instruction;
mod item;
mod job;
mod json;
mod kept;
mod names;
mod node;
mod preparation;
pub mod print;
mod reading;
mod reference;
mod return_code;
mod simple;
#[cfg(test)]
mod tests;
mod value;
mod workflow;
mod yaml;

pub use fault::{Fault, Faults};
pub use names::nearest;
pub use reference::{Reference, references};
pub use simple::is_address;

use crate::{Item, ItemType, VersionId};
use node::{Node, Shape, write_text};
use reading::Reading;
use std::path::Path;

/// How a text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// JSON.
    Json,
    /// YAML, one document.
    Yaml,
}

impl Format {
    /// Returns the format for the extension of a file's name, in any case: `.json`, `.yaml` or `.yml`.
    pub fn of_path(path: &Path) -> Option<Format> {
        match &*path.extension()?.to_str()?.to_ascii_lowercase() {
            "json" => Some(Format::Json),
            "yaml" | "yml" => Some(Format::Yaml),
            _ => None,
        }
    }
}

/// What is known of an item besides its text. What the text itself says counts more.
#[derive(Clone, Copy, Debug, Default)]
pub struct Origin<'a> {
    /// Its name, if the text has none: from the name of its file.
    pub name: Option<&'a str>,
    /// The version of a workflow, if the text has none.
    pub version: Option<&'a VersionId>,
}

/// Reads an item.
///
/// [`Item::text`] is the text as it came if it is JSON, else the JSON made of it. A name or a version that the text does
/// not have comes from `origin` and stands in the item's key only; [`with_names`] makes a text that has them. A workflow
/// that gets no version at all has the empty one, so that it can be checked before it is deployed.
pub fn item(text: &str, format: Format, origin: &Origin<'_>) -> Result<Item, Faults> {
    let mut reading = Reading::new(text);
    let item = tree(&mut reading, format).and_then(|root| {
        let (key, body) = item::item(&mut reading, &root, origin)?;
        let text = match format {
            Format::Json => text.into(),
            Format::Yaml => json_of(&root).into(),
        };
        Some(Item {
            key,
            revision: None,
            text,
            body,
        })
    });
    reading.finish(item)
}

/// The text as JSON with the name and version of `origin` put in front where it has none, and the type where `kind` says it.
pub fn with_names(
    text: &str,
    format: Format,
    origin: &Origin<'_>,
    kind: Option<ItemType>,
) -> Result<String, Faults> {
    let mut reading = Reading::new(text);
    let named = tree(&mut reading, format).and_then(|root| {
        let kind = item::item_type_of(&root).or(kind);
        let fields = item::missing_names(&root, kind, origin);
        let json = match format {
            Format::Json => text.trim().to_owned(),
            Format::Yaml => json_of(&root),
        };
        let Shape::Object(entries) = &root.shape else {
            reading.fault(
                &root.span,
                format!("an item must be an object, but is {}", root.describe()),
            );
            return None;
        };
        let mut named = String::with_capacity(json.len() + 100);
        named.push('{');
        for (n, (name, value)) in fields.iter().enumerate() {
            if n > 0 {
                named.push(',');
            }
            write_text(name, &mut named);
            named.push(':');
            write_text(value, &mut named);
        }
        if !fields.is_empty() && !entries.is_empty() {
            named.push(',');
        }
        named.push_str(&json[1..]);
        Some(named)
    });
    reading.finish(named)
}

/// Which type of item a file holds, by its name: `a.workflow.json`, `b.lock.yaml`.
pub fn item_type_of_file(path: &Path) -> Option<ItemType> {
    item::item_type_of_file_name(path.file_name()?.to_str()?)
}

fn tree<'t>(reading: &mut Reading<'t>, format: Format) -> Option<Node<'t>> {
    match format {
        Format::Json => json::parse(reading),
        Format::Yaml => yaml::parse(reading),
    }
}

fn json_of(root: &Node<'_>) -> String {
    let mut json = String::new();
    root.write_json(&mut json);
    json
}
