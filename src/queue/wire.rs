//! Values on their way into `jsonb`.

use serde::Serialize;
use serde_json::Value;

/// A value as `jsonb` takes it: without NUL characters, which the type can't hold. A file name in a message must not be
/// able to keep an execution from ever being closed.
#[expect(
    clippy::expect_used,
    reason = "structs of strings, numbers and ids always serialise"
)]
pub(super) fn stored(value: impl Serialize) -> Value {
    let mut value = serde_json::to_value(value).expect("plain data");
    strip_nul(&mut value);
    value
}

fn strip_nul(value: &mut Value) {
    match value {
        Value::String(text) if text.contains('\0') => *text = text.replace('\0', ""),
        Value::Array(values) => values.iter_mut().for_each(strip_nul),
        Value::Object(members) => {
            if members.keys().any(|key| key.contains('\0')) {
                *members = std::mem::take(members)
                    .into_iter()
                    .map(|(key, value)| (key.replace('\0', ""), value))
                    .collect();
            }
            members.values_mut().for_each(strip_nul);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn no_nul_reaches_the_database() {
        let value = json!({"a\0b": ["\0", {"c": "d\0"}], "n": 1});
        assert_eq!(stored(value), json!({"ab": ["", {"c": "d"}], "n": 1}));
    }
}
