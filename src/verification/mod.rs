//! Codes that prove a phone number: made, kept as a MAC only, sent by SMS or voice, checked, throttled.
//!
//! A code is counted and kept first (one short transaction), then sent, then settled. It can be entered from the
//! moment it is kept: a phone may be faster than the sender's answer. Settling voids it when the sender said
//! clearly that it sent nothing; when nobody knows, it stays.

mod code;
mod log;
mod sender;
mod throttle;
mod twilio;
mod webhook;

use std::sync::Arc;

use crate::config::CodeSettings;
use crate::db::DbError;
use crate::domain::{AccountId, PhoneNumber, UserId};
use crate::fetch::{Fetch, FetchError};
use crate::lifecycle::Lifecycle;
use crate::secrets::MasterKey;
use crate::store::{ClaimedResponse, CodeId, Guess, NewCode, Reservation, Store, Tx};

use code::Code;
use sender::{Delivery, SendError, Sender};

/// Digits in a code.
pub const CODE_LENGTH: usize = code::LENGTH;

const PURPOSE: &str = "verification-code";

/// How a code reaches the phone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// A text message.
    Sms,
    /// A call that reads it out.
    Voice,
}

/// A handle; clones share everything.
#[derive(Clone)]
pub struct Verification {
    inner: Arc<Inner>,
}

/// Somebody entered the right code. The caller uses it up (`Tx::consume_code`) in the transaction that does
/// what the code allows; until then the same code can be entered again.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct Proved(());

/// Why the sender that the settings choose cannot work.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// No HTTP client can be made on this machine.
    #[error("the sender of codes cannot use HTTP: are CA certificates installed (package ca-certificates)?")]
    Fetch(#[from] FetchError),
    /// The webhook's secret is no key.
    #[error("WINDU_CODE_WEBHOOK_SECRET is no key")]
    Secret(#[from] standardwebhooks::WebhookError),
    /// The base URL and the account SID make no URL.
    #[error("WINDU_TWILIO_BASE_URL and WINDU_TWILIO_ACCOUNT_SID make no URL")]
    Url(#[from] url::ParseError),
}

/// Why no code is on its way. Waits are in seconds, at least 1.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// This number had a code less than a minute ago.
    #[error("the number had a code a moment ago")]
    TooSoon {
        /// Until it may have the next.
        retry_after: u64,
    },
    /// As many codes as a user, a number or this server may have in a day.
    #[error("too many codes within a day")]
    DailyLimit {
        /// Until there is room for one more.
        retry_after: u64,
    },
    /// WINDU_CODE_PREFIXES does not have this number.
    #[error("this server sends no codes to such numbers")]
    NotAllowed,
    /// The user has no such account, or it was removed at the same moment.
    #[error("there is no such account")]
    NoAccount,
    /// The sender refused or failed; surely no code went out.
    #[error("the sender of codes failed")]
    SenderFailed {
        /// What the sender said about trying again.
        retry_after: Option<u64>,
    },
    /// The sender did not answer; a code may have gone out, and can be entered.
    #[error("the sender of codes did not answer")]
    SenderTimedOut,
    /// The database.
    #[error(transparent)]
    Store(#[from] DbError),
}

/// Why a code proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// Another code was sent.
    #[error("the code is wrong")]
    Wrong,
    /// Ten minutes are over.
    #[error("the code has expired")]
    Expired,
    /// No code was asked for, or it was used already.
    #[error("no code was asked for")]
    NoneAsked,
    /// Five guesses at this code, or twenty wrong ones by this user in a day.
    #[error("too many guesses")]
    TooMany {
        /// Seconds until a new code may be asked for, or until the day leaves room for a guess; at least 1.
        retry_after: u64,
    },
    /// The database.
    #[error(transparent)]
    Store(#[from] DbError),
}

struct Inner {
    store: Store,
    master_key: MasterKey,
    sender: Sender,
    prefixes: Vec<String>,
    per_day: u32,
    lifecycle: Lifecycle,
}

impl Method {
    /// `sms` or `voice`: what the HTTP answers and the webhook call it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sms => "sms",
            Self::Voice => "voice",
        }
    }
}

impl Verification {
    /// Prepares the sender that the settings choose.
    ///
    /// # Errors
    /// When it cannot work on this machine (no CA certificates, say).
    pub fn new(
        store: Store,
        master_key: MasterKey,
        settings: CodeSettings,
        fetch: Arc<Fetch>,
        lifecycle: Lifecycle,
    ) -> Result<Self, SetupError> {
        let sender = Sender::new(settings.sender, settings.timeout, fetch)?;
        let CodeSettings { prefixes, per_day, .. } = settings;
        Ok(Self { inner: Arc::new(Inner { store, master_key, sender, prefixes, per_day, lifecycle }) })
    }

    /// Where codes go, in words for the operator: `to this terminal`, `to /data/codes.log`, `through Twilio`.
    #[must_use]
    pub fn destination(&self) -> String {
        self.inner.sender.destination()
    }

    /// Sends a new code to the account's number. It is counted and kept in a transaction that the caller has begun and
    /// that is committed here, so what else is in it happens only if a code may be sent. `expected` is what a request
    /// with a key answers if the code goes out. A caller that is dropped while waiting stops nothing: the code goes out
    /// and is settled.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn request(
        &self,
        tx: Tx,
        user: UserId,
        account: AccountId,
        number: &PhoneNumber,
        method: Method,
        expected: Option<ClaimedResponse>,
    ) -> Result<(), RequestError> {
        let inner = Arc::clone(&self.inner);
        let number = number.clone();
        let task = async move { inner.request(tx, user, account, &number, method, expected).await };
        // The task ends early only when it panics or the program ends: nobody knows then what went out.
        self.inner.lifecycle.spawn(task).await.unwrap_or(Err(RequestError::SenderTimedOut))
    }

    /// Compares a code, which may hold dashes and blanks, with the one that was sent last. Does not use it up.
    ///
    /// # Errors
    /// See [`CheckError`].
    pub async fn check(
        &self,
        user: UserId,
        account: AccountId,
        number: &PhoneNumber,
        code: &str,
    ) -> Result<Proved, CheckError> {
        let Inner { store, master_key, .. } = &*self.inner;
        let (per_code, per_user) = (throttle::GUESSES_PER_CODE, throttle::WRONG_GUESSES_PER_USER);
        let guess = store.take_guess(user, account, number, per_code, per_user, throttle::PAUSE).await?;
        let taken = match guess {
            Guess::Taken(taken) => taken,
            Guess::NoneAsked => return Err(CheckError::NoneAsked),
            Guess::Expired => return Err(CheckError::Expired),
            Guess::TooMany { retry_after } => return Err(CheckError::TooMany { retry_after }),
        };
        let code = code::normalise(code);
        if !master_key.mac_matches(PURPOSE, &parts(user, number, &code).each(), &taken.mac) {
            return Err(CheckError::Wrong);
        }
        store.give_guess_back(&taken).await?;
        Ok(Proved(()))
    }

    /// Whether the user may make one more account before proving one of those that wait for their codes. To be
    /// asked in the transaction that makes it: parallel ones wait for each other here.
    pub async fn may_create_account(&self, tx: &mut Tx, user: UserId) -> Result<bool, DbError> {
        tx.has_room_for_account(user, throttle::UNPROVED_ACCOUNTS_PER_USER).await
    }
}

impl Inner {
    async fn request(
        &self,
        mut tx: Tx,
        user: UserId,
        account: AccountId,
        number: &PhoneNumber,
        method: Method,
        expected: Option<ClaimedResponse>,
    ) -> Result<(), RequestError> {
        if !throttle::is_allowed(number, &self.prefixes) {
            return Err(RequestError::NotAllowed);
        }
        let code = Code::random();
        let mac = self.master_key.mac(PURPOSE, &parts(user, number, code.digits()).each());
        let lifetime = throttle::LIFETIME;
        let new = NewCode { user, account, number, method: method.as_str(), mac: &mac, lifetime };
        let id = match tx.reserve_code(new, throttle::limits(self.per_day)).await? {
            Reservation::Reserved(id) => id,
            Reservation::TooSoon { retry_after } => return Err(RequestError::TooSoon { retry_after }),
            Reservation::DailyLimit { retry_after } => return Err(RequestError::DailyLimit { retry_after }),
            Reservation::NoAccount => return Err(RequestError::NoAccount),
        };
        tx.expect_answer(expected.as_ref()).await?;
        tx.commit().await?;
        let outcome = self.sender.send(&Delivery { number, code: &code, method }).await;
        self.settle(account, method, id, outcome).await
    }

    async fn settle(
        &self,
        account: AccountId,
        method: Method,
        id: CodeId,
        outcome: Result<(), SendError>,
    ) -> Result<(), RequestError> {
        let (method, sender) = (method.as_str(), self.sender.name());
        let (settled, answer) = match outcome {
            Ok(()) => {
                tracing::info!(%account, method, sender, "a code is on its way");
                (self.store.code_accepted(id).await, Ok(()))
            }
            Err(SendError::Failed { reason, retry_after }) => {
                tracing::warn!(%account, method, sender, reason, "the sender of codes failed");
                (self.store.code_refused(id).await, Err(RequestError::SenderFailed { retry_after }))
            }
            Err(SendError::Unknown { reason }) => {
                tracing::warn!(%account, method, sender, reason, "the sender of codes did not answer");
                (self.store.code_accepted(id).await, Err(RequestError::SenderTimedOut))
            }
        };
        if let Err(error) = settled {
            // What the caller is told stays true; at worst the number has to wait for its next code.
            tracing::warn!(%account, %error, "a code could not be settled");
        }
        answer
    }
}

/// What the MAC of a code is made of.
struct Parts<'a> {
    user: [u8; 8],
    number: &'a [u8],
    code: &'a [u8],
}

fn parts<'a>(user: UserId, number: &'a PhoneNumber, code: &'a str) -> Parts<'a> {
    Parts { user: user.0.to_be_bytes(), number: number.as_str().as_bytes(), code: code.as_bytes() }
}

impl Parts<'_> {
    fn each(&self) -> [&[u8]; 3] {
        [&self.user, self.number, self.code]
    }
}
