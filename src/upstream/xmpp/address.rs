//! Addresses of people and rooms (RFC 7622), as texts.
//!
//! They are compared as the servers write them, which is in normal form. A parser of its own would refuse what other
//! servers allow.

use crate::domain::PhoneNumber;
use crate::upstream::Address;

/// What distinguishes a room from a person above this adapter.
const ROOM: &str = "?join";

/// The address without its resource.
pub(super) fn bare(address: &str) -> &str {
    address.split_once('/').map_or(address, |(bare, _)| bare)
}

/// The resource of an address; in a room, the nickname.
pub(super) fn resource(address: &str) -> Option<&str> {
    address.split_once('/').map(|(_, resource)| resource)
}

/// The domain of an address.
pub(super) fn domain(address: &str) -> &str {
    let bare = bare(address);
    bare.split_once('@').map_or(bare, |(_, domain)| domain)
}

/// The person `number@domain`.
pub(super) fn of_number(number: &PhoneNumber, domain: &str) -> Address {
    Address(format!("{number}@{domain}"))
}

/// The number of a person on our own domain.
pub(super) fn number(address: &str, own_domain: &str) -> Option<PhoneNumber> {
    let (name, domain) = address.split_once('@')?;
    if domain == own_domain { PhoneNumber::from_stored(name) } else { None }
}

/// The group that is at a room's own address.
pub(super) fn of_room(room: &str) -> Address {
    Address(format!("{room}{ROOM}"))
}

/// The room's own address; `None` for a person.
pub(super) fn room(address: &Address) -> Option<&str> {
    address.0.strip_suffix(ROOM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_parts() {
        assert_eq!(bare("a@b/c/d"), "a@b");
        assert_eq!(resource("a@b/c/d"), Some("c/d"));
        assert_eq!(domain("a@b/c@d"), "b");
        assert_eq!(domain("b"), "b");
    }

    #[test]
    fn only_people_of_the_own_domain_have_numbers() {
        let number = |address| number(address, "windu.example").map(|number| number.to_string());
        assert_eq!(number("15550100001@windu.example").as_deref(), Some("15550100001"));
        for other in ["15550100001@other.example", "anna@windu.example", "windu.example", "1@windu.example"] {
            assert_eq!(number(other), None, "{other}");
        }
    }

    #[test]
    fn a_room_differs_from_a_person() {
        let garden = Address("garden@rooms.windu.example?join".to_owned());
        assert_eq!(room(&garden), Some("garden@rooms.windu.example"));
        assert_eq!(room(&Address("garden@rooms.windu.example".to_owned())), None);
    }
}
