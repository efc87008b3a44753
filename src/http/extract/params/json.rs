//! Parser for `application/json`: an object, with or without a byte order mark. More than 128 levels and lone surrogates are
//! refused; members that no endpoint knows are not kept, and the number of the others is limited.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserializer, MapAccess, Visitor};

use super::form::MAX_PARAMETERS;
use super::value::{KnownName, Skipped, TOO_MANY, Value, ValueBudget, ValueSeed, without_nul};
use crate::http::error::{ApiError, ErrorCode};

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The known members of the object; of a repeated name the last value.
///
/// # Errors
/// 400 for anything but one JSON object without NUL characters, and for too many values.
pub fn parse(bytes: &[u8]) -> Result<BTreeMap<&'static str, Value>, ApiError> {
    read(bytes, Members)
}

/// The members of the object in order, repeated and unknown ones too. All values must be texts; a null is left out.
///
/// # Errors
/// As for [`parse`], and for every other kind of value.
pub fn pairs(bytes: &[u8]) -> Result<Vec<(String, String)>, ApiError> {
    read(bytes, Pairs)
}

fn read<'de, V: Visitor<'de>>(bytes: &'de [u8], visitor: V) -> Result<V::Value, ApiError> {
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let read = deserializer.deserialize_any(visitor).and_then(|value| deserializer.end().map(|()| value));
    read.map_err(|error| {
        let text = error.to_string();
        if text.starts_with(TOO_MANY) {
            ApiError::bad_request(ErrorCode::TooMany, format!("the body has {TOO_MANY}"))
        } else {
            ApiError::malformed(format!("the body cannot be read: {text}"))
        }
    })
}

const EXPECTED: &str = "a JSON object, such as {\"message\": \"hello\"}";

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = BTreeMap<&'static str, Value>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(EXPECTED)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let (mut values, mut budget) = (BTreeMap::new(), ValueBudget::default());
        while let Some(name) = members.next_key_seed(KnownName)? {
            match name {
                Some(name) => {
                    values.insert(name, members.next_value_seed(ValueSeed(&mut budget))?);
                }
                None => members.next_value_seed(Skipped)?,
            }
        }
        Ok(values)
    }
}

struct Pairs;

impl<'de> Visitor<'de> for Pairs {
    type Value = Vec<(String, String)>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(EXPECTED)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some((name, value)) = members.next_entry::<String, Option<String>>()? {
            if pairs.len() == MAX_PARAMETERS {
                return Err(de::Error::custom(TOO_MANY));
            }
            without_nul(&name)?;
            if let Some(value) = value {
                without_nul(&value)?;
                pairs.push((name, value));
            }
        }
        Ok(pairs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::extract::params::value::MAX_VALUES;
    use serde::Deserialize as _;
    use serde_json::json;

    /// The values as JSON.
    fn parsed(text: &str) -> serde_json::Value {
        let values = parse(text.as_bytes()).expect(text);
        values
            .iter()
            .map(|(name, value)| {
                ((*name).to_owned(), serde_json::Value::deserialize(value).expect("any value"))
            })
            .collect::<serde_json::Map<_, _>>()
            .into()
    }

    #[test]
    fn pairs_keep_what_is_repeated() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let text = br#"{"a": "1", "b": null, "a": "2"}"#;
        assert_eq!(pairs(text).expect("an object"), [pair("a", "1"), pair("a", "2")]);
        for text in [
            &b"[]"[..],
            b"{\"a\": [1]}",
            b"{\"a\": true}",
            b"{\"a\": 1}",
            b"{\"a\": \"\\u0000\", \"a\": \"1\"}",
        ] {
            assert_eq!(pairs(text).expect_err("refused").code().as_str(), "malformed");
        }
        let many = format!("{{{}\"a\": \"1\"}}", "\"a\": \"1\",".repeat(MAX_PARAMETERS));
        assert_eq!(pairs(many.as_bytes()).expect_err("refused").code().as_str(), "too_many");
    }

    #[test]
    fn only_an_object_of_text_without_nul_is_read() {
        assert_eq!(parsed("{}"), json!({}));
        assert_eq!(
            parsed(" {\"numbers\": [1, null, -1, 1.5, true], \"name\": \"\\ud83d\\ude00\"} "),
            json!({"numbers": [1, null, -1, 1.5, true], "name": "😀"})
        );
        assert_eq!(parsed("{\"name\": 1, \"name\": 2}"), json!({"name": 2}));
        assert_eq!(parsed("\u{feff}{\"name\": \"x\"}"), json!({"name": "x"}), "a byte order mark");
        for name in ["name", "unknown"] {
            let deep = |depth: usize| format!("{{\"{name}\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
            parsed(&deep(100));
            for text in [
                "null".to_owned(),
                "[]".to_owned(),
                "\"a\"".to_owned(),
                "{".to_owned(),
                "{} {}".to_owned(),
                "\u{feff}\u{feff}{}".to_owned(),
                format!("{{\"{name}\": \"\\u0000\"}}"),
                "{\"\\u0000\": 1}".to_owned(),
                format!("{{\"{name}\": [{{\"b\": \"\\u0000\"}}]}}"),
                format!("{{\"{name}\": \"\\ud800\"}}"),
                format!("{{\"{name}\": \"\\udc00x\"}}"),
                format!("{{\"{name}\": 1e999}}"),
                format!("{{\"{name}\": NaN}}"),
                format!("{{'{name}': 1}}"),
                deep(200),
                deep(500_000),
            ] {
                let end = text.len().min(40);
                assert_eq!(parse(text.as_bytes()).expect_err(&text[..end]).code().as_str(), "malformed");
            }
        }
        assert!(parse(b"{\"a\": \"\xff\"}").is_err());
    }

    #[test]
    fn an_endpoints_own_types_are_read_as_from_json() {
        #[derive(Debug, PartialEq, serde::Deserialize)]
        #[serde(rename_all = "lowercase")]
        enum Kind {
            One,
        }
        #[derive(Debug, PartialEq, serde::Deserialize)]
        struct Own {
            name: Kind,
            url: Option<String>,
            numbers: Vec<u64>,
        }
        let own = |text: &str| {
            let values = parse(text.as_bytes()).expect("an object");
            Own::deserialize(&Value::Object(values.into_iter().collect()))
        };
        assert_eq!(
            own(r#"{"name": "one", "url": null, "numbers": [1]}"#).expect("its own type"),
            Own { name: Kind::One, url: None, numbers: vec![1] }
        );
        for wrong in
            [r#"{"name": "two", "numbers": []}"#, r#"{"name": 1, "numbers": []}"#, r#"{"name": "one"}"#]
        {
            assert!(own(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn members_that_no_endpoint_knows_are_not_kept() {
        assert_eq!(
            parsed(
                r#"{"contacts": [{"contact_id": 1, "photo_of": {"name": 1}, "contact_id": 2}], "other": [1]}"#
            ),
            json!({"contacts": [{"contact_id": 2}]})
        );
    }

    #[test]
    fn the_number_of_kept_values_is_limited() {
        let body = |count: usize| format!("{{\"numbers\": [{}1]}}", "1,".repeat(count - 2));
        assert!(parse(body(MAX_VALUES).as_bytes()).is_ok());
        assert_eq!(parse(body(MAX_VALUES + 1).as_bytes()).expect_err("refused").code().as_str(), "too_many");
        let unknown = format!("{{\"unknown\": [{}1]}}", "1,".repeat(MAX_VALUES));
        assert!(parse(unknown.as_bytes()).is_ok(), "what is not kept costs nothing");
    }
}
