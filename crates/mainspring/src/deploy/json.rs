//! The content of an item as JSON, with each number as it is written.
//!
//! Always: numbers are compared and shown with all their digits; a tree of `serde_json` would round them. Never here: what an item means.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// A JSON value. The order of fields makes no difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Json {
    Object(BTreeMap<String, Json>),
    Array(Vec<Json>),
    Text(String),
    /// A number, `true`, `false` or `null`, as it is written.
    Literal(String),
}

impl Json {
    /// Parses the content of an item from its text. A version that the Controller has assigned is not part of the content.
    pub(super) fn of_item(text: &str) -> serde_json::Result<Json> {
        let mut json = Json::read(text)?;
        if let Json::Object(fields) = &mut json {
            fields.remove("versionId");
            fields.remove("itemRevision");
        }
        Ok(json)
    }

    fn read(text: &str) -> serde_json::Result<Json> {
        let read = |part: &RawValue| Json::read(part.get());
        let text = text.trim();
        Ok(match text.as_bytes().first() {
            Some(b'{') => {
                let fields: BTreeMap<String, &RawValue> = serde_json::from_str(text)?;
                let fields = fields
                    .into_iter()
                    .map(|(name, part)| Ok((name, read(part)?)));
                Json::Object(fields.collect::<serde_json::Result<_>>()?)
            }
            Some(b'[') => {
                let elements: Vec<&RawValue> = serde_json::from_str(text)?;
                Json::Array(elements.into_iter().map(read).collect::<Result<_, _>>()?)
            }
            Some(b'"') => Json::Text(serde_json::from_str(text)?),
            _ => Json::Literal(serde_json::from_str::<&RawValue>(text)?.get().to_owned()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_the_order_of_fields_and_a_given_version_make_no_difference_and_each_digit_does() {
        let same =
            |one: &str, two: &str| Json::of_item(one).unwrap() == Json::of_item(two).unwrap();
        assert!(same(
            r#"{"TYPE":"Workflow","path":"w","versionId":"7"}"#,
            "{ \"path\":\"w\",\n\"TYPE\":\"Work\\u0066low\"}\n"
        ));
        assert!(!same(r#"{"path":"w"}"#, r#"{"path":"v"}"#));
        assert!(!same(r#"{"a":[1.10]}"#, r#"{"a":[1.1]}"#));
        assert!(!same(
            r#"{"a":12345678901234567890123}"#,
            r#"{"a":12345678901234567890124}"#
        ));
        assert!(same(r#"{"a":1e400}"#, r#"{"a": 1e400 }"#));
        assert!(Json::of_item("{").is_err());
    }
}
