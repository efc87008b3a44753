//! The list of chats.

use chrono::{DateTime, Utc};

use super::history::{ListError, Page};
use crate::db::DbError;
use crate::domain::{Account, ChatId, MessageState, Photo, Visible};
use crate::store::contact::photo::{photo_of, seen_photo};
use crate::store::{SeenPhoto, Store};

/// A chat in the list of chats.
#[derive(Clone, Debug)]
pub struct ChatSummary {
    /// The number or public id of the other side, or the group's id.
    pub id: String,
    pub is_group: bool,
    /// The contact's names, else the nickname, else the id; for a group the last subject that the account has seen.
    pub title: String,
    /// The beginning of the last message's text.
    pub snippet: Option<String>,
    /// The letter of the last message's kind; empty in a group without messages.
    pub kind: String,
    /// The time at which the last message was stored; in a group without messages, at which the account came into it.
    pub time: DateTime<Utc>,
    /// Received messages that were not read.
    pub unread: i32,
    /// `None`: a group without messages.
    pub last: Option<LastMessage>,
    pub photo: ChatPhoto,
}

/// The last message of a chat.
#[derive(Clone, Debug)]
pub struct LastMessage {
    /// Inbound, not outbound.
    pub received: bool,
    pub state: MessageState,
    /// All recipients have it.
    pub is_delivered: bool,
    /// All recipients, or the account, have read it.
    pub is_read: bool,
    /// The author of an inbound message in a group, by number or public id.
    pub participant: Option<String>,
}

/// The photo of the other side of a chat.
#[derive(Clone, Copy, Debug)]
pub enum ChatPhoto {
    OfPerson(Visible<Option<SeenPhoto>>),
    /// With the account's chat with the group, by which its files are shown. `None`: it has none, or the account has left.
    OfGroup(Option<(ChatId, Photo)>),
}

impl Store {
    /// The chats whose last message was stored later than `page.after`, newest first, with the groups that the account is in
    /// at the time when it came into them. chats.sql reads only what the page needs.
    pub async fn chats(&self, account: &Account, page: Page) -> Result<Vec<ChatSummary>, ListError> {
        let (limit, offset) = page.bounds();
        let rows = sqlx::query_file!("src/store/message/chats.sql", account.id.0, page.after, limit, offset)
            .fetch_all(self.db.pool())
            .await
            .map_err(DbError::from)?;
        page.checked(rows)?
            .into_iter()
            .map(|row| {
                let photo = if row.is_group {
                    let photo = photo_of(row.photo, row.preview)?;
                    ChatPhoto::OfGroup(photo.map(|photo| (ChatId(row.chat), photo)))
                } else if row.photo_hidden {
                    ChatPhoto::OfPerson(Visible::Hidden)
                } else {
                    let seen = seen_photo(row.photo_change, row.photo, row.preview)?;
                    ChatPhoto::OfPerson(Visible::Value(seen))
                };
                let last = row.state.map(|state| LastMessage {
                    received: row.received,
                    state: MessageState::from_name(state),
                    is_delivered: row.is_delivered,
                    is_read: row.is_read,
                    participant: row.participant,
                });
                Ok(ChatSummary {
                    id: row.id,
                    is_group: row.is_group,
                    title: row.title,
                    snippet: row.snippet,
                    kind: row.kind.unwrap_or_default(),
                    time: row.time,
                    unread: row.unread,
                    last,
                    photo,
                })
            })
            .collect()
    }
}
