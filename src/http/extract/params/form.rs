//! Parser for `application/x-www-form-urlencoded`, in a body or a query, as curl and browsers write it: bytes that should
//! be encoded may be raw, and a percent sign that begins no escape is literal.

use std::borrow::Cow;
use std::collections::BTreeMap;

use percent_encoding::percent_decode;

use super::names;
use super::value::Value;
use crate::http::error::ApiError;

/// The most parameters of a request: a small body must not become a large table.
pub const MAX_PARAMETERS: usize = 1_000;

/// The names that an endpoint knows, and their values; of a repeated name the last value.
///
/// # Errors
/// 400 for text that is not UTF-8 or contains a NUL, and for too many parameters.
pub fn parse(bytes: &[u8]) -> Result<BTreeMap<&'static str, Value>, ApiError> {
    let mut values = BTreeMap::new();
    each(bytes, |name, value| {
        if let Some(name) = names::known(&name) {
            values.insert(name, Value::Text(value));
        }
    })?;
    Ok(values)
}

/// Names and values in order, repeated ones too.
///
/// # Errors
/// As for [`parse`].
pub fn pairs(bytes: &[u8]) -> Result<Vec<(String, String)>, ApiError> {
    let mut pairs = Vec::new();
    each(bytes, |name, value| pairs.push((name, value)))?;
    Ok(pairs)
}

fn each(bytes: &[u8], mut take: impl FnMut(String, String)) -> Result<(), ApiError> {
    let mut count = 0;
    for pair in bytes.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
        count += 1;
        if count > MAX_PARAMETERS {
            return Err(too_many());
        }
        let end_of_name = pair.iter().position(|byte| *byte == b'=');
        let (name, value) = end_of_name.map_or((pair, &b""[..]), |end| (&pair[..end], &pair[end + 1..]));
        take(decode(name)?, decode(value)?);
    }
    Ok(())
}

/// 400 for more parameters than [`MAX_PARAMETERS`].
pub fn too_many() -> ApiError {
    ApiError::malformed(format!("there are more than {MAX_PARAMETERS} parameters"))
}

/// The text of bytes that must be UTF-8 without NUL.
///
/// # Errors
/// 400 when they are not.
pub fn text(bytes: Vec<u8>) -> Result<String, ApiError> {
    let text =
        String::from_utf8(bytes).map_err(|_| ApiError::malformed("the parameters are not all UTF-8 text"))?;
    if text.contains('\0') {
        return Err(ApiError::malformed("text must not contain the character NUL"));
    }
    Ok(text)
}

fn decode(bytes: &[u8]) -> Result<String, ApiError> {
    let blanks: Cow<'_, [u8]> = if bytes.contains(&b'+') {
        bytes.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect::<Vec<_>>().into()
    } else {
        bytes.into()
    };
    text(percent_decode(&blanks).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_as_curl_sends_them() {
        let read = |text: &str| pairs(text.as_bytes()).expect(text);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(read(""), []);
        assert_eq!(read("&&"), []);
        assert_eq!(read("a=1&b=2"), [pair("a", "1"), pair("b", "2")]);
        assert_eq!(read("a=1&a=2"), [pair("a", "1"), pair("a", "2")]);
        assert_eq!(read("a"), [pair("a", "")]);
        assert_eq!(read("a=b=c"), [pair("a", "b=c")]);
        assert_eq!(read("a=raw blank é+plus%20%C3%A9"), [pair("a", "raw blank é plus é")]);
        assert_eq!(read("a=%2B1"), [pair("a", "+1")]);
        assert_eq!(read("a=100% sure&b=%zz%"), [pair("a", "100% sure"), pair("b", "%zz%")]);
        assert_eq!(read("%61=1&b+c=2"), [pair("a", "1"), pair("b c", "2")]);
        assert_eq!(read("a=line\nline"), [pair("a", "line\nline")]);
    }

    #[test]
    fn the_last_value_of_a_known_name_counts() {
        let values = parse(b"name=1&unknown=2&name=3").expect("a form");
        assert!(values == BTreeMap::from([("name", Value::Text("3".to_owned()))]));
    }

    #[test]
    fn invalid_text_is_refused() {
        for bytes in [&b"a=\xff"[..], b"a=%ff", b"a=%00", b"a=\0", b"%00=1", b"a=%C3", b"a=%ED%A0%80"] {
            assert_eq!(parse(bytes).expect_err("refused").code().as_str(), "malformed", "{bytes:?}");
        }
        assert!(parse("a=1&".repeat(MAX_PARAMETERS).as_bytes()).is_ok());
        assert!(parse("a=1&".repeat(MAX_PARAMETERS + 1).as_bytes()).is_err());
    }
}
