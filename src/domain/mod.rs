//! The concepts of this program as types, without I/O.

mod account;
mod aspect;
mod caller_network;
mod contact_id;
mod event;
mod group;
mod id;
mod live;
mod media;
mod message;
mod number;
mod profile;
mod time;
mod user;

pub use account::{Account, NeedsUser, SessionState, SessionStatus};
pub use aspect::Aspect;
pub use caller_network::CallerNetwork;
pub use contact_id::ContactId;
pub use event::Event;
pub use group::{ChatName, GroupChangeKind, GroupId, GroupIdError};
pub use id::{
    AccountId, ChatId, ClientId, CommandId, CounterId, Lease, MessageId, PeerId, ProcessId, UserId, WebhookId,
};
pub use live::{LiveKind, LiveNews};
pub use media::{BadHash, BlobHash, MediaKind, Reference, StoredMedia};
pub use message::{
    Card, Content, FailureReason, Location, MediaContent, MediaFile, MessageState, OtherContent, ReceiptKind,
    RemoteMedia, Typing, What,
};
pub use number::{NumberError, PhoneNumber};
pub use profile::{
    Audience, PeerPresence, Photo, PhotoReference, Privacy, PrivacyNames, ProfileNews, Visible,
};
pub use time::{TimeError, TimeParameter, Timestamp, UncutTimestamp};
pub use user::{NewPassword, UserError, UserName, normalised};
