//! Reads a struct out of the tree of settings, and puts the place of the value to every error on the way out.

use serde::Deserializer;
use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{DeserializeSeed, Error as _, IntoDeserializer, MapAccess, SeqAccess, Visitor};

use crate::layer::{Node, Value, is_same_key};
use crate::nearest::nearest;
use crate::trouble::{Origin, SettingsError};

/// A reader at one place of the tree.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    node: &'a Node,
    is_root: bool,
}

impl<'a> Reader<'a> {
    pub(crate) fn root(node: &'a Node) -> Reader<'a> {
        Reader {
            node,
            is_root: true,
        }
    }

    fn at(node: &'a Node) -> Reader<'a> {
        Reader {
            node,
            is_root: false,
        }
    }

    fn table(self, fields: Option<&'static [&'static str]>) -> Option<Table<'a>> {
        let Value::Table(nodes) = &self.node.value else {
            return None;
        };
        let entries: Vec<_> = nodes
            .iter()
            .filter_map(|(key, node)| Some((name_of(key, node, fields, self.is_root)?, node)))
            .collect();
        Some(Table {
            entries: entries.into_iter(),
            value: None,
        })
    }
}

/// The field that a key means; none for a variable of the environment that is not meant for us at all.
fn name_of<'a>(
    key: &'a str,
    node: &Node,
    fields: Option<&'static [&'static str]>,
    is_root: bool,
) -> Option<&'a str> {
    let (Some(fields), false) = (fields, matches!(node.origin, Origin::File { .. })) else {
        return Some(key);
    };
    if let Some(field) = fields.iter().find(|field| is_same_key(field, key)) {
        return Some(field);
    }
    // Programs and people keep other variables under the same prefix; only one that looks like a typing error is complained about.
    let is_foreign =
        is_root && matches!(node.origin, Origin::Variable(_)) && nearest(key, fields).is_none();
    (!is_foreign).then_some(key)
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = SettingsError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SettingsError> {
        let value = match &self.node.value {
            Value::Table(_) => visitor.visit_map(self.table(None).expect("it is a table")),
            Value::Array(items) => visitor.visit_seq(Items(items.iter())),
            Value::Bool(truth) => visitor.visit_bool(*truth),
            Value::Integer(number) => visitor.visit_i64(*number),
            Value::Float(number) => visitor.visit_f64(*number),
            Value::String(text) | Value::Loose(text) => visitor.visit_str(text),
        };
        value.map_err(|error| error.at(&self.node.origin, ""))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, SettingsError> {
        match self.table(Some(fields)) {
            // A missing field has no place of its own, and the table's line is the best there is.
            Some(table) => visitor
                .visit_map(table)
                .map_err(|error| error.at(&self.node.origin, "")),
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SettingsError> {
        let Value::Loose(text) = &self.node.value else {
            return self.deserialize_any(visitor);
        };
        let value = match text.as_str() {
            "true" | "yes" | "on" | "1" => visitor.visit_bool(true),
            "false" | "no" | "off" | "0" => visitor.visit_bool(false),
            _ => Err(SettingsError::custom(format!(
                "{text:?} is neither true nor false"
            ))),
        };
        value.map_err(|error| error.at(&self.node.origin, ""))
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SettingsError> {
        let Value::Loose(text) = &self.node.value else {
            return self.deserialize_any(visitor);
        };
        let number: Result<i64, _> = text.parse();
        let value = match number {
            Ok(number) => visitor.visit_i64(number),
            Err(error) => Err(SettingsError::custom(format!(
                "{text:?} is no whole number: {error}"
            ))),
        };
        value.map_err(|error| error.at(&self.node.origin, ""))
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SettingsError> {
        let Value::Loose(text) = &self.node.value else {
            return self.deserialize_any(visitor);
        };
        let number: Result<f64, _> = text.parse();
        let value = match number {
            Ok(number) => visitor.visit_f64(number),
            Err(error) => Err(SettingsError::custom(format!(
                "{text:?} is no number: {error}"
            ))),
        };
        value.map_err(|error| error.at(&self.node.origin, ""))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SettingsError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, SettingsError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SettingsError> {
        let Value::Loose(text) = &self.node.value else {
            return self.deserialize_any(visitor);
        };
        let parts: Vec<Node> = text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(|part| Node {
                origin: self.node.origin.clone(),
                value: Value::Loose(part.to_owned()),
            })
            .collect();
        visitor
            .visit_seq(Items(parts.iter()))
            .map_err(|error| error.at(&self.node.origin, ""))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, SettingsError> {
        let value = match &self.node.value {
            Value::String(text) | Value::Loose(text) => {
                visitor.visit_enum(text.as_str().into_deserializer())
            }
            Value::Table(_) => visitor.visit_enum(MapAccessDeserializer::new(
                self.table(None).expect("it is a table"),
            )),
            Value::Array(_) | Value::Bool(_) | Value::Integer(_) | Value::Float(_) => {
                return self.deserialize_any(visitor);
            }
        };
        value.map_err(|error: SettingsError| error.at(&self.node.origin, ""))
    }

    fn deserialize_i8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SettingsError> {
        self.deserialize_i64(visitor)
    }

    fn deserialize_i16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SettingsError> {
        self.deserialize_i64(visitor)
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SettingsError> {
        self.deserialize_i64(visitor)
    }

    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SettingsError> {
        self.deserialize_i64(visitor)
    }

    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SettingsError> {
        self.deserialize_i64(visitor)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SettingsError> {
        self.deserialize_i64(visitor)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SettingsError> {
        self.deserialize_i64(visitor)
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SettingsError> {
        self.deserialize_f64(visitor)
    }

    serde::forward_to_deserialize_any! {
        i128 u128 char str string bytes byte_buf unit unit_struct tuple tuple_struct map identifier ignored_any
    }
}

struct Table<'a> {
    entries: std::vec::IntoIter<(&'a str, &'a Node)>,
    value: Option<(&'a str, &'a Node)>,
}

impl<'de> MapAccess<'de> for Table<'_> {
    type Error = SettingsError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, SettingsError> {
        let Some((key, node)) = self.entries.next() else {
            return Ok(None);
        };
        self.value = Some((key, node));
        let key: StrDeserializer<'_, SettingsError> = key.into_deserializer();
        seed.deserialize(key)
            .map(Some)
            .map_err(|error| error.at(&node.origin, ""))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<S::Value, SettingsError> {
        let (key, node) = self.value.take().expect("a key comes before its value");
        seed.deserialize(Reader::at(node))
            .map_err(|error| error.at(&node.origin, key))
    }
}

struct Items<'a>(std::slice::Iter<'a, Node>);

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = SettingsError;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, SettingsError> {
        let Some(node) = self.0.next() else {
            return Ok(None);
        };
        seed.deserialize(Reader::at(node)).map(Some)
    }
}
