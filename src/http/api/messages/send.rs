//! Acceptance of a message of any type.

use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::{Account, Content};
use crate::http::AppState;
use crate::http::error::{ApiError, ErrorCode};
use crate::http::extract::IdempotencyClaim;
use crate::http::extract::recipient::{CachedRecipient, ChatSelector, Recipient};
use crate::http::json::Json;
use crate::http::rate_limit::RateHeaders;
use crate::store::{Accepted, NewMessage};
use crate::{clock, secrets};

/// How often a send is attempted while the account may write there whenever that is read, but not when it is written.
const ATTEMPTS: usize = 3;

/// A message's recipient beside its content; for the description only.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes two extractors as one body")]
pub struct SendTo<T> {
    #[schema(inline)]
    #[serde(flatten)]
    recipient: ChatSelector,
    #[schema(inline)]
    #[serde(flatten)]
    body: T,
}

#[derive(Serialize, ToSchema)]
pub struct Sent {
    /// The message's id, which its receipts name.
    message_id: String,
    /// The same as `message_id`.
    id: String,
}

impl Sent {
    pub fn new(_: &Account, id: String) -> Self {
        Self { message_id: id.clone(), id }
    }
}

/// The answer, with the headers that say how much more the account may send.
pub type SendAnswer<T> = Result<(RateHeaders, Json<T>), ApiError>;

/// Accepts a message under a new id. The answer, made by `answer` from the sending account and the id, is committed with the
/// message.
///
/// # Errors
/// 400 or 404 when the account may no longer write there, 429 when it sends too much, 503 when its outbox is full.
pub async fn send<T: Serialize>(
    state: &AppState,
    to: &CachedRecipient,
    claim: &IdempotencyClaim,
    content: Content,
    answer: impl Fn(&Account, String) -> T,
) -> SendAnswer<T> {
    let left = state.limits.sends.count(&to.recipient.account.id)?;
    let id = secrets::growing_id(clock::now());
    let mut reloaded = None;
    for _ in 0..ATTEMPTS {
        let Recipient { account, chat, reachable } = reloaded.as_ref().unwrap_or(&to.recipient);
        let sent = answer(account, id.clone());
        let answered = claim.answered(StatusCode::OK, &sent)?;
        let message = NewMessage {
            named: to.is_of_named_account(),
            id: &id,
            peer: reachable.peer,
            chat,
            content: &content,
            time_to_live: state.send_ttl,
        };
        match state.store.accept_send(account, &message, answered.as_ref()).await? {
            Accepted::Queued(_) => return Ok((left, Json(sent))),
            Accepted::OutboxFull => {
                return Err(ApiError::unavailable(
                    ErrorCode::OutboxFull,
                    "too many messages of this account are waiting for the network; try again later",
                    30,
                ));
            }
            Accepted::NotAllowed => reloaded = Some(to.reload(state).await?),
        }
    }
    Err(ApiError::unavailable(ErrorCode::Changing, "the account or its contacts are changing; try again", 1))
}
