//! Cursors: `EPOCH.USER.PLACE`, to clients an opaque text.

use std::fmt;
use std::str::FromStr;

use crate::domain::UserId;

/// A place in the sequence of a user; the events after it are new to the client that holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The word of the epoch in which it was given out.
    pub epoch: String,
    pub user: UserId,
    pub place: i64,
}

/// A text that is no cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no cursor")]
pub struct CursorError;

impl fmt::Display for Cursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { epoch, user, place } = self;
        write!(formatter, "{epoch}.{user}.{place}")
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let mut parts = text.split('.');
        let (Some(epoch), Some(user), Some(place), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(CursorError);
        };
        let is_word = !epoch.is_empty() && epoch.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !is_word || epoch.len() > 64 {
            return Err(CursorError);
        }
        Ok(Self { epoch: epoch.to_owned(), user: UserId(number(user)?), place: number(place)? })
    }
}

/// A number as it is written: `+5` and `05` are none.
fn number(text: &str) -> Result<i64, CursorError> {
    let number = text.parse::<i64>().map_err(|_| CursorError)?;
    if number >= 0 && number.to_string() == text { Ok(number) } else { Err(CursorError) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_its_text() {
        let cursor = Cursor { epoch: "0a1b2c3d4e5f".to_owned(), user: UserId(i64::MAX), place: i64::MAX };
        let text = cursor.to_string();
        assert_eq!(text.parse(), Ok(cursor));
        assert!(text.len() <= 128 && text.bytes().any(|byte| !byte.is_ascii_digit()), "{text}");
    }

    #[test]
    fn other_texts_are_no_cursors() {
        for text in
            ["", "5", "a.1", "a.1.2.3", ".1.2", "a.-1.2", "a.1.+2", "a.1.02", "a.1.", "a b.1.2", "ä.1.2"]
        {
            assert_eq!(text.parse::<Cursor>(), Err(CursorError), "{text}");
        }
    }
}
