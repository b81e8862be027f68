//! Values as JSON.
//! Always: numbers survive in both directions with any precision, because their text is taken from and given to
//! `serde_json` raw. A format without raw text (YAML, or a buffered tagged enum) delivers integers exactly and
//! fractions with the precision of a double. Formats for machines carry the JSON text as a string.
//! Never: a function. It has no JSON form, so writing one is an error.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{self, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::error::EvalError;
use crate::number::Number;
use crate::value::Value;

/// The name under which `serde_json` hands out raw text. A test below notices if it ever changes.
const RAW_TOKEN: &str = "$serde_json::private::RawValue";

impl Value {
    /// Reads one JSON value.
    pub fn from_json_str(json: &str) -> Result<Value, serde_json::Error> {
        serde_json::from_str(json)
    }

    /// Writes the value as JSON.
    pub fn to_json_string(&self) -> Result<String, EvalError> {
        serde_json::to_string(self).map_err(|error| EvalError::new(error.to_string()))
    }
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return serializer.collect_str(self);
        }
        let text = self.to_json_text();
        match text.parse::<i64>() {
            Ok(integer) => serializer.serialize_i64(integer),
            Err(_not_small) => RawValue::from_string(text)
                .map_err(ser::Error::custom)?
                .serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Number, D::Error> {
        if !deserializer.is_human_readable() {
            return String::deserialize(deserializer)?
                .parse()
                .map_err(de::Error::custom);
        }
        let value = Value::deserialize(deserializer)?;
        let Value::Number(number) = value else {
            return Err(de::Error::custom(EvalError::mismatch("number", &value)));
        };
        Ok(number)
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return serializer.serialize_str(&self.to_json_string().map_err(ser::Error::custom)?);
        }
        match self {
            Value::Missing => serializer.serialize_unit(),
            Value::Boolean(truth) => serializer.serialize_bool(*truth),
            Value::Number(number) => number.serialize(serializer),
            Value::String(text) => serializer.serialize_str(text),
            Value::List(elements) => serializer.collect_seq(elements.iter()),
            Value::Object(fields) => serializer.collect_map(fields.iter()),
            Value::Function(_) => Err(ser::Error::custom("a function cannot be stored as a value")),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        if !deserializer.is_human_readable() {
            let json = String::deserialize(deserializer)?;
            return Value::from_json_str(&json).map_err(de::Error::custom);
        }
        deserializer.deserialize_newtype_struct(RAW_TOKEN, AnyForm)
    }
}

/// Takes raw JSON text from `serde_json`, and plain serde values from everyone else.
struct AnyForm;

impl<'de> Visitor<'de> for AnyForm {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value: string, number, boolean, list, object, or null")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Missing)
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Missing)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E: de::Error>(self, truth: bool) -> Result<Value, E> {
        Ok(Value::Boolean(truth))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Number(Number::from(number)))
    }

    fn visit_i128<E: de::Error>(self, number: i128) -> Result<Value, E> {
        number
            .to_string()
            .parse()
            .map(Value::Number)
            .map_err(E::custom)
    }

    fn visit_u128<E: de::Error>(self, number: u128) -> Result<Value, E> {
        number
            .to_string()
            .parse()
            .map(Value::Number)
            .map_err(E::custom)
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Value, E> {
        Number::from_f64(number)
            .map(Value::Number)
            .ok_or_else(|| E::custom(format!("Not a valid number: {number}")))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::from(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = access.next_element::<Value>()? {
            elements.push(element);
        }
        Ok(Value::from(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut fields = BTreeMap::new();
        while let Some(name) = access.next_key::<String>()? {
            if name == RAW_TOKEN {
                return access.next_value::<RawText>().map(|raw| raw.0);
            }
            if fields
                .insert(Arc::from(name.as_str()), access.next_value()?)
                .is_some()
            {
                return Err(de::Error::custom(format!("duplicate field `{name}`")));
            }
        }
        Ok(Value::from(fields))
    }
}

/// The text of a JSON value, on its way to become a value.
struct RawText(Value);

impl<'de> Deserialize<'de> for RawText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RawText, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = RawText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the text of a JSON value")
            }

            fn visit_str<E: de::Error>(self, json: &str) -> Result<RawText, E> {
                let mut reader = Reader { json, position: 0 };
                reader.value(0).map(RawText).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// Reads JSON that `serde_json` has already found well-formed, so that it need not be strict.
struct Reader<'a> {
    json: &'a str,
    position: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, nesting: usize) -> Result<Value, String> {
        match self.peek() {
            b'n' => Ok(self.word("null", Value::Missing)),
            b't' => Ok(self.word("true", Value::Boolean(true))),
            b'f' => Ok(self.word("false", Value::Boolean(false))),
            b'"' => self.string().map(Value::from),
            b'[' | b'{' if nesting == Value::NESTING_MAX => Err(format!(
                "the value is nested deeper than {} levels",
                Value::NESTING_MAX
            )),
            b'[' => self.list(nesting),
            b'{' => self.object(nesting),
            _ => self.number(),
        }
    }

    fn list(&mut self, nesting: usize) -> Result<Value, String> {
        self.position += 1;
        let mut elements = Vec::new();
        while self.peek() != b']' {
            elements.push(self.value(nesting + 1)?);
            self.skip_comma();
        }
        self.position += 1;
        Ok(Value::from(elements))
    }

    fn object(&mut self, nesting: usize) -> Result<Value, String> {
        self.position += 1;
        let mut fields = BTreeMap::new();
        while self.peek() == b'"' {
            let name = self.string()?;
            self.peek();
            self.position += 1; // the colon
            let value = self.value(nesting + 1)?;
            if fields.insert(Arc::from(name.as_str()), value).is_some() {
                return Err(format!("duplicate field `{name}`"));
            }
            self.skip_comma();
        }
        self.position += 1;
        Ok(Value::from(fields))
    }

    fn number(&mut self) -> Result<Value, String> {
        let text = self.rest();
        let length = text
            .bytes()
            .take_while(|b| b"+-.eE0123456789".contains(b))
            .count();
        self.position += length;
        text[..length]
            .parse()
            .map(Value::Number)
            .map_err(|error: crate::number::NumberError| error.to_string())
    }

    fn string(&mut self) -> Result<String, String> {
        let bytes = self.rest().as_bytes();
        let mut length = 1;
        while bytes.get(length).is_some_and(|b| *b != b'"') {
            length += if bytes[length] == b'\\' { 2 } else { 1 };
        }
        let end = (self.position + length + 1).min(self.json.len());
        let quoted = self.json.get(self.position..end).unwrap_or_default();
        self.position = end;
        serde_json::from_str(quoted).map_err(|error| error.to_string())
    }

    fn word(&mut self, word: &str, value: Value) -> Value {
        self.position += word.len();
        value
    }

    fn skip_comma(&mut self) {
        if self.peek() == b',' {
            self.position += 1;
        }
    }

    /// Skips blanks and shows the next byte; a zero byte at the end.
    fn peek(&mut self) -> u8 {
        let rest = self.rest();
        self.position += rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
        self.rest().bytes().next().unwrap_or(0)
    }

    fn rest(&self) -> &'a str {
        self.json.get(self.position..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expression::Expr;
    use crate::value::NamedValues;

    const LONG: &str = "-1.111222333444555666777888999000111222333444555666";

    fn round_trip(json: &str) {
        assert_eq!(
            Value::from_json_str(json)
                .unwrap()
                .to_json_string()
                .unwrap(),
            json
        );
    }

    #[test]
    fn values_survive_json() {
        for json in [
            "null",
            "true",
            "false",
            r#""a\"b\\\n\u0001ä😀""#,
            "[]",
            "{}",
            r#"[1,[null,{"a":{"b":"c"}}],"x"]"#,
            r#"{"":[{}],"a b":0}"#,
            "0",
            "-9223372036854775808",
            "9223372036854775808",
            "1.10",
        ] {
            round_trip(json);
        }
        assert_eq!(
            Value::from_json_str(" { \"a\" : [ 1 , 2 ] , \"b\" : \"\\u00e4]\" } ")
                .unwrap()
                .to_json_string()
                .unwrap(),
            r#"{"a":[1,2],"b":"ä]"}"#
        );
    }

    #[derive(serde::Serialize, serde::Deserialize)]
    struct Outcome {
        values: NamedValues,
    }

    #[test]
    fn numbers_of_any_precision_survive_json_at_any_place() {
        round_trip(LONG);
        round_trip(&format!(
            r#"{{"a":[{LONG},123456789012345678901234567890]}}"#
        ));
        let json = format!(r#"{{"values":{{"x":{LONG}}}}}"#);
        let outcome: Outcome = serde_json::from_str(&json).unwrap();
        assert_eq!(serde_json::to_string(&outcome).unwrap(), json);
        let from_reader: Outcome = serde_json::from_reader(json.as_bytes()).unwrap();
        assert_eq!(serde_json::to_string(&from_reader).unwrap(), json);
    }

    #[test]
    fn values_are_read_where_serde_buffers_them() {
        #[derive(Debug, serde::Serialize, serde::Deserialize)]
        #[serde(tag = "TYPE")]
        enum Event {
            Processed { values: NamedValues },
        }
        let json = r#"{"TYPE":"Processed","values":{"a":[1,null,"x",0.1,true],"o":{"p":18446744073709551615}}}"#;
        let event: Event = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&event).unwrap(), json);
    }

    #[test]
    fn values_pass_through_json_trees() {
        let value = Value::from_json_str(r#"{"a":[1,null,"x",0.5]}"#).unwrap();
        let tree = serde_json::to_value(&value).unwrap();
        assert_eq!(serde_json::from_value::<Value>(tree).unwrap(), value);
    }

    #[test]
    fn a_function_has_no_json_form() {
        let function = Expr::parse("x => $x")
            .unwrap()
            .eval(&crate::scope::Nothing)
            .unwrap();
        assert!(function.to_json_string().is_err());
        assert!(Value::from(vec![function]).to_json_string().is_err());
    }

    #[test]
    fn broken_or_absurd_json_is_refused() {
        for json in [
            "",
            "[1",
            "{\"a\":}",
            "nul",
            "01",
            "1e99999999",
            "\"\\ud800\"",
            r#"{"a":1,"a":2}"#,
        ] {
            assert!(Value::from_json_str(json).is_err(), "{json}");
        }
        let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        round_trip(&nested(Value::NESTING_MAX));
        assert!(Value::from_json_str(&nested(Value::NESTING_MAX + 1)).is_err());
        assert!(Value::from_json_str(&nested(1_000_000)).is_err());
    }
}
