//! Whose files they are while they are processed.

use crate::domain::{AccountId, UserId};

/// The party that brings a file. All parties share the room for uploads and the threads that inspect files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Uploader {
    /// The caller of the API.
    User(UserId),
    /// The account whose session fetches the file from the network.
    Account(AccountId),
    /// The adapter of a network, which found the picture of a group.
    Network,
}
