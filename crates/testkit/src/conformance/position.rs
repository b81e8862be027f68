//! Positions as the cases write them: `0/then:0/fork+a:1` for `[0,"then",0,"fork+a",1]`.

use serde_json::Value;

/// The text of a position in JSON.
pub(crate) fn text_of(position: &Value) -> Option<String> {
    let parts = position.as_array()?;
    let mut text = String::new();
    for (index, part) in parts.iter().enumerate() {
        match (index % 2, part) {
            (0, Value::Number(nr)) => text.push_str(&nr.to_string()),
            (1, Value::String(branch)) => text.extend(["/", branch, ":"]),
            _ => return None,
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_position_is_written_as_in_the_cases() {
        assert_eq!(text_of(&json!([1])).unwrap(), "1");
        let nested = json!([0, "then", 0, "fork+a", 1]);
        assert_eq!(text_of(&nested).unwrap(), "0/then:0/fork+a:1");
        assert_eq!(text_of(&json!(["then"])), None);
    }
}
