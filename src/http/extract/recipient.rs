//! Extractors for the contact, group or chat that a request names.

use axum::extract::{FromRequestParts, Path};
use http::request::Parts;
use serde::Deserialize;
use utoipa::ToSchema;

use super::account::{AccountSelector, StoredAccount};
use super::params::{self, Text};
use crate::domain::{Account, ChatName, ContactId, GroupId, GroupIdError, PeerId};
use crate::http::AppState;
use crate::http::error::{ApiError, ErrorCode};
use crate::store::Reachable;

/// The number or public id in the path; anything else is a path that does not exist.
pub struct PathContact(pub ContactId);

/// The account whose stored messages are read, and the chat in the path: a contact's, or that of a group which the account
/// is in or was in.
pub struct StoredChat {
    pub account: Account,
    pub chat: ChatName,
}

/// The group that the path or `group_id` names; 404 for what is not the id of a group.
pub struct NamedGroup(pub GroupId);

/// `contact` or `group_id`; with both, the contact.
#[derive(Deserialize, ToSchema)]
pub struct ChatSelector {
    /// A number.
    #[schema(value_type = Option<String>)]
    contact: Option<ContactId>,
    /// A group, when there is no `contact`.
    #[schema(value_type = Option<String>)]
    group_id: Option<Text<{ usize::MAX }>>,
}

/// The caller's registered account and the person in the path, whose profile it may see: an existing contact, or a person
/// who wrote first.
pub struct ShownContact {
    pub account: Account,
    pub peer: PeerId,
}

/// The caller's registered account, and the named contact or group, to which it may write.
pub struct Recipient {
    pub account: Account,
    pub chat: ChatName,
    pub reachable: Reachable,
}

/// A [`Recipient`] that may be a few seconds old, for a write that checks it again.
pub struct CachedRecipient {
    selector: AccountSelector,
    pub recipient: Recipient,
}

impl<S: Send + Sync> FromRequestParts<S> for PathContact {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let segment = path_segment(parts, state).await?;
        segment.parse().map(Self).map_err(|_| ApiError::no_such_path())
    }
}

impl FromRequestParts<AppState> for StoredChat {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let StoredAccount(account) = StoredAccount::from_request_parts(parts, state).await?;
        let segment = path_segment(parts, state).await?;
        let chat = segment.parse().map_err(|_| ApiError::no_such_path())?;
        readable(state, &account, &chat).await?;
        Ok(Self { account, chat })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for NamedGroup {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        #[derive(Deserialize)]
        struct GroupParameter {
            group_id: Text<{ usize::MAX }>,
        }
        let GroupParameter { group_id } = params::raw(parts)?.parse()?;
        group_id.parse().map(Self).map_err(|GroupIdError| ApiError::no_such_group())
    }
}

impl ChatSelector {
    /// The contact, or without one the group.
    ///
    /// # Errors
    /// 404 for what is not the id of a group, 400 when neither is given.
    pub fn chat(self) -> Result<ChatName, ApiError> {
        match (self.contact, self.group_id) {
            (Some(contact), _) => Ok(ChatName::Contact(contact)),
            (None, Some(group)) => {
                group.parse().map(ChatName::Group).map_err(|GroupIdError| ApiError::no_such_group())
            }
            (None, None) => {
                Err(ApiError::bad_request(ErrorCode::MissingParameter, "contact or group_id is missing"))
            }
        }
    }
}

impl FromRequestParts<AppState> for Recipient {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let selector = AccountSelector::read(parts, state).await?;
        let chat = params::raw(parts)?.parse::<ChatSelector>().and_then(ChatSelector::chat);
        // An error of the account comes first, as on every endpoint.
        let found = selector.addressed(&state.store, chat.as_ref().ok()).await?;
        Self::allowed(found, chat?)
    }
}

impl Recipient {
    fn allowed((account, reachable): (Account, Option<Reachable>), chat: ChatName) -> Result<Self, ApiError> {
        match reachable {
            Some(reachable) if reachable.allowed => Ok(Self { account, chat, reachable }),
            Some(_) | None if chat.is_group() => Err(ApiError::no_such_group()),
            Some(_) | None => Err(ApiError::not_a_contact()),
        }
    }
}

impl FromRequestParts<AppState> for CachedRecipient {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let selector = AccountSelector::read(parts, state).await?;
        let recipient = match params::raw(parts)?.parse::<ChatSelector>().and_then(ChatSelector::chat) {
            Ok(chat) => Recipient::allowed(selector.addressed_lately(&state.store, &chat).await?, chat)?,
            Err(error) => {
                selector.addressed(&state.store, None).await?;
                return Err(error);
            }
        };
        Ok(Self { selector, recipient })
    }
}

impl CachedRecipient {
    /// Whether the caller named the account that writes.
    #[must_use]
    pub fn is_of_named_account(&self) -> bool {
        self.selector.is_named()
    }

    /// The recipient as it is now.
    ///
    /// # Errors
    /// When the account may no longer write there.
    pub async fn reload(&self, state: &AppState) -> Result<Recipient, ApiError> {
        let chat = self.recipient.chat.clone();
        Recipient::allowed(self.selector.addressed(&state.store, Some(&chat)).await?, chat)
    }
}

impl FromRequestParts<AppState> for ShownContact {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let PathContact(contact) = PathContact::from_request_parts(parts, state).await?;
        let chat = ChatName::Contact(contact);
        let (account, reachable) =
            AccountSelector::read(parts, state).await?.addressed(&state.store, Some(&chat)).await?;
        match reachable {
            Some(reachable) if reachable.allowed => Ok(Self { account, peer: reachable.peer }),
            Some(_) | None => Err(ApiError::not_a_contact()),
        }
    }
}

/// Accepts every contact: a number that never wrote has an empty list of messages.
///
/// # Errors
/// 404 for a group that the account never was in.
pub async fn readable(state: &AppState, account: &Account, chat: &ChatName) -> Result<(), ApiError> {
    match chat {
        ChatName::Group(group) if !state.store.has_group_chat(account, group).await? => {
            Err(ApiError::no_such_group())
        }
        ChatName::Group(_) | ChatName::Contact(_) => Ok(()),
    }
}

async fn path_segment<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<String, ApiError> {
    let path = Path::<String>::from_request_parts(parts, state).await;
    path.map(|Path(segment)| segment).map_err(|_| ApiError::no_such_path())
}
