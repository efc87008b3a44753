//! Acceptance of a message of any type.

use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::db::DbError;
use crate::domain::{Account, Content, MediaFile};
use crate::http::AppState;
use crate::http::error::{ApiError, ErrorCode};
use crate::http::extract::IdempotencyClaim;
use crate::http::extract::recipient::{CachedRecipient, ChatSelector, Recipient};
use crate::http::json::Json;
use crate::http::rate_limit::RateHeaders;
use crate::store::{Accepted, MediaReservation, NewMessage};
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
/// 501 for a kind, 400 for a text, and 413 for a file, that the network does not take; 400 when the time for a reply is over; 400 or 404 when the account may no longer write there, 429 when it sends too much, 503 when its outbox is full.
pub async fn send<T: Serialize>(
    state: &AppState,
    to: &CachedRecipient,
    claim: &IdempotencyClaim,
    content: Content,
    answer: impl Fn(&Account, String) -> T,
) -> SendAnswer<T> {
    send_reserved(state, to, claim, content, None, answer).await
}

/// [`send`] with a file for which bytes are reserved.
pub async fn send_reserved<T: Serialize>(
    state: &AppState,
    to: &CachedRecipient,
    claim: &IdempotencyClaim,
    content: Content,
    reservation: Option<MediaReservation>,
    answer: impl Fn(&Account, String) -> T,
) -> SendAnswer<T> {
    check_limits(state, &to.recipient, &content).await?;
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
            reservation,
        };
        let accepted = match state.store.accept_send(account, &message, answered.as_ref()).await {
            // Without a key it is the reservation that is over: this process has slept for minutes.
            Err(DbError::Fenced) if answered.is_none() => return Err(ApiError::deadline_exceeded()),
            accepted => accepted?,
        };
        match accepted {
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

/// Refuses a kind of message that the network does not take.
///
/// # Errors
/// 501.
pub fn check_kind(state: &AppState, account: &Account, letter: &str) -> Result<(), ApiError> {
    match state.sessions.connector(&account.network) {
        Some(connector) if !connector.capabilities().kinds.contains(&letter) => {
            Err(ApiError::unsupported(&format!("send messages of the type {letter}")))
        }
        // An account whose network is not running here is answered by another check.
        Some(_) | None => Ok(()),
    }
}

/// What the network does not take is refused before it is queued.
async fn check_limits(state: &AppState, recipient: &Recipient, content: &Content) -> Result<(), ApiError> {
    let account = &recipient.account;
    check_kind(state, account, content.letter())?;
    let Some(connector) = state.sessions.connector(&account.network) else { return Ok(()) };
    let limits = connector.capabilities();
    if let (Some(most), Some(text)) = (limits.text_bytes, content.text()) {
        let bytes = connector.text_bytes(text);
        if bytes > most {
            return Err(ApiError::bad_request(
                ErrorCode::InvalidParameter,
                format!("the text has {bytes} bytes on the network {}, which takes {most}", account.network),
            ));
        }
    }
    if let (Some(most), Some(MediaFile::Stored(file))) = (limits.file_bytes, content.file())
        && file.size > most
    {
        return Err(ApiError::too_large("file", most));
    }
    match limits.reply_seconds {
        Some(seconds) if !recipient.chat.is_group() => check_reply(state, recipient, seconds).await,
        Some(_) | None => Ok(()),
    }
}

async fn check_reply(state: &AppState, recipient: &Recipient, seconds: u64) -> Result<(), ApiError> {
    let heard = state.store.last_heard(&recipient.account, recipient.reachable.peer).await?;
    let age = heard.map(|heard| clock::now() - heard);
    if age.is_some_and(|age| age.num_seconds() < i64::try_from(seconds).unwrap_or(i64::MAX)) {
        return Ok(());
    }
    Err(ApiError::bad_request(
        ErrorCode::WindowClosed,
        format!(
            "the network {} lets an account write for {seconds} seconds after the contact's last message",
            recipient.account.network
        ),
    ))
}
