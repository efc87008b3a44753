//! Whom a row is about: the contact in the path, or the contact or group in the parameters.

use axum::extract::{FromRequestParts, Path};
use http::request::Parts;
use serde::Deserialize;
use utoipa::ToSchema;

use super::params::{self, Text};
use crate::domain::{Account, ChatName, ContactId, GroupId, GroupIdError, PeerId};
use crate::http::AppState;
use crate::http::error::{ApiError, Code};
use crate::http::extract::account::{AccountSelector, StoredAccount};
use crate::store::Reachable;

/// The number or public id in the path; a word that is neither is a path that does not exist.
pub struct PathContact(pub ContactId);

/// The account whose stored messages are read, and the chat in the path: a contact's, or that of a group which the account
/// is in or was in.
pub struct StoredChat {
    /// AccountSelector.
    pub account: Account,
    /// With whom.
    pub chat: ChatName,
}

/// The group that the path or `group_id` names; what is no group's id names none.
pub struct NamedGroup(pub GroupId);

/// `contact` or `group_id`; with both, the contact.
#[derive(Deserialize, ToSchema)]
pub struct Target {
    /// A number.
    #[schema(value_type = Option<String>)]
    contact: Option<ContactId>,
    /// A group, when no contact is given. Whatever is no group's id is one of no group.
    #[schema(value_type = Option<String>)]
    group_id: Option<Text<{ usize::MAX }>>,
}

/// The caller's registered account and the person in the path, of whom it may see what they show: a contact that exists
/// or somebody who wrote first.
pub struct ShownContact {
    /// Who looks.
    pub account: Account,
    /// At whom.
    pub peer: PeerId,
}

/// The caller's registered account, and the contact or the group that is named, to which it may write.
pub struct Addressed {
    /// Who writes.
    pub account: Account,
    /// To whom.
    pub chat: ChatName,
    /// Where that is.
    pub reachable: Reachable,
}

/// [`Addressed`] as of a few seconds ago at most, for what is looked at again when it is written.
pub struct Receiver {
    whose: AccountSelector,
    /// Who writes, and to whom.
    pub addressed: Addressed,
}

impl<S: Send + Sync> FromRequestParts<S> for PathContact {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let word = path_word(parts, state).await?;
        word.parse().map(Self).map_err(|_| ApiError::no_such_path())
    }
}

impl FromRequestParts<AppState> for StoredChat {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let StoredAccount(account) = StoredAccount::from_request_parts(parts, state).await?;
        let word = path_word(parts, state).await?;
        let chat = word.parse().map_err(|_| ApiError::no_such_path())?;
        readable(state, &account, &chat).await?;
        Ok(Self { account, chat })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for NamedGroup {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        #[derive(Deserialize)]
        struct Named {
            group_id: Text<{ usize::MAX }>,
        }
        let Named { group_id } = params::raw(parts)?.parse()?;
        group_id.parse().map(Self).map_err(|GroupIdError| ApiError::no_such_group())
    }
}

impl Target {
    /// The contact, or without one the group.
    ///
    /// # Errors
    /// 404 for what is no group's id, 400 when neither is given.
    pub fn chat(self) -> Result<ChatName, ApiError> {
        match (self.contact, self.group_id) {
            (Some(contact), _) => Ok(ChatName::Contact(contact)),
            (None, Some(group)) => {
                group.parse().map(ChatName::Group).map_err(|GroupIdError| ApiError::no_such_group())
            }
            (None, None) => {
                Err(ApiError::bad_request(Code::MissingParameter, "contact or group_id is missing"))
            }
        }
    }
}

impl FromRequestParts<AppState> for Addressed {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let whose = AccountSelector::read(parts, state).await?;
        let chat = params::raw(parts)?.parse::<Target>().and_then(Target::chat);
        // The account's faults are told first, as on every row.
        let found = whose.addressed(&state.store, chat.as_ref().ok()).await?;
        Self::allowed(found, chat?)
    }
}

impl Addressed {
    fn allowed((account, reachable): (Account, Option<Reachable>), chat: ChatName) -> Result<Self, ApiError> {
        match reachable {
            Some(reachable) if reachable.allowed => Ok(Self { account, chat, reachable }),
            Some(_) | None if chat.is_group() => Err(ApiError::no_such_group()),
            Some(_) | None => Err(ApiError::not_a_contact()),
        }
    }
}

impl FromRequestParts<AppState> for Receiver {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let whose = AccountSelector::read(parts, state).await?;
        let addressed = match params::raw(parts)?.parse::<Target>().and_then(Target::chat) {
            Ok(chat) => Addressed::allowed(whose.addressed_lately(&state.store, &chat).await?, chat)?,
            Err(error) => {
                whose.addressed(&state.store, None).await?;
                return Err(error);
            }
        };
        Ok(Self { whose, addressed })
    }
}

impl Receiver {
    /// Whether the caller named the account that writes.
    pub fn is_of_named_account(&self) -> bool {
        self.whose.is_named()
    }

    /// The same as it is now.
    ///
    /// # Errors
    /// Why the account may not write there now.
    pub async fn look_again(&self, state: &AppState) -> Result<Addressed, ApiError> {
        let chat = self.addressed.chat.clone();
        Addressed::allowed(self.whose.addressed(&state.store, Some(&chat)).await?, chat)
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

/// Nothing for a contact: of a number that never wrote there are no messages.
///
/// # Errors
/// 404 for a group that the account never was in.
pub(in crate::http) async fn readable(
    state: &AppState,
    account: &Account,
    chat: &ChatName,
) -> Result<(), ApiError> {
    match chat {
        ChatName::Group(group) if !state.store.has_group_chat(account, group).await? => {
            Err(ApiError::no_such_group())
        }
        ChatName::Group(_) | ChatName::Contact(_) => Ok(()),
    }
}

async fn path_word<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<String, ApiError> {
    let path = Path::<String>::from_request_parts(parts, state).await;
    path.map(|Path(word)| word).map_err(|_| ApiError::no_such_path())
}
