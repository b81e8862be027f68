//! A case as it stands in the file.

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::{Map, Value};

const CASES: &str = include_str!("../../conformance/cases.yaml");

/// One case.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Its name, such as `WI-01`.
    pub id: String,
    /// What it is about.
    pub area: String,
    /// How much it matters.
    pub level: String,
    /// What it claims.
    pub title: String,
    /// What exists before: items, Agents, Subagents, a clock.
    #[serde(default)]
    pub given: Map<String, Value>,
    /// What is done.
    pub when: Vec<Value>,
    /// What must be seen.
    pub then: Map<String, Value>,
}

/// All cases in the order of the file.
pub fn cases() -> Result<Vec<Case>> {
    // Orders are called N and Y here, which is no truth.
    let options = serde_saphyr::options! { strict_booleans: true };
    serde_saphyr::from_str_with_options(CASES, options)
        .context("conformance/cases.yaml cannot be read")
}

impl Case {
    /// The texts of a list in `given`, up to the first blank, comma or bracket: `ALFA, own Subagent disabled` is `ALFA`.
    pub fn given_names(&self, what: &str) -> Vec<&str> {
        self.given_texts(what)
            .into_iter()
            .map(|text| text.split([' ', ',']).next().unwrap_or(text))
            .collect()
    }

    /// The texts of a list in `given`.
    pub fn given_texts(&self, what: &str) -> Vec<&str> {
        let list = self.given.get(what).and_then(Value::as_array);
        list.into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect()
    }

    /// The items that are there before, those told in prose left out.
    pub fn items(&self) -> Vec<Value> {
        let list = self.given.get("items").and_then(Value::as_array);
        let items = list.into_iter().flatten();
        items.filter(|item| item.is_object()).cloned().collect()
    }
}
