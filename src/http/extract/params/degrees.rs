//! Geographical coordinates as parameters.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// Degrees from `-MAX` to `MAX`, as a JSON number or as text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Degrees<const MAX: i32>(pub f64);

impl<'de, const MAX: i32> Deserialize<'de> for Degrees<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DegreesVisitor<const MAX: i32>;
        impl<const MAX: i32> Visitor<'_> for DegreesVisitor<MAX> {
            type Value = Degrees<MAX>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "degrees from -{MAX} to {MAX}")
            }
            fn visit_f64<E: de::Error>(self, degrees: f64) -> Result<Degrees<MAX>, E> {
                let most = f64::from(MAX);
                if (-most..=most).contains(&degrees) {
                    return Ok(Degrees(degrees));
                }
                Err(E::custom(format_args!("degrees from -{MAX} to {MAX} are expected, such as 51.4778")))
            }
            // A number beyond 32 bits is outside every range.
            fn visit_u64<E: de::Error>(self, degrees: u64) -> Result<Degrees<MAX>, E> {
                self.visit_f64(u32::try_from(degrees).map_or(f64::INFINITY, f64::from))
            }
            fn visit_i64<E: de::Error>(self, degrees: i64) -> Result<Degrees<MAX>, E> {
                self.visit_f64(i32::try_from(degrees).map_or(f64::INFINITY, f64::from))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Degrees<MAX>, E> {
                self.visit_f64(text.trim().parse().unwrap_or(f64::NAN))
            }
        }
        deserializer.deserialize_any(DegreesVisitor::<MAX>)
    }
}

impl<const MAX: i32> PartialSchema for Degrees<MAX> {
    fn schema() -> RefOr<Schema> {
        let most = f64::from(MAX);
        ObjectBuilder::new().schema_type(Type::Number).minimum(Some(-most)).maximum(Some(most)).into()
    }
}

impl<const MAX: i32> ToSchema for Degrees<MAX> {
    fn name() -> Cow<'static, str> {
        format!("Degrees{MAX}").into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn degrees_are_numbers_or_text_within_their_range() {
        for (json, degrees) in [
            ("0", 0.0),
            ("-90", -90.0),
            ("90.0", 90.0),
            ("\" 51.4778 \"", 51.4778),
            ("\"-0.0014\"", -0.0014),
            ("\"1e1\"", 10.0),
        ] {
            assert_eq!(serde_json::from_str::<Degrees<90>>(json).ok(), Some(Degrees(degrees)), "{json}");
        }
        for json in [
            "91",
            "-90.0000001",
            "\"91\"",
            "\"NaN\"",
            "\"inf\"",
            "\"\"",
            "\"north\"",
            "\"51,5\"",
            "true",
            "[]",
            "18446744073709551615",
            "-9223372036854775808",
        ] {
            assert!(serde_json::from_str::<Degrees<90>>(json).is_err(), "{json}");
        }
    }
}
