//! The aspects of an account's desired state.

/// Something that the user wants the network to show or to do. Each has one row per account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aspect {
    /// The people whom the account has blocked.
    Blocked,
    /// The people who are the account's contacts.
    Contacts,
    Nickname,
    Photo,
    /// Whether the account is shown as online.
    Presence,
    Privacy,
    /// The people whose profiles the account follows.
    Roster,
    StatusMessage,
}

impl Aspect {
    pub const ALL: [Self; 8] = [
        Self::Blocked,
        Self::Contacts,
        Self::Nickname,
        Self::Photo,
        Self::Presence,
        Self::Privacy,
        Self::Roster,
        Self::StatusMessage,
    ];

    /// The name in the database.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Blocked => "blocked",
            Self::Contacts => "contacts",
            Self::Nickname => "nickname",
            Self::Photo => "photo",
            Self::Presence => "presence",
            Self::Privacy => "privacy",
            Self::Roster => "roster",
            Self::StatusMessage => "status_message",
        }
    }

    /// `None` for a name that this version does not know; a newer one may have written it.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|aspect| aspect.name() == name)
    }

    /// Whether it decides who may see something of the account.
    #[must_use]
    pub fn restricts_visibility(self) -> bool {
        matches!(self, Self::Blocked | Self::Contacts | Self::Privacy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_aspect_has_its_name() {
        for aspect in Aspect::ALL {
            assert_eq!(Aspect::from_name(aspect.name()), Some(aspect));
        }
        assert_eq!(Aspect::from_name("status"), None);
    }
}
