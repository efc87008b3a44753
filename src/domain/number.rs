//! Phone numbers.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// A phone number: 5 to 15 digits (E.164 without the plus). Its `Debug` shows the last three only.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PhoneNumber(String);

/// Why a text is no phone number. The message is for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NumberError {
    /// The text has letters: with curl that is most often a forgotten `&` between two parameters.
    #[error(
        "a phone number holds digits only; this one has letters in it: is an & missing between two parameters?"
    )]
    Letters,
    /// The text has other characters than digits and the signs that people write between digits.
    #[error("a phone number holds digits only, such as 15551230000; spaces and + . - ( ) are ignored")]
    Signs,
    /// Too few or too many digits.
    #[error("a phone number has 5 to 15 digits with its country code, such as 15551230000")]
    Length,
}

impl PhoneNumber {
    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PhoneNumber {
    type Err = NumberError;

    /// Removes white space and `+ . - ( )`; the rest must be 5 to 15 ASCII digits.
    fn from_str(text: &str) -> Result<Self, NumberError> {
        let digits: String =
            text.chars().filter(|sign| !sign.is_whitespace() && !"+.-()".contains(*sign)).collect();
        if digits.chars().any(char::is_alphabetic) {
            return Err(NumberError::Letters);
        }
        if !digits.chars().all(|sign| sign.is_ascii_digit()) {
            return Err(NumberError::Signs);
        }
        if !(5..=15).contains(&digits.len()) {
            return Err(NumberError::Length);
        }
        Ok(Self(digits))
    }
}

impl fmt::Display for PhoneNumber {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for PhoneNumber {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "…{}", &self.0[self.0.len() - 3..])
    }
}

impl Serialize for PhoneNumber {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for PhoneNumber {
    /// From a string or a JSON integer.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PhoneNumberVisitor;
        impl Visitor<'_> for PhoneNumberVisitor {
            type Value = PhoneNumber;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a phone number")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<PhoneNumber, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<PhoneNumber, E> {
                self.visit_str(&number.to_string())
            }
            fn visit_i64<E: de::Error>(self, _: i64) -> Result<PhoneNumber, E> {
                Err(E::custom(NumberError::Signs))
            }
        }
        deserializer.deserialize_any(PhoneNumberVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{prop_assert, prop_assert_eq, proptest};

    #[test]
    fn signs_that_people_write_are_dropped() {
        for text in ["15551230000", "+1 (555) 123-0000", "1.555.123.0000", " 1555\u{a0}1230000 "] {
            assert_eq!(text.parse::<PhoneNumber>().expect(text).as_str(), "15551230000");
        }
    }

    #[test]
    fn a_text_that_is_no_number_is_refused_with_the_reason() {
        assert_eq!("15551230000message=hi".parse::<PhoneNumber>(), Err(NumberError::Letters));
        assert_eq!("1555#1230000".parse::<PhoneNumber>(), Err(NumberError::Signs));
        assert_eq!("١٢٣٤٥٦".parse::<PhoneNumber>(), Err(NumberError::Signs));
        assert_eq!("1234".parse::<PhoneNumber>(), Err(NumberError::Length));
        assert_eq!("1234567890123456".parse::<PhoneNumber>(), Err(NumberError::Length));
        assert_eq!("".parse::<PhoneNumber>(), Err(NumberError::Length));
    }

    #[test]
    fn debug_hides_the_number() {
        assert_eq!(format!("{:?}", "15551230000".parse::<PhoneNumber>().expect("a number")), "…000");
    }

    proptest! {
        #[test]
        fn any_text_is_a_number_or_refused(text in ".*") {
            if let Ok(number) = text.parse::<PhoneNumber>() {
                let digits: String = text.chars().filter(char::is_ascii_digit).collect();
                prop_assert_eq!(number.as_str(), digits);
                prop_assert!((5..=15).contains(&number.as_str().len()));
            }
        }

        #[test]
        fn signs_between_digits_change_nothing(
            digits in "[0-9]{5,15}",
            signs in proptest::collection::vec("[ +.()\\-\t]{0,3}", 16),
        ) {
            let mut written = String::new();
            for (digit, sign) in digits.chars().zip(&signs) {
                written.push_str(sign);
                written.push(digit);
            }
            written.push_str(&signs[15]);
            let number = written.parse::<PhoneNumber>();
            prop_assert_eq!(number.as_ref().map(PhoneNumber::as_str), Ok(digits.as_str()));
            // A normalised number stays the same.
            prop_assert_eq!(number.clone().and_then(|number| number.as_str().parse()), number);
        }
    }
}
