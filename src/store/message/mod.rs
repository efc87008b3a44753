//! Messages: accepting one from the API, and the chats they are in.

pub mod blobs;
pub mod chats;
pub mod content;
pub mod earlier;
pub mod early;
pub mod history;
pub mod inbound;
pub mod outbox;
pub mod pending_media;
pub mod quota;
pub mod read;
pub mod retention;

use std::time::Duration;

use super::{ClaimedResponse, Store};
use crate::db::DbError;
use crate::domain::{Account, ChatName, Content, PeerId};
use crate::lifecycle::Deadline;
use crate::store::message::quota::MediaReservation;
use crate::store::writer::SendRequest;

/// Messages of one account that may wait for the network; a send beyond it is refused until some are taken.
pub const OUTBOX_LIMIT: i64 = 10_000;

/// A message of the API.
#[derive(Clone, Copy, Debug)]
pub struct NewMessage<'a> {
    /// The id on the network, of [`secrets::growing_id`].
    pub id: &'a str,
    /// Whether the caller named the account; otherwise it must be the user's oldest one.
    pub named: bool,
    /// The recipient.
    pub peer: PeerId,
    /// The number, public id or group id of the recipient.
    pub chat: &'a ChatName,
    pub content: &'a Content,
    /// How long it may wait for the network.
    pub time_to_live: Duration,
    /// For its file, if there is a quota.
    pub reservation: Option<MediaReservation>,
}

/// The outcome of a send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// Stored and queued under this id.
    Queued(String),
    /// The account's outbox is full.
    OutboxFull,
    /// The account may not, or no longer, write there; [`Store::account_with_recipient`] finds out why.
    NotAllowed,
}

impl Store {
    /// Accepts a message: when this returns `Queued`, it is committed and will be sent under its id. The response of a
    /// request with a key is committed with it. The account's permission to write there is checked again, so a cached
    /// result of [`Store::recent_account_with_recipient`] is enough.
    ///
    /// # Errors
    /// [`DbError::Fenced`] when the request's claim or its reservation is over; then nothing is queued.
    pub async fn accept_send(
        &self,
        account: &Account,
        message: &NewMessage<'_>,
        keyed: Option<&ClaimedResponse>,
    ) -> Result<Accepted, DbError> {
        let send = SendRequest {
            account: account.id,
            counter: account.counter,
            named: message.named,
            id: message.id.to_owned(),
            peer: message.peer,
            public_id: message.chat.as_str().to_owned(),
            content: message.content.clone(),
            time_to_live: message.time_to_live,
            reservation: message.reservation,
            keyed: keyed.cloned(),
            deadline: Deadline::current(),
        };
        self.writer.send(send).await
    }
}
