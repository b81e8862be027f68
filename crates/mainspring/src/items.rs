//! `item list|show`: what is deployed.

use model::{ItemBody, ItemType};

use crate::arguments::{Access, ItemCommand};
use crate::call::{Controller, ItemSeen};
use crate::deploy::target;
use crate::exit::{Exit, Misuse};
use crate::screen::Screen;
use crate::stage;
use crate::suggest::{self, Kind};
use crate::table::Table;

pub(crate) async fn run(
    command: ItemCommand,
    access: &Access,
    screen: &Screen,
) -> anyhow::Result<Exit> {
    if let ItemCommand::List { kind: Some(kind) } = &command {
        check_kind(kind)?;
    }
    let controller = Controller::of(access)?;
    let items = controller.items().await?;
    match command {
        ItemCommand::List { kind } => list(&items, kind.as_deref(), screen),
        ItemCommand::Show { name } => show(&controller, &items, &name, screen).await,
    }
}

fn list(items: &[ItemSeen], kind: Option<&str>, screen: &Screen) -> anyhow::Result<Exit> {
    let wanted: Vec<&ItemSeen> = items
        .iter()
        .filter(|item| kind.is_none_or(|kind| is_of_kind(item, kind)))
        .collect();
    if screen.json {
        screen.say_json(&wanted)?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&["TYPE", "NAME", "VERSION"]);
    for item in wanted {
        let (kind, name) = item.key.split();
        let (name, version) = match item.key.as_workflow() {
            Some(id) if item.is_current => (id.path.to_string(), id.version_id.to_string()),
            Some(id) => (
                id.path.to_string(),
                format!("{} (old, still used)", id.version_id),
            ),
            None if !item.is_used => (name.to_owned(), "kept, not used by this version".to_owned()),
            None => (
                name.to_owned(),
                item.item_revision
                    .map_or(String::new(), |n| format!("revision {n}")),
            ),
        };
        table.row([kind.into(), name.into(), version.into()]);
    }
    if table.is_empty() {
        screen.remark("no items; deploy some with: mainspring deploy FILE…");
        return Ok(Exit::Done);
    }
    screen.say(&table.draw(screen.paint))?;
    Ok(Exit::Done)
}

/// Refuses an unknown type, because it is a typing error and not an empty list.
fn check_kind(kind: &str) -> Result<(), Misuse> {
    let is_it = |known: &ItemType| {
        [known.type_name(), known.key_name()]
            .iter()
            .any(|name| name.eq_ignore_ascii_case(kind))
    };
    if ItemType::ALL.iter().any(is_it) {
        return Ok(());
    }
    let known = ItemType::ALL.map(ItemType::type_name).join(", ");
    Err(Misuse(format!(
        "--type: no items are of the type {kind}; known are {known}"
    )))
}

fn is_of_kind(item: &ItemSeen, kind: &str) -> bool {
    let key = item.key.split().0;
    // A type has two names, and either is accepted.
    let named = ItemType::ALL
        .iter()
        .filter(|known| known.key_name().eq_ignore_ascii_case(key));
    named
        .flat_map(|known| [known.type_name(), known.key_name()])
        .any(|name| name.eq_ignore_ascii_case(kind))
}

/// Indents a JSON text, one field per line. Numbers and the order of fields stay as they are.
fn indented(json: &str) -> String {
    let mut out = String::with_capacity(json.len() * 2);
    let mut depth = 0_usize;
    let (mut in_text, mut is_escaped) = (false, false);
    let mut chars = json.chars().filter(|c| *c != '\r').peekable();
    let new_line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.push_str(&"  ".repeat(depth));
    };
    while let Some(c) = chars.next() {
        if in_text {
            out.push(c);
            in_text = c != '"' || is_escaped;
            is_escaped = c == '\\' && !is_escaped;
            continue;
        }
        match c {
            '"' => {
                in_text = true;
                out.push(c);
            }
            '{' | '[' => {
                out.push(c);
                while chars.next_if(|next| next.is_whitespace()).is_some() {}
                if let Some(end) = chars.next_if(|next| matches!(next, '}' | ']')) {
                    out.push(end);
                } else {
                    depth += 1;
                    new_line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                new_line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                new_line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            c if c.is_whitespace() => {}
            c => out.push(c),
        }
    }
    out
}

async fn show(
    controller: &Controller,
    items: &[ItemSeen],
    name: &str,
    screen: &Screen,
) -> anyhow::Result<Exit> {
    let target = target(name)?;
    let item = target
        .find(items)
        .or_else(|| items.iter().find(|item| item.key.as_str() == name));
    let Some(item) = item else {
        let names = [name.to_owned()];
        suggest::instead_of(Kind::Item, &names, controller, screen).await;
        anyhow::bail!("there is no item {name}; see mainspring item list");
    };
    // The text itself is the answer; the drawing is for people.
    let text = controller.item_text(&item.key).await?;
    if screen.json {
        screen.say(&text)?;
    } else {
        screen.say(&indented(&text))?;
    }
    if !screen.json
        && let Ok(stored) = model::stored_item(&item.key, &text)
        && let ItemBody::Workflow(workflow) = stored.body
    {
        screen.remark(&format!(
            "\n{}",
            stage::draw(&workflow, None, screen.paint).trim_end()
        ));
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_indented_and_nothing_of_it_is_lost() {
        let json = r#"{"a":1.10,"b":[ ],"c":{"d":"x, {\"y\": \\"},"e":[1,{}]}"#;
        let expected = "{\n  \"a\": 1.10,\n  \"b\": [],\n  \"c\": {\n    \"d\": \"x, {\\\"y\\\": \\\\\"\n  },\n  \"e\": [\n    1,\n    {}\n  ]\n}";
        assert_eq!(indented(json), expected);
    }
}
