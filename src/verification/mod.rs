//! Phone number verification by codes: generation, storage as a MAC, delivery by SMS or call, checks, limits.
//!
//! A code is counted and stored first, in one short transaction, then it is sent, then the outcome is stored. It can be
//! entered as soon as it is stored, because the phone may be faster than the sender's response. A definite failure
//! voids the code; after an unknown outcome it stays valid.

mod code;
mod delivery;
mod log;
mod network;
mod sender;
mod throttle;
mod twilio;
mod webhook;

use std::sync::Arc;

use crate::config::CodeSettings;
use crate::db::DbError;
use crate::domain::{AccountId, PhoneNumber, UserId};
use crate::fetch::{Fetch, FetchError};
use crate::lifecycle::{Deadline, Lifecycle};
use crate::metrics::METRICS;
use crate::secrets::MasterKey;
use crate::store::{ClaimedResponse, CodeId, Guess, NewCode, Reservation, Store, TakenGuess, Tx};

pub use code::{is_separator as is_code_separator, normalise as normalised_code};
pub use network::{CountedRequest, NetworkGuess, NetworkOutcome, ReservedRequest};

use code::Code;
use delivery::{Delivery, SendError};
use sender::Sender;

/// Digits of a code.
pub const CODE_LENGTH: usize = code::LENGTH;

const PURPOSE: &str = "verification-code";

/// The way in which a code reaches the phone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// A text message.
    Sms,
    /// A call that reads the code out.
    Voice,
}

/// A handle; clones share one service.
#[derive(Clone)]
pub struct Verification {
    service: Arc<CodeService>,
}

/// A code that is counted and stored in an open transaction; dropped, it never was.
#[must_use]
pub struct ReservedCode {
    service: Arc<CodeService>,
    tx: Tx,
    id: CodeId,
    account: AccountId,
    number: PhoneNumber,
    method: Method,
    code: Code,
}

/// Proof that the right code was entered. The caller consumes the code (`Tx::consume_code`) in the transaction that the
/// code authorises; until then it can be entered again.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct Proved(());

/// Why the sender of the settings cannot work.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("the code sender cannot use HTTP: are CA certificates installed (package ca-certificates)?")]
    Fetch(#[from] FetchError),
    #[error("WINDU_CODE_WEBHOOK_SECRET is no key")]
    Secret(#[from] standardwebhooks::WebhookError),
    #[error("WINDU_TWILIO_BASE_URL and WINDU_TWILIO_ACCOUNT_SID make no URL")]
    Url(#[from] url::ParseError),
}

/// Why no code was sent. `retry_after` is in seconds, at least 1.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    #[error("the pause after the last code of this number is not over")]
    TooSoon { retry_after: u64 },
    /// The daily limit of the user, the number or this server is reached.
    #[error("too many codes within a day")]
    DailyLimit { retry_after: u64 },
    /// `WINDU_CODE_PREFIXES` excludes this number.
    #[error("this server sends no codes to this number")]
    NotAllowed,
    /// The user has no such account, or it is being removed.
    #[error("the account does not exist")]
    NoAccount,
    /// The sender refused or failed; no code was sent.
    #[error("the code sender failed")]
    SenderFailed {
        /// As the sender's response said.
        retry_after: Option<u64>,
    },
    /// The sender did not respond; a code may have been sent, and is valid.
    #[error("the code sender did not respond")]
    SenderTimedOut,
    /// The request was given up before the code was sent; nothing is left of it.
    #[error("the request was given up")]
    GivenUp,
    #[error(transparent)]
    Store(#[from] DbError),
}

/// Why a code was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    #[error("the code is wrong")]
    Wrong,
    /// The code was sent more than ten minutes ago.
    #[error("the code has expired")]
    Expired,
    /// No code was requested, or it was consumed.
    #[error("no code was requested")]
    NoneAsked,
    /// Five guesses at this code, or twenty wrong ones by this user in a day.
    #[error("too many guesses")]
    TooMany {
        /// Seconds until a new code can be requested, or until another guess is allowed; at least 1.
        retry_after: u64,
    },
    #[error(transparent)]
    Store(#[from] DbError),
}

struct CodeService {
    store: Store,
    master_key: MasterKey,
    sender: Sender,
    prefixes: Vec<String>,
    per_day: u32,
    lifecycle: Lifecycle,
}

impl Method {
    /// `sms` or `voice`, as in HTTP responses and the webhook.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sms => "sms",
            Self::Voice => "voice",
        }
    }
}

impl Verification {
    /// Prepares the sender of the settings. Fails when it cannot work on this machine, for example without CA
    /// certificates.
    pub fn new(
        store: Store,
        master_key: MasterKey,
        settings: CodeSettings,
        fetch: Arc<Fetch>,
        lifecycle: Lifecycle,
    ) -> Result<Self, SetupError> {
        let sender = Sender::new(settings.sender, settings.timeout, fetch)?;
        let CodeSettings { prefixes, per_day, .. } = settings;
        let service = CodeService { store, master_key, sender, prefixes, per_day, lifecycle };
        Ok(Self { service: Arc::new(service) })
    }

    /// The destination of codes, as a text for the operator: `to the webhook`, `through Twilio`.
    #[must_use]
    pub fn destination(&self) -> String {
        self.service.sender.destination()
    }

    /// Sends a new code to the account's number: [`Verification::reserve`] and [`ReservedCode::send`]. Dropping the future
    /// cancels nothing once the code is stored: it is sent and the outcome stored.
    pub async fn request(
        &self,
        tx: Tx,
        user: UserId,
        account: AccountId,
        number: &PhoneNumber,
        method: Method,
        expected: Option<ClaimedResponse>,
    ) -> Result<(), RequestError> {
        let reserved = self.reserve(tx, user, account, number, method, expected).await?;
        let task = self.service.lifecycle.spawn(Deadline::carry(reserved.send()));
        // The task is lost only when it panics or the program stops. The code may have been sent.
        task.await.unwrap_or(Err(RequestError::SenderTimedOut))
    }

    /// Counts and stores a new code in the caller's transaction, so that its other writes happen only if a code may be
    /// sent. `expected` is the response of an idempotent request if the code is sent.
    pub async fn reserve(
        &self,
        tx: Tx,
        user: UserId,
        account: AccountId,
        number: &PhoneNumber,
        method: Method,
        expected: Option<ClaimedResponse>,
    ) -> Result<ReservedCode, RequestError> {
        let service = Arc::clone(&self.service);
        service.reserve(tx, user, account, number.clone(), method, expected).await
    }

    /// Compares a code, which may contain dashes and blanks, with the one that was sent last. Does not consume it.
    pub async fn check(
        &self,
        user: UserId,
        account: AccountId,
        number: &PhoneNumber,
        code: &str,
    ) -> Result<Proved, CheckError> {
        let CodeService { store, master_key, .. } = &*self.service;
        let guess = self.service.take_guess(user, account, number).await?;
        let code = code::normalise(code);
        if !master_key.mac_matches(PURPOSE, &mac_input(user, number, &code).parts(), &guess.mac) {
            tracing::warn!(%user, %account, ?number, "a wrong code was entered");
            return Err(CheckError::Wrong);
        }
        store.give_guess_back(&guess).await?;
        Ok(Proved(()))
    }

    /// Whether the user may create one more account before verifying the others. To be called in the transaction that
    /// creates it: it serialises concurrent ones.
    pub async fn may_create_account(&self, tx: &mut Tx, user: UserId) -> Result<bool, DbError> {
        tx.has_room_for_account(user, throttle::UNPROVED_ACCOUNTS_PER_USER).await
    }
}

impl ReservedCode {
    /// Commits the transaction, sends the code and stores the outcome. To be run to its end, so in a task of its own.
    pub async fn send(self) -> Result<(), RequestError> {
        let Self { service, tx, id, account, number, method, code } = self;
        tx.commit().await?;
        // The commit may have waited for a database that was silent meanwhile.
        if Deadline::current().is_some_and(|deadline| deadline.is_given_up()) {
            service.store.code_refused(id).await?;
            return Err(RequestError::GivenUp);
        }
        let outcome = service.sender.send(&Delivery { number: &number, code: &code, method }).await;
        service.settle(account, method, service.sender.name(), id, outcome).await
    }
}

impl CodeService {
    async fn reserve(
        self: Arc<Self>,
        mut tx: Tx,
        user: UserId,
        account: AccountId,
        number: PhoneNumber,
        method: Method,
        expected: Option<ClaimedResponse>,
    ) -> Result<ReservedCode, RequestError> {
        if !throttle::is_allowed(&number, &self.prefixes) {
            return Err(RequestError::NotAllowed);
        }
        let code = Code::random();
        let mac = self.master_key.mac(PURPOSE, &mac_input(user, &number, code.digits()).parts());
        let lifetime = throttle::LIFETIME;
        let new = NewCode { user, account, number: &number, method: method.as_str(), mac: &mac, lifetime };
        let id = self.count(&mut tx, new).await?;
        tx.expect_answer(expected.as_ref()).await?;
        Ok(ReservedCode { service: self, tx, id, account, number, method, code })
    }

    async fn count(&self, tx: &mut Tx, new: NewCode<'_>) -> Result<CodeId, RequestError> {
        match tx.reserve_code(new, throttle::limits(self.per_day)).await? {
            Reservation::Reserved(id) => Ok(id),
            Reservation::TooSoon { retry_after } => Err(RequestError::TooSoon { retry_after }),
            Reservation::DailyLimit { retry_after } => Err(RequestError::DailyLimit { retry_after }),
            Reservation::NoAccount => Err(RequestError::NoAccount),
        }
    }

    async fn take_guess(
        &self,
        user: UserId,
        account: AccountId,
        number: &PhoneNumber,
    ) -> Result<TakenGuess, CheckError> {
        let (per_code, per_user) = (throttle::GUESSES_PER_CODE, throttle::WRONG_GUESSES_PER_USER);
        match self.store.take_guess(user, account, number, per_code, per_user, throttle::PAUSE).await? {
            Guess::Taken(guess) => Ok(guess),
            Guess::NoneAsked => Err(CheckError::NoneAsked),
            Guess::Expired => Err(CheckError::Expired),
            Guess::TooMany { retry_after } => {
                tracing::warn!(%user, %account, ?number, "too many wrong codes were entered");
                Err(CheckError::TooMany { retry_after })
            }
        }
    }

    async fn settle(
        &self,
        account: AccountId,
        method: Method,
        sender: &str,
        id: CodeId,
        outcome: Result<(), SendError>,
    ) -> Result<(), RequestError> {
        let method = method.as_str();
        let (settled, result) = match outcome {
            Ok(()) => {
                METRICS.code(method, "ok");
                tracing::info!(%account, method, sender, "a code was sent");
                (self.store.code_accepted(id).await, Ok(()))
            }
            Err(SendError::Failed { reason, retry_after }) => {
                METRICS.code(method, "failed");
                tracing::warn!(%account, method, sender, reason, "the code sender failed");
                (self.store.code_refused(id).await, Err(RequestError::SenderFailed { retry_after }))
            }
            Err(SendError::Unknown { reason }) => {
                METRICS.code(method, "unknown");
                tracing::warn!(%account, method, sender, reason, "the code sender did not respond");
                (self.store.code_accepted(id).await, Err(RequestError::SenderTimedOut))
            }
        };
        if let Err(error) = settled {
            // The result is still right; at worst the number waits longer for its next code.
            tracing::warn!(%account, %error, "the outcome of a code could not be stored");
        }
        result
    }
}

/// The input of a code's MAC.
struct MacInput<'a> {
    user: [u8; 8],
    number: &'a [u8],
    code: &'a [u8],
}

fn mac_input<'a>(user: UserId, number: &'a PhoneNumber, code: &'a str) -> MacInput<'a> {
    MacInput { user: user.0.to_be_bytes(), number: number.as_str().as_bytes(), code: code.as_bytes() }
}

impl MacInput<'_> {
    fn parts(&self) -> [&[u8]; 3] {
        [&self.user, self.number, self.code]
    }
}
