//! The tree of settings as written, each value with its origin; later layers replace earlier ones, value by value.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::trouble::{Origin, SettingsError};

/// One place in the tree.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) origin: Origin,
    pub(crate) value: Value,
}

/// What stands at a place.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Table(BTreeMap<String, Node>),
    Array(Vec<Node>),
    Bool(bool),
    Integer(i64),
    Float(f64),
    /// A text of a file: it is one.
    String(String),
    /// A text of the environment or a flag: it is whatever the reader wants there.
    Loose(String),
}

impl Node {
    pub(crate) fn empty_table(origin: Origin) -> Node {
        Node {
            origin,
            value: Value::Table(BTreeMap::new()),
        }
    }

    /// Lays one value over the tree.
    pub(crate) fn set(
        &mut self,
        keys: &[String],
        text: String,
        origin: &Origin,
    ) -> Result<(), SettingsError> {
        let Some((key, rest)) = keys.split_first() else {
            *self = Node {
                origin: origin.clone(),
                value: Value::Loose(text),
            };
            return Ok(());
        };
        let Value::Table(table) = &mut self.value else {
            return Err(SettingsError::unfit(format!(
                "cannot set a key in what {} has set to a value",
                self.origin
            ))
            .at(origin, key));
        };
        // The file may write the key with hyphens where a variable can only have underscores.
        let written = table
            .keys()
            .find(|known| is_same_key(known, key))
            .unwrap_or(key)
            .clone();
        table
            .entry(written)
            .or_insert_with(|| Node::empty_table(origin.clone()))
            .set(rest, text, origin)
    }
}

/// Variables and flags do not distinguish hyphen and underscore.
pub(crate) fn is_same_key(a: &str, b: &str) -> bool {
    a == b || a.replace('-', "_") == b.replace('-', "_")
}

pub(crate) fn read_file(path: &Path) -> Result<Node, SettingsError> {
    let text = std::fs::read_to_string(path).map_err(|source| SettingsError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let file = File { path, text: &text };
    let table = DeTable::parse(&text).map_err(|error| SettingsError::NotToml {
        path: path.to_owned(),
        line: error.span().map_or(1, |span| file.line(&span)),
        what: error.message().to_owned(),
    })?;
    file.table(&table.span(), table.get_ref())
}

struct File<'a> {
    path: &'a Path,
    text: &'a str,
}

impl File<'_> {
    fn line(&self, span: &Range<usize>) -> usize {
        1 + self
            .text
            .bytes()
            .take(span.start)
            .filter(|&byte| byte == b'\n')
            .count()
    }

    fn origin(&self, span: &Range<usize>) -> Origin {
        Origin::File {
            path: self.path.to_owned(),
            line: self.line(span),
        }
    }

    fn table(&self, span: &Range<usize>, table: &DeTable<'_>) -> Result<Node, SettingsError> {
        let mut nodes = BTreeMap::new();
        for (key, value) in table {
            let mut node = self
                .node(value)
                .map_err(|error| error.at(&Origin::Nowhere, key.get_ref()))?;
            // A table's own span may be its header or, for dotted keys, anywhere: the key is what people look for.
            node.origin = self.origin(&key.span());
            nodes.insert(key.get_ref().clone().into_owned(), node);
        }
        Ok(Node {
            origin: self.origin(span),
            value: Value::Table(nodes),
        })
    }

    fn node(&self, value: &Spanned<DeValue<'_>>) -> Result<Node, SettingsError> {
        let origin = self.origin(&value.span());
        let unfit = |what: String| SettingsError::unfit(what).at(&origin, "");
        let value = match value.get_ref() {
            DeValue::String(text) => Value::String(text.clone().into_owned()),
            DeValue::Integer(number) => {
                let parsed = i64::from_str_radix(number.as_str(), number.radix());
                Value::Integer(parsed.map_err(|error| unfit(format!("{number}: {error}")))?)
            }
            DeValue::Float(number) => {
                let parsed: Result<f64, _> = number.as_str().parse();
                Value::Float(parsed.map_err(|error| unfit(format!("{number}: {error}")))?)
            }
            DeValue::Boolean(truth) => Value::Bool(*truth),
            DeValue::Datetime(_) => {
                return Err(unfit("no setting is a date; write it in quotes".to_owned()));
            }
            DeValue::Array(items) => Value::Array(
                items
                    .iter()
                    .map(|item| self.node(item))
                    .collect::<Result<_, _>>()?,
            ),
            DeValue::Table(table) => return self.table(&value.span(), table),
        };
        Ok(Node { origin, value })
    }
}
