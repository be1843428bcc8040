//! The one JSON spelling of a line: keys sorted, no blanks, shortest escapes. A line that says the same in other
//! bytes is not the same line, so that every flipped byte is found and not only those that change the meaning.

use serde::Serialize;
use serde_json::{Map, Value};

/// Spells a value, whatever order its maps were built in.
pub(crate) fn spell<T: Serialize>(value: &T) -> Result<String, serde_json::Error> {
    serde_json::to_string(&sorted(serde_json::to_value(value)?))
}

fn sorted(value: Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        Value::Object(map) => {
            let mut entries: Vec<(String, Value)> = map.into_iter().collect();
            entries.sort_by(|(a, _), (b, _)| a.cmp(b));
            Value::Object(entries.into_iter().map(|(key, item)| (key, sorted(item))).collect::<Map<_, _>>())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_stand_in_order_at_every_depth() {
        let value = json!({"b": [{"z": 1, "a": null}], "a": "é\n\u{1}"});
        assert_eq!(spell(&value).unwrap(), r#"{"a":"é\n\u0001","b":[{"a":null,"z":1}]}"#);
    }
}
