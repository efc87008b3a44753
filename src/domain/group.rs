//! Groups: their ids, names of chats, and kinds of changes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{ContactId, NumberError};

/// A group's id in the API: the creator's number, a dash, ten digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GroupId(String);

/// A text that is no group's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a group's id looks like 15551230000-1466000000")]
pub struct GroupIdError;

/// The other side of a chat, as callers name it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ChatName {
    Contact(ContactId),
    Group(GroupId),
}

/// A change of a group, in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupChangeKind {
    Created,
    Subject,
    /// Another photo, or none.
    Photo,
    Added,
    Removed,
    /// A member became an admin.
    Promoted,
    /// A member is no longer an admin.
    Demoted,
    Left,
}

impl GroupId {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for GroupId {
    type Err = GroupIdError;

    fn from_str(text: &str) -> Result<Self, GroupIdError> {
        let (creator, number) = text.split_once('-').ok_or(GroupIdError)?;
        let fits = (5..=15).contains(&creator.len())
            && number.len() == 10
            && creator.bytes().chain(number.bytes()).all(|byte| byte.is_ascii_digit());
        if fits { Ok(Self(text.to_owned())) } else { Err(GroupIdError) }
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl ChatName {
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Contact(contact) => contact.as_str(),
            Self::Group(group) => group.as_str(),
        }
    }

    #[must_use]
    pub fn is_group(&self) -> bool {
        matches!(self, Self::Group(_))
    }
}

impl FromStr for ChatName {
    type Err = NumberError;

    /// A group's id is tried first: without its dash it may be a number.
    fn from_str(text: &str) -> Result<Self, NumberError> {
        match text.parse() {
            Ok(group) => Ok(Self::Group(group)),
            Err(GroupIdError) => text.parse().map(Self::Contact),
        }
    }
}

impl GroupChangeKind {
    /// The name in events.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Subject => "subject",
            Self::Photo => "photo",
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Promoted => "promoted",
            Self::Demoted => "demoted",
            Self::Left => "left",
        }
    }

    /// Whether members leave the group by it.
    #[must_use]
    pub fn removes_members(self) -> bool {
        matches!(self, Self::Removed | Self::Left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_distinguished_from_a_number() {
        for id in ["15551230000-1466000000", "15551-1466000000", "155512300001234-0000000000"] {
            assert!(id.parse::<ChatName>().expect(id).is_group(), "{id}");
        }
        for number in ["15551230000", "1555-123-0000", "+1 (555) 123-0000", "x100000"] {
            assert!(!number.parse::<ChatName>().expect(number).is_group(), "{number}");
        }
        for word in [
            "1555-1466000000",
            "15551230000-14660000001",
            "15551230000-146600000",
            "1555123000a-1466000000",
            "",
        ] {
            assert_eq!(word.parse::<GroupId>(), Err(GroupIdError), "{word}");
        }
    }
}
