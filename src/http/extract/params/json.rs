//! Parser for `application/json`: an object. More than 128 levels and lone surrogates are refused.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::form;
use crate::http::error::ApiError;

/// The members of the object; of a repeated name the last value.
///
/// # Errors
/// 400 for anything but one JSON object without NUL characters.
pub fn parse(bytes: &[u8]) -> Result<Map<String, Value>, ApiError> {
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(values)) if values.iter().any(|(name, value)| holds_nul(name, value)) => {
            Err(ApiError::malformed("text must not contain the character NUL"))
        }
        Ok(Value::Object(values)) => Ok(values),
        Ok(_) => Err(ApiError::malformed("the body must be a JSON object, such as {\"message\": \"hello\"}")),
        Err(error) => Err(ApiError::malformed(format!("the body is not valid JSON: {error}"))),
    }
}

/// The members of the object in order, repeated ones too: text and numbers, both as text. A null is left out.
///
/// # Errors
/// As for [`parse`], and for every other kind of value.
pub fn pairs(bytes: &[u8]) -> Result<Vec<(String, String)>, ApiError> {
    // Anything but an object gets the same errors as in `parse`.
    parse(bytes)?;
    let Members(members) = serde_json::from_slice(bytes)
        .map_err(|error| ApiError::malformed(format!("the body is not valid JSON: {error}")))?;
    let mut pairs = Vec::new();
    for (name, value) in members {
        match value {
            Value::Null => {}
            Value::String(text) => pairs.push((form::text(name.into())?, form::text(text.into())?)),
            Value::Number(number) => pairs.push((form::text(name.into())?, number.to_string())),
            Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
                return Err(ApiError::malformed("the values of the JSON object must be text"));
            }
        }
    }
    Ok(pairs)
}

struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = Members;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Collect)
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
    fn pairs_keep_what_is_repeated() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let text = br#"{"a": "1", "b": null, "a": 2}"#;
        assert_eq!(pairs(text).expect("an object"), [pair("a", "1"), pair("a", "2")]);
        for text in [&b"[]"[..], b"{\"a\": [1]}", b"{\"a\": true}", b"{\"a\": \"\\u0000\", \"a\": \"1\"}"] {
            assert_eq!(pairs(text).expect_err("refused").code().as_str(), "malformed");
        }
    }

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
            assert_eq!(parse(text.as_bytes()).expect_err(&text[..end]).code().as_str(), "malformed");
        }
        assert!(parse(b"{\"a\": \"\xff\"}").is_err());
    }
}
