//! The words of this program as types. No I/O here.

mod id;
mod number;
mod time;
mod user;

pub use id::{AccountId, ChatId, ClientId, CommandId, CounterId, MessageId, PeerId, ProcessId, UserId};
pub use number::{NumberError, PhoneNumber};
pub use time::{TimeError, TimeParameter, Timestamp};
pub use user::{NewPassword, UserError, UserName};
