//! A contact, in the list of contacts and in events.

use serde::Serialize;
use utoipa::ToSchema;

use crate::store::Contact;

#[derive(Serialize, ToSchema)]
pub struct ContactInfo {
    /// The number, or the public id of a contact without a number.
    contact_id: String,
    first_name: String,
    last_name: String,
    /// Whether the number exists on the network, by the last sync.
    exists: bool,
}

impl From<Contact> for ContactInfo {
    fn from(contact: Contact) -> Self {
        let Contact { public_id, first_name, last_name, exists } = contact;
        Self { contact_id: public_id, first_name, last_name, exists }
    }
}
