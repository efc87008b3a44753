//! User names and new passwords, validated.

use std::fmt;

use unicode_normalization::UnicodeNormalization as _;
use zxcvbn::matching::patterns::MatchPattern;
use zxcvbn::zxcvbn;

/// The longest user name, in characters.
const LONGEST_NAME: usize = 150;
const SHORTEST_PASSWORD: usize = 8;
const LONGEST_PASSWORD: usize = 1_000;
/// The most common passwords are refused: so many guesses are free to everybody.
const COMMON_PASSWORDS: u64 = 3_000;

/// A user name: 1 to 150 characters, no control characters, no spaces at its ends. Case-sensitive; normalised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserName(String);

/// A new password: 8 to 1,000 characters, normalised. Its `Debug` hides it.
#[derive(Clone)]
pub struct NewPassword(String);

/// Why a name or a password was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    #[error("a user name has 1 to 150 characters, no control characters, and no spaces at its ends")]
    BadName,
    #[error("a password has 8 to 1,000 characters")]
    BadPassword,
    #[error("this password is among the most common ones, which are guessed first; choose another one")]
    CommonPassword,
}

/// A name or a password in Unicode's normal form C (RFC 8265, sections 3.4 and 4.2): one keyboard types an accent as part of
/// its letter, another one beside it.
#[must_use]
pub fn normalised(text: &str) -> String {
    text.nfc().collect()
}

impl UserName {
    pub fn parse(text: &str) -> Result<Self, UserError> {
        let text = &*normalised(text);
        let fits = (1..=LONGEST_NAME).contains(&text.chars().count());
        if fits && text.trim() == text && !text.chars().any(char::is_control) {
            Ok(Self(text.to_owned()))
        } else {
            Err(UserError::BadName)
        }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl NewPassword {
    /// Nothing is cut, and nothing changed but by the normalisation.
    pub fn parse(text: &str) -> Result<Self, UserError> {
        let text = normalised(text);
        if !(SHORTEST_PASSWORD..=LONGEST_PASSWORD).contains(&text.chars().count()) {
            Err(UserError::BadPassword)
        } else if is_common(&text) {
            Err(UserError::CommonPassword)
        } else {
            Ok(Self(text))
        }
    }

    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// Whether a password is among the most common ones, in any case and with the usual digits for letters.
fn is_common(password: &str) -> bool {
    // All of them are ASCII.
    if !password.is_ascii() {
        return false;
    }
    let estimate = zxcvbn(password, &[]);
    let listed = match estimate.sequence() {
        [only] => match &only.pattern {
            MatchPattern::Dictionary(word) => word.rank as u64 <= COMMON_PASSWORDS,
            _ => false,
        },
        _ => false,
    };
    listed || estimate.guesses() <= COMMON_PASSWORDS
}

impl fmt::Debug for NewPassword {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("NewPassword(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_no_hidden_characters() {
        for good in ["a", "admin", "Ana María", "ana@example.org", &"n".repeat(150)] {
            assert!(UserName::parse(good).is_ok(), "{good}");
        }
        for bad in ["", " ana", "ana ", "a\nb", "a\0b", &"n".repeat(151)] {
            assert_eq!(UserName::parse(bad), Err(UserError::BadName), "{bad}");
        }
    }

    #[test]
    fn accents_may_be_typed_in_either_way() {
        let (composed, decomposed) = ("Zo\u{e9} Ru\u{17e}i\u{10d}ka", "Zoe\u{301} Ruz\u{30c}ic\u{30c}ka");
        assert_eq!(UserName::parse(composed), UserName::parse(decomposed));
        let password = |text: &str| NewPassword::parse(text).expect("long enough").reveal().to_owned();
        assert_eq!(password(composed), password(decomposed));
        assert_eq!(password("ﬁve ５ 🐎 words"), "ﬁve ５ 🐎 words", "nothing else is changed");
    }

    #[test]
    fn common_passwords_are_refused() {
        for common in [
            "password",
            "Password1",
            "P@ssw0rd",
            "12345678",
            "11111111",
            "qwertyuiop",
            "iloveyou",
            "football1",
        ] {
            assert_eq!(NewPassword::parse(common).err(), Some(UserError::CommonPassword), "{common}");
        }
        for good in ["correct horse battery staple", "a password of some length", "kq7-Vd2x", "Tr0ub4dour&3"]
        {
            assert!(NewPassword::parse(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn passwords_are_counted_in_characters() {
        for (length, fits) in [(7, false), (8, true), (1_000, true), (1_001, false)] {
            let password: String =
                "čaj, ".chars().chain("ďábelský kůň ".chars().cycle()).take(length).collect();
            assert_eq!(NewPassword::parse(&password).is_ok(), fits, "{length}");
        }
        let password = NewPassword::parse("correct horse").expect("long enough");
        assert_eq!(format!("{password:?}"), "NewPassword(..)");
    }
}
