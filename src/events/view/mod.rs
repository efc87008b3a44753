//! What is shown of messages, contacts, groups and photos: alike in the responses of the API and in events.

mod contact;
mod group;
mod message;
mod photo;
mod presence;

pub use contact::ContactInfo;
pub use group::GroupDetails;
pub use message::MessageInfo;
pub use photo::{PhotoSize, PhotoUrl};
pub use presence::PresenceInfo;
