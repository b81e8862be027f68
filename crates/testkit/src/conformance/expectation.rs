//! What a case expects to see, as far as a program can read it.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value};

use super::case::Case;

/// An event with the fields that count.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Expected {
    pub(crate) name: String,
    pub(crate) fields: Map<String, Value>,
}

impl Expected {
    /// `OrderStarted`, or `{OrderMoved: {to: '1'}}`.
    pub(crate) fn read(value: &Value) -> Result<Expected> {
        if let Value::String(name) = value {
            return Ok(Expected {
                name: name.clone(),
                fields: Map::new(),
            });
        }
        let map = value.as_object().context("an event is a name or a map")?;
        let mut entries = map.iter();
        let (Some((name, fields)), None) = (entries.next(), entries.next()) else {
            bail!("an event has one name: {value}");
        };
        Ok(Expected {
            name: name.clone(),
            fields: fields.as_object().cloned().unwrap_or_default(),
        })
    }

    pub(crate) fn read_list(value: &Value) -> Result<Vec<Expected>> {
        let list = value.as_array().context("events are a list")?;
        list.iter().map(Expected::read).collect()
    }
}

/// Which events of an order a list is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    /// All.
    Whole,
    /// From the process on, without the way to the Agent and back.
    WithoutAttachment,
    /// The same without output.
    WithoutAttachmentAndOutput,
}

/// The lists of a case by order.
pub(crate) type Lists = BTreeMap<String, (View, Vec<Expected>)>;

/// Reads `then.events` and its variants.
pub(crate) fn lists(case: &Case) -> Result<Lists> {
    let views = [
        ("events", View::Whole),
        ("events without attach, detach", View::WithoutAttachment),
        (
            "events without attach, detach, stdout",
            View::WithoutAttachmentAndOutput,
        ),
    ];
    let mut lists = Lists::new();
    for (name, view) in views {
        let Some(by_order) = case.then.get(name).and_then(Value::as_object) else {
            continue;
        };
        for (order, list) in by_order {
            let list = Expected::read_list(list)
                .with_context(|| format!("{}: events of {order}", case.id))?;
            lists.insert(order.clone(), (view, list));
        }
    }
    Ok(lists)
}
