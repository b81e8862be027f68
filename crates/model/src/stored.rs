//! Items that have been accepted once and are read back from a log or from another component.

use crate::read::{self, Format, Origin};
use crate::{Item, ItemKey, Problem};

/// What `text` says, which was accepted as the item `key`. A name or a version that the text does not have stands in the key.
pub fn stored_item(key: &ItemKey, text: &str) -> Result<Item, Problem> {
    let workflow = key.as_workflow();
    let origin = match &workflow {
        Some(id) => Origin {
            name: Some(id.path.as_str()),
            version: Some(&id.version_id),
        },
        None => Origin {
            name: Some(key.split().1),
            version: None,
        },
    };
    let item = read::item(text, Format::Json, &origin).map_err(|faults| {
        Problem::new("InvalidItem", format!("{key} cannot be read: {faults}")).with("key", key)
    })?;
    if item.key != *key {
        return Err(Problem::new(
            "InvalidItem",
            format!("the text of {key} is that of {}", item.key),
        )
        .with("key", key));
    }
    Ok(item)
}
