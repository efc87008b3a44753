//! Phone numbers.

use std::fmt;
use std::str::FromStr;

use icu_properties::CodePointSetData;
use icu_properties::props::DefaultIgnorableCodePoint;
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// What stands before a country code where international calls are dialled with it.
const INTERNATIONAL_PREFIX: &str = "00";

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
    /// It begins with a zero, as a number without its country code does.
    #[error(
        "a phone number begins with its country code, which is never 0, such as 15551230000; a 00 before it is ignored"
    )]
    LeadingZero,
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

    /// A number that was stored as digits. Earlier versions of this program stored also such as begin with a zero.
    #[must_use]
    pub fn from_stored(digits: &str) -> Option<Self> {
        let fits = (5..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
        fits.then(|| Self(digits.to_owned()))
    }
}

impl FromStr for PhoneNumber {
    type Err = NumberError;

    /// Removes white space, invisible characters, `+ . - ( )`, and then the prefix of international calls; the rest must be
    /// 5 to 15 ASCII digits that do not begin with a zero.
    fn from_str(text: &str) -> Result<Self, NumberError> {
        let signs: String =
            text.chars().filter(|sign| !is_invisible(*sign) && !"+.-()".contains(*sign)).collect();
        if signs.chars().any(char::is_alphabetic) {
            return Err(NumberError::Letters);
        }
        if !signs.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(NumberError::Signs);
        }
        let digits = signs.strip_prefix(INTERNATIONAL_PREFIX).unwrap_or(&signs);
        if digits.starts_with('0') {
            return Err(NumberError::LeadingZero);
        }
        Self::from_stored(digits).ok_or(NumberError::Length)
    }
}

/// White space, marks of direction and the like, which come with a number that was copied.
pub(super) fn is_invisible(sign: char) -> bool {
    sign.is_whitespace()
        || sign.is_control()
        || CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(sign)
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
    fn invisible_characters_are_dropped() {
        for sign in [
            '\u{200e}', '\u{200f}', '\u{202a}', '\u{202c}', '\u{202d}', '\u{2066}', '\u{2069}', '\u{200b}',
            '\u{200d}', '\u{2060}', '\u{feff}', '\u{ad}', '\u{61c}', '\u{fe0f}', '\u{2009}', '\u{202f}',
            '\u{3000}', '\t', '\u{7f}',
        ] {
            let text = format!("{sign}+1{sign}5551230000{sign}");
            assert_eq!(text.parse::<PhoneNumber>().expect("a number").as_str(), "15551230000", "{sign:?}");
        }
        // Only a sign that can be seen makes another number.
        for sign in ['/', '#', '\u{2013}', '\u{301}', '\u{ff11}'] {
            assert_eq!(
                format!("1555{sign}1230000").parse::<PhoneNumber>(),
                Err(NumberError::Signs),
                "{sign:?}"
            );
        }
    }

    #[test]
    fn the_prefix_of_international_calls_is_dropped_and_another_zero_is_refused() {
        for text in ["0015551230000", "00 1 555 123 0000", "+0015551230000", "(00)15551230000"] {
            assert_eq!(text.parse::<PhoneNumber>().expect(text).as_str(), "15551230000");
        }
        for text in
            ["05551230000", "+05551230000", "0005551230000", "00005551230000", "000000", "0", "001", "00"]
        {
            let expected =
                if text == "00" || text == "001" { NumberError::Length } else { NumberError::LeadingZero };
            assert_eq!(text.parse::<PhoneNumber>(), Err(expected), "{text}");
        }
        assert!(PhoneNumber::from_stored("05551230000").is_some());
        for text in ["", "1234", "+15551230000", "1555123000a", "1234567890123456"] {
            assert_eq!(PhoneNumber::from_stored(text), None, "{text}");
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
                prop_assert_eq!(number.as_str(), digits.strip_prefix("00").unwrap_or(&digits));
                prop_assert!((5..=15).contains(&number.as_str().len()));
                prop_assert!(!number.as_str().starts_with('0'));
            }
        }

        #[test]
        fn signs_between_digits_change_nothing(
            digits in "[1-9][0-9]{4,14}",
            signs in proptest::collection::vec("[ +.()\\-\t\u{200e}\u{202a}]{0,3}", 16),
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
