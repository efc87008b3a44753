//! Types of parameters. A path, a query and a form have text only, JSON also numbers and booleans: types of numbers and
//! flags accept both. A text in JSON must be a string: the spelling of a number is lost.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::verification::{is_code_separator, normalised_code};

/// Text of at most `MAX` characters. Its `Debug` does not show the text.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Text<const MAX: usize>(String);

/// A JSON boolean, `1` or `0`, `true` or `false`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flag(pub bool);

/// A whole number from 0 on. A number that is too large counts as the largest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WholeNumber(pub u64);

/// A code that proves a number: of digits and of what people type between them, or as a JSON integer, which has lost the zeros
/// at its beginning. Its `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Code(Spelling);

#[derive(Clone, PartialEq, Eq)]
enum Spelling {
    Text(String),
    Number(u64),
}

impl Code {
    /// The longest text, in characters.
    const LONGEST: usize = 64;

    /// The digits of a code that has `length` of them.
    #[must_use]
    pub fn digits(&self, length: usize) -> String {
        match &self.0 {
            Spelling::Text(typed) => normalised_code(typed),
            Spelling::Number(number) => format!("{number:0length$}"),
        }
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Code(..)")
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CodeVisitor;
        impl Visitor<'_> for CodeVisitor {
            type Value = Code;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a code of digits")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Code, E> {
                let plain = |sign: char| sign.is_ascii() || is_code_separator(sign);
                if text.chars().count() > Code::LONGEST || !text.chars().all(plain) {
                    return Err(E::custom(
                        "a code of digits is expected, such as 123456; blanks and dashes are ignored",
                    ));
                }
                Ok(Code(Spelling::Text(text.to_owned())))
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Code, E> {
                Ok(Code(Spelling::Number(number)))
            }
        }
        deserializer.deserialize_any(CodeVisitor)
    }
}

impl<const MAX: usize> Text<MAX> {
    #[must_use]
    pub fn into_inner(self) -> String {
        self.0
    }
}

impl<const MAX: usize> Deref for Text<MAX> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<const MAX: usize> fmt::Debug for Text<MAX> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Text({} bytes)", self.0.len())
    }
}

impl<'de, const MAX: usize> Deserialize<'de> for Text<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor<const MAX: usize>;
        impl<const MAX: usize> Visitor<'_> for TextVisitor<MAX> {
            type Value = Text<MAX>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("text, in JSON a string")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text<MAX>, E> {
                let length = text.chars().count();
                if length > MAX {
                    return Err(E::custom(format_args!(
                        "at most {MAX} characters are accepted, this has {length}"
                    )));
                }
                Ok(Text(text.to_owned()))
            }
        }
        deserializer.deserialize_any(TextVisitor)
    }
}

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FlagVisitor;
        impl Visitor<'_> for FlagVisitor {
            type Value = Flag;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("1 or 0, true or false")
            }
            fn visit_bool<E: de::Error>(self, flag: bool) -> Result<Flag, E> {
                Ok(Flag(flag))
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Flag, E> {
                self.visit_str(&number.to_string())
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Flag, E> {
                match text.trim().to_ascii_lowercase().as_str() {
                    "1" | "true" => Ok(Flag(true)),
                    "0" | "false" | "" => Ok(Flag(false)),
                    _ => Err(E::custom("1 or 0, true or false is expected")),
                }
            }
        }
        deserializer.deserialize_any(FlagVisitor)
    }
}

impl<'de> Deserialize<'de> for WholeNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WholeNumberVisitor;
        impl WholeNumberVisitor {
            fn refuse<E: de::Error>() -> Result<WholeNumber, E> {
                Err(E::custom("a whole number from 0 on is expected"))
            }
        }
        impl Visitor<'_> for WholeNumberVisitor {
            type Value = WholeNumber;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a whole number from 0 on")
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<WholeNumber, E> {
                Ok(WholeNumber(number))
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<WholeNumber, E> {
                u64::try_from(number).map_or_else(|_| Self::refuse(), |number| Ok(WholeNumber(number)))
            }
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<WholeNumber, E> {
                // In JSON 5.0 is a whole number, too, and one beyond 64 bits has no other notation.
                let is_whole = number.fract() == 0.0 && number >= 0.0;
                if is_whole { self.visit_str(&format!("{:.0}", number.abs())) } else { Self::refuse() }
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<WholeNumber, E> {
                let text = text.trim();
                if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
                    return Self::refuse();
                }
                Ok(WholeNumber(text.parse().unwrap_or(u64::MAX)))
            }
        }
        deserializer.deserialize_any(WholeNumberVisitor)
    }
}

impl<const MAX: usize> PartialSchema for Text<MAX> {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().schema_type(Type::String).max_length(Some(MAX)).into()
    }
}

impl<const MAX: usize> ToSchema for Text<MAX> {
    fn name() -> Cow<'static, str> {
        format!("Text{MAX}").into()
    }
}

impl PartialSchema for Flag {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().schema_type(Type::Boolean).into()
    }
}

impl ToSchema for Flag {}

impl PartialSchema for WholeNumber {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0)).into()
    }
}

impl ToSchema for WholeNumber {}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: for<'de> Deserialize<'de>>(json: &str) -> Option<T> {
        serde_json::from_str(json).ok()
    }

    #[test]
    fn text_counts_characters() {
        let text = |json: &str| read::<Text<3>>(json).map(Text::into_inner);
        assert_eq!(text("\"\""), Some(String::new()));
        assert_eq!(text("\"äöü\""), Some("äöü".to_owned()));
        assert_eq!(text("\"äöüx\""), None);
        for json in ["123", "-5", "1.5", "true", "[]", "{}"] {
            assert_eq!(text(json), None, "{json}");
        }
        let message = serde_json::from_str::<Text<3>>("\"abcd\"").expect_err("too long").to_string();
        assert!(message.contains("at most 3 characters are accepted, this has 4"), "{message}");
    }

    #[test]
    fn a_code_is_text_or_an_integer_without_its_first_zeros() {
        let code = |json: &str| read::<Code>(json).map(|code| code.digits(6));
        for (json, text) in [
            ("\"012345\"", "012345"),
            ("\" 01-23 45\"", "012345"),
            ("\"01–2345\"", "012345"),
            ("12345", "012345"),
            ("0", "000000"),
            ("1234567", "1234567"),
        ] {
            assert_eq!(code(json).as_deref(), Some(text), "{json}");
        }
        assert_eq!(read::<Code>("1234").map(|code| code.digits(5)).as_deref(), Some("01234"));
        // Digits of other scripts are no guess; neither is a number that cannot be one.
        for json in ["\"١٢٣٤٥٦\"", "\"１２３456\"", "\"123456٧\"", "-12345", "123456.0", "true", "[1]"]
        {
            assert_eq!(code(json), None, "{json}");
        }
    }

    #[test]
    fn flags_and_numbers_are_json_or_text() {
        for (json, flag) in [("true", true), ("1", true), ("\"1\"", true), ("\"True\"", true), ("0", false)] {
            assert_eq!(read(json), Some(Flag(flag)), "{json}");
        }
        assert_eq!(read::<Flag>("\"maybe\""), None);
        assert_eq!(read::<Flag>("2"), None);
        for (json, number) in [
            ("0", 0),
            ("\" 20 \"", 20),
            ("18446744073709551615", u64::MAX),
            ("\"99999999999999999999\"", u64::MAX),
            ("99999999999999999999", u64::MAX),
            ("5.0", 5),
            ("-0.0", 0),
            ("1e3", 1_000),
            ("1e300", u64::MAX),
        ] {
            assert_eq!(read(json), Some(WholeNumber(number)), "{json}");
        }
        for json in ["-1", "\"-1\"", "1.5", "\"1.5\"", "\"\"", "\"+1\"", "\"１\"", "true", "null", "-1e300"]
        {
            assert_eq!(read::<WholeNumber>(json), None, "{json}");
        }
    }
}
