//! `application/json`: an object. The parser refuses more than 128 levels, and lone surrogates.

use serde_json::{Map, Value};

use super::body::malformed;
use crate::http::error::ApiError;

/// The members of the object; of a repeated name the last.
///
/// # Errors
/// 400 for anything else than one JSON object without NUL characters.
pub fn parse(bytes: &[u8]) -> Result<Map<String, Value>, ApiError> {
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(values)) if values.iter().any(|(name, value)| holds_nul(name, value)) => {
            Err(malformed("text must not hold the character NUL"))
        }
        Ok(Value::Object(values)) => Ok(values),
        Ok(_) => Err(malformed("the body must be a JSON object, such as {\"message\": \"hello\"}")),
        Err(error) => Err(malformed(format!("the body is no JSON: {error}"))),
    }
}

fn holds_nul(name: &str, value: &Value) -> bool {
    name.contains('\0')
        || match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => false,
            Value::String(text) => text.contains('\0'),
            Value::Array(items) => items.iter().any(|item| holds_nul("", item)),
            Value::Object(values) => values.iter().any(|(name, value)| holds_nul(name, value)),
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_an_object_of_text_without_nul_is_read() {
        let parsed = |text: &str| Value::Object(parse(text.as_bytes()).expect(text));
        assert_eq!(parsed("{}"), json!({}));
        assert_eq!(
            parsed(" {\"a\": [1, null], \"b\": \"\\ud83d\\ude00\"} "),
            json!({"a": [1, null], "b": "😀"})
        );
        assert_eq!(parsed("{\"a\": 1, \"a\": 2}"), json!({"a": 2}));
        let deep = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        parsed(&deep(100));
        for text in [
            "null",
            "[]",
            "\"a\"",
            "{",
            "{} {}",
            "{\"a\": \"\\u0000\"}",
            "{\"\\u0000\": 1}",
            "{\"a\": [{\"b\": \"\\u0000\"}]}",
            "{\"a\": \"\\ud800\"}",
            "{\"a\": \"\\udc00x\"}",
            "{\"a\": 1e999}",
            "{\"a\": NaN}",
            "{'a': 1}",
            &deep(200),
            &deep(500_000),
        ] {
            let end = text.len().min(40);
            assert_eq!(parse(text.as_bytes()).expect_err(&text[..end]).code(), "malformed");
        }
        assert!(parse(b"{\"a\": \"\xff\"}").is_err());
    }
}
