//! Addresses of people and groups, and whose knowledge they are.

use serde::{Deserialize, Serialize};

use crate::domain::PhoneNumber;

/// What a provisional address begins with.
const PROVISIONAL: &str = "tel:";

/// The address of a person or group, in the network's own format. Opaque above the adapter.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Address(pub String);

/// Whose knowledge the people of a network are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum People {
    /// An address is the same person for all accounts, and everybody may know its number, which follows from it.
    Shared,
    /// The network gives numbers to some accounts only, or other addresses to each: what one account knows of a person must
    /// not show in the answers to another.
    PerAccount,
}

impl Address {
    /// The address of a number whose own address is not known yet: `tel:15550100002`.
    #[must_use]
    pub fn provisional(number: &PhoneNumber) -> Self {
        Self(format!("{PROVISIONAL}{number}"))
    }

    /// The number of a provisional address.
    #[must_use]
    pub fn provisional_number(&self) -> Option<PhoneNumber> {
        PhoneNumber::from_stored(self.0.strip_prefix(PROVISIONAL)?)
    }
}
