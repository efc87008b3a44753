//! Whom a row is about: the contact in the path, or the contact or group in the parameters.

use axum::extract::{FromRequestParts, Path};
use http::request::Parts;
use serde::Deserialize;
use utoipa::ToSchema;

use super::AppState;
use super::error::ApiError;
use super::owned;
use super::params::{self, Text};
use crate::domain::{Account, ContactId, PeerId};
use crate::store::Reachable;

/// The number or public id in the path; a word that is neither is a path that does not exist.
pub struct PathContact(pub ContactId);

/// The chat in the path: a contact's. A group's id is looked for among the account's groups.
pub struct PathChat(pub ContactId);

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

/// The caller's registered account and the contact that `contact` names, to which it may write.
pub struct Addressed {
    /// Who writes.
    pub account: Account,
    /// To whom.
    pub contact: ContactId,
    /// Where that is.
    pub reachable: Reachable,
}

impl<S: Send + Sync> FromRequestParts<S> for PathContact {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let word = path_word(parts, state).await?;
        word.parse().map(Self).map_err(|_| ApiError::not_found("not_found", "there is no such path"))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for PathChat {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let word = path_word(parts, state).await?;
        if is_group_id(&word) {
            return Err(no_such_group());
        }
        word.parse().map(Self).map_err(|_| ApiError::not_found("not_found", "there is no such path"))
    }
}

impl Target {
    /// The contact. Groups are none of the account's as long as no network has any.
    ///
    /// # Errors
    /// 404 for a group, 400 when neither is given.
    pub fn contact(self) -> Result<ContactId, ApiError> {
        match (self.contact, self.group_id) {
            (Some(contact), _) => Ok(contact),
            (None, Some(_)) => Err(no_such_group()),
            (None, None) => Err(ApiError::bad_request("missing_parameter", "contact or group_id is missing")),
        }
    }
}

impl FromRequestParts<AppState> for Addressed {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let target = params::raw(parts)?.parse::<Target>();
        let contact = target.and_then(Target::contact);
        // The account's faults are told first, as on every row.
        let (account, reachable) = owned::addressed(parts, state, contact.as_ref().ok()).await?;
        let contact = contact?;
        match reachable {
            Some(reachable) if reachable.allowed => Ok(Self { account, contact, reachable }),
            Some(_) | None => Err(not_a_contact()),
        }
    }
}

impl FromRequestParts<AppState> for ShownContact {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let PathContact(contact) = PathContact::from_request_parts(parts, state).await?;
        let (account, reachable) = owned::addressed(parts, state, Some(&contact)).await?;
        match reachable {
            Some(reachable) if reachable.allowed => Ok(Self { account, peer: reachable.peer }),
            Some(_) | None => Err(not_a_contact()),
        }
    }
}

fn not_a_contact() -> ApiError {
    ApiError::bad_request(
        "not_a_contact",
        "this number is neither a contact that exists nor one that wrote first; add it to the contacts",
    )
}

async fn path_word<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<String, ApiError> {
    let path = Path::<String>::from_request_parts(parts, state).await;
    path.map(|Path(word)| word).map_err(|_| ApiError::not_found("not_found", "there is no such path"))
}

/// The creator's number, a dash, ten digits.
fn is_group_id(word: &str) -> bool {
    word.split_once('-').is_some_and(|(creator, number)| {
        (5..=15).contains(&creator.len())
            && number.len() == 10
            && creator.bytes().chain(number.bytes()).all(|byte| byte.is_ascii_digit())
    })
}

fn no_such_group() -> ApiError {
    ApiError::not_found("group_not_found", "this account is in no such group")
}
