//! Codes that a network sends and checks itself: the same limits on asking and guessing, without a code of ours.

use std::sync::Arc;
use std::time::Duration;

use super::delivery::SendError;
use super::{CheckError, CodeService, Method, RequestError, Verification, throttle};
use crate::domain::{AccountId, PhoneNumber, UserId};
use crate::lifecycle::Deadline;
use crate::store::{ClaimedResponse, CodeId, NewCode, TakenGuess, Tx};

/// The network decides how long its code is valid; after this time we do not ask it any more.
const LIFETIME: Duration = Duration::from_hours(24);
/// The sender in the log.
const SENDER: &str = "network";

/// A code that the network is to send, counted in an open transaction; dropped, it never was.
#[must_use]
pub struct ReservedRequest {
    tx: Tx,
    counted: CountedRequest,
}

/// A counted request, whose outcome has to be stored.
#[must_use]
pub struct CountedRequest {
    service: Arc<CodeService>,
    id: CodeId,
    account: AccountId,
    method: Method,
}

/// Whether the network sent the code; the reasons are for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkOutcome {
    Sent,
    NotSent(String),
    /// It may have.
    Unknown(String),
}

/// A guess that is counted; the network compares it.
#[must_use]
pub struct NetworkGuess {
    service: Arc<CodeService>,
    account: AccountId,
    number: PhoneNumber,
    taken: TakenGuess,
}

impl Verification {
    /// Counts a code in the caller's transaction that the account's network is to send, within the limits of
    /// [`Verification::reserve`]. `expected` is the response of an idempotent request if the code is sent.
    pub async fn reserve_at_network(
        &self,
        mut tx: Tx,
        user: UserId,
        account: AccountId,
        number: &PhoneNumber,
        method: Method,
        expected: Option<ClaimedResponse>,
    ) -> Result<ReservedRequest, RequestError> {
        let service = Arc::clone(&self.service);
        if !throttle::is_allowed(number, &service.prefixes) {
            return Err(RequestError::NotAllowed);
        }
        let new = NewCode { user, account, number, method: method.as_str(), mac: &[], lifetime: LIFETIME };
        let id = service.count(&mut tx, new).await?;
        tx.expect_answer(expected.as_ref()).await?;
        Ok(ReservedRequest { tx, counted: CountedRequest { service, id, account, method } })
    }

    /// Counts a guess at the code, or at the password, before the network compares it.
    pub async fn guess_at_network(
        &self,
        user: UserId,
        account: AccountId,
        number: &PhoneNumber,
    ) -> Result<NetworkGuess, CheckError> {
        let taken = self.service.take_guess(user, account, number).await?;
        Ok(NetworkGuess { service: Arc::clone(&self.service), account, number: number.clone(), taken })
    }
}

impl ReservedRequest {
    /// Commits the transaction. Then the network can be asked, in a task that runs to its end.
    pub async fn commit(self) -> Result<CountedRequest, RequestError> {
        let Self { tx, counted } = self;
        tx.commit().await?;
        // The commit may have waited for a database that was silent meanwhile.
        if Deadline::current().is_some_and(|deadline| deadline.is_given_up()) {
            counted.service.store.code_refused(counted.id).await?;
            return Err(RequestError::GivenUp);
        }
        Ok(counted)
    }
}

impl CountedRequest {
    /// Stores the outcome.
    pub async fn settle(self, outcome: NetworkOutcome) {
        let outcome = match outcome {
            NetworkOutcome::Sent => Ok(()),
            NetworkOutcome::NotSent(reason) => Err(SendError::failed(reason)),
            NetworkOutcome::Unknown(reason) => Err(SendError::Unknown { reason }),
        };
        let Self { service, id, account, method } = self;
        // The caller has the network's own error.
        let _ = service.settle(account, method, SENDER, id, outcome).await;
    }
}

impl NetworkGuess {
    /// The network did not accept it, or perhaps not: it stays counted.
    pub fn was_wrong(self) {
        let Self { account, number, .. } = self;
        tracing::warn!(%account, ?number, "a wrong code was entered");
    }

    /// Takes the count back, because the guess was right, or was not compared.
    pub async fn give_back(self) {
        if let Err(error) = self.service.store.give_guess_back(&self.taken).await {
            tracing::warn!(account = %self.account, %error, "a guess stays counted");
        }
    }
}
