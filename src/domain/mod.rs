//! The words of this program as types. No I/O here.

mod id;
mod number;

pub use id::{AccountId, ChatId, ClientId, CommandId, CounterId, MessageId, PeerId, ProcessId, UserId};
pub use number::{NumberError, PhoneNumber};
