//! User names and new passwords, validated.

use std::fmt;

/// The longest user name, in characters.
const LONGEST_NAME: usize = 150;
const SHORTEST_PASSWORD: usize = 8;
const LONGEST_PASSWORD: usize = 1_000;

/// A user name: 1 to 150 characters, no control characters, no spaces at its ends. Case-sensitive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserName(String);

/// A new password: 8 to 1,000 characters. Its `Debug` hides it.
#[derive(Clone)]
pub struct NewPassword(String);

/// Why a name or a password was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    #[error("a user name has 1 to 150 characters, no control characters, and no spaces at its ends")]
    BadName,
    #[error("a password has 8 to 1,000 characters")]
    BadPassword,
}

impl UserName {
    pub fn parse(text: &str) -> Result<Self, UserError> {
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
    /// No character is changed or cut.
    pub fn parse(text: String) -> Result<Self, UserError> {
        if (SHORTEST_PASSWORD..=LONGEST_PASSWORD).contains(&text.chars().count()) {
            Ok(Self(text))
        } else {
            Err(UserError::BadPassword)
        }
    }

    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
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
    fn passwords_are_counted_in_characters() {
        for (length, fits) in [(7, false), (8, true), (1_000, true), (1_001, false)] {
            assert_eq!(NewPassword::parse("é".repeat(length)).is_ok(), fits, "{length}");
        }
        let password = NewPassword::parse("correct horse".to_owned()).expect("long enough");
        assert_eq!(format!("{password:?}"), "NewPassword(..)");
    }
}
