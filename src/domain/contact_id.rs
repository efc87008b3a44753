//! Ids of people in the API: a number, or a public id for people without one.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::{NumberError, PhoneNumber};

/// A person on a network, as callers name them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ContactId {
    Number(PhoneNumber),
    /// `x` and digits.
    PublicId(String),
}

impl ContactId {
    /// The digits, or the public id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Number(number) => number.as_str(),
            Self::PublicId(id) => id,
        }
    }
}

impl FromStr for ContactId {
    type Err = NumberError;

    fn from_str(text: &str) -> Result<Self, NumberError> {
        let trimmed = text.trim();
        match trimmed.strip_prefix('x') {
            Some(digits)
                if (1..=19).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()) =>
            {
                Ok(Self::PublicId(trimmed.to_owned()))
            }
            _ => text.parse().map(Self::Number),
        }
    }
}

impl fmt::Display for ContactId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl Serialize for ContactId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for ContactId {
    /// From a string or a JSON integer.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ContactVisitor;
        impl Visitor<'_> for ContactVisitor {
            type Value = ContactId;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a phone number")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<ContactId, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<ContactId, E> {
                self.visit_str(&number.to_string())
            }
            fn visit_i64<E: de::Error>(self, _: i64) -> Result<ContactId, E> {
                Err(E::custom(NumberError::Signs))
            }
        }
        deserializer.deserialize_any(ContactVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_id_is_distinguished_from_a_number() {
        assert_eq!("x100000".parse(), Ok(ContactId::PublicId("x100000".to_owned())));
        let number = ContactId::Number("15551230000".parse().expect("a number"));
        assert_eq!("+1 555 123 0000".parse(), Ok(number));
        for text in ["x", "xx1", "x1a", "X1", "y1", "x12345678901234567890"] {
            assert_eq!(text.parse::<ContactId>(), Err(NumberError::Letters), "{text}");
        }
    }
}
